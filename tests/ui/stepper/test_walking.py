"""Key by key through a run: what the keys do, and what is to be seen then."""

from __future__ import annotations

import pytest
from stepper_kit import WIDE, play

from toyvisor.debug.moment import StopReason


def test_one_store_is_walked_event_by_event() -> None:
    """docs/architecture.md tells this store's life; here is the same with the key v."""

    async def scenario(stepper) -> None:
        await stepper.press("s*2")
        assert stepper.moment.instructions == 2
        assert "next: mov" in stepper.text
        seen = []
        for _ in range(8):
            await stepper.press("v")
            lanes = [row for row in stepper.rows[2:6] if "◀" in row]
            words = stepper.app.picture.lanes.last.text.split(":")[0]
            assert len(lanes) == 1
            seen.append((lanes[0].split()[0], words))
        assert seen == [
            ("GUEST", "kvm_exit"),
            ("KVM", "kvm_mmio"),
            ("KVM", "copy"),
            ("KVM", "kvm_userspace_exit"),
            ("QEMU", "copy"),
            ("QEMU", "memory_region_ops_write"),
            ("QEMU", "ioctl"),
            ("GUEST", "kvm_entry"),
        ]

    play("one_store", scenario, WIDE)


def test_every_step_has_a_way_back_to_where_it_began() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("e*12", "v*2")
        for key in "veud":
            here = stepper.moment
            await stepper.press(key, key.upper())
            assert stepper.moment <= here, key
            await stepper.press(key)
            assert stepper.moment > here or key == "v", key
        await stepper.press("s")
        here = stepper.moment
        await stepper.press("s*7", "S*7")
        assert stepper.moment == here

    play("virtio_net_tx", scenario)


def test_the_status_line_always_has_the_tick_and_the_reason() -> None:
    async def scenario(stepper) -> None:
        assert "tick 0" in stepper.rows[0]
        assert "at the start" in stepper.rows[0]
        await stepper.press("s")
        assert "tick 1" in stepper.rows[0]
        assert "stepped: instruction" in stepper.rows[0]
        await stepper.press("c")
        assert stepper.stop.reason is StopReason.END
        assert "the run is over" in stepper.rows[0]

    play("virtio_net_tx", scenario)


def test_function_keys_do_what_letters_do() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("s", "n")
        letters = stepper.moment
        await stepper.press("S", "N", "f11", "f10")
        assert stepper.moment == letters
        await stepper.press("f5")
        assert stepper.stop.reason is StopReason.END

    play("virtio_net_tx", scenario)


def test_an_interrupt_is_found_and_the_one_before_it() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("i")
        first = stepper.moment
        assert "kvm_inj_virq: IRQ 0x20" in stepper.text
        await stepper.press("i", "I")
        assert stepper.moment == first

    play("timer_tick", scenario, WIDE)


def test_what_changed_has_a_mark() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("s*2")
        assert "rax 11111111  " in stepper.text or "rax 12345678*" in stepper.text
        await stepper.press("S")
        assert "rax 00000000*" in stepper.text, "changed back is changed, too"

    play("one_store", scenario)


def test_keys_pressed_while_the_session_is_busy_are_done_one_after_the_other() -> None:
    async def scenario(stepper) -> None:
        for _ in range(50):
            await stepper.pilot.press("s")
        await stepper.rest()
        assert stepper.moment.instructions == 50

    play("mmio_nic_tx", scenario)


@pytest.mark.parametrize(
    "key", ["S", "N", "E", "V", "U", "D", "I", "C", "F", "left_square_bracket"]
)
def test_nothing_comes_before_the_start(key) -> None:
    async def scenario(stepper) -> None:
        await stepper.press(key)
        assert stepper.stop.reason is StopReason.START
        assert stepper.moment.instructions == 0

    play("add", scenario)


@pytest.mark.parametrize(
    "key", ["s", "n", "e", "v", "u", "d", "i", "c", "f", "right_square_bracket"]
)
def test_nothing_comes_behind_the_end(key) -> None:
    async def scenario(stepper) -> None:
        await stepper.press("c")
        end = stepper.moment
        await stepper.press(key)
        assert stepper.stop.reason is StopReason.END
        assert stepper.moment == end

    play("add", scenario)

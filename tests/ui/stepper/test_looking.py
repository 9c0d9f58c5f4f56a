"""Views, layouts, colours, sizes: looking changes nothing of the run."""

from __future__ import annotations

import pytest
from stepper_kit import NARROW, WIDE, play

from toyvisor.ui.stepper.arrangement import VIEWS


def test_each_number_shows_its_view() -> None:
    headings = {
        "1": "source: virtio_net_tx.s", "2": "disassembly", "3": "registers", "4": "what ",
        "5": "events: ", "6": "of virtio-net", "7": "virtio-net (", "8": "interrupts",
        "9": "console", "0": "memory at rsp",
    }  # fmt: skip
    assert set(headings) == {key for key, _ in VIEWS.values()}

    async def scenario(stepper) -> None:
        here = stepper.moment
        for key, heading in headings.items():
            await stepper.press(key)
            assert any(heading in row for row in stepper.rows[7:20]), key
            assert stepper.app.focused.id == next(v for v, (k, _) in VIEWS.items() if k == key)
        assert stepper.moment == here

    play("virtio_net_tx", scenario)


def test_a_click_on_a_tab_shows_its_view() -> None:
    async def scenario(stepper) -> None:
        row = stepper.row_with("5 events")
        await stepper.click(stepper.rows[row].index("queues"), row)
        assert "transmitq" in stepper.text or "receiveq" in stepper.text

    play("virtio_net_tx", scenario)


def test_a_click_on_an_event_goes_there() -> None:
    async def scenario(stepper) -> None:
        row = stepper.row_with("kvm_exit: vcpu 0")
        await stepper.click(80, row)
        assert stepper.app.picture.lanes.last.text.startswith("kvm_exit")

    play("virtio_net_tx", scenario, WIDE)


def test_tab_goes_from_pane_to_pane() -> None:
    async def scenario(stepper) -> None:
        seen = []
        for _ in range(4):
            seen.append(stepper.app.focused.id)
            await stepper.press("tab")
        assert len(set(seen)) == 4
        await stepper.press("shift+tab")
        assert stepper.app.focused.id == seen[3]

    play("virtio_net_tx", scenario, WIDE)


def test_memory_follows_a_register() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("m")
        await stepper.type("r13")
        assert "memory at r13 = 0x0" in stepper.text
        await stepper.press("g")
        await stepper.type("next_frame")
        assert "memory at r13 = 0x10010" in stepper.text
        row = stepper.rows[stepper.row_with(">")]
        assert row.split()[0] == "10010"
        assert "<r13" in row

    play("virtio_net_tx", scenario)


def test_memory_that_a_store_changed_has_a_mark() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("m")
        await stepper.type("0x20082")
        await stepper.press("g")
        await stepper.type(":180")
        await stepper.press("s")
        assert "01*" in stepper.rows[stepper.row_with(">")]

    play("virtio_net_tx", scenario)


def test_memory_at_nonsense_is_a_message_and_stays_where_it_was() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("m")
        await stepper.type("no_such_name")
        assert "no_such_name" in stepper.messages[-1]
        assert "memory at rsp" in stepper.text

    play("virtio_net_tx", scenario)


def test_another_device_is_the_one_that_d_stops_at() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("7", "full_stop", "full_stop")
        assert "debugcon (d stops here only" in stepper.text
        await stepper.press("d")
        assert "debugcon" in stepper.app.picture.lanes.last.text
        await stepper.press("full_stop")
        assert "the last one used" in stepper.text

    play("hello_mmio", scenario)


def test_another_queue() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("6", "full_stop")
        assert "receiveq of virtio-net (1 of 2" in stepper.text
        await stepper.press("full_stop")
        assert "transmitq of virtio-net (2 of 2" in stepper.text

    play("virtio_net_tx", scenario)


def test_the_presenter_sees_less_and_larger() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("p")
        assert "registers" not in stepper.text.replace("; Registers", "")
        lines = [row for row in stepper.rows if row[:5].strip().isdecimal()]
        first, second = (stepper.rows.index(line) for line in lines[:2])
        assert second - first == 2, "a row of room between two lines"
        assert stepper.app.theme == "toyvisor-presenter-dark"
        await stepper.press("t")
        assert stepper.app.theme == "toyvisor-presenter-light"
        await stepper.press("p")
        assert stepper.app.theme == "toyvisor-light"

    play("virtio_net_tx", scenario, WIDE)


@pytest.mark.parametrize("size", [(80, 24), (100, 32), (120, 40), (200, 60), (40, 10), (20, 5)])
def test_any_size_of_the_terminal(size) -> None:
    async def scenario(stepper) -> None:
        await stepper.press("e*4", "p")
        await stepper.pilot.resize_terminal(*size)
        await stepper.rest()
        assert len(stepper.rows) <= size[1]
        assert all(len(row) <= size[0] for row in stepper.rows)
        await stepper.press("p", *"1234567890")

    play("virtio_net_tx", scenario, WIDE)


def test_a_larger_terminal_has_a_longer_timeline() -> None:
    async def scenario(stepper) -> None:
        def cells() -> int:
            return len(stepper.app.picture.timeline.cells)

        assert cells() <= NARROW[0] - 3
        await stepper.pilot.resize_terminal(*WIDE)
        await stepper.until(lambda: cells() > NARROW[0])
        assert cells() <= WIDE[0] - 3

    play("mmio_nic_tx", scenario)


def test_without_colour_marks_tell_everything(monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(stepper) -> None:
        await stepper.press("e*2", "s")
        for strip in stepper.app.screen._compositor.render_strips():
            for segment in stepper.app._filters[-1].apply(
                list(strip), stepper.app.background_colors[1]
            ):
                if segment.style is not None and segment.style.color is not None:
                    assert segment.style.color.is_default, segment
        assert "▶" in stepper.text
        assert "rip 00100019*" in stepper.text or "*" in stepper.text

    play("virtio_net_tx", scenario, WIDE)


def test_the_palette_finds_a_command_and_does_it() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("ctrl+p")
        for character in "vmexit":
            await stepper.pilot.press(character)
        await stepper.pilot.pause(0.2)
        assert "Next vmexit (e)" in stepper.text
        await stepper.press("enter")
        await stepper.rest()
        assert stepper.app.picture.timeline.passed == 1

    play("virtio_net_tx", scenario)


def test_help_names_every_key() -> None:
    from rich.console import Console

    from toyvisor.ui.stepper.help_screen import help_parts
    from toyvisor.ui.stepper.keys import all_commands

    console = Console(width=76, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in help_parts():
        console.print(part)
    text = console.export_text()
    for command in all_commands():
        assert command.key_names in text
        assert command.title in text


def test_a_screenshot_is_a_file_that_replaces_none(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario(stepper) -> None:
        await stepper.press("o", "o")
        assert "saved toyvisor-add-2.svg" in stepper.messages
        assert "saved toyvisor-add-2-2.svg" in stepper.messages
        monkeypatch.chdir("/proc")
        await stepper.press("o")
        assert "can't write" in stepper.messages[-1]

    play("add", scenario)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "toyvisor-add-2-2.svg", "toyvisor-add-2.svg",
    ]  # fmt: skip
    assert (tmp_path / "toyvisor-add-2.svg").read_text().startswith("<svg")

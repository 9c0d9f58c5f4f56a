"""The "explain" pane: every event and every instruction has words, with the values that it has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sessions import BROKEN, PROGRAMS, session, session_of

from toyvisor.debug.explain import explain, explain_event, explain_instruction
from toyvisor.debug.explain_events import EXPLAINERS
from toyvisor.debug.explanation import Explanation
from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.trace.events import KINDS, EventKind, EventView, Thread, layer_of

LONG = 'mode = "long"'
SINGLE = sorted(name for name, kind in KINDS.items() if kind.expand is None)

#: Fields of events that no shipped program has.
MADE_UP: dict[str, dict[str, object]] = {
    "kvm_fast_mmio": {"gpa": 0xD000_0050},
    "kvm_inj_nmi": {},
    "trace_full": {"records": 1_000_000},
    "vhost_dev_stop": {"device": "virtio-net"},
    "vhost_discard": {"queue": "transmitq", "bytes": 70_000, "what": "longer than a packet can be"},
    "vq_err": {"queue": "transmitq", "rule": "virtio.split.chain-loop", "what": "it loops"},
}


def is_whole(found: Explanation) -> bool:
    """Each part says something, in whole sentences."""
    return (
        bool(found.title and found.source)
        and found.what.endswith((".", "!", "?"))
        and found.why.endswith((".", ")"))
        and "\n" not in found.title
    )


# Every kind, every program ----------------------------------------------------------------


def test_every_kind_of_event_has_an_explainer() -> None:
    assert sorted(EXPLAINERS) == SINGLE


@pytest.mark.parametrize("name", [*PROGRAMS, *BROKEN])
def test_every_event_and_instruction_of_a_shipped_program_is_explained(name: str) -> None:
    with session(name, budget=2_000) as s:
        steps = 0
        while s.step().reason is StopReason.STEP and steps < 600:
            steps += 1
            assert is_whole(explain_instruction(s.machine, s.program)), name
        s.go_to_start()
        steps = 0
        while s.step(Unit.EVENT).reason is StopReason.STEP and steps < 250:
            steps += 1
            event = s.events[s.moment.events - 1]
            found = explain_event(event, s.machine, s.program)
            assert is_whole(found), (name, event, found)
        s.go_to_end()
        assert explain(s).title.startswith("The run is over")


@pytest.mark.parametrize("option", ["ioeventfd", "irqfd", "vhost"])
@pytest.mark.parametrize("name", ["virtio_net_tx_sleep", "virtio_net_rx"])
def test_the_short_cuts_are_explained(name: str, option: str) -> None:
    with session(name, options={"virtio-net": {option: True}}) as s:
        for _ in range(400):
            if s.step(Unit.EVENT).reason is not StopReason.STEP:
                break
            event = s.events[s.moment.events - 1]
            assert is_whole(explain_event(event, s.machine, s.program)), event


@pytest.mark.parametrize("name", sorted(MADE_UP))
def test_events_that_no_shipped_program_has(name: str) -> None:
    kind: EventKind = KINDS[name]
    fields = MADE_UP[name]
    assert tuple(fields) == kind.fields
    event = EventView(0, 0, layer_of(kind, Thread.VCPU, fields), Thread.VCPU, kind, fields)
    with session("virtio_net_tx") as s:
        assert is_whole(explain_event(event, s.machine, s.program))


# Events, with their values ------------------------------------------------------------------


def events_of(name: str, *, wanted: str) -> Iterator[tuple[Session, EventView]]:
    with session(name) as s:
        while s.step(Unit.EVENT).reason is StopReason.STEP:
            event = s.events[s.moment.events - 1]
            if event.kind.name == wanted:
                yield s, event


def first(name: str, wanted: str) -> Explanation:
    for s, event in events_of(name, wanted=wanted):
        return explain_event(event, s.machine, s.program)
    raise AssertionError(f"{name} has no {wanted}")


def test_a_store_to_a_device_leaves_the_guest() -> None:
    found = first("one_store", "vm_exit")
    assert found.title == "The guest leaves: EPT_VIOLATION"
    assert "at guest-physical 0xd0000018, SCRATCH of mmio-nic" in found.what
    assert "line 19 of one_store.s, stores 4 bytes" in found.what
    assert found.what.endswith("No RAM is there, so the processor leaves the guest.")
    assert "handle_ept_violation()" in found.source


def test_kvm_tells_the_value_that_was_stored() -> None:
    found = first("one_store", "kvm_mmio")
    assert found.what == "The guest wrote 4 bytes (0x12345678) to 0xd0000018: SCRATCH of mmio-nic."


def test_a_load_is_finished_by_the_next_kvm_run() -> None:
    found = [
        explain_event(event, s.machine, s.program)
        for s, event in events_of("one_load", wanted="kvm_mmio")
    ]
    assert "Nobody in the kernel answers, so QEMU has to." in found[0].what
    assert found[1].what.startswith("The answer is there: ID of mmio-nic gave 0x43494e4d.")
    assert "complete_emulated_mmio()" in found[1].source


def test_the_device_says_which_register_and_which_bits() -> None:
    found = [
        explain_event(event, s.machine, s.program)
        for s, event in events_of("virtio_net_tx", wanted="memory_region_ops_write")
    ]
    assert "1 (4 bytes) to Status of virtio-net (ACKNOWLEDGE)" in found[1].what
    queue_num = next(one for one in found if "QueueNum" in one.title)
    assert queue_num.what.endswith("QueueSel is 1, transmitq.")
    kick = next(one for one in found if "QueueNotify" in one.title)
    assert "VIRTIO 1.2, 4.2.3.3" in kick.source


def test_the_ring_says_what_the_device_found() -> None:
    pop = first("virtio_net_tx", "virtqueue_pop")
    assert "2 readable and 0 writable descriptors: 354 bytes to read" in pop.what
    assert "virtqueue_pop()" in pop.source
    flush = first("virtio_net_tx", "virtqueue_flush")
    assert "used.idx is 1" in flush.what
    notify = first("virtio_net_tx", "virtio_notify")
    assert "(avail.flags is NO_INTERRUPT)" in notify.what


def test_an_injected_interrupt_names_its_handler() -> None:
    found = first("timer_tick", "kvm_inj_virq")
    assert found.title == "KVM injects vector 0x20, IRQ 0 (pit)"
    assert "(timer)" in found.what


def test_a_guests_mistake_has_the_section_of_the_rule() -> None:
    found = first("broken/descriptor_loop", "guest_error")
    assert found.title == "The guest breaks a rule: virtio.split.chain-loop"
    assert found.source.startswith("VIRTIO 1.2, 2.7.5")


# Instructions, with their values --------------------------------------------------------------


def will_do(source: str, tmp_path: Path, *, after: int = 0, block: str = LONG) -> Explanation:
    """What is said of the instruction behind the first `after` ones."""
    with session_of(source, tmp_path, block=block) as s:
        if after:
            s.step(count=after)
        return explain_instruction(s.machine, s.program)


@pytest.mark.parametrize(
    ("setup", "instruction", "what"),
    [
        ("", "mov edi, 0xd0000000", "edi = 0xd0000000."),
        ("mov eax, 5", "mov ecx, eax", "ecx = eax (5)."),
        ("mov al, 0x80", "movsx ecx, al",
         "ecx = al (0x80), extended with its sign to 32 bits: 0xffffff80."),
        ("mov eax, 7", "add eax, 3", "eax = eax (7) + 3 = 0xa."),
        ("mov eax, 3", "sub eax, 3", "eax = eax (3) - 3 = 0; ZF becomes 1."),
        ("", "xor eax, eax", "eax = 0, in the shortest way."),
        ("mov eax, 1", "cmp eax, 2", "Compares eax (1) with 2: below, ZF becomes 0, CF 1."),
        ("mov eax, -1", "cmp eax, 1",
         "Compares eax (0xffffffff) with 1: above, ZF becomes 0, CF 0 (as signed numbers: less)."),
        ("mov eax, 6", "test eax, 4", "Looks at the bits 4 of eax (6): 4 are set, ZF becomes 0."),
        ("mov eax, 3", "shl eax, 4", "eax = eax (3) shifted left by 4 = 0x30."),
        ("mov ax, 100", "mov cl, 7; div cl",
         "Divides ax (0x64) by cl (7): al = 0xe, and ah = 2 is left over."),
        ("mov esi, 0x3000", "lea rax, [rsi + 8]",
         "rax = the address 0x3008: it is computed, and nothing is read there."),
        ("mov eax, 9", "push rax", "Pushes rax (9) onto the stack: rsp goes down by 8 to 0x8fe8."),
        ("push 7", "pop rbx", "rbx = 7, from the stack: rsp goes up by 8 to 0x8ff0."),
        ("mov ecx, 3", "rep stosb",
         "Stores al (0) into [0x0], 3 times (rcx), upwards."),
        ("", "cld", "DF = 0: string instructions go upwards."),
        ("", "pause", "Does nothing for a moment: a hint to the processor that this is a loop "
         "that waits."),
    ],
)  # fmt: skip
def test_what_an_instruction_will_do(
    setup: str, instruction: str, what: str, tmp_path: Path
) -> None:
    lines = [line for line in (setup, *instruction.split("; ")) if line]
    found = will_do("\n".join([*lines, "hlt"]), tmp_path, after=len(lines) - 1)
    assert found.what == what


@pytest.mark.parametrize(
    ("compared", "jump", "what"),
    [
        (1, "je", "Jumps to 0x100003 (there), because ZF is 1 (equal, or 0)."),
        (2, "je", "Does not jump, because ZF is 0 (not equal, or not 0): it goes on at"),
        (2, "jb", "Jumps to 0x100003 (there), because CF is 1 (below)."),
        (0, "ja", "Jumps to 0x100003 (there), because CF is 0 and ZF is 0 (above)."),
        (-1, "jg", "Jumps to 0x100003 (there), because ZF is 0 and SF is 0 and OF is 0 (greater)."),
        (2, "jns", "Does not jump, because SF is 1 (negative): it goes on at 0x100009"),
    ],
)
def test_a_conditional_jump_says_which_flags_decide(
    compared: int, jump: str, what: str, tmp_path: Path
) -> None:
    source = f"jmp behind\nnop\nthere:\nnop\nbehind:\ncmp eax, {compared}\n{jump} there\nhlt"
    block = f"{LONG}\nregisters = {{ eax = 1 }}"
    found = will_do(source, tmp_path, after=2, block=block)
    assert found.what.startswith(what)


def test_a_load_from_a_device_will_leave_the_guest() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("wait_used - 7")
        found = explain_instruction(s.machine, s.program)
    assert found.what == (
        "Stores 1 into [0xd0000050]. It will leave the guest: nothing is mapped at 0xd0000050 = "
        "QueueNotify of virtio-net, the kick: the index of a queue with new buffers."
    )
    assert found.why.startswith("The kick.")


def test_a_store_into_a_ring_says_what_it_means_to_the_device() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("next_frame")
        found = []
        for _ in range(10):
            found.append(explain_instruction(s.machine, s.program))
            s.step()
    stores = [one for one in found if one.what.startswith("Stores")]
    assert [one.what for one in stores] == [
        "Stores rsi (0x1ffea0) into [0x20010] (addr of descriptor 1, transmitq).",
        "Stores edx (0x156) into [0x20018] (len of descriptor 1, transmitq).",
        "Stores 0 into [0x20084] (avail.ring[0] of transmitq).",
        "Stores bx (1) into [0x20082] (avail.idx of transmitq).",
    ]
    assert stores[-1].why.startswith("This store publishes the buffer")
    assert "VIRTIO 1.2, 2.7.13.3" in stores[-1].source


def test_a_division_by_zero_is_foretold() -> None:
    with session("divide_error") as s:
        s.run_to("division")
        found = explain_instruction(s.machine, s.program)
    assert "that is a divide error, #DE; vector 0 leads to" in found.what


def test_a_page_that_is_not_there_is_foretold(tmp_path: Path) -> None:
    found = will_do("mov rax, 0x200000000\nmov ecx, [rax]\nhlt", tmp_path, after=1)
    assert "No page is mapped at 0x200000000: a page fault, #PF." in found.what
    assert "the IDT has no entry for vector 0xe" in found.what.lower() or "vector 0xe" in found.what


def test_hlt_depends_on_whether_anything_can_wake_the_guest(tmp_path: Path) -> None:
    pic = f'{LONG}\ndevices = ["pic"]'
    assert "QEMU ends the machine" in will_do("hlt", tmp_path).what
    assert "nothing can wake it" in will_do("hlt", tmp_path, block=pic).what
    assert (
        "sleeps until the next interrupt"
        in will_do("sti\nhlt", tmp_path, after=1, block=pic).what.lower()
    )


def test_ports_say_whose_register_they_are(tmp_path: Path) -> None:
    block = f'{LONG}\ndevices = ["pic", "serial"]'
    eoi = will_do("mov al, 0x20\nout 0x20, al\nhlt", tmp_path, after=1, block=block)
    assert eoi.what == "Writes 0x20 (EOI) to port 0x20, OCW2 of pic: the guest leaves."
    assert "KVM answers by itself: a lightweight exit" in eoi.why
    nobody = will_do("in al, 0x99\nhlt", tmp_path)
    assert "port 0x99, where no device is" in nobody.what


def test_iret_says_where_to() -> None:
    with session("timer_tick") as s:
        s.run_until("rip >= timer and byte[rip] == 0x48 and byte[rip + 1] == 0xcf")
        found = explain_instruction(s.machine, s.program)
    assert found.what.startswith("Returns from the interrupt to 0x")
    assert "(sleep+" in found.what
    assert "IF becomes 1" in found.what


def test_where_there_is_no_code() -> None:
    with session("broken/jump_into_nothing") as s:
        s.step()
        while s.step().reason is StopReason.STEP:
            pass
        s.step_back()
        found = [explain(s)]
        s.go_to_end()
        found.append(explain(s))
    assert all(is_whole(one) for one in found)
    assert found[1].title == "The run is over: internal-error"


@pytest.mark.parametrize("name", ["virtio_net_tx", "hello_protected", "timer_tick_real"])
def test_any_bytes_can_be_explained(name: str) -> None:
    """Code that no assembler made: nothing is raised, whatever lies at the instruction pointer."""
    dice = random.Random(name)
    prefixes = b"\x0f\x66\xf3\xf2\x48\x67\x2e\xf0"
    with session(name) as s:
        rip, ram = s.linear_rip(), s.machine.ram
        for number in range(1_000):
            code = dice.randbytes(15)
            if number % 2:
                code = bytes([dice.choice(prefixes)]) + code[:14]
            ram[rip : rip + 15] = code
            assert is_whole(explain_instruction(s.machine, s.program)), code.hex()


def test_a_session_is_explained_where_it_stands() -> None:
    with session("one_store") as s:
        assert explain(s).title == "mov edi, 0xd0000000"
        s.step(Unit.EXIT)
        assert explain(s).title == "The guest leaves: EPT_VIOLATION"
        s.go_to_end()
        assert explain(s).title == "The run is over: halted"

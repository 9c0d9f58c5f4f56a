"""Instructions around an address: with their lines, in step with the source, as memory is now."""

from __future__ import annotations

from pathlib import Path

from sessions import session, session_of

from toyvisor.debug.views.disassembly import disassembly, instruction_at


def test_instructions_around_the_present_one() -> None:
    with session("virtio_net_tx") as s:
        s.step(count=3)
        lines = disassembly(s.machine, s.program, before=2, after=1)
    assert [(line.address, line.text, line.is_current) for line in lines] == [
        (0x100005, "lea rsi, [rip + 0x1c0]", False),
        (0x10000C, "mov eax, dword ptr [rdi]", False),
        (0x10000E, "cmp eax, 0x74726976", True),
        (0x100013, "jne 0x100278", False),
    ]
    assert (lines[2].line, lines[2].source.strip()) == (55, "cmp     eax, VIRTIO_MAGIC")
    assert all(line.first_of_line for line in lines)


def test_labels_and_data_stand_where_the_source_has_them() -> None:
    with session("hello_serial") as s:
        lines = disassembly(s.machine, s.program, before=0, after=40)
    by_label = {label: line for line in lines for label in line.labels}
    assert by_label["done"].text == "hlt"
    assert by_label["text"].text == '.asciz  "Hello from long mode\\n"'
    assert by_label["text"].data == b"Hello from long mode\n\0"
    assert lines[-1] == by_label["text"]  # behind it is empty memory


def test_what_the_program_did_to_itself_is_shown(tmp_path: Path) -> None:
    source = "mov byte ptr [target], 0xf4\ntarget:\nnop\nhlt"
    with session_of(source, tmp_path, block='mode = "long"') as s:
        before = disassembly(s.machine, s.program, before=0, after=2)
        s.step()
        after = disassembly(s.machine, s.program, before=0, after=1)
    assert [(line.text, line.is_modified) for line in before[1:]] == [
        ("nop", False),
        ("hlt", False),
    ]
    assert [(line.text, line.is_modified) for line in after] == [("hlt", True), ("hlt", False)]


def test_a_jump_into_the_middle_of_an_instruction(tmp_path: Path) -> None:
    source = "jmp middle + 1\nmiddle:\nmov al, 0xf4\nhlt"  # the mov's second byte is a hlt
    with session_of(source, tmp_path, block='mode = "long"') as s:
        s.step()
        lines = disassembly(s.machine, s.program, before=2, after=1)
    assert [(line.text, line.is_current) for line in lines] == [
        ("jmp 0x100003", False), (".byte 0xb0", False), ("hlt", True), ("hlt", False),
    ]  # fmt: skip


def test_code_without_a_listing_ends_where_one_looks(tmp_path: Path) -> None:
    source = (
        "mov edi, 0x3000\nmov dword ptr [rdi], 0x90c08548\nmov byte ptr [rdi + 4], 0xf4\njmp rdi"
    )
    with session_of(source, tmp_path, block='mode = "long"') as s:
        s.step(count=4)
        assert s.linear_rip() == 0x3000
        lines = disassembly(s.machine, s.program, 0x3004, before=2, after=3)
    assert [(line.address, line.text) for line in lines] == [
        (0x3000, "test rax, rax"), (0x3003, "nop"), (0x3004, "hlt"),
    ]  # fmt: skip
    assert lines[0].is_current
    assert {line.line for line in lines} == {0}


def test_bytes_that_are_no_instruction(tmp_path: Path) -> None:
    source = "jmp nothing\nnothing:\n.byte 0x06, 0x90"
    with session_of(source, tmp_path, block='mode = "long"') as s:
        s.step()
        lines = disassembly(s.machine, s.program, before=0, after=1)
        assert [line.text for line in lines] == [".byte 0x06", "nop"]
        assert instruction_at(s.machine) is None


def test_nothing_is_where_no_memory_is() -> None:
    with session("one_store") as s:
        assert disassembly(s.machine, s.program, 0xD000_0000, before=3, after=3) == ()
        assert instruction_at(s.machine, 0xD000_0000) is None

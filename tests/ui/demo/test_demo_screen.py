"""The screen of a demo, as text and at every size."""

from __future__ import annotations

import pytest
from demo_kit import script, session_for, session_of

from toyvisor.debug.moment import Unit
from toyvisor.ui.demo.ansi import ansi_lines
from toyvisor.ui.demo.cards import rehearse
from toyvisor.ui.demo.scene import SceneMaker
from toyvisor.ui.demo.screen import Frame, draw
from toyvisor.ui.demo.script import Show

SIZES = [(80, 24), (100, 30), (120, 40), (200, 60), (83, 25)]


def screen(frame: Frame, width: int = 80, height: int = 24) -> list[str]:
    return [line.plain.rstrip() for line in draw(frame, width, height)]


def frame_of(session, caption: str = "caption", show: Show | None = None) -> Frame:
    return Frame(SceneMaker(session).take(show), "title", caption, 2, 9)


def test_a_copy_on_the_smallest_screen():
    with session_of("one_store") as session:
        session.go_to_end()
        session.go_to_event(4)
        frame = frame_of(session, "The first copy.")
    assert screen(frame) == [
        " title                                                                    2/9 ▶",
        "guest ○╮           ╭●",
        "KVM    ╰•─◆─•╮     │           ◀ copy 4 B guest->kvm  ▣ kvm_run",
        "QEMU         ╰◆─•─•╯",
        "host",
        "      store to 0xd0000018, 4 bytes: copy: guest->kvm 4 bytes",
        "",
        "one_store.s                             │ this exit: store to 0xd0000018, 4 byt…",
        "   13 .include \"machine.inc\"            │  ○ guest exit: EPT_VIOLATION",
        "   14 .include \"mmio_nic.inc\"           │  • KVM   store 4 B, 0x12345678",
        "   15                                   │ ▶◆ KVM   copy 4 B guest->kvm",
        "   16 _start:                           │  • KVM   return KVM_EXIT_MMIO",
        "   17   mov     edi, MMIO_BASE        … │  ◆ QEMU  copy 4 B kvm->qemu",
        "   18   mov     eax, 0x12345678         │  • QEMU  mmio-nic+0x18 = 0x12345678",
        "▶  19   mov     [rdi + NIC_SCRATCH], e… │  • QEMU  ioctl KVM_RUN",
        "   20   hlt                           … │  ● guest enter the guest",
        "━" * 80,
        "  The first copy.",
        "", "", "",
        "exits [M]H",
        "1 exit, 0 to QEMU, 1 copy (4 bytes), 0 interrupts",
        "space pause   → next   ← back   q quit",
    ]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["one_store", "virtio_net_tx", "virtio_net_rx"])
def test_every_card_fills_the_screen_and_no_more(name: str, size: tuple[int, int]):
    of = script(name)
    with session_for(of) as session:
        cards = rehearse(session, of)
        scenes = SceneMaker(session)
        for card in cards:
            session.go_to(card.moments[-1])
            frame = Frame(scenes.take(card.show), of.title, card.caption, 1, len(cards))
            lines = draw(frame, *size)
            assert len(lines) == size[1]
            assert max(line.cell_len for line in lines) <= size[0]
            assert sum("▶" in line.plain for line in lines) >= 2  # the state, and the line


def test_what_changed_has_a_mark_and_comes_first():
    with session_of("one_store") as session:
        scenes = SceneMaker(session)
        scenes.take()
        session.step()
        frame = Frame(scenes.take(Show.REGISTERS), "title", "", 1, 1)
    right = [line.partition("│ ")[2].strip() for line in screen(frame)[7:12]]
    assert right == [
        "registers (* changed)",
        "flags none set",
        "rdi   00000000d0000000*",
        "rip   0000000000100005*",
        "rax   0000000000000000",
    ]


def test_a_queue_in_a_few_lines():
    with session_of("virtio_net_tx") as session:
        session.run_until("virtio_net.tx.avail.idx == 1")
        scenes = SceneMaker(session)
        scenes.take(Show.QUEUE)
        session.step(Unit.DEVICE)
        while session.events[session.moment.events - 1].kind.name != "virtqueue_pop":
            session.step(Unit.EVENT)
        frame = Frame(scenes.take(Show.QUEUE), "title", "", 1, 1)
    right = [line.partition("│ ")[2].strip() for line in screen(frame, 100, 24)[7:13]]
    assert right == [
        "virtio-net transmitq, 8 entries, QEMU s…",
        "given 1 ▸ taken 1* ▸ back 0 ▸ seen 0",
        "desc 0  1001c0 12 read→1 device",
        "desc 1  1ffea0 342 read device",
        "avail idx 1: [0] head 0  NO_INTERRUPT",
        "used  idx 0: [7] -  NO_NOTIFY",
    ]


def test_the_console_shows_its_end_and_no_control_characters():
    with session_of("hello_serial") as session:
        session.go_to_end()
        frame = frame_of(session, show=Show.CONSOLE)
        text = frame.scene.console.decode().strip()
        shown = frame._replace(scene=frame.scene._replace(console=b"\x1b[2J" + b"x\n" * 50))
    assert any(text in line for line in screen(frame))
    assert not any("\x1b" in line for line in screen(shown))


def test_without_source_there_are_instructions(tmp_path):
    """Code that the guest has copied elsewhere comes from no line."""
    path = tmp_path / "guest.s"
    path.write_text(
        '; /// machine\n; mode = "long"\n; ///\n'
        "mov dword ptr [0x8000], 0xf4909090\nmov eax, 0x8000\njmp rax\n"
    )
    with session_of(str(path)) as session:
        session.step(count=4)
        frame = frame_of(session)
    lines = screen(frame)
    assert any(line.startswith("no source: instructions") for line in lines)
    assert any(line.startswith("▶  8001  nop") for line in lines)


def test_a_long_caption_is_cut_and_says_so():
    with session_of("one_store") as session:
        lines = screen(frame_of(session, "word " * 100))
    assert lines[20].endswith("word …")
    assert sum("word" in line for line in lines) == 4


def test_colours_only_repeat_what_marks_say():
    """Without any escape sequence, two different moments are different pictures."""
    with session_of("one_store") as session:
        pictures = []
        while session.step(Unit.EVENT).reason == "step":
            pictures.append(tuple(screen(frame_of(session))))
        coloured = ansi_lines(draw(frame_of(session), 80, 24), 80)
    assert len(set(pictures)) == len(pictures) == 10
    assert any("\x1b[" in line for line in coloured)

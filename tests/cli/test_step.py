"""`toyvisor step` where there is no terminal: a pipe, a file of commands, and what goes wrong."""

from __future__ import annotations

import io

import pytest
from asking import HALT

BEGINNING = """\
one_store: the life of one store to a device
machine: long mode, 2048 KiB of RAM, mmio-nic
#0 event 1  one_store.s:17  mov edi, MMIO_BASE ; edi = the card's window; the upper half of rdi is 0
  the guest is about to execute its first instruction
"""


@pytest.fixture
def step(toyvisor, monkeypatch):
    """step("s\\nq\\n", "one_store") -> Answer; the first text comes in on standard input."""

    def call(typed: str, *arguments: object):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return toyvisor("step", *arguments)

    return call


def test_a_transcript(step):
    answer = step("s\n\ninfo exits\nq\nnever read\n", "one_store", "--plain")
    assert (answer.status, answer.errors) == (0, "")
    assert answer.text == BEGINNING + (
        "(toyvisor) s\n"
        "#1 event 1  one_store.s:18  mov eax, 0x12345678\n"
        "  stepped: line\n"
        "  changed: rdi 0x0 -> 0xd0000000\n"
        "(toyvisor)\n"
        "#2 event 1  one_store.s:19  mov [rdi + NIC_SCRATCH], eax ; EXIT 1: KVM_EXIT_MMIO, "
        "is_write 1, len 4\n"
        "  stepped: line\n"
        "  changed: rax 0x0 -> 0x12345678\n"
        "(toyvisor) info exits\n"
        "0 vmexits: 0 to QEMU, 0 lightweight\n"
        "(toyvisor) q\n"
    )


def test_it_is_the_same_each_time_and_without_colours(step):
    typed = "c\ninfo counters\ninfo device\nexplain\nrc\ninfo r\ninfo events 50\n"
    once, again = (step(typed, "hello_serial", "--plain") for _ in range(2))
    assert once.output == again.output
    assert b"\x1b" not in once.output


def test_without_a_terminal_it_is_plain_by_itself(step):
    assert step("", "one_store").text == BEGINNING


def test_typed_mistakes_go_to_standard_error_and_it_goes_on(step):
    answer = step("nosuch\np 1 +\ns\n", "one_store")
    assert answer.status == 0
    assert answer.errors.splitlines() == [
        "error: there is no command 'nosuch' (hint: `help` lists them)",
        "error: expected a value, found the end",
        "  1 +",
        "     ^",
    ]
    assert answer.text.endswith("(toyvisor) s\n#1 event 1  one_store.s:18  mov eax, 0x12345678\n"
                                "  stepped: line\n  changed: rdi 0x0 -> 0xd0000000\n")  # fmt: skip


def test_bytes_that_are_no_text_are_a_mistake_like_others(toyvisor, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\nsi\n"), encoding="utf-8", errors="strict")
    monkeypatch.setattr("sys.stdin", stream)
    answer = toyvisor("step", "one_store")
    assert answer.complaint.startswith("error: there is no command '\\\\'")
    assert answer.lines[-3].startswith("#1 ")


def test_a_file_of_commands(step, folder):
    (folder / "walk.txt").write_text("# over the store\nsi 3\n\np exits.mmio\n")
    answer = step("never read", "one_store", "--commands", "walk.txt")
    assert (answer.status, answer.errors) == (0, "")
    assert answer.lines[-1] == "1"
    assert "(toyvisor) # over the store" in answer.lines
    assert step("", "one_store", "-x", "walk.txt").text == answer.text


def test_the_first_mistake_ends_a_file_of_commands(step, folder):
    (folder / "walk.txt").write_text("si\n\np exits.mmoi\necho never\n")
    answer = step("", "one_store", "--commands", "walk.txt")
    assert answer.status == 2
    assert answer.complaint == (
        "walk.txt:3: error: 'exits.mmoi', column 1: there is no 'exits.mmoi' "
        "(hint: did you mean exits.mmio or exits.io or exits.total?)"
    )
    assert answer.lines[-1] == "(toyvisor) p exits.mmoi"


def test_a_file_of_commands_may_quit(step, folder):
    (folder / "walk.txt").write_text("q\nnosuch\n")
    assert step("", "one_store", "--commands", "walk.txt").status == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--commands", "none.txt"), "can't read none.txt: No such file or directory"),
        (("--commands", "."), "can't read .: Is a directory"),
        (("--commands", "bin.txt"), "bin.txt is not text: no file of commands"),
        (("--commands", "a\0b"), "can't read a\\x00b: embedded null byte"),
        (("--input", "x"), "--input: one_store has no serial port"),
        (("--net", "tap:t0"), "--net tap: what comes from a real network can't be walked back "
                              "through (hint: --net pcap:IN,)"),
        (("--net", "pcap:,out.pcap"), "--net pcap:,out.pcap: the stepper keeps no capture of what "
            "is sent (hint: `info packets` shows it; `toyvisor run --net` keeps it)"),
        (("--device", "rtc"), "--device rtc: one_store has no rtc (hint: its devices: mmio-nic)"),
        (("--max-instructions", "0"), "argument --max-instructions: 0 is not between 1 and "
            "1000000000000000 (hint: `toyvisor step --help`)"),
    ],
)  # fmt: skip
def test_bad_options(step, folder, arguments, complaint):
    (folder / "bin.txt").write_bytes(b"\xff\xfe")
    answer = step("", "one_store", *arguments)
    assert (answer.status, answer.text) == (2, "")
    assert answer.complaint.replace("\0", "\\x00") == f"toyvisor: error: {complaint}"


def test_a_program_without_a_card_has_no_net(step, folder):
    (folder / "my.s").write_text(HALT)
    answer = step("", "my.s", "--net", "pcap:,")
    assert answer.complaint == "toyvisor: error: --net: my has no network card"


def test_input_for_the_serial_port(step, folder):
    (folder / "typed").write_bytes(b"hi\n")
    answer = step("c\n", "keyboardless_echo", "--input", "typed")
    assert r'  printed: "HI\n"' in answer.text
    assert step("", "keyboardless_echo", "--input", "-").status == 2


def test_a_budget_ends_the_run(step):
    answer = step("c\n", "spin", "--max-instructions", "1000")
    assert "#1000 event 3  " in answer.text
    assert "the run is over: budget: " in answer.text
    assert answer.status == 0


def test_device_options_change_the_machine(step):
    answer = step("c\ninfo exits\n", "virtio_net_rx", "--device", "virtio-net,vhost=on")
    assert ", 0 lightweight" not in answer.lines[-4]


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("run.html", "<!DOCTYPE html>"), ("run.cast", '{"version"'), ("run.svg", "<svg"),
     ("run.txt", "")],
)  # fmt: skip
def test_the_run_is_kept_at_the_end(step, tmp_path, name, beginning):
    answer = step("e\nq\n", "one_store", "--plain", "--record", str(tmp_path / name))
    assert (answer.status, answer.errors) == (0, "")
    kept = (tmp_path / name).read_text(encoding="utf-8")
    assert kept.lower().startswith(beginning.lower())
    assert "SCRATCH" in kept


def test_what_can_not_be_kept_is_told_before_the_session(step, tmp_path):
    answer = step("q\n", "one_store", "--plain", "--record", str(tmp_path / "run.png"))
    assert (answer.status, answer.text) == (2, "")
    assert ".html" in answer.errors
    answer = step("q\n", "one_store", "--plain", "--record", str(tmp_path / "no" / "run.html"))
    assert (answer.status, answer.text) == (2, "")

"""What people type wrong: one line on standard error, status 2, never a traceback."""

from __future__ import annotations

import os

import pytest
from asking import BROKEN, HALT, MACHINE

RUN = ("run", "virtio_net_tx")


@pytest.fixture
def files(folder):
    """One of each kind of file that is no program."""
    (folder / "folder.s").mkdir()
    (folder / "empty.s").touch()
    (folder / "binary.s").write_bytes(b"\x7fELF\x00\x01")
    (folder / "latin.s").write_bytes(HALT.encode() + "; größe\n".encode("latin-1"))
    (folder / "huge.s").write_bytes(b";" * (5 << 20))
    (folder / "long line.s").write_text(MACHINE + ";" * 30_000)
    (folder / "good.s").write_text(HALT)
    (folder / "stream.jsonl").write_text("")
    (folder / "loop.s").symlink_to("loop.s")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.s", "no such file: missing.s"),
        ("./missing", "no such file: ./missing"),
        ("ad", "no program named 'ad' (hint: did you mean add?)"),
        ("virtio_net_xt", "did you mean virtio_net_tx or"),
        ("folder.s", "is a directory"),
        ("binary.s", "not a text file"),
        ("huge.s", "too large"),
        ("good.s/x.s", "no such file"),
        ("x" * 5000, "no program named"),
        ("", "no program named"),
        ("a\0b", "no program named"),
        ("a\nb.s", "no such file"),
    ],
    ids=lambda value: value[:16].encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("command", ["run", "asm", "disasm", "trace"])
def test_a_file_that_is_no_program(toyvisor, files, command, name, words):
    answer = toyvisor(command, name)
    assert answer.status == 2
    assert not answer.output
    assert words in answer.errors
    assert answer.errors.startswith("toyvisor: error: ")


@pytest.mark.parametrize("name", ["loop.s", "/dev/null", "/dev/zero"])
@pytest.mark.parametrize("command", ["run", "asm", "disasm", "trace"])
def test_a_file_that_can_t_be_read(toyvisor, files, command, name):
    answer = toyvisor(command, name)
    assert answer.status == 2
    assert answer.complaint.startswith("toyvisor: error: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(toyvisor, files):
    (files / "good.s").chmod(0)
    assert "Permission denied" in toyvisor("run", "good.s").complaint


BLOCK = '; /// machine\n; mode = "long"\n; devices = ["serial"]\n'


@pytest.mark.parametrize(
    ("source", "place", "words", "under_the_caret"),
    [
        (HALT + "mov eax, nowhere\n", "6:10", "'nowhere' is not defined", "nowhere"),
        (HALT + "bogus eax\n", "6:1", "unknown instruction 'bogus'", "bogus"),
        (HALT + "mov eax, [rbx\n", "6:", "", ""),
        (BLOCK.replace("serial", "serail") + "; ///\nhlt", "3:14", "'serail'", '"serail'),
        (BLOCK + "; mod = 5\n; ///\nhlt", "4:3", "unknown key 'mod'", "mod"),
        (BLOCK + "; memory = 12\n; ///\nhlt", "4:3", "not a multiple", "memory"),
        (BLOCK + "; memory = = 12\n; ///\nhlt", "4:", "not TOML", ""),
        (BLOCK + "; registers = { xax = 1 }\n; ///\nhlt", "4:17", "no register 'xax'", "xax"),
        (BLOCK.replace("long", "lang") + "; ///\nhlt", "2:3", "mode is one of", "mode"),
        (BLOCK + "hlt", "1:1", "never closed", "; ///"),
        ("hlt\n", "1:1", "does not say what machine", "hlt"),
        (HALT + '%include "gone.inc"\n', "6:", "gone.inc", ""),
        (HALT + "\tmov\teax, größe\n", "6:13", "only allowed in comments", "öße"),
    ],
)
def test_a_mistake_in_the_source_is_shown_where_it_is(
    toyvisor, folder, source, place, words, under_the_caret
):
    (folder / "mine.s").write_text(source)
    answer = toyvisor("run", "mine.s")
    assert answer.status == 2
    assert not answer.output
    assert answer.errors.startswith(f"mine.s:{place}")
    first, line, caret, *_ = answer.errors.splitlines()
    assert ": error: " in first
    assert words in first
    assert line[4:] == source.splitlines()[int(first.split(":")[1]) - 1]
    assert caret.strip() == "^"
    assert line[len(caret) - 1 :].startswith(under_the_caret)


def test_an_empty_file_is_told_what_it_lacks(toyvisor, files):
    first, *rest = toyvisor("run", "empty.s").errors.splitlines()
    assert first == "empty.s:1:1: error: this program does not say what machine it runs on"
    assert rest[0] == "hint: begin it with"


def test_several_mistakes_are_all_shown(toyvisor, folder):
    (folder / "mine.s").write_text(HALT + "mov eax, a\nmov eax, b\nbogus\n")
    errors = toyvisor("run", "mine.s").errors
    assert [line.split(":")[1] for line in errors.splitlines() if ": error: " in line] == [
        "6", "7", "8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*RUN, "--net", "tap:"), "which one?"),
        ((*RUN, "--net", "pcap"), "one comma"),
        ((*RUN, "--net", "pcap:a.pcap"), "one comma"),
        ((*RUN, "--net", "pcap:a,b,c"), "one comma"),
        ((*RUN, "--net", "pcap:gone.pcap,"), "gone.pcap: no such capture"),
        ((*RUN, "--net", "pcap:good.s,"), "good.s"),
        ((*RUN, "--net", "pcap:empty.s,"), "empty.s"),
        ((*RUN, "--net", "pcap:folder.s,"), "directory"),
        ((*RUN, "--net", "pcap:,folder.s"), "directory"),
        ((*RUN, "--net", "pcap:,gone/x.pcap"), "No such file"),
        ((*RUN, "--net", "wifi:x"), "no such kind"),
        ((*RUN, "--net", ""), "no such kind"),
        ((*RUN, "--net"), "expected one argument"),
        ((*RUN, "--trace", "gone/x"), "can't write gone/x"),
        ((*RUN, "--trace", "folder.s"), "can't write folder.s: Is a directory"),
        ((*RUN, "--trace", ""), "can't write"),
        ((*RUN, "--trace", "a\0b"), "can't write"),
        ((*RUN, "--trace", "-", "--json"), "both want standard output"),
        ((*RUN, "--accel", "kvm", "--max-instructions", "9"), "does not count guest instructions"),
        ((*RUN, "--max-seconds", "1"), "counted in guest instructions"),
        ((*RUN, "--accel", "kvm", "--max-seconds", "0"), "not between 0.001 and"),
        ((*RUN, "--accel", "kvm", "--max-seconds", "nan"), "not between 0.001 and"),
        ((*RUN, "--accel", "kvm", "--max-seconds", "soon"), "not a number of seconds"),
        ((*RUN, "--accel", "both", "--trace", "-"), "two event streams"),
        ((*RUN, "--accel", "both", "--net", "pcap:,out.pcap"), "their output is compared"),
        ((*RUN, "--accel", "both", "--net", "tap:tap0"), "their output is compared"),
        ((*RUN, "--accel", "xen"), "invalid choice: 'xen'"),
        ((*RUN, "--max-instructions", "0"), "not between 1 and"),
        ((*RUN, "--max-instructions", "-5"), "not between 1 and"),
        ((*RUN, "--max-instructions", "10**9"), "not a whole number"),
        ((*RUN, "--max-instructions", "9" * 5000), "not a whole number"),
        ((*RUN, "--max-instructions", "1e6"), "'1e6' is not a whole number"),
        ((*RUN, "--max", "5"), "unrecognized arguments"),
        ((*RUN, "--bogus"), "unrecognized arguments: --bogus (hint: `toyvisor run --help`)"),
        ((*RUN, "extra"), "unrecognized arguments: extra"),
        (("run",), "required: PROGRAM (hint: `toyvisor run --help`)"),
        ((), "required: COMMAND (hint: `toyvisor --help`)"),
        (("ruin", "add"), "there is no command 'ruin' (hint: did you mean run?)"),
        (("add",), "did you mean `toyvisor run add`?"),
        (("my.s", "--json"), "did you mean `toyvisor run my.s`?"),
        (("qqq",), "(hint: `toyvisor --help` lists them)"),
        (("",), "there is no command ''"),
        (("--bogus",), "toyvisor --help"),
        (("asm", "add", "-o", "-", "--listing"), "both want standard output"),
        (("asm", "add", "-o", "gone/x"), "can't write gone/x"),
        (("asm", "add", "--origin", "-1"), "not between 0 and"),
        (("asm", "add", "--origin", "0x1ffffffffffffffff"), "not between 0 and"),
        (("asm", "add", "--origin", "0xffffffffffffffff"), "does not fit"),
        (("asm", "add", "--mode", "virtual"), "invalid choice"),
        (("disasm", "gone.bin"), "gone.bin"),
        (("programs", "gone"), "no program named 'gone'"),
        (("trace", "gone.jsonl"), "can't read gone.jsonl"),
        (("trace", "add", "--to", "xml"), "invalid choice"),
        (("trace", "add", "-o", "gone/x"), "can't write gone/x"),
        (("completion", "fish"), "invalid choice: 'fish'"),
        (("completion",), "required: shell"),
        (("bench", "--seconds", "0"), "not between"),
    ],
    ids=lambda value: " ".join(value)[:40].encode("unicode_escape").decode(),
)
def test_a_command_line_that_makes_no_sense(toyvisor, files, arguments, words):
    before = sorted(files.iterdir())
    answer = toyvisor(*arguments)
    assert answer.status == 2
    assert not answer.output
    assert words in answer.complaint
    assert answer.complaint.startswith("toyvisor: error: ")
    assert sorted(files.iterdir()) == before, "nothing was made"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "good.s", "--trace", "good.s"),
        ("run", "good.s", "--trace", "./folder.s/../good.s"),
        ("asm", "good.s", "-o", "good.s"),
        ("asm", "good.s", "-o", "link.s"),
        ("trace", "good.s", "-o", "good.s"),
        ("trace", "stream.jsonl", "-o", "stream.jsonl"),
    ],
)
def test_the_input_is_never_written_over(toyvisor, files, arguments):
    (files / "link.s").symlink_to("good.s")
    answer = toyvisor(*arguments)
    assert answer.status == 2
    assert "it is the input (hint: choose another name)" in answer.complaint
    assert (files / "good.s").read_text() == HALT


def test_an_earlier_result_survives_a_run_that_never_begins(toyvisor, files):
    (files / "old.jsonl").write_text("old")
    assert toyvisor("run", "gone", "--trace", "old.jsonl").status == 2
    assert toyvisor("run", BROKEN[0], "--net", "bad", "--trace", "old.jsonl").status == 2
    assert (files / "old.jsonl").read_text() == "old"


def test_a_package_that_is_missing_is_named(toyvisor, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    answer = toyvisor("completion", "bash")
    assert answer.status == 2
    assert answer.complaint == (
        "toyvisor: error: the shtab package is not installed "
        "(hint: `toyvisor doctor` says what is missing)"
    )


def test_a_program_that_is_broken_on_purpose_is_found_by_its_name(toyvisor):
    answer = toyvisor("run", "no_eoi")
    assert answer.status == 2
    assert "broken/no_eoi.s" in answer.errors

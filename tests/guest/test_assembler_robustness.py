"""Whatever a file contains: an error with a place, soon, and never a traceback."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from assembling import MODES, refused
from gnu_corpus import STATEMENTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toyvisor.errors import InputError, MachineError, SourceError, ToyvisorError
from toyvisor.guest.assembler import assemble_file, assemble_text
from toyvisor.guest.diagnostics import AssemblyErrors
from toyvisor.guest.disassembler import disassemble
from toyvisor.guest.encoder import Encoder
from toyvisor.guest.expressions import ExpressionParser
from toyvisor.guest.lexer import Lexer
from toyvisor.guest.source import SourceLine
from toyvisor.modes import CpuMode

RELAXED = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assemble_path(path: Path) -> bytes:
    return assemble_file(path, mode=CpuMode.LONG, origin=0, use_cache=False).image


def test_errors_have_the_shape_editors_know(tmp_path) -> None:
    path = tmp_path / "p.s"
    path.write_text("nop\n\tmov al, 300 ; too much\n")
    with pytest.raises(SourceError) as caught:
        assemble_path(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2:10: error: 300 does not fit in 8 bits",
        "    \tmov al, 300 ; too much",
        "    \t        ^",
    ]


def test_many_errors_are_told_in_one_go_in_order() -> None:
    error = refused("mov al, 300\nmov eax, [rbx\nnop\n.word 70000")
    assert isinstance(error, AssemblyErrors)
    assert [e.location.line for e in error.errors] == [1, 2, 4]
    assert str(error).count("error:") == 3


def test_after_twenty_errors_it_stops() -> None:
    error = refused("foo\n" * 100)
    assert isinstance(error, AssemblyErrors)
    assert len(error.errors) == 20
    assert "stopped after 20" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x7fELF\0\0", "NUL"), (b"nop\nmov \xff", "not UTF-8"), (b"x" * 30000, "longer than")],
)
def test_what_is_no_source_text_is_refused(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "p.s"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        assemble_path(path)


def test_missing_files_directories_and_devices_are_refused(tmp_path) -> None:
    for path in (tmp_path / "none.s", tmp_path, Path("/dev/zero"), tmp_path / ("x" * 5000)):
        with pytest.raises(InputError):
            assemble_path(path)


def test_a_huge_file_is_refused_without_reading_it(tmp_path) -> None:
    path = tmp_path / "p.s"
    with path.open("wb") as stream:
        stream.truncate(100 << 20)
    started = time.monotonic()
    with pytest.raises(InputError, match="too large"):
        assemble_path(path)
    assert time.monotonic() - started < 1


def test_windows_line_ends_and_byte_order_marks_do_no_harm(tmp_path) -> None:
    path = tmp_path / "p.s"
    path.write_bytes(b"\xef\xbb\xbfnop\r\nhlt\r\n")
    assert assemble_path(path) == b"\x90\xf4"
    assert assemble_text("\ufeffnop").image == b"\x90"


def test_includes_are_found_beside_the_program_and_then_among_the_shipped(tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.inc").write_text('.include "b.inc"\n')
    (tmp_path / "sub" / "b.inc").write_text("hlt\n")
    (tmp_path / "p.s").write_text('nop\n%include "sub/a.inc"\n')
    assembly = assemble_file(tmp_path / "p.s", mode=CpuMode.LONG, origin=0)
    assert assembly.image == b"\x90\xf4"
    line = assembly.listing.at(1)
    assert line is not None
    assert (Path(line.location.file).name, line.location.line) == ("b.inc", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("/etc/passwd", "absolute"), ("../secret", "outside"), ("none.inc", "no such file"),
     ("sub", "directory"), ("", "empty"), ("p.s", "includes itself")],
)  # fmt: skip
def test_bad_includes_are_refused_at_their_line(tmp_path, name: str, message: str) -> None:
    folder = tmp_path / "here"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("nop")
    (folder / "p.s").write_text(f'nop\n.include "{name}"\n')
    with pytest.raises(SourceError, match=message) as caught:
        assemble_path(folder / "p.s")
    assert caught.value.location.line == 2


def test_an_include_circle_is_an_error(tmp_path) -> None:
    (tmp_path / "a.s").write_text('.include "b.inc"')
    (tmp_path / "b.inc").write_text('.include "a.s"')
    with pytest.raises(SourceError, match="circle"):
        assemble_path(tmp_path / "a.s")


@pytest.mark.parametrize(
    "text",
    [
        "mov eax, " + "(" * 9000 + "1" + ")" * 9000,
        "mov eax, " + "-" * 9000 + "1",
        "mov eax, " + "1+" * 9000 + "1",
        "mov eax, [" + "[" * 5000,
        "\n".join(f"%define a{i} a{i + 1} a{i + 1}" for i in range(40)) + "\nmov eax, a0",
        ".rept 50000\n.rept 50000\nnop\n.endr\n.endr",
        "".join(f".macro m{i}\nm{i + 1}\nm{i + 1}\n.endm\n" for i in range(40)) + "m0",
        "\n".join(f"a{i} equ a{i + 1}" for i in range(400)) + "\na400 equ 1\n.byte a0",
        "a equ b + 1\nb equ a",
        ".if 1\n" * 5000,
        "times 65536 times 65536 nop",
        "x: " * 5000 + "nop",
        "%macro m 9999999999\n%endmacro",
        "mov eax, " + "9" * 5000,
        ".ascii " + '"a",' * 4000,
    ],
    ids=lambda text: text[:20].replace("\n", " "),
)
def test_nothing_runs_away(text: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(ToyvisorError):
        assemble_text(text)
    assert time.monotonic() - started < 15  # on a busy host; alone it takes none of it


LINES = st.text(
    st.sampled_from("abxlr015.,:[]()+-*/%$'\"`;#\\ \t{}<>=&|^~!@é\0_%") | st.characters(),
    max_size=40,
)  # fmt: skip


@RELAXED
@given(LINES)
def test_the_lexer_answers_to_anything(text: str) -> None:
    try:
        Lexer().tokens(SourceLine("t.s", 1, text))
    except SourceError as error:
        place = error.location.column
    else:
        place = 1
    assert 1 <= place <= len(text) + 1


FRAGMENTS = st.sampled_from(list("\n\n[],+-*():<~!{}$.;#"))
WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        r"""mov rax eax al 5 0x10 1b 1f 1: x: x .x $$ byte dword ptr offset rel short jmp call lock
        rep movsb .byte .word db dw times equ = .set .equ .if .endif .else .macro .endm %define %1
        .rept .endr 3 'a' "b" /* */ fs : 8:9 .org .align .zero resb .include %macro %endmacro bits
        16 .code32 default push ret in dx xmm0 st(1) \a""",
    )
)


@RELAXED
@given(st.lists(FRAGMENTS | WORDS, max_size=30), st.sampled_from([16, 32, 64]))
def test_the_assembler_answers_to_anything(parts: list[str], bits: int) -> None:
    with contextlib.suppress(ToyvisorError):
        assemble_text(" ".join(parts), mode=MODES[bits])


BINARY = st.sampled_from(["+", "-", "*", "<<", ">>", "&", "|", "^", "//", "%"])


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> str:
    """An expression whose Python and C meanings agree: nothing negative is divided or shifted."""
    if depth == 0 or draw(st.booleans()):
        number = draw(st.integers(0, 2**16))
        return draw(st.sampled_from([str(number), hex(number), bin(number), oct(number)]))
    left, right = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    operator = draw(BINARY)
    if operator in ("//", "%"):
        return f"((({left}) & 0xffff) {operator} ((({right}) & 0xff) + 1))"
    if operator in ("<<", ">>"):
        return f"((({left}) & 0xffff) {operator} (({right}) & 7))"
    unary = draw(st.sampled_from(["", "-", "~", "+", "- ~"]))
    return f"{unary}{left} {operator} {right}"


@RELAXED
@given(expressions())
def test_expressions_mean_what_python_says(text: str) -> None:
    line = SourceLine("t.s", 1, text.replace("//", "/"))
    expression = ExpressionParser(line, Lexer().tokens(line)).parse()
    assert expression.evaluate(lambda step: pytest.fail(step.text)).number == eval(text)


def same(text: str, again: str) -> bool:
    """The spellings of Capstone that mean the same: default segments, signs of numbers."""
    plain = [re.sub(r"\b(ds|es):", "", t).replace("cwde", "cbw") for t in (text, again)]
    return plain[0] == plain[1]


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_what_is_disassembled_assembles_to_the_same_again(bits: int) -> None:
    mode, tried = MODES[bits], 0
    for statement in STATEMENTS[bits]:
        with contextlib.suppress(SourceError):
            first = disassemble(assemble_text(statement, mode=mode).image, 0, mode)
            second = disassemble(assemble_text(first[0].text, mode=mode).image, 0, mode)
            if len(first) == 1:
                assert same(first[0].text, second[0].text), statement
                tried += 1
    assert tried > 1000


@RELAXED
@given(st.binary(min_size=1, max_size=24), st.sampled_from([16, 32, 64]))
def test_any_bytes_can_be_disassembled_completely(data: bytes, bits: int) -> None:
    found = disassemble(data, 0x1000, MODES[bits])
    assert b"".join(one.data for one in found) == data
    assert [one.address for one in found] == [
        0x1000 + sum(one.size for one in found[:n]) for n in range(len(found))
    ]


def test_without_keystone_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr("toyvisor.guest.encoder._package_folders", list)
    encoder = Encoder()
    with pytest.raises(MachineError, match="keystone") as caught:
        encoder.encode(64, "nop")
    assert "pip install" in str(caught.value.hint)


def test_an_encoder_can_be_shared_by_threads() -> None:
    texts = [f"mov eax, {n:#x}" for n in range(50)]
    with contextlib.closing(Encoder()) as encoder, ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda text: encoder.encode(64, text).code, texts * 4))
    assert codes == [b"\xb8" + n.to_bytes(4, "little") for n in range(50)] * 4


def test_the_package_assembles_from_any_folder(tmp_path) -> None:
    script = (
        "from toyvisor.guest.assembler import assemble_text\n"
        "print(assemble_text('hlt').image.hex())"
    )
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{script}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "f4"
    assert ran.stderr == ""

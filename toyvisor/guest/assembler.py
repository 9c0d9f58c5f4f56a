"""The assembler's front door: text or a file in, an `Assembly` out.

    assembly = assemble_text("mov eax, 42\\nhlt")
    assembly.image.hex()                                 # 'b82a000000f4'

The language is Intel syntax as GNU as (`.intel_syntax noprefix`) and NASM write it, both at
once: `dword ptr [rax]` and `dword [rax]`, `.equ X, 5` and `X equ 5`, `.byte` and `db`,
`1: ... jmp 1b` and `.local:`, `.macro` and `%macro`. Expressions have C's operators and
precedence. There is one statement a line; `;` begins a comment (as for NASM, it never parts
statements), and so do `#`, `//` and `/* */`.

Where the two assemblers give one spelling two meanings, it is refused and both are named:

    mov eax, label      its address (NASM) or the memory there (GNU as): `offset label`,
                        `[label]`; after NASM's `bits` or `default` it is the address
    017                 decimal 17 (NASM) or octal 15 (GNU as): `17`, `0o17`
    db "a\\n"            a backslash and an n (NASM), or a newline: `a\\n` in back quotes, .ascii
    jmp dword [bx]      in 16-bit code near (NASM) or far (GNU as): `jmp far [bx]`

and so is `iret` in 64-bit code, a 32-bit frame for both and hardly ever meant: `iretq`, `iretd`.

`[label]` is an absolute address (NASM's `default abs`, GNU as), `[rel label]` and
`[rip + label]` count from rip. `.org` counts from the program's beginning, `org` says the load
address. Sections mean nothing: the image is in source order.

What is behind it is only imported when something really has to be assembled: a cached
program needs neither Keystone nor the lexer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from toyvisor.errors import InputError, UsageError
from toyvisor.guest import cache
from toyvisor.guest.assembly import Assembly
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.listing import Listing, ListingLine
from toyvisor.guest.source import SourceRoots, SourceText, check_text, read_source
from toyvisor.modes import CpuMode

if TYPE_CHECKING:
    from toyvisor.guest.layout import LaidOut

__all__ = ["Assembly", "Listing", "ListingLine", "assemble_file", "assemble_text"]


def assemble_text(
    text: str,
    *,
    file: str = "<text>",
    mode: CpuMode = CpuMode.LONG,
    origin: int = 0,
    symbols: Mapping[str, int] | None = None,
    include_dirs: Iterable[str | Path] = (),
) -> Assembly:
    """Assemble source text for load address `origin`.

    Includes are looked for in `include_dirs`, then among the shipped files. `symbols` are
    constants given from outside. Raises SourceError (several at once: AssemblyErrors) for
    what is wrong with the text, InputError for what is no text.
    """
    roots = SourceRoots(None, (*map(Path, include_dirs), *_shipped()))
    source = check_text(SourceText(file, text))
    return _assemble(source, roots, mode, origin, dict(symbols or {}))


def assemble_file(
    path: str | Path,
    *,
    mode: CpuMode,
    origin: int,
    symbols: Mapping[str, int] | None = None,
    use_cache: bool = True,
) -> Assembly:
    """Assemble a file; includes may lie in its folder or among the shipped files.

    Raises InputError or SourceError, as `assemble_text`; also when the file cannot be read.
    """
    path = Path(path)
    source = read_source(path)
    given = dict(symbols or {})
    key = cache.entry_key(
        name=source.name, path=str(path.absolute()), text=source.text,
        mode=str(mode), origin=origin, symbols=given, shipped=[str(p) for p in _shipped()],
    )  # fmt: skip
    if use_cache:
        known = cache.load(key)
        if known is not None:
            return known
    roots = SourceRoots(path.parent, _shipped())
    assembly = _assemble(source, roots, mode, origin, given)
    if use_cache:
        cache.store(key, assembly, roots.dependencies)
    return assembly


def _shipped() -> tuple[Path, ...]:
    folder = guest_programs_dir()
    return (folder,) if folder.is_dir() else ()


def _assemble(
    source: SourceText, roots: SourceRoots, mode: CpuMode, origin: int, given: dict[str, int]
) -> Assembly:
    from toyvisor.guest.diagnostics import Diagnostics
    from toyvisor.guest.encoder import shared_encoder
    from toyvisor.guest.layout import Layout
    from toyvisor.guest.parser import parse_program

    if not 0 <= origin < 1 << 64:
        raise UsageError(f"origin {origin:#x} is no address")
    encoder = shared_encoder()
    encoder.start()  # it starts while we parse
    errors = Diagnostics()
    program = parse_program(source, roots, CpuMode(mode).bits, given, errors)
    return _finish(Layout(program, origin, encoder, errors).run(), source)


def _finish(laid_out: LaidOut, source: SourceText) -> Assembly:
    image = b"".join(chunk.data for chunk in laid_out.chunks)
    if laid_out.origin + len(image) > 1 << 64:
        raise InputError(f"{source.name} does not fit below the end of the address space")
    lines: list[ListingLine] = []
    for chunk, following in zip_longest(laid_out.chunks, laid_out.chunks[1:]):
        same_line = following is not None and following.line is chunk.line
        if chunk.data or (chunk.is_label and not same_line):
            text = chunk.line.text
            column = len(text) - len(text.lstrip()) + 1
            lines.append(ListingLine(chunk.address, chunk.data, chunk.line.at(column), text))
    symbols = laid_out.symbols
    entry = symbols.get("_start", symbols.get("start", laid_out.origin))
    return Assembly(laid_out.origin, image, entry, symbols, Listing(lines))

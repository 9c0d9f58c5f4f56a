"""Macros: their parameters, and the text of a call's expansion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from toyvisor.guest.lexer import Token, TokenKind
from toyvisor.guest.source import SourceLine


@dataclass(frozen=True, slots=True)
class Parameter:
    """A macro parameter; `default` None means that a call must give it."""

    name: str
    default: str | None = ""
    takes_rest: bool = False


@dataclass(frozen=True, slots=True)
class Macro:
    """A `.macro` or `%macro` and its body as written."""

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[SourceLine, ...]
    nasm: bool = False

    def expand(self, line: SourceLine, arguments: list[str], serial: int) -> list[SourceLine]:
        """The body's lines with the arguments put in. Raises SourceError at the call."""
        values = self._bind(line, arguments)
        values["@" if not self.nasm else "%"] = str(serial)
        if self.nasm:
            values["0"] = str(len(arguments))
        pattern = _NASM if self.nasm else _GNU
        caller = f"macro {self.name}, called at {line.file}:{line.number}"
        return [
            SourceLine(b.file, b.number, _substitute(pattern, b.text, values, serial), caller)
            for b in self.body
        ]

    def _bind(self, line: SourceLine, arguments: list[str]) -> dict[str, str]:
        values: dict[str, str] = {}
        names = [p.name for p in self.parameters]
        rest = bool(self.parameters) and self.parameters[-1].takes_rest
        if rest and len(arguments) > len(names):
            last = len(names) - 1
            arguments = [*arguments[:last], ", ".join(arguments[last:])]
        if len(arguments) > len(names):
            raise line.error(
                f"macro {self.name} takes {len(names)} arguments, {len(arguments)} given", 1
            )
        position = 0
        for argument in arguments:
            named = re.match(r"([A-Za-z_]\w*)\s*=(?!=)\s*(.*)", argument)
            if named and named.group(1) in names:
                values[named.group(1)] = named.group(2)
                continue
            values[names[position]] = argument
            position += 1
        for parameter in self.parameters:
            if values.get(parameter.name, "") == "":
                if parameter.default is None:
                    raise line.error(f"macro {self.name} needs its argument {parameter.name}", 1)
                values[parameter.name] = parameter.default
        return values


_GNU = re.compile(r"\\(\(\)|@|\w+)")
_NASM = re.compile(r"%(%|[0-9])")


def _substitute(pattern: re.Pattern[str], text: str, values: dict[str, str], serial: int) -> str:
    def one(match: re.Match[str]) -> str:
        key = match.group(1)
        if key == "()":
            return ""
        if key == "%":
            return f"..@{serial}."
        return values.get(key, match.group())

    return pattern.sub(one, text)


def parse_header(line: SourceLine, tokens: Sequence[Token], *, nasm: bool) -> Macro:
    """The Macro (with no body yet) of a `.macro name a, b=1, c:req` or `%macro name 2` line."""
    if not tokens or tokens[0].kind is not TokenKind.NAME:
        raise line.error(".macro needs a name", len(line.text) + 1)
    name, rest = tokens[0].text, tokens[1:]
    if nasm:
        count = rest[0].value if rest and rest[0].kind is TokenKind.NUMBER else 0
        if not 0 <= count <= 9:
            raise line.error("a %macro takes at most 9 parameters", rest[0].column)
        parameters = tuple(Parameter(str(n + 1), None) for n in range(count))
        return Macro(name, parameters, (), nasm=True)
    if rest and rest[0].is_punct(","):
        rest = rest[1:]
    parameters = tuple(_parameter(line, text) for text in _parameter_texts(line, rest))
    if len({p.name for p in parameters}) != len(parameters):
        raise line.error(f"macro {name} names a parameter twice", tokens[0].column)
    return Macro(name, parameters, ())


def _parameter_texts(line: SourceLine, tokens: Sequence[Token]) -> list[str]:
    """Parameters may be parted by commas or spaces: `a, b=1` and `a b=1`."""
    if not tokens:
        return []
    text = line.text[tokens[0].column - 1 : tokens[-1].column - 1 + len(tokens[-1].text)]
    return re.sub(r"\s*([=:])\s*", r"\1", text).replace(",", " ").split()


def _parameter(line: SourceLine, text: str) -> Parameter:
    match = re.fullmatch(r"\\?([A-Za-z_]\w*)(?::(req|vararg))?(?:=(.*))?", text)
    if match is None:
        column = line.text.find(text.split("=")[0]) + 1
        raise line.error(f"malformed macro parameter {text!r}", max(column, 1))
    name, kind, default = match.groups()
    return Parameter(name, None if kind == "req" else (default or ""), kind == "vararg")


def split_arguments(line: SourceLine, tokens: Sequence[Token]) -> list[str]:
    """The texts between the commas of a call, minding brackets (quotes are one token)."""
    if not tokens:
        return []
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.is_punct(",") and depth == 0:
            parts.append([])
            continue
        depth += token.is_punct("(", "[", "{")
        depth -= token.is_punct(")", "]", "}")
        parts[-1].append(token)
    return [_text(line, part) for part in parts]


def _text(line: SourceLine, tokens: list[Token]) -> str:
    if not tokens:
        return ""
    last = tokens[-1]
    return line.text[tokens[0].column - 1 : last.column - 1 + len(last.text)]

"""From preprocessed lines to statements: labels, assignments, directives, instructions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from toyvisor.errors import InputError, SourceError
from toyvisor.guest import directives, registers
from toyvisor.guest.diagnostics import Diagnostics
from toyvisor.guest.expressions import (
    EvaluationError,
    Expression,
    ExpressionParser,
    Op,
    Step,
    Value,
    binary_number,
)
from toyvisor.guest.lexer import Token, TokenKind, string_bytes
from toyvisor.guest.operands import OperandParser
from toyvisor.guest.preprocessor import Preprocessor
from toyvisor.guest.source import SourceLine, SourceRoots, SourceText
from toyvisor.guest.statements import (
    Assignment,
    Data,
    Fill,
    Instruction,
    Label,
    Statement,
    Times,
)
from toyvisor.guest.symbols import SymbolTable

MAX_INCBIN_BYTES = 16 << 20

PREFIXES = frozenset({"rep", "repe", "repz", "repne", "repnz", "lock"})
_MODES = {
    ".code16": 16, ".code32": 32, ".code64": 64, "use16": 16, "use32": 32, "use64": 64,
}  # fmt: skip
_ASSIGN = frozenset({".equ", ".set", ".equiv"})
_STRAY_PREFIXES = frozenset(
    {*registers.SEGMENTS, "data16", "data32", "addr16", "addr32", "o16", "o32", "a16", "a32", "rex"}
)


@dataclass(slots=True)
class ParsedProgram:
    """All statements in order, and where each symbol is defined."""

    statements: list[Statement] = field(default_factory=list)
    symbols: SymbolTable = field(default_factory=SymbolTable)


def parse_program(
    source: SourceText,
    roots: SourceRoots,
    bits: int,
    given: dict[str, int],
    errors: Diagnostics,
) -> ParsedProgram:
    """Parse a program of `bits`-wide code; `given` are symbols from outside.

    Errors are added to `errors`, so that one run shows many of them.
    """
    parser = _Parser(source, roots, bits, given, errors)
    for line, tokens in parser.preprocessor:
        with errors.collect():
            parser.line(line, tokens)
    return parser.program


class _Parser:
    def __init__(
        self,
        source: SourceText,
        roots: SourceRoots,
        bits: int,
        given: dict[str, int],
        errors: Diagnostics,
    ) -> None:
        self.preprocessor = Preprocessor(source, roots, errors)
        self.preprocessor.constants.update(given)
        self.preprocessor.known.update(given)
        self.program = ParsedProgram(symbols=SymbolTable(given=dict(given)))
        self._roots, self._path = roots, source.path
        self._bits = bits
        self._relative = False
        self._nasm = False
        self._scope = ""

    def line(self, line: SourceLine, tokens: list[Token]) -> None:
        """Parse one line: any number of labels, then at most one statement."""
        tokens = self._unbracket(tokens)
        while tokens and (taken := self._label(line, tokens)):
            tokens = tokens[taken:]
        if tokens:
            tokens = [tokens[0], *(self._qualify(t) for t in tokens[1:])]
            self._statement(line, tokens)

    def _add(self, statement: Statement) -> None:
        self.program.statements.append(statement)

    @staticmethod
    def _unbracket(tokens: list[Token]) -> list[Token]:
        """NASM's `[bits 16]` is `bits 16`."""
        if len(tokens) > 2 and tokens[0].is_punct("[") and tokens[-1].is_punct("]"):
            return tokens[1:-1]
        return tokens

    # Labels and names

    def _label(self, line: SourceLine, tokens: list[Token]) -> int:
        """Define the label that `tokens` begin with; how many tokens it took (0: none)."""
        first = tokens[0]
        colon = len(tokens) > 1 and tokens[1].is_punct(":")
        if first.kind is TokenKind.NUMBER and colon:
            if not first.text.isdigit():
                raise line.error("a numeric label is a plain decimal number", first.column)
            self.program.symbols.add_numeric(first.text, len(self.program.statements))
            self._add(Label(line, first.text, first.column))
            return 2
        if first.kind is not TokenKind.NAME:
            return 0
        if not colon:
            bare = len(tokens) > 1 and tokens[1].is_name(*directives.NASM_DATA)
            if not bare or tokens[1].is_name("equ") or first.is_name("times"):
                return 0
        name = self._qualify(first).text
        self._check_name(line, first)
        self.program.symbols.add_label(line, name, first.column, len(self.program.statements))
        self.preprocessor.known.add(name)
        if not first.text.startswith("."):
            self._scope = first.text
        self._add(Label(line, name, first.column))
        return 2 if colon else 1

    def _qualify(self, token: Token) -> Token:
        """`.loop` belongs to the label before it (NASM); `.Lname` and `..@name` to the file."""
        text = token.text
        local = token.kind is TokenKind.NAME and text[0] == "." and len(text) > 1
        if not local or text.startswith((".L", "..")):
            return token
        return replace(token, text=self._scope + text)

    @staticmethod
    def _check_name(line: SourceLine, token: Token) -> None:
        lower = token.text.lower()
        if lower in registers.ALL:
            raise line.error(f"'{token.text}' is a register, not a name to define", token.column)
        if lower in registers.RESERVED:
            raise line.error(f"'{token.text}' is a reserved word", token.column)

    # Statements

    def _statement(self, line: SourceLine, tokens: list[Token]) -> None:
        first, rest = tokens[0], tokens[1:]
        if first.kind is not TokenKind.NAME:
            what = first.text + (rest[0].text if first.is_punct("%") and rest else "")
            raise line.error(
                f"expected an instruction, a directive or a label, found '{what}'", first.column
            )
        if rest and rest[0].is_punct("="):
            self._assign(line, first, rest[1:], fixed=False)
        elif rest and rest[0].is_name("equ"):
            self._assign(line, first, rest[1:], fixed=True)
        else:
            self._word(line, first, rest)

    def _word(self, line: SourceLine, first: Token, rest: list[Token]) -> None:
        word = first.text.lower()
        if word in _ASSIGN:
            self._gnu_assign(line, first, rest)
        elif word in _MODES:
            self._bits = _MODES[word]
        elif word == "bits":
            self._set_bits(line, first, rest)
        elif word == "default":
            self._default(line, first, rest)
        elif word in (".incbin", "incbin"):
            self._add(Data(line, 1, (self._incbin(line, first, rest),)))
        elif word == "times":
            self._times(line, first, rest)
        elif word in directives.QUIET:
            return
        elif word in directives.HANDLERS:
            self._add(directives.HANDLERS[word](line, first, rest))
        elif word.startswith(".") or directives.is_refused(word):
            raise directives.unknown(line, first)
        else:
            self._add(self._instruction(line, first, rest))

    def _gnu_assign(self, line: SourceLine, first: Token, rest: list[Token]) -> None:
        if len(rest) < 3 or rest[0].kind is not TokenKind.NAME or not rest[1].is_punct(","):
            column = rest[0].column if rest else first.column
            raise line.error(f"{first.text} takes a name and a value", column, ".equ PORT, 0x3f8")
        self._assign(line, rest[0], rest[2:], fixed=first.text.lower() != ".set")

    def _assign(self, line: SourceLine, name: Token, rest: list[Token], *, fixed: bool) -> None:
        self._check_name(line, name)
        value = self._whole_expression(line, rest)
        qualified = self._qualify(name).text
        number = self._constant_now(value)
        symbols, here = self.program.symbols, len(self.program.statements)
        known = self.preprocessor.constants.get(qualified)
        if fixed and known is not None and known == number and symbols.is_defined(qualified):
            return  # an include file read twice says the same thing twice
        symbols.add_assignment(line, qualified, name.column, here, fixed=fixed)
        self.preprocessor.known.add(qualified)
        if number is not None:
            self.preprocessor.constants[qualified] = number
        else:
            self.preprocessor.constants.pop(qualified, None)
        self._add(Assignment(line, qualified, value, name.column, fixed))

    def _constant_now(self, value: Expression) -> int | None:
        """The value if it needs nothing but constants already known (for .if and .rept)."""

        def lookup(step: Step) -> Value:
            if step.text in self.preprocessor.constants:
                return Value(self.preprocessor.constants[step.text])
            if step.op is Op.NUMERIC and step.text[:-1] not in self.program.symbols.numeric:
                return Value(self._binary(step))
            raise EvaluationError("not known yet", step.column)

        try:
            result = value.evaluate(lookup)
        except SourceError:
            return None
        return None if result.registers else result.number

    @staticmethod
    def _binary(step: Step) -> int:
        number = binary_number(step)
        if number is None:
            raise EvaluationError("not known yet", step.column)
        return number

    def _whole_expression(self, line: SourceLine, tokens: list[Token]) -> Expression:
        parser = ExpressionParser(line, tokens)
        expression = parser.parse()
        if parser.position < len(tokens):
            token = tokens[parser.position]
            raise line.error(f"unexpected '{token.text}' after the value", token.column)
        return expression

    def _set_bits(self, line: SourceLine, first: Token, rest: list[Token]) -> None:
        if len(rest) != 1 or rest[0].value not in (16, 32, 64):
            raise line.error("bits takes 16, 32 or 64", first.column)
        self._bits = rest[0].value
        self._nasm = True  # no other assembler knows `bits` and `default`

    def _default(self, line: SourceLine, first: Token, rest: list[Token]) -> None:
        if len(rest) != 1 or not rest[0].is_name("rel", "abs"):
            raise line.error("default takes rel or abs", first.column)
        self._relative = rest[0].is_name("rel")
        self._nasm = True

    def _incbin(self, line: SourceLine, first: Token, rest: list[Token]) -> bytes:
        if not rest or rest[0].kind is not TokenKind.STRING:
            raise line.error(f"{first.text} takes a file name in quotes", first.column)
        name = string_bytes(line, rest[0], escapes=False).decode("utf-8", "replace")
        try:
            data = self._roots.read_binary(name, self._path, MAX_INCBIN_BYTES)
        except SourceError:
            raise
        except InputError as error:
            raise line.error(error.message, rest[0].column, error.hint) from None
        skip, count = self._incbin_range(line, rest[1:], len(data))
        return data[skip : skip + count]

    def _incbin_range(self, line: SourceLine, rest: list[Token], length: int) -> tuple[int, int]:
        numbers = [0, length]
        for slot in (0, 1):
            if not rest:
                break
            if not rest[0].is_punct(","):
                raise line.error(f"expected a comma, found '{rest[0].text}'", rest[0].column)
            parser = ExpressionParser(line, rest, 1)
            expression = parser.parse()
            number = self._constant_now(expression)
            if number is None or not 0 <= number <= length:
                raise expression.error(f"this has to be a number from 0 to {length}")
            numbers[slot] = number
            rest = rest[parser.position :]
        if rest:
            raise line.error(f"unexpected '{rest[0].text}'", rest[0].column)
        return numbers[0], numbers[1]

    def _times(self, line: SourceLine, first: Token, rest: list[Token]) -> None:
        parser = ExpressionParser(line, rest)
        count = parser.parse()
        body = rest[parser.position :]
        if not body:
            raise line.error("times needs something to repeat", len(line.text.rstrip()) + 1)
        word = body[0].text.lower()
        if body[0].kind is TokenKind.NAME and word in directives.HANDLERS:
            statement = directives.HANDLERS[word](line, body[0], body[1:])
        elif body[0].kind is TokenKind.NAME and word not in ("times", "equ"):
            statement = self._instruction(line, body[0], body[1:])
        else:
            raise line.error(f"times cannot repeat '{body[0].text}'", body[0].column)
        if not isinstance(statement, Instruction | Data | Fill):
            raise line.error(f"times cannot repeat '{body[0].text}'", body[0].column)
        self._add(Times(line, count, statement))

    def _instruction(self, line: SourceLine, first: Token, rest: list[Token]) -> Instruction:
        prefixes: list[str] = []
        column = first.column
        while first.text.lower() in PREFIXES:
            prefixes.append(first.text.lower())
            if not rest or rest[0].kind is not TokenKind.NAME:
                raise line.error(
                    f"{first.text} needs its instruction on the same line",
                    first.column,
                    "rep movsb",
                )
            first, rest = rest[0], rest[1:]
        word = first.text.lower()
        if word in _STRAY_PREFIXES:
            what = "a register" if word in registers.SEGMENTS else "a prefix"
            raise line.error(
                f"{first.text} is {what}, not an instruction",
                first.column,
                "write segments in the operand: mov al, es:[di]",
            )
        if word in registers.RESERVED:
            raise line.error(f"'{first.text}' is not an instruction", first.column)
        operands = OperandParser(line, rest).parse_all()
        return Instruction(
            line,
            column,
            word,
            operands,
            tuple(prefixes),
            self._bits,
            self._relative,
            self._nasm,
        )

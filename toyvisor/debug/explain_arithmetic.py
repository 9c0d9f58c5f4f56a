"""Instructions that compute: results where they can be told, and what flags will say."""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.debug.instruction_scene import Scene, number
from toyvisor.debug.instruction_words import Explainer, Words, mask, signed
from toyvisor.debug.views.vector_table import VectorTable
from toyvisor.guest.decoded import OperandKind

_Compute = Callable[[int, int, int, int], int]  # a, b, size in bytes, CF

#: sign for people, result.
_BINARY: dict[str, tuple[str, _Compute]] = {
    "add": ("+", lambda a, b, n, c: a + b),
    "adc": ("+", lambda a, b, n, c: a + b + c),
    "sub": ("-", lambda a, b, n, c: a - b),
    "sbb": ("-", lambda a, b, n, c: a - b - c),
    "and": ("and", lambda a, b, n, c: a & b),
    "or": ("or", lambda a, b, n, c: a | b),
    "xor": ("xor", lambda a, b, n, c: a ^ b),
    "shl": ("shifted left by", lambda a, b, n, c: a << _count(b, n)),
    "shr": ("shifted right by", lambda a, b, n, c: a >> _count(b, n)),
    "sar": ("shifted right, with its sign, by", lambda a, b, n, c: signed(a, n) >> _count(b, n)),
    "rol": ("rotated left by", lambda a, b, n, c: _rotate(a, b, n)),
    "ror": ("rotated right by", lambda a, b, n, c: _rotate(a, -b, n)),
}


def _count(count: int, size: int) -> int:
    """Only so many bits of a shift count matter (SDM vol. 2B, SAL/SAR/SHL/SHR)."""
    return count & (63 if size == 8 else 31)


def _rotate(value: int, count: int, size: int) -> int:
    count %= 8 * size
    return (value << count | value >> 8 * size - count) & mask(size)


def _binary(scene: Scene) -> Words:
    name = scene.decoded.mnemonic
    target, source = scene.operands
    sign, compute = _BINARY[name]
    if name in ("xor", "sub") and target == source._replace(
        is_read=target.is_read, is_written=target.is_written
    ):
        return Words(f"{scene.named(target)} = 0, in the shortest way")
    text = f"{scene.named(target)} = {scene.said(target)} {sign} {scene.said(source)}"
    if name in ("adc", "sbb"):
        text += f" {sign} CF ({scene.flag('CF')})"
    before, other = scene.value(target), scene.value(source)
    if before is None or other is None:
        return Words(text)
    result = compute(before, other, target.size, scene.flag("CF")) & mask(target.size)
    return Words(f"{text} = {number(result)}{_zero(result)}")


def _unary(scene: Scene) -> Words:
    name = scene.decoded.mnemonic
    (target,) = scene.operands
    before = scene.value(target)
    words = {"inc": "+ 1", "dec": "- 1", "neg": "negated", "not": "with all bits turned over"}
    text = f"{scene.named(target)} = {scene.said(target)} {words[name]}"
    if before is None:
        return Words(text)
    result = {"inc": before + 1, "dec": before - 1, "neg": -before, "not": ~before}[name]
    result &= mask(target.size)
    return Words(f"{text} = {number(result)}{'' if name == 'not' else _zero(result)}")


def _zero(result: int) -> str:
    return "; ZF becomes 1" if not result else ""


def _cmp(scene: Scene) -> Words:
    one, other = scene.operands
    text = f"compares {scene.said(one)} with {scene.said(other)}"
    a, b = scene.value(one), scene.value(other)
    if a is None or b is None:
        return Words(f"{text}, and sets the flags accordingly")
    b &= mask(one.size)
    if a == b:
        return Words(f"{text}: they are equal, ZF becomes 1")
    text += f": {'below' if a < b else 'above'}, ZF becomes 0, CF {int(a < b)}"
    is_less = signed(a, one.size) < signed(b, one.size)
    if is_less != (a < b):
        text += f" (as signed numbers: {'less' if is_less else 'greater'})"
    return Words(text)


def _test(scene: Scene) -> Words:
    one, other = scene.operands
    a, b = scene.value(one), scene.value(other)
    if one.kind is OperandKind.REGISTER and one.register == other.register:
        text = f"looks whether {scene.said(one)} is zero"
    else:
        text = f"looks at the bits {scene.said(other)} of {scene.said(one)}"
    if a is None or b is None:
        return Words(text)
    result = a & b & mask(one.size)
    found = "none is set" if one.register != other.register or not one.register else "it is"
    if result:
        found = f"{number(result)} are set" if found.startswith("none") else "it is not"
    return Words(f"{text}: {found}, ZF becomes {int(not result)}")


def _imul(scene: Scene) -> Words:
    if len(scene.operands) == 1:
        return _mul(scene)
    target, *factors = scene.operands
    if len(factors) == 1:
        factors = [target, *factors]
    text = f"{target.register} = {' * '.join(scene.said(factor) for factor in factors)}"
    values = [scene.value(factor) for factor in factors]
    if None in values:
        return Words(text)
    a, b = (signed(value or 0, f.size) for value, f in zip(values, factors, strict=True))
    return Words(f"{text} = {number(a * b & mask(target.size))}")


def _accumulator(size: int) -> tuple[str, str, str]:
    """The low half, the high half, and both as one says it."""
    low, high = {1: ("al", "ah"), 2: ("ax", "dx"), 4: ("eax", "edx")}.get(size, ("rax", "rdx"))
    return low, high, "ax" if size == 1 else f"{high}:{low}"


def _mul(scene: Scene) -> Words:
    (factor,) = scene.operands
    low, _, both = _accumulator(factor.size)
    value = scene.value(factor)
    text = f"{both} = {low} ({number(scene.register(low))}) * {scene.said(factor)}"
    if value is None or scene.decoded.mnemonic == "imul":
        return Words(text)
    return Words(f"{text} = {number(scene.known(low) * value)}")


def _div(scene: Scene) -> Words:
    (divisor,) = scene.operands
    low, high, both = _accumulator(divisor.size)
    dividend = scene.known(high) << 8 * divisor.size | scene.known(low)
    value = scene.value(divisor)
    text = f"divides {both} ({number(dividend)}) by {scene.said(divisor)}"
    if value is None:
        return Words(text)
    if not value:
        return Words(f"{text}: that is a divide error, #DE; {handler_of(scene, 0)}")
    if scene.decoded.mnemonic == "idiv":
        return Words(f"{text}: {low} gets the quotient, {high} the remainder")
    quotient, rest = divmod(dividend, value)
    if quotient > mask(divisor.size):
        return Words(
            f"{text}: the quotient {number(quotient)} does not fit into {low}, a divide error, "
            f"#DE; {handler_of(scene, 0)}"
        )
    return Words(f"{text}: {low} = {number(quotient)}, and {high} = {number(rest)} is left over")


def handler_of(scene: Scene, vector: int) -> str:
    """Where an exception or interrupt goes."""
    table = VectorTable(scene.machine, scene.program)
    row = table.row(vector)
    if row is None:
        return f"the {table.name} has no entry for vector {number(vector)}"
    label = f" ({row.label})" if row.label else ""
    problem = f", but {row.problem}" if row.problem else ""
    return f"vector {number(vector)} leads to {row.handler:#x}{label}{problem}"


def _xadd(scene: Scene) -> Words:
    target, source = scene.operands
    return Words(
        f"adds {scene.said(source)} to {scene.said(target)}, and {source.register} gets what was "
        "there before"
    )


def _cmpxchg(scene: Scene) -> Words:
    target, source = scene.operands
    low = _accumulator(target.size)[0]
    expected, found = scene.register(low), scene.value(target)
    text = f"compares {scene.said(target)} with {low} ({number(expected)})"
    if found is None:
        return Words(f"{text}, and stores {scene.said(source)} if they are equal")
    if found == expected:
        return Words(f"{text}: equal, so it stores {scene.said(source)} there")
    return Words(f"{text}: not equal, so {low} gets what is there")


def _bit(scene: Scene) -> Words:
    target, source = scene.operands
    does = {
        "bt": "",
        "bts": ", and sets it",
        "btr": ", and clears it",
        "btc": ", and turns it over",
    }
    return Words(
        f"copies bit {scene.said(source)} of {scene.said(target)} into CF"
        f"{does[scene.decoded.mnemonic]}"
    )


def _sign(scene: Scene) -> Words:
    name = scene.decoded.mnemonic
    low, high, wide = {
        "cbw": ("al", "ax", ""), "cwde": ("ax", "eax", ""), "cdqe": ("eax", "rax", ""),
        "cwd": ("ax", "dx", "dx:ax"), "cdq": ("eax", "edx", "edx:eax"),
        "cqo": ("rax", "rdx", "rdx:rax"),
    }[name]  # fmt: skip
    return Words(f"extends {low} ({number(scene.register(low))}) with its sign to {wide or high}")


ARITHMETIC: dict[str, Explainer] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(("inc", "dec", "neg", "not"), _unary),
    "cmp": _cmp,
    "test": _test,
    "imul": _imul,
    "mul": _mul,
    "div": _div,
    "idiv": _div,
    "xadd": _xadd,
    "cmpxchg": _cmpxchg,
    **dict.fromkeys(("bt", "bts", "btr", "btc"), _bit),
    **dict.fromkeys(("cbw", "cwde", "cdqe", "cwd", "cdq", "cqo"), _sign),
}

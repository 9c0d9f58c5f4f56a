"""The sixteen conditions of Jcc, SETcc and CMOVcc (Intel SDM vol. 1, appendix B)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from toyvisor.debug.register_names import FLAGS

_Test = Callable[[dict[str, int]], bool]


class Condition(NamedTuple):
    """`flags` decide; `meaning` is what they say after a CMP of a with b."""

    flags: tuple[str, ...]
    test: _Test
    meaning: str
    opposite: str


def _pair(
    code: str, contrary: str, flags: tuple[str, ...], test: _Test, meaning: str, opposite: str
) -> dict[str, Condition]:
    return {
        code: Condition(flags, test, meaning, opposite),
        contrary: Condition(flags, lambda f: not test(f), opposite, meaning),
    }


#: As Capstone writes them: jb, not jc or jnae.
CONDITIONS: dict[str, Condition] = {
    **_pair("o", "no", ("of",), lambda f: bool(f["of"]), "overflow", "no overflow"),
    **_pair("b", "ae", ("cf",), lambda f: bool(f["cf"]), "below", "not below"),
    **_pair("e", "ne", ("zf",), lambda f: bool(f["zf"]), "equal, or 0", "not equal, or not 0"),
    **_pair("be", "a", ("cf", "zf"), lambda f: bool(f["cf"] or f["zf"]), "below or equal", "above"),
    **_pair("s", "ns", ("sf",), lambda f: bool(f["sf"]), "negative", "not negative"),
    **_pair("p", "np", ("pf",), lambda f: bool(f["pf"]), "even parity", "odd parity"),
    **_pair("l", "ge", ("sf", "of"), lambda f: f["sf"] != f["of"], "less", "greater or equal"),
    **_pair("le", "g", ("zf", "sf", "of"), lambda f: bool(f["zf"]) or f["sf"] != f["of"],
            "less or equal", "greater"),
}  # fmt: skip


def holds(code: str, rflags: int) -> tuple[bool, str]:
    """Whether a condition is true, and because of which flags."""
    condition = CONDITIONS[code]
    flags = {name: rflags >> FLAGS[name][0] & 1 for name in ("cf", "pf", "zf", "sf", "of")}
    said = " and ".join(f"{name.upper()} is {flags[name]}" for name in condition.flags)
    is_true = condition.test(flags)
    return is_true, f"{said} ({condition.meaning if is_true else condition.opposite})"

"""Numbers as people read them: three significant digits, and never a false zero."""

from __future__ import annotations

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_EXACT_BELOW = 10_000
_HUGE = 1e15


def figure(value: float) -> str:
    """A number in at most 8 characters: 0.0156, 15.8, 378, 2,643, 16.9k, 3.36M.

    Within 1 % of the value; 0 only for 0. Whole numbers below 10,000 are exact.
    """
    if value < 0:
        return f"-{figure(-value)}"
    if value == 0:
        return "0"
    if value >= _HUGE:
        return f"{value:.2e}"
    if value < _EXACT_BELOW and (value == int(value) or value >= 999.5):
        return f"{value:,.0f}"
    if value < _EXACT_BELOW:
        return _three_digits(value)
    for size, unit in _UNITS:
        if value >= size * 0.9995:
            return f"{_three_digits(value / size)}{unit}"
    raise AssertionError(value)


def rough(value: float) -> str:
    """An estimate of 0 or more: two significant digits, 990, 9.9k, 170k, 3.4M."""
    rounded = float(f"{value:.2g}")
    return figure(rounded) if rounded < 1000 else _with_unit(rounded)


def _with_unit(value: float) -> str:
    if value >= _HUGE:
        return f"{value:.1e}"
    size, unit = next(entry for entry in _UNITS if value >= entry[0])
    return f"{_three_digits(value / size)}{unit}"


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    if rounded < 1e-4:
        return f"{rounded:.2e}"
    return f"{rounded:.8f}".rstrip("0").rstrip(".")


def counted(value: float, one: str, many: str | None = None) -> str:
    """A figure with its noun: "1 exit", "378 exits", "0.0156 exits"."""
    text = figure(value)
    return f"{text} {one if text == '1' else many or one + 's'}"


def duration(seconds: float) -> str:
    """A time with its unit: "1.52 us", "285.00 ns", "3.10 ms"."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.2f} {unit}"
    nanoseconds = seconds / 1e-9
    return f"{nanoseconds:.2f} ns" if nanoseconds >= 0.1 else f"{nanoseconds:.2g} ns"


def microseconds(nanoseconds: float) -> str:
    """A measured time in microseconds, without its unit; "~0" for less than nothing (noise)."""
    return figure(float(f"{nanoseconds / 1000:.3g}")) if nanoseconds > 0 else "~0"


def percent(fraction: float) -> str:
    """A part of 1: "88 %"; "<1 %" and ">99 %" where rounding would say none or all."""
    rounded = round(100 * fraction)
    if rounded == 0 and fraction > 0:
        return "<1 %"
    if rounded == 100 and fraction < 1:
        return ">99 %"
    return f"{rounded} %"


def against(value: float, reference: float) -> str:
    """How an estimate compares to another: "330 times less", "1.2 times as much", "the same"."""
    if value == reference:
        return "the same"
    if value == 0:
        return "nothing"
    if reference == 0:
        return "more than nothing"
    if rough(value) == rough(reference):
        return "nearly the same"
    if value < reference:
        return f"{rough(reference / value)} times less"
    return f"{rough(value / reference)} times as much"


def listed(items: list[str]) -> str:
    """Join with commas and a last "and": a, b and c."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"

"""What a machine's Python objects hold, taken down and put back into the very same objects.

A machine is some hundred small objects: devices, rings, timers, queues of frames. All that they
know is in their attributes and in lists, dictionaries, sets, queues and byte arrays. So its state
is a shallow copy of each of them; and putting it back leaves every reference between them true,
those from stacks and callbacks included.

What is not in Python (the processor, the RAM) checkpoint.py takes down in its own way.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    CellType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

from toyvisor.errors import ToyvisorError

#: Never changes, and leads to nothing that does.
_CONSTANT = (
    int, float, str, bytes, bool, type(None), type, range, ModuleType, memoryview,
    ctypes.Array, ctypes.Structure, ctypes.PyDLL, type(ctypes.byref(ctypes.c_int())),
)  # fmt: skip
#: Of C's types, the ones whose classes have no public name.
_CONSTANT_FROM = frozenset(("greenlet", "_struct", "enum", "re", "ctypes", "_ctypes"))


class UnknownStateError(ToyvisorError):
    """An object of a machine keeps its state in a way that nobody said how to take down."""


class Heap:
    """The objects that are reached from `root`, but for what `leave_out` holds.

    `leave_out` are objects that are not followed, and keep what they hold.
    """

    def __init__(self, root: object, leave_out: Iterable[object]) -> None:
        self._root = root
        self._leave_out = list(leave_out)
        self._plans: dict[type, _Plan] = {}

    def take_down(self, like: HeapState | None = None) -> HeapState:
        """What they all hold now. What is as it was in `like` is shared with it."""
        seen = {id(thing) for thing in self._leave_out}
        before = like.by_id if like is not None else {}
        by_id: dict[int, tuple[Any, Any]] = {}
        stack: list[Any] = [self._root]
        plans = self._plans
        while stack:
            thing = stack.pop()
            key = id(thing)
            if key in seen:
                continue
            seen.add(key)
            kind = type(thing)
            plan = plans.get(kind)
            if plan is None:
                plan = plans[kind] = _plan(kind)
            held = plan.copy(thing) if plan.copy is not None else None
            if plan.copy is not None:
                old = before.get(key)
                by_id[key] = old if old is not None and _same(old[1], held) else (thing, held)
            if plan.follow is not None:
                stack.extend(plan.follow(thing, held))
        return HeapState(by_id)

    def put_back(self, state: HeapState) -> None:
        """Make all objects hold again what they held then."""
        plans = self._plans
        for thing, held in state.by_id.values():
            restore = plans[type(thing)].restore
            assert restore is not None
            restore(thing, held)


class HeapState:
    """What some objects held at one moment: (the object, a copy of what it held) by identity."""

    __slots__ = ("by_id",)

    def __init__(self, by_id: dict[int, tuple[Any, Any]]) -> None:
        self.by_id = by_id


class _Plan:
    """How one type's objects are copied, followed and restored. None: there is nothing to do."""

    __slots__ = ("copy", "follow", "restore")

    def __init__(
        self,
        copy: Callable[[Any], Any] | None,
        follow: Callable[[Any, Any], Iterable[Any]] | None,
        restore: Callable[[Any, Any], None] | None,
    ) -> None:
        self.copy = copy
        self.follow = follow
        self.restore = restore


def _same(one: Any, other: Any) -> bool:
    """Whether two copies hold the very same objects. (Equal ones would not do.)"""
    if type(one) is not type(other):
        return False
    if isinstance(one, (bytes, type(None))):
        return bool(one == other)
    if len(one) != len(other):
        return False
    if isinstance(one, dict):
        return all(map(is_, one, other)) and all(map(is_, one.values(), other.values()))
    if isinstance(one, _Attributes):
        return _same(one.in_slots, other.in_slots) and _same(one.in_dict, other.in_dict)
    return all(map(is_, one, other))


class _Attributes(NamedTuple):
    """What an instance holds."""

    in_slots: dict[str, Any]
    in_dict: dict[str, Any] | None


def _plan(kind: type) -> _Plan:
    if issubclass(kind, _CONSTANT) or kind.__module__ in _CONSTANT_FROM:
        return _Plan(None, None, None)
    for base, plan in _PLANS:
        if issubclass(kind, base):
            return plan
    if kind.__module__.partition(".")[0] in ("toyvisor", "tests"):
        return _instance_plan(kind)
    raise UnknownStateError(f"nobody said how to take down what a {kind.__module__}.{kind} holds")


def _set_items(thing: Any, held: Any) -> None:
    thing[:] = held


def _update(thing: Any, held: Any) -> None:
    thing.clear()
    thing.update(held)


def _extend(thing: Any, held: Any) -> None:
    thing.clear()
    thing.extend(held)


def _items(_thing: Any, held: Any) -> Iterable[Any]:
    return held  # type: ignore[no-any-return]


def _keys_and_values(_thing: Any, held: Any) -> Iterator[Any]:
    yield from held
    yield from held.values()


def _of_function(thing: Any, _held: Any) -> Iterable[Any]:
    return thing.__closure__ or ()


def _cell_content(thing: Any) -> Any:
    try:
        return (thing.cell_contents,)
    except ValueError:  # empty
        return ()


def _set_cell(thing: Any, held: Any) -> None:
    if held:
        thing.cell_contents = held[0]


_IMMUTABLE = (tuple, frozenset)
_PLANS: tuple[tuple[type | tuple[type, ...], _Plan], ...] = (
    (list, _Plan(list, _items, _set_items)),
    (dict, _Plan(dict, _keys_and_values, _update)),
    (set, _Plan(set, _items, _update)),
    (deque, _Plan(list, _items, _extend)),
    (bytearray, _Plan(bytes, None, _set_items)),
    (mmap.mmap, _Plan(lambda thing: thing[:], None, _set_items)),
    (_IMMUTABLE, _Plan(None, lambda thing, _held: thing, None)),
    (MappingProxyType, _Plan(None, lambda thing, _held: thing.values(), None)),
    (MethodType, _Plan(None, lambda thing, _held: (thing.__self__, thing.__func__), None)),
    (FunctionType, _Plan(None, _of_function, None)),
    (CellType, _Plan(_cell_content, _items, _set_cell)),
    (
        (BuiltinFunctionType, BuiltinMethodType),
        _Plan(None, lambda thing, _held: (getattr(thing, "__self__", None),), None),
    ),
    (
        functools.partial,
        _Plan(None, lambda thing, _held: (thing.func, *thing.args, *thing.keywords.values()), None),
    ),
)


def _instance_plan(kind: type) -> _Plan:
    """Attributes: a dictionary, slots, or both."""
    slots = [
        (name, member)
        for base in kind.__mro__
        for name, member in base.__dict__.items()
        if type(member).__name__ == "member_descriptor"
    ]
    has_dict = any("__dict__" in base.__dict__ for base in kind.__mro__)

    def copy(thing: Any) -> Any:
        held = {name: getattr(thing, name) for name, _ in slots if hasattr(thing, name)}
        return _Attributes(held, dict(thing.__dict__) if has_dict else None)

    def follow(_thing: Any, held: Any) -> Iterator[Any]:
        yield from held.in_slots.values()
        if held.in_dict is not None:
            yield from held.in_dict.values()

    def restore(thing: Any, held: Any) -> None:
        in_slots, in_dict = held
        for name, member in slots:
            if name in in_slots:
                member.__set__(thing, in_slots[name])
            elif hasattr(thing, name):
                member.__delete__(thing)
        if in_dict is not None:
            thing.__dict__.clear()
            thing.__dict__.update(in_dict)

    return _Plan(copy, follow, restore)

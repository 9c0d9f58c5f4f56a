"""Guest time: instructions executed.

Time is counted, never measured, so that a run repeats exactly. Unicorn calls at the start
of every translated block; the block's instruction count is known from its translation.
Inside a block, the time is the block's start plus the instructions before RIP.

A repeated string instruction counts one for each iteration and one for finding its count
at zero, which is how often the processor goes through it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_void_p
from struct import Struct

from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.native_counter import (
    TABLE_ENTRIES,
    ClockState,
    TableEntry,
    native_counter,
    table_slot,
)
from toyvisor.cpu.unicorn_abi import (
    UC_HOOK_BLOCK,
    UC_HOOK_EDGE_GENERATED,
    BlockHook,
    EdgeHook,
    TranslationBlock,
    add_hook,
    library,
    translated_block,
)

#: Lengths in bytes of the instructions in a stretch of code, up to what is none:
#: (code, address, 16 or 32 or 64) -> lengths
InstructionLengths = Callable[[bytes, int, int], Sequence[int]]

FOREVER = 1 << 63
#: The guest runs at most so many instructions before Python runs, and with it Ctrl-C.
BREATH = 10_000_000
_READ_STATE = Struct("<3Q2I").unpack_from  # the first fields of ClockState, at once


class Clock:
    """Counts instructions, and stops the guest before the block that would pass the limit.

    `state` is shared with the native counter:
    with_block: instructions executed, those of the whole present block included;
    block, block_size, block_instructions: the present block;
    limit: when to ask Python, at the latest.
    """

    def __init__(
        self,
        engine: c_void_p,
        view: GuestView,
        lengths: InstructionLengths,
    ) -> None:
        self._engine = engine
        self._view = view
        self._instruction_lengths = lengths
        #: The block that was not begun because of the limit, else None.
        self.refused: tuple[int, int, int] | None = None
        #: Blocks that may hold an INS instruction: (address, size). See the world switch.
        self.blocks_with_ins: set[tuple[int, int]] = set()
        self._instructions_in: dict[int, int] = {}
        self._cut = (0, 0)
        #: rip -> (its block, the block's size, instructions of the block before it)
        self._position: dict[int, tuple[int, int, int]] = {}
        #: Grows with every translation.
        self.generation = 0
        #: (block, size) -> lengths of its instructions
        self._lengths_of: dict[tuple[int, int], list[int]] = {}
        self._table = (TableEntry * TABLE_ENTRIES)()
        self._block_hook = BlockHook(self._block)
        self._edge_hook = EdgeHook(self._translated)
        #: What a callback raised is told here (ExitDoor.fail).
        self.fail: Callable[[BaseException], None] = _raise
        self._limit = self._debug_stop = FOREVER
        self._breakpoints: frozenset[int] = frozenset()
        self._watch: Callable[[], int] | None = None
        #: Time the guest has slept through, on top of its instructions.
        self.idle = 0
        #: False while an instruction runs that was begun before and must be finished.
        self.may_refuse = True
        self._state_bytes = bytearray(ctypes.sizeof(ClockState))
        self.state = ClockState.from_buffer(self._state_bytes)
        self.state.limit = BREATH
        self.state.table = ctypes.addressof(self._table)
        self.state.slow_path = ctypes.cast(self._block_hook, c_void_p).value
        counter = native_counter()
        callback = self._block_hook if counter is None else c_void_p(counter)
        add_hook(engine, UC_HOOK_BLOCK, callback, 1, 0, user_data=ctypes.addressof(self.state))
        add_hook(engine, UC_HOOK_EDGE_GENERATED, self._edge_hook, 1, 0)

    @property
    def limit(self) -> int:
        """When the time slice ends, in instructions."""
        return self._limit

    @limit.setter
    def limit(self, instructions: int) -> None:
        self._limit = max(0, instructions)
        self._set_native_limit(self.with_block)

    # For a debugger, that stops the guest without it or KVM noticing ---------------------------

    @property
    def debug_stop(self) -> int:
        """When a debugger wants the guest to stand between two instructions."""
        return self._debug_stop

    @debug_stop.setter
    def debug_stop(self, instructions: int) -> None:
        self._debug_stop = instructions
        self._set_native_limit(self.with_block)

    @property
    def breakpoints(self) -> frozenset[int]:
        """Linear addresses of instructions that a debugger wants the guest to stand before."""
        return self._breakpoints

    @breakpoints.setter
    def breakpoints(self, addresses: frozenset[int]) -> None:
        self._breakpoints = addresses
        self._set_native_limit(self.with_block)

    def instructions_to_stop(self, address: int, lengths: Sequence[int]) -> int:
        """How many of a block's instructions a debugger lets run, of those there are."""
        wanted = min(len(lengths), max(0, self._debug_stop - self.with_block))
        if self._breakpoints:
            for done, length in enumerate(lengths[:wanted]):
                if address in self._breakpoints:
                    return done
                address += length
        return wanted

    def _holds_breakpoint(self, address: int, size: int, count: int) -> bool:
        """Whether an instruction of a block begins where a debugger wants to stop."""
        inside = [place for place in self._breakpoints if address <= place < address + size]
        if not inside:
            return False
        starts = {address}
        for length in self.lengths(address, size, count):
            address += length
            starts.add(address)
        return not starts.isdisjoint(inside)

    @property
    def watch(self) -> Callable[[], int] | None:
        """Asked before each block, if it is not None: 0 unless the guest is to stop there."""
        return self._watch

    @watch.setter
    def watch(self, stop: Callable[[], int] | None) -> None:
        if stop is not self._watch:
            self._watch = stop
            self._set_native_limit(self.with_block)

    def _set_native_limit(self, now: int) -> None:
        asks = self._watch is not None or self._breakpoints
        self.state.limit = 0 if asks else min(self._limit, self._debug_stop, now + BREATH)

    @property
    def with_block(self) -> int:
        """Instructions executed, those of the whole present block included."""
        return int(self.state.with_block)

    def leave_block(self) -> None:
        """The present block is over; the next may be the same again."""
        self.state.block_size = 0

    def abandon_block(self, rip: int) -> None:
        """The present block was left before the instruction at `rip`, to begin there anew."""
        self.state.with_block = self.before(rip)
        self.leave_block()

    def add_one(self) -> None:
        """Time passes without an instruction."""
        self.state.with_block += 1

    def take_back_one(self) -> None:
        """The last instruction, counted already, turned out to be a fault."""
        self.state.with_block -= 1

    def _block(self, _engine: int, address: int, size: int) -> None:
        """What the native counter leaves to us, or everything where there is none."""
        try:
            self._count(address, size)
        except BaseException as failure:  # Ctrl-C among them
            self.fail(failure)

    def _count(self, address: int, size: int) -> None:
        state = self.state
        count = self._instructions_in.get(address | size << 64)
        if count is None:
            count = self._unannounced(address, size)
        end = state.block + state.block_size
        if state.block <= address and (
            address + size < end
            or (address + size == end == sum(self._cut) and address > state.block)
        ):
            self._take_back(address, size)
        now = state.with_block + count
        if now > state.limit:
            if self.may_refuse and self._is_to_stop(now, address, size, count):
                self.refused = (address, size, count)
                library.uc_emu_stop(self._engine)
                return
            self._set_native_limit(now)
        state.with_block = now
        state.block = address
        state.block_size = size
        state.block_instructions = count
        self._table[table_slot(address)] = TableEntry(address, size, count)

    def _is_to_stop(self, now: int, address: int, size: int, count: int) -> bool:
        if now > self._limit or now > self._debug_stop or (self._watch and self._watch()):
            return True
        return bool(self._breakpoints) and self._holds_breakpoint(address, size, count)

    def _unannounced(self, address: int, size: int) -> int:
        """Unicorn does not announce its first block, nor a store that changes its own block."""
        self._learn(translated_block(self._engine, address))
        known = self._instructions_in.get(address | size << 64)
        return len(self.lengths(address, size, 1)) if known is None else known

    def _take_back(self, address: int, size: int) -> None:
        """The last block may have been left at `address`: a store changed the block's own code.

        Unicorn then runs that store, one whole instruction of the last block, as a block of
        its own. (A jump into the middle of an instruction also leads inside the last block.)
        """
        state = self.state
        at = state.block
        for done, length in enumerate(self._block_lengths()):
            if at == address and length == size:
                state.with_block -= state.block_instructions - done
            if at >= address:
                return
            at += length

    def _translated(self, _engine: int, block: ctypes._Pointer[TranslationBlock]) -> None:
        try:
            self._learn(block[0])
        except BaseException as failure:
            self.fail(failure)

    def _learn(self, block: TranslationBlock) -> None:
        count = block.icount
        if self._cut[1] and block.pc >= self._cut[0] and block.pc + block.size == sum(self._cut):
            # Translated up to an exit address, Unicorn counts the stop as an instruction; not
            # behind a repeated instruction, which ends its block by itself. It is translated
            # anew from its middle on if a store in it changes the block's own code.
            count = max(1, count - 1)
        self._instructions_in[block.pc | block.size << 64] = count
        self._position.clear()  # the code there may have changed
        self._lengths_of.clear()
        self.generation += 1
        self._table[table_slot(block.pc)] = TableEntry(block.pc, block.size, count)
        self._view.note_code(block.pc, block.size)
        code = self._view.read(block.pc, block.size)
        if b"\x6c" in code or b"\x6d" in code:
            self.blocks_with_ins.add((block.pc, block.size))

    def before(self, rip: int) -> int:
        """Instructions executed before the one at linear address `rip`."""
        with_block, _, block, size, count = _READ_STATE(self._state_bytes)
        if not block <= rip < block + size:
            return int(with_block)
        known = self._position.get(rip)
        if known is None or known[0] != block or known[1] != size:
            known = self._position[rip] = (block, size, self._find(rip))
        return int(with_block - count + known[2])

    def _find(self, rip: int) -> int:
        """How many instructions of the block come before `rip`."""
        address = self.state.block
        done = 0
        for length in self._block_lengths():
            if address >= rip:
                break
            address += length
            done += 1
        return done

    def fell_through_to(self, rip: int) -> bool:
        """Whether the last block ends where `rip` is."""
        return bool(self.state.block + self.state.block_size == rip)

    def last_instruction(self) -> int:
        """The address of the last block's last instruction."""
        state = self.state
        return int(state.block) + sum(self._block_lengths()[:-1])

    def _block_lengths(self) -> list[int]:
        state = self.state
        place = (state.block, state.block_size)
        known = self._lengths_of.get(place)
        if known is None:
            known = self._lengths_of[place] = self.lengths(*place, state.block_instructions)
        return known

    def lengths(self, address: int, size: int, count: int) -> list[int]:
        """Lengths in bytes of the `count` instructions of a translated block.

        One that the disassembler does not know gets the length that makes the others fit;
        several of them are told as one, so fewer than `count` may come back.
        """
        code, bits = self._view.read(address, size), self._view.code_bits()
        known = list(self._instruction_lengths(code, address, bits))
        done = sum(known)
        if done >= len(code):
            return known
        for length in range(1, min(16, len(code) - done + 1)):
            rest = code[done + length :]
            others = self._instruction_lengths(rest, address + done + length, bits)
            if sum(others) == len(rest) and len(known) + 1 + len(others) == count:
                return [*known, length, *others]
        return [*known, len(code) - done]

    def forget_blocks(self) -> None:
        """All will be translated anew, and may have changed."""
        self._instructions_in.clear()
        self._position.clear()
        self._lengths_of.clear()
        ctypes.memset(self._table, 0, ctypes.sizeof(self._table))
        self.generation += 1

    def cut(self, address: int, size: int) -> None:
        """Only the first `size` bytes of the block at `address` will run next."""
        self._cut = (address, size)


def _raise(failure: BaseException) -> None:
    raise failure

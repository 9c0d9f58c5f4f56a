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
#: (code, address) -> lengths
InstructionLengths = Callable[[bytes, int], Sequence[int]]

FOREVER = 1 << 63


class Clock:
    """Counts instructions, and stops the guest before the block that would pass `limit`."""

    def __init__(
        self,
        engine: c_void_p,
        code: Callable[[int, int], bytes],
        lengths: InstructionLengths,
    ) -> None:
        self._engine = engine
        self._code = code
        self._lengths = lengths
        #: Instructions executed, those of the whole present block included.
        self.with_block = 0
        #: The present block: its address, its size in bytes, its instructions.
        self.block = 0
        self.block_size = 0
        self.block_instructions = 0
        #: Do not begin a block that would take `with_block` past this.
        self.limit = FOREVER
        #: The block that was not begun because of the limit, else None.
        self.refused: tuple[int, int, int] | None = None
        self._instructions_in: dict[int, int] = {}
        self._cut = (0, 0)
        self._position: dict[tuple[int, int, int], int] = {}
        self._callbacks = (BlockHook(self._block), EdgeHook(self._translated))
        add_hook(engine, UC_HOOK_BLOCK, self._callbacks[0], 1, 0)
        add_hook(engine, UC_HOOK_EDGE_GENERATED, self._callbacks[1], 1, 0)

    def _block(self, _engine: int, address: int, size: int) -> None:
        count = self._instructions_in.get(address | size << 64)
        if count is None:
            # Unicorn does not announce the very first block it translates.
            self._learn(translated_block(self._engine, address))
            count = self._instructions_in[address | size << 64]
        if self.block <= address and address + size < self.block + self.block_size:
            self._take_back(address)
        now = self.with_block + count
        if now > self.limit:
            self.refused = (address, size, count)
            library.uc_emu_stop(self._engine)
            return
        self.with_block = now
        self.block = address
        self.block_size = size
        self.block_instructions = count

    def _take_back(self, address: int) -> None:
        """The last block was left at `address`: a store changed the block's own code.

        Unicorn then runs that store as a block of its own. Only so can a block begin inside
        the last one and end before it: left to itself it would run to the same end.
        """
        code = self._code(self.block, address - self.block)
        done = len(self._lengths(code, self.block))
        self.with_block -= self.block_instructions - done

    def _translated(self, _engine: int, block: ctypes._Pointer[TranslationBlock]) -> None:
        self._learn(block[0])

    def _learn(self, block: TranslationBlock) -> None:
        count = block.icount
        if (block.pc, block.size) == self._cut:
            # Translated up to an exit address, Unicorn counts the stop as an instruction.
            count -= 1
        self._instructions_in[block.pc | block.size << 64] = count

    def before(self, rip: int) -> int:
        """Instructions executed before the one at linear address `rip`."""
        if not self.block <= rip < self.block + self.block_size:
            return self.with_block
        key = (rip, self.block, self.block_size)
        done = self._position.get(key)
        if done is None:
            address = self.block
            done = 0
            for length in self._lengths(self._code(self.block, self.block_size), address):
                if address >= rip:
                    break
                address += length
                done += 1
            self._position[key] = done
        return self.with_block - self.block_instructions + done

    def cut(self, address: int, size: int) -> None:
        """Only the first `size` bytes of the block at `address` will run next."""
        self._cut = (address, size)

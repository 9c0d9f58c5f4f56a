"""The child process that holds Keystone and Capstone: one request line in, one answer line out.

Keystone can hang, take all memory or end its process on bad input, so it lives alone here.
The file is run by its path with nothing but the standard library, keystone and capstone in
reach; it must not import the rest of Toyvisor, so that it starts fast.

    request   {"bits": 64, "text": "mov rax, 0x5"}  or  {"bits": 64, "code": "48c7c0..."}
    answer    {"code": "48c7c0...", "count": 1, "instructions": [["mov", "rax, 5", 7]]}
              {"error": 514, "message": "Invalid mnemonic ...", "close": ["movs"]}
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MEMORY_LIMIT = 1 << 30
"""Bytes of address space: Keystone's tables and room to spare."""


COMMON = (
    "mov", "add", "sub", "and", "or", "xor", "cmp", "test", "inc", "dec", "neg", "not", "mul",
    "imul", "div", "idiv", "shl", "shr", "sar", "rol", "ror", "lea", "push", "pop", "call", "ret",
    "jmp", "je", "jne", "jz", "jnz", "ja", "jb", "jae", "jbe", "jg", "jl", "jge", "jle", "jc",
    "jnc", "js", "jns", "loop", "int", "hlt", "in", "out", "cli", "sti", "nop", "lodsb", "stosb",
    "movsb", "rep", "xchg", "cpuid", "rdmsr", "wrmsr", "lgdt", "lidt", "iretq", "iret", "movzx",
    "movsx", "xadd", "cmpxchg", "mfence", "lfence", "sfence", "pause",
)  # fmt: skip
"""What a misspelt mnemonic most likely was meant to be."""


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, value))
        except (ValueError, OSError):  # macOS refuses RLIMIT_AS
            continue


class _Worker:
    def __init__(self) -> None:
        import keystone

        modes = {
            16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64,
        }  # fmt: skip
        self._error = keystone.KsError
        self._unknown = keystone.KS_ERR_ASM_MNEMONICFAIL
        # No option is ever set: in Keystone 0.9.2 they leak into other instances.
        self._assemblers = {
            bits: keystone.Ks(keystone.KS_ARCH_X86, mode) for bits, mode in modes.items()
        }
        self._disassemblers: dict[int, Any] = {}

    def _disassembler(self, bits: int) -> Any:
        if bits not in self._disassemblers:
            import capstone

            mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
            self._disassemblers[bits] = capstone.Cs(capstone.CS_ARCH_X86, mode[bits])
        return self._disassemblers[bits]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        bits = request["bits"]
        if "code" in request:
            code, count = bytes.fromhex(request["code"]), 1
        else:
            try:
                code, count = self._assemblers[bits].asm(request["text"], 0, as_bytes=True)
            except self._error as error:
                return self._failure(bits, request["text"], error)
        decoded = [
            [mnemonic, operands, size]
            for _, size, mnemonic, operands in self._disassembler(bits).disasm_lite(code or b"", 0)
        ]
        return {"code": (code or b"").hex(), "count": count, "instructions": decoded}

    def _failure(self, bits: int, text: str, error: Any) -> dict[str, Any]:
        answer = {"error": error.errno, "message": str(error)}
        if error.errno == self._unknown:
            import difflib

            word = text.split()[0]
            names = (self._disassembler(bits).insn_name(n) for n in range(1, 2000))
            known = list(dict.fromkeys(name for name in names if name))
            answer["close"] = difflib.get_close_matches(
                word, COMMON, 2, 0.6
            ) or difflib.get_close_matches(word, known, 3, 0.7)
            answer["unknown"] = True
        return answer


def main() -> None:
    """Serve requests until standard input ends."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    try:
        from signal import alarm  # a second net, should the parent be gone
    except ImportError:

        def alarm(_seconds: int, /) -> int:
            return 0

    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what LLVM prints must not look like an answer
    _limit_resources()
    try:
        worker = _Worker()
    except ImportError as error:
        answers.write(json.dumps({"fatal": str(error)}).encode() + b"\n")
        answers.flush()
        return
    answers.write(b'{"ready": true}\n')
    answers.flush()
    for line in requests:
        alarm(seconds + 1)
        try:
            answer = worker.answer(json.loads(line))
        except MemoryError:
            answer = {"error": -1, "message": "out of memory"}
        alarm(0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""The client of the encoder process: starts it, asks it, and survives its death."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toyvisor.errors import MachineError

SECONDS_PER_STATEMENT = 3
SECONDS_TO_START = 60
"""Generous: on a classroom machine thirty students start at once."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction as Capstone names it; `size` in bytes."""

    mnemonic: str
    operands: str
    size: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """What Keystone made of one instruction, and what Capstone reads in it."""

    code: bytes
    count: int
    instructions: tuple[Decoded, ...]


class EncoderError(Exception):
    """The encoder refused, hung or died. `unknown`: it does not know the mnemonic."""

    def __init__(self, message: str, *, unknown: bool = False, close: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.unknown, self.close = message, unknown, close


class Encoder:
    """A long-lived encoder process and a memory of its answers. Safe to share by threads."""

    def __init__(self, seconds: float = SECONDS_PER_STATEMENT) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._known: dict[tuple[int, str], dict[str, Any]] = {}
        self._ready = False
        self._owner = os.getpid()

    def start(self) -> None:
        """Begin to start the process, without waiting for it."""
        with self._lock:
            self._begin()

    def encode(self, bits: int, text: str) -> Encoded:
        """Encode one normalised instruction. Raises EncoderError."""
        return self._ask(bits, text, {"bits": bits, "text": text})

    def decode(self, bits: int, code: bytes) -> Encoded:
        """What Capstone reads in these bytes."""
        return self._ask(bits, code.hex() + "!", {"bits": bits, "code": code.hex()})

    def close(self) -> None:
        """End the process. A later request starts a new one."""
        with self._lock:
            self._end()

    def _ask(self, bits: int, key: str, request: dict[str, Any]) -> Encoded:
        with self._lock:
            answer = self._known.get((bits, key))
            if answer is None:
                answer = self._exchange(request)
                if len(self._known) > 100_000:
                    self._known.clear()
                self._known[bits, key] = answer
        if "error" in answer:
            raise EncoderError(
                answer["message"],
                unknown=answer.get("unknown", False),
                close=tuple(answer.get("close", ())),
            )
        return Encoded(
            bytes.fromhex(answer["code"]),
            answer["count"],
            tuple(Decoded(*one) for one in answer["instructions"]),
        )

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self._begin()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        if not self._ready:
            self._await_ready()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = self._answers.get(timeout=self._seconds)
        except queue.Empty:
            self._end()
            return {"error": -1, "message": f"took more than {self._seconds:g} s"}
        except OSError:
            line = b""
        if not line:
            self._end()
            return {"error": -1, "message": "crashed"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _begin(self) -> None:
        if self._owner != os.getpid():  # after a fork the pipe belongs to the parent
            self._process, self._owner = None, os.getpid()
        if self._process is not None:
            return
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_package_folders())}
        try:
            self._process = subprocess.Popen(
                # -S: no site, which halves the start; -P: the script's folder is no import path
                [sys.executable, "-S", "-P", "-X", "utf8", _WORKER, str(int(self._seconds))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise MachineError(f"cannot start the encoder process: {error}") from None
        self._answers = queue.SimpleQueue()
        self._ready = False
        threading.Thread(
            target=_read_answers, args=(self._process, self._answers), daemon=True
        ).start()

    def _await_ready(self) -> None:
        try:
            line = self._answers.get(timeout=SECONDS_TO_START)
        except queue.Empty:
            line = b""
        answer = json.loads(line) if line else {"fatal": "the encoder process did not start"}
        if "fatal" in answer:
            self._end()
            raise MachineError(
                f"cannot assemble: {answer['fatal']}",
                hint="pip install keystone-engine capstone; `toyvisor doctor` tells more",
            )
        self._ready = True

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


_WORKER = str(Path(__file__).with_name("encoder_worker.py"))


def _read_answers(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            answers.put(line)
    answers.put(b"")


def _package_folders() -> list[str]:
    """Where keystone and capstone are, found without importing them."""
    folders: list[str] = []
    for name in ("keystone", "capstone"):
        spec = importlib.util.find_spec(name)
        for location in (spec.submodule_search_locations or []) if spec else []:
            folders.append(str(Path(location).parent))
    return list(dict.fromkeys(folders))


_shared: Encoder | None = None
_shared_lock = threading.Lock()


def shared_encoder() -> Encoder:
    """The encoder of this Python process, started at its first use and ended with it."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Encoder()
            atexit.register(_shared.close)
        return _shared

"""The stub: what each packet of gdb's does to the session, and what is answered.

Source: the gdb manual, appendix "GDB Remote Serial Protocol", sections "Packets" and "Stop
Reply Packets". An empty answer means that a packet is not known; gdb then goes without.
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.debug.gdb.fields import MalformedPacket, data, hexadecimal, number, numbers
from toyvisor.debug.gdb.host_io import HostFiles
from toyvisor.debug.gdb.movement import Halt, Movement
from toyvisor.debug.gdb.packets import PACKET_SIZE
from toyvisor.debug.gdb.queries import Queries
from toyvisor.debug.gdb.register_file import RegisterFile
from toyvisor.debug.gdb.traps import Trap, Traps
from toyvisor.debug.session import Session
from toyvisor.errors import ToyvisorError
from toyvisor.memory import GuestMemoryError

_OK = b"OK"
#: Linux's errno, in hexadecimal as gdb wants it: EFAULT, EINVAL.
_BAD_ADDRESS, _INVALID = b"E0e", b"E16"
#: The one thread, which is the vCPU.
_THREAD = b"thread:1;"

Handler = Callable[[bytes], bytes | None]


class Stub:
    """Answers packets, one after the other. `say` prints on gdb's side while the guest runs."""

    def __init__(self, session: Session, say: Callable[[bytes], None]) -> None:
        self._session = session
        self._say = say
        self._traps = Traps(session)
        self._movement = Movement(session, self._traps)
        self._registers = RegisterFile(session)
        description = self._registers.description
        self._files = HostFiles(session.program)
        documents = {
            (b"features", b"target.xml"): description.xml().encode("ascii"),
            (b"exec-file", b""): self._files.path.encode("utf-8", "surrogateescape"),
        }
        self._queries = Queries(session, documents, say)
        #: The registers that every stop reply carries, to save gdb from asking.
        self._expedited = [
            self._registers.number(*names)
            for names in (("rip", "eip"), ("rsp", "esp"), ("rbp", "ebp"))
        ]
        #: gdb has detached, or has killed the program.
        self.is_over = self.is_killed = False
        self._handlers: dict[bytes, Handler] = {
            b"?": lambda _: self._stop_reply(Halt()),
            b"g": lambda _: hexadecimal(self._registers.read_all()),
            b"G": self._write_registers,
            b"p": lambda text: hexadecimal(self._registers.read(number(text))),
            b"P": self._write_register,
            b"m": self._read_memory,
            b"M": self._write_hexadecimal,
            b"X": self._write_binary,
            b"Z": lambda text: self._trap(text, self._traps.insert),
            b"z": lambda text: self._trap(text, self._traps.remove),
            b"s": lambda text: self._resume(self._movement.step, text),
            b"c": lambda text: self._resume(self._movement.run, text),
            b"S": lambda text: self._resume(self._movement.step, text.partition(b";")[2]),
            b"C": lambda text: self._resume(self._movement.run, text.partition(b";")[2]),
            b"b": self._backward,
            b"v": self._v_packet,
            b"q": self._query,
            b"Q": self._query,
            b"H": lambda _: _OK,
            b"T": lambda _: _OK,
            b"D": lambda _: self._end(_OK),
            b"k": lambda _: self._kill(None),
        }

    def answer(self, packet: bytes) -> bytes | None:
        """Do what a packet says, and answer; None: nothing is to be sent. Never raises."""
        handler = self._handlers.get(packet[:1])
        if handler is None:
            return b""
        try:
            return handler(packet[1:])
        except MalformedPacket:
            return _INVALID
        except GuestMemoryError:
            return _BAD_ADDRESS
        except ToyvisorError as error:
            return b"E." + str(error).removeprefix("error: ").encode("ascii", "replace")

    def leave(self) -> None:
        """The client is gone: none of its breakpoints stays behind."""
        self._traps.clear()

    # Registers and memory -------------------------------------------------------------------

    def _write_registers(self, text: bytes) -> bytes:
        self._registers.write_all(data(text))
        return _OK

    def _write_register(self, text: bytes) -> bytes:
        which, _, value = text.partition(b"=")
        self._registers.write(number(which), data(value))
        return _OK

    def _read_memory(self, text: bytes) -> bytes:
        """As much as there is up to the first gap: gdb asks on from there if it wants to."""
        address, length = numbers(text, 2)
        found = self._session.vcpu.cpu.view.read(address, min(length, PACKET_SIZE // 2))
        if length and not found:
            raise GuestMemoryError(address, length)
        return hexadecimal(found)

    def _write_hexadecimal(self, text: bytes) -> bytes:
        where, _, digits = text.partition(b":")
        return self._write_memory(where, data(digits))

    def _write_binary(self, text: bytes) -> bytes:
        where, _, content = text.partition(b":")
        return self._write_memory(where, content)

    def _write_memory(self, where: bytes, content: bytes) -> bytes:
        """Only what is another value than before begins a branch."""
        address, length = numbers(where, 2)
        if length != len(content):
            raise MalformedPacket(where)
        session = self._session
        if content and session.read_memory(address, length, linear=True) != content:
            session.write_memory(address, content, linear=True)
        return _OK

    # Moving ---------------------------------------------------------------------------------

    def _trap(self, text: bytes, change: Callable[[Trap], bool]) -> bytes:
        """Conditions and commands for the stub (behind a semicolon) were not offered."""
        where, _, _ = text.partition(b";")
        return _OK if change(Trap(*numbers(where, 3))) else b""

    def _resume(self, move: Callable[[], Halt], address: bytes) -> bytes:
        if address:
            self._session.set_register("rip", number(address))
        printed = len(self._session.console())
        halt = move()
        news = self._session.console()[printed:]
        if halt.remark:
            news += b"\n" if news and not news.endswith(b"\n") else b""
            news += f"{halt.remark}\n".encode()
        if news:
            self._say(news)
        return self._stop_reply(halt)

    def _backward(self, text: bytes) -> bytes:
        if text == b"s":
            return self._resume(self._movement.step_back, b"")
        if text == b"c":
            return self._resume(self._movement.run_back, b"")
        return b""

    def _stop_reply(self, halt: Halt) -> bytes:
        everything = self._registers.read_all()
        registers = b"".join(
            b"%02x:%s;" % (which, hexadecimal(self._registers.part(everything, which)))
            for which in self._expedited
        )
        return b"T%02x%s%s%s" % (halt.signal, registers, halt.reason, _THREAD)

    # Packets with names ---------------------------------------------------------------------

    def _v_packet(self, text: bytes) -> bytes | None:
        if text == b"Cont?":
            return b"vCont;c;C;s;S;r"
        if text.startswith(b"Cont;"):
            return self._v_cont(text.removeprefix(b"Cont;"))
        if text.startswith(b"File:"):
            return self._files.answer(text.removeprefix(b"File:"))
        if text.startswith(b"Kill;"):
            return self._kill(_OK)
        return b""

    def _v_cont(self, text: bytes) -> bytes:
        """The first action is for our only thread: `c`, `s`, `r1000,1010`, with `:THREAD`."""
        action = text.partition(b";")[0].partition(b":")[0]
        match action[:1]:
            case b"c" | b"C":
                return self._resume(self._movement.run, b"")
            case b"s" | b"S":
                return self._resume(self._movement.step, b"")
            case b"r":
                start, end = numbers(action[1:], 2)
                return self._resume(lambda: self._movement.step_range(start, end), b"")
        raise MalformedPacket(text)

    def _query(self, text: bytes) -> bytes:
        if text.startswith(b"Supported"):
            offers = text.partition(b":")[2].split(b";")
            self._movement.tells_breakpoints = b"swbreak+" in offers
        return self._queries.answer(text)

    def _end(self, answer: bytes | None) -> bytes | None:
        self.is_over = True
        return answer

    def _kill(self, answer: bytes | None) -> bytes | None:
        self.is_killed = True
        return self._end(answer)

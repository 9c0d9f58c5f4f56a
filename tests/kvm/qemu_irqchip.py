"""QEMU's own i8259 and i8254, driven through qtest and, where time or INTA matters, by a CPU.

The processor sleeps in HLT with interrupts off. An NMI (QMP: inject-nmi) wakes it for what has
to be done from inside: a moment with interrupts on, in which it acknowledges (INTA) what is
pending; or a program.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import socket
import subprocess
import time

from real_mode_vectors import guest_image, note_vector

from toyvisor.guest.assembler import assemble_text

QEMU = shutil.which("qemu-system-x86_64")

#: the vector taken, and whether; the NMI handler is done; it is at work
VECTOR, TAKEN, DONE, BUSY = range(0x500, 0x504)
#: where a program may be put that the NMI handler calls (else there is a RET)
PROGRAM = 0x10000

DRIVER = f"""
nmi:    cmp     byte ptr [{BUSY:#x}], 0
        jne     2f
        mov     byte ptr [{BUSY:#x}], 1
        call    0x1000:0
        sti
        nop
        nop
        cli
        mov     byte ptr [{BUSY:#x}], 0
        mov     byte ptr [{DONE:#x}], 1
        iret
2:      push    ax              ; not the NMI: an interrupt with its vector
        mov     al, 2
{note_vector(VECTOR)}
"""
RETF = 0xCB
#: where a program leaves what it has read
RESULTS = 0x6000


class QemuBoard:
    """One QEMU process with a machine of `options`."""

    def __init__(self, directory: pathlib.Path, *options: str) -> None:
        bios = bytearray(b"\xf4" * 65536)
        bios[0xFFF0:0xFFF3] = b"\xf4\xeb\xfd"  # hlt; jmp to it
        (directory / "bios").write_bytes(bios)
        self.process = subprocess.Popen(
            [
                *(str(QEMU), *options, "-accel", "tcg", "-cpu", "486", "-m", "16M"),
                *("-nodefaults", "-display", "none", "-bios", str(directory / "bios")),
                *("-qtest", "stdio", "-qtest-log", "none"),
                *("-qmp", f"unix:{directory}/qmp,server=on,wait=off"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.intr: list[int] = []
        self.command("inb 0x21")  # it is up
        self._qmp = socket.socket(socket.AF_UNIX)
        self._qmp.connect(str(directory / "qmp"))
        self._answers = self._qmp.makefile()
        self._answers.readline()
        self.qmp("qmp_capabilities")
        image = guest_image(DRIVER)
        image[8:12] = (0x1000).to_bytes(4, "little")  # the NMI's vector
        self.store(0, bytes(image))
        self.store(PROGRAM, bytes([RETF]))

    def close(self) -> None:
        self._answers.close()
        self._qmp.close()
        self.process.terminate()
        self.process.communicate(timeout=10)

    def qmp(self, execute: str, **arguments: object):
        message = json.dumps({"execute": execute, "arguments": arguments})
        self._qmp.sendall(message.encode())
        while True:
            answer = json.loads(self._answers.readline())
            if "event" not in answer:
                return answer["return"]

    def command(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline()
            if not answer:
                raise RuntimeError(f"QEMU is gone: {self.process.wait(10)}")
            words = answer.split()
            if words[0] == "IRQ":
                self.intr.append(int(words[1] == "raise"))
            elif words[0] == "OK":
                return words[1] if len(words) > 1 else ""
            else:
                raise RuntimeError(f"{line}: {answer}")

    def store(self, address: int, data: bytes) -> None:
        self.command(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def load(self, address: int, length: int) -> bytes:
        return bytes.fromhex(self.command(f"read {address:#x} {length:#x}")[2:])

    def write(self, port: int, value: int) -> None:
        self.command(f"outb {port:#x} {value:#x}")

    def read(self, port: int) -> int:
        return int(self.command(f"inb {port:#x}"), 16)

    def run(self, seconds: float = 10) -> None:
        """Wake the processor, and wait until it sleeps again."""
        self.store(VECTOR, bytes(3))
        self.qmp("inject-nmi")
        end = time.monotonic() + seconds
        while not self.load(DONE, 1)[0]:
            if time.monotonic() > end:
                raise RuntimeError("QEMU's processor does not come back")

    def take_interrupt(self) -> int | None:
        """A moment with interrupts on: the vector that came, if one did."""
        self.run()
        return self.load(VECTOR, 1)[0] if self.load(TAKEN, 1)[0] else None


class QemuPics(QemuBoard):
    """A machine whose interrupt controllers have their lines to themselves."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(
            directory, "-M", "microvm,pic=on,pit=off,rtc=off,isa-serial=off,x-option-roms=off"
        )
        self._chips = {}
        for device in self.qmp("qom-list", path="/machine/unattached"):
            if device["type"] == "child<isa-i8259>":
                path = f"/machine/unattached/{device['name']}"
                is_master = self.qmp("qom-get", path=path, property="master")
                self._chips[0 if is_master else 1] = path

    def set_irq(self, irq: int, level: int) -> None:
        chip = self._chips[irq >> 3]
        self.command(f"set_irq_in {chip} unnamed-gpio-in {irq & 7} {level}")

    def pics(self) -> tuple[dict[str, int], dict[str, int]]:
        """What the monitor shows of their registers ("info pic")."""
        text = self.qmp("human-monitor-command", **{"command-line": "info pic"})
        chips = {}
        for line in text.splitlines():
            if found := re.match(r"pic(\d): (.*)", line):
                pairs = (word.split("=") for word in found[2].split())
                chips[int(found[1])] = {name: int(value, 16) for name, value in pairs}
        return chips[0], chips[1]


class QemuPit(QemuBoard):
    """A PC with a timer, whose time goes by instructions (-icount): 64 ns each."""

    SHIFT = 6

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory, "-M", "isapc", "-icount", f"shift={self.SHIFT},sleep=off")

    def play(self, accesses: list[tuple[int, int, int | None]]) -> list[int]:
        """Do the accesses, each at its time: (half ticks of the timer, port, byte to write).

        Without a byte it is a read. The answers, in order.
        """
        code = ["bits 16"]
        done = 0  # instructions since the first access
        results = 0
        for at, port, value in accesses:
            due = -(-at * 500_000_000 // (1_193_182 << self.SHIFT))
            # mov dx and mov al come before the access itself
            wait = due - done - 2
            assert wait >= 0, "too close together"
            if wait >= 3:
                code.append(f"mov ecx, {(wait - 1) // 2}")
                code += ["1: dec ecx", "jnz 1b"]
                wait -= 1 + (wait - 1) // 2 * 2
            code += ["nop"] * wait
            code += [f"mov dx, {port:#x}", f"mov al, {value or 0:#x}"]
            code.append("in al, dx" if value is None else "out dx, al")
            done = due + 1
            if value is None:
                code.append(f"mov [{RESULTS + results:#x}], al")
                done += 1
                results += 1
        code.append("retf")
        self.store(PROGRAM, assemble_text("\n".join(code)).image)
        self.run()
        return list(self.load(RESULTS, results)) if results else []

"""QEMU's own virtio-net device, driven without a CPU through its qtest protocol."""

from __future__ import annotations

import pathlib
import shutil
import socket
import subprocess
import time

QEMU = shutil.which("qemu-system-x86_64")
WINDOWS, WINDOW_SIZE, LAST_WINDOW = 0xFEB00000, 0x200, 23  # microvm: the first device is last


class QTest:
    """One QEMU process. Registers and memory by address, as `qtest` has them."""

    def __init__(self, directory: pathlib.Path, mac: str) -> None:
        self.wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire.bind(str(directory / "wire"))
        self.wire.settimeout(2)
        self.network = str(directory / "qemu")
        bios = directory / "bios"
        bios.write_bytes(b"\xf4" * 65536)
        self.process = subprocess.Popen(
            [
                str(QEMU),
                *("-M", "microvm,x-option-roms=off", "-accel", "tcg", "-m", "16M"),
                *("-global", "virtio-mmio.force-legacy=false", "-bios", str(bios)),
                *("-nodefaults", "-display", "none", "-qtest", "stdio", "-qtest-log", "none"),
                "-netdev",
                f"dgram,id=n0,local.type=unix,local.path={directory}/qemu,"
                f"remote.type=unix,remote.path={directory}/wire",
                *("-device", f"virtio-net-device,netdev=n0,mac={mac}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.base = WINDOWS + WINDOW_SIZE * LAST_WINDOW

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)
        self.wire.close()

    def command(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline()
            if not answer:
                raise RuntimeError(f"QEMU is gone: {self.process.wait(10)}")
            if not answer.startswith("IRQ"):  # an interrupt line changed: not ours to see
                break
        words = answer.split()
        if words[0] != "OK":
            raise RuntimeError(f"{line}: {answer}")
        return words[1] if len(words) > 1 else ""

    def read(self, offset: int, size: int = 4) -> int:
        letter = {1: "b", 2: "w", 4: "l", 8: "q"}[size]
        return int(self.command(f"read{letter} {self.base + offset:#x}"), 16)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        letter = {1: "b", 2: "w", 4: "l", 8: "q"}[size]
        self.command(f"write{letter} {self.base + offset:#x} {value:#x}")

    def load(self, address: int, length: int) -> bytes:
        return bytes.fromhex(self.command(f"read {address:#x} {length:#x}")[2:])

    def store(self, address: int, data: bytes) -> None:
        self.command(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def wait_for(self, condition, seconds: float = 2.0) -> bool:
        """QEMU sends from a bottom half: let its main loop turn."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    def frames(self, count: int) -> list[bytes]:
        return [self.wire.recv(1 << 17) for _ in range(count)]

    def deliver(self, frame: bytes) -> None:
        """A frame from the network. QEMU has seen it when this returns."""
        self.wire.sendto(frame, self.network)
        self.settle()

    def settle(self) -> None:
        """Two answers: all that could be read before the first was looked at in between."""
        for _ in range(2):
            self.read(0)

    def drain(self) -> None:
        self.wire.setblocking(False)
        try:
            while True:
                self.wire.recv(1 << 17)
        except BlockingIOError:
            pass
        finally:
            self.wire.settimeout(2)

"""The board of a machine: its devices in their places, wired to each other and to KVM.

QEMU: hw/i386/microvm.c. Which devices there are, the machine block says; what they are,
`catalog`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from toyvisor.errors import SourceError
from toyvisor.guest.program import DeviceSpec, MachineSpec
from toyvisor.host.console import Console
from toyvisor.host.kernel import Kernel
from toyvisor.host.net import NetBackend
from toyvisor.host.syscalls import ioctl
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.address_space import AddressSpace
from toyvisor.qemu.catalog import (
    DEVICE_TYPES,
    FIRST_IRQ,
    KVM_OPTIONS,
    LAST_IRQ,
    MMIO_BASE,
    MMIO_WINDOW,
    NEED_PIC,
    Backends,
    DeviceType,
    OptionError,
)
from toyvisor.qemu.device import DeviceContext, GuestErrorLog, MemoryRegionOps
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
    from toyvisor.kvm.file_descriptors import VmFd
    from toyvisor.qemu.main_loop import MainLoop

_NETWORK_CARDS = ("mmio-nic", "virtio-net")


class Board:
    """The devices of one machine and the address spaces they answer in.

    `overrides` are device options over those of the block, by the device's type. Raises
    SourceError for a device or an option that the block gets wrong.
    """

    def __init__(
        self,
        spec: MachineSpec,
        vm: VmFd,
        ledger: Ledger,
        errors: GuestErrorLog,
        kernel: Kernel,
        console: Console,
        net: NetBackend,
        overrides: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._spec = spec
        self._vm = vm
        self._ledger = ledger
        self._errors = errors
        self._kernel = kernel
        self._console = console
        self._net = net
        self.memory = AddressSpace("memory", PAGE_SIZE, ledger, errors)
        self.ports = AddressSpace("I/O", 1, ledger, errors)
        self.devices: dict[str, MemoryRegionOps] = {}
        #: (name, first address, interrupt line) of the devices in memory windows
        self.windows: list[tuple[str, int, int]] = []
        #: Interrupt lines by the device that drives them.
        self.lines: dict[int, str] = {}
        names = [device.type for device in spec.devices]
        if "pic" in names:  # the controllers first: others are wired to them
            vm.create_irqchip()
        for index, device in enumerate(spec.devices):
            kind = self._kind(index, device, names)
            options = {**device.options, **overrides.get(device.type, {})}
            try:
                self._add(index, device, kind, options)
            except OptionError as wrong:
                raise spec.device_error(index, str(wrong)) from None

    @cached_property
    def main_loop(self) -> MainLoop:
        """QEMU's main loop, in a machine that has something for it to wait for."""
        from toyvisor.qemu.main_loop import MainLoop

        return MainLoop(self._ledger, self._kernel.scheduler, self._kernel.eventfd2)

    def start(self) -> None:
        """The guest is about to run."""
        if "main_loop" in self.__dict__:
            self.main_loop.start()

    def _kind(self, index: int, device: DeviceSpec, names: Sequence[str]) -> DeviceType:
        kind = DEVICE_TYPES.get(device.type)
        if kind is None:
            raise self._unknown_device(index, device.type)
        for option in device.options:
            if option not in kind.options:
                known = ", ".join(kind.options) or "none"
                raise self._spec.device_error(
                    index, f"{device.type} has no option '{option}'", f"its options: {known}"
                )
        if kind.port is not None and device.type in names[:index]:
            raise self._spec.device_error(index, f"{device.type} is there twice")
        return kind

    def _add(
        self, index: int, spec: DeviceSpec, kind: DeviceType, options: Mapping[str, Any]
    ) -> None:
        if kind.build is None:
            self._add_kernel_device(index, spec.type)
            return
        wants = ", ".join(name for name in NEED_PIC if options.get(name))
        if self._vm.irqchip is None and wants:
            raise self._spec.device_error(
                index, f"{spec.type}: {wants} needs the interrupt controllers in KVM",
                'add "pic" to the devices',
            )  # fmt: skip
        name = self._name(spec.type)
        context = DeviceContext(
            name,
            memory=self._vm.memory,
            ledger=self._ledger,
            errors=self._errors,
            main_loop=self.main_loop if self._needs_main_loop(kind, options) else None,
        )
        device = kind.build(context, self._backends(spec.type), options)
        self.devices[name] = device
        if kind.port is not None:
            self.ports.map(kind.port, kind.ports, device)
            irq = kind.irq
        else:
            irq = self._add_window(index, name, device, kind, options)
        if irq is not None and self._vm.irqchip is not None:
            self.lines[irq] = name
            context.irq.wire = self._line(irq)

    def _needs_main_loop(self, kind: DeviceType, options: Mapping[str, Any]) -> bool:
        """Network cards, and a serial port that somebody types at."""
        return kind.port is None or "input" in options or self._console.input is not None

    def _add_kernel_device(self, index: int, name: str) -> None:
        if name == "pit":
            if self._vm.irqchip is None:
                raise self._spec.device_error(
                    index, "the pit interrupts by the pic", 'add "pic" to the devices'
                )
            self._vm.create_pit2()
            self.lines[0] = "pit"

    def _add_window(
        self,
        index: int,
        name: str,
        device: MemoryRegionOps,
        kind: DeviceType,
        options: Mapping[str, Any],
    ) -> int:
        slot = len(self.windows)
        base, irq = MMIO_BASE + slot * MMIO_WINDOW, FIRST_IRQ + slot
        if self._vm.irqchip is not None and irq > LAST_IRQ:
            raise self._spec.device_error(
                index, f"{name}: the pic has no interrupt line left",
                f"{LAST_IRQ + 1 - FIRST_IRQ} devices have one, IRQ {FIRST_IRQ} to {LAST_IRQ}",
            )  # fmt: skip
        self.windows.append((name, base, irq))
        self.memory.map(base, MMIO_WINDOW, device)
        if kind.connect is not None and any(options.get(option) for option in KVM_OPTIONS):
            from toyvisor.qemu.virtio.ioeventfd import KvmWiring

            kernel = self._kernel
            wiring = KvmWiring(
                self._vm, base, irq, self.main_loop, kernel.scheduler, kernel.eventfd2
            )
            kind.connect(device, wiring, options)
        return irq

    def _name(self, kind: str) -> str:
        name, number = kind, 1
        while name in self.devices:
            number += 1
            name = f"{kind}{number}"
        return name

    def _backends(self, kind: str) -> Backends:
        """The first network card gets the tap's input; a second one sends only."""
        client = None
        if kind in _NETWORK_CARDS and not any(
            name.startswith(_NETWORK_CARDS) for name in self.devices
        ):
            from toyvisor.qemu.net_client import NetClient

            client = NetClient(self._ledger, self._net.file, self.main_loop)
        return Backends(self._console, self._net.file, client)

    def _line(self, irq: int) -> Callable[[int], None]:
        """A device's line to the interrupt controllers in the kernel (kvm_set_irq)."""

        def drive(level: int) -> None:
            ioctl(self._ledger, "KVM_IRQ_LINE")
            self._vm.irq_line(irq, level)

        return drive

    def _unknown_device(self, index: int, name: str) -> SourceError:
        import difflib

        close = difflib.get_close_matches(name, DEVICE_TYPES, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(DEVICE_TYPES)}"
        return self._spec.device_error(index, f"unknown device '{name}'", hint)

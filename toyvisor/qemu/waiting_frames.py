"""A guest that sleeps for good while frames wait for it has made a mistake: which?

Either frames wait in the host because the card has no room for them, or they lie in the
guest's own buffers and it has told the device not to say so. The rings are looked at where they
are, in guest RAM: it does not matter who served them, and the look is not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.errors import GuestError
from toyvisor.host.tap import Tap
from toyvisor.memory import GuestMemoryError
from toyvisor.modes import RFLAGS_IF
from toyvisor.virtio.constants import AvailFlag, Feature
from toyvisor.virtio.errors import SPECIFICATION
from toyvisor.virtio.net import RECEIVE
from toyvisor.virtio.ring_memory import LE16

if TYPE_CHECKING:
    from toyvisor.qemu.devices.mmio_nic import MmioNic
    from toyvisor.qemu.machine import Machine
    from toyvisor.qemu.virtio.device import VirtioDevice

#: By the card: the rule, where it stands, what to do.
_RULES = {
    "mmio-nic": (
        "mmio-nic.rx-waiting",
        None,
        "a frame comes in when RX_ENABLE is 1 and the frame before has been released",
    ),
    "virtio-net": (
        "virtio.net.rx-waiting",
        f"{SPECIFICATION}, 5.1.6.3",
        "a frame comes in when a buffer for it is in the available ring; give used ones back, "
        "move avail.idx, and kick",
    ),
}


def report_waiting_frames(machine: Machine) -> None:
    """Report frames that a guest, asleep for good with interrupts on, will never see."""
    if not machine.vcpu.get_regs().rflags & RFLAGS_IF:
        return
    card = next((name for name in machine.devices if name in _RULES), None)
    if card is None:  # the first one has the tap's input
        return
    device = machine.devices[card]
    file = machine.net.file
    waiting = file.queued if isinstance(file, Tap) else 0
    if card == "virtio-net":
        from toyvisor.qemu.virtio.mmio import VirtioMmio

        assert isinstance(device, VirtioMmio)
        waiting += _held_by_vhost(device.device)
        why = _why_virtio_has_no_room(device.device)
        _report_unheard(machine, device.device)
    else:
        from toyvisor.qemu.devices.mmio_nic import MmioNic

        assert isinstance(device, MmioNic)
        why = _why_the_nic_has_no_room(device)
    if waiting and why:
        rule, section, hint = _RULES[card]
        frames = "1 frame waits" if waiting == 1 else f"{waiting} frames wait"
        machine.errors.report(
            card,
            GuestError(
                f"the guest sleeps in HLT while {frames} in the host: {why}",
                rule=rule,
                section=section,
                hint=hint,
            ),
        )


def _why_the_nic_has_no_room(nic: MmioNic) -> str | None:
    from toyvisor.qemu.devices import mmio_nic_registers as registers

    if not nic.read(registers.CONTROL, 4) & registers.CONTROL_RX_ENABLE:
        return "CONTROL.RX_ENABLE is 0"
    if nic.read(registers.RX_LENGTH, 4):
        return "RX_BUFFER has a frame that the driver has not released (RX_COMMAND.RELEASE)"
    return None


def _why_virtio_has_no_room(device: VirtioDevice) -> str | None:
    slot = device.queues[RECEIVE]
    if not device.live:
        return f"the device is not live, Status is {device.status:#x}"
    if not slot.ready:
        return "the driver has not set up receiveq, the queue for them"
    given = _word(device, slot.config.driver + 2)
    used = _word(device, slot.config.device + 2)
    if given is None or used is None or given != used:
        return None
    if not given:
        return "the driver has put no buffer into receiveq: avail.idx and used.idx are 0"
    return f"all buffers in receiveq are used, none came back: avail.idx and used.idx are {given}"


def _report_unheard(machine: Machine, device: VirtioDevice) -> None:
    """Used buffers of the receive queue that the driver has asked not to be told of."""
    slot = device.queues[RECEIVE]
    used = _word(device, slot.config.device + 2)
    if not slot.ready or not used:
        return
    if device.features & Feature.EVENT_IDX:
        event = _word(device, slot.config.driver + 4 + 2 * slot.config.size)
        if event is None:
            return
        count = (used - 1 - event) & 0xFFFF
        if not 0 < count < 1 << 15:
            return
        what = (
            f"{count} used buffer(s) of receiveq were not announced: used_event is still {event}, "
            f"used.idx is {used}"
        )
        section, hint = "2.7.7", "write used_event anew before sleeping: the next entry's number"
    else:
        flags = _word(device, slot.config.driver)
        if flags is None or not flags & AvailFlag.NO_INTERRUPT:
            return
        what = f"receiveq has VIRTQ_AVAIL_F_NO_INTERRUPT set, and used.idx is {used}"
        section, hint = "2.7.7", "clear the flag before sleeping, and look at used.idx once more"
    machine.errors.report(
        device.name,
        GuestError(
            f"the guest sleeps in HLT, but {what}",
            rule="virtio.net.rx-unheard",
            section=f"{SPECIFICATION}, {section}",
            hint=hint,
        ),
    )


def _held_by_vhost(device: VirtioDevice) -> int:
    """Frames that vhost has taken from the tap and has no buffer for: one, or none."""
    if device.queue_service is None:
        return 0
    from toyvisor.qemu.virtio.vhost import VhostNetService

    service = device.queue_service
    return int(isinstance(service, VhostNetService) and service.vhost.holds_frame)


def _word(device: VirtioDevice, address: int) -> int | None:
    """A word of a ring, or None if no RAM is there."""
    try:
        word: int = LE16.unpack_from(device.context.memory.view(address, 2))[0]
    except GuestMemoryError:
        return None
    return word

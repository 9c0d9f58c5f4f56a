"""Why a driver touches a register: the ideas behind the registers of all devices, as a table.

Sections: VIRTIO 1.2 for virtio-mmio; the data sheets of the 16550D, the 8259A and the 8254.
"""

from __future__ import annotations

from toyvisor.debug.explanation import Idea
from toyvisor.debug.views.register_places import RegisterPlace

_QEMU_MMIO = "QEMU hw/virtio/virtio-mmio.c"
_LIFE = f"VIRTIO 1.2, 3.1.1; {_QEMU_MMIO}"
_SET_UP = f"VIRTIO 1.2, 4.2.3.2; {_QEMU_MMIO}"

_VIRTIO: dict[str, Idea] = {
    "MagicValue": Idea(
        "There is no bus to ask what is plugged in. So the driver looks whether the letters 'virt' "
        "are where it was told that a device is.",
        f"VIRTIO 1.2, 4.2.3.1; {_QEMU_MMIO}",
    ),
    "Version": Idea(
        "Version 2 is the interface of VIRTIO 1.0 and later; 1 was the legacy one, with other "
        "registers for the queues.",
        f"VIRTIO 1.2, 4.2.3.1; {_QEMU_MMIO}",
    ),
    "DeviceID": Idea(
        "It says what kind of device it is, and so which driver takes it; 0 is a placeholder that "
        "drivers pass by.",
        f"VIRTIO 1.2, 4.2.3.1 and 5; {_QEMU_MMIO}",
    ),
    "VendorID": Idea("Who made the device model; drivers need not care.", "VIRTIO 1.2, 4.2.2"),
    "DeviceFeatures": Idea(
        "The device offers features, the driver takes those that it knows: so old drivers work "
        "with new devices, and new ones with old devices.",
        f"VIRTIO 1.2, 2.2 and 3.1.1; {_QEMU_MMIO}",
    ),
    "DeviceFeaturesSel": Idea(
        "Feature bits go beyond 32, the register does not: this chooses which 32 of them are read "
        "next.",
        f"VIRTIO 1.2, 4.2.2; {_QEMU_MMIO}",
    ),
    "DriverFeatures": Idea(
        "The driver says which of the offered features it takes; from FEATURES_OK on it is bound "
        "to that.",
        f"VIRTIO 1.2, 2.2 and 3.1.1; {_QEMU_MMIO}",
    ),
    "DriverFeaturesSel": Idea(
        "Feature bits go beyond 32, the register does not: this chooses which 32 of them are "
        "written next.",
        f"VIRTIO 1.2, 4.2.2; {_QEMU_MMIO}",
    ),
    "QueueSel": Idea(
        "There is one set of queue registers for all queues; this chooses the queue that they are "
        "about.",
        _SET_UP,
    ),
    "QueueNumMax": Idea(
        "How many entries the device can do; the driver may choose fewer, which takes less memory.",
        _SET_UP,
    ),
    "QueueNum": Idea("The size of the queue that the driver chose: a power of two.", _SET_UP),
    "QueueReady": Idea(
        "With 1 the driver hands the queue over: from here on the device may read its memory, and "
        "size and addresses stay as they are.",
        _SET_UP,
    ),
    "QueueNotify": Idea(
        "The kick. The buffers are in shared memory already; this says only that it is worth a "
        "look. It is the one register of the whole device that is used once per packet, or for "
        "many packets together.",
        f"VIRTIO 1.2, 4.2.3.3; {_QEMU_MMIO}: virtio_mmio_write(); Linux virtio_mmio.c: vm_notify()",
    ),
    "InterruptStatus": Idea(
        "The handler asks why the device interrupted: buffers were used, or the configuration "
        "changed. The line stays up until it is acknowledged.",
        f"VIRTIO 1.2, 4.2.3.4; {_QEMU_MMIO}; Linux virtio_mmio.c: vm_interrupt()",
    ),
    "InterruptACK": Idea(
        "The handler says that it has seen the events, and the line goes down. A driver that "
        "forgets it gets no second interrupt.",
        f"VIRTIO 1.2, 4.2.3.4; {_QEMU_MMIO}; Linux virtio_mmio.c: vm_interrupt()",
    ),
    "Status": Idea(
        "The steps of getting to know each other: ACKNOWLEDGE, DRIVER, FEATURES_OK (to be read "
        "back: the device may refuse), DRIVER_OK. Bits only come on top; writing 0 resets.",
        f"VIRTIO 1.2, 2.1 and 3.1.1; {_QEMU_MMIO}; QEMU hw/virtio/virtio.c: virtio_set_status()",
    ),
    "QueueReset": Idea("Resets one queue alone, with VIRTIO_F_RING_RESET.", "VIRTIO 1.2, 2.6.1"),
    "ConfigGeneration": Idea(
        "It changes with the configuration: a driver that reads it before and after knows whether "
        "what it has read in between belongs together.",
        "VIRTIO 1.2, 2.5 and 4.2.2",
    ),
}
_VIRTIO_AREA = Idea(
    "The driver says where in its memory the part of the queue lies, as a guest-physical address: "
    "the device has no page tables of the guest's.",
    _SET_UP,
)
_VIRTIO_SHM = Idea("Shared memory regions; this device has none.", "VIRTIO 1.2, 4.2.2")
_VIRTIO_CONFIG = Idea(
    "What belongs to this type of device: the MAC address of a network card, for example.",
    f"VIRTIO 1.2, 2.5 and 5.1.4; {_QEMU_MMIO}",
)

_CARD = "toyvisor/qemu/devices/mmio_nic.py; cards of this kind: NE2000 (DP8390), 3c509, LAN9118"
_NIC: dict[str, Idea] = {
    "TX_BUFFER": Idea(
        "A card without DMA: the driver carries the frame into it, store by store, and each store "
        "is an exit to QEMU with two copies. That is what virtio does away with.",
        _CARD,
    ),
    "RX_BUFFER": Idea(
        "A card without DMA: the driver carries the frame out of it, load by load. Each load is an "
        "exit, and has its answer only when the guest is entered again.",
        _CARD,
    ),
    "TX_LENGTH": Idea("How much of the buffer is the frame.", _CARD),
    "TX_COMMAND": Idea(
        "The doorbell: only now does the card look at what was stored, and sends it.", _CARD
    ),
    "TX_STATUS": Idea(
        "The driver looks whether the frame is out (polling): each look is an exit. With the "
        "interrupt unmasked it need not look.",
        _CARD,
    ),
    "RX_STATUS": Idea("The driver looks whether a frame has come: each look is an exit.", _CARD),
    "RX_LENGTH": Idea("How many bytes there are to carry out of the card.", _CARD),
    "RX_COMMAND": Idea("The driver has the frame: there is room for the next one.", _CARD),
    "CONTROL": Idea("What the card may do: reset, send, receive.", _CARD),
    "STATUS": Idea("How the card is: ready to send, cable in, a frame there.", _CARD),
    "INTERRUPT_STATUS": Idea(
        "The handler asks the card why it interrupted; several devices can share a line.", _CARD
    ),
    "INTERRUPT_ACK": Idea(
        "The handler has seen it: the card lowers its line. Forgotten, no second interrupt comes.",
        _CARD,
    ),
    "INTERRUPT_MASK": Idea("Which events may raise the line.", _CARD),
    "ID": Idea("The driver makes sure that it is this card.", _CARD),
    "VERSION": Idea("The driver makes sure that it knows this map of registers.", _CARD),
}
_NIC_OTHER = Idea("A register like any device has them: each access is an exit to QEMU.", _CARD)

_UART = "PC16550D data sheet, table II; QEMU hw/char/serial.c"
_SERIAL: dict[str, Idea] = {
    "THR": Idea(
        "A byte for the wire. The guest sends character by character, and each one is an exit.",
        f"{_UART}: serial_ioport_write()",
    ),
    "RBR": Idea("The next byte that came in; reading takes it.", f"{_UART}: serial_ioport_read()"),
    "LSR": Idea(
        "Before it sends or takes a byte, a driver looks whether it can (polling): an exit for "
        "each look.",
        _UART,
    ),
    "IER": Idea("Which events are to interrupt.", _UART),
    "IIR": Idea("Why it interrupted; reading it is the answer to some causes.", _UART),
    "FCR": Idea("The FIFOs: so not each byte has to interrupt.", _UART),
}
_SERIAL_OTHER = Idea("One of the eight registers that every PC's serial port has.", _UART)

_8259 = "Intel 8259A data sheet; Linux arch/x86/kvm/i8259.c"
_PIC: dict[str, Idea] = {
    "OCW2": Idea(
        "End of interrupt: the handler is done, the controller clears the bit in ISR, and lets "
        "interrupts of this and lower priority through again.",
        f"{_8259}: pic_ioport_write()",
    ),
    "ICW1": Idea(
        "It begins to initialize the controller: ICW2 to ICW4 must follow at the other port.",
        f"{_8259}: kvm_pic_reset()",
    ),
    "ICW2": Idea(
        "The vector of the chip's first interrupt. From 32 on: below are the processor's own "
        "exceptions.",
        f"{_8259}; Intel SDM vol. 3, 7.2 (exception and interrupt vectors)",
    ),
    "ICW3": Idea(
        "How the two controllers are connected: the slave at the master's input 2.", _8259
    ),
    "ICW4": Idea("8086 mode, and whether interrupts end by themselves (AEOI).", _8259),
    "IMR": Idea("The mask: a 1 keeps that interrupt back.", f"{_8259}: pic_ioport_write()"),
    "IRR": Idea("What is requested (IRR) or in service (ISR), as OCW3 chose.", _8259),
    "OCW3": Idea("Which register the command port reads, and special mask mode.", _8259),
    "ELCR1": Idea("Which lines are level-triggered.", f"{_8259}: elcr_ioport_write()"),
    "ELCR2": Idea("Which lines are level-triggered.", f"{_8259}: elcr_ioport_write()"),
}
_8254 = "Intel 8254 data sheet; Linux arch/x86/kvm/i8254.c"
_PIT: dict[str, Idea] = {
    "MODE": Idea("How a counter counts, and how its two bytes are read and written.", _8254),
    "READ_BACK": Idea("Counts and states are latched, to be read one after the other.", _8254),
    "SPEAKER": Idea("The gate and the output of counter 2.", f"{_8254}: speaker_ioport_write()"),
}
_PIT_OTHER = Idea(
    "A counter's value, low byte and high byte one after the other. Counter 0 makes IRQ 0.",
    f"{_8254}: pit_ioport_write()",
)
_DEBUGCON = Idea(
    "The simplest device there is: a byte written is printed.", "QEMU hw/char/debugcon.c"
)
_UNKNOWN = Idea(
    "A device that is not in Toyvisor's tables.", "QEMU system/memory.c: struct MemoryRegionOps"
)


def register_idea(place: RegisterPlace) -> Idea:
    """Why somebody would touch this register."""
    name = place.register
    if place.owner == "KVM":
        return _PIC[name] if place.device == "pic" else _PIT.get(name, _PIT_OTHER)
    if place.device.startswith("virtio"):
        if name.startswith("Config+"):
            return _VIRTIO_CONFIG
        if name.startswith("SHM"):
            return _VIRTIO_SHM
        if name.endswith(("Low", "High")):
            return _VIRTIO_AREA
        return _VIRTIO.get(name, _NOT_THERE)
    if place.device.startswith("mmio-nic"):
        return _NIC.get(name.partition("+")[0], _NIC_OTHER if place.width else _NOT_THERE)
    if place.device.startswith("serial"):
        return _SERIAL.get(name, _SERIAL_OTHER)
    return _DEBUGCON if place.device.startswith("debugcon") else _UNKNOWN


_NOT_THERE = Idea(
    "The window is the device's, but it has no register there: a load gives 0, a store is lost, "
    "and Toyvisor reports it as the guest's mistake.",
    f"VIRTIO 1.2, 4.2.2.2; {_QEMU_MMIO} logs it with -d guest_errors",
)

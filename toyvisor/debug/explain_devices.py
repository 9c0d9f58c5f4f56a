"""The events of QEMU, explained: ioctls, the dispatch to a device, virtqueues, interrupt lines."""

from __future__ import annotations

from toyvisor.debug.explain_registers import register_idea
from toyvisor.debug.explain_scene import (
    EventExplainer,
    Happening,
    byte_count,
    register_words,
    value_of,
)
from toyvisor.debug.explanation import Explanation, Idea
from toyvisor.debug.views.register_places import RegisterPlace, register_in
from toyvisor.debug.views.virtqueue import virtqueues
from toyvisor.debug.views.virtqueue_rows import Chain, Owner, VirtqueueView
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.registers import REGISTERS, Reg

_KVM_ALL = "QEMU accel/kvm/kvm-all.c"
_VIRTIO = "QEMU hw/virtio/virtio.c"
_VHOST = "Linux drivers/vhost/vhost.c"
_MEMORY = "QEMU system/memory.c"

# ioctls ----------------------------------------------------------------------------------------

_IOCTLS: dict[str, Idea] = {
    "KVM_RUN": Idea(
        "QEMU's vCPU thread is a loop: KVM_RUN, look at kvm_run.exit_reason, do what is asked, "
        "again. What it left in kvm_run for a load or an IN is taken from there now.",
        f"{_KVM_ALL}: kvm_cpu_exec(); Linux arch/x86/kvm/x86.c: kvm_arch_vcpu_ioctl_run()",
    ),
    "KVM_IRQ_LINE": Idea(
        "The interrupt controllers are in KVM, the device is in QEMU: so the level of its line "
        "goes there by a system call.",
        f"{_KVM_ALL}: kvm_set_irq(); Linux Documentation/virt/kvm/api.rst, KVM_IRQ_LINE",
    ),
    "KVM_IOEVENTFD": Idea(
        "From now on a store to that address signals an eventfd, and does not return to QEMU.",
        f"{_KVM_ALL}: kvm_set_ioeventfd_mmio(); Linux virt/kvm/eventfd.c: kvm_ioeventfd()",
    ),
    "KVM_IRQFD": Idea(
        "From now on a signal on that eventfd is an interrupt, without an ioctl each time.",
        "Linux virt/kvm/eventfd.c: kvm_irqfd()",
    ),
    "VHOST_SET_FEATURES": Idea(
        "vhost has to know what the driver has negotiated: the rings look different with "
        "EVENT_IDX.",
        "QEMU hw/virtio/vhost.c: vhost_dev_set_features(); Linux drivers/vhost/net.c",
    ),
    "VHOST_NET_SET_BACKEND": Idea(
        "vhost-net gets the tap, and begins; without one it stops.",
        "QEMU hw/net/vhost_net.c: vhost_net_start_one(); Linux drivers/vhost/net.c: "
        "vhost_net_set_backend()",
    ),
    "VHOST_GET_VRING_BASE": Idea(
        "vhost lets go of the ring and says how far it has come; QEMU goes on from there.",
        f"QEMU hw/virtio/vhost.c: vhost_virtqueue_stop(); {_VHOST}: vhost_vring_ioctl()",
    ),
}
_VRING = Idea(
    "What the driver has written into the queue's registers, vhost gets by ioctls: size, "
    "addresses, where to begin, the eventfd of kicks and that of calls.",
    f"QEMU hw/virtio/vhost.c: vhost_virtqueue_start(); {_VHOST}: vhost_vring_ioctl()",
)
_OTHER_IOCTL = Idea(
    "QEMU asks the kernel for something by an ioctl.", "Linux Documentation/virt/kvm/api.rst"
)


_VRING_PARTS = {
    "NUM": "how many entries the ring has",
    "BASE": "at which entry to begin",
    "ADDR": "where the three parts of the ring are",
    "KICK": "the eventfd that a kick signals",
    "CALL": "the eventfd to signal for an interrupt",
}


def _ioctl(h: Happening) -> Explanation:
    request: str = h.f["request"]
    name = request.partition(" ")[0]
    idea = _IOCTLS.get(name) or (_VRING if name.startswith("VHOST_SET_VRING") else _OTHER_IOCTL)
    end = " It ends what it had begun." if "deassign" in request else ""
    if part := _VRING_PARTS.get(name.removeprefix("VHOST_SET_VRING_")):
        end = f" vhost is told {part}."
    return Explanation(f"ioctl({name})", f"QEMU calls ioctl({name}), into the kernel.{end}", *idea)


# Registers ---------------------------------------------------------------------------------------


def _region_write(h: Happening) -> Explanation:
    f = h.f
    place = register_in(h.machine, f["region"], f["offset"], is_write=True, value=f["value"])
    if place is None:
        return _unassigned(h, "store")
    name = register_words(place, value=f["value"])
    return Explanation(
        f"{place.device}: {place.register} is written",
        "QEMU has found the device by the address, and calls its write function: "
        f"{value_of(f['value'])} ({byte_count(f['size'])}) to {name}: "
        f"{place.meaning}.{_selected(h, place)}",
        register_idea(place).why,
        f"{_MEMORY}: memory_region_dispatch_write(); {register_idea(place).source}",
    )


def _region_read(h: Happening) -> Explanation:
    f = h.f
    place = register_in(h.machine, f["region"], f["offset"], is_write=False)
    if place is None:
        return _unassigned(h, "load")
    name = register_words(place, value=f["value"])
    return Explanation(
        f"{place.device}: {place.register} is read",
        f"QEMU has found the device by the address, and called its read function: {name} gives "
        f"{value_of(f['value'])} ({byte_count(f['size'])}): {place.meaning}.{_selected(h, place)}",
        register_idea(place).why,
        f"{_MEMORY}: memory_region_dispatch_read(); {register_idea(place).source}",
    )


def _unassigned(h: Happening, what: str) -> Explanation:
    f = h.f
    is_there = f["region"] in h.machine.devices
    whose = (
        f"{f['region']}, which has no register there"
        if is_there
        else "no device: a store is lost, a load gives all ones"
    )
    return Explanation(
        f"A {what} at {f['offset']:#x} of {f['region']}",
        f"The {what} of {byte_count(f['size'])} at {f['offset']:#x} meets {whose}.",
        "QEMU's address space knows which device answers at which address; where none does, it "
        "answers as an idle bus would.",
        f"{_MEMORY}: unassigned_mem_ops",
    )


def _selected(h: Happening, place: RegisterPlace) -> str:
    """The queue that the queue registers are about."""
    transport = h.machine.devices.get(place.device)
    is_of_queue = place.register.startswith("Queue") and place.register not in (
        REGISTERS[Reg.QUEUE_SEL].name, REGISTERS[Reg.QUEUE_NOTIFY].name
    )  # fmt: skip
    if not isinstance(transport, VirtioMmio) or not is_of_queue:
        return ""
    queues, number = transport.device.queues, transport.queue_sel
    name = queues[number].name if number < len(queues) else "which there is not"
    return f" QueueSel is {number}, {name}."


def _device(h: Happening) -> Explanation:
    what: str = h.f["what"]
    return Explanation(
        f"{h.f['device']}: {what}",
        f"The device model does its own work: {what}.",
        "From here on it is the device's affair: what a real card would do in hardware, QEMU does "
        "in software.",
        "QEMU hw/net/virtio-net.c"
        if h.f["device"].startswith("virtio")
        else "toyvisor/qemu/devices/mmio_nic.py; in QEMU each card under hw/net/",
    )


def _trace_full(h: Happening) -> Explanation:
    return Explanation(
        "The trace is full",
        f"{h.f['records']:,} records have been made: from here on nothing is recorded.",
        "A guest that runs on and on must not fill the host's memory with its trace.",
        "toyvisor/trace/events.py: Trace.LIMIT",
    )


def _guest_error(h: Happening) -> Explanation:
    f = h.f
    section = ""
    for device, error in reversed(h.machine.errors.entries):
        if device == f["device"] and error.rule == f["rule"]:
            section = error.section or ""
            break
    return Explanation(
        f"The guest breaks a rule: {f['rule']}",
        f"{f['device']}: {f['what']}.",
        "A device must not trust its driver: it checks what it is given, does what the "
        "specification allows, and goes on. A real one would say nothing; QEMU says it with "
        "-d guest_errors.",
        f"{section}; QEMU include/qemu/log.h: LOG_GUEST_ERROR".removeprefix("; ")
        if not section or section[0].isalpha()
        else f"VIRTIO 1.2, {section}; QEMU include/qemu/log.h: LOG_GUEST_ERROR",
    )


# virtio ------------------------------------------------------------------------------------------


def _set_status(h: Happening) -> Explanation:
    status = h.f["status"]
    names = [b.name for b in REGISTERS[Reg.STATUS].bits if status >> b.low & 1]
    what = f"Status is {status:#x} now: {'|'.join(names)}." if names else "The device is reset."
    return Explanation(
        f"{h.f['device']}: Status {'|'.join(names) or '0: reset'}",
        what,
        "Status says how far driver and device have come with each other. At DRIVER_OK the device "
        "is live: it looks at all queues that are ready, and from then on at each kick.",
        f"VIRTIO 1.2, 2.1 and 3.1.1; {_VIRTIO}: virtio_set_status()",
    )


def _queue_notify(h: Happening) -> Explanation:
    f = h.f
    transport = h.machine.devices.get(f["device"])
    name = f"queue {f['queue']}"
    if isinstance(transport, VirtioMmio) and 0 <= f["queue"] < len(transport.device.queues):
        name += f" ({transport.device.queues[f['queue']].name})"
    return Explanation(
        f"{f['device']}: the driver kicked {name}",
        f"{h.who} looks at {name}.",
        "The kick says nothing but `look`. The device reads avail.idx, and finds out for itself "
        "what is new: one kick can be for many buffers.",
        f"VIRTIO 1.2, 2.7.13.4; {_VIRTIO}: virtio_queue_notify(), "
        "virtio_queue_host_notifier_read()",
    )


def _queue(h: Happening) -> VirtqueueView | None:
    """The queue of an event: rings know no device, so the one that is being served."""
    named = [v for v in virtqueues(h.machine) if v.name == h.f["queue"] and v.ready]
    by = "vhost" if h.is_vhost else "QEMU"
    return next((v for v in named if v.served_by == by), named[0] if named else None)


def _chain(h: Happening, owner: Owner) -> Chain | None:
    view = _queue(h)
    chains = view.chains if view is not None else ()
    return next((c for c in chains if c.head == h.f["head"] and c.owner is owner), None)


def _pop(h: Happening) -> Explanation:
    f = h.f
    chain = _chain(h, Owner.IN_FLIGHT)
    size = ""
    if chain is not None:
        parts = [f"{byte_count(n)} to {verb}" for n, verb in
                 ((chain.readable, "read"), (chain.writable, "write")) if n]  # fmt: skip
        size = f": {' and '.join(parts)}" if parts else ""
    function = f"{_VHOST}: vhost_get_vq_desc()" if h.is_vhost else f"{_VIRTIO}: virtqueue_pop()"
    return Explanation(
        f"{f['queue']}: the device takes the buffer at descriptor {f['head']}",
        f"It has read the next entry of the available ring ({f['head']}) and followed the chain: "
        f"{f['out_num']} readable and {f['in_num']} writable descriptors{size}.",
        "The device reads the rings straight in guest RAM, which it has mapped: no copy, no exit. "
        "What it reads there it checks, as the guest can write anything.",
        f"VIRTIO 1.2, 2.7.6 and 2.7.5; {function}",
    )


def _fill(h: Happening) -> Explanation:
    f = h.f
    function = f"{_VHOST}: vhost_add_used_n()" if h.is_vhost else f"{_VIRTIO}: virtqueue_fill()"
    return Explanation(
        f"{f['queue']}: the buffer at descriptor {f['head']} is done",
        f"The device writes a used element: id {f['head']}, len {f['len']} (what it wrote into the "
        "buffer). The driver does not see it yet: used.idx is still behind.",
        "First the element, then the index: the driver must never see an index whose entry is not "
        "there.",
        f"VIRTIO 1.2, 2.7.8; {function}",
    )


def _flush(h: Happening) -> Explanation:
    count = h.f["count"]
    view = _queue(h)
    now = f": used.idx is {view.used.idx}" if view is not None else ""
    function = f"{_VHOST}: vhost_add_used_n()" if h.is_vhost else f"{_VIRTIO}: virtqueue_flush()"
    return Explanation(
        f"{h.f['queue']}: {count} used {'buffer' if count == 1 else 'buffers'} published",
        f"One store moves used.idx past {'it' if count == 1 else 'them'}{now}. From here on they "
        "are the driver's again.",
        "One store for a whole batch is cheaper: the driver's processor has to fetch that line of "
        "memory once.",
        f"VIRTIO 1.2, 2.7.8 and 2.7.14; {function}",
    )


def _notify(h: Happening) -> Explanation:
    f = h.f
    view = _queue(h)
    because = ""
    if view is not None:
        because = (
            f" (used_event is {view.avail.used_event}, used.idx {view.used.idx})"
            if view.event_idx
            else f" (avail.flags is {view.avail.flag_names or 0})"
        )
    title = "the driver is to be interrupted"
    what = f"The driver wants to hear of used buffers{because}."
    if f["suppressed"]:
        title = "no interrupt: the driver wants none"
        what = f"The driver has said that it need not hear of this{because}."
    function = f"{_VIRTIO}: virtio_should_notify(), virtio_notify()"
    if h.is_vhost:
        function = f"{_VHOST}: vhost_notify(), vhost_signal()"
    return Explanation(
        f"{f['queue']}: {title}",
        what,
        "An interrupt costs the guest exits of its own: reading InterruptStatus, acknowledging, "
        "EOI. A driver that looks at the ring anyway says so, by a flag or by naming an index.",
        f"VIRTIO 1.2, 2.7.7 and 2.7.10; {function}",
    )


def _notify_irqfd(h: Happening) -> Explanation:
    return Explanation(
        f"{h.f['device']}: the interrupt goes by irqfd",
        "QEMU writes to the irqfd; KVM makes an edge on the device's line of it.",
        "The eventfd ends in KVM, whoever signals it: QEMU, or a thread of the kernel.",
        f"{_VIRTIO}: virtio_notify_irqfd(); Linux virt/kvm/eventfd.c: irqfd_wakeup()",
    )


def _vhost_start(h: Happening) -> Explanation:
    return Explanation(
        f"{h.f['device']}: vhost takes over the queues",
        "QEMU gives rings, kicks and calls to vhost in the kernel. From here on it sees no packet.",
        "Rings in shared memory know no device: the kernel can serve them as well as QEMU, without "
        "a return to userspace and without a system call for each packet.",
        "QEMU hw/virtio/vhost.c: vhost_dev_start(); hw/net/vhost_net.c: vhost_net_start()",
    )


def _vhost_stop(h: Happening) -> Explanation:
    return Explanation(
        f"{h.f['device']}: QEMU takes the queues back",
        "vhost lets go of the rings; QEMU goes on where it left off.",
        "All that has to be handed over is one index for each queue: the rest is in guest RAM.",
        "QEMU hw/virtio/vhost.c: vhost_dev_stop(), vhost_virtqueue_stop()",
    )


def _irq_line(h: Happening) -> Explanation:
    level = h.f["level"]
    is_wired = h.f["device"] in h.machine.board.lines.values()
    where = "to the interrupt controllers" if is_wired else "nowhere: this machine has none (pic)"
    return Explanation(
        f"{h.f['device']}: interrupt line {'up' if level else 'down'}",
        f"The device {'raises' if level else 'lowers'} its line, which leads {where}.",
        "A device's line stays up as long as it has something that the driver has not acknowledged."
        if level
        else "The driver has acknowledged what there was: room for the next interrupt.",
        "QEMU include/hw/irq.h: qemu_set_irq()",
    )


DEVICES: dict[str, EventExplainer] = {
    "ioctl": _ioctl,
    "memory_region_ops_read": _region_read,
    "memory_region_ops_write": _region_write,
    "device": _device,
    "trace_full": _trace_full,
    "guest_error": _guest_error,
    "virtio_set_status": _set_status,
    "virtio_queue_notify": _queue_notify,
    "virtqueue_pop": _pop,
    "virtqueue_fill": _fill,
    "virtqueue_flush": _flush,
    "virtio_notify": _notify,
    "vhost_signal": _notify,
    "virtio_notify_irqfd": _notify_irqfd,
    "vhost_dev_start": _vhost_start,
    "vhost_dev_stop": _vhost_stop,
    "irq_line": _irq_line,
}

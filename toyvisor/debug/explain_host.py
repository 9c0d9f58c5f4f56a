"""The events of the host's kernel, and copies, explained."""

from __future__ import annotations

from errno import errorcode
from typing import NamedTuple

from toyvisor.debug.explain_scene import EventExplainer, Happening, byte_count
from toyvisor.debug.explanation import Explanation, Idea

_NET = "Linux drivers/vhost/net.c"
_TUN = "Linux drivers/net/tun.c"


class _Hop(NamedTuple):
    source: str
    target: str
    idea: Idea


_HOPS: dict[str, _Hop] = {
    "guest->kvm": _Hop(
        "the guest's register",
        "kvm_run",
        Idea(
            "kvm_run is a page that KVM and QEMU share. What the guest stores to a device goes "
            "there first: copy one on its way.",
            "Linux arch/x86/kvm/x86.c: kvm_arch_vcpu_ioctl_run(), struct kvm_run",
        ),
    ),
    "kvm->qemu": _Hop(
        "kvm_run",
        "QEMU's device",
        Idea(
            "QEMU takes the data out of the shared page, and gives it to the device: copy two.",
            "QEMU accel/kvm/kvm-all.c: kvm_cpu_exec(); system/physmem.c: address_space_rw()",
        ),
    ),
    "qemu->kvm": _Hop(
        "QEMU's device",
        "kvm_run",
        Idea(
            "The answer to a load or an IN goes into the shared page, where KVM finds it.",
            "QEMU accel/kvm/kvm-all.c: kvm_cpu_exec(); system/physmem.c: address_space_rw()",
        ),
    ),
    "kvm->guest": _Hop(
        "kvm_run",
        "the guest's register",
        Idea(
            "Only now does the guest have its answer: the instruction that left is finished.",
            "Linux arch/x86/kvm/x86.c: complete_emulated_mmio(), complete_fast_pio_in()",
        ),
    ),
    "qemu->host": _Hop(
        "QEMU's memory, or the guest RAM that it has mapped",
        "a buffer of the host's kernel",
        Idea(
            "A system call copies from the process into the kernel. Of a virtio packet this is the "
            "one copy: QEMU points it at the guest's own RAM.",
            f"{_TUN}: tun_get_user(), copy_from_iter()",
        ),
    ),
    "host->qemu": _Hop(
        "a buffer of the host's kernel",
        "QEMU's own buffer",
        Idea(
            "read() copies the frame out of the kernel. QEMU does not know yet which of the "
            "guest's buffers will have it.",
            f"{_TUN}: tun_do_read(), skb_copy_datagram_iter()",
        ),
    ),
    "qemu->qemu": _Hop(
        "QEMU's buffer",
        "the card's own buffer, in QEMU",
        Idea(
            "The card is memory of QEMU's, too. The driver will carry the frame out of it load by "
            "load.",
            "QEMU net/net.c: qemu_deliver_packet_iov()",
        ),
    ),
    "qemu->guest": _Hop(
        "QEMU's buffer",
        "guest RAM",
        Idea(
            "The device writes the frame into the buffer that the driver gave it. To look at it "
            "there costs the driver nothing.",
            "QEMU hw/net/virtio-net.c: virtio_net_receive_rcu(), iov_from_buf()",
        ),
    ),
    "guest->host": _Hop(
        "guest RAM",
        "a buffer of the host's kernel",
        Idea(
            "vhost is in the kernel and has the guest's RAM mapped: one copy, without QEMU.",
            f"{_NET}: handle_tx_copy()",
        ),
    ),
    "host->guest": _Hop(
        "a buffer of the host's kernel",
        "guest RAM",
        Idea(
            "vhost is in the kernel and has the guest's RAM mapped: one copy, without QEMU.",
            f"{_NET}: handle_rx()",
        ),
    ),
}


def _copy(h: Happening) -> Explanation:
    hop, size = _HOPS[h.f["hop"]], byte_count(h.f["bytes"])
    return Explanation(
        f"{size} are copied: {h.f['hop']}" if h.f["bytes"] != 1 else f"{size} is copied: "
        f"{h.f['hop']}",
        f"{size} from {hop.source} to {hop.target}.",
        *hop.idea,
    )  # fmt: skip


_CALLS: dict[str, Idea] = {
    "writev": Idea(
        "One call hands the whole frame to the tap, however many pieces it is in: the iovec names "
        "them where they lie.",
        f"QEMU net/tap.c: tap_write_packet(); {_TUN}: tun_get_user()",
    ),
    "write": Idea(
        "What a guest prints comes out here: one system call for each byte that it writes to the "
        "port.",
        "QEMU chardev/char-fd.c: fd_chr_write(); Linux drivers/tty/tty_io.c: file_tty_write()",
    ),
    "read": Idea(
        "The file can be read, said ppoll(): now QEMU takes what is there. EAGAIN: there is "
        "nothing more.",
        f"QEMU net/tap.c: tap_send(), tap_read_packet(); {_TUN}: tun_do_read()",
    ),
    "ppoll": Idea(
        "QEMU's main loop sleeps here until one of its files has something: a kick, a frame, a "
        "key.",
        "QEMU util/main-loop.c: main_loop_wait(); Linux fs/select.c: do_sys_poll()",
    ),
    "write(eventfd)": Idea(
        "An eventfd is a counter in the kernel: 8 bytes to add. It carries no data, only that "
        "something has happened.",
        "QEMU util/event_notifier-posix.c: event_notifier_set(); Linux fs/eventfd.c: "
        "eventfd_write()",
    ),
    "read(eventfd)": Idea(
        "Whoever was woken takes the counter and leaves 0, so that the next signal wakes him "
        "again.",
        "QEMU util/event_notifier-posix.c: event_notifier_test_and_clear(); Linux fs/eventfd.c: "
        "eventfd_read()",
    ),
}
_OTHER_CALL = Idea(
    "QEMU is a process: all that leaves it goes through a system call.",
    "Linux Documentation/process/adding-syscalls.rst",
)


_READ_CHARACTERS = Idea(
    "The file can be read, said ppoll(): QEMU takes as many bytes as the serial port has room for.",
    "QEMU chardev/char-fd.c: fd_chr_read(); Linux drivers/tty/tty_io.c: tty_read()",
)


def _call_idea(h: Happening) -> Idea:
    name = h.f["name"]
    if name == "read" and h.f["file"] != h.machine.net.file.name:
        return _READ_CHARACTERS
    return _CALLS.get(name, _OTHER_CALL)


def _syscall(h: Happening) -> Explanation:
    name, file, result = h.f["name"], h.f["file"], h.f["bytes"]
    if result < 0:
        came = f"It gives -{errorcode.get(-result, -result)}."
    elif name == "ppoll":
        came = f"{result} of them can be read." if result else "None of them can be read."
    else:
        came = f"{byte_count(result)}."
    return Explanation(
        f"System call: {name} on {file}",
        f"{h.who} calls {name} on {file}. {came}",
        *_call_idea(h),
    )


def _sched_switch(h: Happening) -> Explanation:
    f = h.f
    return Explanation(
        f"The host switches to {f['next_comm']}",
        f"{f['prev_comm']} leaves the processor, {f['next_comm']} gets it.",
        "This host has one processor, so its threads take turns. On a real one, QEMU's main loop "
        "or vhost runs beside the guest, on another processor.",
        "Linux kernel/sched/core.c: __schedule(), tracepoint sched_switch",
    )


_WORKS = {
    "handle_tx_kick": "the driver has kicked the transmit queue",
    "handle_rx_kick": "the driver has kicked the receive queue",
    "handle_rx_net": "the tap has a frame",
}


def _vhost_work(h: Happening) -> Explanation:
    function = h.f["function"]
    return Explanation(
        f"vhost: {function}",
        f"The worker's turn: {_WORKS.get(function, 'there is work')}.",
        "vhost's worker is a thread of the kernel. It sleeps until an eventfd or the tap queues a "
        "piece of work for it.",
        f"Linux drivers/vhost/vhost.c: vhost_run_work_list(); {_NET}: {function}()",
    )


def _vq_err(h: Happening) -> Explanation:
    return Explanation(
        f"vhost: the ring {h.f['queue']} is broken",
        f"{h.f['what']} (rule {h.f['rule']}). vhost stops serving the queue, and signals QEMU.",
        "vhost trusts the guest no more than QEMU does: it stops at the first thing that is wrong. "
        "Linux tells QEMU only that there was something.",
        "Linux drivers/vhost/vhost.h: vq_err()",
    )


def _vhost_discard(h: Happening) -> Explanation:
    return Explanation(
        f"vhost drops {byte_count(h.f['bytes'])}",
        f"{h.f['queue']}: {h.f['what']}.",
        "A packet that can't be delivered is lost, as on any network; nobody waits for it.",
        f"{_NET}: handle_tx_copy(), handle_rx()",
    )


def _sendmsg(h: Happening) -> Explanation:
    return Explanation(
        f"{h.f['file']} takes the frame",
        f"vhost hands {byte_count(h.f['bytes'])} to {h.f['file']}, inside the kernel: no system "
        "call.",
        "From here on the frame is the network's: for the host's kernel it has come in over a "
        "cable.",
        f"{_NET}: vhost_tx_batch(); {_TUN}: tun_sendmsg()",
    )


def _recvmsg(h: Happening) -> Explanation:
    return Explanation(
        f"{h.f['file']} gives a frame",
        f"vhost takes a frame of {byte_count(h.f['bytes'])} from {h.f['file']}, inside the kernel.",
        "vhost has to know how long the frame is before it can look for a buffer of the guest's.",
        f"{_NET}: vhost_net_buf_peek(), handle_rx(); {_TUN}: tun_recvmsg()",
    )


HOST: dict[str, EventExplainer] = {
    "copy": _copy,
    "syscall": _syscall,
    "sched_switch": _sched_switch,
    "vhost_work": _vhost_work,
    "vq_err": _vq_err,
    "vhost_discard": _vhost_discard,
    "tun_sendmsg": _sendmsg,
    "tun_recvmsg": _recvmsg,
}

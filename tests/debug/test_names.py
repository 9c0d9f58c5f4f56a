"""What names stand for in a session, at the moment where it stands."""

from __future__ import annotations

import pytest
from sessions import session, session_of

from toyvisor.debug.expressions import ExpressionError
from toyvisor.debug.names import SessionNames
from toyvisor.qemu.result import collect


def test_counters_are_those_of_the_run_at_its_end():
    with session("virtio_net_event_idx") as walked:
        walked.go_to_end()
        result = collect(walked.machine, walked.ending)
        expected = {
            "exits.total": result.total_exits,
            "exits.userspace": result.userspace_exits,
            "exits.lightweight": result.lightweight_exits,
            "exits.mmio": result.exits_by_reason["mmio"],
            "exits.hlt": result.exits_by_reason["hlt"],
            "exits.interrupt_window": result.exits_by_reason.get("interrupt-window", 0),
            "copies.count": result.copies,
            "copies.bytes": result.bytes_copied,
            "interrupts.injected": result.injected,
            "interrupts.suppressed": result.suppressed,
            "instructions": result.instructions,
            "events": len(walked.events),
        }
        assert {name: walked.evaluate(name) for name in expected} == expected
        assert result.injected > 0
        walked.go_to_start()
        assert walked.evaluate("exits.total + copies.count + instructions") == 0


def test_registers_memory_and_labels(tmp_path):
    source = "start: mov rax, 0x1122334455667788\ncmp eax, eax\nhlt\nvalue: .quad 0xfeed"
    with session_of(source, tmp_path, block='mode = "long"') as walked:
        walked.step(count=2)
        assert walked.evaluate("rax") == 0x1122334455667788
        assert walked.evaluate("zf and ah == 0x77") == 1
        assert walked.evaluate("[value]") == 0xFEED
        assert walked.evaluate("value - start") == 13
        assert walked.evaluate("cs != 0 and cr0 & 1 and efer & 0x400") == 1
        walked.step_back(count=2)
        assert walked.evaluate("rax | zf") == 0


def test_a_local_label_alone_if_only_one_has_it(tmp_path):
    source = "main:\n.once: nop\n.twice: nop\nother:\n.twice: hlt"
    with session_of(source, tmp_path, block='mode = "long"') as walked:
        assert walked.evaluate(".once") == walked.evaluate("main.once") == 0x100000
        with pytest.raises(ExpressionError, match="is there 2 times"):
            walked.evaluate(".twice")


def test_rings_and_device_registers():
    with session("virtio_net_tx") as walked:
        names = SessionNames(walked)
        assert walked.evaluate("tx.avail.idx") == 0  # before there is a ring
        walked.run_until("tx.used.idx == 1")
        for name in ("tx.used.idx", "virtio_net.tx.used.idx", "VIRTIO_NET.transmitq.used.idx"):
            assert walked.evaluate(name) == 1
        assert walked.evaluate("u16[VIRTQ_USED + 2]") == 1
        assert walked.evaluate("tx.last_avail * 100 + tx.size * 10 + tx.ready") == 181
        assert walked.evaluate("virtio_net.Status") == walked.evaluate("virtio_net.status") == 0xF
        known = set(names.known())
        assert {"virtio_net.Status", "virtio_net.tx.avail.idx", "VIRTQ_USED", "eax"} <= known
        with pytest.raises(ExpressionError, match="write-only"):
            walked.evaluate("virtio_net.QueueNotify")


def test_every_known_name_has_a_value():
    """Of the names that a register has which keeps one."""
    with session("virtio_net_tx") as walked:
        walked.go_to_end()
        for name in SessionNames(walked).known():
            if name.isidentifier() or "." in name:
                walked.evaluate(name)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("exits.mimo", "there is no 'exits.mimo'", "exits.mmio"),
        ("virtio_net.Statsu", "there is no 'virtio_net.Statsu'", "virtio_net.Status"),
        ("tx.used.idz", "there is no 'tx.used.idz'", "tx.used.idx"),
        ("Wait_Reset", "'Wait_Reset' is no label, register or counter", "wait_reset"),
        ("u8[0x7fffffff]", "1 bytes at 0x7fffffff are not wholly inside the guest's RAM", ""),
    ],
)
def test_what_has_no_value(text, what, hint):
    with session("virtio_net_tx") as walked, pytest.raises(ExpressionError) as caught:
        walked.evaluate(text)
    assert caught.value.what == what
    assert hint in (caught.value.hint or "")

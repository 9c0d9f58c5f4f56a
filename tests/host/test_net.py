"""`--net`: every form of the value, and what is wrong with the others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from handmade import FRAMES, pcap

from toyvisor.errors import InputError, ToyvisorError, UsageError
from toyvisor.host.captures import read_frames
from toyvisor.host.frames import DEFAULT_FRAMES
from toyvisor.host.net import NetBackend, open_net
from toyvisor.host.syscalls import writev
from toyvisor.trace.ledger import Ledger


def send_all(backend: NetBackend) -> None:
    for frame in backend.frames_in:
        writev(Ledger(), backend.file, (frame,))


def test_without_a_value_there_are_default_frames_and_a_wire():
    with open_net() as net:
        assert net.frames_in == list(DEFAULT_FRAMES)
        send_all(net)
    assert net.sent == net.frames_in


def test_the_default_frame_is_a_frame():
    (frame,) = DEFAULT_FRAMES
    assert len(frame) == 60
    assert frame[:14].hex() == "ffffffffffff52540012345688b5"


def test_out_is_exactly_the_frames_of_in(save, tmp_path):
    source, out = save(pcap(FRAMES)), str(tmp_path / "out.pcap")
    with open_net(f"pcap:{source},{out}") as net:
        assert net.frames_in == FRAMES
        send_all(net)
    assert net.sent == FRAMES
    assert read_frames(out) == FRAMES


def test_an_empty_out_keeps_nothing(save, tmp_path):
    with open_net(f"pcap:{save(pcap(FRAMES))},") as net:
        send_all(net)
    assert net.sent == FRAMES
    assert os.listdir(tmp_path) == ["in.pcap"]


def test_an_empty_in_is_the_default_frames(tmp_path):
    with open_net(f"pcap:,{tmp_path}/out.pcap") as net:
        send_all(net)
    assert read_frames(f"{tmp_path}/out.pcap") == list(DEFAULT_FRAMES)


def test_both_empty_is_no_value():
    with open_net("pcap:,") as net:
        assert (net.frames_in, net.output) == (list(DEFAULT_FRAMES), None)


def test_a_name_may_have_a_colon_and_spaces(tmp_path):
    with open_net(f"pcap:,{tmp_path}/my out: one.pcap") as net:
        send_all(net)
    assert os.listdir(tmp_path) == ["my out: one.pcap"]


def test_a_failed_run_leaves_the_old_out(tmp_path):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")

    def run():
        with open_net(f"pcap:,{out}") as net:
            send_all(net)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert out.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out.pcap"]


def test_a_failed_run_without_out_is_just_a_failed_run():
    def run():
        with open_net():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()


def test_a_bad_in_does_not_touch_out(save, tmp_path):
    with pytest.raises(InputError, match="not a capture"):
        open_net(f"pcap:{save(b'text')},{tmp_path}/out.pcap")
    assert os.listdir(tmp_path) == ["in.pcap"]


@pytest.mark.parametrize("other", ["in.pcap", "./in.pcap", "hard.pcap", "soft.pcap"])
def test_in_and_out_are_different_files(save, tmp_path, monkeypatch, other):
    save(pcap(FRAMES[:1]))
    monkeypatch.chdir(tmp_path)
    os.link("in.pcap", "hard.pcap")
    os.symlink("in.pcap", "soft.pcap")
    with pytest.raises(InputError, match="the same file"):
        open_net(f"pcap:in.pcap,{other}")


def test_in_and_out_are_the_same_file_even_if_it_is_missing():
    with pytest.raises(InputError, match="the same file"):
        open_net("pcap:nowhere.pcap,./nowhere.pcap")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("tap:", "which one"),
        ("user", "no such kind"),
        ("", "no such kind"),
        ("PCAP:a,b", "no such kind"),
        ("pcap", "one comma"),
        ("pcap:in.pcap", "one comma"),
        ("pcap:a,b,c", "one comma"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error_with_the_right_form(value, reason):
    with pytest.raises(UsageError) as caught:
        open_net(value)
    assert reason in str(caught.value)
    assert "pcap:IN,OUT" in str(caught.value)


@pytest.mark.parametrize(
    "value", ["pcap:a\0b,", "pcap:,a\0b", "pcap:a\0,a\0", "pcap:,/", "pcap:/,"]
)
def test_no_name_is_a_traceback(value):
    with pytest.raises(ToyvisorError):
        open_net(value)


def test_a_run_without_captures_does_not_pay_for_dpkt():
    program = "from toyvisor.host.net import open_net; open_net()"
    program += "; import sys; print(sys.modules.get('dpkt'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "None\n", done.stderr

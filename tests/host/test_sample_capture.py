"""The capture that is shipped: made by its script, and clean."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toyvisor.host.captures import read_frames

FOLDER = Path(__file__).parents[2] / "guest_programs" / "captures"
SAMPLE = FOLDER / "ordinary.pcap"

CHECK_ALL = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]
CHECK_ALL += ["-o", "udp.check_checksum:TRUE"]
SUSPECT = (
    "_ws.malformed || _ws.expert.severity >= 6291456 || tcp.analysis.flags || "  # warnings
    "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || "
    "icmp.checksum.status == 0"
)


def test_the_script_makes_it_again_byte_for_byte(tmp_path):
    script = [sys.executable, str(FOLDER / "make_ordinary.py"), str(tmp_path / "again.pcap")]
    subprocess.run(script, check=True, timeout=60)
    assert (tmp_path / "again.pcap").read_bytes() == SAMPLE.read_bytes()


def test_it_is_small_and_has_the_lengths_that_matter():
    assert SAMPLE.stat().st_size < 30_000
    lengths = [len(frame) for frame in read_frames(str(SAMPLE))]
    assert (min(lengths), max(lengths)) == (60, 1514)
    assert len(set(lengths)) >= 7


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_finds_nothing_wrong_with_it():
    command = ["tshark", "-r", str(SAMPLE), *CHECK_ALL, "-Y", SUSPECT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_sees_every_protocol():
    command = ["tshark", "-r", str(SAMPLE), "-T", "fields", "-e", "_ws.col.protocol"]
    command[-1] = "frame.protocols"
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    protocols = {name for line in done.stdout.split() for name in line.split(":")}
    assert {"arp", "dhcp", "dns", "icmp", "tcp", "http"} <= protocols


def test_scapy_computes_the_same_checksums():
    pytest.importorskip("scapy")
    from scapy.layers.l2 import Ether

    for number, frame in enumerate(read_frames(str(SAMPLE)), 1):
        packet = Ether(frame)
        for layer in packet.layers():
            if hasattr(packet[layer], "chksum"):
                del packet[layer].chksum
        assert bytes(packet) == frame, f"frame {number}"

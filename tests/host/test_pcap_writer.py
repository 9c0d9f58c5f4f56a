"""Writing captures: what arrives is what is there, and nothing old is lost for nothing."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import sys

import pytest
from handmade import FRAMES, pcap

from toyvisor.errors import InputError
from toyvisor.host.captures import read_frames
from toyvisor.host.pcap import PcapWriter


def write(path, frames=FRAMES):
    with PcapWriter(str(path)) as writer:
        for frame in frames:
            writer.receive(frame)


def entries(directory):
    return sorted(os.listdir(directory))


def test_what_is_written_is_what_is_read(tmp_path):
    write(tmp_path / "out.pcap")
    assert read_frames(str(tmp_path / "out.pcap")) == FRAMES
    assert entries(tmp_path) == ["out.pcap"]


def test_the_file_byte_for_byte(tmp_path):
    write(tmp_path / "out.pcap", FRAMES[:2])
    expected = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    expected += struct.pack("<IIII", 0, 0, 60, 60) + FRAMES[0]
    expected += struct.pack("<IIII", 0, 1, 14, 14) + FRAMES[1]
    assert (tmp_path / "out.pcap").read_bytes() == expected


def test_the_time_of_packet_n_is_n_microseconds(tmp_path):
    write(tmp_path / "out.pcap", [bytes(14)] * 3000)
    data = (tmp_path / "out.pcap").read_bytes()[24:]
    times = [struct.unpack_from("<II", data, start) for start in range(0, len(data), 30)]
    assert times == [(0, n) for n in range(3000)]


def test_two_runs_give_the_same_bytes(tmp_path):
    write(tmp_path / "one.pcap")
    write(tmp_path / "two.pcap")
    assert (tmp_path / "one.pcap").read_bytes() == (tmp_path / "two.pcap").read_bytes()


def test_a_run_without_frames_is_still_a_capture(tmp_path):
    write(tmp_path / "out.pcap", [])
    assert (tmp_path / "out.pcap").read_bytes() == pcap([], snaplen=65535)


def test_the_old_capture_stands_until_the_run_is_over(tmp_path):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")
    writer = PcapWriter(str(out))
    writer.receive(FRAMES[0])
    assert out.read_bytes() == b"precious"
    writer.close()
    assert read_frames(str(out)) == FRAMES[:1]
    assert entries(tmp_path) == ["out.pcap"]


@pytest.mark.parametrize("error", [InputError("x"), KeyboardInterrupt(), RuntimeError()])
def test_a_failed_run_leaves_the_old_capture_and_nothing_else(tmp_path, error):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")

    def run():
        with PcapWriter(str(out)) as writer:
            writer.receive(FRAMES[0])
            raise error

    with pytest.raises(type(error)):
        run()
    assert out.read_bytes() == b"precious"
    assert entries(tmp_path) == ["out.pcap"]


def test_closing_and_discarding_twice_is_once(tmp_path):
    writer = PcapWriter(str(tmp_path / "out.pcap"))
    writer.close()
    writer.close()
    writer.discard()
    assert entries(tmp_path) == ["out.pcap"]
    writer = PcapWriter(str(tmp_path / "other.pcap"))
    writer.discard()
    writer.close()
    assert entries(tmp_path) == ["out.pcap"]


def test_two_writers_in_one_directory_do_not_meet(tmp_path):
    with PcapWriter(str(tmp_path / "a")) as one, PcapWriter(str(tmp_path / "b")) as two:
        one.receive(FRAMES[0])
        two.receive(FRAMES[1])
    assert read_frames(str(tmp_path / "a")) == FRAMES[:1]
    assert read_frames(str(tmp_path / "b")) == FRAMES[1:2]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.pcap").symlink_to("there/real.pcap")
    write(tmp_path / "link.pcap")
    assert (tmp_path / "link.pcap").is_symlink()
    assert read_frames(str(tmp_path / "there" / "real.pcap")) == FRAMES


def test_an_existing_file_keeps_its_mode(tmp_path):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"")
    out.chmod(0o640)
    write(out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "any").write_bytes(b"")
    write(tmp_path / "out.pcap")
    assert (tmp_path / "out.pcap").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_relative_name_means_the_directory_it_was_given_in(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with PcapWriter("out.pcap"):
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert entries(tmp_path) == ["elsewhere", "out.pcap"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "directory"),
        ("nowhere/out.pcap", "No such file"),
        ("new/", "names a directory"),
        ("file/out.pcap", "Not a directory"),
        ("x" * 300, "too long"),
        ("a\0b", "null"),
    ],
)
def test_what_cannot_be_written_is_known_before_the_run(tmp_path, name, reason):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        PcapWriter(f"{tmp_path}/{name}")
    assert reason in str(caught.value)
    assert entries(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_read_only_file_or_directory_is_known_before_the_run(tmp_path):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")
    out.chmod(0o444)
    with pytest.raises(InputError, match="read-only"):
        PcapWriter(str(out))
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"):
        PcapWriter(str(tmp_path / "new.pcap"))
    tmp_path.chmod(0o755)


def test_a_read_only_file_is_refused_even_where_it_could_be_replaced(tmp_path, monkeypatch):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="read-only"):
        PcapWriter(str(out))


def test_dev_null_stays_what_it_is():
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("count", [1, 2000])
def test_a_full_disk_is_an_input_error(count):
    with pytest.raises(InputError, match="No space left"):
        write("/dev/full", [bytes(1514)] * count)


def test_a_full_disk_leaves_the_old_capture(tmp_path, monkeypatch):
    out = tmp_path / "out.pcap"
    out.write_bytes(b"precious")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write(out)
    assert out.read_bytes() == b"precious"
    assert entries(tmp_path) == ["out.pcap"]


def test_a_pipe_that_nobody_reads_is_an_error_and_no_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be written"):
        PcapWriter(str(tmp_path / "pipe"))


def test_a_pipe_gets_the_capture(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(tmp_path / "pipe", FRAMES[:3])
        assert os.read(reader, 1 << 16) == pcap_of_run(FRAMES[:3])
    finally:
        os.close(reader)


def test_standard_output_can_be_the_capture():
    program = "from toyvisor.host.pcap import PcapWriter\n"
    program += "with PcapWriter('/dev/stdout') as out: out.receive(bytes(range(14)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == pcap_of_run(FRAMES[1:2]), done.stderr


def pcap_of_run(frames):
    data = pcap([], snaplen=65535)
    for number, frame in enumerate(frames):
        data += struct.pack("<IIII", 0, number, len(frame), len(frame)) + frame
    return data


def test_scapy_reads_the_same_frames(tmp_path):
    scapy = pytest.importorskip("scapy.utils")
    write(tmp_path / "out.pcap")
    assert [data for data, _ in scapy.RawPcapReader(str(tmp_path / "out.pcap"))] == FRAMES


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_the_same_lengths(tmp_path):
    write(tmp_path / "out.pcap")
    command = ["tshark", "-r", str(tmp_path / "out.pcap"), "-T", "fields", "-e", "frame.len"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.split() == [str(len(frame)) for frame in FRAMES]

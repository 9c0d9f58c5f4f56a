"""`toyvisor trace --to ftrace|perfetto|kvm-stat|pcap`, of programs and of kept streams."""

from __future__ import annotations

import json
import shutil
import subprocess
from decimal import Decimal

import pytest
from asking import ORDINARY

FORMS = ("text", "jsonl", "ftrace", "perfetto", "kvm-stat")
TSHARK = shutil.which("tshark")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("program", ["virtio_net_rx", "hello_serial", "sti_hlt"])
def test_a_program_and_its_kept_stream_give_the_same(toyvisor, folder, program, form):
    toyvisor("run", program, "--trace", "run.jsonl")
    of_stream = toyvisor("trace", "run.jsonl", "--to", form)
    assert (of_stream.status, of_stream.errors) == (0, "")
    assert of_stream.output == toyvisor("trace", program, "--to", form).output
    assert toyvisor("trace", "run.jsonl", "--to", form, "-o", "out").output == b""
    assert (folder / "out").read_bytes() == of_stream.output


def test_each_form_looks_as_its_readers_expect(toyvisor):
    def of(form):
        return toyvisor("trace", "virtio_net_rx", "--to", form).text

    assert of("ftrace").startswith("# tracer: nop\n")
    assert json.loads(of("perfetto"))["displayTimeUnit"] == "ns"
    assert "Total Samples:157, Total events handled time:" in of("kvm-stat")


def test_the_cost_table_can_be_one_s_own(toyvisor, folder):
    (folder / "mine.toml").write_text("vmexit = 0\nuserspace_return = 3000\n")
    lines = toyvisor("trace", "sti_hlt", "--to", "kvm-stat", "--costs", "mine.toml").lines
    assert lines != toyvisor("trace", "sti_hlt", "--to", "kvm-stat").lines
    (folder / "mine.toml").write_text("vmexits = 0\n")
    answer = toyvisor("trace", "sti_hlt", "--to", "kvm-stat", "--costs", "mine.toml")
    assert answer.status == 2
    assert "did you mean vmexit?" in answer.errors


def test_options_that_change_the_run(toyvisor, folder):
    plain = toyvisor("trace", "virtio_net_rx")
    vhost = toyvisor("trace", "virtio_net_rx", "--device", "virtio-net,vhost=on")
    assert "tun_recvmsg" in vhost.text
    assert "tun_recvmsg" not in plain.text
    (folder / "typed").write_bytes(b"ab")
    echo = toyvisor("trace", "keyboardless_echo", "--input", "typed")
    assert echo.text.count("syscall: read typed 1 bytes") == 2
    one = toyvisor("trace", "virtio_net_tx", "--net", f"pcap:{ORDINARY},out.pcap")
    assert one.text == toyvisor("trace", "virtio_net_tx").text
    assert (folder / "out.pcap").stat().st_size > 24
    short = toyvisor("trace", "spin", "--max-instructions", "500")
    assert short.status == 124
    assert "after 500 instructions" in short.complaint


def captured(toyvisor, folder, program, *options):
    assert toyvisor("trace", program, "--to", "pcap", "-o", "out.pcap", *options).status == 0
    return folder / "out.pcap"


def test_a_capture_has_both_directions_and_the_guest_s_time(toyvisor, folder, run_json):
    from dpkt import pcap

    with captured(toyvisor, folder, "ping_responder").open("rb") as file:
        found = list(pcap.Reader(file))
    frames = [frame.hex() for _, frame in found]
    packets = run_json("ping_responder")["packets"]
    assert len(packets["sent"]) + len(packets["received"]) == len(frames) == 27
    assert sorted(frames) == sorted(packets["sent"] + packets["received"])
    ftrace = toyvisor("trace", "ping_responder", "--to", "ftrace").lines
    first_read = next(line for line in ftrace if "copy: host->qemu" in line)
    microseconds = Decimal(first_read.split("[000] .....")[1].split(":")[0])
    assert abs(Decimal(found[0][0]) - microseconds) < Decimal("0.000002")


def test_vhost_s_packets_are_captured_as_well(toyvisor, folder):
    plain = captured(toyvisor, folder, "virtio_net_rx").read_bytes()
    vhost = captured(toyvisor, folder, "virtio_net_rx", "--device", "virtio-net,vhost=on")
    assert vhost.read_bytes() == plain


@pytest.mark.skipif(TSHARK is None, reason="no tshark here")
def test_tshark_reads_the_capture(toyvisor, folder):
    path = captured(toyvisor, folder, "ping_responder")
    fields = ("-e", "frame.time_epoch", "-e", "_ws.col.Protocol", "-e", "_ws.malformed")
    command = [TSHARK, "-n", "-r", path, "-T", "fields", *fields]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows[:4]] == ["ARP", "ARP", "ICMP", "ICMP"]
    assert len(rows) == 27
    assert not any(row[2] for row in rows)
    times = [float(row[0]) for row in rows]
    assert times == sorted(times)
    assert times[0] == pytest.approx(0.002095237)


def test_scapy_reads_the_capture(toyvisor, folder):
    utils = pytest.importorskip("scapy.utils")
    layers = pytest.importorskip("scapy.layers.l2")
    packets = utils.rdpcap(str(captured(toyvisor, folder, "ping_responder")))
    assert len(packets) == 27
    asked, answered = packets[0][layers.ARP], packets[1][layers.ARP]
    assert (asked.op, answered.op) == (1, 2)
    assert asked.pdst == answered.psrc == "10.0.0.2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run.jsonl", "--to", "pcap"), "run.jsonl has no packets: a stream keeps their lengths"),
        (("run.jsonl", "--to", "pcap"), "(hint: `toyvisor trace PROGRAM --to pcap` runs"),
        (("run.jsonl", "--device", "serial"), "--device: run.jsonl is a kept stream"),
        (("run.jsonl", "--net", "pcap:,x"), "--net: run.jsonl is a kept stream"),
        (("run.jsonl", "--input", "x"), "--input: run.jsonl is a kept stream"),
        (("run.jsonl", "--max-instructions", "5"), "--max-instructions: run.jsonl is a kept"),
        (("add", "--to", "pcap"), "--to pcap: add has no network card"),
        (("add", "--net", "pcap:,x"), "--net: add has no network card"),
        (("virtio_net_tx", "--net", "tap:tap0"), "no end by itself (hint: keep its stream"),
        (("add", "--costs", "run.jsonl"), "--costs: only a time has costs (hint: --to kvm-stat)"),
        (("add", "--to", "kvm-stat", "--costs", "none.toml"), "none.toml: can't read the cost"),
        (("add", "--to", "xml"), "invalid choice: 'xml'"),
        (("add", "--to", "kvm-stat", "--costs", "c.toml", "-o", "c.toml"), "it is the input"),
    ],
)
def test_what_can_not_be_had(toyvisor, folder, arguments, words):
    toyvisor("run", "add", "--trace", "run.jsonl")
    (folder / "c.toml").write_text("vmexit = 1\n")
    answer = toyvisor("trace", *arguments)
    assert answer.status == 2
    assert words in answer.complaint
    assert answer.output == b""


@pytest.mark.parametrize("form", FORMS)
def test_a_bad_line_in_a_kept_stream(toyvisor, folder, form):
    (folder / "bad.jsonl").write_text('{"seq": 1}\n')
    answer = toyvisor("trace", "bad.jsonl", "--to", form)
    assert answer.status == 2
    assert "bad.jsonl:1: not an event" in answer.complaint


@pytest.mark.parametrize("form", ["ftrace", "perfetto"])
def test_a_clock_that_can_not_be(toyvisor, folder, form):
    line = {"seq": 7, "clock": -1, "layer": "KVM", "thread": "VCPU", "event": "copy"}
    (folder / "bad.jsonl").write_text(json.dumps(line))
    answer = toyvisor("trace", "bad.jsonl", "--to", form)
    assert answer.status == 2
    assert "event 7: no such time: clock -1" in answer.complaint

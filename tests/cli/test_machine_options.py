"""run --device and --input: the same guest on a machine that is a little different."""

from __future__ import annotations

import subprocess
import sys

import pytest
from asking import environment

RX = ("run", "virtio_net_rx")


def counts(run_json, *options: str) -> dict:
    return run_json("virtio_net_rx", *options)


def test_the_same_guest_by_three_ways(run_json):
    plain = counts(run_json)
    bypass = counts(run_json, "--device", "virtio-net,ioeventfd=on,irqfd=on")
    vhost = counts(run_json, "--device", "virtio-net,vhost=on")
    for found in (plain, bypass, vhost):
        assert found["outcome"] == "halted"
        assert found["packets"]["received"] == plain["packets"]["received"]
        assert found["interrupts"]["injected"] == plain["interrupts"]["injected"] == 29
        assert found["console"] == plain["console"]
    assert set(plain["copies"]["by_hop"]) >= {"host->qemu", "qemu->guest"}
    assert set(bypass["copies"]["by_hop"]) >= {"host->qemu", "qemu->guest"}
    assert "host->qemu" not in vhost["copies"]["by_hop"]
    assert vhost["copies"]["by_hop"]["host->guest"]["count"] == 29
    assert plain["syscalls"]["ioctl(KVM_IRQ_LINE)"] == 58
    assert "ioctl(KVM_IRQ_LINE)" not in bypass["syscalls"]
    assert "read" not in vhost["syscalls"]


def test_options_can_be_given_one_by_one_and_the_last_counts(run_json):
    found = counts(
        run_json, "--device", "virtio-net,vhost=on", "--device", "virtio-net,vhost=off"
    )  # fmt: skip
    assert "host->guest" not in found["copies"]["by_hop"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blk,x=on", "virtio_net_rx has no blk"),
        ("virtio-net,speed=on", "virtio-net has no option 'speed'"),
        ("virtio-net,vhost", "vhost needs a value"),
        ("virtio-net,vhost=", "vhost needs a value"),
        ("virtio-net,vhost=perhaps", "vhost is 'perhaps', not true or false"),
        ("virtio-net,mac=1", "mac is '1', not six bytes"),
        ("", "virtio_net_rx has no"),
        (",", "virtio_net_rx has no"),
        ("virtio-net,,", "no option ''"),
        ("virtio-net,=on", "no option ''"),
    ],
)
def test_a_device_option_that_can_not_be(toyvisor, text, words):
    answer = toyvisor(*RX, "--device", text)
    assert answer.status == 2
    assert words in answer.errors
    assert "Traceback" not in answer.errors


def test_input_from_a_file(toyvisor, folder):
    (folder / "typed").write_bytes(b"file\n")
    answer = toyvisor("run", "keyboardless_echo", "--input", "typed")
    assert answer.status == 0
    assert "FILE" in answer.text.upper()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keyboardless_echo", "--input", "gone"), "can't read gone: No such file"),
        (("keyboardless_echo", "--input", "."), "can't read .: Is a directory"),
        (("out_debugcon", "--input", "x"), "out_debugcon has no serial port"),
    ],
)
def test_input_that_is_not_there(toyvisor, folder, arguments, words):
    answer = toyvisor("run", *arguments)
    assert answer.status == 2
    assert words in answer.complaint


def test_input_from_a_pipe():
    done = subprocess.run(
        [sys.executable, "-m", "toyvisor", "run", "keyboardless_echo", "--input", "-"],
        input=b"piped\n", capture_output=True, check=False, env=environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"PIPED" in done.stdout.upper()

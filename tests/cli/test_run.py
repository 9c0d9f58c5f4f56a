"""`toyvisor run`: the object it prints, its exit status, its trace, and that it repeats."""

from __future__ import annotations

import json

import pytest
from asking import BROKEN, HALT, MACHINE, MANY_MISTAKES, ORDINARY, PROGRAMS

from toyvisor.host.captures import read_frames

OUTCOMES = {"halted": 0, "shutdown": 1, "internal-error": 1, "budget": 124}
STATUS = {"triple_fault": 1, "spin": 124}
BUDGET = 30_000  # every shipped program that ends needs less


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_shipped_program_by_its_name(run_json, toyvisor, program):
    limit = ("--max-instructions", BUDGET)
    answer = toyvisor("run", program, *limit)
    assert answer.status == STATUS.get(program, 0)
    assert bool(answer.errors) is (answer.status != 0)
    assert f"{program}: " in answer.text
    found = run_json(program, *limit)
    assert OUTCOMES[found["outcome"]] == answer.status


@pytest.mark.parametrize("program", [*PROGRAMS, *BROKEN], ids=str)
def test_the_json_object_is_whole_and_its_sums_agree(run_json, program):
    found = run_json(program, "--max-instructions", BUDGET)
    assert {
        "program", "accel", "outcome", "explanation", "instructions", "console", "exits",
        "copies", "interrupts", "packets", "registers",
    } <= set(found)  # fmt: skip
    exits, copies = found["exits"], found["copies"]
    assert {"total", "userspace", "lightweight", "by_reason"} <= set(exits)
    assert exits["total"] == exits["userspace"] + exits["lightweight"]
    assert exits["total"] == sum(exits["by_reason"].values()) > 0
    assert set(exits["by_reason"]) <= {
        "mmio", "io", "hlt", "cpuid", "hypercall", "shutdown", "timer", "interrupt-window",
        "nmi-window", "task-switch", "internal-error",
    }  # fmt: skip
    assert copies["count"] == sum(hop["count"] for hop in copies["by_hop"].values())
    assert copies["bytes"] == sum(hop["bytes"] for hop in copies["by_hop"].values())
    assert set(found["interrupts"]) == {"injected", "suppressed"}
    assert set(found["packets"]) == {"sent", "received", "dropped"}
    assert all(bytes.fromhex(frame) for frame in found["packets"]["sent"])
    assert {"rax", "rsp", "rip", "rflags", "r15"} <= set(found["registers"])
    assert all(int(value, 16) >= 0 for value in found["registers"].values())
    assert 0 <= found["instructions"] <= BUDGET
    assert found["accel"] == "toy"
    assert found["explanation"]


def test_the_numbers_of_two_and_two(run_json):
    found = run_json("add")
    assert found["program"] == "add"
    assert found["console"] == "4\n"
    assert found["outcome"] == "halted"
    assert found["exits"]["by_reason"] == {"io": 2, "hlt": 1}
    assert found["instructions"] == 7


def test_what_was_sent_is_the_capture(run_json):
    sent = run_json("virtio_net_tx")["packets"]["sent"]
    assert [bytes.fromhex(frame) for frame in sent] == read_frames(str(ORDINARY))


@pytest.mark.parametrize("program", ["virtio_net_tx", "mmio_nic_tx", "hello_serial", "cpuid"])
def test_two_runs_are_the_same_byte_for_byte(toyvisor, folder, program):
    first = toyvisor("run", program, "--json", "--trace", "first.jsonl")
    again = toyvisor("run", program, "--json", "--trace", "again.jsonl")
    assert first == again
    assert (folder / "first.jsonl").read_bytes() == (folder / "again.jsonl").read_bytes()


def test_the_guest_prints_before_the_summary(toyvisor):
    answer = toyvisor("run", "hello_serial")
    printed, summary = answer.text.split("\n\n", 1)
    assert printed
    assert summary.startswith("hello_serial: halted")


def test_bytes_of_the_guest_arrive_as_they_are(toyvisor, folder):
    (folder / "raw.s").write_text(
        MACHINE + "mov al, 0xff\nout 0xe9, al\nmov al, 0xc3\nout 0xe9, al\nhlt\n"
    )
    answer = toyvisor("run", "raw.s")
    assert answer.output.startswith(b"\xff\xc3\n\nraw: halted")
    found = json.loads(toyvisor("run", "raw.s", "--json").text)
    assert found["console"] == "\ufffd\ufffd"


@pytest.mark.parametrize(
    "name", ["two words.s", "größe.s", "程序.s", "-dash.s", "a'b\"$c.s", "X.S"]
)
def test_a_path_of_any_kind(toyvisor, folder, name):
    (folder / name).write_text(HALT)
    answer = toyvisor("run", "--json", "--", name)
    assert (answer.status, answer.errors) == (0, "")
    assert json.loads(answer.text)["program"] == name[:-2]
    assert toyvisor("run", folder / name).status == 0


def test_a_budget_that_is_spent(toyvisor):
    answer = toyvisor("run", "spin", "--max-instructions", "1_000")
    assert answer.status == 124
    assert "instruction budget spent after 1,000 instructions" in answer.text
    assert "spin.s:" in answer.complaint
    assert ": budget: " in answer.complaint


@pytest.mark.parametrize("budget", [1, 2, 3, 6])
def test_a_budget_is_kept_to_the_instruction(run_json, budget):
    assert run_json("add", "--max-instructions", budget)["instructions"] == budget
    assert run_json("add", "--max-instructions", 7)["outcome"] == "halted"


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_program_is_shown_the_line_and_what_is_wrong(toyvisor, path):
    answer = toyvisor("run", path, "--max-instructions", BUDGET)
    assert answer.status in (1, 124)
    complaints = answer.errors.splitlines()
    assert complaints
    for complaint in complaints:
        place, _, what = complaint.partition(" (0x")
        file, _, line = place.rpartition(":")
        source = (path.parent / file).read_text().splitlines()
        assert source[int(line) - 1].strip().partition(";")[0], "a line of code"
        assert any(kind in what for kind in ("guest error: ", "shutdown: ", "error: ", "budget: "))
    assert answer.text.endswith("\n\n"), "an empty line between summary and errors"


def test_only_the_first_of_many_mistakes_are_shown(toyvisor, folder):
    (folder / "many.s").write_text(MANY_MISTAKES)
    answer = toyvisor("run", "many.s")
    assert answer.status == 1
    *first, last = answer.errors.splitlines()
    assert len(first) == 8
    assert last == "... and 22 more guest errors"
    assert "with 30 guest errors" in answer.text


def test_a_guest_error_is_in_the_json_too(toyvisor):
    answer = toyvisor("run", BROKEN[0].parent / "frame_too_long.s", "--json")
    found = json.loads(answer.text)
    assert answer.status == 1
    assert found["guest_errors"][0]["rule"] == "mmio-nic.tx-length"
    assert "frame_too_long.s:16" in answer.complaint


def test_captures_in_and_out(toyvisor, folder):
    one = read_frames(str(ORDINARY))
    assert toyvisor("run", "virtio_net_tx", "--net", f"pcap:{ORDINARY},out.pcap").status == 0
    assert read_frames("out.pcap") == one
    assert toyvisor("run", "mmio_nic_tx", "--net", "pcap:out.pcap,").status == 0
    assert toyvisor("run", "mmio_nic_tx", "--net", "pcap:,again.pcap").status == 0
    assert len(read_frames("again.pcap")) > 0


def test_keeping_the_replies_does_not_change_what_comes_in(run_json, folder):
    plain = run_json("mmio_nic_ping_responder")["packets"]
    kept = run_json("mmio_nic_ping_responder", "--net", f"pcap:,{folder / 'replies.pcap'}")
    assert kept["packets"] == plain
    assert (len(plain["received"]), len(plain["sent"])) == (15, 12)


def test_a_trace_on_standard_output_is_alone_there(toyvisor, folder):
    answer = toyvisor("run", "hello_serial", "--trace", "-")
    assert toyvisor("run", "hello_serial", "--trace", "file.jsonl").status == 0
    assert answer.output == (folder / "file.jsonl").read_bytes()
    assert all(json.loads(line)["event"] for line in answer.lines)


def test_a_trace_is_kept_of_a_run_that_fails(toyvisor, folder):
    assert toyvisor("run", "triple_fault", "--trace", "t.jsonl").status == 1
    last = json.loads((folder / "t.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "kvm_userspace_exit"

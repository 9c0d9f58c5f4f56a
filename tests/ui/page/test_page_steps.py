"""What a page tells of a run is what the session says at each of its moments."""

from __future__ import annotations

import pytest
from page_kit import State, data_in, page_of, session_of

from toyvisor.debug.moment import Unit
from toyvisor.debug.views.registers import registers_view
from toyvisor.guest.program import load_program
from toyvisor.ui.page.page import MOST_CHARACTERS, run_page


def test_a_short_run_has_a_step_for_each_instruction_and_each_event():
    """one_store: 3 instructions begin between exits, and 10 events follow the first entry."""
    data = data_in(page_of("one_store"))
    assert [(step[0], step[3]) for step in data["steps"]] == [
        (0, 1), (1, 1), (2, 1),
        (2, 0), (2, 0), (2, 0), (2, 0), (2, 0), (2, 0), (2, 0), (2, 0),
        (3, 1),
        (4, 0), (4, 0),
    ]  # fmt: skip
    assert data["notes"] == []
    assert (data["instructions"], data["exits"], data["events"]) == (4, 2, 12)
    assert data["ending"] == "halted: the guest executed HLT"


def test_the_ways_are_the_exits_with_what_is_under_way():
    data = data_in(page_of("one_store"))
    texts, ways = data["texts"], data["ways"]
    assert [(way[0], texts[way[1]], way[2], way[3]) for way in ways] == [
        (-1, "the first entry", "", 2),
        (0, "store to 0xd0000018, 4 bytes", "M", 2),
        (1, "HLT", "H", 1),
    ]
    hops = [(data["kinds"][hop[3]], hop[1], hop[6]) for hop in ways[1][4]]
    assert [kind for kind, _, _ in hops] == [
        "vm_exit", "kvm_mmio", "copy", "kvm_userspace_exit", "copy", "memory_region_ops_write",
        "ioctl", "vm_entry",
    ]  # fmt: skip
    assert [layer for _, layer, _ in hops] == [0, 1, 1, 1, 2, 2, 2, 0]
    places = [data["places"][place][0] for _, _, place in hops]
    assert places == ["guest registers"] * 2 + ["kvm_run"] * 2 + ["QEMU device"] * 4


@pytest.mark.parametrize("name", ["one_load", "add", "virtio_net_tx", "timer_tick_real"])
def test_every_step_is_the_machine_at_that_moment(name: str):
    """Rolled forward from the differences, the registers are those of another session."""
    data = data_in(page_of(name))
    state = State(data)
    with session_of(load_program(name)) as session:
        for number, step in enumerate(data["steps"]):
            state.add(step)
            if step[3]:
                session.go_to_instruction(step[0])
            else:
                session.go_to_event(data["ways"][step[1]][4][step[2]][0])
            assert session.moment.instructions == step[0], number
            if number % 7:
                continue
            view = registers_view(session.machine)
            shown = {k[2:]: v for k, v in state.table.items() if k.startswith("r.")}
            assert shown.pop(view.flags.name) == f"{view.flags.value:08x}"
            assert shown == {r.name: r.text for r in (*view.general, view.ip)}
            assert state.table["c.vmexits"] == f"{session.counters().total_exits:,}"


def test_the_last_step_has_what_the_whole_run_counted():
    data = data_in(page_of("virtio_net_tx"))
    state = State(data)
    for step in data["steps"]:
        state.add(step)
    table = state.table
    assert (table["c.vmexits"], table["c.went to QEMU"], table["c.ended in KVM"]) == (
        "57", "57", "0",
    )  # fmt: skip
    assert table["c.copies"] == "141\t11,603 bytes"
    assert table["c.packets sent"] == "29"
    assert table["x.mmio"] == "56"


def test_an_exit_that_is_still_open_has_ended_nowhere():
    data = data_in(page_of("one_store"))
    state = State(data)
    counted = []
    for step in data["steps"]:
        state.add(step)
        counted.append((state.table["c.went to QEMU"], state.table["c.ended in KVM"]))
    assert set(counted) == {("0", "0"), ("1", "0"), ("2", "0")}


def test_a_virtqueue_is_told_slot_by_slot():
    """At the first pop the chain of two descriptors is in flight, and the ring was read to 1."""
    data = data_in(page_of("virtio_net_tx"))
    state = State(data)
    for step in data["steps"]:
        state.add(step)
        hops = data["ways"][step[1]][4]
        if not step[3] and data["kinds"][hops[step[2]][3]] == "virtqueue_pop":
            break
    table = state.table
    assert table["q1.d.0"] == "1001c0\t12\tNEXT\t1\tdevice: in flight\t"
    assert table["q1.d.1"].split("\t")[1] == "342"
    assert (table["q1.given"], table["q1.taken"], table["q1.given back"]) == ("1", "1", "0")
    assert table["q1.a.0"] == "0\tdevice: in flight\t"
    assert table["q1.a.1"].endswith("driver and device")
    assert data["queues"][1] == "virtio-net, queue 1: transmitq"


def test_source_and_console_are_there_in_step():
    data = data_in(page_of("hello_serial"))
    state = State(data)
    printed = []
    for step in data["steps"]:
        state.add(step)
        printed.append(int(state.table["console"]))
        file, line = map(int, state.table["at"].split(":"))
        assert data["files"][file]["lines"][line - 1].strip()
    assert printed == sorted(printed)
    assert data["console"][: printed[-1]] == data["console"]
    assert len(data["console"]) == printed[-1] == 21
    assert {file["name"] for file in data["files"]} == {"hello_serial.s"}


def test_a_long_run_goes_exit_by_exit_and_says_so():
    page = page_of("mmio_nic_tx")
    data = data_in(page)
    assert len(page) < MOST_CHARACTERS // 2
    assert len(data["steps"]) == 3000
    assert data["notes"] == [
        "Up to exit 123 a step is an event; from there on, a whole exit. "
        "Exits 1,999 to 2,771 of 2,904 are left out."
    ]
    whole = [step for step in data["steps"] if step[4]]
    shown = [data["ways"][step[1]][0] + 1 for step in whole]
    assert shown == [*range(124, 1999), *range(2772, 2905)]


def test_a_run_of_many_instructions_and_few_events_goes_event_by_event():
    with session_of(load_program("spin"), max_instructions=100_000) as session:
        data = data_in(run_page(session))
    assert data["notes"] == [
        "The run has 100,000 instructions: a step is an event, not an instruction."
    ]
    assert data["ending"].startswith("budget")
    assert len(data["steps"]) == 3  # the start, the exit, and its way to QEMU


def test_the_session_stands_where_it_stood():
    with session_of(load_program("one_store")) as session:
        session.step(Unit.EVENT, 3)
        moment, stop = session.moment, session.stop
        run_page(session)
        assert (session.moment, session.stop) == (moment, stop)


def test_a_changed_run_says_that_it_was_changed():
    with session_of(load_program("one_store")) as session:
        session.step()
        session.set_register("rdi", 0x2000)
        data = data_in(run_page(session))
    assert "Somebody changed registers or memory" in data["notes"][0]
    assert data["exits"] == 1  # the store went into RAM

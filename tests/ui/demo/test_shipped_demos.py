"""The shipped shows: each comes to its end, fits the smallest screen, and says what is so."""

from __future__ import annotations

import re
import textwrap

import pytest
from demo_kit import SHIPPED, captions, script, session_for, session_of

from toyvisor.ui.demo.cards import Card, rehearse
from toyvisor.ui.demo.default_show import MOST_ALIKE, MOST_EXITS, default_show
from toyvisor.ui.demo.screen import SMALLEST


def cards_of(name: str) -> tuple[Card, ...]:
    of = script(name)
    with session_for(of) as session:
        return rehearse(session, of)


def test_the_five_ways_are_there():
    assert {
        "one_store", "mmio_nic_tx", "virtio_net_tx", "virtio_net_rx", "virtio_net_tx_sleep",
        "virtio_net_vhost",
    } <= set(SHIPPED)  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_every_caption_fits_the_smallest_screen(name: str):
    """Four rows below the rule, two columns of margin on each side."""
    for caption in captions(cards_of(name)):
        assert caption
        assert len(textwrap.wrap(caption, SMALLEST[0] - 4)) <= 4, caption
        assert not set(caption) & set("{}")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_goes_forward_only_and_takes_no_longer_than_a_lecture_has(name: str):
    cards = cards_of(name)
    moments = [moment for card in cards for moment in card.moments]
    assert moments == sorted(moments)
    seconds = sum(card.seconds + card.beat * (len(card.moments) - 1) for card in cards)
    assert 60 < seconds < 240


@pytest.mark.parametrize("name", SHIPPED)
def test_programs_that_a_caption_names_are_there(name: str):
    named = re.findall(r"`(?:toyvisor demo )?(\w+)`", " ".join(captions(cards_of(name))))
    for program in named:
        with session_of(program):
            pass


def test_the_store_is_shown_hop_by_hop():
    of = script("one_store")
    with session_for(of) as session:
        kinds = []
        for card in rehearse(session, of):
            session.go_to(card.moments[-1])
            between = session.moment.between
            last = session.events[session.moment.events - 1].kind.name
            kinds.append("guest" if between else last)
    assert kinds == [
        "guest", "guest", "guest", "vm_exit", "kvm_mmio", "copy", "kvm_userspace_exit", "copy",
        "memory_region_ops_write", "ioctl", "vm_entry", "guest", "kvm_userspace_exit",
    ]  # fmt: skip


def test_a_packet_without_dma_costs_ninety_exits_and_one_by_virtio_costs_one():
    """The same frame of 342 bytes: 85 words, 2 bytes, length, doorbell, status; or a kick."""
    said = captions(cards_of("mmio_nic_tx"))
    assert "That took 4 exits" in said[1]
    assert "One packet of 342 bytes, and the set-up: 94 exits, and 189 copies" in said[-2]
    assert said[-1] == "All frames: 2,904 exits, 5,835 copies, 34,193 bytes copied."
    said = captions(cards_of("virtio_net_tx"))
    assert "That took 27 exits" in said[1]
    assert "One packet, one exit: 28 with the set-up." in said[10]


def test_an_ioeventfd_keeps_kicks_from_qemu():
    said = captions(cards_of("virtio_net_tx_sleep"))
    assert "27 exits have gone to QEMU so far" in said[2]
    assert "8 are given, 0 taken. It kicks for each: 46 exits by now, but still 27" in said[6]
    assert "1 interrupt for 8 packets" in said[8]


# A program without a script -------------------------------------------------------------------


def test_a_default_show_goes_from_exit_to_exit_in_the_words_of_the_explanations():
    with session_of("one_load") as session:
        cards = default_show(session)
    said = captions(cards)
    assert said[0] == "The life of one load from a device. It begins with `mov edi, 0xd0000000`."
    assert said[1].startswith("The guest leaves: EPT_VIOLATION.")
    assert said[2].endswith("down to QEMU, 2 copies (8 bytes); then the guest goes on.")
    assert len(cards[2].moments) == 8
    assert said[-1].endswith("In all: 2 exits, 2 to QEMU, 2 copies (8 bytes), 0 interrupts.")


def test_a_loop_is_shown_twice_and_then_counted():
    """mmio_nic_tx has 2,904 exits, of a few instructions."""
    with session_of("mmio_nic_tx") as session:
        said = captions(default_show(session))
    shown = [caption for caption in said if "The guest leaves:" in caption]
    lines = [re.findall(r"line (\d+) of", caption)[0] for caption in shown]
    assert len(shown) <= MOST_EXITS
    assert max(lines.count(line) for line in lines) == MOST_ALIKE
    assert shown[6].startswith("83 more exits later. The guest leaves")


def test_a_run_that_never_exits_has_a_beginning_and_an_end():
    with session_of("spin", max_instructions=1000) as session:
        said = captions(default_show(session))
    assert len(said) == 4
    assert "The run is over: budget" in said[-1]

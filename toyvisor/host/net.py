"""The network as the command line names it: `--net pcap:IN,OUT`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from toyvisor.errors import InputError, UsageError
from toyvisor.host.frames import DEFAULT_FRAMES
from toyvisor.host.tap import Tap
from toyvisor.host.wire import Wire

if TYPE_CHECKING:
    from toyvisor.host.pcap import PcapWriter

_FORMS = "--net takes pcap:IN,OUT, where IN or OUT may be left empty"


class NetBackend:
    """One network for one run: the frames the guest is to send, and the tap they end in.

    As a context manager it closes after a good run, and after an error discards, so that
    an OUT of an earlier run survives.
    """

    __slots__ = ("file", "frames_in", "output", "wire")

    def __init__(
        self, frames_in: Sequence[bytes] = DEFAULT_FRAMES, output: PcapWriter | None = None
    ) -> None:
        self.frames_in = list(frames_in)
        self.output = output
        self.wire = Wire()
        self.file = Tap("tap0", self.wire) if output is None else Tap("tap0", self.wire, output)

    @property
    def sent(self) -> list[bytes]:
        """The frames that left the machine."""
        return self.wire.frames

    def close(self) -> None:
        """Put the output in its place."""
        if self.output is not None:
            self.output.close()

    def discard(self) -> None:
        """Leave an output that was there before as it was."""
        if self.output is not None:
            self.output.discard()

    def __enter__(self) -> NetBackend:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


def open_net(value: str | None = None) -> NetBackend:
    """The network for a `--net` value; without one, default frames and an in-memory wire.

    `pcap:IN,OUT`: send the frames of IN, keep what is sent in OUT. `pcap:IN,` keeps nothing,
    `pcap:,OUT` sends the default frames. All files are checked here, before the run starts.
    """
    if value is None:
        return NetBackend()
    kind, _, rest = value.partition(":")
    if kind == "tap":
        raise UsageError("--net tap:NAME: real taps are not there yet", hint=_FORMS)
    if kind != "pcap":
        raise UsageError(f"--net {value}: no such kind of network", hint=_FORMS)
    if rest.count(",") != 1:
        raise UsageError(f"--net {value}: one comma, between IN and OUT", hint=_FORMS)
    source, _, target = rest.partition(",")
    if source and target and _same_file(source, target):
        raise InputError(f"{target}: IN and OUT are the same file", hint="choose another OUT")
    # Imported late: most machines have no network card.
    from toyvisor.host.captures import read_frames
    from toyvisor.host.pcap import PcapWriter

    frames = read_frames(source) if source else DEFAULT_FRAMES
    return NetBackend(frames, PcapWriter(target) if target else None)


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return os.path.realpath(one) == os.path.realpath(other)
    except ValueError:  # no name that a file can have; whoever opens it says so
        return False

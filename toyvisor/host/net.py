"""The network as the command line names it: `--net pcap:IN,OUT` or `--net tap:NAME`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from toyvisor.errors import InputError, MachineError, UsageError
from toyvisor.host.frames import DEFAULT_FRAMES
from toyvisor.host.tap import Tap
from toyvisor.host.wire import Wire

if TYPE_CHECKING:
    from toyvisor.host.pcap import PcapWriter
    from toyvisor.host.sender import Requester, Sender
    from toyvisor.host.timers import Timers
    from toyvisor.host.tun import TunTap

_FORMS = "--net takes pcap:IN,OUT, where IN or OUT may be left empty, or tap:NAME"


class NetBackend:
    """One network for one run: frames for the guest, and the tap that it is connected to.

    `frames_in` are for the guest to send, or come in over the wire if somebody calls
    `start_sender` or `start_requester`. With `tap`, a name, the tap is a real one.

    As a context manager it closes after a good run, and after an error discards, so that
    an OUT of an earlier run survives.
    """

    __slots__ = ("arrivals", "file", "frames_in", "output", "wire")

    def __init__(
        self,
        frames_in: Sequence[bytes] = DEFAULT_FRAMES,
        output: PcapWriter | None = None,
        *,
        tap: str | None = None,
    ) -> None:
        self.frames_in = list(frames_in)
        self.output = output
        self.wire = Wire()
        self.arrivals = Wire("arrivals")
        self.file: Tap | TunTap
        if tap is None:
            self.file = Tap("tap0", self.wire, watcher=self.arrivals)
            if output is not None:
                self.file.connect(output)
        else:
            from toyvisor.host.tun import TunTap

            self.file = TunTap(tap, self.wire, watcher=self.arrivals)

    @property
    def sent(self) -> list[bytes]:
        """The frames that left the machine; the first ones, if they are very many."""
        return self.wire.frames

    @property
    def received(self) -> list[bytes]:
        """The frames that the machine read from the tap; the first ones as well."""
        return self.arrivals.frames

    @property
    def dropped(self) -> int:
        """Frames that came in and found the tap's queue full."""
        return self.file.tx_dropped if isinstance(self.file, Tap) else 0

    @property
    def real_files(self) -> tuple[TunTap, ...]:
        """What a `Poller` has to ask the real kernel about."""
        return () if isinstance(self.file, Tap) else (self.file,)

    def start_sender(
        self, timers: Timers, *, burst: int = 1, interval: int | None = None
    ) -> Sender | None:
        """Let `frames_in` come in over the wire, by the clock (sender.py: Sender).

        None if the tap is a real one: then what comes in is the real network's.
        """
        from toyvisor.host.sender import DEFAULT_INTERVAL, Sender

        if not isinstance(self.file, Tap):
            return None
        pause = DEFAULT_INTERVAL if interval is None else interval
        return Sender(self.file, self.frames_in, timers, burst=burst, interval=pause)

    def start_requester(
        self, timers: Timers, now: Callable[[], int], *, interval: int | None = None
    ) -> Requester | None:
        """Let `frames_in` come in one for each answer (sender.py: Requester), or None."""
        from toyvisor.host.sender import DEFAULT_INTERVAL, Requester

        if not isinstance(self.file, Tap):
            return None
        pause = DEFAULT_INTERVAL if interval is None else interval
        return Requester(self.file, self.frames_in, timers, now, interval=pause)

    def close(self) -> None:
        """Put the output in its place, let go of a real tap."""
        if self.output is not None:
            self.output.close()
        for tap in self.real_files:
            tap.close()

    def discard(self) -> None:
        """Leave an output that was there before as it was, let go of a real tap."""
        if self.output is not None:
            self.output.discard()
        for tap in self.real_files:
            tap.close()

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
    `pcap:,OUT` sends the default frames. `tap:NAME` is a network device of this host. All
    are checked here, before the run starts.
    """
    if value is None:
        return NetBackend()
    kind, _, rest = value.partition(":")
    if kind == "tap":
        return NetBackend(tap=_real_tap(rest))
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


def _real_tap(name: str) -> str:
    if not name:
        raise UsageError("--net tap: which one?", hint=_FORMS)
    if sys.platform != "linux":
        raise MachineError(
            "real taps need Linux", hint="--net pcap:IN,OUT works everywhere with capture files"
        )
    return name


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return os.path.realpath(one) == os.path.realpath(other)
    except ValueError:  # no name that a file can have; whoever opens it says so
        return False

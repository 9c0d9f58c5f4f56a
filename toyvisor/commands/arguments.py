"""What each command is called, what it takes, and what its help says.

Nothing here imports more than argparse: the parser of one command is built at every start.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from toyvisor.commands.argument_types import device, program, whole


def _machine_options(parser: argparse.ArgumentParser, *, taps: bool = True) -> None:
    """What changes the program's machine (commands/machine_options.py); `taps`: real ones, too."""
    parser.add_argument(
        "--net",
        metavar="NET",
        help="pcap:IN,OUT: a capture with the guest's frames, and one to keep what it sends "
        "(either may be empty)" + ("; tap:NAME: a network device of this host" if taps else ""),
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="bytes that come in on the guest's serial line (- for standard input)",
    )
    device(parser)


def _seconds(text: str) -> float:
    """An argparse type: a time in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0.001 <= seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.001 and 1000000 seconds")
    return seconds


# The commands ---------------------------------------------------------------------------


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    program(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.add_argument(
        "--trace", metavar="FILE", help="write the event stream as JSON lines (- for stdout)"
    )
    _machine_options(parser)
    parser.add_argument(
        "--max-instructions",
        metavar="N",
        type=whole(1, 10**15),
        help="stop the guest after so many instructions (default: 10,000,000; with a real tap "
        "none)",
    )
    parser.add_argument(
        "--accel",
        choices=("toy", "kvm", "both"),
        default="toy",
        help="toy: this project's KVM over Unicorn; kvm: Linux's, by /dev/kvm; both: one after "
        "the other, and compare them exit for exit",
    )
    parser.add_argument(
        "--single-step",
        action="store_true",
        help="with --accel both: instruction by instruction; compare the registers behind each "
        "(of the toy's at most 100,000, if --max-instructions does not say another number)",
    )
    parser.add_argument(
        "--max-seconds",
        metavar="S",
        type=_seconds,
        help="on Linux's KVM: stop the guest after so long (default: 10; with a real tap never)",
    )


#: learn/setups.py: Pattern. Not imported: help must come at once.
_PATTERNS = ("transmit", "receive", "request")


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--packets", metavar="N", type=whole(1, 4000), default=64, help="packets (default: 64)"
    )
    parser.add_argument(
        "--size",
        metavar="BYTES",
        nargs="+",
        type=whole(14, 1514),
        help="bytes in a frame (default: 64 256 1024 1500; with --accel both 64 1500)",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        nargs="+",
        type=whole(1, 4000),
        help="packets that are sent, or come in, one close behind the other (default: 1 8 64; with "
        "--accel both 1 64)",
    )
    parser.add_argument(
        "--pattern",
        metavar="NAME",
        nargs="+",
        choices=_PATTERNS,
        default=list(_PATTERNS),
        help=f"who sends, and when: {', '.join(_PATTERNS)} (default: all)",
    )
    parser.add_argument(
        "--accel",
        choices=("toy", "both"),
        default="toy",
        help="toy: count; both: measure, too, on Linux's KVM (takes a minute or two)",
    )
    parser.add_argument("--costs", metavar="FILE", help="your own cost table (TOML)")
    parser.add_argument(
        "--print-costs", action="store_true", help="print the cost table, with its sources"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--csv", action="store_true", help="print comma-separated values")
    parser.add_argument("--svg", metavar="FILE", help="also write a figure")


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="keep the table there, as TOML (- for stdout)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_seconds,
        default=3.0,
        help="how long to measure, about (default: 3)",
    )


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    from toyvisor.commands.walking_arguments import step_arguments

    step_arguments(parser)


def _gdb_arguments(parser: argparse.ArgumentParser) -> None:
    from toyvisor.commands.walking_arguments import gdb_arguments

    gdb_arguments(parser)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    from toyvisor.commands.walking_arguments import demo_arguments

    demo_arguments(parser)


def _asm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .s file, or the name of a shipped program")
    parser.add_argument(
        "-o", "--output", metavar="BIN", help="write the flat binary there (- for stdout)"
    )
    parser.add_argument("--listing", action="store_true", help="print addresses, bytes and source")
    _mode_and_origin(parser)


def _disasm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a binary, a .s file, or a shipped program")
    _mode_and_origin(parser)


def _mode_and_origin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("real", "protected", "long"),
        help="16-, 32- or 64-bit code (default: what the file's machine block says, else long)",
    )
    parser.add_argument(
        "--origin",
        metavar="ADDRESS",
        type=whole(0, (1 << 64) - 1),
        help="address of the first byte (default: the machine block's)",
    )


def _programs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="print this program's source")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: an array, or NAME's object"
    )


def _trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .jsonl file, or a program to run")
    parser.add_argument(
        "--to",
        choices=("text", "jsonl", "ftrace", "perfetto", "kvm-stat", "pcap"),
        default="text",
        help="text (default), jsonl: JSON lines; ftrace: as Linux prints its trace; perfetto: JSON "
        "for ui.perfetto.dev; kvm-stat: as `perf kvm stat` does; pcap: a program's packets",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")
    parser.add_argument(
        "--costs", metavar="FILE", help="with --to kvm-stat: your own cost table (TOML)"
    )
    _machine_options(parser, taps=False)
    parser.add_argument(
        "--max-instructions",
        metavar="N",
        type=whole(1, 10**15),
        help="stop the guest after so many instructions (default: 10,000,000)",
    )


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array, one object a row")
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=whole(1, 600),
        default=20,
        help="about how long to measure (default: 20)",
    )


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


class Command(NamedTuple):
    """What `--help` says of a command, and what it takes."""

    summary: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "run": Command(
        "run a guest program and count what it cost",
        """\
examples:
  toyvisor run add
  toyvisor run virtio_net_tx --net pcap:in.pcap,out.pcap     either may be left out
  toyvisor run virtio_net_rx --device virtio-net,vhost=on    the same guest, another way
  echo hello | toyvisor run keyboardless_echo --input -
  toyvisor run spin --max-instructions 1000000; echo $?      124
  toyvisor run hello_serial --accel kvm                      on Linux's KVM
  toyvisor run hello_serial --accel both                     are they the same?
  toyvisor run mmio_nic_tx --json | python -m json.tool""",
        _run_arguments,
    ),
    "compare": Command(
        "the experiment: the same packets by full virtualization and by virtio",
        """\
examples:
  toyvisor compare
  toyvisor compare --size 64 1500 --batch 1 32 --packets 100
  toyvisor compare --pattern receive request --size 1500
  toyvisor compare --svg figure.svg --csv > figures.csv
  toyvisor compare --print-costs > my.toml; toyvisor compare --costs my.toml
  toyvisor compare --accel both --pattern transmit     counted, and measured""",
        _compare_arguments,
    ),
    "calibrate": Command(
        "measure the cost table on this machine, with Linux's KVM",
        """\
examples:
  toyvisor calibrate
  toyvisor calibrate -o here.toml; toyvisor compare --costs here.toml""",
        _calibrate_arguments,
    ),
    "step": Command(
        "walk through a run, forwards and backwards, through every layer",
        """\
examples:
  toyvisor step virtio_net_tx                      on the full screen
  toyvisor step virtio_net_tx --plain              a prompt: help, s, rs, c, info ring tx, q
  echo 'until exits.mmio == 2' | toyvisor step hello_mmio --plain
  printf 'c\\ninfo exits\\n' > end.txt; toyvisor step one_store --commands end.txt""",
        _step_arguments,
    ),
    "demo": Command(
        "play a program hands-free, with captions; or record it",
        """\
examples:
  toyvisor demo                                     the life of one store
  toyvisor demo --list
  toyvisor demo virtio_net_tx --speed 2             space pauses, arrows go on and back, q quits
  toyvisor demo hello_serial --plain | less         any program, as lines
  toyvisor demo mmio_nic_tx --record run.html       the whole run, to click through in a browser
  toyvisor demo virtio_net_rx --record show.cast    then: asciinema play show.cast
  toyvisor demo one_store --record picture.svg --size 80x24""",
        _demo_arguments,
    ),
    "gdb": Command(
        "debug a guest with gdb, forwards and backwards",
        """\
examples:
  toyvisor gdb hello_serial                         in one terminal, and in another:
  gdb -ex 'target remote :1234'
  gdb -ex 'target remote | toyvisor gdb hello_serial --stdio'
  toyvisor gdb my.s --listen :0 --symbols my.elf    a free port; then: gdb my.elf

in gdb:
  break, watch, stepi, step, continue               as ever
  reverse-stepi, reverse-step, reverse-continue     the same backwards
  monitor help                                      vmexits, rings, devices and more""",
        _gdb_arguments,
    ),
    "asm": Command(
        "assemble a file",
        """\
examples:
  toyvisor asm hello_serial --listing
  toyvisor asm add -o - | xxd
  toyvisor asm boot.s --mode real --origin 0x7c00 -o boot.bin""",
        _asm_arguments,
    ),
    "disasm": Command(
        "disassemble a flat binary, or a program's own code",
        """\
examples:
  toyvisor disasm add
  toyvisor disasm boot.bin --mode real --origin 0x7c00""",
        _disasm_arguments,
    ),
    "programs": Command(
        "list the shipped guest programs",
        """\
examples:
  toyvisor programs
  toyvisor programs hello_serial > mine.s""",
        _programs_arguments,
    ),
    "trace": Command(
        "show an event stream that `run --trace` kept, or a program's",
        """\
examples:
  toyvisor trace run.jsonl --to text
  toyvisor trace virtio_net_tx --to ftrace | less
  toyvisor trace virtio_net_rx --device virtio-net,vhost=on --to perfetto -o rx.json
  toyvisor trace run.jsonl --to kvm-stat
  toyvisor trace ping_responder --to pcap -o ping.pcap      for tshark, tcpdump, Wireshark""",
        _trace_arguments,
    ),
    "doctor": Command(
        "check that this machine has what Toyvisor needs",
        """\
examples:
  toyvisor doctor""",
        _doctor_arguments,
    ),
    "bench": Command(
        "time Toyvisor's own parts against a bare Unicorn script",
        """\
examples:
  toyvisor bench
  toyvisor bench --json""",
        _bench_arguments,
    ),
    "completion": Command(
        "print a completion script for your shell",
        """\
examples:
  eval "$(toyvisor completion bash)\"""",
        _completion_arguments,
    ),
}

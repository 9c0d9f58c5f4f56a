"""Every command of the prompt: its names, what it takes, and what it does, in one table.

Named as in gdb where gdb has it; the steps that only a hypervisor has are named as the keys of the
full screen.
"""

from __future__ import annotations

from toyvisor.debug.moment import Unit
from toyvisor.ui.prompt import changing, examining, helping, looking, moving, stopping
from toyvisor.ui.prompt.command import Command, Handler, by_name, find
from toyvisor.ui.prompt.help_text import show_help
from toyvisor.ui.prompt.topics import info


def _steps(names: str, meaning: str, forward: Handler, backward: Handler) -> list[Command]:
    """A step, and the same step back: reverse-NAME and r + the short name."""
    words = tuple(names.split())
    back = (f"reverse-{words[0]}", *(f"r{short}" for short in words[1:]))
    return [
        Command(words, "[COUNT]", meaning, forward, repeats=True),
        Command(back, "[COUNT]", f"{words[0]}, backwards", backward, repeats=True),
    ]


def _unit(names: str, unit: Unit, meaning: str) -> list[Command]:
    return _steps(names, meaning, moving.forward(unit), moving.backward(unit))


#: By the headings of the help.
GROUPS: dict[str, tuple[Command, ...]] = {
    "Walk": (
        *_unit("step s", Unit.LINE, "to another line of the source"),
        *_unit("stepi si", Unit.INSTRUCTION, "one instruction, with all that its exit brings"),
        *_unit("next n", Unit.OVER, "to another line; a call as a whole"),
        *_steps("nexti ni", "one instruction; a call as a whole",
                moving.next_instruction, moving.next_instruction_back),
        *_unit("finish f", Unit.OUT, "until the present function returns"),
        *_unit("event v", Unit.EVENT,
               "one event inside an exit: a copy, an ioctl, a register, a system call"),
        *_unit("vmexit e", Unit.EXIT, "to the next vmexit"),
        *_unit("userspace u", Unit.USERSPACE, "until ioctl(KVM_RUN) returns to QEMU"),
        *_unit("interrupt i", Unit.INTERRUPT, "until KVM injects an interrupt"),
        Command(("device", "d"), "[NAME] [COUNT]", "to the next access of a device's register",
                moving.device, "device", repeats=True),
        Command(("reverse-device", "rd"), "[NAME] [COUNT]",
                "device, backwards", moving.device_back, "device", repeats=True),
    ),
    "Run": (
        Command(("continue", "c", "run"), "[COUNT]",
                "to the next breakpoint, or the COUNTth; or the end", moving.go_on, repeats=True),
        Command(("reverse-continue", "rc"), "[COUNT]",
                "to the breakpoint before here, or the start", moving.go_back, repeats=True),
        Command(("run-to", "advance"), "PLACE",
                "until the guest is about to execute an address, label or line",
                moving.run_to, "place", repeats=True),
        Command(("back-to",), "PLACE", "run-to, backwards",
                moving.run_back_to, "place", repeats=True),
        Command(("until",), "EXPRESSION",
                "until an expression is true behind an instruction",
                moving.until, "expression", repeats=True),
        Command(("goto", "g", "seek"), "N | event N | start | end | NAME",
                "before an instruction, behind an event, to a name", moving.go_to, "goto"),
        Command(("checkpoint",), "[NAME]", "give this moment a name", moving.checkpoint),
        Command(("restart",), "NAME", "to the moment of that name", moving.restart, "checkpoint"),
    ),
    "Stop": (
        Command(("break", "b"), "[PLACE] [if CONDITION]",
                "stop before the instruction at a place", stopping.break_at, "place"),
        Command(("tbreak", "tb"), "[PLACE] [if CONDITION]", "the same, once",
                stopping.break_once, "place"),
        Command(("watch", "w"), "WHAT [if CONDITION]",
                "stop when memory (buffer:4) or an expression changes",
                stopping.watch, "expression"),
        Command(("delete",), "[NUMBER...] | checkpoint NAME | display NUMBER",
                "without a number: all breakpoints", stopping.delete, "breakpoint"),
        Command(("condition",), "NUMBER [CONDITION]", "change when a breakpoint stops",
                stopping.condition, "breakpoint"),
        Command(("ignore",), "NUMBER COUNT", "pass by a breakpoint so many times",
                stopping.ignore, "breakpoint"),
        Command(("enable",), "[NUMBER...]", "let breakpoints stop", stopping.enable, "breakpoint"),
        Command(("disable",), "[NUMBER...]", "keep breakpoints, but pass them by",
                stopping.disable, "breakpoint"),
        Command(("display",), "[/F] [EXPRESSION]", "show an expression at each stop",
                stopping.display, "expression", has_format=True),
        Command(("undisplay",), "[NUMBER...]", "no more", stopping.undisplay),
    ),
    "Look": (
        Command(("where", "frame"), "", "where the session stands, and why",
                lambda desk, _: moving.report(desk)),
        Command(("explain", "why"), "", "what happens here, why, and where it is written",
                looking.explain),
        Command(("print", "p", "inspect"), "[/F] EXPRESSION",
                "the value of an expression; F: x z d u t o c a", looking.print_value,
                "expression", has_format=True),
        Command(("x",), "[/NFU] [ADDRESS]",
                "N numbers in memory; F as print has it, or s i; U: b h w g",
                examining.examine, "expression", repeats=True, has_format=True),
        Command(("xp",), "[/NFU] [ADDRESS]", "the same, by guest-physical address",
                examining.examine_physical, "expression", repeats=True, has_format=True),
        Command(("list", "l"), "[PLACE]", "ten lines of source; again: the next ten",
                looking.list_source, "place", repeats=True),
        Command(("disassemble", "disas"), "[PLACE] [COUNT]", "the instructions in memory",
                looking.disassemble, "place"),
        Command(("info",), "TOPIC", "see `help info`", info, "topic"),
    ),
    "What if": (
        Command(("set",), "REGISTER = VALUE | u32[ADDRESS] = VALUE",
                "go on from here another way, in a branch",
                changing.set_value, "expression"),
        Command(("leave",), "", "back to the run that the change left", changing.leave),
    ),
    "Help": (
        Command(("help", "h", "?"), "[COMMAND | info | expressions]", "this, or one command",
                lambda desk, argument: show_help(desk, argument, GROUPS), "command"),
        Command(("history",), "[COUNT]", "the commands so far", helping.history),
        Command(("echo",), "TEXT", "print a text, for transcripts", helping.echo),
        Command(("quit", "q", "exit"), "", "leave", helping.quit_prompt),
    ),
}  # fmt: skip

COMMANDS = tuple(command for group in GROUPS.values() for command in group)
_BY_NAME = by_name(COMMANDS)


def find_command(word: str) -> Command:
    """The command of a name, or of a beginning that only one has. Raises UsageError."""
    return find(word, _BY_NAME, "there is no command", "`help` lists them")

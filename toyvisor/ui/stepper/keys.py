"""Every command of the stepper: its keys, its name, and what it does, in one table.

The bindings, the command palette, the help screen and the row of keys are made of it.
Keys follow debuggers: gdb's letters, the function keys of graphical ones, and a shifted letter
for the same way back.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command. `keys` in Textual's names; `action` is a method of the app, `action_...`.

    `short` is its name in the row of keys, "" if it is not shown there.
    """

    keys: tuple[str, ...]
    action: str
    title: str
    meaning: str
    short: str = ""

    @property
    def key_names(self) -> str:
        """The keys as a person writes them: "s or F11"."""
        return " or ".join(_WRITTEN.get(key, key) for key in self.keys)


_WRITTEN = {
    **{f"f{n}": f"F{n}" for n in range(1, 13)},
    "ctrl+c": "Ctrl-C",
    "ctrl+p": "Ctrl-P",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "full_stop": ".",
    "tab": "Tab",
    "shift+tab": "Shift-Tab",
}


def _move(key: str, more: str, unit: str, title: str, meaning: str, short: str) -> list[Command]:
    forward = (key, *more.split())
    return [
        Command(forward, f"forward('{unit}')", title, meaning, short),
        Command(
            (key.upper(),), f"backward('{unit}')", f"Back: {title.lower()}", "the same way back"
        ),
    ]


#: By the headings of the help screen.
COMMANDS: dict[str, tuple[Command, ...]] = {
    "Walk": (
        *_move("s", "f11", "instruction", "Step one instruction",
               "one instruction of the guest, with all that its exit brings", "step"),
        *_move("n", "f10", "over", "Step over a line",
               "one line of the source: a call or a repeated instruction as a whole", "next"),
        *_move("v", "", "event", "Step one event",
               "inside an exit: world switch, decode, copy, ioctl, dispatch, system call", "event"),
        *_move("e", "", "exit", "Next vmexit", "until the guest leaves to KVM", "exit"),
        *_move("u", "", "userspace", "Next return to userspace",
               "until ioctl(KVM_RUN) returns to QEMU", ""),
        *_move("d", "", "device", "Next device access",
               "until a register of a device is read or written (`.` in the device view: "
               "which device)", ""),
        *_move("i", "", "interrupt", "Next interrupt", "until KVM injects an interrupt", ""),
        *_move("f", "", "out", "Finish the function", "until the present function returns", ""),
        Command(("c", "f5"), "run", "Continue", "to the next breakpoint, or the end", "run"),
        Command(("C",), "run_back", "Back: continue", "to the breakpoint before, or the start"),
        Command(("ctrl+c",), "interrupt", "Stop the guest",
                "stops a guest that runs; at rest, twice, leaves the stepper"),
    ),
    "Travel": (
        Command(("left_square_bracket",), "along(-1)", "One exit back on the timeline",
                "one cell of the strip at the bottom"),
        Command(("right_square_bracket",), "along(1)", "One exit on along the timeline",
                "one cell of the strip at the bottom"),
        Command(("left_curly_bracket",), "along(-10)", "Far back on the timeline", "ten cells"),
        Command(("right_curly_bracket",), "along(10)", "Far on along the timeline", "ten cells"),
        Command(("g",), "go_to", "Go to ...",
                "an instruction count, #event, label, :line, start or end", "go"),
        Command(("slash",), "search", "Search", "in events and in the source", "find"),
    ),
    "Stop and change": (
        Command(("b", "f9"), "breakpoint", "Breakpoint here",
                "set or delete one at the cursor's line (also: click left of a line)", "break"),
        Command(("w",), "watch", "Watch ...",
                "stop when memory, a register or a ring index changes", "watch"),
        Command(("x",), "what_if", "What if ...",
                "change a register or memory and go on from there, in a branch", "what if"),
        Command(("X",), "leave_branch", "Leave the branch",
                "back to the original, where the branch began"),
        Command(("colon",), "prompt", "Prompt ...",
                "a debugger command, as in step --plain", "prompt"),
    ),
    "Look": (
        *(Command((str(n % 10),), f"view({n % 10})", f"View {n % 10}: {name}", meaning)
          for n, (name, meaning) in enumerate((
              ("source", "the program, and what its present line will do"),
              ("disassembly", "the bytes at the instruction pointer"),
              ("registers", "registers and flags, those that changed with a *"),
              ("why", "what just happened, why, and where it is written"),
              ("events", "all that every layer did"),
              ("virtqueues", "descriptors, rings, who owns what"),
              ("device", "the registers of a device, bit by bit"),
              ("interrupts", "the interrupt controllers and the IDT"),
              ("console and counters", "what the guest printed, exits and copies"),
              ("memory", "bytes at an address"),
          ), start=1)),
        Command(("m",), "memory", "Memory at ...",
                "an address, or a register for the view to follow", "memory"),
        Command(("full_stop",), "another", "Another device, queue or table",
                "the next one in the view that was chosen last"),
        Command(("tab",), "app.focus_next", "Next pane", "move the focus"),
        Command(("shift+tab",), "app.focus_previous", "Pane before", "move the focus"),
        Command(("p",), "presenter", "Presenter's layout",
                "for the projector: few panes, much room, strong contrast", "presenter"),
        Command(("t",), "light", "Light or dark", "change the theme"),
        Command(("o",), "screenshot", "Save the screen", "as an SVG file, in this folder"),
    ),
    "Help": (
        Command(("question_mark", "f1"), "help", "Help", "keys and marks", "help"),
        Command(("ctrl+p",), "command_palette", "Command palette", "find a command by its name"),
        Command(("q",), "quit", "Quit", "leave the stepper", "quit"),
    ),
}  # fmt: skip


def all_commands() -> list[Command]:
    """All of them, in the order of the help screen."""
    return [command for group in COMMANDS.values() for command in group]

"""Styles of a demo: the terminal's own colours, so that its theme fits; marks say it all again."""

from __future__ import annotations

from toyvisor.trace.events import Layer

LAYERS = {
    Layer.GUEST: "bold cyan",
    Layer.KVM: "bold yellow",
    Layer.QEMU: "bold green",
    Layer.HOST: "bold magenta",
}
NAMES = {Layer.GUEST: "guest", Layer.KVM: "KVM", Layer.QEMU: "QEMU", Layer.HOST: "host"}
HERE = "bold reverse"
CHANGED = "bold underline"
LATER = "dim"
FAINT = "dim"
STRONG = "bold"

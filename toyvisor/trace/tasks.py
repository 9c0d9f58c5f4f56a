"""The threads of the host as Linux would list them: a name, and a number for each."""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.trace.events import Thread


class Task(NamedTuple):
    """A thread: its name (comm) and its number (pid, to the kernel)."""

    comm: str
    pid: int


#: By the name of the thread in the stream. A vhost worker is named after QEMU's pid.
TASKS = {
    Thread.VCPU.name: Task("CPU 0/KVM", 2),
    Thread.MAIN_LOOP.name: Task("qemu-system-x86", 1),
    Thread.VHOST.name: Task("vhost-1", 3),
}
#: What ftrace prints of a thread that it does not know.
UNKNOWN = Task("<...>", 0)

_PIDS = {task.comm: task.pid for task in TASKS.values()}


def pid_of(comm: str) -> int:
    """The number of a thread by its name."""
    return _PIDS.get(comm, UNKNOWN.pid)


def thread_of(comm: str) -> str | None:
    """The stream's name of a thread."""
    return next((name for name, task in TASKS.items() if task.comm == comm), None)

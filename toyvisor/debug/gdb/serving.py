"""A gdb and a session: packet for packet, until gdb leaves."""

from __future__ import annotations

from toyvisor.debug.gdb.connection import Connection, Disconnected
from toyvisor.debug.gdb.ctrl_c import CtrlC
from toyvisor.debug.gdb.stub import Stub
from toyvisor.debug.session import Session

_NO_ACK_MODE = b"QStartNoAckMode"


def serve(session: Session, connection: Connection, ctrl_c: CtrlC) -> bool:
    """Answer packets until gdb detaches, kills, or is gone. True: it has killed the program.

    Ctrl-C in gdb stops the guest where it is; in our own terminal it raises KeyboardInterrupt.
    The session stays where gdb has left it.
    """
    stub = Stub(session, connection.say)
    session.should_stop = lambda: ctrl_c.was_pressed or connection.wants_to_interrupt()
    try:
        while not stub.is_over:
            packet = connection.receive()
            with ctrl_c.held_back():
                answer = stub.answer(packet)
            if answer is not None:
                connection.send(answer)
            if packet == _NO_ACK_MODE:
                connection.acknowledges = False
    except Disconnected:
        pass
    finally:
        session.should_stop = None
        stub.leave()
    return stub.is_killed

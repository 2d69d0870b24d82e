"""A TCP server on loopback for tests of the client, with a thread for each connection. It never reads a byte itself.

At its end no thread is left: one that still waits for its peer is woken, however far it has come.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Self

from client_support import WAIT


class ThreadedServer:
    """Runs `serve(socket, number)` for each connection, the first is number 1, and then closes it.

    With `listening=False` its port refuses connections until `listen()`.
    """

    ends: ClassVar[tuple[type[Exception], ...]] = (OSError, EOFError)
    """With what `serve` may end."""

    def __init__(self, serve: Callable[[socket.socket, int], None], *, listening: bool = True) -> None:
        self._serve = serve
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.open = 0
        self.changed = threading.Condition()
        """Told of whatever `wait` may wait for."""
        self.over = threading.Event()
        """Set when the test ends: what waits inside `serve` waits for this."""
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        if listening:
            self.listen()

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listener.listen()
        self._start(self._accept)

    def wait(self, condition: Callable[[], bool], timeout: float = WAIT, told: Callable[[], object] = str) -> None:
        """Insist that something holds in that time which `changed` tells about."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), told()

    def note(self, change: Callable[[], object]) -> None:
        """Change something, and tell who waits for it."""
        with self.changed:
            change()
            self.changed.notify_all()

    def keep(self, connection: socket.socket) -> None:
        """Have one more socket of a connection shut down with it, as that of TLS or of a proxy's target."""
        self._sockets.append(connection)

    def hang_up(self) -> None:
        """End all connections of this moment."""
        for each in tuple(self._sockets):
            shut_down(each)

    def stop(self) -> None:
        """End, with all connections."""
        self.over.set()
        shut_down(self._listener)
        for thread in self._threads:  # who accepts comes first: it adds no more when it has ended
            deadline = time.monotonic() + WAIT
            while thread.is_alive() and time.monotonic() < deadline:
                self.hang_up()  # again and again: a thread may be about to wrap its socket
                thread.join(0.05)
            assert not thread.is_alive(), thread
        for each in (self._listener, *self._sockets):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="test-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.keep(connection)
            with self.changed:
                self.accepted += 1
                self.open += 1
                self.changed.notify_all()
            self._start(self._run, connection, self.accepted)

    def _run(self, connection: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(*self.ends):
                self._serve(connection, number)
        finally:
            shut_down(connection)
            connection.close()
            with self.changed:
                self.open -= 1
                self.changed.notify_all()


def shut_down(connection: socket.socket) -> None:
    """End both directions of a socket, so that who waits for it on another thread goes on.

    Not by the method of an `SSLSocket`: that takes TLS away under the thread that reads, which then reads plain bytes,
    or fails with ValueError or AttributeError, as chance will have it.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

"""TCP_NODELAY on the sockets of awscrt, which neither sets it nor has an option for it.

With Nagle's algorithm on, a small write waits until the peer has acknowledged the one before, up to 40 ms where the
peer delays that. It happens in every CONNECT (it follows the last message of the TLS handshake), and whenever an
acknowledgement and a reply follow each other. awscrt tells nobody its socket, so it is looked for: among the file
descriptors of this process, a TCP socket that was not there when the attempt began, connected to the attempt's port
(the proxy's, if there is one). Looking begins with the attempt, so that CONNECT does not wait either.

All of it is best effort, on Linux only, and silent: a connection works without. It must never duplicate or close a
descriptor, and it asks, not remembers, what a descriptor is: numbers are used again. Should somebody else in this
process connect to the same port during an attempt, that socket loses its delay as well, which harms nobody.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..workers import Workers

_DESCRIPTORS: Final = "/proc/self/fd"
_FIRST_PAUSE_SECONDS: Final = 0.0005
_EARLY_SECONDS: Final = 5.0
"""Looking ahead ends after this; a look follows when the connection is made."""
_PAUSE_OVER_WORK: Final = 10
"""Looking takes at most about a tenth of the time of its thread, however many descriptors there are."""


class NoDelay:
    """Looks for new sockets of this process while somebody dials; one for the process, one thread while it looks."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._changed = threading.Condition()
        self._watches: list[Watch] = []
        self._seen: set[int] = set()
        self._looking = False
        self._able = sys.platform == "linux" and Path(_DESCRIPTORS).is_dir()

    def watch(self, port: int) -> Watch:
        """Begin to look for a new socket to this port; call before the attempt begins."""
        watch = Watch(self, port)
        if self._able:
            with self._changed:
                if not self._watches:
                    self._seen = set(_sockets())
                self._watches.append(watch)
                self._look_on()
        return watch

    def end(self, watch: Watch) -> None:
        """Look once more, then forget this watch."""
        with self._changed:
            if watch in self._watches:
                watch.over = True
                self._look_on()

    def _look_on(self) -> None:
        self._changed.notify_all()
        if not self._looking:
            self._looking = True
            try:
                self._workers.submit(self._run)
            except RuntimeError:  # no more threads: the connection works without
                self._looking = False

    def _run(self) -> None:
        with self._changed:
            while True:
                began = time.monotonic()
                self._look()
                self._watches = [watch for watch in self._watches if not watch.over]
                now = time.monotonic()
                ages = [now - watch.began for watch in self._watches if now - watch.began < _EARLY_SECONDS]
                if not ages:
                    self._looking = False
                    return
                # A round trip follows between the socket's connection and CONNECT, so the pauses may grow with what
                # has passed, which was a round trip as well.
                self._changed.wait(max(_FIRST_PAUSE_SECONDS, _PAUSE_OVER_WORK * (now - began), min(ages) / 10))

    def _look(self) -> None:
        ports = {watch.port for watch in self._watches}
        sockets = _sockets()
        self._seen.intersection_update(sockets)
        for identity, descriptor in sockets.items():
            if identity not in self._seen and _set_on(descriptor, ports):
                self._seen.add(identity)


class Watch:
    """One attempt whose socket is looked for."""

    __slots__ = ("_finder", "began", "over", "port")

    def __init__(self, finder: NoDelay, port: int) -> None:
        self._finder = finder
        self.port = port
        self.began = time.monotonic()
        self.over = False

    def end(self) -> None:
        """The attempt is over, or the connection is made: one more look, and that is all. Harmless a second time."""
        self._finder.end(self)


def _sockets() -> dict[int, int]:
    """Return the sockets of this process: what the system calls each for good, and its descriptor of now."""
    found: dict[int, int] = {}
    with suppress(OSError), os.scandir(_DESCRIPTORS) as entries:
        for entry in entries:
            with suppress(OSError):  # closed meanwhile
                descriptor = int(entry.name)
                status = os.fstat(descriptor)
                if stat.S_ISSOCK(status.st_mode):
                    found[status.st_ino] = descriptor
    return found


def _set_on(descriptor: int, ports: set[int]) -> bool:
    """Set TCP_NODELAY if it is a TCP socket connected to one of the ports; `False` if that cannot be said yet."""
    import socket

    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:  # closed meanwhile
        return True
    try:
        if borrowed.family not in (socket.AF_INET, socket.AF_INET6) or borrowed.type != socket.SOCK_STREAM:
            return True
        if borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return True
        if borrowed.getpeername()[1] in ports:
            borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return False  # not connected yet
    finally:
        borrowed.detach()  # or it would be closed with this object
    return True

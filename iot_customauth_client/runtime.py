"""What a process has once: the native event loop and resolver, TLS contexts, worker threads, the clock.

A thousand connections share one native event-loop thread, one resolver and one TLS context per way of trusting
(13 ms and 1 MiB each with the system's authorities). The runtime also knows which client ids are open, spaces the
CONNECTs of each by a second, holds on to native objects that are dying, and closes what is still open when the
interpreter ends: awscrt alone would send no DISCONNECT, and the will would be published.

After `fork` the child cannot use what it inherited: the native threads are gone. A child gets a fresh runtime for new
connections; the inherited ones raise (`Runtime.check`).
"""

from __future__ import annotations

import atexit
import hashlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from .clock import SystemClock
from .errors import ConfigurationError
from .handler_watch import HandlerWatch
from .limits import CONNECTS_PER_SECOND_PER_CLIENT_ID
from .links.nodelay import NoDelay
from .suspension import SleepWatch
from .workers import Workers

if TYPE_CHECKING:
    from awscrt import io

_EXIT_SECONDS: Final = 2.0
_MAX_PROBES: Final = 8


class Closable(Protocol):
    """What the runtime can close at the end."""

    def begin_close(self) -> None:
        """Begin to close; returns at once."""
        ...

    def finish_close(self, timeout: float) -> None:
        """Wait for that, at most `timeout` seconds; then be over whatever the network does."""
        ...


class Runtime:
    """The shared parts of one process. Get it by `runtime()`."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.workers = Workers()
        self.handlers = HandlerWatch(self.clock)
        self.sleep = SleepWatch(self.clock, self.workers)
        self.nodelay = NoDelay(self.workers)
        self.probes = threading.BoundedSemaphore(_MAX_PROBES)
        """One permit for each plain TLS handshake that is under way to explain why an attempt takes long."""
        self._lock = threading.Lock()
        self._bootstrap: io.ClientBootstrap | None = None
        self._tls_contexts: dict[Hashable, io.ClientTlsContext] = {}
        self._open: dict[Hashable, weakref.ref[Closable]] = {}
        self._last_connect: dict[Hashable, float] = {}
        self._dying: set[object] = set()

    def check(self) -> None:
        """Raise `ConfigurationError` if this runtime was inherited through `fork`."""
        if self is not _current:
            raise ConfigurationError(
                "this connection was made before fork(): its native threads do not exist in this process",
                code="used_after_fork",
                what_to_do="connect after the fork, or start the process with the 'spawn' method",
            )

    # -- native parts -------------------------------------------------------------------------------------------------

    def bootstrap(self) -> io.ClientBootstrap:
        """Return the one client bootstrap: one event-loop thread and one resolver."""
        from awscrt import io

        with self._lock:
            if self._bootstrap is None:
                group = io.EventLoopGroup(1)
                self._bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
            return self._bootstrap

    def tls_context(self, ca_file: Path | None, alpn: str | None) -> io.ClientTlsContext:
        """Return the TLS context for one way of trusting and one ALPN name; made once.

        Raises `ConfigurationError` for a CA file that is missing, unreadable or not PEM.
        """
        authorities = None if ca_file is None else _read_authorities(ca_file)
        key = (alpn, None if authorities is None else hashlib.sha256(authorities).digest())
        with self._lock:
            context = self._tls_contexts.get(key)
            if context is None:
                context = self._tls_contexts[key] = _make_tls_context(authorities, ca_file, alpn)
            return context

    # -- who is open --------------------------------------------------------------------------------------------------

    def enter(self, key: Hashable, closable: Closable) -> None:
        """Note a connection as open. Raises `ConfigurationError` if `key` is open already."""
        self.check()
        with self._lock:
            other = self._open.get(key)
            if other is not None and other() is not None:
                raise ConfigurationError(
                    "this client id is connected to this endpoint by this process already: a second connection "
                    "with it would evict the first, for ever in turn",
                    code="client_id_in_use",
                    what_to_do="share the connection, close the first one, or use another client id",
                )
            self._open[key] = weakref.ref(closable)

    def leave(self, key: Hashable, closable: Closable) -> None:
        """Forget a connection that `enter` noted."""
        with self._lock:
            other = self._open.get(key)
            if other is not None and other() in (closable, None):
                del self._open[key]

    def close_all(self, timeout: float) -> None:
        """Close all that is open, within `timeout` seconds altogether."""
        deadline = time.monotonic() + timeout
        with self._lock:
            closables = [closable for reference in self._open.values() if (closable := reference()) is not None]
        for closable in closables:
            closable.begin_close()
        for closable in closables:
            closable.finish_close(max(0.0, deadline - time.monotonic()))

    def connect_allowed_at(self, key: Hashable) -> float:
        """Book the next CONNECT for `key` and return its monotonic time: at most one a second (AWS's limit)."""
        spacing = 1 / CONNECTS_PER_SECOND_PER_CLIENT_ID
        now = time.monotonic()
        with self._lock:
            self._last_connect = {each: at for each, at in self._last_connect.items() if at > now - spacing}
            when = max(now, self._last_connect.get(key, now - spacing) + spacing)
            self._last_connect[key] = when
            return when

    def connect_made(self, key: Hashable) -> None:
        """Count the second from now: a CONNECT that was booked earlier went out by this moment, or just before."""
        now = time.monotonic()
        with self._lock:
            self._last_connect[key] = max(now, self._last_connect.get(key, now))

    # -- who is dying -------------------------------------------------------------------------------------------------

    def keep(self, native: object) -> None:
        """Hold on to something that cannot end yet, until `release`."""
        with self._lock:
            self._dying.add(native)

    def release(self, native: object) -> None:
        """Let go of what `keep` held."""
        with self._lock:
            self._dying.discard(native)


def _read_authorities(ca_file: Path) -> bytes:
    try:
        return ca_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"ca_file {ca_file} cannot be read: {error.strerror}", code="ca_file_unreadable", phase="configuration"
        ) from None


def _make_tls_context(authorities: bytes | None, ca_file: Path | None, alpn: str | None) -> io.ClientTlsContext:
    from awscrt import io

    options = io.TlsContextOptions()
    if alpn is not None:
        options.alpn_list = [alpn]
    try:
        if authorities is not None:
            options.override_default_trust_store(authorities)
        return io.ClientTlsContext(options)
    except RuntimeError as error:
        raise ConfigurationError(
            f"ca_file {ca_file} holds no usable PEM certificate" if ca_file else "the system's CA store cannot be read",
            code="ca_file_invalid",
            phase="configuration",
        ) from error


# -- one per process --------------------------------------------------------------------------------------------------

_current: Runtime | None = None
_inherited: list[Runtime] = []
_making = threading.Lock()


def runtime() -> Runtime:
    """Return this process's runtime."""
    global _current
    with _making:
        if _current is None:
            _current = Runtime()
        return _current


def close_all(timeout: float = 5.0) -> None:
    """Close every open connection of this process, within `timeout` seconds altogether."""
    if _current is not None:
        _current.close_all(timeout)


def _after_fork() -> None:
    # The parent's runtime is kept for ever: letting native objects go would wait for threads that are not here.
    global _current, _making
    if _current is not None:
        _inherited.append(_current)
    _current = None
    _making = threading.Lock()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)  # not on Windows
if _register is not None:
    _register(after_in_child=_after_fork)
atexit.register(close_all, _EXIT_SECONDS)

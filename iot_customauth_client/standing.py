"""Where a connection of the sync face stands, for the threads that wait for it; and how it is ended.

    session (worker threads) --observe--> Standing --notify--> waiting threads
                                              |-----post-----> listeners, one after the other, on a worker

A `Standing` is what subscriptions and the runtime hold: they need to wait and to end, but have no business with the
rest of `Connection`. It decides nothing, and none of our own threads ever waits in it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from .errors import ConnectionClosed, OperationTimeout
from .inbox import Registration
from .messages import CloseReport
from .runtime import Runtime
from .session import Session
from .state import State, StateChange
from .waiting import Waiting
from .workers import Serial, Workers

Listener = Callable[[StateChange], object]

_LAST_MOMENT_SECONDS: Final = 0.2
_NO_LIMIT_SECONDS: Final = 365 * 86_400.0
_SETTLED_STATES: Final = frozenset({State.CONNECTED, State.CLOSED})

_log = logging.getLogger("iot_customauth_client.connection")


class Standing:
    """The state of one connection and the waits for it. `session` is set once, before anything is started."""

    session: Session

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._lock = threading.Lock()
        self._changed = Waiting(self._lock)
        self._listeners: tuple[Listener, ...] = ()
        self._telling = Serial(runtime.workers)
        self._state = State.CONNECTING

    # -- what is known ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._state

    @property
    def connected(self) -> bool:
        """Whether it is connected just now."""
        return self._state is State.CONNECTED

    @property
    def workers(self) -> Workers:
        """The threads that handlers run on."""
        return self.runtime.workers

    def observe(self, change: StateChange) -> None:
        """Take a change of the session over (worker thread, in order)."""
        with self._lock:
            self._state = change.state
            self._changed.tell()
        for listener in self._listeners:
            self._telling.post(partial(_tell, listener, change))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have a listener told of every change from now on; returns what removes it."""
        entry: Listener = partial(listener)  # its own identity: one function may listen twice
        with self._lock:
            self._listeners = (*self._listeners, entry)

        def remove() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not entry)

        return remove

    def closed_error(self, message: str) -> ConnectionClosed:
        """Return a `ConnectionClosed` with the cause of the end, if there is one."""
        return self.session.closed_error(message)

    def unregister(self, registration: Registration) -> None:
        """Take a subscription away."""
        self.runtime.check()
        self.session.unregister(registration)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def open(self, timeout: float | None) -> None:
        """Begin to connect, and wait for it as `connect()` promises."""
        self.session.start(self)
        if timeout == 0:
            return
        try:
            if not self.wait_for(_SETTLED_STATES, timeout):
                self.session.give_up(timeout or 0.0)
                self.wait_for(_SETTLED_STATES, None)
        except BaseException:  # Ctrl+C, or what a signal handler raised: nobody will have the connection to close it
            self.begin_close()
            self.finish_close(_LAST_MOMENT_SECONDS)
            raise
        if self._state is State.CLOSED:
            error = self.session.error
            raise error if error is not None else self.closed_error("closed while connecting")

    def wait_connected(self, timeout: float | None) -> None:
        """Wait until it is connected, or raise."""
        if not self.wait_for(_SETTLED_STATES, timeout):
            raise self._not_in_time(f"not connected within {timeout:g} s")
        if self._state is State.CLOSED:
            raise self.closed_error("the connection is closed")

    def wait_closed(self, timeout: float | None) -> None:
        """Wait until it is over, or raise; raises what ended it, if an error did."""
        if not self.wait_for(frozenset({State.CLOSED}), timeout):
            raise self._not_in_time(f"still open after {timeout:g} s")
        if self.session.error is not None:
            raise self.closed_error("the connection is closed")

    def wait_for(self, states: frozenset[State], timeout: float | None) -> bool:
        """Wait until it is in one of these states; returns whether it is, after `timeout` seconds at most."""
        return self._changed.wait_for(lambda: self._state in states, timeout)

    def flush(self, timeout: float | None) -> None:
        """Wait until nothing that was accepted is unacknowledged, or raise."""
        seconds = _NO_LIMIT_SECONDS if timeout is None else timeout
        if not self.session.outbox.wait_empty(seconds):
            left = self.session.outbox.unacknowledged
            if left:
                last = self.session.error
                because = "" if self.connected or last is None else f"; not connected: {last.message}"
                raise self._not_in_time(f"{left} messages are not acknowledged after {timeout:g} s{because}")
        if self._state is State.CLOSED and self.session.lost:
            raise self.closed_error(f"{self.session.lost} messages were not acknowledged when the connection closed")

    # -- the end: begin_close and finish_close are runtime.Closable ---------------------------------------------------

    def close(self, timeout: float | None, *, drain: bool) -> CloseReport:
        """Close within `timeout` seconds, and say what was left."""
        deadline = time.monotonic() + (_NO_LIMIT_SECONDS if timeout is None else timeout)
        if drain and self._state is not State.CLOSED:
            self._drain(deadline)
        self.begin_close()
        self.finish_close(max(_LAST_MOMENT_SECONDS, deadline - time.monotonic()))
        return CloseReport(unacknowledged=self.session.lost, kept=self.session.kept)

    def begin_close(self) -> None:
        """Begin to close, without draining; returns at once."""
        self.session.end()

    def finish_close(self, timeout: float) -> None:
        """Wait until it is closed, at most `timeout` seconds; then abandon what is left of it."""
        closed = frozenset({State.CLOSED})
        if not self.wait_for(closed, timeout):
            self.session.abandon()
            self.wait_for(closed, _LAST_MOMENT_SECONDS if timeout else 0.0)

    def _drain(self, deadline: float) -> None:
        """Wait until nothing is under way, until the monotonic time `deadline`."""
        quiet = threading.Event()
        self.session.when_quiet(quiet.set)
        self.session.outbox.wait_empty(max(0.0, deadline - time.monotonic()))
        quiet.wait(max(0.0, deadline - time.monotonic()))

    def _not_in_time(self, message: str) -> OperationTimeout:
        return OperationTimeout(message, stage="queued", client_id=self.session.settings.client_id)


def _tell(listener: Listener, change: StateChange) -> None:
    try:
        listener(change)
    except Exception:  # noqa: BLE001 - the user's code; logged in full
        _log.exception("the callback for a change of state (to %s) failed", change.state.value)

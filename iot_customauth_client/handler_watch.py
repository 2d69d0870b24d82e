"""Handlers that take long, named while they still run.

One watch serves a process. A subscription enters it when a thread (or task) begins to work off its messages and leaves
it afterwards; for each message it only notes the time. One timer looks after all of them, and only while there are any.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import Final

from .clock import Clock

SLOW_AFTER_SECONDS: Final = 10.0
_LOOK_EVERY_SECONDS: Final = 2.5

_log = logging.getLogger("iot_customauth_client.subscription")


class Run:
    """One handler at work. `since` is the watch's time at which its present message began, `None` between messages."""

    __slots__ = ("name", "since", "told", "topic_filter")

    def __init__(self, topic_filter: str, handler: object) -> None:
        self.topic_filter = topic_filter
        self.name = handler_name(handler)
        self.since: float | None = None
        self.told: float | None = None


class HandlerWatch:
    """Warns once about each message that a handler has been busy with for `SLOW_AFTER_SECONDS` seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._looking = False
        self.now = clock.monotonic

    def enter(self, run: Run) -> None:
        """Watch a handler from now on."""
        with self._lock:
            self._runs.add(run)
            if self._looking:
                return
            self._looking = True
        self._look_later()

    def leave(self, run: Run) -> None:
        """Watch it no longer."""
        with self._lock:
            self._runs.discard(run)

    def _look_later(self) -> None:
        self._clock.call_at(self._clock.monotonic() + _LOOK_EVERY_SECONDS, self._look)

    def _look(self) -> None:
        with self._lock:
            runs = tuple(self._runs)
            self._looking = bool(runs)
        now = self._clock.monotonic()
        for run in runs:
            since = run.since
            if since is not None and since != run.told and now - since >= SLOW_AFTER_SECONDS:
                run.told = since
                _log.warning(
                    "the handler %s of %r has been busy with one message for %.0f s: the messages after it wait, and "
                    "100 unacknowledged ones stall the connection. Give long work to a thread or queue of your own.",
                    run.name,
                    run.topic_filter,
                    now - since,
                )
        if runs:
            self._look_later()


def handler_name(handler: object) -> str:
    """Return a name by which a person finds the handler in the source."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    module = getattr(handler, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) else str(name)

"""One HTTPS request on its way, and its answer as it comes in.

Its end is told once, by whoever knows it first: the native thread with an answer, the connection with an error, a
timer; or not at all, when nobody wants to know it any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from .clock import Timer
from .errors import CustomAuthError
from .http_answers import HttpAnswer
from .https_request import PublishRequest

_MAX_BODY_BYTES: Final = 65_536

Done = Callable[[HttpAnswer | None, CustomAuthError | None], None]
"""Told once how a request ended, by an answer or an error; on any thread, and must return at once."""


class Exchange:
    """One request on its way, and its answer as it comes in. Made by `KeptConnection.submit`."""

    __slots__ = ("_body", "_done", "_headers", "_status", "_told", "accepted_at", "request", "resent", "sent", "timer")

    def __init__(self, request: PublishRequest, done: Done, accepted_at: float) -> None:
        self.request = request
        self.accepted_at = accepted_at
        self.sent = False
        self.resent = False
        self.timer: Timer | None = None
        self._done = done
        self._told = threading.Lock()  # taken once, never released: the first end counts
        self._status: int | None = None
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = b""

    @property
    def over(self) -> bool:
        """Whether the end was told, or nobody wants to know it any more."""
        return self._told.locked()

    def tell(self, answer: HttpAnswer | None, error: CustomAuthError | None) -> None:
        """Tell the end, unless it was told."""
        if self._told.acquire(blocking=False):
            self._done(answer, error)

    def forget(self) -> None:
        """Nobody wants to know the end any more."""
        self._told.acquire(blocking=False)

    def answer(self) -> HttpAnswer | None:
        """Return the answer as far as it has come, or `None` before its status."""
        return None if self._status is None else HttpAnswer(self._status, self._headers, self._body)

    # -- what awscrt tells (event-loop thread) ------------------------------------------------------------------------

    def on_response(self, *, status_code: int, headers: Any, **_: object) -> None:
        """The status came."""
        self._status, self._headers = status_code, tuple((name, value) for name, value in headers)

    def on_body(self, *, chunk: bytes, **_: object) -> None:
        """A part of the body came; what is over 64 KiB is dropped."""
        self._body += bytes(chunk)[: _MAX_BODY_BYTES - len(self._body)]

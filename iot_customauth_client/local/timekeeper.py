"""Has done what is due on the clock that a test may move: the broker's plans, and asking authorizers again.

What this clock decides: `refreshAfterInSeconds`, `disconnectAfterInSeconds`, session and message expiry, will delays.
(The life of a WebSocket and of a grant kept for HTTPS too: those need no timer, they are looked at when they matter.)
Keep alive, sockets and the authorizer's 5 s are real time and none of its business.

One timer is set, for the next time at which anything is due. A clock that was given calls back on a thread of its own,
or on the thread that moves it: all that this call does is to wake the event loop. Without one the loop's own timers do.

::

    end of every turn ──look──> is something due? ──yes──> broker.expire, or ask again ──> look once more
                                        └──no──> set the timer

On the loop's thread only.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from .authentication import Question, Verdict
from .consultation import consult, make_grant
from .refreshes import Refresh, Refreshes

if TYPE_CHECKING:
    from ..authorizer.result import AuthorizerResult
    from ..clock import Clock
    from .server import Server


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


class Timekeeper:
    """What is due on the movable clock of one running endpoint. `clock` None: real time."""

    def __init__(self, server: Server, clock: Clock | None) -> None:
        self._server: Final = server
        self._loop: Final = server.loop
        self._clock: Final = clock
        self._refreshes: Final = Refreshes()
        self._timer: _Cancellable | None = None
        self._timer_for: tuple[bool, float] | None = None
        self._looking = False
        self._closed = False

    @property
    def at(self) -> float:
        """The time of the movable clock, in monotonic seconds."""
        return self._loop.time() if self._clock is None else self._clock.monotonic()

    @property
    def reached(self) -> float:
        """The time up to which all is done or may be done: behind `at` while the clock was moved faster than that."""
        refresh = self._refreshes.next_at()
        times = (self.at, self._refreshes.time_has_come_to(self._loop.time()))
        return min(times if refresh is None else (*times, refresh))

    @property
    def refreshing(self) -> int:
        """Connections whose authorizer is asked again."""
        return len(self._refreshes)

    def keep_asking(self, connection: int, question: Question, result: AuthorizerResult, source_ip: str | None) -> None:
        """Ask the same question again, as often as the result says, until `stop_asking`."""
        self._refreshes.begin(connection, question, source_ip, after_seconds=result.refresh_after_seconds, at=self.at)

    def stop_asking(self, connection: int) -> None:
        """The connection has ended."""
        self._refreshes.end(connection)

    def close(self) -> None:
        """Do nothing any more."""
        self._closed = True
        self._disarm()

    def look(self) -> None:
        """Do what is due, each at its time and in the order of time, then set the timer for what comes next."""
        if self._looking or self._closed:
            return
        self._looking = True
        try:
            while (when := self._next()) is not None:
                if when > self.at:
                    self._arm(when, real=False)
                    if when > self.at:  # else the clock was moved just now, and has not seen this timer
                        return
                elif (ahead := when - self._refreshes.time_has_come_to(self._loop.time())) > 0:
                    self._arm(self._loop.time() + ahead, real=True)
                    return
                else:
                    self._do(when)
            self._disarm()
        finally:
            self._looking = False

    def _next(self) -> float | None:
        times = (self._server.broker.next_at(), self._refreshes.next_at())
        return min((each for each in times if each is not None), default=None)

    def _do(self, when: float) -> None:
        """Do what is due first. At one time the broker's is first: there is no point in asking for who has to leave."""
        server, now = self._server, self._loop.time()
        planned = server.broker.next_at()
        if planned is not None and planned <= when:
            server.perform(server.broker.expire(now, when))
        elif (refresh := self._refreshes.take(when, now=now)) is not None:
            delay_seconds = server.choices.first_refresh_delay_seconds
            if delay_seconds and refresh.first and server.broker.was_idle(refresh.connection):
                self._refreshes.put_off(refresh, seconds=delay_seconds)
                return
            consult(server, refresh.connection, refresh.question, lambda verdict, _: self._answered(refresh, verdict))

    def _answered(self, refresh: Refresh, verdict: Verdict) -> None:
        if not self._refreshes.answered(refresh):
            return
        # Its own time, not the clock's, which may be far ahead: what is due in between comes after it.
        server, now, at = self._server, self._loop.time(), refresh.due
        if verdict.result is not None:
            grant = make_grant(server, refresh.question, verdict.result, refresh.source_ip)
            server.perform(server.broker.regrant(refresh.connection, grant, now=now, at=at))
            self._refreshes.again(refresh, after_seconds=verdict.result.refresh_after_seconds)
        elif verdict.refusal is not None:
            explanation = f"its authorizer was asked again, and {verdict.refusal.explanation}"
            server.perform(server.broker.revoke(refresh.connection, explanation, now=now, at=at))

    def _arm(self, when: float, *, real: bool) -> None:
        if self._timer_for == (real, when):
            return
        self._disarm()
        self._timer_for = (real, when)
        if real or self._clock is None:
            self._timer = self._loop.call_at(when, self._woken)
        else:
            self._timer = self._clock.call_at(when, self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_for = None

    def _wake(self) -> None:
        """On the clock's thread, or on the one that moves it."""
        with contextlib.suppress(RuntimeError):  # the endpoint has stopped
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._disarm()
        self._server.flush()

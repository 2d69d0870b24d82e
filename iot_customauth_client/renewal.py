"""Replacing a connection on purpose, before its credentials or its time are over.

The service allows one connection for a client id, so the old one ends before the new one begins; all that can be done
beforehand is done beforehand, and the session at the service is kept, so nothing is lost in the gap.

::

    due --> ask for credentials --> pace --> quiet moment --> RENEWING: drain --> DISCONNECT, CONNECT (the session)
              |        |
              |        +-- the same bytes as before, and the connection's age does not matter: until next time
              +-- none to be had: again after a growing pause; the connection stays up

*due* is the earlier of: when the source wants its credentials renewed, and `renew_leeway_seconds` before
`disconnect_after_seconds` are over; up to 10 % earlier, so that a fleet does not renew in step. *pace*: at most one
CONNECT a second, waited for while still connected. *quiet moment*: nothing is in flight; if none comes, it goes on
without. *drain*: nothing new is sent until what is in flight is acknowledged, and messages in handlers get a moment to
be acknowledged too: so the service has no reason to send them twice.

All methods run on the session's `Serial`. Due times are of the session's clock; waiting for the wire is of the real.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from .back_off import BackOff, Jitter
from .errors import CredentialsRejected, CredentialsUnavailable
from .preparing import Failure, Prepared, Preparing
from .timers import Timers

if TYPE_CHECKING:
    from .clock import Clock
    from .inbox import Inbox
    from .outbox import Outbox
    from .runtime import Runtime
    from .settings import ConnectionSettings
    from .workers import Serial

_SPREAD: Final = 0.1
_QUIET_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 2.0
_SETTLE_SECONDS: Final = 0.25
_SETTLE_STEP_SECONDS: Final = 0.005
_SOONEST_SECONDS: Final = 1.0

_log = logging.getLogger("iot_customauth_client.session")


@dataclass(frozen=True, slots=True)
class Due:
    """When a connection is to be replaced, in monotonic seconds, and whether that is for its age alone."""

    at: float
    by_age: bool


def renewal_time(
    settings: ConnectionSettings,
    renew_at: float | None,
    *,
    connected_at: float,
    now: float,
    jitter: Jitter = random.uniform,
) -> Due | None:
    """Return when a connection that began at `connected_at` is due, or `None` for never.

    `renew_at` is when the source wants its credentials renewed. Before `disconnect_after_seconds` it is never sooner
    than at half of them, however large the leeway is; and never less than a second from `now`, since credentials that
    turned out to be the same must not be asked for in a loop.
    """
    due: list[Due] = []
    early = 1 - jitter(0.0, _SPREAD)
    if renew_at is not None:
        due.append(Due(now + max(0.0, renew_at - now) * early, by_age=False))
    lifetime = settings.disconnect_after_seconds
    if lifetime is not None:
        age = max(lifetime - settings.renew_leeway_seconds, lifetime / 2)
        due.append(Due(connected_at + age * early, by_age=True))
    if not due:
        return None
    first = min(due, key=lambda each: each.at)
    return Due(max(first.at, now + _SOONEST_SECONDS), first.by_age)


class Renewal:
    """When and how one session's connection is replaced.

    `begin(prepared)` is told that it begins (`RENEWING`), and may say why it cannot; `leave(prepared)` that all is
    drained: DISCONNECT now. `rejected` is told that there will be no credentials any more.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        preparing: Preparing,
        outbox: Outbox,
        inbox: Inbox,
        *,
        key: Hashable,
        clock: Clock,
        runtime: Runtime,
        serial: Serial,
        begin: Callable[[Prepared], Failure | None],
        leave: Callable[[Prepared], None],
        rejected: Callable[[Failure], None],
    ) -> None:
        self._settings = settings
        self._preparing = preparing
        self._outbox = outbox
        self._inbox = inbox
        self._key = key
        self._clock = clock
        self._runtime = runtime
        self._timers: Timers[Renewal] = Timers(self, serial)
        self._begin = begin
        self._leave = leave
        self._rejected = rejected
        self._back_off = BackOff()
        self._present: Prepared | None = None
        self._connected_at = 0.0
        self._due: Due | None = None
        self._next: Prepared | None = None
        self._busy = False
        self._again = False
        self._step = 0

    def connected(self, prepared: Prepared) -> None:
        """A connection with these credentials stands: count from here."""
        self._present = prepared
        self._connected_at = self._clock.monotonic()
        self._back_off.lasted()
        self._schedule(prepared)

    def off(self) -> None:
        """The connection is over, or will be: renew nothing."""
        self._timers.cancel()
        if self._busy:
            self._preparing.forget()
        self._step += 1
        self._busy = False
        self._present = self._next = self._due = None

    def soon(self) -> None:
        """The source says that its credentials are no longer good: those of now, or those of an attempt under way."""
        if self._present is None or self._busy:
            self._again = True  # what was asked for before may be what is no longer good
            return
        self._due = None
        self._ask()

    def asked_meanwhile(self) -> bool:
        """Tell, once, whether `soon()` was called during an attempt, which has failed since."""
        asked, self._again = self._again, False
        return asked

    def slept(self, seconds: float) -> None:
        """Timers stood still for so long: renew now if it would be due by now."""
        due = self._due
        if due is not None and not self._busy and due.at - seconds <= self._clock.monotonic():
            self._ask()

    # -- due ----------------------------------------------------------------------------------------------------------

    def _schedule(self, prepared: Prepared) -> None:
        self._timers.cancel()
        self._busy = False
        if self._again:
            self._again, self._due = False, None
            self._ask()
            return
        now = self._clock.monotonic()
        self._due = renewal_time(self._settings, prepared.lease.renew_at, connected_at=self._connected_at, now=now)
        if self._due is not None:
            self._timers.at(self._clock, self._due.at, Renewal._ask, "due")

    def _ask(self) -> None:
        self._timers.cancel()
        self._busy = True
        # Where only the connection's age matters, credentials that are good for longer are used again.
        instead_of = None if self._by_age else self._present
        self._preparing.ask(self._prepared, instead_of=instead_of)

    @property
    def _by_age(self) -> bool:
        return self._due is not None and self._due.by_age

    def _prepared(self, answer: Prepared | Failure) -> None:
        if isinstance(answer, CredentialsRejected):
            self._rejected(answer)
            return
        if not isinstance(answer, Prepared):
            self._failed(answer)
            return
        self._back_off.lasted()
        present = self._present
        if present is not None and answer.carried == present.carried and not self._by_age:
            self._present = answer
            self._schedule(answer)
            return
        self._next = answer
        allowed_at = self._runtime.connect_allowed_at(self._key)
        self._timers.at(self._runtime.clock, allowed_at, Renewal._await_quiet, "wire")

    def _failed(self, error: Failure) -> None:
        asked_for = error.retry_after_seconds if isinstance(error, CredentialsUnavailable) else None
        pause = self._back_off.failed(at_least=max(_SOONEST_SECONDS, asked_for or 0.0))
        _log.warning(
            "renewal: client_id=%s phase=%s code=%s next_attempt_in_s=%.1f error=%s (the connection stays)",
            *(self._settings.client_id, error.phase, error.code, pause, error.message),
        )
        self._timers.cancel()
        self._busy = False
        self._timers.at(self._clock, self._clock.monotonic() + pause, Renewal._ask, "due")

    # -- a quiet moment -----------------------------------------------------------------------------------------------

    def _await_quiet(self) -> None:
        now = self._runtime.clock.monotonic()
        limit = min(_QUIET_SECONDS, self._settings.renew_leeway_seconds / 4)
        self._when_drained(now + limit, Renewal._start)

    def _start(self) -> None:
        prepared = self._next
        failure = None if prepared is None else self._begin(prepared)
        if failure is not None:
            self._failed(failure)
            return
        self._outbox.pause()
        self._when_drained(self._runtime.clock.monotonic() + _DRAIN_SECONDS, Renewal._settle)

    def _settle(self) -> None:
        self._await_settled(self._runtime.clock.monotonic() + _SETTLE_SECONDS)

    def _await_settled(self, until: float) -> None:
        now = self._runtime.clock.monotonic()
        if self._inbox.unacknowledged and now < until:
            again = partial(Renewal._await_settled, until=until)
            self._timers.at(self._runtime.clock, now + _SETTLE_STEP_SECONDS, again, "wire")
            return
        prepared = self._next
        if prepared is not None:
            self._leave(prepared)

    def _when_drained(self, until: float, call: Callable[[Renewal], None]) -> None:
        """Call once nothing is in flight, or at `until` of the real clock; whichever comes first, and only once."""
        self._step += 1
        step = self._step

        def go_on(renewal: Renewal) -> None:
            if renewal._step == step:  # else the other one was first, or all is off
                renewal._step += 1
                renewal._timers.cancel("wire")
                call(renewal)

        self._timers.at(self._runtime.clock, until, go_on, "wire")
        self._outbox.when_drained(self._timers.posting(go_on))

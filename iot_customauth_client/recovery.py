"""What follows from an attempt that failed: the table of `outcomes.py`, and what it needs to remember in between.

It remembers whether fresh credentials have been asked for in this outage, and how often in a row the connection was
closed before CONNACK. It makes no attempt and changes no state: it says what is to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import AuthenticationRefused, ClosedBeforeConnack, CredentialsUnavailable, CustomAuthError
from .outcomes import Next, next_of
from .state import State

if TYPE_CHECKING:
    from .pauses import Pauses
    from .preparing import Failure, Prepared
    from .settings import ConnectionSettings
    from .shared_credentials import Source

_REFUSALS = (AuthenticationRefused, ClosedBeforeConnack)
"""With MQTT 3.1.1 nobody can tell one from the other."""


@dataclass(frozen=True, slots=True)
class Following:
    """The state that follows: `WAITING` or `REFUSED` for some seconds, or `CLOSED`; and the error to tell."""

    state: State
    error: CustomAuthError
    pause_seconds: float = 0.0


class Recovery:
    """All methods run on the session's `Serial`."""

    def __init__(self, settings: ConnectionSettings, source: Source, pauses: Pauses) -> None:
        self._settings = settings
        self._source = source
        self._pauses = pauses
        self._fresh_asked = False
        self._times_closed = 0

    def succeeded(self) -> None:
        """CONNACK was good: the outage is over."""
        self._fresh_asked, self._times_closed = False, 0

    def after(self, error: Failure, prepared: Prepared | None, *, first: bool) -> Following:
        """Return what follows; `prepared` was tried, `first`: nothing has succeeded yet."""
        if isinstance(error, ClosedBeforeConnack):
            self._times_closed += 1
        elif not isinstance(error, CredentialsUnavailable):
            self._times_closed = 0
        fresh_left = self._source.renewable and not self._fresh_asked
        following = next_of(
            error,
            first=first,
            fresh_left=fresh_left,
            hang_ups=self._times_closed,
            when_refused=self._settings.when_refused,
        )
        if fresh_left and prepared is not None and isinstance(error, _REFUSALS):
            self._fresh_asked = True  # once in an outage: no hammering
            self._source.refused(prepared.lease.credentials)
        if following is Next.STOP:
            if isinstance(error, _REFUSALS):
                self._pauses.refused(error)  # remembered for the next process
            return Following(State.CLOSED, error)
        if following is Next.FRESH:
            return Following(State.WAITING, error)
        if following is Next.REFUSED:
            return Following(State.REFUSED, error, self._pauses.refused(error))
        pause, told = self._pauses.failed(error)
        return Following(State.WAITING, told, pause)

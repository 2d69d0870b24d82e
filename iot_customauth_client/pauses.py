"""The pauses of one session, counted by `back_off.py` and remembered in the outbox file, if there is one.

So a script that crashes and is started again, in a loop, does not begin from zero each time.
"""

from __future__ import annotations

from typing import Final

from .back_off import BackOff, Takeovers
from .clock import Clock
from .errors import ClientIdTakenOver, ConnectError, CredentialsUnavailable, CustomAuthError
from .journal import Journal
from .preparing import Failure
from .session_errors import pause_of_earlier_process, taken_over

_NAME: Final = "back_off"


class Pauses:
    """All methods run on the session's `Serial`."""

    def __init__(self, clock: Clock, client_id: str) -> None:
        self._clock = clock
        self._client_id = client_id
        self._journal: Journal | None = None
        self._back_off = BackOff()
        self._takeovers = Takeovers()

    def open(self, journal: Journal | None) -> tuple[float, ConnectError] | None:
        """Go on where an earlier process ended: return what is left of its pause (30 s at most) and why; or `None`."""
        self._journal = journal
        kept = None if journal is None else journal.recall(_NAME)
        recalled = self._back_off.recalled(kept, self._clock.now().timestamp())
        return None if recalled is None else (recalled.seconds, pause_of_earlier_process(recalled, self._client_id))

    @property
    def lasts_after_seconds(self) -> float:
        """How long a connection has to last until the count starts again."""
        return self._back_off.lasts_after_seconds

    def lasted(self) -> None:
        """A connection has lasted: start again."""
        self._back_off.lasted()
        if self._journal is not None:
            self._journal.remember(_NAME, None)

    def failed(self, error: Failure) -> tuple[float, CustomAuthError]:
        """Return the pause after a failed attempt or a lost connection, in seconds, and the error to tell."""
        at_least = 0.0
        if isinstance(error, CredentialsUnavailable):
            at_least = error.retry_after_seconds or 0.0
        elif isinstance(error, ClientIdTakenOver) and self._takeovers.noticed(self._clock.monotonic()) > 1:
            error = taken_over(error, self._client_id)
            at_least = self._takeovers.pause_seconds()
        pause = self._back_off.failed(at_least=at_least)
        self._remember(pause, error, refused=False)
        return pause, error

    def refused(self, error: Failure) -> float:
        """Return the pause after a refusal, in seconds."""
        pause = self._back_off.refused()
        self._remember(pause, error, refused=True)
        return pause

    def _remember(self, pause: float, error: Failure, *, refused: bool) -> None:
        if self._journal is not None:
            wall = self._clock.now().timestamp()
            text = self._back_off.remembered(wall, pause, refused=refused, code=error.code, message=error.message)
            self._journal.remember(_NAME, text)

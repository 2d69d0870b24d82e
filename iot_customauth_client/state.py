"""The states of a connection, as its users see them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from .errors import CustomAuthError


class State(Enum):
    """Where a connection stands.

    `CONNECTING`: an attempt is going on. `CONNECTED`: CONNACK was good. `RENEWING`: between two connections on purpose,
    since the credentials or the connection's time end. `WAITING`: for the next attempt. `REFUSED`: for the next
    attempt, a long time, since the endpoint said no. `CLOSED`: it is over, by `close()` or by an error; there is no way
    back.
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RENEWING = "renewing"
    WAITING = "waiting"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class StateChange:
    """One step from a state to the next.

    `error` is why (`None` if nothing went wrong); `attempt` counts the attempts, from 1; `retry_in_seconds` is the time
    to the next one, in `WAITING` and `REFUSED`; `session_present` says, in `CONNECTED`, whether the service
    had kept the session.
    """

    state: State
    previous: State
    error: CustomAuthError | None = None
    attempt: int = 0
    retry_in_seconds: float | None = None
    session_present: bool | None = None


FOLLOWS: Final[dict[State, frozenset[State]]] = {
    State.CONNECTING: frozenset({State.CONNECTED, State.WAITING, State.REFUSED}),
    State.CONNECTED: frozenset({State.RENEWING, State.WAITING}),
    State.RENEWING: frozenset({State.CONNECTED, State.WAITING, State.REFUSED}),
    State.WAITING: frozenset({State.CONNECTING}),
    State.REFUSED: frozenset({State.CONNECTING}),
    State.CLOSED: frozenset(),
}
"""Which states may follow, besides `CLOSED`, and besides `CONNECTING` and `WAITING` at the start."""

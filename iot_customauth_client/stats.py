"""Numbers about one connection, as `connection.stats()` gives them. Counters only go up, for as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .outbox_values import OutboxStats
from .state import State

if TYPE_CHECKING:
    from .inbox import Inbox
    from .outbox import Outbox


@dataclass(frozen=True, slots=True)
class Stats:
    """A connection's numbers at one moment. All counters begin with 0 at `connect()`.

    - `state`: where it stands; `connected_for_seconds`: since the last CONNACK, 0 while not connected;
    - `attempts`, `connects`: attempts that were begun, and that came to a good CONNACK; `renewals`: connects of which
      it was replaced on purpose; `refusals`: attempts that the endpoint refused;
    - `published`: messages accepted; `acknowledged`: of these, arrived (QoS 0: written); `failed`: of these, ended
      with an error; what its publisher withdrew (`cancel()`, or its `timeout` before it was sent) is in neither;
    - `received`: messages received, those that came again included; `handler_errors`: messages at which a handler
      raised; `dropped`: received messages that nobody saw, QoS 0 when a queue was full, and those that matched no
      subscription; `unacknowledged_received`: received and not acknowledged yet (the service stops at 100; always 0
      with MQTT 3.1.1);
    - `outbox`: what waits to be sent and acknowledged.
    """

    state: State
    attempts: int
    connects: int
    renewals: int
    refusals: int
    connected_for_seconds: float
    published: int
    acknowledged: int
    failed: int
    received: int
    handler_errors: int
    dropped: int
    unacknowledged_received: int
    outbox: OutboxStats


class Counts:
    """What a session counts itself. It writes on its `Serial`; anybody may read."""

    def __init__(self) -> None:
        self.attempts = self.connects = self.renewals = self.refusals = 0
        self.connected_at: float | None = None
        """When the connection of now began, in monotonic seconds; `None` while there is none."""

    def connected(self, now: float, *, renewed: bool) -> None:
        """Count a good CONNACK."""
        self.connects += 1
        self.renewals += renewed
        self.connected_at = now

    def stats(self, state: State, now: float, outbox: Outbox, inbox: Inbox) -> Stats:
        """Return all numbers of this moment."""
        since = self.connected_at
        return Stats(
            state=state,
            attempts=self.attempts,
            connects=self.connects,
            renewals=self.renewals,
            refusals=self.refusals,
            connected_for_seconds=0.0 if since is None else now - since,
            published=outbox.accepted,
            acknowledged=outbox.acknowledged,
            failed=outbox.failed,
            received=inbox.received,
            handler_errors=inbox.handler_errors,
            dropped=inbox.dropped,
            unacknowledged_received=inbox.unacknowledged,
            outbox=outbox.stats(),
        )

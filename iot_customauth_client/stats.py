"""Numbers about one connection, as `connection.stats()` gives them. Counters only go up, for as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass

from .outbox_values import OutboxStats
from .state import State


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

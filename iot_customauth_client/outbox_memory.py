"""The default outbox: messages wait in memory, and end with the process.

This is only what a user says about it. The work is done by the engine (`outbox.py`), one per connection, so one
`MemoryOutbox` may be given to many connections; its limits hold for each of them.
"""

from __future__ import annotations

from .clock import Clock
from .outbox_values import OutboxLimits, WhenFull


class MemoryOutbox:
    """Messages wait in memory until they are acknowledged: what is not when the process ends is lost.

    `max_messages` and `max_bytes` (of payload) bound what one connection holds, sent or not. When one is reached,
    `when_full="raise"` lets `publish()` raise `OutboxFull`, and `"drop_oldest"` drops the oldest message not sent yet:
    its future ends with `OutboxFull`, and `stats().outbox.dropped` counts it. A message that was sent is never dropped,
    so `OutboxFull` is raised all the same if all of them were sent.

    Raises `ConfigurationError` for limits below 1.
    """

    def __init__(
        self, *, max_messages: int = 10_000, max_bytes: int = 64 * 1024 * 1024, when_full: WhenFull = "raise"
    ) -> None:
        self._limits = OutboxLimits(max_messages, max_bytes, when_full=when_full)

    @property
    def limits(self) -> OutboxLimits:
        """What one connection's outbox takes."""
        return self._limits

    def open(self, client_id: str, *, clock: Clock) -> None:
        """Return no journal: nothing is kept beyond the process."""

    def __repr__(self) -> str:
        limits = self._limits
        return (
            f"MemoryOutbox(max_messages={limits.max_messages}, max_bytes={limits.max_bytes}, "
            f"when_full={limits.when_full!r})"
        )

"""What a user may pass as `outbox=`: where messages wait, and whether they outlive the process."""

from __future__ import annotations

from typing import Protocol

from .clock import Clock
from .journal import Journal
from .outbox_values import OutboxLimits


class OutboxChoice(Protocol):
    """What users pass as `outbox=`: limits, and where messages are kept beyond the process."""

    @property
    def limits(self) -> OutboxLimits:
        """What one connection's outbox takes."""
        ...

    def open(self, client_id: str, *, clock: Clock) -> Journal | None:
        """Return the journal of a client id, or `None` if nothing is kept. May block."""
        ...

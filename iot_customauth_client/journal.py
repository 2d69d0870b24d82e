"""What a durable outbox does for the messages of one client id.

The outbox (`outbox.py`) hands accepted messages to a journal, sends them once they are stored, and tells it which are
settled. A journal writes on a thread of its own: none of its methods but `load`, `flush` and `close` may wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .errors import CustomAuthError
from .outgoing import Outgoing

Stored = Callable[[Sequence[Outgoing]], None]
"""These messages, in the order in which they were added, are committed: called on the journal's thread."""
NotStored = Callable[[Sequence[Outgoing], CustomAuthError], None]
"""These messages could not be stored (a full disk): called on the journal's thread. Nothing stored before is lost."""


class Journal(Protocol):
    """The stored messages of one client id, in the order of acceptance. All methods may be called from any thread."""

    def load(self) -> Sequence[Outgoing]:
        """Return what an earlier process stored and did not settle, in order; nobody waits for their promises.

        May block; called once, before the first `add`. `accepted_at` is on the connection's monotonic clock (so it may
        lie before the start of this process).
        """
        ...

    def start(self, stored: Stored, not_stored: NotStored) -> None:
        """Begin to write; from now on `add` may be called."""
        ...

    def add(self, entry: Outgoing) -> None:
        """Store a message soon, after those that were added before. Calls do not overlap. Never blocks."""
        ...

    def settled(self, entry: Outgoing) -> None:
        """Forget a message: acknowledged, withdrawn, expired, or refused. Never blocks; also on the native thread."""
        ...

    def recall(self, name: str) -> str | None:
        """Return what `remember` kept, also in an earlier process. May block."""
        ...

    def remember(self, name: str, value: str | None) -> None:
        """Keep a short text beyond this process (back-off); `None` forgets it. Never blocks."""
        ...

    def flush(self, timeout: float) -> bool:
        """Wait until all that was told so far is committed; `False` if `timeout` seconds were not enough."""
        ...

    def close(self, timeout: float) -> None:
        """Commit and let go of the file, within `timeout` seconds. What is not settled stays for the next process."""
        ...

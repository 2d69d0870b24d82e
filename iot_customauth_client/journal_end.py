"""Letting go of an outbox file at the end of a connection, without keeping those waiting who wait for that end.

On a healthy disk this takes milliseconds, and whoever hears of the end may open the file again, also another process.
A disk that hangs must not hold back the news: then closing goes on in the background, and who opens the file again
waits for it (this process) or hears that it is in use (another one).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .journal import Journal
    from .workers import Workers

_CLOSING_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 0.25


def close_soon(journal: Journal, workers: Workers) -> None:
    """Close a journal; return when that is done, or after a quarter of a second."""
    closed = threading.Event()

    def close() -> None:
        try:
            journal.close(_CLOSING_SECONDS)
        finally:
            closed.set()

    try:
        workers.submit(close)
    except RuntimeError:  # the system gives no more threads
        close()
    closed.wait(_PATIENCE_SECONDS)

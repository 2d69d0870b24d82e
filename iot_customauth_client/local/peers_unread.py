"""What waits for peers that do not read, of all connections together.

Each connection may have some of it (`client_connection.MAX_UNSENT_BYTES`), but a thousand slow readers of one busy
topic would still fill the memory: what TLS has encrypted for one of them is of no use to another. So there is a sum,
and when it is reached the connection that holds the most of it is ended.

Only connections with much unread output are counted, as of their last write: the sum is an estimate from above, which
is made exact before anybody is ended for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_UNREAD_BYTES: Final = 256 * 1024 * 1024
"""Output that may wait for all peers together."""
COUNTED_FROM_BYTES: Final = 65_536
"""Less than this waits for any busy reader."""


class Unread:
    """How many bytes wait for whom. `waiting` tells it for a connection by its number."""

    def __init__(self, waiting: Callable[[int], int], *, max_bytes: int = MAX_UNREAD_BYTES) -> None:
        self._waiting = waiting
        self._max_bytes = max_bytes
        self._bytes: dict[int, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._bytes)

    def wrote(self, connection: int, size: int) -> int | None:
        """Note that so many bytes wait now; returns the number of the connection that has to end for it, if one has."""
        if size < COUNTED_FROM_BYTES and connection not in self._bytes:
            return None
        self._note(connection, size)
        if self._total <= self._max_bytes:
            return None
        for number in list(self._bytes):
            self._note(number, self._waiting(number))
        return max(self._bytes, key=self._bytes.__getitem__) if self._total > self._max_bytes else None

    def forget(self, connection: int) -> None:
        """Nothing waits for this connection any more, or it has ended."""
        self._total -= self._bytes.pop(connection, 0)

    def _note(self, connection: int, size: int) -> None:
        self.forget(connection)
        if size >= COUNTED_FROM_BYTES:
            self._bytes[connection] = size
            self._total += size

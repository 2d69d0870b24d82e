"""What the broker stores for clients, in all: the sum over every session and every shared subscription.

Each of these has bounds of its own, which one client needs; but ten thousand sessions with ten thousand messages each
would fill any memory. A message counts once for each client that it waits for, with what it takes beside its payload;
also one that was sent and is to be sent again, but not while it is in flight to a client that is there.
"""

from typing import Final

MAX_HELD_BYTES: Final = 1024 * 1024 * 1024
"""Stored messages of all clients together. Our own bound: the service does not document one."""
OVERHEAD_BYTES: Final = 256
"""Of one stored message, whatever it holds."""


class Holdings:
    """How much is stored, of how much may be."""

    __slots__ = ("_max_bytes", "held_bytes")

    def __init__(self, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def has_room(self, size: int) -> bool:
        """Tell whether one more message with so many bytes can be stored."""
        return self.held_bytes + size + OVERHEAD_BYTES <= self._max_bytes

    @property
    def overfull(self) -> bool:
        """Whether more is stored than may be."""
        return self.held_bytes > self._max_bytes

    def change(self, messages: int, size: int) -> None:
        """Count messages that came, or, below 0, that went."""
        self.held_bytes += messages * OVERHEAD_BYTES + size

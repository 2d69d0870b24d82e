"""What the broker holds for clients, in all: the sum over every session and every shared subscription.

Each of these has bounds of its own, which one client needs; but ten thousand sessions with ten thousand messages each
would fill any memory. A message counts once for each client that it waits for, with what it takes beside its payload;
also one that was sent and is to be sent again. What is in flight to clients that are there is a sum of its own: past
its bound each of them gets one message at a time, and the others wait, since a client that acknowledges must go on
whatever others hold back. Wills are a third sum: stored messages keep no client with a will from connecting, and wills
keep no message from being stored.
"""

from typing import Final

MAX_HELD_BYTES: Final = 1024 * 1024 * 1024
"""Stored messages of all clients together. Our own bound: the service does not document one."""
MAX_FLYING_BYTES: Final = 256 * 1024 * 1024
"""Messages that were sent to all connected clients together and are not acknowledged. Our own bound."""
MAX_WILL_BYTES: Final = 256 * 1024 * 1024
"""Wills of connected clients, and of those that are away and whose delay is not over. Our own bound."""
OVERHEAD_BYTES: Final = 256
"""Of one stored message or will, whatever it holds."""


class Holdings:
    """How much is stored and how much is in flight, of how much may be.

    `flying_bytes` are payloads and properties in flight; who sends and who is told of an acknowledgement counts them.
    `will_bytes` are wills, which `Sessions` counts.
    """

    __slots__ = ("_max_bytes", "_max_flying_bytes", "_max_will_bytes", "flying_bytes", "held_bytes", "will_bytes")

    def __init__(
        self,
        max_bytes: int = MAX_HELD_BYTES,
        max_flying_bytes: int = MAX_FLYING_BYTES,
        max_will_bytes: int = MAX_WILL_BYTES,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_flying_bytes = max_flying_bytes
        self._max_will_bytes = max_will_bytes
        self.held_bytes = 0
        self.flying_bytes = 0
        self.will_bytes = 0

    @property
    def is_crowded(self) -> bool:
        """Whether so much is in flight that each client gets one message at a time."""
        return self.flying_bytes >= self._max_flying_bytes

    def has_room(self, size: int) -> bool:
        """Tell whether one more message with so many bytes can be stored."""
        return self.held_bytes + size + OVERHEAD_BYTES <= self._max_bytes

    def has_room_for_will(self, more: int) -> bool:
        """Tell whether wills may take so many bytes more; always, if they then take less than now."""
        return more <= 0 or self.will_bytes + more <= self._max_will_bytes

    @property
    def overfull(self) -> bool:
        """Whether more is stored than may be."""
        return self.held_bytes > self._max_bytes

    def change(self, messages: int, size: int) -> None:
        """Count messages that came, or, below 0, that went."""
        self.held_bytes += messages * OVERHEAD_BYTES + size

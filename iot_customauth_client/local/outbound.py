"""Messages of QoS 1 on their way to one client: packet identifiers, the window of what may be unacknowledged, and the
queue behind it.

    offer -> queue (bounded) -> take: a packet identifier, in flight (at most `window`) -> acknowledge

The window is the service's 100 or the client's Receive Maximum, whichever is less (MQTT-3.3.4-9). The queue is
bounded by number and by bytes of payload, because a client that never acknowledges must not fill the memory: what
does not fit is not taken in, and the broker then ends that connection.

A message whose expiry passes in the queue is dropped. Nothing is sent twice on one connection: MQTT 5 forbids it
(MQTT-4.4.0-1), and a clean session has no second connection.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from ..limits import MAX_IN_FLIGHT
from .message import Message

MAX_QUEUED_MESSAGES: Final = 10_000
"""Messages that may wait behind the window of one client. Our own bound: the service does not document one."""
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of payload that may wait behind the window of one client. Our own bound."""

_LARGEST_PACKET_ID: Final = 65_535


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for one client; `retain` is the flag as this client is to see it."""

    message: Message
    retain: bool


class Outbound:
    """The QoS 1 messages of one client that it has not acknowledged."""

    __slots__ = ("_in_flight", "_last_id", "_max_bytes", "_max_messages", "_queue", "_queued_bytes", "window")

    def __init__(
        self,
        receive_maximum: int,
        *,
        max_messages: int = MAX_QUEUED_MESSAGES,
        max_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self.window = min(receive_maximum, MAX_IN_FLIGHT)
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._in_flight: set[int] = set()
        self._queue: deque[Delivery] = deque()
        self._queued_bytes = 0
        self._last_id = 0

    @property
    def in_flight(self) -> int:
        """How many are sent and not acknowledged."""
        return len(self._in_flight)

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def offer(self, delivery: Delivery) -> bool:
        """Put a delivery at the end of the queue; False, and nothing is done, if it is over the bounds."""
        size = len(delivery.message.payload)
        waits = self.in_flight >= self.window
        if waits and (len(self._queue) >= self._max_messages or self._queued_bytes + size > self._max_bytes):
            return False
        self._queue.append(delivery)
        self._queued_bytes += size
        return True

    def take(self, now: float) -> tuple[int, Delivery] | None:
        """Take the next delivery to send, with its packet identifier; None if there is none or the window is full."""
        while self._queue and len(self._in_flight) < self.window:
            delivery = self._queue.popleft()
            self._queued_bytes -= len(delivery.message.payload)
            if not delivery.message.expired(now):
                return self._new_id(), delivery
        return None

    def acknowledge(self, packet_id: int) -> bool:
        """Free the place of a delivery in the window; False if no delivery with this identifier is in flight."""
        if packet_id not in self._in_flight:
            return False
        self._in_flight.remove(packet_id)
        return True

    def _new_id(self) -> int:
        # At most `window` identifiers are in use, so this ends after as many steps (MQTT-2.2.1-4).
        packet_id = self._last_id
        while True:
            packet_id = packet_id % _LARGEST_PACKET_ID + 1
            if packet_id not in self._in_flight:
                self._last_id = packet_id
                self._in_flight.add(packet_id)
                return packet_id

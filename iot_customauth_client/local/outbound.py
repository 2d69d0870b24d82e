"""Messages of QoS 1 on their way to one session: packet identifiers, the window of what may be unacknowledged, and
the queues behind it.

    offer -> queue -----.                                              .-> acknowledge
                        +-> take: a packet identifier, in flight ------+
    (away) -> stored ---'   (at most `window`)     ^                   '-> connection ends
                                                   '--- again <----------------'

The window is the service's 100 or the client's Receive Maximum, whichever is less (MQTT-3.3.4-9). What waits is
bounded by number and by bytes of payload, because a client that never acknowledges must not fill the memory: what
does not fit is not taken in.

Within one connection nothing is sent twice: MQTT 5 forbids it (MQTT-4.4.0-1). When the session is resumed, what was
not acknowledged is sent again first, then what was stored, each in its old order; but not what was sent first more than
an hour ago (`give_up`). It keeps its packet identifier, so that an acknowledgement that comes late is not taken for
another message's, or gets a new one: the service may do either (`Choices.packet_id_sent_again`). The DUP flag is not
set, because the service does not support it (AWS page "MQTT").
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

from ..limits import MAX_IN_FLIGHT
from .holdings import Holdings
from .message import Message
from .quick_values import quickly_made

MAX_QUEUED_MESSAGES: Final = 100_000
"""Messages that may wait for one client. Our own bound: the service does not document one. A subscriber that reads and
acknowledges, but takes longer for each message than the endpoint does, must outlast a burst of a test."""
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of payloads and properties that may wait for one client. Our own bound."""

_LARGEST_PACKET_ID: Final = 65_535


@quickly_made
@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for one client.

    retain: the flag as this client is to see it.
    shared: the shared subscription it came by, as it was subscribed to; None for one of the client's own.
    """

    message: Message
    retain: bool
    shared: str | None = None


class Outbound:
    """The QoS 1 messages of one session that are not acknowledged."""

    __slots__ = (
        "_again",
        "_first_expiry",
        "_holdings",
        "_in_flight",
        "_keep_packet_ids",
        "_last_id",
        "_max_bytes",
        "_max_messages",
        "_purge_after",
        "_queue",
        "_queued_bytes",
        "_stored",
        "_taken_ids",
        "window",
    )

    def __init__(
        self,
        *,
        max_messages: int = MAX_QUEUED_MESSAGES,
        max_bytes: int = MAX_QUEUED_BYTES,
        keep_packet_ids: bool = True,
        holdings: Holdings | None = None,
    ) -> None:
        self.window = 0
        """How many may be in flight; 0 while the client is away."""
        self._max_messages = max_messages
        self._keep_packet_ids = keep_packet_ids
        self._max_bytes = max_bytes
        self._holdings = Holdings() if holdings is None else holdings
        self._in_flight: dict[int, Delivery] = {}
        self._again: list[tuple[int, Delivery]] = []  # 100 at most; an empty deque would hold 600 bytes
        self._taken_ids: dict[int, float] = {}
        """Identifiers of what is not acknowledged, and when it was sent first."""
        self._stored: deque[Delivery] = deque()
        """From before this connection; none of them of a shared subscription."""
        self._queue: deque[Delivery] = deque()
        self._queued_bytes = 0
        self._first_expiry = inf
        self._purge_after = 0
        self._last_id = 0

    @property
    def in_flight(self) -> int:
        """How many are sent on this connection and not acknowledged."""
        return len(self._in_flight)

    @property
    def queued(self) -> int:
        """How many wait to be sent, for the first time or again."""
        return len(self._queue) + len(self._stored) + len(self._again)

    @property
    def has_stored(self) -> bool:
        """Whether something waits that was not sent when the client was last connected, or not acknowledged."""
        return bool(self._again or self._stored)

    @property
    def window_open(self) -> bool:
        """Whether one more may be in flight; never while the client is away.

        Only one while `Holdings.is_crowded`.
        """
        in_flight = len(self._in_flight)
        return in_flight < self.window and (not in_flight or not self._holdings.is_crowded)

    @property
    def ready(self) -> bool:
        """Whether a message that comes now can be sent at once."""
        return self.window_open and not (self._queue or self._stored or self._again)

    def has_room(self, size: int) -> bool:
        """Tell whether a message of this size can be put in."""
        waiting = len(self._queue) + len(self._stored)
        return self.ready or (
            waiting < self._max_messages
            and self._queued_bytes + size <= self._max_bytes
            and self._holdings.has_room(size)
        )

    def offer(self, delivery: Delivery) -> bool:
        """Put a delivery at the end; False, and nothing is done, if it has to wait and is over the bounds."""
        size = delivery.message.size
        if not self.has_room(size):
            return False
        (self._queue if self.window or delivery.shared is not None else self._stored).append(delivery)
        self._count(1, size)
        self._first_expiry = min(self._first_expiry, _expiry(delivery))
        return True

    def send_at_once(self, delivery: Delivery, at: float) -> int | None:
        """Take a delivery past the queues, which must be `ready`; None, and nothing is done, while 100 are taken.

        The same as `offer` and then `take`: where nothing waits, nothing is overtaken.
        """
        if len(self._taken_ids) >= MAX_IN_FLIGHT:
            return None
        packet_id = self._new_id()
        self._taken_ids[packet_id] = at
        self._in_flight[packet_id] = delivery
        self._holdings.flying_bytes += delivery.message.size
        return packet_id

    def purge(self, at: float) -> list[Delivery]:
        """Take out what waits for the first time and has expired.

        Looks through the queues only if there is any, and then not before half as many times again as they are long:
        else a full queue of which one message expires after the other would be gone through for each that comes.
        """
        if at < self._first_expiry:
            return []
        if self._purge_after:
            self._purge_after -= 1
            return []
        purged = [delivery for delivery in self._waiting() if delivery.message.expired(at)]
        self._stored = deque(delivery for delivery in self._stored if not delivery.message.expired(at))
        self._queue = deque(delivery for delivery in self._queue if not delivery.message.expired(at))
        self._count(-len(purged), -sum(delivery.message.size for delivery in purged))
        self._purge_after = 0 if len(purged) > self.queued // 2 else self.queued // 2
        self._first_expiry = min(map(_expiry, self._waiting()), default=inf)
        return purged

    def take_stored(self, at: float) -> tuple[int, Delivery] | None:
        """Take the next one to send of what was kept from before; None if there is none. The window must be open."""
        if self._again:
            packet_id, delivery = self._again.pop(0)
            self._holdings.change(-1, -delivery.message.size)
            self._holdings.flying_bytes += delivery.message.size
            if not self._keep_packet_ids:
                new_id = self._new_id()  # before the old one is free, so that it is another
                self._taken_ids[new_id] = self._taken_ids.pop(packet_id)
                packet_id = new_id
            self._in_flight[packet_id] = delivery
            return packet_id, delivery
        return self._send_first(self._stored, at)

    def take(self, at: float) -> tuple[int, Delivery] | None:
        """Take the next one to send of what came since; None if there is none. The window must be open.

        There is none either while 100 are unacknowledged, in flight or to be sent again: else the latter would grow
        each time a client came and went unheard.
        """
        return None if len(self._taken_ids) >= MAX_IN_FLIGHT else self._send_first(self._queue, at)

    def acknowledge(self, packet_id: int) -> bool:
        """Free the place of a delivery in the window; False if no delivery with this identifier is in flight."""
        delivery = self._in_flight.pop(packet_id, None)
        if delivery is None:
            return False
        self._holdings.flying_bytes -= delivery.message.size
        self._taken_ids.pop(packet_id, None)
        return True

    def suspend(self) -> list[Delivery]:
        """Keep what is unacknowledged until the session is resumed; nothing is sent before that.

        Returns, in their order, the deliveries of shared subscriptions: they are not kept, but for others to take.
        Goes through what came since the session was resumed, and no more: a full queue that is gone through for each
        of a hundred takeovers would keep all others waiting.
        """
        self.window = 0
        unacknowledged = [*self._in_flight.items(), *self._again]
        shared = [delivery for _, delivery in unacknowledged if delivery.shared is not None]
        waiting = [delivery for delivery in self._queue if delivery.shared is not None]
        self._count_again(-1)
        self._land()
        self._again = [entry for entry in unacknowledged if entry[1].shared is None]
        self._count_again(1)
        self._taken_ids = {packet_id: self._taken_ids[packet_id] for packet_id, _ in self._again}
        self._stored.extend(delivery for delivery in self._queue if delivery.shared is None)
        self._queue.clear()
        self._count(-len(waiting), -sum(delivery.message.size for delivery in waiting))
        return [*shared, *waiting]

    def shed(self) -> list[Delivery]:
        """Take out of what is to be sent again, from its end, what is too much for all clients together.

        For a session that is away: a hundred messages of 128 KiB for each of thousands would fill any memory.
        """
        over: list[Delivery] = []
        while self._again and self._holdings.overfull:
            packet_id, delivery = self._again.pop()
            self._holdings.change(-1, -delivery.message.size)
            del self._taken_ids[packet_id]
            over.append(delivery)
        return over[::-1]

    def is_too_old(self, until: float) -> bool:
        """Tell whether the next one to send was sent first at `until` or before."""
        return bool(self._again) and self._taken_ids[self._again[0][0]] <= until

    def give_up(self, until: float) -> list[Delivery]:
        """Take out what is to be sent again and was sent first at `until` or before.

        A message that is in flight keeps its place however old it is: the client's Receive Maximum counts it until
        the connection ends (MQTT-3.3.4-9).
        """
        old = [entry for entry in self._again if self._taken_ids[entry[0]] <= until]
        for packet_id, _ in old:
            del self._taken_ids[packet_id]
        if old:
            self._count_again(-1)
            self._again = [entry for entry in self._again if entry[0] in self._taken_ids]
            self._count_again(1)
        return [delivery for _, delivery in old]

    def end(self) -> None:
        """Forget everything: the session ends."""
        self._count(-len(self._stored) - len(self._queue), -self._queued_bytes)
        self._count_again(-1)
        self._land()
        for each in (self._again, self._taken_ids, self._stored, self._queue):
            each.clear()

    def resume(self, receive_maximum: int) -> None:
        """Let messages out, at most so many unacknowledged as the client takes, and never more than 100."""
        self.window = min(receive_maximum, MAX_IN_FLIGHT)

    def _count(self, messages: int, size: int) -> None:
        self._queued_bytes += size
        self._holdings.change(messages, size)

    def _land(self) -> None:
        """Forget what is in flight."""
        self._holdings.flying_bytes -= sum(delivery.message.size for delivery in self._in_flight.values())
        self._in_flight.clear()

    def _count_again(self, sign: int) -> None:
        """Count all that is to be sent again, or, with -1, count it out."""
        self._holdings.change(sign * len(self._again), sign * sum(delivery.message.size for _, delivery in self._again))

    def _waiting(self) -> Iterator[Delivery]:
        yield from self._stored
        yield from self._queue

    def _send_first(self, queue: deque[Delivery], at: float) -> tuple[int, Delivery] | None:
        if not queue:
            return None
        delivery = queue.popleft()
        self._count(-1, -delivery.message.size)
        packet_id = self._new_id()
        self._taken_ids[packet_id] = at
        self._in_flight[packet_id] = delivery
        self._holdings.flying_bytes += delivery.message.size
        return packet_id, delivery

    def _new_id(self) -> int:
        # Few identifiers are taken, by what is in flight or to be sent again, so this ends soon (MQTT-2.2.1-4).
        packet_id = self._last_id
        while True:
            packet_id = packet_id % _LARGEST_PACKET_ID + 1
            if packet_id not in self._taken_ids:
                self._last_id = packet_id
                return packet_id


def _expiry(delivery: Delivery) -> float:
    expires_at = delivery.message.expires_at
    return inf if expires_at is None else expires_at

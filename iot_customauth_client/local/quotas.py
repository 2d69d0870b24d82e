"""The service's rates, which hold only if they are asked for (`quotas="aws"`): how often, and how much, in a second.

    what                                 rate              past it
    CONNECT with one client id           1/s               refused: CONNACK 151, or a hang-up
    CONNECT of all clients               500/s             the same
    topic filters, of all clients        500/s             refused: SUBACK 151, or a hang-up
    PUBLISH from one connection          100/s             discarded; MQTT 5 is told for QoS 1: PUBACK 151
    PUBLISH from all clients             20,000/s          the same; HTTPS: 429
    PUBLISH to one connection            100/s             discarded; of a shared subscription, it waits (QoS 1)
    PUBLISH to all clients               20,000/s          the same
    bytes from and to one connection     512 KiB/s         delayed: nothing more is read for a while, messages wait
    messages that begin to be stored     500/s             discarded
    stored messages to one session       10/s              they wait
    stored messages of a shared group    20/s per member   they wait

The numbers are those of the page "AWS IoT Core endpoints and quotas" and of the page "MQTT"; those of all clients are
an account's defaults in a large region, and can be raised. Which code a client is told is not documented. Rates are
counted in windows of one second, each of which begins with the first message after the one before: simple, exact for a
burst, and at most twice the rate if somebody aims at the border.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from ..limits import (
    CONNECTS_PER_SECOND,
    CONNECTS_PER_SECOND_PER_CLIENT_ID,
    MAX_BYTES_PER_SECOND_PER_CONNECTION,
    MAX_PUBLISHES_PER_SECOND_PER_CONNECTION,
    PUBLISHES_PER_SECOND,
    QUEUED_MESSAGES_PER_SECOND,
    SUBSCRIPTIONS_PER_SECOND,
)
from .codec import Publish
from .message import Message

Quotas: TypeAlias = Literal["off", "aws"]
"""Whether the rates hold. Sizes and counts always do."""

MAX_DELAYED_BYTES: Final = 16 * 1024 * 1024
"""Messages to one client that may wait for its throughput; past it those of QoS 0 are discarded, and those of QoS 1
never have more than the window. Our own bound: the service does not document one."""
MAX_DELAYED_BYTES_OF_ALL: Final = 256 * 1024 * 1024
"""Messages to all clients that may wait so; past it one of QoS 0 is discarded if others wait for the same client. Our
own bound."""

_WINDOW_SECONDS: Final = 1.0


class Rate:
    """So many in a second. The times may be of either clock, but always of the same one."""

    __slots__ = ("_count", "_limit", "_since")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since: float | None = None
        self._count = 0

    def allows(self, when: float) -> bool:
        """Tell whether one more is within the rate."""
        return self.idle(when) or self._count < self._limit

    def take(self, when: float, *, share: int = 1) -> bool:
        """Count one more, and tell whether it is within the rate; one that is not does not count.

        share: how many the rate is for, each of which may have it all.
        """
        if self.idle(when):
            self._since, self._count = when, 0
        if self._count >= self._limit * share:
            return False
        self._count += 1
        return True

    def idle(self, when: float) -> bool:
        """Tell whether the last window is over."""
        return self._since is None or when >= self._since + _WINDOW_SECONDS

    def next_window(self, when: float) -> float:
        """Return when the next window can begin."""
        return when if self._since is None else max(when, self._since + _WINDOW_SECONDS)


class Throughput:
    """Bytes over one connection, at so many in a second; a second's worth may come at once."""

    __slots__ = ("_busy_until", "_limit")

    def __init__(self, limit: int = MAX_BYTES_PER_SECOND_PER_CONNECTION) -> None:
        self._limit = limit
        self._busy_until = float("-inf")

    def count(self, size: int, now: float) -> None:
        """Count bytes that came or went."""
        self._busy_until = max(self._busy_until, now) + size / self._limit

    def behind_seconds(self, now: float) -> float:
        """Return for how long nothing more should come; 0 if it may."""
        return max(0.0, self._busy_until - now - _WINDOW_SECONDS)


class BothRates:
    """A rate of one connection within one of all of them: what is over either does not count for the other."""

    __slots__ = ("_all", "_own")

    def __init__(self, own: Rate, of_all: Rate) -> None:
        self._own = own
        self._all = of_all

    def allows(self, when: float) -> bool:
        """Tell whether one more is within both rates."""
        return self._own.allows(when) and self._all.allows(when)

    def take(self, when: float) -> bool:
        """Count one more, and tell whether it is within both rates; one that is not does not count."""
        return self._own.allows(when) and self._all.take(when) and self._own.take(when)


class AccountQuotas:
    """The rates of all clients together; its times are real."""

    __slots__ = ("connects", "delayed_bytes", "publishes_in", "publishes_out", "queued", "subscriptions")

    def __init__(self) -> None:
        self.connects: Final = Rate(CONNECTS_PER_SECOND)
        self.subscriptions: Final = Rate(SUBSCRIPTIONS_PER_SECOND)
        self.publishes_in: Final = Rate(PUBLISHES_PER_SECOND)
        self.publishes_out: Final = Rate(PUBLISHES_PER_SECOND)
        self.queued: Final = Rate(QUEUED_MESSAGES_PER_SECOND)
        self.delayed_bytes = 0
        """Messages to clients that are over their throughput."""


class ConnectionQuotas:
    """The rates of one connection, within those of all; its times are real."""

    __slots__ = ("_delayed_ids", "account", "delayed", "delayed_bytes", "publishes_in", "publishes_out", "throughput")

    def __init__(self, account: AccountQuotas) -> None:
        self.account: Final = account
        self.publishes_in: Final = BothRates(Rate(MAX_PUBLISHES_PER_SECOND_PER_CONNECTION), account.publishes_in)
        self.publishes_out: Final = BothRates(Rate(MAX_PUBLISHES_PER_SECOND_PER_CONNECTION), account.publishes_out)
        self.throughput: Final = Throughput()
        self.delayed: Final[deque[tuple[float, int, Publish, Message | None]]] = deque()
        """Messages to the client that are over its throughput: from when on they are within it, their size, the packet,
        and what it carries if that can expire."""
        self.delayed_bytes = 0
        self._delayed_ids: Final[set[int]] = set()

    def is_delayed(self, packet_id: int) -> bool:
        """Tell whether the message with this packet identifier waits, so that the client cannot have it yet."""
        return packet_id in self._delayed_ids

    @property
    def full(self) -> bool:
        """Whether as much waits for the client as may, so that a message of QoS 0 is discarded."""
        crowded = self.delayed and self.account.delayed_bytes > MAX_DELAYED_BYTES_OF_ALL
        return bool(crowded) or self.delayed_bytes > MAX_DELAYED_BYTES

    def delay(self, packet: Publish, size: int, now: float, expiring: Message | None = None) -> bool:
        """Let a message to the client wait, and count it, if the throughput is used up or others wait already."""
        behind_seconds = self.throughput.behind_seconds(now)
        if not (behind_seconds or self.delayed):
            return False
        self.throughput.count(size, now)
        self.delayed.append((now + behind_seconds, size, packet, expiring))
        self._count(size)
        if packet.packet_id is not None:
            self._delayed_ids.add(packet.packet_id)
        return True

    def take_delayed(self, now: float) -> Iterator[tuple[Publish, Message | None]]:
        """Take out what is within the throughput by now, in its order, each with what it carries if it can expire."""
        while self.delayed and self.delayed[0][0] <= now:
            _, size, packet, expiring = self.delayed.popleft()
            self._count(-size)
            if packet.packet_id is not None:
                self._delayed_ids.discard(packet.packet_id)
            yield packet, expiring

    def give_up_delayed(self) -> list[Publish]:
        """Take out all that waits: the connection ends."""
        given_up = [packet for _, _, packet, _ in self.delayed]
        self.delayed.clear()
        self._delayed_ids.clear()
        self._count(-self.delayed_bytes)
        return given_up

    def _count(self, size: int) -> None:
        self.delayed_bytes += size
        self.account.delayed_bytes += size


class ConnectRates:
    """How often each client id connects; remembers no client id for longer than its second."""

    __slots__ = ("_rates",)

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}

    def __len__(self) -> int:
        return len(self._rates)

    def take(self, client_id: str, now: float) -> bool:
        """Count a CONNECT, and tell whether it is within the rate."""
        return self._rates.setdefault(client_id, Rate(CONNECTS_PER_SECOND_PER_CLIENT_ID)).take(now)

    def forget(self, now: float) -> None:
        """Forget the client ids whose second is over."""
        self._rates = {client_id: rate for client_id, rate in self._rates.items() if not rate.idle(now)}

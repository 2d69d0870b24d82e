"""One shared subscription, `$share/<name>/<filter>`: its members, and what waits while none of them is there.

A member is a session. One whose client is away stays a member, offline; it leaves when it unsubscribes or its session
ends (AWS page "MQTT", "Session lifecycle in shared subscription group").
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..topics import split_shared
from .holdings import Holdings
from .message import Message
from .outbound import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES
from .session import Session, Subscription

if TYPE_CHECKING:
    from .agenda import Planned
    from .quotas import Rate


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits for a member, at the longest until `until` (of the clock that can be moved)."""

    message: Message
    until: float


class SharedGroup:
    """The members of one shared subscription."""

    __slots__ = (
        "_bytes",
        "_holdings",
        "_max_bytes",
        "_max_messages",
        "_waiting",
        "members",
        "pace",
        "resumption",
        "topic_filter",
    )

    def __init__(
        self,
        topic_filter: str,
        *,
        pace: "Rate | None",
        max_messages: int = MAX_QUEUED_MESSAGES,
        max_bytes: int = MAX_QUEUED_BYTES,
        holdings: Holdings | None = None,
    ) -> None:
        self.topic_filter: Final = topic_filter
        """As subscribed to."""
        self.members: Final[dict[Session, Subscription]] = {}
        self.pace: Final = pace
        """The rate of what waited, for one member; None if there is none."""
        self.resumption: Planned | None = None
        """When the rate lets more out."""
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._holdings = Holdings() if holdings is None else holdings
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    @property
    def plain_filter(self) -> str:
        """The topic filter without the share name."""
        return split_shared(self.topic_filter)[1]

    @property
    def online(self) -> list[Subscription]:
        """The members that are connected."""
        return [subscription for session, subscription in self.members.items() if session.connection is not None]

    @property
    def keeps(self) -> bool:
        """Whether messages are stored while all members are away: one of them must have a session to come back to.

        Subscribed with QoS 1, that is: for QoS 0 nothing is stored.
        """
        return any(session.expiry_seconds and subscription.qos for session, subscription in self.members.items())

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def store(self, message: Message, until: float) -> bool:
        """Put a message at the end; False, and nothing is done, if there is no room: the older ones stay."""
        if (
            len(self._waiting) >= self._max_messages
            or self._bytes + message.size > self._max_bytes
            or not self._holdings.has_room(message.size)
        ):
            return False
        self._waiting.append(Waiting(message, until))
        self._count(1, message.size)
        return True

    def put_back(self, messages: Iterable[Message], until: float) -> list[Message]:
        """Put messages in front, in their order: they were on their way to a member that is gone.

        They may be as many again as the bounds let wait, which is what one member can have kept. Returns those over
        that, from the end: a hundred members that go one after the other must not leave a hundred times as much.
        """
        returned = [Waiting(message, until) for message in messages]
        self._waiting.extendleft(reversed(returned))
        self._count(len(returned), sum(each.message.size for each in returned))
        over: list[Message] = []
        while len(self._waiting) > 2 * self._max_messages or self._bytes > 2 * self._max_bytes:
            message = self._waiting.pop().message
            self._count(-1, -message.size)
            over.append(message)
        return over[::-1]

    def first(self) -> Waiting:
        """Return the first that waits; there must be one."""
        return self._waiting[0]

    def take(self) -> Message:
        """Take out the first that waits; there must be one."""
        message = self._waiting.popleft().message
        self._count(-1, -message.size)
        return message

    def _count(self, messages: int, size: int) -> None:
        self._bytes += size
        self._holdings.change(messages, size)

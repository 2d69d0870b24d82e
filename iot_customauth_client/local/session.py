"""A client's session: what the broker keeps for a client id, with or without a connection.

It has subscriptions and the messages of QoS 1 that are not acknowledged; nothing else survives a connection. What a
client may do is not kept: while it is away nobody has been allowed anything, and the grant of its next connection
decides about what was stored.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .codec import Version, Will
from .holdings import OVERHEAD_BYTES
from .message import size_of, wide_size
from .outbound import Outbound

if TYPE_CHECKING:
    from .agenda import Planned
    from .live_connection import LiveConnection
    from .quotas import Rate


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter of one session, as it was granted.

    topic_filter: as sent, with `$share/<name>/` if it had that.
    """

    session: "Session"
    topic_filter: str
    qos: int
    no_local: bool
    retain_as_published: bool


@dataclass(frozen=True, slots=True)
class LastWill:
    """The will of a connection that ended, before it is published."""

    connection: int
    client_id: str
    will: Will

    @property
    def size(self) -> int:
        """How much it counts in `Holdings.will_bytes`."""
        return will_size(self.will)


def will_size(will: Will | None) -> int:
    """Return how much a will counts in `Holdings.will_bytes`; 0 if there is none."""
    if will is None:
        return 0
    return OVERHEAD_BYTES + len(will.payload) + size_of(will.properties) + wide_size(will.topic)


class Session:
    """A session. Compared by identity: a client that starts anew has another one."""

    __slots__ = (
        "client_id",
        "connection",
        "ending",
        "expiry_seconds",
        "outbound",
        "pace",
        "resumption",
        "subscriptions",
        "version",
        "will",
        "will_due",
    )

    def __init__(self, client_id: str, version: Version, *, expiry_seconds: int, outbound: Outbound) -> None:
        self.client_id: Final = client_id
        self.version: Final = version
        """Sessions of the two versions are not interchangeable (AWS page "MQTT")."""
        self.expiry_seconds = expiry_seconds
        """How long it lives without a connection; 0 if it ends with it."""
        self.outbound: Final = outbound
        self.subscriptions: Final[dict[str, Subscription]] = {}
        """By topic filter, as sent."""
        self.connection: LiveConnection | None = None
        """None while the client is away."""
        self.ending: Planned | None = None
        """While the client is away: when the session ends."""
        self.will: LastWill | None = None
        """While the client is away: a will whose delay is not over."""
        self.will_due: Planned | None = None
        self.pace: Rate | None = None
        """The rate of stored messages since the client came back; None if there is none."""
        self.resumption: Planned | None = None
        """When stored messages go on, if the rate holds them back."""

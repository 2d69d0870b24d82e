"""Events of connected clients, of their sessions, and of the messages between them.

Those that come with each message are made quickly, see `quick_values.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..quick_values import quickly_made
from .event import Event


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Decided(Event):
    """It was decided whether the client may do something.

    Reported for every denial, by the policy or by a rule of the service that comes before it (a wrong topic, a
    quota), and for what is allowed on `iot:Connect` and `iot:Subscribe`. That a publish or a delivery was allowed is
    told by `published` and `delivered`.
    """

    kind: ClassVar[str] = "decided"

    connection: int
    client_id: str
    action: str
    """Such as `iot:Subscribe`."""
    resource: str
    """The ARN."""
    allowed: bool
    explanation: str
    """Which statement decided or why none did; or the rule that forbids it."""


@dataclass(frozen=True, slots=True, repr=False)
class Subscribed(Event):
    """A SUBSCRIBE was answered."""

    kind: ClassVar[str] = "subscribed"

    connection: int
    client_id: str
    topic_filters: tuple[str, ...]
    reason_codes: tuple[int, ...]
    """As in the SUBACK, in the order of the filters: the granted QoS, or 128 and above for a refusal."""


@dataclass(frozen=True, slots=True, repr=False)
class Unsubscribed(Event):
    """An UNSUBSCRIBE was answered."""

    kind: ClassVar[str] = "unsubscribed"

    connection: int
    client_id: str
    topic_filters: tuple[str, ...]


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Published(Event):
    """A message was accepted: from a client, as a client's will, or from the endpoint itself."""

    kind: ClassVar[str] = "published"

    connection: int | None
    """None if the endpoint itself published it. For a will, the connection that ended."""
    client_id: str
    """Empty if the endpoint itself published it, or an HTTPS request: HTTP has no client id."""
    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    """The DUP flag of the packet."""


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Delivered(Event):
    """A message was sent to a subscriber."""

    kind: ClassVar[str] = "delivered"

    connection: int
    client_id: str
    topic: str
    payload: bytes
    qos: int
    retain: bool
    """The RETAIN flag as sent to this subscriber."""


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Acknowledged(Event):
    """A subscriber acknowledged a message of QoS 1 (its PUBACK arrived)."""

    kind: ClassVar[str] = "acknowledged"

    connection: int
    client_id: str
    packet_id: int


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Queued(Event):
    """A message of QoS 1 was stored for somebody who is away: a session, or all members of a shared subscription."""

    kind: ClassVar[str] = "queued"

    client_id: str
    """Whose session it is; empty for a shared subscription."""
    topic_filter: str
    """Of the subscription that takes it."""
    topic: str
    payload: bytes


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Dropped(Event):
    """A message was given up: it is not delivered, or not taken from its publisher."""

    kind: ClassVar[str] = "dropped"

    connection: int | None
    """None if the one it was for is away."""
    client_id: str
    """Who was to get it, or who published it; empty for a shared subscription."""
    topic: str
    payload: bytes
    cause: str
    """To a subscriber: `expired`, `queue_full`, `queue_rate`, `too_large`, `delivery_rate`, `unacknowledged`,
    `no_member`; from a publisher: `publish_rate`, `receive_maximum`."""
    explanation: str


@dataclass(frozen=True, slots=True, repr=False)
class Disconnected(Event):
    """A client that was connected is not any more."""

    kind: ClassVar[str] = "disconnected"

    connection: int
    client_id: str
    reason: str
    """AWS's word, as in the lifecycle events' `disconnectReason`: such as `CLIENT_INITIATED_DISCONNECT`."""
    explanation: str
    """What the client did, or what happened to it, in one sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class SessionEnded(Event):
    """A session that could have been resumed is gone, with its subscriptions and what was stored for it."""

    kind: ClassVar[str] = "session_ended"

    client_id: str
    cause: str
    """`expired`, `clean_start` (the client began a new one), `other_version` (it came back with the other version of
    MQTT), `disconnect` (it set the expiry to 0), `deleted` (by the user of the endpoint), `too_many`."""
    explanation: str

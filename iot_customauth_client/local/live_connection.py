"""One connected client: everything the broker knows about it, in one place.

It exists from CONNACK to the end of the connection. The broker is its only owner. What is frozen was settled by
CONNECT; the rest changes with what the client sends.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ..limits import KEEP_ALIVE_GRACE
from .codec import Connect, Packet, Property, Version, Will, encode
from .outbound import Outbound
from .permissions import Permissions

_RECEIVE_MAXIMUM: Final = 65_535  # MQTT 5, section 3.1.2.11.3: the value when the client gives none


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter of one client, as it was granted."""

    subscriber: "LiveConnection"
    topic_filter: str
    qos: int
    no_local: bool
    retain_as_published: bool


class LiveConnection:
    """A connected client.

    Compared by identity: a client that comes again with the same client id is another one.
    """

    __slots__ = (
        "aliases",
        "client_id",
        "keep_alive_seconds",
        "last_heard",
        "max_packet_bytes",
        "number",
        "outbound",
        "overflowed",
        "permissions",
        "principal_id",
        "problem_information",
        "session_expiry_asked",
        "subscriptions",
        "version",
        "will",
    )

    def __init__(
        self,
        number: int,
        packet: Connect,
        *,
        client_id: str,
        principal_id: str,
        permissions: Permissions,
        keep_alive_seconds: int,
        max_queued_messages: int,
        max_queued_bytes: int,
        now: float,
    ) -> None:
        self.number: Final = number
        self.version: Final = packet.version
        self.client_id: Final = client_id
        self.principal_id: Final = principal_id
        self.permissions: Final = permissions
        self.keep_alive_seconds: Final = keep_alive_seconds
        """As enforced: see `limits.clamp_keep_alive`."""
        self.max_packet_bytes: Final = number_of(packet, Property.MAXIMUM_PACKET_SIZE)
        """Largest packet that may be sent to the client; None for no limit."""
        self.problem_information: Final = number_of(packet, Property.REQUEST_PROBLEM_INFORMATION) != 0
        """Whether answers may carry a reason string (MQTT-3.1.2-29)."""
        self.session_expiry_asked: Final = number_of(packet, Property.SESSION_EXPIRY_INTERVAL) or 0
        self.outbound: Final = Outbound(
            number_of(packet, Property.RECEIVE_MAXIMUM) or _RECEIVE_MAXIMUM,
            max_messages=max_queued_messages,
            max_bytes=max_queued_bytes,
        )
        self.subscriptions: Final[dict[str, Subscription]] = {}
        """By topic filter."""
        self.aliases: Final[dict[int, str]] = {}
        """Topics by the alias that the client gave them."""
        self.will: Will | None = packet.will
        self.overflowed = False
        """Its queue is full: it is about to be dropped, and nothing more is put in."""
        self.last_heard = now
        """Monotonic seconds of the last packet from the client: the keep alive counts from there."""

    def fits(self, packet: Packet) -> bool:
        """Tell whether the client takes a packet of this size (MQTT-3.1.2-24)."""
        return self.max_packet_bytes is None or len(encode(packet, self.version)) <= self.max_packet_bytes

    @property
    def deadline(self) -> float:
        """Monotonic seconds at which the keep alive is over."""
        return self.last_heard + self.silence_allowed_seconds

    @property
    def silence_allowed_seconds(self) -> float:
        """How long the client may be silent (MQTT-3.1.2-22)."""
        return self.keep_alive_seconds * KEEP_ALIVE_GRACE

    @property
    def protocol(self) -> Literal["mqtt5", "mqtt311"]:
        """The protocol version as events name it."""
        return protocol_name(self.version)


def protocol_name(version: Version) -> Literal["mqtt5", "mqtt311"]:
    """Return the protocol version as events name it."""
    return "mqtt5" if version is Version.MQTT5 else "mqtt311"


def number_of(packet: Connect, key: Property) -> int | None:
    """Return a numeric property of a CONNECT; None if it was not given."""
    value = packet.properties.get(key)
    return value if isinstance(value, int) else None

"""One connected client: everything the broker knows about it that ends with the connection.

It exists from CONNACK to the end of the connection; what outlives it is in its `Session`. The broker is its only
owner. What is final was settled by CONNECT; the rest changes with what the client sends.
"""

from typing import Final, Literal

from ..limits import KEEP_ALIVE_GRACE
from .agenda import Planned
from .codec import Connect, Packet, Property, Version, Will, encode
from .permissions import Permissions
from .presence import Presence
from .quotas import ConnectionQuotas
from .session import Session, will_size
from .topic_aliases import IncomingAliases, OutgoingAliases

_RECEIVE_MAXIMUM: Final = 65_535  # MQTT 5, section 3.1.2.11.3: the value when the client gives none


class LiveConnection:
    """A connected client. `quotas` are None where the service's rates do not hold."""

    __slots__ = (
        "client_id",
        "held",
        "held_until",
        "idle",
        "incoming_aliases",
        "keep_alive_seconds",
        "last_heard",
        "late",
        "life",
        "max_packet_bytes",
        "number",
        "outgoing_aliases",
        "overflowed",
        "permissions",
        "presence",
        "principal_id",
        "problem_information",
        "quotas",
        "reauthorisation",
        "receive_maximum",
        "session",
        "silenced",
        "unanswered",
        "version",
        "will",
        "will_size",
    )

    def __init__(
        self,
        number: int,
        packet: Connect,
        *,
        session: Session,
        presence: Presence,
        permissions: Permissions,
        keep_alive_seconds: int,
        quotas: ConnectionQuotas | None,
        now: float,
    ) -> None:
        self.number: Final = number
        self.session: Final = session
        self.version: Final = packet.version
        self.client_id: Final = session.client_id
        self.presence: Final = presence
        """Who is connected, for lifecycle events."""
        self.principal_id: Final = presence.principal_id
        self.permissions = permissions
        """Replaced when the authorizer was asked again."""
        self.keep_alive_seconds: Final = keep_alive_seconds
        """As enforced: see `limits.clamp_keep_alive`."""
        self.max_packet_bytes: Final = number_of(packet, Property.MAXIMUM_PACKET_SIZE)
        """Largest packet that may be sent to the client; None for no limit."""
        self.problem_information: Final = number_of(packet, Property.REQUEST_PROBLEM_INFORMATION) != 0
        """Whether answers may carry a reason string (MQTT-3.1.2-29)."""
        self.receive_maximum: Final = number_of(packet, Property.RECEIVE_MAXIMUM) or _RECEIVE_MAXIMUM
        self.quotas: Final = quotas
        self.incoming_aliases: Final = IncomingAliases()
        self.outgoing_aliases: Final = OutgoingAliases(number_of(packet, Property.TOPIC_ALIAS_MAXIMUM) or 0)
        self.unanswered: Final[set[int]] = set()
        """Packet identifiers of QoS 1 from the client that got no PUBACK yet: only a fault keeps one back."""
        self.will: Will | None = packet.will
        self.will_size: Final = will_size(packet.will)
        """What its will counts until the connection has ended."""
        self.overflowed = False
        """Its queue is full: it is about to be dropped, and nothing more is put in."""
        self.last_heard = now
        """Real, monotonic seconds of the last packet from the client: the keep alive counts from there."""
        self.held_until = now
        """Real, monotonic seconds until which nothing is read from the client: its throughput is used up."""
        self.idle = True
        """Whether nothing but pings came from the client since its CONNECT."""
        self.reauthorisation: Planned | None = None
        """When `iot:Connect` is asked once more, if that will not be allowed."""
        self.life: Planned | None = None
        """When the connection has lived as long as the authorizer allowed."""
        self.silenced = False
        """A fault swallowed its CONNACK: nothing may be sent to it."""
        self.held: list[Packet] | None = None
        """A fault delays its CONNACK: what waits for it."""
        self.late: Final[set[Planned]] = set()
        """Packets to it that a fault delays."""

    def fits(self, packet: Packet) -> bool:
        """Tell whether the client takes a packet of this size (MQTT-3.1.2-24)."""
        return self.max_packet_bytes is None or len(encode(packet, self.version)) <= self.max_packet_bytes

    @property
    def deadline(self) -> float:
        """Real, monotonic seconds at which the keep alive is over; a client that is not read from is not silent."""
        return max(self.last_heard, self.held_until) + self.silence_allowed_seconds

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

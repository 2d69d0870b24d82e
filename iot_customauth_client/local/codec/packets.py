"""The control packets of MQTT 3.1.1 and MQTT 5 as values, one class each.

Both versions share the classes: what only MQTT 5 has (properties, most reason codes, three of the subscription
options) keeps its default with 3.1.1. The classes hold fields and nothing else; what a field may be is said in
`rules.py`, how it looks on the wire in `encode.py` and `decode.py`.

No `repr` shows a user name, a password or authentication data: with custom authentication all three are credentials.
"""

from dataclasses import dataclass, field, fields
from typing import TypeAlias

from ..quick_values import quickly_made
from .packet_types import Version
from .properties import NO_PROPERTIES, Properties, Property


def _no_properties() -> Properties:
    return NO_PROPERTIES


def _veiled(value: object) -> str:
    """How a credential may be shown: its length only."""
    match value:
        case str():
            return f"<{len(value)} characters>"
        case bytes():
            return f"<{len(value)} bytes>"
        case _:
            return repr(value)


def _veiled_properties(properties: Properties) -> str:
    shown = (
        f"{key.name}: {_veiled(value) if key is Property.AUTHENTICATION_DATA else repr(value)}"
        for key, value in properties.items()
    )
    return "{" + ", ".join(shown) + "}"


class _Veiled:
    """A `repr` for packets that carry credentials."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts: list[str] = []
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, each.name)
            if each.name in {"username", "password"}:
                shown = _veiled(value)
            elif each.name == "properties":
                shown = _veiled_properties(value)
            else:
                shown = repr(value)
            parts.append(f"{each.name}={shown}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the server publishes when the connection ends without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True, repr=False)
class Connect(_Veiled):
    """CONNECT. `keep_alive_seconds` is 0..65535, 0 for none; `clean_start` is 3.1.1's clean session."""

    version: Version
    client_id: str
    clean_start: bool = True
    keep_alive_seconds: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True, repr=False)
class ConnAck(_Veiled):
    """CONNACK. `reason_code` is a `ReasonCode` with MQTT 5 and the return code 0..5 with 3.1.1."""

    session_present: bool
    reason_code: int
    properties: Properties = field(default_factory=_no_properties)


@quickly_made
@dataclass(frozen=True, slots=True)
class Publish:
    """PUBLISH. `packet_id` is 1..65535 for QoS 1 and 2, `None` for QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    duplicate: bool = False
    packet_id: int | None = None
    properties: Properties = field(default_factory=_no_properties)


@quickly_made
@dataclass(frozen=True, slots=True)
class PubAck:
    """PUBACK, the answer to a PUBLISH of QoS 1."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class PubRec:
    """PUBREC, the first answer to a PUBLISH of QoS 2."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class PubRel:
    """PUBREL, the answer to a PUBREC."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class PubComp:
    """PUBCOMP, the answer to a PUBREL."""

    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """One topic filter of a SUBSCRIBE with its options; 3.1.1 knows `qos` only."""

    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE, with at least one request."""

    packet_id: int
    requests: tuple[SubscribeRequest, ...]
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class SubAck:
    """SUBACK, with one code for each request, in order."""

    packet_id: int
    reason_codes: tuple[int, ...]
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE, with at least one topic filter."""

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """UNSUBACK, with one code for each filter, in order; none with 3.1.1."""

    packet_id: int
    reason_codes: tuple[int, ...] = ()
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True)
class PingReq:
    """PINGREQ."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """PINGRESP."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """DISCONNECT. With 3.1.1 only a client sends it, and it says nothing."""

    reason_code: int = 0
    properties: Properties = field(default_factory=_no_properties)


@dataclass(frozen=True, slots=True, repr=False)
class Auth(_Veiled):
    """AUTH, MQTT 5 only."""

    reason_code: int = 0
    properties: Properties = field(default_factory=_no_properties)


Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

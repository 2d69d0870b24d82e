"""The MQTT 5 properties as one table: what each looks like on the wire, where it may stand, which values it may have.

Source: MQTT 5, table 2-4 and the section of each property. Nothing else in the codec knows a single property by name,
except where a rule ties one to another field of its packet (`rules.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from types import MappingProxyType
from typing import Final, TypeAlias

from .packet_types import PacketType
from .reason_codes import ReasonCode

LARGEST_VARIABLE_BYTE_INTEGER: Final = 268_435_455


class Property(IntEnum):
    """An MQTT 5 property identifier (table 2-4)."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A

    @property
    def words(self) -> str:
        """The name as it reads in a sentence, such as `session expiry interval`."""
        return self.name.lower().replace("_", " ")


PropertyValue: TypeAlias = int | str | bytes | tuple[tuple[str, str], ...] | tuple[int, ...]
"""`int` for every number and flag (flags are 0 or 1), `str`, `bytes`; all pairs in their order for `USER_PROPERTY`;
a tuple of at least two `int` for several `SUBSCRIPTION_IDENTIFIER` in one PUBLISH."""

Properties: TypeAlias = Mapping[Property, PropertyValue]

NO_PROPERTIES: Final[Properties] = MappingProxyType({})


class WireType(Enum):
    """How a value is written (MQTT 5, section 1.5)."""

    BYTE = auto()
    TWO_BYTE_INTEGER = auto()
    FOUR_BYTE_INTEGER = auto()
    VARIABLE_BYTE_INTEGER = auto()
    UTF8_STRING = auto()
    UTF8_STRING_PAIR = auto()
    BINARY_DATA = auto()


@dataclass(frozen=True, slots=True)
class PropertyForm:
    """One row of the table; `minimum` and `maximum` bound numbers only, `rule` is the statement that says so, and
    `out_of_bounds` what MQTT 5 calls a number outside them.
    """

    wire_type: WireType
    packets: frozenset[PacketType]
    minimum: int = 0
    maximum: int = 0
    repeats_in: frozenset[PacketType] = frozenset()
    rule: str = ""
    out_of_bounds: ReasonCode = ReasonCode.PROTOCOL_ERROR


_T = PacketType
_MESSAGE: Final = frozenset({_T.PUBLISH, _T.WILL})
_OPENING: Final = frozenset({_T.CONNECT, _T.CONNACK})
_CONNECT: Final = frozenset({_T.CONNECT})
_CONNACK: Final = frozenset({_T.CONNACK})
_EVERYWHERE: Final = frozenset(_T) - {_T.PINGREQ, _T.PINGRESP}
_ANSWERS: Final = _EVERYWHERE - {_T.WILL, _T.CONNECT, _T.PUBLISH, _T.SUBSCRIBE, _T.UNSUBSCRIBE}


def _flag(packets: frozenset[PacketType]) -> PropertyForm:
    return PropertyForm(WireType.BYTE, packets, maximum=1)


def _two_bytes(packets: frozenset[PacketType], minimum: int = 0) -> PropertyForm:
    return PropertyForm(WireType.TWO_BYTE_INTEGER, packets, minimum, 0xFFFF)


def _four_bytes(packets: frozenset[PacketType], minimum: int = 0) -> PropertyForm:
    return PropertyForm(WireType.FOUR_BYTE_INTEGER, packets, minimum, 0xFFFF_FFFF)


def _text(packets: frozenset[PacketType]) -> PropertyForm:
    return PropertyForm(WireType.UTF8_STRING, packets)


def _binary(packets: frozenset[PacketType]) -> PropertyForm:
    return PropertyForm(WireType.BINARY_DATA, packets)


FORMS: Final[Mapping[Property, PropertyForm]] = {
    Property.PAYLOAD_FORMAT_INDICATOR: _flag(_MESSAGE),
    Property.MESSAGE_EXPIRY_INTERVAL: _four_bytes(_MESSAGE),
    Property.CONTENT_TYPE: _text(_MESSAGE),
    Property.RESPONSE_TOPIC: _text(_MESSAGE),
    Property.CORRELATION_DATA: _binary(_MESSAGE),
    # 0 is a protocol error (3.3.2.3.8, 3.8.2.1.2); a PUBLISH carries one for each subscription that matched.
    Property.SUBSCRIPTION_IDENTIFIER: PropertyForm(
        WireType.VARIABLE_BYTE_INTEGER,
        frozenset({_T.PUBLISH, _T.SUBSCRIBE}),
        1,
        LARGEST_VARIABLE_BYTE_INTEGER,
        repeats_in=frozenset({_T.PUBLISH}),
    ),
    Property.SESSION_EXPIRY_INTERVAL: _four_bytes(_OPENING | {_T.DISCONNECT}),
    Property.ASSIGNED_CLIENT_IDENTIFIER: _text(_CONNACK),
    Property.SERVER_KEEP_ALIVE: _two_bytes(_CONNACK),
    Property.AUTHENTICATION_METHOD: _text(_OPENING | {_T.AUTH}),
    Property.AUTHENTICATION_DATA: _binary(_OPENING | {_T.AUTH}),
    Property.REQUEST_PROBLEM_INFORMATION: _flag(_CONNECT),
    Property.WILL_DELAY_INTERVAL: _four_bytes(frozenset({_T.WILL})),
    Property.REQUEST_RESPONSE_INFORMATION: _flag(_CONNECT),
    Property.RESPONSE_INFORMATION: _text(_CONNACK),
    Property.SERVER_REFERENCE: _text(frozenset({_T.CONNACK, _T.DISCONNECT})),
    Property.REASON_STRING: _text(_ANSWERS),
    Property.RECEIVE_MAXIMUM: _two_bytes(_OPENING, minimum=1),
    Property.TOPIC_ALIAS_MAXIMUM: _two_bytes(_OPENING),
    Property.TOPIC_ALIAS: PropertyForm(
        WireType.TWO_BYTE_INTEGER,
        frozenset({_T.PUBLISH}),
        1,
        0xFFFF,
        rule="MQTT-3.3.2-8",
        out_of_bounds=ReasonCode.TOPIC_ALIAS_INVALID,  # section 3.3.4
    ),
    Property.MAXIMUM_QOS: _flag(_CONNACK),  # 0 or 1: QoS 2 is said by leaving it out (3.2.2.3.4)
    Property.RETAIN_AVAILABLE: _flag(_CONNACK),
    Property.USER_PROPERTY: PropertyForm(WireType.UTF8_STRING_PAIR, _EVERYWHERE, repeats_in=_EVERYWHERE),
    Property.MAXIMUM_PACKET_SIZE: _four_bytes(_OPENING, minimum=1),
    Property.WILDCARD_SUBSCRIPTION_AVAILABLE: _flag(_CONNACK),
    Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: _flag(_CONNACK),
    Property.SHARED_SUBSCRIPTION_AVAILABLE: _flag(_CONNACK),
}

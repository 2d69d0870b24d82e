"""Why something was refused, in MQTT 5's numbers, and which number may stand in which packet.

The names are the specification's (MQTT 5, section 2.4). One number can have several names there: 0 is `SUCCESS`,
`NORMAL_DISCONNECTION` and `GRANTED_QOS_0`. `ALLOWED` is the union of the tables of sections 3.2.2.2 to 3.15.2.1;
`FROM_CLIENT` narrows it where a table says who may send a code. MQTT 3.1.1 has return codes of its own in CONNACK
and SUBACK (`ALLOWED_311`) and none elsewhere.
"""

from enum import IntEnum
from typing import Final

from .packet_types import PacketType


class ReasonCode(IntEnum):
    """An MQTT 5 reason code; from 0x80 on it is an error (MQTT 5, section 2.4)."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


# Sections 3.4.2.1 and 3.5.2.1 list the same codes, and so do 3.6.2.1 and 3.7.2.1.
_ANSWER_TO_PUBLISH: Final = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
_SECOND_HALF_OF_QOS_2: Final = frozenset({0x00, 0x92})

# Section 3.14.2.1, by who may send it.
_DISCONNECT_FROM_EITHER: Final = frozenset({0x80, 0x81, 0x82, 0x83, *range(0x93, 0x9A), 0x90})
_DISCONNECT_FROM_CLIENT: Final = _DISCONNECT_FROM_EITHER | {0x00, 0x04}
_DISCONNECT_FROM_SERVER: Final = _DISCONNECT_FROM_EITHER | {0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, *range(0x9A, 0xA3)}

ALLOWED: Final[dict[PacketType, frozenset[int]]] = {
    PacketType.CONNACK: frozenset({0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, *range(0x99, 0x9E), 0x9F}),
    PacketType.PUBACK: _ANSWER_TO_PUBLISH,
    PacketType.PUBREC: _ANSWER_TO_PUBLISH,
    PacketType.PUBREL: _SECOND_HALF_OF_QOS_2,
    PacketType.PUBCOMP: _SECOND_HALF_OF_QOS_2,
    PacketType.SUBACK: frozenset({0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}),
    PacketType.UNSUBACK: frozenset({0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}),
    PacketType.DISCONNECT: _DISCONNECT_FROM_CLIENT | _DISCONNECT_FROM_SERVER,
    PacketType.AUTH: frozenset({0x00, 0x18, 0x19}),
}

ALLOWED_311: Final[dict[PacketType, frozenset[int]]] = {
    PacketType.CONNACK: frozenset(range(6)),  # 3.1.1, table 3.1
    PacketType.SUBACK: frozenset({0x00, 0x01, 0x02, 0x80}),  # MQTT-3.9.3-2
}

FROM_CLIENT: Final[dict[PacketType, frozenset[int]]] = {
    PacketType.DISCONNECT: _DISCONNECT_FROM_CLIENT,
    PacketType.AUTH: frozenset({0x18, 0x19}),  # section 3.15.2.1: only the server reports success
}

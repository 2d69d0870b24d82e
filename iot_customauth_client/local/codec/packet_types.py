"""The two protocol versions and the numbers of the control packets (both specifications, table 2.1)."""

from enum import IntEnum
from typing import Final


class Version(IntEnum):
    """The protocol level that CONNECT carries."""

    MQTT311 = 4
    MQTT5 = 5


MQTT311: Final = Version.MQTT311
MQTT5: Final = Version.MQTT5
"""The same, for code that runs for each message: with Python 3.11 a name costs a tenth of an attribute of an Enum."""


class PacketType(IntEnum):
    """The upper four bits of a packet's first byte.

    `WILL` is no packet: it stands for the will inside CONNECT, which has properties of its own.
    """

    WILL = 0
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


FROM_CLIENT: Final = frozenset(PacketType) - {
    PacketType.WILL,
    PacketType.CONNACK,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
    PacketType.PINGRESP,
}

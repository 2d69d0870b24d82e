"""MQTT packets by the codec's own tables: any that the specification allows, so a row added there is made at once.

What they are made of comes from `Parts`: the fuzzer's few strings and numbers that have made trouble before
(`KnownParts`), or, in the suite, whatever hypothesis can think of. Packets that have to do with each other are made by
`broker_world`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from iot_customauth_client.local.codec import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    Property,
    PropertyValue,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
    Will,
)
from iot_customauth_client.local.codec.packet_types import PacketType
from iot_customauth_client.local.codec.properties import FORMS, WireType
from iot_customauth_client.local.codec.reason_codes import ALLOWED, ALLOWED_311, FROM_CLIENT

from .dice import Chooser, Dice, chance, pick

TEXTS: Final = ("", "a", "client_id", "é€𝄞", "x" * 130, "a b", "\ufffd", "user01?x-amz-customauthorizer-name=n", "\x01")
TOPICS: Final = ("a", "a/b", "/", "a//b", "$aws/things/t", "é/€", "a/b/c/d/e/f/g/h", "devices/one/state", "x" * 257)
FILTERS: Final = ("a", "a/b", "#", "+", "a/#", "+/b", "a/+/c", "$share/g/a/#", "$aws/#", "a#", "#/a", "/", "$share//a")
_ACKNOWLEDGEMENTS: Final[tuple[tuple[type[PubAck | PubRec | PubRel | PubComp], PacketType], ...]] = (
    (PubAck, PacketType.PUBACK),
    (PubRec, PacketType.PUBREC),
    (PubRel, PacketType.PUBREL),
    (PubComp, PacketType.PUBCOMP),
)
_PROPERTIES: Final = {kind: tuple(key for key, form in FORMS.items() if kind in form.packets) for kind in PacketType}


class Parts(Chooser, Protocol):
    """What packets are made of."""

    def chance(self, percent: int) -> bool:
        """Say yes, about so often."""
        ...

    def number(self, minimum: int, maximum: int) -> int:
        """Return a number in these bounds."""
        ...

    def text(self) -> str:
        """Return a text that MQTT allows, maybe empty."""
        ...

    def topic(self) -> str:
        """Return a topic name."""
        ...

    def topic_filter(self) -> str:
        """Return a topic filter, or what only looks like one."""
        ...

    def blob(self) -> bytes:
        """Return binary data, mostly short."""
        ...

    def some(self, keys: Sequence[Property]) -> Iterable[Property]:
        """Return some of the keys."""
        ...


class KnownParts:
    """The fuzzer's."""

    __slots__ = ("_dice",)

    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def below(self, limit: int) -> int:
        """Return a number from 0 to below `limit`."""
        return self._dice.below(limit)

    def chance(self, percent: int) -> bool:
        """Say yes so often."""
        return chance(self._dice, percent)

    def number(self, minimum: int, maximum: int) -> int:
        """Return a number that is a limit, or near to one."""
        value = pick(self._dice, (minimum, maximum, minimum + 1, 1, 2, 10, 127, 128, 300, 16_384, 65_535, 2_097_152))
        return value if minimum <= value <= maximum else minimum

    def text(self) -> str:
        """Return one of `TEXTS`."""
        return pick(self._dice, TEXTS)

    def topic(self) -> str:
        """Return one of `TOPICS`."""
        return pick(self._dice, TOPICS)

    def topic_filter(self) -> str:
        """Return one of `FILTERS`, of which some are none."""
        return pick(self._dice, FILTERS)

    def blob(self) -> bytes:
        """Return random bytes."""
        return self._dice.bytes(self._dice.below(pick(self._dice, (1, 4, 4, 16, 16, 300))))

    def some(self, keys: Sequence[Property]) -> Iterator[Property]:
        """Yield up to four of the keys, often none."""
        if chance(self._dice, 40) or not keys:
            return
        for _ in range(self._dice.below(5)):
            yield pick(self._dice, keys)


def value_of(parts: Parts, key: Property, kind: PacketType) -> PropertyValue:
    """A value that the property may have in this packet."""
    form = FORMS[key]
    match form.wire_type:
        case WireType.UTF8_STRING:
            return parts.topic() if key is Property.RESPONSE_TOPIC else parts.text()
        case WireType.BINARY_DATA:
            return parts.blob()
        case WireType.UTF8_STRING_PAIR:
            return tuple((parts.text(), parts.text()) for _ in range(1 + parts.below(3)))
        case _:
            count = 1 + parts.below(3) if kind in form.repeats_in else 1
            numbers = [parts.number(form.minimum, form.maximum) for _ in range(count)]
            return tuple(numbers) if count > 1 else numbers[0]


def properties(parts: Parts, version: Version, kind: PacketType, *, leave_out: tuple[Property, ...] = ()) -> Properties:
    """Properties that may stand in the packet; none with 3.1.1."""
    if version is Version.MQTT311:
        return NO_PROPERTIES
    drawn = {key: value_of(parts, key, kind) for key in parts.some(_PROPERTIES[kind]) if key not in leave_out}
    if Property.AUTHENTICATION_METHOD not in drawn:
        drawn.pop(Property.AUTHENTICATION_DATA, None)
    return drawn


def reason_code(parts: Parts, version: Version, kind: PacketType, *, from_client: bool = False) -> int:
    """A code that may stand in the packet; 0 where 3.1.1 has none."""
    allowed = (ALLOWED if version is Version.MQTT5 else ALLOWED_311).get(kind, frozenset({0}))
    return pick(parts, sorted(allowed & FROM_CLIENT[kind] if from_client else allowed))


def packet_id(parts: Parts) -> int:
    """Any packet identifier."""
    return 1 + parts.below(65_535)


def will(parts: Parts, version: Version) -> Will:
    """Any will."""
    drawn = properties(parts, version, PacketType.WILL)
    return Will(parts.topic(), parts.blob(), parts.below(3), parts.chance(30), drawn)


def connect(parts: Parts, version: Version) -> Connect:
    """Any CONNECT. 3.1.1 has no password without a user name, and no session without a client id."""
    username = parts.text() if parts.chance(60) else None
    password = parts.blob() if parts.chance(50) and (username is not None or version is Version.MQTT5) else None
    client_id = parts.text()
    return Connect(
        version,
        client_id,
        clean_start=parts.chance(50) or not (client_id or version is Version.MQTT5),
        keep_alive_seconds=parts.number(0, 65_535),
        username=username,
        password=password,
        will=will(parts, version) if parts.chance(30) else None,
        properties=properties(parts, version, PacketType.CONNECT),
    )


def connack(parts: Parts, version: Version) -> ConnAck:
    """Any CONNACK; a session can only be present in a success."""
    code = reason_code(parts, version, PacketType.CONNACK)
    return ConnAck(not code and parts.chance(50), code, properties(parts, version, PacketType.CONNACK))


def publish(parts: Parts, version: Version, *, from_client: bool = False) -> Publish:
    """Any PUBLISH; with an alias the topic may be empty."""
    qos = parts.below(3)
    left_out = (Property.SUBSCRIPTION_IDENTIFIER,) if from_client else ()
    drawn = properties(parts, version, PacketType.PUBLISH, leave_out=left_out)
    return Publish(
        "" if Property.TOPIC_ALIAS in drawn and parts.chance(50) else parts.topic(),
        parts.blob(),
        qos,
        parts.chance(30),
        bool(qos) and parts.chance(20),
        packet_id(parts) if qos else None,
        drawn,
    )


def acknowledgement(parts: Parts, version: Version) -> PubAck | PubRec | PubRel | PubComp:
    """Any PUBACK, PUBREC, PUBREL or PUBCOMP."""
    make, kind = pick(parts, _ACKNOWLEDGEMENTS)
    return make(packet_id(parts), reason_code(parts, version, kind), properties(parts, version, kind))


def subscribe(parts: Parts, version: Version) -> Subscribe:
    """Any SUBSCRIBE."""
    requests: list[SubscribeRequest] = []
    for _ in range(1 + parts.below(pick(parts, (2, 4, 12)))):
        topic_filter = parts.topic_filter()
        if version is Version.MQTT311:
            requests.append(SubscribeRequest(topic_filter, parts.below(3)))
            continue
        no_local = parts.chance(20) and not topic_filter.startswith("$share/")
        requests.append(SubscribeRequest(topic_filter, parts.below(3), no_local, parts.chance(30), parts.below(3)))
    return Subscribe(packet_id(parts), tuple(requests), properties(parts, version, PacketType.SUBSCRIBE))


def suback(parts: Parts, version: Version) -> SubAck:
    """Any SUBACK."""
    codes = tuple(reason_code(parts, version, PacketType.SUBACK) for _ in range(1 + parts.below(4)))
    return SubAck(packet_id(parts), codes, properties(parts, version, PacketType.SUBACK))


def unsubscribe(parts: Parts, version: Version) -> Unsubscribe:
    """Any UNSUBSCRIBE."""
    filters = tuple(parts.topic_filter() for _ in range(1 + parts.below(4)))
    return Unsubscribe(packet_id(parts), filters, properties(parts, version, PacketType.UNSUBSCRIBE))


def unsuback(parts: Parts, version: Version) -> UnsubAck:
    """Any UNSUBACK; that of 3.1.1 has no codes."""
    count = 0 if version is Version.MQTT311 else 1 + parts.below(4)
    codes = tuple(reason_code(parts, version, PacketType.UNSUBACK) for _ in range(count))
    return UnsubAck(packet_id(parts), codes, properties(parts, version, PacketType.UNSUBACK))


def disconnect(parts: Parts, version: Version, *, from_client: bool = False) -> Disconnect:
    """Any DISCONNECT."""
    code = reason_code(parts, version, PacketType.DISCONNECT, from_client=from_client)
    return Disconnect(code, properties(parts, version, PacketType.DISCONNECT))


def auth(parts: Parts, version: Version, *, from_client: bool = False) -> Auth:
    """Any AUTH, which names its method or has nothing at all. There is none in 3.1.1."""
    if not from_client and parts.chance(20):
        return Auth()
    code = reason_code(parts, version, PacketType.AUTH, from_client=from_client)
    return Auth(code, {Property.AUTHENTICATION_METHOD: "m", **properties(parts, version, PacketType.AUTH)})


def ping(parts: Parts, version: Version) -> PingReq | PingResp:
    """A PINGREQ or PINGRESP."""
    del version
    return PingReq() if parts.chance(50) else PingResp()


KINDS: Final[Mapping[str, Callable[[Parts, Version], Packet]]] = {
    "connect": connect,
    "connack": connack,
    "publish": publish,
    "acknowledgement": acknowledgement,
    "subscribe": subscribe,
    "suback": suback,
    "unsubscribe": unsubscribe,
    "unsuback": unsuback,
    "ping": ping,
    "disconnect": disconnect,
    "auth": auth,
}


def client_packet(parts: Parts, version: Version) -> Packet:
    """Any packet that a client may send once it is connected."""
    match parts.below(10):
        case 0 | 1 | 2:
            return publish(parts, version, from_client=True)
        case 3 | 4:
            return acknowledgement(parts, version)
        case 5 | 6:
            return subscribe(parts, version)
        case 7:
            return unsubscribe(parts, version)
        case 8:
            if version is Version.MQTT5 and parts.chance(50):
                return auth(parts, version, from_client=True)
            return PingReq()
        case _:
            return disconnect(parts, version, from_client=True)


def server_packet(parts: Parts, version: Version) -> Packet:
    """Any packet that only a server sends, or that has properties and codes of the server's there."""
    match parts.below(7):
        case 0:
            return connack(parts, version)
        case 1:
            return suback(parts, version)
        case 2:
            return unsuback(parts, version)
        case 3:
            return publish(parts, version)
        case 4:
            return disconnect(parts, version)
        case 5 if version is Version.MQTT5:
            return auth(parts, version)
        case _:
            return PingResp()


def any_packet(parts: Parts, version: Version) -> Packet:
    """Any packet of the version, whoever sends it."""
    match parts.below(8):
        case 0:
            return connect(parts, version)
        case 1 | 2 | 3:
            return server_packet(parts, version)
        case _:
            return client_packet(parts, version)

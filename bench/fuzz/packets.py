"""MQTT packets by the codec's own tables: any that the specification allows, so a row added there is made at once.

`any_packet` is wide, with every property and code. Packets that have to do with each other are made by `broker_world`.
"""

from __future__ import annotations

from typing import Final

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

from .dice import Dice, chance, pick

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


def blob(dice: Dice) -> bytes:
    """Binary data, mostly short."""
    return dice.bytes(dice.below(pick(dice, (1, 4, 4, 16, 16, 300))))


def value_of(dice: Dice, key: Property, kind: PacketType) -> PropertyValue:
    """A value that the property may have in this packet."""
    form = FORMS[key]
    match form.wire_type:
        case WireType.UTF8_STRING:
            return pick(dice, TOPICS if key is Property.RESPONSE_TOPIC else TEXTS)
        case WireType.BINARY_DATA:
            return blob(dice)
        case WireType.UTF8_STRING_PAIR:
            return tuple((pick(dice, TEXTS), pick(dice, TEXTS)) for _ in range(1 + dice.below(3)))
        case _:
            numbers = [_number(dice, form.minimum, form.maximum) for _ in range(1 + dice.below(3))]
            return tuple(numbers) if kind in form.repeats_in and len(numbers) > 1 else numbers[0]


def _number(dice: Dice, minimum: int, maximum: int) -> int:
    near = (minimum, maximum, minimum + 1, 1, 2, 10, 127, 128, 300, 16_384, 65_535, 2_097_152)
    value = pick(dice, near)
    return value if minimum <= value <= maximum else minimum


def properties(dice: Dice, version: Version, kind: PacketType, *, leave_out: tuple[Property, ...] = ()) -> Properties:
    """Properties that may stand in the packet; none with 3.1.1."""
    if version is Version.MQTT311 or chance(dice, 40):
        return NO_PROPERTIES
    drawn: dict[Property, PropertyValue] = {}
    known = _PROPERTIES[kind]
    for _ in range(dice.below(5)):
        key = pick(dice, known) if known else None
        if key is not None and key not in leave_out:
            drawn[key] = value_of(dice, key, kind)
    if Property.AUTHENTICATION_METHOD not in drawn:
        drawn.pop(Property.AUTHENTICATION_DATA, None)
    return drawn


def reason_code(dice: Dice, version: Version, kind: PacketType) -> int:
    """A code that may stand in the packet."""
    allowed = (ALLOWED if version is Version.MQTT5 else ALLOWED_311).get(kind)
    return pick(dice, sorted(allowed)) if allowed else 0


def will(dice: Dice, version: Version) -> Will:
    """Any will."""
    return Will(
        pick(dice, TOPICS), blob(dice), dice.below(3), chance(dice, 30), properties(dice, version, PacketType.WILL)
    )


def connect(dice: Dice, version: Version) -> Connect:
    """Any CONNECT."""
    username = pick(dice, TEXTS) if chance(dice, 60) else None
    password = blob(dice) if chance(dice, 50) and (username is not None or version is Version.MQTT5) else None
    client_id = pick(dice, TEXTS)
    return Connect(
        version,
        client_id,
        clean_start=chance(dice, 50) or not client_id,
        keep_alive_seconds=pick(dice, (0, 1, 30, 60, 1_200, 65_535)),
        username=username,
        password=password,
        will=will(dice, version) if chance(dice, 30) else None,
        properties=properties(dice, version, PacketType.CONNECT),
    )


def publish(dice: Dice, version: Version, *, from_client: bool = False) -> Publish:
    """Any PUBLISH; with an alias the topic may be empty."""
    qos = dice.below(3)
    left_out = (Property.SUBSCRIPTION_IDENTIFIER,) if from_client else ()
    drawn = properties(dice, version, PacketType.PUBLISH, leave_out=left_out)
    return Publish(
        "" if Property.TOPIC_ALIAS in drawn and chance(dice, 50) else pick(dice, TOPICS),
        blob(dice),
        qos,
        chance(dice, 30),
        bool(qos) and chance(dice, 20),
        1 + dice.below(65_535) if qos else None,
        drawn,
    )


def subscribe(dice: Dice, version: Version) -> Subscribe:
    """Any SUBSCRIBE."""
    requests: list[SubscribeRequest] = []
    for _ in range(1 + dice.below(pick(dice, (2, 4, 12)))):
        topic_filter = pick(dice, FILTERS)
        if version is Version.MQTT311:
            requests.append(SubscribeRequest(topic_filter, dice.below(3)))
            continue
        no_local = chance(dice, 20) and not topic_filter.startswith("$share/")
        requests.append(SubscribeRequest(topic_filter, dice.below(3), no_local, chance(dice, 30), dice.below(3)))
    return Subscribe(1 + dice.below(65_535), tuple(requests), properties(dice, version, PacketType.SUBSCRIBE))


def client_packet(dice: Dice, version: Version) -> Packet:
    """Any packet that a client may send once it is connected."""
    match dice.below(10):
        case 0 | 1 | 2:
            return publish(dice, version, from_client=True)
        case 3 | 4:
            make, kind = pick(dice, _ACKNOWLEDGEMENTS)
            code = reason_code(dice, version, kind)
            return make(1 + dice.below(65_535), code, properties(dice, version, kind))
        case 5 | 6:
            return subscribe(dice, version)
        case 7:
            filters = tuple(pick(dice, FILTERS) for _ in range(1 + dice.below(4)))
            return Unsubscribe(1 + dice.below(65_535), filters, properties(dice, version, PacketType.UNSUBSCRIBE))
        case 8:
            if version is Version.MQTT5 and chance(dice, 50):
                code = pick(dice, sorted(FROM_CLIENT[PacketType.AUTH]))
                named = {Property.AUTHENTICATION_METHOD: "m", **properties(dice, version, PacketType.AUTH)}
                return Auth(code, named)
            return PingReq()
        case _:
            code = pick(dice, sorted(FROM_CLIENT[PacketType.DISCONNECT])) if version is Version.MQTT5 else 0
            return Disconnect(code, properties(dice, version, PacketType.DISCONNECT))


def server_packet(dice: Dice, version: Version) -> Packet:
    """Any packet that only a server sends."""
    match dice.below(4):
        case 0:
            code = reason_code(dice, version, PacketType.CONNACK)
            return ConnAck(not code and chance(dice, 50), code, properties(dice, version, PacketType.CONNACK))
        case 1:
            codes = tuple(reason_code(dice, version, PacketType.SUBACK) for _ in range(1 + dice.below(4)))
            return SubAck(1 + dice.below(65_535), codes, properties(dice, version, PacketType.SUBACK))
        case 2:
            count = 0 if version is Version.MQTT311 else 1 + dice.below(4)
            codes = tuple(reason_code(dice, version, PacketType.UNSUBACK) for _ in range(count))
            return UnsubAck(1 + dice.below(65_535), codes, properties(dice, version, PacketType.UNSUBACK))
        case _:
            return PingResp()


def any_packet(dice: Dice, version: Version) -> Packet:
    """Any packet of the version, whoever sends it."""
    match dice.below(8):
        case 0:
            return connect(dice, version)
        case 1 | 2:
            return server_packet(dice, version)
        case _:
            return client_packet(dice, version)

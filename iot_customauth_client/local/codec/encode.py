"""A packet's value to its bytes, in the shortest form that the version has for it.

What `Decoder` would refuse is refused here too, by the same checks, so that the endpoint never sends what a strict
client must hang up on. The packets that carry the throughput, PUBLISH and PUBACK without properties, have a short way;
whatever is not exactly that goes the long way, where all rules are.
"""

from struct import Struct
from typing import Final, assert_never

from . import rules
from .known_texts import KnownTexts
from .packet_types import MQTT5, PacketType, Version
from .packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
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
)
from .primitives import write_binary, write_byte, write_string, write_uint16, write_variable_byte_integer
from .property_block import write_properties
from .violations import Violation

# Table 2.2: three packets have a flag bit that is reserved and set.
_RESERVED_SET: Final = 0x02

_FIRST_OF_PUBLISH: Final = PacketType.PUBLISH << 4
_FIRST_OF_PUBACK: Final = PacketType.PUBACK << 4
_PUBACK: Final = Struct(">BBH")
_PUBLISH_HEADER: Final = Struct(">BB")  # a remaining length of one byte
_LARGER_PUBLISH_HEADER: Final = Struct(">BBB")  # of two
_PACKET_ID: Final = Struct(">H")
_PACKET_ID_NO_PROPERTIES: Final = Struct(">HB")

_TOPICS: Final = KnownTexts[str, bytes]()
"""Topic names that were written and keep every rule, with the bytes that stand for them."""


def encode(packet: Packet, version: Version) -> bytes:
    """The packet as it goes over the wire of a connection of this version.

    Raises:
        ValueError: the version cannot express it (properties or reason codes on 3.1.1, AUTH on 3.1.1), a field is out
            of its range or breaks a rule of the specification, a string or binary field has more than 65,535 bytes,
            or the packet more than 268,435,455.
    """
    if type(packet) is Publish:
        if not packet.properties and (topic := _TOPICS.get(packet.topic)) is not None:
            written = _plain_publish(packet, topic, version)
            if written is not None:
                return written
    elif type(packet) is PubAck and not packet.reason_code and not packet.properties and 0 < packet.packet_id < 0x10000:
        return _PUBACK.pack(_FIRST_OF_PUBACK, 2, packet.packet_id)
    refusal: str
    try:
        return _encode(packet, version)
    except Violation as violation:
        refusal = f"{type(packet).__name__} cannot be sent: {violation}"
    except ValueError as error:
        refusal = f"{type(packet).__name__} cannot be sent: {error}"
    raise ValueError(refusal)


def _encode(packet: Packet, version: Version) -> bytes:
    match packet:
        case Publish():
            return _publish(packet, version)
        case PubAck():
            return _acknowledgement(packet, PacketType.PUBACK, 0, version)
        case PubRec():
            return _acknowledgement(packet, PacketType.PUBREC, 0, version)
        case PubRel():
            return _acknowledgement(packet, PacketType.PUBREL, _RESERVED_SET, version)
        case PubComp():
            return _acknowledgement(packet, PacketType.PUBCOMP, 0, version)
        case PingReq():
            return _frame(PacketType.PINGREQ, 0)
        case PingResp():
            return _frame(PacketType.PINGRESP, 0)
        case Subscribe():
            return _subscribe(packet, version)
        case SubAck():
            rules.check_suback(packet, version)
            properties = write_properties(packet.properties, version)
            return _frame(PacketType.SUBACK, 0, write_uint16(packet.packet_id), properties, bytes(packet.reason_codes))
        case Unsubscribe():
            return _unsubscribe(packet, version)
        case UnsubAck():
            rules.check_unsuback(packet, version)
            properties = write_properties(packet.properties, version)
            return _frame(
                PacketType.UNSUBACK, 0, write_uint16(packet.packet_id), properties, bytes(packet.reason_codes)
            )
        case Disconnect():
            return _disconnect(packet, version)
        case Connect():
            return _connect(packet, version)
        case ConnAck():
            rules.check_connack(packet, version)
            properties = write_properties(packet.properties, version)
            return _frame(PacketType.CONNACK, 0, bytes((packet.session_present, packet.reason_code)), properties)
        case Auth():
            return _auth(packet, version)
        case _:
            assert_never(packet)


def _frame(packet_type: PacketType, flags: int, *parts: bytes) -> bytes:
    """The fixed header before the parts of a body."""
    length = sum(map(len, parts))
    return b"".join((write_byte(packet_type << 4 | flags), write_variable_byte_integer(length), *parts))


def _plain_publish(packet: Publish, topic: bytes, version: Version) -> bytes | None:
    """A PUBLISH to a known topic without properties; None if anything about it is out of the ordinary."""
    packet_id, qos = packet.packet_id, packet.qos
    no_properties = version is MQTT5
    if packet_id is None:
        if qos or packet.duplicate:
            return None
        middle = b"\0" if no_properties else b""
    elif (qos == 1 or qos == 2) and 0 < packet_id < 0x10000:
        middle = _PACKET_ID_NO_PROPERTIES.pack(packet_id, 0) if no_properties else _PACKET_ID.pack(packet_id)
    else:
        return None
    payload = packet.payload
    first = _FIRST_OF_PUBLISH | packet.duplicate << 3 | qos << 1 | packet.retain
    length = len(topic) + len(middle) + len(payload)
    if length < 0x80:
        header = _PUBLISH_HEADER.pack(first, length)
    elif length < 0x4000:
        header = _LARGER_PUBLISH_HEADER.pack(first, length & 0x7F | 0x80, length >> 7)
    else:
        return None
    return b"".join((header, topic, middle, payload))


def _publish(packet: Publish, version: Version) -> bytes:
    rules.check_publish(packet, version)
    topic = write_string(packet.topic, "topic name")
    if packet.topic:
        _TOPICS.keep(packet.topic, topic)
    return _frame(
        PacketType.PUBLISH,
        packet.duplicate << 3 | packet.qos << 1 | packet.retain,
        topic,
        b"" if packet.packet_id is None else write_uint16(packet.packet_id),
        write_properties(packet.properties, version),
        packet.payload,
    )


def _acknowledgement(
    packet: PubAck | PubRec | PubRel | PubComp, packet_type: PacketType, flags: int, version: Version
) -> bytes:
    rules.check_acknowledgement(packet, packet_type, version)
    packet_id = write_uint16(packet.packet_id)
    if packet.properties:
        properties = write_properties(packet.properties, version)
        return _frame(packet_type, flags, packet_id, write_byte(packet.reason_code), properties)
    if packet.reason_code:
        return _frame(packet_type, flags, packet_id, write_byte(packet.reason_code))
    return _frame(packet_type, flags, packet_id)


def _connect(packet: Connect, version: Version) -> bytes:
    rules.check_connect(packet, version)
    will = packet.will
    bits = packet.clean_start << 1 | (packet.password is not None) << 6 | (packet.username is not None) << 7
    parts: list[bytes] = []
    if will is not None:
        bits |= 0x04 | will.qos << 3 | will.retain << 5
        parts += (
            write_properties(will.properties, version),
            write_string(will.topic, "will topic"),
            write_binary(will.payload, "will payload"),
        )
    if packet.username is not None:
        parts.append(write_string(packet.username, "user name"))
    if packet.password is not None:
        parts.append(write_binary(packet.password, "password"))
    return _frame(
        PacketType.CONNECT,
        0,
        b"\0\4MQTT",
        bytes((version, bits)),
        write_uint16(packet.keep_alive_seconds),
        write_properties(packet.properties, version),
        write_string(packet.client_id, "client id"),
        *parts,
    )


def _subscribe(packet: Subscribe, version: Version) -> bytes:
    rules.check_subscribe(packet, version)
    return _frame(
        PacketType.SUBSCRIBE,
        _RESERVED_SET,
        write_uint16(packet.packet_id),
        write_properties(packet.properties, version),
        *(write_string(request.topic_filter, "topic filter") + _options(request) for request in packet.requests),
    )


def _options(request: SubscribeRequest) -> bytes:
    bits = request.qos | request.no_local << 2 | request.retain_as_published << 3 | request.retain_handling << 4
    return write_byte(bits)


def _unsubscribe(packet: Unsubscribe, version: Version) -> bytes:
    rules.check_unsubscribe(packet, version)
    return _frame(
        PacketType.UNSUBSCRIBE,
        _RESERVED_SET,
        write_uint16(packet.packet_id),
        write_properties(packet.properties, version),
        *(write_string(topic_filter, "topic filter") for topic_filter in packet.topic_filters),
    )


def _disconnect(packet: Disconnect, version: Version) -> bytes:
    rules.check_disconnect(packet, version)
    if packet.properties:
        properties = write_properties(packet.properties, version)
        return _frame(PacketType.DISCONNECT, 0, write_byte(packet.reason_code), properties)
    if packet.reason_code:
        return _frame(PacketType.DISCONNECT, 0, write_byte(packet.reason_code))
    return _frame(PacketType.DISCONNECT, 0)


def _auth(packet: Auth, version: Version) -> bytes:
    rules.check_auth(packet, version)
    if not packet.reason_code and not packet.properties:
        return _frame(PacketType.AUTH, 0)
    return _frame(PacketType.AUTH, 0, write_byte(packet.reason_code), write_properties(packet.properties, version))

"""The bytes of one packet to its value: one reader for each packet type, all of one shape.

A reader gets the lower four bits of the first byte, the bytes, where the packet's body begins and ends in them, and
the version. It consumes the body to its last byte, or raises `Violation`. Rules about values are asked of `rules.py`.
The readers of PUBLISH and of the acknowledgements carry the throughput: they copy the payload once and nothing else.
Each has a short way for the usual packet (a topic that was read before, no properties, success), which decides nothing:
whatever is not exactly that goes the long way, where all rules are.
"""

from collections.abc import Callable, Sized
from typing import Final, TypeAlias

from . import rules
from . import violations as rule
from .known_texts import KnownTexts
from .packet_types import MQTT5, MQTT311, PacketType, Version
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
    Will,
)
from .primitives import read_binary, read_byte, read_string, read_uint16
from .properties import NO_PROPERTIES
from .property_block import read_properties
from .reason_codes import ReasonCode
from .violations import Violation, malformed

MAX_TOPIC_FILTERS: Final = 1_000
"""Of one SUBSCRIBE or UNSUBSCRIBE. Our own bound, far above any use: 48,000 fit into a packet, and whoever reads them
all has time for nobody else meanwhile."""

Reader: TypeAlias = Callable[[int, bytes, int, int, Version], Packet]

_TOPICS: Final = KnownTexts[bytes, str]()
"""Topic names that were read and keep every rule, by their bytes."""

_LEVELS: Final = {int(version): version for version in Version}


def read_version(data: bytes, offset: int, end: int) -> tuple[Version, int]:
    """The protocol name and level that a CONNECT begins with.

    Raises:
        Violation: `UNSUPPORTED_PROTOCOL_VERSION` for any but MQTT 3.1.1 and MQTT 5.
    """
    name, offset = read_binary(data, offset, end, "protocol name")
    level, offset = read_byte(data, offset, end, "protocol level")
    if name == b"MQIsdp":
        raise _unsupported(
            "it is of MQTT 3.1 (protocol name MQIsdp); set the client to MQTT 3.1.1 or 5", rule.PROTOCOL_NAME
        )
    if name != b"MQTT":
        raise _unsupported("its protocol name is not MQTT; is this an MQTT client?", rule.PROTOCOL_NAME)
    version = _LEVELS.get(level)
    if version is None:
        raise _unsupported(f"its protocol level is {level}; 4 (MQTT 3.1.1) and 5 are known", rule.PROTOCOL_LEVEL)
    return version, offset


def _unsupported(sentence: str, broken: rule.Rule) -> Violation:
    return Violation(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, sentence, broken)


def _finish(offset: int, end: int) -> None:
    if offset != end:
        raise malformed(f"surplus bytes after its last field: {end - offset}")


def _read_connect(_flags: int, data: bytes, offset: int, end: int, version: Version) -> Connect:
    asked, offset = read_version(data, offset, end)
    rules.check_level(asked, version)  # at once: the other version has other fields from here on
    bits, offset = read_byte(data, offset, end, "connect flags")
    if bits & 0x01:
        raise malformed("the reserved bit of its connect flags is set", rule.CONNECT_FLAGS_RESERVED)
    has_will, will_qos, will_retain = bool(bits & 0x04), bits >> 3 & 0x03, bool(bits & 0x20)
    if not has_will and will_qos:
        raise malformed("it sets a will QoS although it has no will", rule.WILL_QOS_NEEDS_WILL)
    if not has_will and will_retain:
        raise malformed("it sets will retain although it has no will", rule.WILL_RETAIN_NEEDS_WILL)
    if will_qos == 3:
        raise malformed("its will asks for QoS 3; there is 0, 1 and 2", rule.WILL_QOS_IS_NOT_3)
    keep_alive, offset = read_uint16(data, offset, end, "keep alive")
    properties, offset = read_properties(data, offset, end, version, PacketType.CONNECT)
    client_id, offset = read_string(data, offset, end, "client id")
    will: Will | None = None
    if has_will:
        will_properties, offset = read_properties(data, offset, end, version, PacketType.WILL)
        topic, offset = read_string(data, offset, end, "will topic")
        payload, offset = read_binary(data, offset, end, "will payload")
        will = Will(topic, payload, will_qos, will_retain, will_properties)
    username: str | None = None
    if bits & 0x80:
        username, offset = read_string(data, offset, end, "user name")
    password: bytes | None = None
    if bits & 0x40:
        password, offset = read_binary(data, offset, end, "password")
    _finish(offset, end)
    packet = Connect(asked, client_id, bool(bits & 0x02), keep_alive, username, password, will, properties)
    rules.check_connect(packet, version)
    return packet


def _read_connack(_flags: int, data: bytes, offset: int, end: int, version: Version) -> ConnAck:
    bits, offset = read_byte(data, offset, end, "acknowledge flags")
    if bits & 0xFE:
        raise malformed("a reserved bit of its acknowledge flags is set", rule.CONNACK_FLAGS_RESERVED)
    reason_code, offset = read_byte(data, offset, end, "reason code")
    properties, offset = read_properties(data, offset, end, version, PacketType.CONNACK)
    _finish(offset, end)
    packet = ConnAck(bool(bits), reason_code, properties)
    rules.check_connack(packet, version)
    return packet


def _read_publish(flags: int, data: bytes, offset: int, end: int, version: Version) -> Publish:
    begin = offset + 2
    if begin < end:
        at = begin + (data[offset] << 8 | data[offset + 1])
        topic = _TOPICS.get(data[begin:at])
        if topic is not None and at + 3 <= end and flags != 0x08 and flags != 0x09:  # DUP with QoS 0
            qos = flags >> 1 & 0x03
            packet_id = (data[at] << 8 | data[at + 1]) if qos else None
            at += 2 if qos else 0
            plain = version is MQTT311 or not data[at]  # no properties
            if plain and packet_id != 0 and qos != 3:
                at += version is MQTT5
                retain, duplicate = bool(flags & 0x01), bool(flags & 0x08)
                return Publish(topic, data[at:end], qos, retain, duplicate, packet_id, NO_PROPERTIES)
    return _read_any_publish(flags, data, offset, end, version)


def _read_any_publish(flags: int, data: bytes, offset: int, end: int, version: Version) -> Publish:
    qos = flags >> 1 & 0x03
    if qos == 3:  # before the packet id, whose presence hangs on it
        raise malformed("both bits of its QoS are set; there is 0, 1 and 2", rule.QOS_IS_NOT_3)
    topic, offset = read_string(data, offset, end, "topic name")
    packet_id: int | None = None
    if qos:
        packet_id, offset = read_uint16(data, offset, end, "packet id")
    properties = NO_PROPERTIES
    if version is MQTT5:
        properties, offset = read_properties(data, offset, end, version, PacketType.PUBLISH)
    packet = Publish(topic, data[offset:end], qos, bool(flags & 0x01), bool(flags & 0x08), packet_id, properties)
    rules.check_publish(packet, version)
    if topic:
        _TOPICS.keep(topic.encode(), topic)
    return packet


def _acknowledgement_reader(
    make: type[PubAck | PubRec | PubRel | PubComp], packet_type: PacketType
) -> Callable[[int, bytes, int, int, Version], PubAck | PubRec | PubRel | PubComp]:
    def read(_flags: int, data: bytes, offset: int, end: int, version: Version) -> PubAck | PubRec | PubRel | PubComp:
        if end - offset == 2 and (data[offset] or data[offset + 1]):
            return make(data[offset] << 8 | data[offset + 1], 0, NO_PROPERTIES)
        packet_id, offset = read_uint16(data, offset, end, "packet id")
        reason_code, properties = 0, NO_PROPERTIES
        if offset != end and version is MQTT5:  # section 3.4.2.1: success may be left out, and so may no properties
            reason_code, offset = read_byte(data, offset, end, "reason code")
            if offset != end:
                properties, offset = read_properties(data, offset, end, version, packet_type)
        _finish(offset, end)
        packet = make(packet_id, reason_code, properties)
        rules.check_acknowledgement(packet, packet_type, version)
        return packet

    return read


def _read_subscribe(_flags: int, data: bytes, offset: int, end: int, version: Version) -> Subscribe:
    packet_id, offset = read_uint16(data, offset, end, "packet id")
    properties, offset = read_properties(data, offset, end, version, PacketType.SUBSCRIBE)
    reserved = 0xC0 if version is MQTT5 else 0xFC
    requests: list[SubscribeRequest] = []
    while offset < end:
        _check_room(requests)
        topic_filter, offset = read_string(data, offset, end, "topic filter")
        options, offset = read_byte(data, offset, end, "subscription options")
        if options & reserved:
            raise malformed("a reserved bit of its subscription options is set", rule.SUBSCRIPTION_OPTIONS)
        requests.append(
            SubscribeRequest(
                topic_filter, options & 0x03, bool(options & 0x04), bool(options & 0x08), options >> 4 & 0x03
            )
        )
    packet = Subscribe(packet_id, tuple(requests), properties)
    rules.check_subscribe(packet, version)
    return packet


def _check_room(topic_filters: Sized) -> None:
    if len(topic_filters) >= MAX_TOPIC_FILTERS:
        sentence = f"it has more than {MAX_TOPIC_FILTERS:,} topic filters, which is all that this endpoint reads of one"
        raise Violation(ReasonCode.PACKET_TOO_LARGE, sentence)


def _read_suback(_flags: int, data: bytes, offset: int, end: int, version: Version) -> SubAck:
    packet_id, offset = read_uint16(data, offset, end, "packet id")
    properties, offset = read_properties(data, offset, end, version, PacketType.SUBACK)
    packet = SubAck(packet_id, tuple(data[offset:end]), properties)
    rules.check_suback(packet, version)
    return packet


def _read_unsubscribe(_flags: int, data: bytes, offset: int, end: int, version: Version) -> Unsubscribe:
    packet_id, offset = read_uint16(data, offset, end, "packet id")
    properties, offset = read_properties(data, offset, end, version, PacketType.UNSUBSCRIBE)
    topic_filters: list[str] = []
    while offset < end:
        _check_room(topic_filters)
        topic_filter, offset = read_string(data, offset, end, "topic filter")
        topic_filters.append(topic_filter)
    packet = Unsubscribe(packet_id, tuple(topic_filters), properties)
    rules.check_unsubscribe(packet, version)
    return packet


def _read_unsuback(_flags: int, data: bytes, offset: int, end: int, version: Version) -> UnsubAck:
    packet_id, offset = read_uint16(data, offset, end, "packet id")
    properties, offset = read_properties(data, offset, end, version, PacketType.UNSUBACK)
    packet = UnsubAck(packet_id, tuple(data[offset:end]), properties)
    rules.check_unsuback(packet, version)
    return packet


def _read_pingreq(_flags: int, _data: bytes, offset: int, end: int, _version: Version) -> PingReq:
    _finish(offset, end)
    return PingReq()


def _read_pingresp(_flags: int, _data: bytes, offset: int, end: int, _version: Version) -> PingResp:
    _finish(offset, end)
    return PingResp()


def _read_disconnect(_flags: int, data: bytes, offset: int, end: int, version: Version) -> Disconnect:
    reason_code, properties = 0, NO_PROPERTIES
    if offset != end and version is MQTT5:  # section 3.14.2.1: success may be left out, and so may no properties
        reason_code, offset = read_byte(data, offset, end, "reason code")
        if offset != end:
            properties, offset = read_properties(data, offset, end, version, PacketType.DISCONNECT)
    _finish(offset, end)
    packet = Disconnect(reason_code, properties)
    rules.check_disconnect(packet, version)
    return packet


def _read_auth(_flags: int, data: bytes, offset: int, end: int, version: Version) -> Auth:
    reason_code, properties = 0, NO_PROPERTIES
    if offset != end:  # section 3.15.2.1: success without properties is empty, and there is no form of one byte
        reason_code, offset = read_byte(data, offset, end, "reason code")
        properties, offset = read_properties(data, offset, end, version, PacketType.AUTH)
    _finish(offset, end)
    packet = Auth(reason_code, properties)
    rules.check_auth(packet, version)
    return packet


READERS: Final[dict[int, Reader]] = {
    PacketType.CONNECT: _read_connect,
    PacketType.CONNACK: _read_connack,
    PacketType.PUBLISH: _read_publish,
    PacketType.PUBACK: _acknowledgement_reader(PubAck, PacketType.PUBACK),
    PacketType.PUBREC: _acknowledgement_reader(PubRec, PacketType.PUBREC),
    PacketType.PUBREL: _acknowledgement_reader(PubRel, PacketType.PUBREL),
    PacketType.PUBCOMP: _acknowledgement_reader(PubComp, PacketType.PUBCOMP),
    PacketType.SUBSCRIBE: _read_subscribe,
    PacketType.SUBACK: _read_suback,
    PacketType.UNSUBSCRIBE: _read_unsubscribe,
    PacketType.UNSUBACK: _read_unsuback,
    PacketType.PINGREQ: _read_pingreq,
    PacketType.PINGRESP: _read_pingresp,
    PacketType.DISCONNECT: _read_disconnect,
    PacketType.AUTH: _read_auth,
}

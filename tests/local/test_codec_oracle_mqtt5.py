"""The MQTT 5 side against `mqtt5` (PyPI, in Rust), a codec that shares no line with ours, in both directions.

The oracle has a field for each property and leaves out those that have their default, so what it writes is compared
with our packet without such properties. Where it is laxer than the specification, a test at the end says so.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

import mqtt5
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mutated, packets
from test_codec_strict import CASES, Case

from iot_customauth_client.local.codec import (
    Auth,
    CodecError,
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    Property,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Version,
    Will,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {
    Property.PAYLOAD_FORMAT_INDICATOR: "payload_format_indicator",
    Property.MESSAGE_EXPIRY_INTERVAL: "message_expiry_interval",
    Property.CONTENT_TYPE: "content_type",
    Property.RESPONSE_TOPIC: "response_topic",
    Property.CORRELATION_DATA: "correlation_data",
    Property.SESSION_EXPIRY_INTERVAL: "session_expiry_interval",
    Property.ASSIGNED_CLIENT_IDENTIFIER: "assigned_client_id",
    Property.SERVER_KEEP_ALIVE: "server_keep_alive",
    Property.AUTHENTICATION_METHOD: "authentication_method",
    Property.AUTHENTICATION_DATA: "authentication_data",
    Property.REQUEST_PROBLEM_INFORMATION: "request_problem_info",
    Property.WILL_DELAY_INTERVAL: "will_delay_interval",
    Property.REQUEST_RESPONSE_INFORMATION: "request_response_info",
    Property.RESPONSE_INFORMATION: "response_info",
    Property.SERVER_REFERENCE: "server_reference",
    Property.REASON_STRING: "reason_str",
    Property.RECEIVE_MAXIMUM: "receive_max",
    Property.TOPIC_ALIAS_MAXIMUM: "topic_alias_max",
    Property.TOPIC_ALIAS: "topic_alias",
    Property.MAXIMUM_QOS: "max_qos",
    Property.RETAIN_AVAILABLE: "retain_available",
    Property.MAXIMUM_PACKET_SIZE: "max_packet_size",
    Property.WILDCARD_SUBSCRIPTION_AVAILABLE: "wildcard_subscription_available",
    Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: "subscription_id_available",
    Property.SHARED_SUBSCRIPTION_AVAILABLE: "shared_subscription_available",
}

FLAGS = {
    Property.REQUEST_PROBLEM_INFORMATION,
    Property.REQUEST_RESPONSE_INFORMATION,
    Property.RETAIN_AVAILABLE,
    Property.WILDCARD_SUBSCRIPTION_AVAILABLE,
    Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    Property.SHARED_SUBSCRIPTION_AVAILABLE,
}

ACKNOWLEDGEMENTS: dict[type[Packet], tuple[Any, Any]] = {
    PubAck: (mqtt5.PubAckPacket, mqtt5.PubAckReasonCode),
    PubRec: (mqtt5.PubRecPacket, mqtt5.PubRecReasonCode),
    PubRel: (mqtt5.PubRelPacket, mqtt5.PubRelReasonCode),
    PubComp: (mqtt5.PubCompPacket, mqtt5.PubCompReasonCode),
}


def arguments(properties: Properties) -> dict[str, Any]:
    """Our properties as the oracle's keyword arguments."""
    given_: dict[str, Any] = {}
    for key, value in properties.items():
        if key is Property.USER_PROPERTY:
            given_["user_properties"] = list(value)  # type: ignore[arg-type]
        elif key is Property.SUBSCRIPTION_IDENTIFIER:
            given_["subscription_ids"] = list(value) if isinstance(value, tuple) else [value]
        elif key is Property.MAXIMUM_QOS:
            given_["max_qos"] = mqtt5.QoS(cast("int", value))
        else:
            given_[NAMES[key]] = bool(value) if key in FLAGS else value
    return given_


def oracle_will(will: Will) -> mqtt5.Will:
    return mqtt5.Will(
        will.topic, payload=will.payload, qos=mqtt5.QoS(will.qos), retain=will.retain, **arguments(will.properties)
    )


def oracle_packet(packet: Packet) -> mqtt5.Packet:
    """The same packet in the oracle's classes."""
    match packet:
        case Connect():
            return mqtt5.ConnectPacket(
                packet.client_id,
                username=packet.username,
                password=packet.password,
                clean_start=packet.clean_start,
                will=oracle_will(packet.will) if packet.will else None,
                keep_alive=packet.keep_alive_seconds,
                **arguments(packet.properties),
            )
        case ConnAck():
            return mqtt5.ConnAckPacket(
                session_present=packet.session_present,
                reason_code=mqtt5.ConnAckReasonCode(packet.reason_code),
                **arguments(packet.properties),
            )
        case Publish():
            return mqtt5.PublishPacket(
                packet.topic,
                packet.payload,
                qos=mqtt5.QoS(packet.qos),
                retain=packet.retain,
                packet_id=packet.packet_id,
                duplicate=packet.duplicate,
                **arguments(packet.properties),
            )
        case PubAck() | PubRec() | PubRel() | PubComp():
            make, code = ACKNOWLEDGEMENTS[type(packet)]
            acknowledged: mqtt5.Packet = make(
                packet.packet_id, reason_code=code(packet.reason_code), **arguments(packet.properties)
            )
            return acknowledged
        case Subscribe():
            given_ = arguments(packet.properties)
            identifiers = given_.pop("subscription_ids", [None])
            filters = [
                mqtt5.TopicFilter(
                    request.topic_filter,
                    max_qos=mqtt5.QoS(request.qos),
                    no_local=request.no_local,
                    retain_as_published=request.retain_as_published,
                    retain_handling=mqtt5.RetainHandling(request.retain_handling),
                )
                for request in packet.requests
            ]
            return mqtt5.SubscribePacket(packet.packet_id, filters, subscription_id=identifiers[0], **given_)
        case SubAck():
            granted = [mqtt5.SubAckReasonCode(code) for code in packet.reason_codes]
            return mqtt5.SubAckPacket(packet.packet_id, granted, **arguments(packet.properties))
        case Unsubscribe():
            return mqtt5.UnsubscribePacket(packet.packet_id, list(packet.topic_filters), **arguments(packet.properties))
        case UnsubAck():
            ended = [mqtt5.UnsubAckReasonCode(code) for code in packet.reason_codes]
            return mqtt5.UnsubAckPacket(packet.packet_id, ended, **arguments(packet.properties))
        case PingReq():
            return mqtt5.PingReqPacket()
        case PingResp():
            return mqtt5.PingRespPacket()
        case Disconnect():
            return mqtt5.DisconnectPacket(
                reason_code=mqtt5.DisconnectReasonCode(packet.reason_code), **arguments(packet.properties)
            )
        case Auth():
            return mqtt5.AuthPacket(
                reason_code=mqtt5.AuthReasonCode(packet.reason_code), **arguments(packet.properties)
            )


def defaults(oracle: object) -> Mapping[str, object]:
    """What the oracle takes for a property that is not there."""
    shared: dict[str, object] = {"receive_max": 65_535, "topic_alias_max": 0, "payload_format_indicator": 0}
    match oracle:
        case mqtt5.ConnectPacket():
            own: dict[str, object] = {
                "session_expiry_interval": 0,
                "request_problem_info": True,
                "request_response_info": False,
            }
        case mqtt5.ConnAckPacket():
            available = ("retain", "wildcard_subscription", "subscription_id", "shared_subscription")
            own = {f"{name}_available": True for name in available}
        case mqtt5.Will():
            own = {"will_delay_interval": 0}
        case _:
            own = {}
    return {**shared, **own}


def without_defaults(properties: Properties, oracle: object) -> Properties:
    """Our properties less those that the oracle does not write since their value says nothing."""
    silent = defaults(oracle)
    return {
        key: value
        for key, value in properties.items()
        if not (NAMES.get(key) in silent and silent[NAMES[key]] == value)
    }


@settings(max_examples=examples(600))
@given(packet=packets(Version.MQTT5).filter(lambda packet: packet != Auth()))
def test_the_oracle_reads_what_we_write(packet: Packet) -> None:
    data = encode(packet, Version.MQTT5)
    assert mqtt5.read(memoryview(data)) == (oracle_packet(packet), len(data))


@settings(max_examples=examples(600))
@given(packet=packets(Version.MQTT5))
def test_we_read_what_the_oracle_writes(packet: Packet) -> None:
    oracle = oracle_packet(packet)
    (received,) = Decoder(version=Version.MQTT5).feed(oracle.write())
    if isinstance(packet, PingReq | PingResp):
        assert received == packet
        return
    assert not isinstance(received, PingReq | PingResp)
    assert dict(received.properties) == without_defaults(packet.properties, oracle)
    fields = [name for name in packet.__slots__ if name not in {"properties", "will"}]
    assert [getattr(received, name) for name in fields] == [getattr(packet, name) for name in fields]
    if isinstance(packet, Connect) and packet.will is not None:
        assert isinstance(received, Connect)
        assert isinstance(oracle, mqtt5.ConnectPacket)
        ours, theirs = packet.will, received.will
        assert theirs == Will(
            ours.topic, ours.payload, ours.qos, ours.retain, without_defaults(ours.properties, oracle.will)
        )


@settings(max_examples=examples(600))
@given(packet=packets(Version.MQTT5), seed=st.integers(0, 2**32))
def test_what_we_accept_of_a_damaged_packet_the_oracle_reads_alike(packet: Packet, seed: int) -> None:
    """We are stricter, so what is left must mean the same to both."""
    data = mutated(encode(packet, Version.MQTT5), random.Random(seed))
    try:
        received = Decoder(version=Version.MQTT5).feed(data)
    except CodecError as error:
        received = list(error.before)
    for each in received:
        if each == Auth() or any(map(has_misplaced_wildcard, filters_of(each))):
            return  # the first it cannot read, the second its classes cannot hold; ours leave filters to the broker
        oracle, used = mqtt5.read(memoryview(data))
        assert oracle == oracle_packet(each)
        data = data[used:]


def filters_of(packet: Packet) -> list[str]:
    match packet:
        case Subscribe():
            return [request.topic_filter for request in packet.requests]
        case Unsubscribe():
            return list(packet.topic_filters)
        case _:
            return []


def has_misplaced_wildcard(topic_filter: str) -> bool:
    levels = topic_filter.split("/")
    inside = any(len(level) > 1 and ("+" in level or "#" in level) for level in levels)
    return inside or "#" in levels[:-1]


def test_the_oracle_does_not_know_the_auth_of_no_byte() -> None:
    """Section 3.15.2.1: reason code and property length may be left out when it is success without properties."""
    assert Decoder(version=Version.MQTT5).feed(b"\xf0\x00") == [Auth()]
    with pytest.raises(ValueError, match="Missing property length"):
        mqtt5.read(memoryview(b"\xf0\x00"))


# The oracle panics on text that is not UTF-8 (its own error, not a refusal), so it is not asked about that.
PANICS = {"topic name is not well-formed UTF-8", "content type is not well-formed UTF-8"}

# What the specification forbids and the oracle, mqtt5 0.8.0, reads all the same.
LAXER = {
    "topic name contains the character U+0000",
    "user property contains the character U+0000",
    "will QoS although it has no will",
    "will retain although it has no will",
    "will topic contains a wildcard",
    "will topic is empty",
    "authentication data but no authentication method",
    "response topic contains a wildcard",
    "response topic is empty",
    "refuses the connection and yet reports a session",
    "maximum qos is 2",
    "duplicate although its QoS is 0",
    "packet id is 0",
    "topic name contains a wildcard",
    "payload format indicator is 2",
    "it ends before its topic alias does",  # its reader of properties goes on into the payload
    "it ends before its content type does",
    "it ends before its message expiry interval does",
    "it ends before its payload format indicator does",
    "PUBACK: its packet id is 0",
    "SUBSCRIBE: its packet id is 0",
    "SUBSCRIBE: it has no topic filter",
    "reserved bit of its subscription options",
    "no local on a shared",
    "UNSUBSCRIBE: it has no topic filter",
    "one of its topic filters is empty",
    "SUBACK: it has no reason code",
    "UNSUBACK: it has no reason code",
    "AUTH: it has no authentication method",
}


def is_one_packet_of_mqtt5(case: Case) -> bool:
    """Whether the case says by itself what is wrong, without what came before it or who sent it."""
    mqtt5_connect = case.version is None and case.data[:1] == b"\x10" and case.data[8:9] == b"\x05"
    return (case.version is Version.MQTT5 or mqtt5_connect) and len(case.data) == 2 + case.data[1]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if is_one_packet_of_mqtt5(case) and case.gist not in PANICS],
    ids=lambda case: case.gist,
)
def test_the_oracle_refuses_what_we_refuse_unless_it_is_known_to_be_laxer(case: Case) -> None:
    try:
        mqtt5.read(memoryview(case.data))
    except (ValueError, IndexError):
        accepted = False
    else:
        accepted = True
    assert accepted == (case.gist in LAXER)

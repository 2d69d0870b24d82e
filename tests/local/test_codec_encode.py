"""What is written: the shortest forms, what is refused, and that nothing shows a credential."""

from __future__ import annotations

import pytest

from iot_customauth_client.local.codec import (
    Auth,
    ConnAck,
    Connect,
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
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
    Will,
    encode,
)

V3, V5 = Version.MQTT311, Version.MQTT5
LONG = "x" * 65_536
REASON: Properties = {Property.REASON_STRING: "why"}


@pytest.mark.parametrize(
    ("packet", "version", "expected"),
    [
        (PubAck(1), V5, b"\x40\x02\0\1"),
        (PubAck(1, 0x87), V5, b"\x40\x03\0\1\x87"),
        (PubAck(1, 0x87, REASON), V5, b"\x40\x0a\0\1\x87\x06\x1f\0\3why"),
        (PubAck(1, 0, REASON), V5, b"\x40\x0a\0\1\0\x06\x1f\0\3why"),
        (PubRec(1), V3, b"\x50\x02\0\1"),
        (PubRel(1), V3, b"\x62\x02\0\1"),
        (PubComp(1), V3, b"\x70\x02\0\1"),
        (Disconnect(), V3, b"\xe0\x00"),
        (Disconnect(), V5, b"\xe0\x00"),
        (Disconnect(0x8E), V5, b"\xe0\x01\x8e"),
        (Auth(), V5, b"\xf0\x00"),
        (PingReq(), V5, b"\xc0\x00"),
        (PingResp(), V3, b"\xd0\x00"),
        (UnsubAck(1), V3, b"\xb0\x02\0\1"),
        (UnsubAck(1, (0, 0x11)), V5, b"\xb0\x05\0\1\0\0\x11"),
        (ConnAck(False, 0), V3, b"\x20\x02\0\0"),
        (ConnAck(True, 0), V5, b"\x20\x03\1\0\0"),
        (Publish("a", b"b", 1, True, True, 258), V3, b"\x3b\x06\0\1a\1\2b"),
        (Connect(V3, "c", True, 6, "u", b"p"), V3, b"\x10\x13\0\4MQTT\4\xc2\0\6\0\1c\0\1u\0\1p"),
        (Connect(V5, "c", False, 0, will=Will("t", b"", 1, True)), V5, b"\x10\x14\0\4MQTT\5\x2c\0\0\0\0\1c\0\0\1t\0\0"),
        (Subscribe(1, (SubscribeRequest("a", 1),)), V3, b"\x82\x06\0\1\0\1a\1"),
        (Subscribe(1, (SubscribeRequest("a", 1, True, True, 2),)), V5, b"\x82\x07\0\1\0\0\1a\x2d"),
    ],
)
def test_the_shortest_form_is_written(packet: Packet, version: Version, expected: bytes) -> None:
    assert encode(packet, version) == expected


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_152, b"\x80\x80\x80\x01"),
    ],
)
def test_the_remaining_length_has_as_many_bytes_as_it_needs(length: int, header: bytes) -> None:
    data = encode(Publish("a", bytes(length - 3)), V3)
    assert data[1 : 1 + len(header)] == header
    assert len(data) == 1 + len(header) + length


@pytest.mark.parametrize(
    ("gist", "version", "packet"),
    [
        ("MQTT 3.1.1 does not know", V3, Publish("a", b"", properties={Property.TOPIC_ALIAS: 1})),
        ("MQTT 3.1.1 does not know", V3, PubAck(1, 0, REASON)),
        ("MQTT 3.1.1 does not know", V3, PubAck(1, 0x87)),
        ("MQTT 3.1.1 does not know", V3, Disconnect(0x8E)),
        ("MQTT 3.1.1 does not know", V3, UnsubAck(1, (0,))),
        ("MQTT 3.1.1 does not know", V3, ConnAck(False, 0, REASON)),
        (
            "MQTT 3.1.1 does not know",
            V3,
            Connect(V3, "c", will=Will("t", b"", properties={Property.CONTENT_TYPE: "a"})),
        ),
        ("MQTT 3.1.1 has no such packet", V3, Auth()),
        ("MQTT 3.1.1 reserves", V3, Subscribe(1, (SubscribeRequest("a", 1, no_local=True),))),
        ("return code 135", V3, ConnAck(False, 0x87)),
        ("return code 135", V3, SubAck(1, (0x87,))),
        ("protocol level 5 on a connection of level 4", V3, Connect(V5, "c")),
        ("password but no user name", V3, Connect(V3, "c", password=b"p")),
        ("client id is empty", V3, Connect(V3, "", clean_start=False)),
        ("keep alive of 65536 seconds", V5, Connect(V5, "c", keep_alive_seconds=65_536)),
        ("client id has 65536 bytes", V5, Connect(V5, LONG)),
        ("user name has 65536 bytes", V5, Connect(V5, "c", username=LONG)),
        ("password has 65536 bytes", V5, Connect(V5, "c", username="", password=LONG.encode())),
        ("will payload has 65536 bytes", V5, Connect(V5, "c", will=Will("t", LONG.encode()))),
        ("will asks for QoS 3", V5, Connect(V5, "c", will=Will("t", b"", 3))),
        ("topic name has 65536 bytes", V5, Publish(LONG, b"")),
        ("topic name has 70000 bytes", V5, Publish("é" * 35_000, b"")),
        ("topic name contains a surrogate", V5, Publish("\ud800", b"")),
        ("topic name contains the character U+0000", V5, Publish("a\0", b"")),
        ("topic name contains a wildcard", V5, Publish("a/#", b"")),
        ("topic name is empty", V5, Publish("", b"")),
        ("more than a variable byte integer holds", V5, Publish("a", bytes(268_435_452))),
        ("has no packet id", V5, Publish("a", b"", 1)),
        ("packet id is 0", V5, Publish("a", b"", 1, packet_id=0)),
        ("packet id is 65536", V5, PubAck(65_536)),
        ("a packet id although its QoS is 0", V5, Publish("a", b"", packet_id=1)),
        ("duplicate although its QoS is 0", V5, Publish("a", b"", duplicate=True)),
        ("asks for QoS 3", V5, Publish("a", b"", 3, packet_id=1)),
        ("asks for QoS 3", V5, Subscribe(1, (SubscribeRequest("a", 3),))),
        ("retain handling 3", V5, Subscribe(1, (SubscribeRequest("a", 0, retain_handling=3),))),
        ("no topic filter", V5, Subscribe(1, ())),
        ("no topic filter", V5, Unsubscribe(1, ())),
        ("no reason code", V5, SubAck(1, ())),
        ("no reason code", V5, UnsubAck(1)),
        ("reason code 300", V5, PubAck(1, 300)),
        ("reports a session", V5, ConnAck(True, 0x87)),
        ("topic alias is 65536", V5, Publish("a", b"", properties={Property.TOPIC_ALIAS: 65_536})),
        ("topic alias is -1", V5, Publish("a", b"", properties={Property.TOPIC_ALIAS: -1})),
        ("wrong type", V5, Publish("a", b"", properties={Property.TOPIC_ALIAS: "1"})),
        ("wrong type", V5, Publish("a", b"", properties={Property.CONTENT_TYPE: 1})),
        ("wrong type", V5, Publish("a", b"", properties={Property.CORRELATION_DATA: "text"})),
        ("wrong type", V5, Publish("a", b"", properties={Property.USER_PROPERTY: ()})),
        ("wrong type", V5, Publish("a", b"", properties={Property.USER_PROPERTY: "a"})),
        ("wrong type", V5, Publish("a", b"", properties={Property.SUBSCRIPTION_IDENTIFIER: ()})),
        (
            "wrong type",
            V5,
            Subscribe(1, (SubscribeRequest("a", 0),), {Property.SUBSCRIPTION_IDENTIFIER: (1, 2)}),
        ),
        ("content type has 65536 bytes", V5, Publish("a", b"", properties={Property.CONTENT_TYPE: LONG})),
        ("reason string may not stand in it", V5, Publish("a", b"", properties=REASON)),
    ],
)
def test_what_cannot_be_expressed_is_refused(gist: str, version: Version, packet: Packet) -> None:
    with pytest.raises(ValueError, match="cannot be sent") as caught:
        encode(packet, version)
    assert gist in str(caught.value)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    "packet",
    [
        Connect(
            V5,
            "client_id",
            username="user01?token=hush",
            password=b"hush",
            properties={Property.AUTHENTICATION_METHOD: "m", Property.AUTHENTICATION_DATA: b"hush"},
        ),
        Auth(0x18, {Property.AUTHENTICATION_METHOD: "m", Property.AUTHENTICATION_DATA: b"hush"}),
        ConnAck(False, 0, {Property.AUTHENTICATION_METHOD: "m", Property.AUTHENTICATION_DATA: b"hush"}),
    ],
)
def test_no_credential_is_shown(packet: Packet) -> None:
    for shown in (repr(packet), str(packet), f"{packet}", repr([packet])):
        assert "hush" not in shown
        assert "user01" not in shown
        assert "<4 bytes>" in shown


def test_what_is_no_credential_is_shown() -> None:
    shown = repr(Connect(V3, "client_id", keep_alive_seconds=6, username="user01"))
    assert "client_id='client_id'" in shown
    assert "keep_alive_seconds=6" in shown
    assert "password=None" in shown
    assert "username=<6 characters>" in shown

"""CONNECT and CONNACK: what a first packet may look like, and what it is answered."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, raw, raw_connect, text

from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    PingReq,
    Property,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    Will,
    encode,
)

WILL = Will("will", b"gone")


def payload(version: Version, *fields: str, will: bool = False) -> bytes:
    """The fields of a CONNECT's payload; the properties of a will come before its topic."""
    written = [text(each) for each in fields]
    if will and version is V5:
        written.insert(1, b"\0")
    return b"".join(written)


@pytest.mark.mqtt5("3.1.4-5", "3.2.0-1", "3.2.0-2", "3.2.2-1")
@pytest.mark.mqtt311("3.1.4-4", "3.2.0-1")
@EITHER
def test_a_connect_is_answered_with_one_connack_before_anything_else(bench: Bench, version: Version) -> None:
    topic, client_id = bench.name(), bench.name("c")
    peer = bench.peer(version)
    connect = Connect(version, client_id, keep_alive_seconds=60)
    peer.send(connect, Subscribe(1, (SubscribeRequest(topic, 1),)), Publish(topic, b"x", 1, packet_id=2), PingReq())
    kinds = [type(peer.receive()).__name__ for _ in range(5)]
    assert kinds[:2] == ["ConnAck", "SubAck"]
    assert sorted(kinds[2:]) == ["PingResp", "PubAck", "Publish"]


@pytest.mark.mqtt5("3.1.0-1", "3.14.0-1")
@pytest.mark.mqtt311("3.1.0-1")
@EITHER
@pytest.mark.parametrize(
    "first",
    [b"\xc0\0", b"\xe0\0", b"\x30\4\0\1ax", b"\x82\6\0\1\0\1a\0", b"\xf0\0", b"\0\0"],
    ids=["pingreq", "disconnect", "publish", "subscribe", "auth", "type-0"],
)
def test_another_first_packet_is_hung_up_on_without_a_word(bench: Bench, version: Version, first: bytes) -> None:
    peer = bench.peer(version)
    peer.send_bytes(first)
    assert peer.receive() is None


@pytest.mark.mqtt5("3.1.0-2", "4.13.1-1", "4.13.2-1")
@pytest.mark.mqtt311("3.1.0-2", "4.8.0-1")
@EITHER
def test_a_second_connect_ends_the_connection(bench: Bench, version: Version) -> None:
    client = bench.client(version)
    client.send(Connect(version, client.client_id, keep_alive_seconds=60))
    assert client.end() == (130 if version is V5 else None)


@pytest.mark.mqtt5("3.1.2-1")
@pytest.mark.mqtt311("3.1.2-1")
@EITHER
@pytest.mark.parametrize("name", ["mqtt", "MQTTX", "MQIsdp", "", "HTTP"])
def test_another_protocol_name_is_hung_up_on(bench: Bench, version: Version, name: str) -> None:
    peer = bench.peer(version)
    peer.send_bytes(raw_connect(version, name=name, rest=text(bench.name("c"))))
    assert peer.receive() is None


@pytest.mark.mqtt5("3.1.2-2")
@pytest.mark.aws("no-connack-for-another-level")
@EITHER
@pytest.mark.parametrize("level", [0, 3, 6, 0x84, 0x85, 255])
def test_another_protocol_level_is_hung_up_on(bench: Bench, version: Version, level: int) -> None:
    peer = bench.peer(version)
    peer.send_bytes(raw_connect(version, level=level, rest=text(bench.name("c"))))
    assert peer.receive() is None


FLAGS = [
    pytest.param(0b0000_0011, ("c",), id="reserved-bit"),
    pytest.param(0b0000_1010, ("c",), id="will-qos-without-a-will"),
    pytest.param(0b0010_0010, ("c",), id="will-retain-without-a-will"),
    pytest.param(0b0001_1110, ("c", "topic", "payload"), id="will-qos-3"),
    pytest.param(0b0000_0110, ("c",), id="will-without-its-fields"),
    pytest.param(0b0000_0010, ("c", "topic", "payload"), id="fields-of-a-will-without-the-flag"),
    pytest.param(0b1000_0010, ("c",), id="user-name-missing"),
    pytest.param(0b0000_0010, ("c", "user"), id="user-name-without-the-flag"),
    pytest.param(0b1100_0010, ("c", "user"), id="password-missing"),
    pytest.param(0b1000_0010, ("c", "user", "password"), id="password-without-the-flag"),
    pytest.param(0b0000_0010, (), id="client-id-missing"),
]


@pytest.mark.mqtt5(
    *("3.1.2-3", "3.1.2-9", "3.1.2-11", "3.1.2-12", "3.1.2-13", "3.1.2-16", "3.1.2-17", "3.1.2-18", "3.1.2-19"),
    *("3.1.3-3", "3.1.4-1"),
)
@pytest.mark.mqtt311(
    *("3.1.2-3", "3.1.2-9", "3.1.2-11", "3.1.2-13", "3.1.2-14", "3.1.2-15", "3.1.2-18", "3.1.2-19", "3.1.2-20"),
    *("3.1.2-21", "3.1.3-3", "3.1.4-1"),
)
@EITHER
@pytest.mark.parametrize(("flags", "fields"), FLAGS)
def test_flags_that_do_not_fit_the_payload_are_hung_up_on_without_a_connack(
    bench: Bench, version: Version, flags: int, fields: tuple[str, ...]
) -> None:
    peer = bench.peer(version)
    peer.send_bytes(raw_connect(version, flags=flags, rest=payload(version, *fields, will=bool(flags & 4))))
    assert peer.receive() is None


@pytest.mark.mqtt5("3.1.3-1")
@pytest.mark.mqtt311("3.1.3-1")
@EITHER
def test_the_fields_of_the_payload_come_in_their_order(bench: Bench, version: Version) -> None:
    client_id, topic = bench.name("c"), bench.name()
    watcher = bench.client()
    watcher.subscribe(topic)
    peer = bench.peer(version)
    fields = payload(version, client_id, topic, "the will", "the user", "the password", will=True)
    peer.send_bytes(raw_connect(version, flags=0b1100_0110, rest=fields))
    assert isinstance(peer.receive(), ConnAck)
    assert bench.endpoint.wait_for("connected", client_id=client_id, timeout=0)
    peer.client_id = client_id
    peer.vanish()
    assert watcher.message().payload == b"the will"


@pytest.mark.mqtt311("3.1.2-22")
def test_a_password_needs_a_user_name_in_311_and_not_in_5(bench: Bench) -> None:
    old, new = bench.peer(V311), bench.peer(V5)
    old.send_bytes(raw_connect(V311, flags=0b0100_0010, rest=payload(V311, bench.name("c"), "password")))
    assert old.receive() is None
    new.send_bytes(raw_connect(V5, flags=0b0100_0010, rest=payload(V5, bench.name("c"), "password")))
    assert isinstance(new.receive(), ConnAck)


@pytest.mark.mqtt5("3.1.4-1")
@pytest.mark.parametrize(
    "properties",
    [
        b"\x21\0\0",  # receive maximum 0
        b"\x27\0\0\0\0",  # maximum packet size 0
        b"\x17\2",  # request problem information 2
        b"\x19\2",  # request response information 2
        b"\x11\0\0\0\1\x11\0\0\0\1",  # session expiry twice
        b"\x16\0\1x",  # authentication data without a method
        b"\x24\1",  # maximum QoS, which a server says
        b"\x7f\0",  # no such property
        b"\x26\0\1a",  # half a pair
    ],
)
def test_a_connect_with_a_wrong_property_is_hung_up_on(bench: Bench, properties: bytes) -> None:
    peer = bench.peer(V5)
    body = text("MQTT") + b"\5\2\0\x3c" + bytes((len(properties),)) + properties + text(bench.name("c"))
    peer.send_bytes(raw(0x10, body))
    assert peer.receive() is None


@pytest.mark.mqtt5("3.1.4-2", "3.2.2-7", "3.2.2-8", "3.2.2-6", "4.13.2-1")
def test_a_refused_connect_of_5_is_answered_with_a_code_and_hung_up_on(bench: Bench) -> None:
    peer = bench.peer(V5)
    answer = peer.connect(bench.name("no-connect"))
    assert isinstance(answer, ConnAck)
    assert (answer.reason_code, answer.session_present) == (135, False)
    assert peer.receive() is None


@pytest.mark.mqtt311("3.2.2-6")
@pytest.mark.aws("no-connack-311")
def test_a_refused_connect_of_311_is_hung_up_on_without_a_connack(bench: Bench) -> None:
    assert bench.peer(V311).connect(bench.name("no-connect")) is None


@pytest.mark.mqtt5("3.1.4-6")
@pytest.mark.mqtt311("3.1.4-5")
@EITHER
def test_what_follows_a_refused_connect_is_not_processed(bench: Bench, version: Version) -> None:
    topic = bench.name()
    peer = bench.peer(version)
    refused = Connect(version, bench.name("no-connect"), keep_alive_seconds=60)
    peer.send_bytes(b"".join(encode(each, version) for each in (refused, Publish(topic, b"x", retain=True))))
    while peer.receive() is not None:
        pass
    watcher = bench.client()
    watcher.subscribe(topic)
    assert watcher.messages() == []


@pytest.mark.mqtt5("3.1.2-28", "3.2.2-9", "4.12.0-6")
@pytest.mark.aws("subscription-identifiers", "no-server-redirection")
def test_the_connack_of_5_says_what_the_service_offers(bench: Bench) -> None:
    client = bench.client(properties={Property.REQUEST_RESPONSE_INFORMATION: 1})
    assert client.connack is not None
    said = client.connack.properties
    assert {key: said.get(key) for key in sorted(said)} == {
        Property.SERVER_KEEP_ALIVE: 60,
        Property.RECEIVE_MAXIMUM: 100,
        Property.TOPIC_ALIAS_MAXIMUM: 8,
        Property.MAXIMUM_QOS: 1,
        Property.RETAIN_AVAILABLE: 1,
        Property.MAXIMUM_PACKET_SIZE: 149_504,
        Property.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
        Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
        Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
    }


@pytest.mark.mqtt311("3.2.2-1")
def test_the_connack_of_311_has_two_bytes(bench: Bench) -> None:
    client = bench.client(V311)
    assert client.connack == ConnAck(session_present=False, reason_code=0)


@pytest.mark.mqtt5("4.12.0-1", "4.12.0-4")
def test_an_authentication_method_is_refused(bench: Bench) -> None:
    peer = bench.peer(V5)
    answer = peer.connect(properties={Property.AUTHENTICATION_METHOD: "SCRAM-SHA-1"})
    assert isinstance(answer, ConnAck)
    assert answer.reason_code == 135
    assert Property.AUTHENTICATION_METHOD not in answer.properties
    assert peer.receive() is None


@pytest.mark.mqtt5("4.12.0-7", "3.15.1-1", "3.15.2-1")
@pytest.mark.aws("no-auth")
@pytest.mark.parametrize(
    ("packet", "code"),
    [(b"\xf0\0", 130), (b"\xf0\x08\x19\x06\x15\0\3abc", 130), (b"\xf0\x02\x55\0", 130), (b"\xf1\0", 129)],
    ids=["empty", "re-authenticate", "no-such-code", "reserved-flags"],
)
def test_an_auth_packet_ends_the_connection(bench: Bench, packet: bytes, code: int) -> None:
    client = bench.client(V5)
    client.send_bytes(packet)
    assert client.end() == code

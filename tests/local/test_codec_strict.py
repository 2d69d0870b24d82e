"""Every rule that the decoder enforces, by example: bytes, the sentence's gist, the reason code, the rule's number."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from iot_customauth_client.local.codec import CodecError, Decoder, ReasonCode, Version

MALFORMED = ReasonCode.MALFORMED_PACKET
PROTOCOL = ReasonCode.PROTOCOL_ERROR
ALIAS = ReasonCode.TOPIC_ALIAS_INVALID
UNSUPPORTED = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
V3, V5 = Version.MQTT311, Version.MQTT5


@dataclass(frozen=True)
class Case:
    gist: str
    version: Version | None
    data: bytes
    reason_code: ReasonCode
    rule: str = ""


def packet(first: int, *parts: bytes) -> bytes:
    """A packet with the right remaining length, whatever is in it."""
    body = b"".join(parts)
    assert len(body) < 128
    return bytes((first, len(body))) + body


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def block(*parts: bytes) -> bytes:
    """A block of properties."""
    body = b"".join(parts)
    return bytes((len(body),)) + body


def connect(
    level: int, flags: int = 0x02, *rest: bytes, client_id: str = "c", properties: bytes = b"", name: str = "MQTT"
) -> bytes:
    head = text(name) + bytes((level, flags)) + b"\0\x3c"
    return packet(0x10, head, block(properties) if level == 5 else b"", text(client_id), *rest)


def publish5(*properties: bytes, topic: str = "a", first: int = 0x30) -> bytes:
    return packet(first, text(topic), block(*properties), b"payload")


NONE = b"\0"
ID = b"\0\1"

WIRE = [
    Case("there is no packet of type 0", V5, b"\x00\x00", MALFORMED),
    Case("there is no packet of type 15", V3, b"\xf0\x00", MALFORMED),
    Case("PUBACK: its reserved flag bits are 0001", V5, b"\x41\x02\0\1", MALFORMED, "MQTT-2.1.3-1"),
    Case("PUBACK: its reserved flag bits are 0001", V3, b"\x41\x02\0\1", MALFORMED, "MQTT-2.2.2-2"),
    Case("PUBREL: its reserved flag bits are 0000", V5, b"\x60\x02\0\1", MALFORMED, "MQTT-2.1.3-1"),
    Case(
        "SUBSCRIBE: its reserved flag bits are 0000", V3, packet(0x80, ID, text("a"), b"\0"), MALFORMED, "MQTT-2.2.2-2"
    ),
    Case("UNSUBSCRIBE: its reserved flag bits are 1010", V3, packet(0xAA, ID, text("a")), MALFORMED, "MQTT-2.2.2-2"),
    Case("DISCONNECT: its reserved flag bits are 0001", V5, b"\xe1\x00", MALFORMED, "MQTT-2.1.3-1"),
    Case("CONNECT: its reserved flag bits are 0010", None, b"\x12\x00", MALFORMED, "MQTT-2.2.2-2"),
    Case("remaining length goes on after four bytes", V5, b"\x30\x80\x80\x80\x80\x01", MALFORMED),
    Case("remaining length is written with more bytes than it needs", V5, b"\xc0\x80\x00", MALFORMED, "MQTT-1.5.5-1"),
    Case("remaining length is written with more bytes than it needs", V3, b"\xc0\x80\x00", MALFORMED),
    Case("268435460 bytes and 1048576 are allowed", V5, b"\x30\xff\xff\xff\x7f", ReasonCode.PACKET_TOO_LARGE),
    Case("268435460 bytes and 1048576 are allowed", None, b"\x10\xff\xff\xff\x7f", ReasonCode.PACKET_TOO_LARGE),
    Case("PINGREQ: surplus bytes after its last field: 1", V5, b"\xc0\x01\0", MALFORMED),
    Case("PINGRESP: surplus bytes after its last field: 1", V3, b"\xd0\x01\0", MALFORMED),
    Case("PUBACK: surplus bytes after its last field: 1", V3, b"\x40\x03\0\1\0", MALFORMED),
    Case("PUBACK: surplus bytes after its last field: 1", V5, b"\x40\x05\0\1\0\0\0", MALFORMED),
    Case("UNSUBACK: it has reason codes", V3, packet(0xB0, ID, b"\0"), MALFORMED),
    Case("DISCONNECT: surplus bytes after its last field: 1", V3, b"\xe0\x01\0", MALFORMED),
    Case("CONNACK: surplus bytes after its last field: 1", V3, b"\x20\x03\0\0\0", MALFORMED),
    Case("CONNECT: surplus bytes after its last field: 1", None, connect(4, 0x02, b"x"), MALFORMED),
    Case("PUBACK: it ends before its packet id does", V5, b"\x40\x01\0", MALFORMED),
    Case("PUBLISH: it ends before its topic name does", V5, packet(0x30, b"\0\x05abcd"), MALFORMED),
    Case("PUBLISH: it ends before its topic name does", V3, b"\x30\x01\0", MALFORMED),
    Case("CONNECT: it ends before its client id does", None, packet(0x10, text("MQTT"), b"\4\2\0\0"), MALFORMED),
    Case("CONNECT: it ends before its password does", None, connect(4, 0xC2, text("user")), MALFORMED),
    Case("CONNECT: it ends before its user name does", None, connect(4, 0x82), MALFORMED),
    Case("CONNECT: it ends before its will payload does", None, connect(4, 0x06, text("t")), MALFORMED),
    Case("SUBSCRIBE: it ends before its subscription options does", V3, packet(0x82, ID, text("a")), MALFORMED),
    Case("topic name is not well-formed UTF-8", V5, packet(0x30, text(b"\xff"), NONE), MALFORMED, "MQTT-1.5.4-1"),
    Case("topic name is not well-formed UTF-8", V3, packet(0x30, text(b"\xc0\xaf")), MALFORMED, "MQTT-1.5.3-1"),
    Case("topic name is not well-formed UTF-8", V3, packet(0x30, text(b"\xed\xa0\x80")), MALFORMED, "MQTT-1.5.3-1"),
    Case("topic name contains the character U+0000", V3, packet(0x30, text("a\0b")), MALFORMED, "MQTT-1.5.3-2"),
    Case("topic name contains the character U+0000", V5, publish5(topic="\0"), MALFORMED, "MQTT-1.5.4-2"),
    Case("user name is not well-formed UTF-8", None, connect(4, 0x82, text(b"\xfe")), MALFORMED, "MQTT-1.5.3-1"),
    Case("content type is not well-formed UTF-8", V5, publish5(b"\x03", text(b"\xff")), MALFORMED, "MQTT-1.5.4-1"),
    Case(
        "user property contains the character U+0000",
        V5,
        publish5(b"\x26", text("a"), text("\0")),
        MALFORMED,
        "MQTT-1.5.4-2",
    ),
]

CONNECTS = [
    Case("the first packet is not CONNECT", None, b"\xc0\x00", PROTOCOL, "MQTT-3.1.0-1"),
    Case("the first packet is not CONNECT", None, b"GET / HTTP/1.1\r\n", PROTOCOL, "MQTT-3.1.0-1"),
    Case("the first packet is not CONNECT", None, b"\x00\x00", PROTOCOL, "MQTT-3.1.0-1"),
    Case("came a second time", None, connect(4) + connect(4), PROTOCOL, "MQTT-3.1.0-2"),
    Case("CONNACK: only a server may send it", None, connect(5) + b"\x20\x03\0\0\0", PROTOCOL),
    Case("PINGRESP: only a server may send it", None, connect(4) + b"\xd0\x00", PROTOCOL),
    Case("SUBACK: only a server may send it", None, connect(4) + packet(0x90, ID, b"\0"), PROTOCOL),
    Case("MQTT 3.1 (protocol name MQIsdp)", None, connect(3, name="MQIsdp"), UNSUPPORTED, "MQTT-3.1.2-1"),
    Case("protocol name is not MQTT", None, connect(4, name="MQTt"), UNSUPPORTED, "MQTT-3.1.2-1"),
    Case("protocol name is not MQTT", None, connect(4, name=""), UNSUPPORTED, "MQTT-3.1.2-1"),
    Case("protocol level is 6", None, connect(6), UNSUPPORTED, "MQTT-3.1.2-2"),
    Case("protocol level is 3", None, connect(3), UNSUPPORTED, "MQTT-3.1.2-2"),
    Case("protocol level is 132", None, connect(0x84), UNSUPPORTED, "MQTT-3.1.2-2"),
    Case(
        "protocol level 4 on a connection of level 5",
        V5,
        connect(4),
        UNSUPPORTED,
        "MQTT-3.1.2-2",
    ),
    Case("reserved bit of its connect flags", None, connect(4, 0x03), MALFORMED, "MQTT-3.1.2-3"),
    Case("will QoS although it has no will", None, connect(4, 0x0A), MALFORMED, "MQTT-3.1.2-13"),
    Case("will QoS although it has no will", None, connect(5, 0x0A), MALFORMED, "MQTT-3.1.2-11"),
    Case("will retain although it has no will", None, connect(4, 0x22), MALFORMED, "MQTT-3.1.2-15"),
    Case("will retain although it has no will", None, connect(5, 0x22), MALFORMED, "MQTT-3.1.2-13"),
    Case("will asks for QoS 3", None, connect(4, 0x1E, text("t"), text("")), MALFORMED, "MQTT-3.1.2-14"),
    Case("will asks for QoS 3", None, connect(5, 0x1E, NONE, text("t"), text("")), MALFORMED, "MQTT-3.1.2-12"),
    Case("will topic contains a wildcard", None, connect(4, 0x06, text("a/+"), text("")), PROTOCOL, "MQTT-4.7.1-1"),
    Case("will topic contains a wildcard", None, connect(5, 0x06, NONE, text("#"), text("")), PROTOCOL, "MQTT-4.7.0-1"),
    Case("will topic is empty", None, connect(5, 0x06, NONE, text(""), text("")), PROTOCOL, "MQTT-4.7.3-1"),
    Case("password but no user name", None, connect(4, 0x42, text("p")), PROTOCOL, "MQTT-3.1.2-22"),
    Case(
        "client id is empty", None, connect(4, 0, client_id=""), ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "MQTT-3.1.3-8"
    ),
    Case("receive maximum is 0", None, connect(5, properties=b"\x21\0\0"), PROTOCOL),
    Case("maximum packet size is 0", None, connect(5, properties=b"\x27\0\0\0\0"), PROTOCOL),
    Case("request problem information is 2", None, connect(5, properties=b"\x17\2"), PROTOCOL),
    Case("request response information is 255", None, connect(5, properties=b"\x19\xff"), PROTOCOL),
    Case("authentication data but no authentication method", None, connect(5, properties=b"\x16\0\1x"), PROTOCOL),
    Case("receive maximum twice", None, connect(5, properties=b"\x21\0\1\x21\0\1"), PROTOCOL),
    Case("topic alias may not stand in it", None, connect(5, properties=b"\x23\0\1"), MALFORMED),
    Case("will delay interval may not stand in it", None, connect(5, properties=b"\x18\0\0\0\1"), MALFORMED),
    Case(
        "session expiry interval may not stand in a will",
        None,
        connect(5, 0x06, block(b"\x11\0\0\0\1"), text("t"), text("")),
        MALFORMED,
    ),
    Case(
        "response topic contains a wildcard",
        None,
        connect(5, 0x06, block(b"\x08", text("r/#")), text("t"), text("")),
        PROTOCOL,
        "MQTT-3.3.2-14",
    ),
]

CONNACKS = [
    Case("reserved bit of its acknowledge flags", V5, b"\x20\x03\x02\0\0", MALFORMED, "MQTT-3.2.2-1"),
    Case("reserved bit of its acknowledge flags", V3, b"\x20\x02\x80\0", MALFORMED),
    Case("refuses the connection and yet reports a session", V5, b"\x20\x03\1\x87\0", PROTOCOL, "MQTT-3.2.2-6"),
    Case("refuses the connection and yet reports a session", V3, b"\x20\x02\1\5", PROTOCOL, "MQTT-3.2.2-4"),
    Case("reason code 1 may not stand in it", V5, b"\x20\x03\0\1\0", PROTOCOL, "MQTT-3.2.2-8"),
    Case("return code 6 may not stand in it", V3, b"\x20\x02\0\6", PROTOCOL),
    Case("maximum qos is 2", V5, packet(0x20, b"\0\0", block(b"\x24\2")), PROTOCOL),
    Case("retain available is 2", V5, packet(0x20, b"\0\0", block(b"\x25\2")), PROTOCOL),
]

PUBLISHES = [
    Case("both bits of its QoS are set", V5, publish5(first=0x36), MALFORMED, "MQTT-3.3.1-4"),
    Case("both bits of its QoS are set", V3, packet(0x36, text("a"), ID), MALFORMED, "MQTT-3.3.1-4"),
    Case("duplicate although its QoS is 0", V5, publish5(first=0x38), MALFORMED, "MQTT-3.3.1-2"),
    Case("packet id is 0", V5, packet(0x32, text("a"), b"\0\0", NONE), PROTOCOL, "MQTT-2.2.1-3"),
    Case("packet id is 0", V3, packet(0x34, text("a"), b"\0\0"), PROTOCOL, "MQTT-2.3.1-1"),
    Case("topic name contains a wildcard", V5, publish5(topic="a/+/b"), MALFORMED, "MQTT-3.3.2-2"),
    Case("topic name contains a wildcard", V3, packet(0x30, text("#")), MALFORMED, "MQTT-3.3.2-2"),
    Case("topic name is empty", V3, packet(0x30, text("")), PROTOCOL, "MQTT-4.7.3-1"),
    Case("topic name is empty", V5, publish5(topic=""), PROTOCOL, "MQTT-4.7.3-1"),
    Case("topic alias is 0", V5, publish5(b"\x23\0\0"), ALIAS, "MQTT-3.3.2-8"),
    Case("topic alias twice", V5, publish5(b"\x23\0\1\x23\0\2"), PROTOCOL),
    Case("content type twice", V5, publish5(b"\x03\0\1a\x03\0\1a"), PROTOCOL),
    Case("payload format indicator is 2", V5, publish5(b"\x01\2"), PROTOCOL),
    Case("subscription identifier is 0", V5, publish5(b"\x0b\0"), PROTOCOL),
    Case("subscription identifier is written with more bytes", V5, publish5(b"\x0b\x81\0"), MALFORMED, "MQTT-1.5.5-1"),
    Case("only a server may send in PUBLISH", None, connect(5) + publish5(b"\x0b\1"), PROTOCOL, "MQTT-3.3.4-6"),
    Case("response topic contains a wildcard", V5, publish5(b"\x08\0\1+"), PROTOCOL, "MQTT-3.3.2-14"),
    Case("response topic is empty", V5, publish5(b"\x08\0\0"), PROTOCOL, "MQTT-4.7.3-1"),
    Case("session expiry interval may not stand in it", V5, publish5(b"\x11\0\0\0\1"), MALFORMED),
    Case("no property with identifier 4", V5, publish5(b"\x04\0"), MALFORMED),
    Case("no property with identifier 145", V5, publish5(b"\x91\0\0\0\0\1"), MALFORMED),
    Case("it ends before its topic alias does", V5, publish5(b"\x23\0"), MALFORMED),
    Case("it ends before its content type does", V5, publish5(b"\x03\0\5abc"), MALFORMED),
    Case("it ends before its message expiry interval does", V5, publish5(b"\x02\0\0\0"), MALFORMED),
    Case("it ends before its payload format indicator does", V5, publish5(b"\x01"), MALFORMED),
    Case("it ends before its block of properties does", V5, packet(0x30, text("a"), b"\x09\x01\1"), MALFORMED),
    Case("it ends before its property length does", V5, packet(0x30, text("a")), MALFORMED),
    Case(
        "property length is written with more bytes", V5, packet(0x30, text("a"), b"\x80\0"), MALFORMED, "MQTT-1.5.5-1"
    ),
    Case("property length goes on", V5, packet(0x30, text("a"), b"\xff\xff\xff\xff\x01"), MALFORMED),
]

ACKNOWLEDGEMENTS = [
    Case("PUBACK: its packet id is 0", V5, b"\x40\x02\0\0", PROTOCOL, "MQTT-2.2.1-3"),
    Case("PUBREC: its packet id is 0", V3, b"\x50\x02\0\0", PROTOCOL, "MQTT-2.3.1-1"),
    Case("PUBREL: its packet id is 0", V3, b"\x62\x02\0\0", PROTOCOL, "MQTT-2.3.1-1"),
    Case("PUBCOMP: its packet id is 0", V3, b"\x70\x02\0\0", PROTOCOL, "MQTT-2.3.1-1"),
    Case("PUBACK: reason code 146 may not", V5, b"\x40\x03\0\1\x92", PROTOCOL, "MQTT-3.4.2-1"),
    Case("PUBREC: reason code 1 may not", V5, b"\x50\x03\0\1\1", PROTOCOL, "MQTT-3.5.2-1"),
    Case("PUBREL: reason code 16 may not", V5, b"\x62\x03\0\1\x10", PROTOCOL, "MQTT-3.6.2-1"),
    Case("PUBCOMP: reason code 128 may not", V5, b"\x70\x03\0\1\x80", PROTOCOL, "MQTT-3.7.2-1"),
    Case("reason string twice", V5, packet(0x40, ID, b"\0", block(b"\x1f\0\0\x1f\0\0")), PROTOCOL),
    Case("content type may not stand in it", V5, packet(0x40, ID, b"\0", block(b"\x03\0\0")), MALFORMED),
]

SUBSCRIPTIONS = [
    Case("SUBSCRIBE: its packet id is 0", V5, packet(0x82, b"\0\0", NONE, text("a"), b"\0"), PROTOCOL, "MQTT-2.2.1-3"),
    Case("SUBSCRIBE: it has no topic filter", V5, packet(0x82, ID, NONE), PROTOCOL, "MQTT-3.8.3-2"),
    Case("SUBSCRIBE: it has no topic filter", V3, packet(0x82, ID), PROTOCOL, "MQTT-3.8.3-3"),
    Case("one of its topic filters is empty", V3, packet(0x82, ID, text(""), b"\0"), PROTOCOL, "MQTT-4.7.3-1"),
    Case("asks for QoS 3", V5, packet(0x82, ID, NONE, text("a"), b"\3"), PROTOCOL, "MQTT-3.8.3-5"),
    Case("asks for QoS 3", V3, packet(0x82, ID, text("a"), b"\3"), PROTOCOL, "MQTT-3.8.3-4"),
    Case(
        "reserved bit of its subscription options",
        V5,
        packet(0x82, ID, NONE, text("a"), b"\x40"),
        MALFORMED,
        "MQTT-3.8.3-5",
    ),
    Case(
        "reserved bit of its subscription options",
        V5,
        packet(0x82, ID, NONE, text("a"), b"\x80"),
        MALFORMED,
        "MQTT-3.8.3-5",
    ),
    Case("reserved bit of its subscription options", V3, packet(0x82, ID, text("a"), b"\4"), MALFORMED, "MQTT-3.8.3-4"),
    Case("retain handling 3", V5, packet(0x82, ID, NONE, text("a"), b"\x30"), PROTOCOL),
    Case("no local on a shared", V5, packet(0x82, ID, NONE, text("$share/g/a"), b"\4"), PROTOCOL, "MQTT-3.8.3-4"),
    Case("subscription identifier twice", V5, packet(0x82, ID, block(b"\x0b\1\x0b\2"), text("a"), b"\0"), PROTOCOL),
    Case("subscription identifier is 0", V5, packet(0x82, ID, block(b"\x0b\0"), text("a"), b"\0"), PROTOCOL),
    Case("reason string may not stand in it", V5, packet(0x82, ID, block(b"\x1f\0\0"), text("a"), b"\0"), MALFORMED),
    Case("UNSUBSCRIBE: its packet id is 0", V3, packet(0xA2, b"\0\0", text("a")), PROTOCOL, "MQTT-2.3.1-1"),
    Case("UNSUBSCRIBE: it has no topic filter", V5, packet(0xA2, ID, NONE), PROTOCOL, "MQTT-3.10.3-2"),
    Case("UNSUBSCRIBE: it has no topic filter", V3, packet(0xA2, ID), PROTOCOL, "MQTT-3.10.3-2"),
    Case("one of its topic filters is empty", V5, packet(0xA2, ID, NONE, text("")), PROTOCOL, "MQTT-4.7.3-1"),
    Case("subscription identifier may not", V5, packet(0xA2, ID, block(b"\x0b\1"), text("a")), MALFORMED),
    Case("SUBACK: its packet id is 0", V3, packet(0x90, b"\0\0", b"\0"), PROTOCOL, "MQTT-2.3.1-1"),
    Case("SUBACK: it has no reason code", V5, packet(0x90, ID, NONE), PROTOCOL),
    Case("SUBACK: reason code 3 may not", V5, packet(0x90, ID, NONE, b"\3"), PROTOCOL, "MQTT-3.9.3-2"),
    Case("SUBACK: return code 135 may not", V3, packet(0x90, ID, b"\x87"), PROTOCOL, "MQTT-3.9.3-2"),
    Case("UNSUBACK: its packet id is 0", V3, packet(0xB0, b"\0\0"), PROTOCOL, "MQTT-2.3.1-1"),
    Case("UNSUBACK: it has no reason code", V5, packet(0xB0, ID, NONE), PROTOCOL),
    Case("UNSUBACK: reason code 1 may not", V5, packet(0xB0, ID, NONE, b"\1"), PROTOCOL, "MQTT-3.11.3-2"),
]

ENDINGS = [
    Case("DISCONNECT: reason code 1 may not", V5, b"\xe0\x01\1", PROTOCOL, "MQTT-3.14.2-1"),
    Case(
        "only a server may send it with reason code 139", None, connect(5) + b"\xe0\x01\x8b", PROTOCOL, "MQTT-3.14.2-1"
    ),
    Case("receive maximum may not stand in it", V5, packet(0xE0, b"\0", block(b"\x21\0\1")), MALFORMED),
    Case("AUTH: reason code 1 may not", V5, packet(0xF0, b"\1", block(b"\x15\0\1m")), PROTOCOL, "MQTT-3.15.2-1"),
    Case("it ends before its property length does", V5, packet(0xF0, b"\x18"), MALFORMED),
    Case("AUTH: it has no authentication method", V5, packet(0xF0, b"\x18", NONE), PROTOCOL),
    Case("AUTH: its reserved flag bits are 0001", V5, b"\xf1\0", MALFORMED, "MQTT-2.1.3-1"),
    Case("only a server may send it with reason code 0", None, connect(5) + b"\xf0\0", PROTOCOL, "MQTT-3.15.2-1"),
]

CASES = [*WIRE, *CONNECTS, *CONNACKS, *PUBLISHES, *ACKNOWLEDGEMENTS, *SUBSCRIPTIONS, *ENDINGS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.gist} ({case.version and case.version.name})")
def test_the_decoder_refuses(case: Case) -> None:
    with pytest.raises(CodecError) as caught:
        Decoder(version=case.version).feed(case.data)
    assert case.gist in str(caught.value)
    assert caught.value.reason_code is case.reason_code
    assert caught.value.rule == case.rule


@pytest.mark.parametrize(
    ("why", "version", "data"),
    [
        ("MQTT 5 allows a password without a user name", None, connect(5, 0x42, text("p"))),
        ("MQTT 5 allows an empty client id that keeps its session", None, connect(5, 0, client_id="")),
        ("an empty client id with clean session", None, connect(4, client_id="")),
        ("an empty user name and password", None, connect(4, 0xC2, text(""), text(""))),
        ("a will with an empty payload", None, connect(4, 0x06, text("t"), text(""))),
        ("an alias in place of the topic", V5, publish5(b"\x23\0\1", topic="")),
        ("user properties as often as one likes", V5, publish5(b"\x26\0\1a\0\1b\x26\0\1a\0\1b")),
        ("a byte order mark is a character like any other", V3, packet(0x30, text(b"\xef\xbb\xbfa"))),
        ("PUBACK of two bytes", V5, b"\x40\x02\0\1"),
        ("PUBACK of three bytes", V5, b"\x40\x03\0\1\x87"),
        ("PUBACK of four bytes", V5, b"\x40\x04\0\1\0\0"),
        ("DISCONNECT of no byte", V5, b"\xe0\x00"),
        ("DISCONNECT of one byte", V5, b"\xe0\x01\4"),
        ("DISCONNECT of two bytes", V5, b"\xe0\x02\0\0"),
        ("AUTH of no byte", V5, b"\xf0\x00"),
        ("an empty payload", V3, packet(0x30, text("a"))),
    ],
)
def test_the_decoder_accepts(why: str, version: Version | None, data: bytes) -> None:
    assert len(Decoder(version=version).feed(data)) == 1, why


@pytest.mark.parametrize("character", ["\ufeff", "\u0001", "\U0001f600", "\uffff"])
def test_every_character_but_null_stays_as_it_is(character: str) -> None:
    (received,) = Decoder(version=V3).feed(packet(0x30, text(character)))
    assert getattr(received, "topic", None) == character


def test_the_version_is_known_even_if_the_connect_is_refused() -> None:
    """A server answers a refused CONNECT in the client's own version."""
    decoder = Decoder()
    with pytest.raises(CodecError):
        decoder.feed(connect(4, 0, client_id=""))
    assert decoder.version is V3
    stranger = Decoder()
    with pytest.raises(CodecError):
        stranger.feed(connect(6))
    assert stranger.version is None


def test_a_refusal_holds_no_credential() -> None:
    """Neither its sentence nor the exceptions behind it."""
    decoder = Decoder()
    with pytest.raises(CodecError) as caught:
        decoder.feed(connect(4, 0xC2, text(b"token-\xff-secret"), text("secret")))
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error!s} {error!r} {vars(error)}"
        assert not isinstance(error, UnicodeError)
        error = error.__cause__ or error.__context__

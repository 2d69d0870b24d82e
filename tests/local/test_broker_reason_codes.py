"""MQTT 5's reason codes: the broker sends none that is not in AWS's lists (page "MQTT").

A client that handles what the page lists must not meet anything else here. What a fault answers is its user's matter.
"""

from __future__ import annotations

from broker_driver import V5, Driver, everything_but
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import connects, packets

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    CodecError,
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
)

CONNACK = {0, 128, 133, 134, 135, 144, 151, 155}
PUBACK = {0, 128, 135, 144, 145, 151}
SUBACK = {0, 1, 128, 135, 143, 145, 151}
UNSUBACK = {0, 128, 143, 145}
DISCONNECT = {129, 130, 135, 139, 141, 142, 143, 144, 147, 148, 151, 152, 155, 161}

TOPICS = st.sampled_from(["a", "a/b", "forbidden", "$aws/a", "$SYS/a", "a/b/c/d/e/f/g/h/i"])
FILTERS = st.sampled_from(["a", "#", "a/#/b", "forbidden", "$SYS/#", "$share/g/a", "$share/g"])
REQUESTS = st.builds(SubscribeRequest, FILTERS, st.integers(0, 2))
WILLS = st.none() | st.builds(
    Will, TOPICS, st.sampled_from([b"will", b"x" * 131_073]), st.integers(0, 2), st.booleans()
)
PROPERTIES = st.sampled_from(
    [
        {},
        {Property.MAXIMUM_PACKET_SIZE: 20},
        {Property.AUTHENTICATION_METHOD: "x"},
        {Property.SESSION_EXPIRY_INTERVAL: 10},
    ]
)
CONNECTS = connects(V5) | st.builds(
    Connect,
    st.just(V5),
    st.sampled_from(["device", "", "$x", "c" * 129]),
    will=WILLS,
    properties=PROPERTIES,
)
QOS_1 = st.builds(Publish, TOPICS, st.just(b"x"), st.just(1), st.booleans(), packet_id=st.just(9))
PACKETS = st.one_of(
    QOS_1,
    st.builds(Publish, TOPICS, st.just(b"x")),
    st.sampled_from([Publish("a", b"x", 2, packet_id=9), Publish("a", b"x" * 131_073, 1, packet_id=9)]),
    st.builds(Subscribe, st.just(7), st.lists(REQUESTS, min_size=1, max_size=9).map(tuple)),
    st.builds(Unsubscribe, st.just(8), st.lists(FILTERS, min_size=1, max_size=3).map(tuple)),
    packets(V5),
)
POLICY = everything_but("iot:*", "topic/forbidden", "topicfilter/forbidden")


def driver() -> Driver:
    return Driver(
        Broker(region="eu-west-1", account="123456789012", quotas="aws", limits=BrokerLimits(max_retained_messages=1))
    )


@settings(max_examples=examples(60))
@given(CONNECTS)
def test_a_connack_has_a_code_of_awss_list(packet: Connect) -> None:
    for sent in driver().connect(1, packet, policy=POLICY):
        if isinstance(sent, ConnAck):
            assert sent.reason_code in CONNACK


@settings(max_examples=examples(200))
@given(st.lists(QOS_1, max_size=2), PACKETS)
def test_answers_have_codes_of_awss_lists(before: list[Publish], last: Packet) -> None:
    some = driver()
    some.connect(1, policy=POLICY)
    for packet in (*before, last):
        for sent in some.receive(1, packet):
            match sent:
                case PubAck(reason_code=code):
                    assert code in PUBACK
                case SubAck(reason_codes=codes):
                    assert set(codes) <= SUBACK
                case UnsubAck(reason_codes=codes):
                    assert set(codes) <= UNSUBACK
                case Disconnect(reason_code=code):
                    assert code in DISCONNECT
                case _:
                    pass


@settings(max_examples=examples(60))
@given(packets(V5), st.integers(0, 200), st.integers(0, 255), st.sampled_from([64, 149_504]))
def test_unreadable_bytes_end_a_connection_with_a_code_of_awss_list(
    packet: Packet, place: int, byte: int, max_packet_bytes: int
) -> None:
    some = driver()
    some.connect(1, policy=POLICY)
    data = bytearray(encode(packet, V5))
    data[place % len(data)] = byte
    decoder = Decoder(version=V5, max_packet_bytes=max_packet_bytes)
    try:
        decoder.feed(bytes(data))
    except CodecError as error:
        some.carry_out(some.broker.malformed(1, error, V5, now=some.now, at=some.at))
    assert set(some.disconnects(1)) <= DISCONNECT


def test_a_packet_over_the_maximum_packet_size_is_told_as_a_quota() -> None:
    some = driver()
    some.connect(1)
    try:
        Decoder(version=V5, max_packet_bytes=149_504).feed(b"\x30\xff\xff\xff\x7f")
    except CodecError as error:
        some.carry_out(some.broker.malformed(1, error, V5, now=some.now, at=some.at))
    assert some.disconnects(1) == [151]

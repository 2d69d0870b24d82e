"""Hypothesis strategies for MQTT packets: every packet that the specification allows, of both versions.

They are drawn from the codec's own tables of properties and reason codes, so a row added there is tested at once.
`packets` is any packet of a version, `client_packets` only what a client may send after its CONNECT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

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

if TYPE_CHECKING:
    import random

    from hypothesis.strategies import SearchStrategy

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topic_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)
_levels = st.sampled_from(["", "+", "devices", "client_id", "$aws", "é", "a b"])
topic_filters = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]) or "+",
    st.lists(_levels, min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
)
payloads = st.binary(max_size=40)
packet_ids = st.integers(1, 0xFFFF)
qualities = st.integers(0, 2)


def _values(key: Property, packet_type: PacketType) -> SearchStrategy[PropertyValue]:
    form = FORMS[key]
    match form.wire_type:
        case WireType.UTF8_STRING:
            return topic_names if key is Property.RESPONSE_TOPIC else texts
        case WireType.BINARY_DATA:
            return payloads
        case WireType.UTF8_STRING_PAIR:
            return st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(tuple)
        case _:
            numbers = st.integers(form.minimum, form.maximum)
            if packet_type not in form.repeats_in:
                return numbers
            return numbers | st.lists(numbers, min_size=2, max_size=4).map(tuple)


def properties(version: Version, packet_type: PacketType) -> SearchStrategy[Properties]:
    """Any properties that may stand in the packet; none with 3.1.1."""
    if version is Version.MQTT311:
        return st.just(NO_PROPERTIES)
    optional = {key: _values(key, packet_type) for key, form in FORMS.items() if packet_type in form.packets}
    return st.fixed_dictionaries({}, optional=optional).map(_with_method)


def _with_method(drawn: dict[Property, PropertyValue]) -> dict[Property, PropertyValue]:
    """Authentication data must not stand without its method."""
    if Property.AUTHENTICATION_METHOD not in drawn:
        drawn.pop(Property.AUTHENTICATION_DATA, None)
    return drawn


def reason_codes(version: Version, packet_type: PacketType) -> SearchStrategy[int]:
    """Any reason code that may stand in the packet; 0 where 3.1.1 has none."""
    allowed = (ALLOWED if version is Version.MQTT5 else ALLOWED_311).get(packet_type, frozenset({0}))
    return st.sampled_from(sorted(allowed))


def wills(version: Version) -> SearchStrategy[Will]:
    """Any will."""
    return st.builds(Will, topic_names, payloads, qualities, st.booleans(), properties(version, PacketType.WILL))


def connects(version: Version) -> SearchStrategy[Connect]:
    """Any CONNECT."""
    drawn = st.builds(
        Connect,
        version=st.just(version),
        client_id=texts,
        clean_start=st.booleans(),
        keep_alive_seconds=st.integers(0, 0xFFFF),
        username=st.none() | texts,
        password=st.none() | payloads,
        will=st.none() | wills(version),
        properties=properties(version, PacketType.CONNECT),
    )
    if version is Version.MQTT5:
        return drawn
    return drawn.filter(
        lambda packet: (
            (packet.password is None or packet.username is not None) and bool(packet.client_id or packet.clean_start)
        )
    )


def connacks(version: Version) -> SearchStrategy[ConnAck]:
    """Any CONNACK; a session can only be present in a success."""
    return st.builds(
        lambda present, code, drawn: ConnAck(present and not code, code, drawn),
        st.booleans(),
        reason_codes(version, PacketType.CONNACK),
        properties(version, PacketType.CONNACK),
    )


@st.composite
def publishes(draw: st.DrawFn, version: Version, *, from_client: bool = False) -> Publish:
    """Any PUBLISH; with an alias the topic may be empty."""
    qos = draw(qualities)
    drawn = dict(draw(properties(version, PacketType.PUBLISH)))
    if from_client:
        drawn.pop(Property.SUBSCRIPTION_IDENTIFIER, None)
    return Publish(
        topic=draw(st.just("") | topic_names if Property.TOPIC_ALIAS in drawn else topic_names),
        payload=draw(payloads),
        qos=qos,
        retain=draw(st.booleans()),
        duplicate=bool(qos) and draw(st.booleans()),
        packet_id=draw(packet_ids) if qos else None,
        properties=drawn,
    )


def acknowledgements(version: Version) -> SearchStrategy[PubAck | PubRec | PubRel | PubComp]:
    """Any PUBACK, PUBREC, PUBREL or PUBCOMP."""

    def fields(kind: PacketType) -> tuple[SearchStrategy[int], SearchStrategy[int], SearchStrategy[Properties]]:
        return packet_ids, reason_codes(version, kind), properties(version, kind)

    return st.one_of(
        st.builds(PubAck, *fields(PacketType.PUBACK)),
        st.builds(PubRec, *fields(PacketType.PUBREC)),
        st.builds(PubRel, *fields(PacketType.PUBREL)),
        st.builds(PubComp, *fields(PacketType.PUBCOMP)),
    )


def subscribes(version: Version) -> SearchStrategy[Subscribe]:
    """Any SUBSCRIBE."""
    if version is Version.MQTT311:
        requests = st.builds(SubscribeRequest, topic_filters, qualities)
    else:
        requests = st.builds(
            SubscribeRequest, topic_filters, qualities, st.booleans(), st.booleans(), st.integers(0, 2)
        ) | st.builds(
            SubscribeRequest,
            topic_filters.map(lambda topic_filter: f"$share/group/{topic_filter}"),
            qualities,
            st.just(False),
            st.booleans(),
            st.integers(0, 2),
        )
    lists = st.lists(requests, min_size=1, max_size=4).map(tuple)
    return st.builds(Subscribe, packet_ids, lists, properties(version, PacketType.SUBSCRIBE))


def subacks(version: Version) -> SearchStrategy[SubAck]:
    """Any SUBACK."""
    codes = st.lists(reason_codes(version, PacketType.SUBACK), min_size=1, max_size=4).map(tuple)
    return st.builds(SubAck, packet_ids, codes, properties(version, PacketType.SUBACK))


def unsubscribes(version: Version) -> SearchStrategy[Unsubscribe]:
    """Any UNSUBSCRIBE."""
    lists = st.lists(topic_filters, min_size=1, max_size=4).map(tuple)
    return st.builds(Unsubscribe, packet_ids, lists, properties(version, PacketType.UNSUBSCRIBE))


def unsubacks(version: Version) -> SearchStrategy[UnsubAck]:
    """Any UNSUBACK."""
    if version is Version.MQTT311:
        return st.builds(UnsubAck, packet_ids)
    codes = st.lists(reason_codes(version, PacketType.UNSUBACK), min_size=1, max_size=4).map(tuple)
    return st.builds(UnsubAck, packet_ids, codes, properties(version, PacketType.UNSUBACK))


def disconnects(version: Version, *, from_client: bool = False) -> SearchStrategy[Disconnect]:
    """Any DISCONNECT."""
    codes = reason_codes(version, PacketType.DISCONNECT)
    if from_client:
        codes = codes.filter(FROM_CLIENT[PacketType.DISCONNECT].__contains__)
    return st.builds(Disconnect, codes, properties(version, PacketType.DISCONNECT))


def auths(version: Version, *, from_client: bool = False) -> SearchStrategy[Auth]:
    """Any AUTH; there is none in 3.1.1."""
    if version is Version.MQTT311:
        return st.nothing()
    codes = reason_codes(version, PacketType.AUTH)
    if from_client:
        codes = codes.filter(FROM_CLIENT[PacketType.AUTH].__contains__)
    drawn = st.builds(
        lambda chosen, method: {**chosen, Property.AUTHENTICATION_METHOD: method},
        properties(version, PacketType.AUTH),
        texts,
    )
    full = st.builds(Auth, codes, drawn)
    return full if from_client else full | st.just(Auth())


def packets(version: Version) -> SearchStrategy[Packet]:
    """Any packet of the version, whoever sends it."""
    return st.one_of(
        connects(version),
        connacks(version),
        publishes(version),
        acknowledgements(version),
        subscribes(version),
        subacks(version),
        unsubscribes(version),
        unsubacks(version),
        st.just(PingReq()),
        st.just(PingResp()),
        disconnects(version),
        auths(version),
    )


def client_packets(version: Version) -> SearchStrategy[Packet]:
    """Any packet that a client may send once it is connected."""
    return st.one_of(
        publishes(version, from_client=True),
        acknowledgements(version),
        subscribes(version),
        unsubscribes(version),
        st.just(PingReq()),
        disconnects(version, from_client=True),
        auths(version, from_client=True),
    )


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The packet with one to three of its bytes changed, dropped or doubled; often its length is mended."""
    body = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(body))
        match dice.randrange(4):
            case 0:
                body[at] = dice.randrange(256)
            case 1:
                body[at] ^= 1 << dice.randrange(8)
            case 2 if len(body) > 2:
                del body[at]
            case _:
                body.insert(at, dice.randrange(256))
    if len(body) < 130 and dice.random() < 0.7:
        body[1:2] = bytes((max(0, len(body) - 2),))
    return bytes(body)

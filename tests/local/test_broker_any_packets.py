"""Whatever clients send, in whatever order: the broker never raises, and keeps the promises of `broker.py`.

The driver checks every effect: that each packet can be encoded, that nothing goes to a connection that was hung up,
and that no client has more unacknowledged messages than its window. Clients come and go, with sessions and without;
faults and the service's rates are at work in between.
"""

from __future__ import annotations

import random
from dataclasses import replace

from broker_driver import EVERYTHING, V5, V311, Driver, everything_but, grant
from depth import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from strategies import connects, packets

from iot_customauth_client.local.broker import Broker, DisconnectReason, Quotas
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    CodecError,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    PingReq,
    Property,
    PropertyValue,
    PubAck,
    Publish,
    ReasonCode,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
    Will,
    encode,
)
from iot_customauth_client.local.events import Closed, Connected, Disconnected
from iot_customauth_client.local.faults import Fault
from iot_customauth_client.local.session import will_size

NUMBERS = st.integers(1, 6)
VERSIONS = st.sampled_from([V311, V5])
CLIENT_IDS = st.sampled_from(["one", "two", "three", ""])
TOPICS = st.sampled_from(["a", "a/b", "forbidden", "$aws/a"])
FILTERS = st.sampled_from(["a", "a/b", "#", "a/#", "+/b", "forbidden", "$share/g/a", "$share/g/#", "$share/h/a"])
KEPT = {"retained"}
MAX_WILL_BYTES = 1_100  # four of them
FAULTS = [
    Fault("swallow", "CONNACK"),
    Fault("delay", "CONNACK", seconds=5),
    Fault("swallow", "PUBACK", times=3),
    Fault("delay", "PUBACK", client_id="one", seconds=5),
    Fault("delay", "PUBLISH", topic="a/#", seconds=5),
    Fault("swallow", "PUBLISH"),
    Fault("answer", "CONNECT", reason_code=136),
    Fault("answer", "PUBLISH", reason_code=151),
    Fault("answer", "SUBSCRIBE", topic="a", reason_code=128),
    Fault("throttle", "CONNECT"),
    Fault("throttle", "PUBLISH", client_id="two"),
]


@st.composite
def sociable_connects(draw: st.DrawFn) -> Connect:
    """CONNECTs of few client ids, with small windows, sessions, and wills that somebody may get."""
    version = draw(VERSIONS)
    will = draw(st.none() | st.builds(Will, TOPICS, st.just(b"will"), st.integers(0, 2), st.booleans()))
    properties: dict[Property, PropertyValue] = {}
    if version is V5:
        properties = {
            Property.RECEIVE_MAXIMUM: draw(st.integers(1, 3)),
            Property.SESSION_EXPIRY_INTERVAL: draw(st.sampled_from([0, 10, 100_000])),
            Property.TOPIC_ALIAS_MAXIMUM: draw(st.integers(0, 2)),
        }
        if will is not None:
            will = replace(will, properties={Property.WILL_DELAY_INTERVAL: draw(st.sampled_from([0, 5, 50]))})
    client_id = draw(CLIENT_IDS)
    clean_start = draw(st.booleans()) or not client_id
    return Connect(version, client_id, clean_start, draw(st.integers(0, 100)), will=will, properties=properties)


def sociable_packets() -> st.SearchStrategy[Packet]:
    """Packets that have to do with each other: few topics, few filters, few packet ids."""
    requests = st.builds(SubscribeRequest, FILTERS, st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 2))
    qos_1 = st.builds(Publish, TOPICS, st.binary(max_size=3), st.just(1), st.booleans(), packet_id=st.just(9))
    qos_0 = st.builds(Publish, TOPICS, st.binary(max_size=3), st.just(0), st.booleans())
    subscribes = st.lists(requests, min_size=1, max_size=9).map(tuple)
    unsubscribes = st.lists(FILTERS, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        qos_1,
        qos_1,
        qos_0,
        st.builds(PubAck, st.integers(1, 6)),
        st.builds(Subscribe, st.just(7), subscribes),
        st.builds(Unsubscribe, st.just(8), unsubscribes),
        st.just(PingReq()),
        st.builds(Disconnect, st.sampled_from([0, 4])),
        st.builds(Disconnect, st.just(0), st.sampled_from([{Property.SESSION_EXPIRY_INTERVAL: n} for n in (0, 10)])),
    )


class AnyClients(RuleBasedStateMachine):
    """Up to six transports at a time, each opened, used in every way, and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(self.make_broker())
        self.numbers = dict.fromkeys(range(1, 7), 0)
        for slot in self.numbers:
            self._open(slot)

    def make_broker(self, quotas: Quotas = "off") -> Broker:
        return Broker(
            region="eu-west-1",
            account="123456789012",
            quotas=quotas,
            limits=BrokerLimits(
                max_queued_messages=3,
                max_will_bytes=MAX_WILL_BYTES,
                max_retained_messages=2,
                max_kept_sessions=2,
                max_shared_members=2,
            ),
        )

    def _open(self, slot: int) -> None:
        self.numbers[slot] += 6
        self.driver.versions[slot + self.numbers[slot]] = V5

    def _number(self, slot: int) -> int:
        return slot + self.numbers[slot]

    @rule(
        slot=NUMBERS,
        packet=sociable_connects() | VERSIONS.flatmap(connects),
        strict=st.booleans(),
        life=st.sampled_from([None, None, 300]),
    )
    def connect(self, slot: int, packet: Connect, strict: bool, life: int | None) -> None:
        number = self._number(slot)
        if not any(event.connection == number for event in self.driver.of(Connected)):
            policy = everything_but("iot:*", "topic/forbidden") if strict else [EVERYTHING]
            self.driver.connect(number, packet, policy=policy, life=life)

    @rule(slot=NUMBERS, packet=sociable_packets())
    def receive(self, slot: int, packet: Packet) -> None:
        self.driver.receive(self._number(slot), packet)

    @rule(slot=NUMBERS, packet=sociable_packets())
    def receive_again_and_again(self, slot: int, packet: Packet) -> None:
        for _ in range(8):
            self.driver.receive(self._number(slot), packet)

    @rule(slot=NUMBERS, packet=VERSIONS.flatmap(packets))
    def receive_anything(self, slot: int, packet: Packet) -> None:
        self.driver.receive(self._number(slot), packet)

    @rule(slot=NUMBERS, code=st.sampled_from(ReasonCode), version=VERSIONS | st.none())
    def receive_garbage(self, slot: int, code: ReasonCode, version: Version | None) -> None:
        driver, error = self.driver, CodecError(code, "x")
        driver.carry_out(driver.broker.malformed(self._number(slot), error, version, now=driver.now, at=driver.at))

    @rule(slot=NUMBERS)
    def close(self, slot: int) -> None:
        self.driver.close(self._number(slot))
        self._open(slot)

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.driver.wait(seconds)

    @rule(seconds=st.floats(0, 500))
    def advance(self, seconds: float) -> None:
        self.driver.advance(seconds)

    @rule(seconds=st.floats(0, 500))
    def let_time_pass_unseen(self, seconds: float) -> None:
        self.driver.at += seconds

    @rule(fault=st.sampled_from(FAULTS))
    def misbehave(self, fault: Fault) -> None:
        self.driver.broker.faults.add(fault)

    @rule(slot=NUMBERS, strict=st.booleans())
    def regrant(self, slot: int, strict: bool) -> None:
        driver = self.driver
        given = grant(*(everything_but("iot:*", "topic/forbidden") if strict else [EVERYTHING]))
        driver.carry_out(driver.broker.regrant(self._number(slot), given, now=driver.now, at=driver.at))

    @rule(slot=NUMBERS)
    def revoke(self, slot: int) -> None:
        driver = self.driver
        driver.carry_out(driver.broker.revoke(self._number(slot), "denied", now=driver.now, at=driver.at))

    @rule(
        client_id=CLIENT_IDS,
        reason=st.sampled_from(sorted(set(DisconnectReason) - {"CLIENT_INITIATED_DISCONNECT"})),
        clean=st.booleans(),
    )
    def kick(self, client_id: str, reason: str, clean: bool) -> None:
        driver = self.driver
        effects = driver.broker.disconnect(client_id, reason, clean_session=clean, now=driver.now, at=driver.at)
        driver.carry_out(effects)

    @rule(topic=TOPICS, retain=st.booleans())
    def publish(self, topic: str, retain: bool) -> None:
        driver = self.driver
        driver.carry_out(driver.broker.publish(topic, b"x", qos=1, retain=retain, now=driver.now, at=driver.at))

    @invariant()
    def every_connection_that_ended_was_connected_and_ended_once(self) -> None:
        connected = [event.connection for event in self.driver.of(Connected)]
        ended = [event.connection for event in self.driver.of(Disconnected)]
        assert len(set(connected)) == len(connected)
        assert len(set(ended)) == len(ended)
        assert set(ended) <= set(connected)
        assert self.driver.broker.sizes()["live"] == len(connected) - len(ended)
        assert not self.driver.of(Closed)

    @invariant()
    def a_client_id_is_connected_once(self) -> None:
        sizes = self.driver.broker.sizes()
        assert sizes["sessions"] - sizes["kept_sessions"] == sizes["live"]
        assert sizes["wills_due"] == sizes["overflowed"] == 0
        assert sizes["retained"] <= 2
        assert sizes["kept_sessions"] <= 2

    @invariant()
    def wills_are_counted_as_long_as_they_are_held(self) -> None:
        broker = self.driver.broker
        connected = sum(will_size(live.will) for live in broker._connections)
        waiting = sum(each.will.size for each in broker._sessions._by_client_id.values() if each.will is not None)
        assert broker.sizes()["will_bytes"] == connected + waiting <= MAX_WILL_BYTES

    def teardown(self) -> None:
        for slot in self.numbers:
            self.driver.close(self._number(slot))
        self.driver.wait(604_800)
        assert self.driver.broker.next_at() is None
        sizes = self.driver.broker.sizes()
        assert {name for name, size in sizes.items() if size} <= KEPT


AnyClients.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)
test_any_clients = AnyClients.TestCase


class AnyClientsWithQuotas(AnyClients):
    """The same with the service's rates."""

    def make_broker(self, quotas: Quotas = "aws") -> Broker:
        return super().make_broker(quotas)


AnyClientsWithQuotas.TestCase.settings = AnyClients.TestCase.settings
test_any_clients_with_quotas = AnyClientsWithQuotas.TestCase


VALID: list[tuple[Version, list[Packet]]] = [
    (
        version,
        [
            Connect(version, "client_id", keep_alive_seconds=30, username="user01", will=Will("gone", b"x", 1)),
            Subscribe(1, (SubscribeRequest("a/+", 1), SubscribeRequest("$aws/#", 0))),
            Publish("a/b", b"payload", 1, True, packet_id=3, properties=properties),
            PubAck(1),
            Unsubscribe(2, ("a/+",)),
            PingReq(),
            Disconnect(),
        ],
    )
    for version, properties in ((V311, {}), (V5, {Property.TOPIC_ALIAS: 1, Property.USER_PROPERTY: (("a", "b"),)}))
]


def test_10_000_mutated_streams_through_decoder_and_broker_do_no_harm() -> None:
    chance = random.Random(20_261_121)
    driver = Driver()
    driver.connect(0, Connect(V5, "good client"))
    driver.subscribe(0, "fine")
    for number in range(1, 10_001):
        version, valid = chance.choice(VALID)
        first = 0 if chance.random() < 0.2 else len(encode(valid[0], version))  # mostly an intact CONNECT
        data = bytearray(b"".join(encode(packet, version) for packet in valid))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(first, len(data))
            if chance.random() < 0.2:
                del data[place:]
                break
            data[place] = chance.randrange(256)
        _feed(driver, number, bytes(data))
        driver.close(number)
        driver.events.clear()
    driver.publish(0, "fine", qos=1)
    assert driver.topics(0) == ["fine"]
    driver.close(0)
    driver.wait(604_800)
    sizes = driver.broker.sizes()
    assert {name for name, size in sizes.items() if size} <= KEPT


def _feed(driver: Driver, number: int, data: bytes) -> None:
    """Do what the endpoint does with bytes from a client."""
    decoder = Decoder()
    error: CodecError | None = None
    try:
        received = decoder.feed(data)
    except CodecError as caught:
        received, error = list(caught.before), caught
    for packet in received:
        if isinstance(packet, Connect) and number not in driver.versions:
            driver.connect(number, packet)
        else:
            driver.receive(number, packet)
    if error is not None:
        driver.carry_out(driver.broker.malformed(number, error, decoder.version, now=driver.now, at=driver.at))

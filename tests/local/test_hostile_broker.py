"""What one client, or many, can make the broker hold and compute: bounded, whoever asks for it."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from broker_driver import ACCOUNT, REGION, Driver, everything_but, grant, only

from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.local import redaction
from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from iot_customauth_client.local.codec import (
    NO_PROPERTIES,
    CodecError,
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Property,
    PropertyValue,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
    Will,
    encode,
)
from iot_customauth_client.local.event_log import EventLog
from iot_customauth_client.local.event_text import event_line
from iot_customauth_client.local.events import Disconnected, Dropped, Refused, Unsubscribed
from iot_customauth_client.local.holdings import OVERHEAD_BYTES
from iot_customauth_client.local.message import MAX_USER_PROPERTIES, Message
from iot_customauth_client.local.outbound import Delivery, Outbound
from iot_customauth_client.local.permissions import PUBLISH, SUBSCRIBE, Permissions
from iot_customauth_client.local.retained import RetainedMessages
from iot_customauth_client.local.routing import FilterTree
from iot_customauth_client.local.shared_group import SharedGroup

V5 = Version.MQTT5


def broker(limits: BrokerLimits = DEFAULT_BROKER_LIMITS) -> Broker:
    return Broker(region=REGION, account=ACCOUNT, limits=limits)


def keeping(number: int) -> Connect:
    properties = {Property.SESSION_EXPIRY_INTERVAL: 600}
    return Connect(V5, f"keeper-{number}", True, 60, properties=properties)


def user_properties(count: int) -> dict[Property, tuple[tuple[str, str], ...]]:
    return {Property.USER_PROPERTY: (("", ""),) * count}


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_a_packet_of_256_mib_is_refused_from_its_header() -> None:
    decoder = Decoder(max_packet_bytes=149_504)
    with pytest.raises(CodecError) as refused:
        decoder.feed(b"\x10\xff\xff\xff\x7f" + b"\0" * 10)
    assert refused.value.reason_code == ReasonCode.PACKET_TOO_LARGE
    assert decoder.buffered_bytes == 0


def test_a_connect_of_300_kb_is_refused_before_the_rest_of_it_comes() -> None:
    decoder = Decoder(max_packet_bytes=149_504)
    with pytest.raises(CodecError):
        decoder.feed(b"\x10\xe0\xa7\x12")
    assert decoder.buffered_bytes == 0


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_no_more_than_a_thousand_topic_filters_of_one_packet_are_read(version: Version, kind: str) -> None:
    def packet(count: int) -> bytes:
        if kind == "subscribe":
            return encode(Subscribe(1, (SubscribeRequest("a", 0),) * count), version)
        return encode(Unsubscribe(1, ("a",) * count), version)

    (read,) = Decoder(version=version).feed(packet(1_000))
    assert isinstance(read, (Subscribe, Unsubscribe))
    with pytest.raises(CodecError, match="more than 1,000 topic filters") as refused:
        Decoder(version=version).feed(packet(1_001))
    driver = Driver()
    driver.connect(1, version=version)
    driver.carry_out(driver.broker.malformed(1, refused.value, version, now=driver.now, at=driver.at))
    assert driver.disconnects(1) == ([ReasonCode.QUOTA_EXCEEDED] if version is V5 else [])
    assert "1,000 topic filters" in driver.last(Disconnected).explanation


def test_a_message_has_a_thousand_user_properties_at_most() -> None:
    driver = Driver()
    driver.connect(1)
    driver.subscribe(1, "a")
    driver.receive(1, Publish("a", b"", properties=user_properties(MAX_USER_PROPERTIES)))
    assert len(driver.received(1)) == 1
    driver.receive(1, Publish("a", b"", properties=user_properties(MAX_USER_PROPERTIES + 1)))
    assert driver.disconnects(1) == [ReasonCode.QUOTA_EXCEEDED]
    assert "1001 user properties" in driver.last(Disconnected).explanation


def test_so_has_a_will() -> None:
    driver = Driver()
    will = Will("a", b"", properties=user_properties(MAX_USER_PROPERTIES + 1))
    answer = only(driver.connect(1, Connect(V5, "c", will=will)), ConnAck)
    assert answer.reason_code == ReasonCode.QUOTA_EXCEEDED
    assert driver.last(Refused).cause == "will_too_large"


def test_properties_count_where_messages_wait() -> None:
    outbound = Outbound(max_bytes=100_000)
    heavy = Message.of(
        "a", b"", qos=1, retain=False, publisher=None, properties=user_properties(MAX_USER_PROPERTIES), at=0.0
    )
    assert not outbound.offer(Delivery(heavy, False))
    assert outbound.offer(Delivery(Message("a", b"x" * 100_000, 1, False, None, NO_PROPERTIES, None), False))


@pytest.mark.parametrize("letter", ["v", "\u00e9", "\u20ac", "\U0001f600"])
def test_a_text_counts_as_the_memory_that_it_takes_and_not_as_its_characters(letter: str) -> None:
    text = letter + "v" * 20_000
    properties: dict[Property, PropertyValue] = {
        Property.CONTENT_TYPE: text,
        Property.USER_PROPERTY: (("k", text), (text, "")),
    }
    message = Message.of("a", b"x", qos=1, retain=False, publisher=None, properties=properties, at=0.0)
    taken = 3 * sys.getsizeof(text)
    assert taken < message.size < taken + 500
    with_topic = Message.of(letter * 60, b"x", qos=1, retain=False, publisher=None, properties={}, at=0.0)
    assert with_topic.size + OVERHEAD_BYTES >= sys.getsizeof(letter * 60)


def test_retained_messages_are_bounded_in_bytes_too() -> None:
    retained = RetainedMessages(max_bytes=1_000)

    def message(topic: str, size: int) -> Message:
        return Message(topic, b"x" * size, 0, True, None, NO_PROPERTIES, None)

    retained.keep(message("a", 900))
    assert not retained.has_room(message("b", 101), 0.0)
    assert retained.has_room(message("a", 1_000), 0.0)  # in the place of its last one
    retained.keep(message("a", 0))
    assert retained.size == 0
    assert retained.has_room(message("b", 1_000), 0.0)


def test_what_is_stored_for_all_clients_together_is_bounded_and_given_back() -> None:
    driver = Driver(broker(limits=BrokerLimits(max_held_bytes=2 * (100 + OVERHEAD_BYTES))))
    for number in (1, 2, 3):
        driver.connect(number, keeping(number))
        driver.subscribe(number, "a")
        driver.close(number)
    driver.connect(9)
    driver.publish(9, "a", b"x" * 100, qos=1)
    assert [event.cause for event in driver.of(Dropped)] == ["queue_full"]
    assert driver.broker.sizes()["held_bytes"] == 2 * (100 + OVERHEAD_BYTES)
    driver.connect(11, Connect(V5, "keeper-1", False, 60))
    driver.acknowledge(11)
    assert driver.broker.sizes()["held_bytes"] == 100 + OVERHEAD_BYTES
    driver.advance(601)
    assert driver.broker.sizes()["held_bytes"] == 0


def test_one_that_acknowledges_nothing_leaves_every_other_client_one_message_at_a_time() -> None:
    driver = Driver(broker(BrokerLimits(max_flying_bytes=1_000)))
    driver.connect(9)
    for number in (1, 2):
        driver.connect(number, keeping(number))
        driver.subscribe(number, f"a/{number}")
    for index in range(30):
        driver.publish(9, "a/1", b"%100d" % index, qos=1)  # which nobody acknowledges
    assert len(driver.received(1)) == 10
    for index in range(30):
        driver.publish(9, "a/2", b"%d" % index, qos=1)
    assert len(driver.unacknowledged[2]) == 1
    driver.acknowledge(2)
    assert [message.payload for message in driver.received(2)] == [b"%d" % index for index in range(30)]
    driver.acknowledge(1)
    assert len(driver.received(1)) == 20
    assert driver.broker.sizes()["flying_bytes"] == 0


@pytest.mark.parametrize("how", ["close", "acknowledge", "delete"])
def test_what_was_in_flight_is_counted_no_more_when_it_has_landed(how: str) -> None:
    driver = Driver(broker())
    driver.connect(1, keeping(1))
    driver.connect(2)
    driver.subscribe(1, "a", "$share/g/a")
    for _ in range(3):
        driver.publish(2, "a", b"x" * 100, qos=1)
    assert driver.broker.sizes()["flying_bytes"] == 600
    match how:
        case "close":
            driver.close(1)
        case "acknowledge":
            driver.acknowledge(1)
        case _:
            driver.carry_out(driver.broker.shut_down(1, now=driver.now, at=driver.at))
    assert driver.broker.sizes()["flying_bytes"] == 0


def test_what_was_sent_and_not_acknowledged_counts_while_its_client_is_away() -> None:
    driver = Driver(broker(BrokerLimits(max_held_bytes=5 * (100 + OVERHEAD_BYTES))))
    driver.connect(9)
    for number in (1, 2):
        driver.connect(number, keeping(number))
        driver.subscribe(number, f"a/{number}")
        for _ in range(4):
            driver.publish(9, f"a/{number}", b"x" * 100, qos=1)
        driver.close(number)
    assert [(event.client_id, event.cause) for event in driver.of(Dropped)] == [("keeper-2", "queue_full")] * 3
    assert driver.broker.sizes()["held_bytes"] == 5 * (100 + OVERHEAD_BYTES)
    driver.connect(11, Connect(V5, "keeper-1", False, 60, properties={Property.RECEIVE_MAXIMUM: 3}))
    assert len(driver.received(11)) == 3  # in flight, they are the window's matter
    assert driver.broker.sizes()["held_bytes"] == 2 * (100 + OVERHEAD_BYTES)
    driver.close(11)  # it asked for no session expiry
    assert driver.broker.sizes()["held_bytes"] == 100 + OVERHEAD_BYTES
    driver.advance(601)
    assert driver.broker.sizes()["held_bytes"] == 0


def willing(number: int, size: int, *, delay: int = 0, version: Version = V5, clean: bool = False) -> Connect:
    delayed = {Property.WILL_DELAY_INTERVAL: delay} if delay else {}
    kept = {Property.SESSION_EXPIRY_INTERVAL: 600} if version is V5 else {}
    will = Will("w", b"x" * (size - OVERHEAD_BYTES), properties=delayed)
    return Connect(version, f"willing-{number}", clean, 60, will=will, properties=kept)


def will_bytes(driver: Driver) -> int:
    return driver.broker.sizes()["will_bytes"]


def test_a_connect_whose_will_has_no_room_beside_all_others_is_refused() -> None:
    driver = Driver(broker(BrokerLimits(max_will_bytes=2_000)))
    driver.connect(1, willing(1, 1_000))
    driver.connect(2, willing(2, 1_000, delay=60))
    assert only(driver.connect(3, willing(3, 300)), ConnAck).reason_code == ReasonCode.QUOTA_EXCEEDED
    assert driver.last(Refused).cause == "too_many_wills"
    driver.connect(4, willing(4, 300, version=Version.MQTT311))
    assert 4 in driver.hung_up
    assert driver.last(Refused).reason_code is None
    assert only(driver.connect(5), ConnAck).reason_code == ReasonCode.SUCCESS  # it has none
    driver.close(2)
    assert only(driver.connect(6, willing(3, 300)), ConnAck).reason_code == ReasonCode.QUOTA_EXCEEDED
    driver.advance(61)  # now the will of the one that is away was published
    assert only(driver.connect(7, willing(3, 300)), ConnAck).reason_code == ReasonCode.SUCCESS
    assert will_bytes(driver) == 1_300


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("clean", [False, True])
def test_a_client_that_comes_back_with_its_will_takes_no_more_room(away: bool, clean: bool) -> None:
    driver = Driver(broker(BrokerLimits(max_will_bytes=1_000)))
    for number in range(1, 5):
        packet = willing(1, 1_000, delay=60, clean=clean)
        assert only(driver.connect(number, packet), ConnAck).reason_code == ReasonCode.SUCCESS
        assert will_bytes(driver) == 1_000
        if away:
            driver.close(number)
            assert will_bytes(driver) == 1_000
    driver.connect(9, willing(1, 1_001, clean=clean))
    assert driver.last(Refused).cause == "too_many_wills"


@pytest.mark.parametrize("delay", [0, 60, 6_000])
@pytest.mark.parametrize(
    "end", ["close", "disconnect", "left", "kick", "prevented", "deleted", "deleted_away", "back_without", "too_many"]
)
def test_a_will_counts_until_it_is_published_or_forgotten(end: str, delay: int) -> None:
    driver = Driver(broker(BrokerLimits(max_kept_sessions=1)))
    driver.connect(1, willing(1, 1_000, delay=delay))
    assert will_bytes(driver) == 1_000

    def delete(*, session: bool = False, will: bool = False) -> None:
        word = "API_INITIATED_DISCONNECT"
        asked = driver.broker.disconnect(
            "willing-1", word, clean_session=session, prevent_will_message=will, now=driver.now, at=driver.at
        )
        driver.carry_out(asked)

    match end:
        case "disconnect":
            driver.receive(1, Disconnect(0))
        case "left":
            driver.carry_out(driver.broker.left(1, "it closed", now=driver.now, at=driver.at))
        case "kick":
            delete()
        case "prevented":
            delete(will=True)
        case "deleted":
            delete(session=True)
        case _:
            driver.close(1)
    away = end in ("close", "kick", "deleted_away", "back_without", "too_many")
    assert will_bytes(driver) == (1_000 if delay and away else 0)
    match end:
        case "deleted_away":
            delete(session=True, will=True)
        case "back_without":
            driver.connect(2, Connect(V5, "willing-1", False, 60))
        case "too_many":
            driver.connect(2, keeping(2))
            driver.close(2)
        case _:
            driver.advance(601)
    assert will_bytes(driver) == 0


def test_what_members_leave_behind_cannot_pile_up_in_their_group() -> None:
    group = SharedGroup("$share/g/a", pace=None, max_messages=10)
    over: list[Message] = []
    for _ in range(100):
        over += group.put_back([Message("a", b"x", 1, False, None, NO_PROPERTIES, None)] * 10, 1.0)
    assert group.waiting == 20
    assert len(over) == 980


def test_all_sessions_together_have_so_many_subscriptions_and_no_more() -> None:
    driver = Driver(broker(limits=BrokerLimits(max_subscriptions=3)))
    driver.connect(1)
    driver.connect(2)
    driver.subscribe(1, "a", "$share/g/a")
    requests = tuple(SubscribeRequest(each, 0) for each in ("x", "y"))
    answer = only(driver.receive(2, Subscribe(1, requests)), SubAck)
    assert answer.reason_codes == (0, ReasonCode.QUOTA_EXCEEDED)
    assert only(driver.subscribe(1, "a"), SubAck).reason_codes == (1,)  # one that is there already
    driver.close(1)
    assert only(driver.subscribe(2, "y", "z"), SubAck).reason_codes == (1, 1)


def test_half_a_packet_that_never_ends_is_ended_by_the_keep_alive() -> None:
    driver = Driver()
    driver.connect(1)
    decoder = Decoder(version=V5)
    whole = encode(Publish("a", b"x" * 100), V5)
    for at in range(89):
        assert decoder.feed(whole[at : at + 1]) == []  # so the broker hears nothing
        driver.wait(1)
    driver.wait(2)
    assert driver.last(Disconnected).reason == "MQTT_KEEP_ALIVE_TIMEOUT"


# -- work: counted, not timed -----------------------------------------------------------------------------------------


def work(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> int:
    """How often a message was asked whether it has expired."""
    asked = itertools.count()
    expired = Message.expired

    def counted(message: Message, at: float) -> bool:
        next(asked)
        return expired(message, at)

    with monkeypatch.context() as patched:
        patched.setattr(Message, "expired", counted)
        do()
    return next(asked)


def expiring(topic: str, number: int) -> Message:
    return Message(topic, b"x", 1, True, None, NO_PROPERTIES, float(number))


@pytest.mark.parametrize("size", [100, 400])
def test_a_full_queue_in_which_one_message_expires_after_the_other_costs_the_same_for_each(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    outbound = Outbound(max_messages=size)
    for number in range(size):
        outbound.offer(Delivery(expiring("a", number), False))

    def flood() -> None:
        for number in range(size, 5 * size):
            if not outbound.offer(Delivery(expiring("a", number), False)) and outbound.purge(float(number - size)):
                outbound.offer(Delivery(expiring("a", number), False))

    assert work(monkeypatch, flood) < 12 * 4 * size


@pytest.mark.parametrize("size", [100, 400])
def test_retained_messages_that_expire_one_after_the_other_cost_the_same_for_each_publish(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    retained = RetainedMessages(size)
    for number in range(size):
        retained.keep(expiring(f"t/{number}", number))

    def flood() -> None:
        for number in range(size, 5 * size):
            message = expiring(f"t/{number}", number)
            if retained.has_room(message, float(number - size)):
                retained.keep(message)

    assert work(monkeypatch, flood) < 12 * 4 * size


@pytest.mark.parametrize("how", ["takeover", "away"])
def test_a_client_that_comes_and_goes_costs_no_more_for_the_messages_that_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    driver = Driver()
    driver.connect(1, keeping(1))
    driver.connect(2)
    driver.subscribe(1, "a")
    for _ in range(2_000):
        driver.publish(2, "a", qos=1)
    looked_at = itertools.count()
    size = Message.size.fget
    assert size is not None

    def counted(message: Message) -> int:
        next(looked_at)
        return int(size(message))

    driver.close(1)
    monkeypatch.setattr(Message, "size", property(counted))
    back = replace(keeping(1), clean_start=False)
    for number in range(3, 13):
        driver.connect(number, back)
        if how == "away":
            driver.close(number)
    assert 10 < next(looked_at) < 10 * 800  # a window of 100 each time, and not 2,000
    assert driver.broker.sizes()["queued"] + driver.broker.sizes()["in_flight"] == 2_000


def test_looking_for_room_costs_nothing_while_no_retained_message_can_have_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retained = RetainedMessages(100)
    for number in range(100):
        retained.keep(Message(f"t/{number}", b"x", 0, True, None, NO_PROPERTIES, None))
    refused = Message("new", b"x", 0, True, None, NO_PROPERTIES, None)
    assert work(monkeypatch, lambda: [retained.has_room(refused, 1.0) for _ in range(100)]) == 0


def test_no_number_of_filters_makes_a_match_look_at_more_than_two_branches_a_level() -> None:
    tree: FilterTree[int, int] = FilterTree()
    for bits in range(256):
        topic_filter = "/".join("+" if bits >> level & 1 else "h" for level in range(8))
        tree.add(topic_filter, bits, bits)
    for number in range(20_000):
        tree.add(f"h/{number}/h/h", number, number)
    assert len(tree.match("/".join("h" * 8))) == 256
    assert tree.match("no/such/topic") == []
    for number in range(20_000):
        tree.remove(f"h/{number}/h/h", number)
    for bits in range(256):
        tree.remove("/".join("+" if bits >> level & 1 else "h" for level in range(8)), bits)
    assert tree.nodes() == 0


def test_topics_that_nobody_subscribed_to_leave_nothing() -> None:
    driver = Driver()
    driver.connect(1)
    before = driver.broker.sizes() | {"policy_answers": 0}
    for number in range(2_000):
        driver.publish(1, f"topic/{number}")
    assert driver.broker.sizes() | {"policy_answers": 0} == before
    assert driver.broker.sizes()["policy_answers"] <= 512


@pytest.mark.parametrize("letter", ["x", "\U0001f600"])
@pytest.mark.parametrize("action", [PUBLISH, SUBSCRIBE])
def test_answers_of_the_policies_are_not_kept_beyond_a_quarter_of_a_mebibyte(letter: str, action: str) -> None:
    given = grant(*everything_but(SUBSCRIBE, "*"))  # a denial says more than what is allowed
    permissions = Permissions(given, region=REGION, account=ACCOUNT, client_id="c")
    before = permissions.decide(action, "first")
    for number in range(1_500):
        permissions.decide(action, f"{number}{letter}{'x' * 240}")
        kept = [(topic, each.resource, each.explanation) for (_, topic), each in permissions._answers.items()]
        assert len(kept) <= 512
        if number % 50 == 0:
            assert sum(sys.getsizeof(text) for texts in kept for text in texts) <= 256 * 1024
    assert permissions.decide(action, "first") == before


def test_answers_about_short_topics_have_room_for_five_hundred() -> None:
    permissions = Permissions(grant(), region=REGION, account=ACCOUNT, client_id="c")
    for number in range(500):
        permissions.decide(PUBLISH, f"devices/{number}/state")
    assert permissions.kept_answers == 500


# -- what is told about it --------------------------------------------------------------------------------------------


def test_texts_that_peers_choose_count_in_the_log() -> None:
    log = EventLog(max_payload_bytes=100_000)
    for _ in range(100):
        log.append(Refused(1, "c" * 60_000, "client_id_invalid", None, "too long"))
    assert len(log) == 1
    assert log.forgotten == 99
    log.append(Refused(1, "c", "client_id_invalid", None, "short"))
    assert len(log) == 2


@pytest.mark.parametrize("filters", [("a",) * 40_000, tuple(f"{n:04x}\u20ac" for n in range(12_000))])
def test_a_packet_with_thousands_of_filters_is_one_line_that_a_person_can_read(filters: tuple[str, ...]) -> None:
    driver = Driver()
    driver.connect(1)
    driver.receive(1, Subscribe(1, tuple(SubscribeRequest(each, 0) for each in filters[:30_000])))
    driver.receive(1, Unsubscribe(2, filters))
    assert f"and {len(filters) - 50:,} more" in event_line(driver.last(Unsubscribed))
    assert max(len(event_line(event)) for event in driver.events) < 2_000


def test_what_a_list_of_an_event_takes_counts_in_the_log() -> None:
    log = EventLog(max_payload_bytes=1_000_000)
    for number in range(50):
        log.append(Unsubscribed(1, "c", tuple(f"{number}/{each}\u20ac" for each in range(2_000))))
    kept = [each for event in log.since(0) if isinstance(event, Unsubscribed) for each in event.topic_filters]
    assert len(kept) >= 2_000
    assert sum(map(sys.getsizeof, kept)) <= 1_000_000
    for _ in range(2_000):
        log.append(Refused(1, "c", "client_id_invalid", None, "\U0001f600" + "v" * 500))
    assert len(log) < 1_000  # though each has no more than 501 characters


def test_a_filter_that_is_named_a_thousand_times_is_told_once_that_it_was_unsubscribed() -> None:
    driver = Driver()
    driver.connect(1)
    driver.connect(2)
    driver.subscribe(1, "$aws/events/subscriptions/#")
    driver.subscribe(2, "a", "b")
    driver.received(1)
    driver.receive(2, Unsubscribe(2, ("a",) * 1_000 + ("b", "none")))
    (told,) = [message for message in driver.received(1) if "unsubscribed" in message.topic]
    assert json.loads(told.payload)["topics"] == ["a", "b"]


def test_a_request_of_thousands_of_values_is_not_looked_through_for_each_of_them() -> None:
    query = "&".join(f"{number:x}=secret{number}" for number in range(8_000))
    event = build_event(connection_id="id", signature_verified=False, query_string=query, headers={})
    compared = len(redaction._written(event, with_username=True)) * len(query)
    assert compared > redaction._LOOKED_THROUGH_CHARACTERS  # else this shows nothing
    shown = redaction.scrub(f"ValueError: {query}", event)
    assert shown.startswith("<")
    assert "secret" not in shown
    assert redaction.scrub("ValueError: secret17 is wrong", event) == "ValueError: <hidden> is wrong"

"""The service's rates: enforced with quotas="aws", and only then."""

from __future__ import annotations

import itertools

import pytest
from broker_driver import ACCOUNT, REGION, V5, V311, Driver, grant, only
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local import quotas
from iot_customauth_client.local.broker import Broker, Hold, Quotas
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Property,
    PubAck,
    Publish,
    SubAck,
    Unsubscribe,
    Version,
)
from iot_customauth_client.local.events import Connected, Disconnected, Dropped, Published, Queued, Refused
from iot_customauth_client.local.quotas import BothRates, Rate, Throughput
from iot_customauth_client.local.visitor import Visitor

BOTH = pytest.mark.parametrize("version", [V5, V311])


def driven(quotas: Quotas = "aws") -> Driver:
    return Driver(Broker(region=REGION, account=ACCOUNT, quotas=quotas, choose=lambda members: 0))


def persistent(version: Version = V5, client_id: str = "device") -> Connect:
    properties = {Property.SESSION_EXPIRY_INTERVAL: 3600} if version is V5 else {}
    return Connect(version, client_id, False, 1_200, properties=properties)


def payloads(driver: Driver, number: int) -> list[int]:
    return [int(message.payload) for message in driver.received(number)]


# -- CONNECT ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "told"), [(V5, 151), (V311, None)])
def test_a_second_connect_within_a_second_is_refused_and_takes_nothing_over(version: Version, told: int | None) -> None:
    driver = driven()
    driver.connect(1, Connect(V5, "device"))
    driver.now += 0.9
    driver.connect(2, Connect(version, "device"))
    refused = driver.last(Refused)
    assert (refused.connection, refused.cause, refused.reason_code) == (2, "connect_rate", told)
    assert driver.hung_up == {2}
    driver.connect(3, Connect(V5, "another"))
    driver.now += 0.1
    driver.connect(4, Connect(version, "device"))
    assert [event.connection for event in driver.of(Connected)] == [1, 3, 4]


def test_assigned_client_ids_may_connect_at_any_rate() -> None:
    driver = driven()
    for number in (1, 2, 3):
        driver.connect(number, Connect(V5, ""))
    assert len(driver.of(Connected)) == 3


def test_client_ids_are_forgotten_after_their_second() -> None:
    driver = driven()
    driver.connect(1, Connect(V5, "device"))
    driver.close(1)
    assert driver.broker.sizes()["connect_rates"] == 1
    driver.wait(1)
    assert not any(driver.broker.sizes().values())


# -- PUBLISH ----------------------------------------------------------------------------------------------------------


def test_the_101st_publish_within_a_second_is_discarded_and_mqtt_5_is_told() -> None:
    driver = driven()
    driver.connect(1)
    for number in range(1, 103):
        answers = driver.receive(1, Publish("a", b"%d" % number, 1, packet_id=number))
        assert only(answers, PubAck).reason_code == (0 if number <= 100 else 151)
    assert len(driver.of(Published)) == 100
    assert (driver.last(Dropped).cause, driver.last(Dropped).connection) == ("publish_rate", 1)
    driver.receive(1, Publish("a", b"103"))
    assert not driver.hung_up
    driver.now += 1
    driver.publish(1, "a")
    assert len(driver.of(Published)) == 101


def test_a_discarded_publish_of_311_gets_no_answer_and_the_connection_stays() -> None:
    driver = driven()
    driver.connect(1, version=V311)
    for _ in range(100):
        driver.publish(1, "a")
    for number in range(1, 300):
        assert driver.receive(1, Publish("a", b"", 1, packet_id=number)) == []
    assert not driver.hung_up
    assert {event.cause for event in driver.of(Dropped)} == {"publish_rate"}


def test_a_topic_alias_is_learned_from_a_publish_that_is_discarded() -> None:
    driver = driven()
    driver.connect(1)
    for _ in range(100):
        driver.publish(1, "a")
    driver.receive(1, Publish("b", b"", properties={Property.TOPIC_ALIAS: 1}))
    driver.now += 1
    driver.receive(1, Publish("", b"", properties={Property.TOPIC_ALIAS: 1}))
    assert driver.last(Published).topic == "b"


@pytest.mark.parametrize("qos", [0, 1])
def test_the_101st_delivery_within_a_second_is_discarded(qos: int) -> None:
    driver = driven()
    driver.connect(1)
    driver.subscribe(1, "a")
    for number in range(110):
        driver.carry_out(driver.broker.publish("a", b"%d" % number, qos=qos, now=driver.now, at=driver.at))
        if qos:
            driver.acknowledge(1)
    assert payloads(driver, 1) == list(range(100))
    assert {event.cause for event in driver.of(Dropped)} == {"delivery_rate"}
    assert driver.broker.sizes()["in_flight"] == 0
    driver.now += 1
    driver.carry_out(driver.broker.publish("a", b"110", qos=qos, now=driver.now, at=driver.at))
    assert payloads(driver, 1) == [110]


@pytest.mark.parametrize("quotas", ["off", "aws"])
def test_bytes_over_512_kib_in_a_second_are_delayed(quotas: Quotas) -> None:
    driver = driven(quotas)
    driver.connect(1)
    for _ in range(12):
        driver.publish(1, "a", b"x" * 131_071)
    seconds = [round(hold.seconds, 2) for hold in driver.holds if hold.seconds > 0.01]  # answers count a little
    assert seconds == ([] if quotas == "off" else [n / 4 for n in range(1, 9)])
    driver.now += 3
    driver.holds.clear()
    driver.publish(1, "a", b"x")
    assert driver.holds == []


def test_a_connection_that_ended_is_not_held() -> None:
    driver = driven()
    driver.connect(1)
    for _ in range(8):
        driver.publish(1, "a", b"x" * 131_071)
    driver.holds.clear()
    driver.receive(1, Publish("a", b"x" * 131_071, 2, packet_id=1))
    assert driver.hung_up == {1}
    assert driver.holds == []


def test_what_is_sent_counts_for_the_throughput_too() -> None:
    driver = driven()
    driver.connect(1)
    driver.subscribe(1, "a")
    for _ in range(8):
        driver.carry_out(driver.broker.publish("a", b"x" * 131_000, now=driver.now, at=driver.at))
    driver.publish(1, "b")
    (hold,) = driver.holds
    assert isinstance(hold, Hold)
    assert 0.9 < hold.seconds < 1.1


@pytest.mark.parametrize("quotas", ["off", "aws"])
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_over_512_kib_in_a_second_wait_in_their_order(quotas: Quotas, qos: int) -> None:
    driver = driven(quotas)
    driver.connect(1)
    driver.subscribe(1, "a", qos=qos)
    for index in range(24):
        driver.carry_out(driver.broker.publish("a", bytes([index]) * 65_536, qos=qos, now=driver.now, at=driver.at))
    came: list[list[Publish]] = []
    for _ in range(4):
        came.append(driver.received(1))
        driver.now += 1.0
        driver.carry_out(driver.broker.expire(driver.now, driver.at))
    sizes = [sum(len(message.payload) for message in each) for each in came]
    assert [size / 524_288 for size in sizes] == ([3, 0, 0, 0] if quotas == "off" else pytest.approx([1, 1, 1, 0], 0.2))
    assert [message.payload[0] for each in came for message in each] == list(range(24))


def test_an_answer_does_not_wait_for_the_throughput() -> None:
    driver = driven()
    driver.connect(1)
    driver.subscribe(1, "a")
    for _ in range(8):
        driver.carry_out(driver.broker.publish("a", bytes(131_000), now=driver.now, at=driver.at))
    assert driver.receive(1, PingReq()) == [PingResp()]


def test_what_waits_for_a_connection_that_ends_is_not_sent_and_comes_again_if_it_has_quality_1() -> None:
    driver = driven()
    driver.connect(1, persistent())
    driver.subscribe(1, "a", qos=1)
    for index in range(8):
        driver.carry_out(driver.broker.publish("a", b"%d" % index * 131_000, qos=1, now=driver.now, at=driver.at))
    assert 0 < len(driver.received(1)) < 8
    driver.close(1)
    driver.now += 10
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert driver.received(1) == []
    driver.connect(2, persistent())
    for _ in range(10):
        driver.now += 1
        driver.at += 1
        driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert [int(message.payload[:1]) for message in driver.received(2)] == list(range(8))


@pytest.mark.parametrize("end", ["close", "stop"])
def test_what_waits_with_quality_0_for_a_connection_that_ends_is_told_to_be_lost(end: str) -> None:
    driver = driven()
    driver.connect(1)
    driver.subscribe(1, "a", qos=0)
    for index in range(9):
        driver.carry_out(driver.broker.publish("a", b"%d" % index * 131_000, now=driver.now, at=driver.at))
    sent = [message.payload for message in driver.received(1)]
    if end == "stop":
        driver.carry_out(driver.broker.shut_down(1, now=driver.now, at=driver.at))
    else:
        driver.close(1)
    lost = [event.payload for event in driver.of(Dropped) if event.cause == "delivery_rate"]
    assert [int(payload[:1]) for payload in sent + lost] == list(range(9))
    assert lost


def test_a_message_that_waits_for_the_throughput_cannot_be_acknowledged_before_it_was_sent() -> None:
    driver = driven()
    driver.connect(1, persistent())
    driver.subscribe(1, "a", qos=1)
    guessed = itertools.count(1)
    for _ in range(3):
        for _ in range(99):
            driver.carry_out(driver.broker.publish("a", bytes(131_000), qos=1, now=driver.now, at=driver.at))
            driver.carry_out(driver.broker.receive(1, PubAck(next(guessed)), now=driver.now, at=driver.at))
        driver.now += 1
        driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert driver.broker.sizes()["in_flight"] == 100
    assert driver.broker.sizes()["queued"] > 150
    came: list[Publish] = []
    for _ in range(80):
        came += driver.received(1)
        driver.acknowledge(1)
        driver.now += 1
        driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert len(came) == 297
    assert driver.broker.sizes()["in_flight"] == driver.broker.sizes()["flying_bytes"] == 0


@pytest.mark.parametrize(("quotas", "told"), [("aws", "524,288 bytes in a second"), ("off", "does not acknowledge")])
def test_a_queue_that_is_full_because_of_the_throughput_is_told_to_be_so(quotas: Quotas, told: str) -> None:
    limits = BrokerLimits(max_queued_messages=20)
    driver = Driver(Broker(region=REGION, account=ACCOUNT, quotas=quotas, limits=limits))
    driver.connect(1, persistent())
    driver.subscribe(1, "a", qos=1)
    for _ in range(20):
        if 1 in driver.hung_up:
            break
        for _ in range(90):
            driver.carry_out(driver.broker.publish("a", bytes(131_000), qos=1, now=driver.now, at=driver.at))
        if quotas == "aws":
            driver.acknowledge(1)
        driver.wait(1)
    assert driver.last(Disconnected).reason == "THROTTLED"
    assert told in driver.last(Disconnected).explanation


@BOTH
@pytest.mark.parametrize("qos", [0, 1])
def test_the_message_expiry_goes_on_while_a_message_waits_for_the_throughput(qos: int, version: Version) -> None:
    driver = driven()
    driver.connect(1, persistent(version))
    driver.subscribe(1, "a", qos=qos)
    properties = {Property.MESSAGE_EXPIRY_INTERVAL: 3}
    for index in range(40):
        body = b"%03d" % index + bytes(131_000)
        driver.carry_out(driver.broker.publish("a", body, qos=qos, properties=properties, now=driver.now, at=driver.at))
    came: list[tuple[int, object]] = []
    for waited in range(12):
        for message in driver.received(1):
            came.append((int(message.payload[:3]), message.properties.get(Property.MESSAGE_EXPIRY_INTERVAL)))
            assert came[-1][1] == (3 - waited if version is V5 else None)
        driver.wait(1)
    lost = [int(event.payload[:3]) for event in driver.of(Dropped) if event.cause == "expired"]
    assert [number for number, _ in came] + lost == list(range(40))
    assert 10 < len(came) < 20
    sizes = driver.broker.sizes()
    assert sizes["in_flight"] == (len(came) if qos else 0)
    driver.acknowledge(1)
    assert driver.broker.sizes()["flying_bytes"] == driver.broker.sizes()["delayed_bytes"] == 0


def test_a_message_that_expired_before_it_was_sent_makes_room_in_the_window() -> None:
    driver = driven()
    receive_maximum = {Property.RECEIVE_MAXIMUM: 10, Property.SESSION_EXPIRY_INTERVAL: 60}
    driver.connect(1, Connect(V5, "device", False, 1_200, properties=receive_maximum))
    driver.subscribe(1, "a", qos=1)
    for index in range(20):
        properties = {Property.MESSAGE_EXPIRY_INTERVAL: 1} if index < 10 else NO_PROPERTIES
        body = b"%03d" % index + bytes(131_000)
        driver.carry_out(driver.broker.publish("a", body, qos=1, properties=properties, now=driver.now, at=driver.at))
    came: list[int] = []
    for _ in range(10):
        came += [int(message.payload[:3]) for message in driver.received(1)]
        driver.wait(1)
    lost = [int(event.payload[:3]) for event in driver.of(Dropped)]
    assert lost
    assert came == [number for number in range(20) if number not in lost][: len(came)]
    assert len(came) == 10 == driver.broker.sizes()["in_flight"]


def test_a_client_that_is_not_read_from_is_not_taken_for_silent() -> None:
    driver = driven()
    driver.connect(1, Connect(V5, "device", keep_alive_seconds=30))
    driver.subscribe(1, "a", qos=1)
    driver.subscribe(1, "b", qos=0)
    for topic in ("b", "b", "a"):
        for _ in range(95):
            driver.carry_out(driver.broker.publish(topic, bytes(131_000), qos=1, now=driver.now, at=driver.at))
        driver.wait(1)
    driver.publish(1, "c")
    held = driver.holds[-1].seconds
    assert held > 45
    driver.wait(held + 44)
    assert not driver.of(Disconnected)
    driver.wait(1)
    assert driver.last(Disconnected).reason == "MQTT_KEEP_ALIVE_TIMEOUT"


def test_more_than_16_mib_of_quality_0_that_waits_is_discarded() -> None:
    driver = driven()
    driver.connect(1)
    driver.subscribe(1, "a")
    for _ in range(3):
        for _ in range(99):
            driver.carry_out(driver.broker.publish("a", bytes(131_000), now=driver.now, at=driver.at))
        driver.now += 1
        driver.carry_out(driver.broker.expire(driver.now, driver.at))
    lost = driver.of(Dropped)
    assert {event.cause for event in lost} == {"delivery_rate"}
    assert len(lost) > 100
    for _ in range(60):
        driver.now += 1
        driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert len(driver.received(1)) + len(lost) == 297


def test_when_too_much_waits_for_all_clients_each_has_one_message_of_quality_0_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quotas, "MAX_DELAYED_BYTES_OF_ALL", 3_000_000)
    driver = driven()
    for number in range(1, 6):
        driver.connect(number)
        driver.subscribe(number, f"of/{number}", qos=0)
        for _ in range(20):
            driver.carry_out(driver.broker.publish(f"of/{number}", bytes(131_000), now=driver.now, at=driver.at))
    lost = [sum(event.client_id == f"client-{number}" for event in driver.of(Dropped)) for number in range(1, 6)]
    assert lost[0] == 0
    assert 0 < lost[1] < lost[2] == lost[3] == lost[4] == 20 - 6  # five are a second's worth, and go at once
    assert 3_000_000 < driver.broker.sizes()["delayed_bytes"] < 3_000_000 + 5 * 132_000
    for number in (1, 2, 4):
        driver.close(number)
    driver.wait(2)
    assert driver.broker.sizes()["delayed_bytes"] == driver.broker.sizes()["behind"] == 0
    driver.close(3)
    driver.close(5)
    driver.wait(1)
    assert not any(driver.broker.sizes().values())


# -- stored messages --------------------------------------------------------------------------------------------------


def stored(quotas: Quotas, number: int = 25, version: Version = V5) -> Driver:
    driver = driven(quotas)
    driver.connect(1, persistent(version))
    driver.subscribe(1, "a")
    driver.close(1)
    for index in range(number):
        driver.carry_out(driver.broker.publish("a", b"%d" % index, qos=1, now=driver.now, at=driver.at))
    driver.now += 10
    driver.connect(2, persistent(version))
    return driver


@BOTH
def test_stored_messages_come_at_10_in_a_second(version: Version) -> None:
    driver = stored("aws", version=version)
    assert payloads(driver, 2) == list(range(10))
    driver.advance(0.9)
    assert payloads(driver, 2) == []
    driver.advance(0.1)
    assert payloads(driver, 2) == list(range(10, 20))
    driver.advance(10)
    assert payloads(driver, 2) == list(range(20, 25))
    assert driver.broker.next_at() is None


def test_without_quotas_stored_messages_come_at_once() -> None:
    assert payloads(stored("off"), 2) == list(range(25))


def test_current_messages_overtake_the_stored_ones() -> None:
    driver = stored("aws")
    driver.carry_out(driver.broker.publish("a", b"1000", qos=1, now=driver.now, at=driver.at))
    driver.carry_out(driver.broker.publish("a", b"1001", qos=0, now=driver.now, at=driver.at))
    assert payloads(driver, 2) == [*range(10), 1000, 1001]
    driver.advance(2)
    assert payloads(driver, 2) == list(range(10, 25))


def test_stored_messages_wait_for_the_window_as_well() -> None:
    driver = stored("aws", 120)
    driver.advance(100)
    assert payloads(driver, 2) == list(range(100))
    driver.now += 10
    driver.acknowledge(2)
    driver.advance(100)
    assert payloads(driver, 2) == list(range(100, 120))


def test_stored_messages_wait_while_the_connection_has_no_rate_left() -> None:
    driver = stored("aws")
    driver.received(2)
    for _ in range(90):
        driver.carry_out(driver.broker.publish("a", b"0", now=driver.now, at=driver.at))
    driver.received(2)
    driver.advance(1)
    assert payloads(driver, 2) == []
    driver.now += 1
    driver.advance(1)
    assert payloads(driver, 2) == list(range(10, 20))
    assert not driver.of(Dropped)


def test_a_client_that_leaves_while_stored_messages_wait_leaves_nothing_planned_for_them() -> None:
    driver = stored("aws")
    assert driver.broker.sizes()["planned"] == 1
    driver.close(2)
    assert driver.broker.sizes()["planned"] == 1
    assert driver.broker.next_at() == driver.at + 3_600
    driver.advance(3_600)
    driver.wait(1)
    assert not any(driver.broker.sizes().values())


def test_what_comes_and_goes_unacknowledged_does_not_pile_up() -> None:
    driver = stored("aws", 200)
    for number in range(3, 8):
        for _ in range(60):
            driver.carry_out(driver.broker.publish("a", b"0", qos=1, now=driver.now, at=driver.at))
        driver.close(number - 1)
        driver.now += 10
        driver.connect(number, persistent())
        assert len(driver.unacknowledged[number]) <= 100
    driver.advance(1_000)
    driver.now += 10
    while driver.unacknowledged[7]:
        driver.acknowledge(7)
        driver.now += 1
        driver.advance(1)
    assert driver.broker.sizes()["queued"] == 0


# -- shared subscriptions ---------------------------------------------------------------------------------------------


def shared(members: int) -> Driver:
    driver = driven()
    for number in range(1, members + 1):
        driver.connect(number, persistent(client_id=f"member-{number}"))
        driver.subscribe(number, "$share/g/a")
        driver.close(number)
    for index in range(100):
        driver.carry_out(driver.broker.publish("a", b"%d" % index, qos=1, now=driver.now, at=driver.at))
    driver.now += 10
    return driver


def test_what_waited_for_a_group_comes_at_20_in_a_second_for_each_member() -> None:
    driver = shared(2)
    driver.connect(3, persistent(client_id="member-1"))
    assert payloads(driver, 3) == list(range(20))
    driver.connect(4, persistent(client_id="member-2"))
    driver.advance(1)
    assert len(payloads(driver, 3) + payloads(driver, 4)) == 40
    driver.advance(1)
    assert len(payloads(driver, 3) + payloads(driver, 4)) == 40
    assert driver.broker.sizes()["shared_waiting"] == 0


def test_current_messages_of_a_group_overtake_those_that_waited() -> None:
    driver = shared(1)
    driver.connect(3, persistent(client_id="member-1"))
    driver.carry_out(driver.broker.publish("a", b"1000", qos=1, now=driver.now, at=driver.at))
    assert payloads(driver, 3) == [*range(20), 1000]


def test_a_group_queues_what_its_members_have_no_rate_for() -> None:
    driver = driven()
    driver.connect(1, persistent(client_id="member-1"))
    driver.subscribe(1, "$share/g/a")
    for index in range(110):
        driver.carry_out(driver.broker.publish("a", b"%d" % index, qos=1, now=driver.now, at=driver.at))
        driver.acknowledge(1)
    assert payloads(driver, 1) == list(range(100))
    assert not driver.of(Dropped)
    driver.now += 1
    driver.advance(1)
    assert payloads(driver, 1) == list(range(100, 110))


def test_a_group_that_ends_while_its_messages_wait_for_the_rate_leaves_nothing_planned() -> None:
    driver = shared(1)
    driver.connect(3, Connect(V5, "member-1"))
    driver.connect(4, Connect(V5, "new"))
    driver.subscribe(4, "$share/g/a")
    for index in range(120):
        driver.carry_out(driver.broker.publish("a", b"%d" % index, qos=1, now=driver.now, at=driver.at))
    assert driver.broker.next_at() is not None
    driver.receive(4, Unsubscribe(8, ("$share/g/a",)))
    assert driver.broker.next_at() is None


# -- how it is counted ------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 5), max_size=100).map(sorted), st.integers(1, 5))
def test_a_rate_lets_no_more_than_twice_its_number_through_in_any_second(times: list[float], limit: int) -> None:
    rate = Rate(limit)
    taken = [when for when in times if rate.take(when)]
    for first in taken:
        assert sum(first <= when < first + 1 for when in taken) <= 2 * limit
    if times and len(taken) < len(times):
        assert len(taken) >= limit


def test_throughput_lets_a_seconds_worth_come_at_once_and_forgets_idle_time() -> None:
    throughput = Throughput(100)
    throughput.count(100, 0)
    assert throughput.behind_seconds(0) == 0
    throughput.count(50, 0)
    assert throughput.behind_seconds(0) == 0.5
    assert throughput.behind_seconds(0.5) == 0
    throughput.count(100, 1_000)
    assert throughput.behind_seconds(1_000) == 0


def test_the_connack_does_not_depend_on_the_quotas() -> None:
    answers = [only(driven(quotas).connect(1), ConnAck) for quotas in ("off", "aws")]  # type: ignore[arg-type]
    assert answers[0] == answers[1]


# -- all clients together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "told"), [(V5, 151), (V311, None)])
def test_the_501st_connect_of_all_clients_within_a_second_is_refused(version: Version, told: int | None) -> None:
    driver = driven()
    for number in range(1, 501):
        driver.connect(number)
    driver.connect(501, version=version)
    refused = driver.last(Refused)
    assert (refused.connection, refused.cause, refused.reason_code) == (501, "connect_rate", told)
    driver.now += 1
    driver.connect(502)
    assert len(driver.of(Connected)) == 501


def test_a_connect_over_the_rate_of_all_clients_does_not_count_for_its_client_id() -> None:
    driver = driven()
    for number in range(1, 501):
        driver.connect(number)
    driver.connect(501, client_id="device")
    driver.now += 1
    driver.connect(502, client_id="device")
    assert driver.last(Connected).client_id == "device"


def test_the_501st_topic_filter_of_all_clients_within_a_second_is_refused() -> None:
    driver = driven()
    for number in range(1, 12):
        driver.connect(number)
        for first in range(0, 48, 8):
            codes = only(driver.subscribe(number, *(f"{number}/{first + each}" for each in range(8))), SubAck)
            granted = min(8, max(0, 500 - (number - 1) * 48 - first))
            assert codes.reason_codes == (1,) * granted + (151,) * (8 - granted)
    old = 12
    driver.connect(old, version=V311)
    assert driver.subscribe(old, "a") == []
    assert (driver.hung_up, driver.last(Disconnected).reason) == ({old}, "THROTTLED")
    driver.now += 1
    assert only(driver.subscribe(1, "a"), SubAck).reason_codes == (1,)


def test_no_more_messages_come_from_or_go_to_all_clients_than_the_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "PUBLISHES_PER_SECOND", 150)
    driver = driven()
    for number in (1, 2, 3):
        driver.connect(number)
        driver.subscribe(number, "a")
    for number in (1, 2):
        for _ in range(100):
            driver.publish(number, "a")
    assert len(driver.of(Published)) == 150
    assert [len(driver.received(number)) for number in (1, 2, 3)] == [50, 50, 50]
    assert {each.cause for each in driver.of(Dropped)} == {"publish_rate", "delivery_rate"}
    driver.now += 1
    driver.publish(1, "a")
    assert len(driver.of(Published)) == 151


def test_https_publishes_count_for_the_rate_of_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "PUBLISHES_PER_SECOND", 1)
    driver = driven()
    visitor = Visitor(1, grant(), region=REGION, account=ACCOUNT)
    codes = []
    for _ in range(2):
        _, refusal = driver.broker.publish_for(
            visitor, "a", b"", qos=0, retain=False, properties=NO_PROPERTIES, now=driver.now, at=driver.at
        )
        codes.append(refusal.reason_code if refusal else None)
    assert codes == [None, 151]


def test_no_more_messages_begin_to_be_stored_than_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "QUEUED_MESSAGES_PER_SECOND", 2)
    driver = driven()
    driver.connect(1, persistent(client_id="one"))
    driver.subscribe(1, "a", "$share/g/b")
    driver.close(1)
    driver.connect(2, persistent(client_id="publisher"))
    for topic in ("a", "b", "a", "b"):
        driver.publish(2, topic, qos=1)
    assert [event.topic for event in driver.of(Queued)] == ["a", "b"]
    assert [(event.topic, event.cause) for event in driver.of(Dropped)] == [("a", "queue_rate"), ("b", "queue_rate")]
    driver.now += 1
    driver.publish(2, "a", qos=1)
    assert len(driver.of(Queued)) == 3


def test_without_quotas_none_of_the_rates_of_all_clients_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "CONNECTS_PER_SECOND",
        "SUBSCRIPTIONS_PER_SECOND",
        "PUBLISHES_PER_SECOND",
        "QUEUED_MESSAGES_PER_SECOND",
    ):
        monkeypatch.setattr(quotas, name, 0)
    driver = driven("off")
    driver.connect(1, persistent(client_id="one"))
    driver.subscribe(1, "a")
    driver.close(1)
    driver.connect(2)
    driver.publish(2, "a", qos=1)
    driver.connect(3, persistent(client_id="one"))
    assert driver.topics(3) == ["a"]


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.4)), max_size=60))
def test_a_rate_within_another_lets_through_what_both_would(steps: list[tuple[int, float]]) -> None:
    of_all = Rate(5)
    both = [BothRates(Rate(3), of_all) for _ in range(3)]
    now, let_through = 0.0, list[tuple[float, int]]()
    for who, pause in steps:
        now += pause
        allowed = both[who].allows(now)
        assert both[who].take(now) == allowed
        if allowed:
            let_through.append((now, who))
    for when, who in let_through:
        within = [each for each in let_through if when <= each[0] < when + 1]
        assert len(within) <= 10
        assert sum(each[1] == who for each in within) <= 6


def test_what_is_over_the_rate_of_all_does_not_count_for_ones_own_and_the_other_way_round() -> None:
    of_all = Rate(3)
    one, other = BothRates(Rate(2), of_all), BothRates(Rate(3), of_all)
    assert [one.take(0) for _ in range(3)] == [True, True, False]
    assert [other.take(0.5) for _ in range(4)] == [True, False, False, False]
    assert [other.take(1) for _ in range(3)] == [True, True, False]

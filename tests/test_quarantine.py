"""Who makes the service hang up is found, fails, and the rest goes on; and nobody is blamed for a bad network."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from client_support import BOTH, GOOD, WAIT, Dial, States, allowing, connects, failure, seen
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import ManualClock, PolicyDenied, State, connect
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.quarantine import EndKind, Quarantine, Suspect

pytest_plugins = ("client_support",)

HUNG_UP, CUT, SAID = EndKind.HUNG_UP, EndKind.CUT, EndKind.SAID


def publish(number: int) -> Suspect:
    return Suspect(number, "iot:Publish", f"topic/{number}")


# -- the verdict ----------------------------------------------------------------------------------------------------


def test_a_lone_suspect_is_guilty_the_second_time() -> None:
    quarantine = Quarantine()
    assert quarantine.ended([publish(1)], 0.0, HUNG_UP) == ()
    assert quarantine.ended([publish(1)], 1.0, HUNG_UP) == (publish(1),)


def test_another_suspect_each_time_is_nobodys_guilt() -> None:
    quarantine = Quarantine()
    for number in range(50):
        assert quarantine.ended([publish(number)], float(number), HUNG_UP) == ()
        assert not quarantine.narrow


def test_a_hang_up_with_nobody_in_between_starts_again() -> None:
    quarantine = Quarantine()
    quarantine.ended([publish(1)], 0.0, HUNG_UP)
    quarantine.ended([], 1.0, HUNG_UP)
    assert quarantine.ended([publish(1)], 2.0, HUNG_UP) == ()


@given(count=st.integers(1, 100), data=st.data())
def test_one_guilty_among_many_is_found_at_the_third_end_and_no_innocent_is_blamed(
    count: int, data: st.DataObject
) -> None:
    guilty = data.draw(st.integers(0, count - 1))
    everybody = [publish(number) for number in range(count)]
    quarantine = Quarantine()
    for end in range(1, 4):
        # One at a time: all before the guilty one have their answers, and none after it was sent.
        sent = [everybody[guilty]] if quarantine.narrow else everybody
        verdict = quarantine.ended(sent, float(end), HUNG_UP)
        if verdict:
            break
    assert verdict == (everybody[guilty],)
    assert end == (2 if count == 1 else 3)
    assert not quarantine.narrow


def test_who_was_guilty_before_needs_no_second_proof_until_it_is_pardoned() -> None:
    quarantine = Quarantine()
    quarantine.ended([publish(1)], 0.0, HUNG_UP)
    quarantine.ended([publish(1)], 1.0, HUNG_UP)
    again = Suspect("another message", "iot:Publish", "topic/1")
    assert quarantine.ended([again], 2.0, HUNG_UP) == (again,)
    quarantine.pardon()
    assert quarantine.ended([Suspect("a third", "iot:Publish", "topic/1")], 3.0, HUNG_UP) == ()


def test_topics_of_qos_0_that_cannot_be_told_apart_are_all_found_guilty_at_last() -> None:
    pair = [Suspect(("qos0", name), "iot:Publish", name, qos=0) for name in ("a", "b")]
    quarantine = Quarantine()
    assert [quarantine.ended(pair, float(end), HUNG_UP) for end in range(4)] == [(), (), (), tuple(pair)]


@given(ends=st.lists(st.sets(st.integers(0, 3)), max_size=30))
def test_a_network_that_cuts_connections_convicts_nobody_however_often(ends: list[set[int]]) -> None:
    quarantine = Quarantine()
    for end, numbers in enumerate(ends):
        assert quarantine.ended([publish(number) for number in numbers], float(end), CUT) == ()


def test_cuts_between_two_hang_ups_neither_help_nor_harm_a_suspect() -> None:
    quarantine = Quarantine()
    assert quarantine.ended([publish(1)], 0.0, HUNG_UP) == ()
    for end in range(1, 5):
        assert quarantine.ended([publish(1)], float(end), CUT) == ()
    assert quarantine.ended([publish(1)], 9.0, HUNG_UP) == (publish(1),)


def test_who_was_suspected_among_others_and_then_alone_is_not_guilty_at_the_second_end() -> None:
    quarantine = Quarantine()
    assert quarantine.ended([publish(1), publish(2)], 0.0, HUNG_UP) == ()
    assert quarantine.ended([publish(1)], 1.0, HUNG_UP) == ()
    assert quarantine.ended([publish(1)], 2.0, HUNG_UP) == (publish(1),)


def test_a_topic_of_qos_0_needs_a_word_of_the_service_or_a_third_hang_up() -> None:
    topic = Suspect(("qos0", "a"), "iot:Publish", "a", qos=0)
    said, silent = Quarantine(), Quarantine()
    assert [said.ended([topic], float(end), SAID) for end in range(2)] == [(), (topic,)]
    assert [silent.ended([topic], float(end), HUNG_UP) for end in range(3)] == [(), (), (topic,)]


# -- the real thing -------------------------------------------------------------------------------------------------


def test_over_mqtt311_one_forbidden_message_among_many_fails_and_all_others_arrive_in_order(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial("mqtt311", timeout=0)
    futures = []
    for number in range(60):
        if number == 30:
            forbidden = connection.publish("forbidden/b", b"no")
        futures.append(connection.publish(topic, b"%d" % number))
    error = failure(PolicyDenied, forbidden.result, 30)
    assert (error.code, error.action, error.topic) == ("quarantined", "iot:Publish", "forbidden/b")
    for future in futures:
        future.result(30)
    arrived = [int(event.payload) for event in seen(service, events.Published, client_id)]
    assert list(dict.fromkeys(arrived)) == list(range(60))
    assert connects(service, client_id) <= 4


def test_over_mqtt311_a_second_message_to_the_topic_is_refused_without_a_hang_up(
    dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    connection = dial("mqtt311")
    failure(PolicyDenied, connection.publish("forbidden/c", b"1").result, WAIT)
    connection.wait_connected(WAIT)
    before = connects(service, client_id)
    failure(PolicyDenied, connection.publish("forbidden/c", b"2").result, WAIT)
    assert connects(service, client_id) == before


def test_over_mqtt5_a_topic_with_qos_0_that_ends_the_connection_is_found(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial("mqtt5", on_state_change=states)
    lost = None
    for _ in range(2):
        connected = states.wait_for(State.CONNECTED, after=lost)
        connection.publish("forbidden/qos0", b"no", qos=0)
        lost = states.wait_for(State.WAITING, after=connected)
    states.wait_for(State.CONNECTED, after=lost)
    failure(PolicyDenied, connection.publish("forbidden/qos0", b"no", qos=0).result, WAIT)
    connection.publish(topic, b"the rest goes on").result(WAIT)
    assert connects(service, client_id) == 3


def test_over_mqtt311_a_message_is_found_however_long_the_pauses_between_the_attempts_are(dial: Dial) -> None:
    clock, states = ManualClock(), States()
    connection = dial("mqtt311", clock=clock, on_state_change=states)
    forbidden = connection.publish("forbidden/slow", b"no")
    lost = states.wait_for(State.WAITING)
    clock.advance(60)  # awscrt sends it again by itself, as soon as it is connected
    states.wait_for(State.WAITING, after=lost)
    failure(PolicyDenied, forbidden.result, WAIT)


def test_over_mqtt311_a_topic_with_qos_0_is_found_though_it_is_published_to_a_while_after_the_connect(
    dial: Dial, client_id: str
) -> None:
    states = States()
    connection = dial("mqtt311", on_state_change=states)
    lost = None
    for number in range(3):
        connected = states.wait_for(State.CONNECTED, after=lost)
        if number == 2:  # it went one thing at a time, and that is over by now
            singly = threading.Event()
            while connection.stats().connected_for_seconds < 0.3:
                singly.wait(0.05)
        connection.publish("forbidden/qos0", b"no", qos=0)
        lost = states.wait_for(State.WAITING, after=connected)
        connection.retry_now()
    states.wait_for(State.CONNECTED, after=lost)
    failure(PolicyDenied, connection.publish("forbidden/qos0", b"no", qos=0).result, WAIT)


def test_over_mqtt311_a_forbidden_filter_is_refused_and_the_others_are_granted(client_id: str, topic: str) -> None:
    def authorizer(event: Mapping[str, Any], context: object) -> dict[str, object]:
        return allowing()

    with LocalEndpoint({"gate": authorizer}, refused_subscribe_311="hang_up") as endpoint:
        settings = endpoint.settings(client_id, protocol="mqtt311")
        with connect(settings, credentials=GOOD, timeout=0) as connection:
            first, denied, last = (connection.subscribe(each) for each in (topic, "forbidden/#", f"{topic}/x"))
            error = failure(PolicyDenied, denied.wait_granted, 30)
            assert (error.action, error.topic) == ("iot:Subscribe", "forbidden/#")
            assert first.wait_granted(30) == last.wait_granted(30) == 1
            endpoint.publish(f"{topic}/x", b"still there", qos=1)
            assert last.get(WAIT).payload == b"still there"


@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_a_network_that_drops_connections_costs_no_message(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial(protocol, on_state_change=states)
    lost = states.wait_for(State.CONNECTED)
    futures = []
    for number in range(4):
        connected = states.wait_for(State.CONNECTED, after=lost if number else None)
        batch = [connection.publish(topic, b"%d" % (100 * number + each)) for each in range(100)]
        batch[0].result(WAIT)  # something gets through: else nobody could tell it from a denial
        futures += batch
        service.faults.drop(client_id)
        lost = states.wait_for(State.WAITING, after=connected)
        connection.retry_now()
    for future in futures:
        future.result(30)
    arrived = [int(event.payload) for event in seen(service, events.Published, client_id)]
    assert list(dict.fromkeys(arrived)) == list(range(400))


@pytest.mark.parametrize("how", ["rst", "fin"])
@BOTH
def test_a_message_that_waits_alone_while_the_network_cuts_every_connection_is_not_blamed(
    protocol: str, how: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial(protocol, on_state_change=states)
    cuts = 3
    service.faults.swallow("PUBACK", times=cuts, client_id=client_id)
    future = connection.publish(topic, b"innocent")
    arrived, connected = None, states.wait_for(State.CONNECTED)
    for _ in range(cuts):
        arrived = service.wait_for(events.Published, client_id=client_id, after=arrived, timeout=WAIT)
        service.faults.drop(client_id, how=how)  # type: ignore[arg-type]
        waiting = states.wait_for(State.WAITING, after=connected)
        connection.retry_now()
        connected = states.wait_for(State.CONNECTED, after=waiting)
    assert future.result(WAIT).attempts >= 1

"""Each fault of `endpoint.faults`, as awscrt's and paho's clients see it, in both versions of MQTT.

What the wire looks like is shown beside the endpoint, in tests/local; that the broker forgets a fault once it is used
up, beside the broker. Here: that a fault is what it stands for to a client that somebody wants to test with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from client_support import WAIT
from session_bench import EACH, MQTT5, MQTT311, Dial, Kind, allowing, dialling
from session_device import AUTHORIZER, Refused

from iot_customauth_client import ManualClock
from iot_customauth_client.local import LocalEndpoint, events

pytest_plugins = ("client_support",)

THROTTLED = 151


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def endpoint(clock: ManualClock) -> Iterator[LocalEndpoint]:
    with LocalEndpoint({AUTHORIZER: allowing()}, clock=clock) as endpoint:
        yield endpoint


@pytest.fixture
def dial(endpoint: LocalEndpoint) -> Iterator[Dial]:
    with dialling(endpoint) as dial:
        yield dial


# -- the network ------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_dropped_connection_is_lost_without_a_word(endpoint: LocalEndpoint, dial: Dial, kind: Kind, how: Any) -> None:
    device = dial(kind)
    assert endpoint.faults.drop("device", how=how) == 1
    assert device.lost.get(timeout=WAIT) is None
    assert endpoint.wait_for(events.Disconnected, timeout=WAIT).reason == "CONNECTION_LOST"


@EACH
def test_a_half_open_connection_answers_nothing(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    device, other = dial(kind), dial(kind, "other")
    assert endpoint.faults.half_open("device") == 1
    unanswered = device.publish("my-topic", b"into the void")
    for _ in range(10):  # by then the other would have been answered too
        assert other.publish("my-topic", b"heard").result(WAIT) == 0
    assert not unanswered.done()
    assert device.lost.empty()
    assert {each.payload for each in endpoint.events.of_kind(events.Published)} == {b"heard"}
    endpoint.faults.drop("device")
    assert device.lost.get(timeout=WAIT) is None


@EACH
def test_an_unreachable_endpoint_loses_everybody_until_it_comes_back(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    devices = [dial(kind, name, returns=True) for name in ("one", "two")]
    with endpoint.faults.unreachable():
        for device in devices:
            assert device.lost.get(timeout=WAIT) is None
    for device in devices:
        device.welcome()
        assert device.publish("my-topic", b"here again").result(WAIT) == 0


# -- CONNECT ----------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    ("ask_for", "code"),
    [
        (lambda faults: faults.refuse_connects(2), 128),
        (lambda faults: faults.refuse_connects(2, reason_code=135), 135),
        (lambda faults: faults.answer("CONNECT", 134, times=2), 134),
        (lambda faults: faults.throttle("CONNECT", times=2), THROTTLED),
    ],
    ids=["refuse-connects", "refuse-connects-135", "answer", "throttle"],
)
def test_the_next_two_connects_are_refused(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind, ask_for: Callable[[Any], None], code: int
) -> None:
    ask_for(endpoint.faults)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            dial(kind)
        assert refused.value.code == (code if kind.is_5 else None)  # MQTT 3.1.1 is hung up on
    dial(kind)
    assert endpoint.faults.pending == ()


@EACH
def test_a_delayed_connack_comes_when_the_clock_says_so(
    endpoint: LocalEndpoint, clock: ManualClock, kind: Kind
) -> None:
    endpoint.faults.delay("CONNACK", 3)
    with dialling(endpoint) as dial:
        device = dial(kind, waits=False)
        endpoint.wait_for(events.Connected, client_id="device", timeout=WAIT)
        assert device.welcomes.empty()
        clock.advance(3)
        device.welcome()


# -- what a connected client sends ------------------------------------------------------------------------------------


@EACH
def test_a_delayed_puback_comes_when_the_clock_says_so(
    endpoint: LocalEndpoint, dial: Dial, clock: ManualClock, kind: Kind
) -> None:
    device = dial(kind)
    endpoint.faults.delay("PUBACK", 3, topic="late")
    late = device.publish("late", b"")
    assert device.publish("my-topic", b"").result(WAIT) == 0
    assert not late.done()
    clock.advance(3)
    assert late.result(WAIT) == 0


@EACH
def test_a_delayed_delivery_comes_when_the_clock_says_so(
    endpoint: LocalEndpoint, dial: Dial, clock: ManualClock, kind: Kind
) -> None:
    device = dial(kind)
    device.subscribe("my-topic")
    endpoint.faults.delay("PUBLISH", 3, client_id="device")
    for payload in (b"late", b"in time"):
        endpoint.publish("my-topic", payload, qos=1)
    assert device.payload() == b"in time"
    clock.advance(3)
    assert device.payload() == b"late"


@MQTT5
@pytest.mark.parametrize("ask_for", ["answer", "throttle"])
def test_a_publish_is_told_that_it_is_too_much(endpoint: LocalEndpoint, dial: Dial, kind: Kind, ask_for: str) -> None:
    device = dial(kind)
    if ask_for == "answer":
        endpoint.faults.answer("PUBLISH", THROTTLED)
    else:
        endpoint.faults.throttle("PUBLISH")
    assert device.publish("my-topic", b"1").result(WAIT) == THROTTLED
    assert device.publish("my-topic", b"2").result(WAIT) == 0
    assert [each.payload for each in endpoint.events.of_kind(events.Published)] == [b"2"]


@MQTT311
def test_in_311_a_throttled_publish_has_no_puback_and_a_refused_one_ends_the_connection(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    device = dial(kind)
    endpoint.faults.throttle("PUBLISH")
    unanswered = device.publish("my-topic", b"1")
    assert device.publish("my-topic", b"2").result(WAIT) == 0
    assert not unanswered.done()
    assert endpoint.wait_for(events.Dropped, timeout=WAIT).cause == "publish_rate"
    endpoint.faults.answer("PUBLISH", 135)
    device.publish("my-topic", b"3")
    assert device.lost.get(timeout=WAIT) is None
    assert [each.payload for each in endpoint.events.of_kind(events.Published)] == [b"2"]


@MQTT5
def test_a_subscribe_is_answered_with_a_given_reason_code(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    device = dial(kind)
    endpoint.faults.answer("SUBSCRIBE", 135, topic="other-topic")
    assert [device.subscribe(each) for each in ("my-topic", "other-topic", "other-topic")] == [1, 135, 1]


@EACH
def test_a_client_is_disconnected_with_a_reason(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    device = dial(kind)
    assert endpoint.disconnect("device", "THROTTLED")
    assert device.lost.get(timeout=WAIT) == (THROTTLED if kind.is_5 else None)
    assert endpoint.wait_for(events.Disconnected, timeout=WAIT).reason == "THROTTLED"

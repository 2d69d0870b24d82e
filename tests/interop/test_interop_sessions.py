"""Sessions over real sockets, with clients that are not ours: awscrt's and paho's, each in both versions of MQTT.

What is kept while a client is away, what is shared, what is said when it is lost, who may have a client id, what runs
out, and how much may be unacknowledged. Time is a clock that the tests move; everything else is real.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest
from client_support import WAIT
from session_bench import DAY, EACH, HOUR, KINDS, MQTT5, OTHER_VERSION, Dial, Kind, allowing, dialling
from session_device import AUTHORIZER, Device, Message, has_acknowledged, is_lost, leaves, most_unacknowledged, payloads
from session_device_awscrt import Awscrt5
from session_device_paho import Paho5, Paho311

from iot_customauth_client import ManualClock, Will
from iot_customauth_client.local import LocalEndpoint, events

pytest_plugins = ("client_support",)

GONE = Will("wills", payload=b"gone", qos=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def refresh_seconds() -> int:
    """How often the authorizer wants to be asked again: not before the connection's day is over."""
    return DAY


@pytest.fixture
def endpoint(clock: ManualClock, refresh_seconds: int) -> Iterator[LocalEndpoint]:
    with LocalEndpoint({AUTHORIZER: allowing(refresh_seconds)}, clock=clock) as endpoint:
        yield endpoint


@pytest.fixture
def dial(endpoint: LocalEndpoint) -> Iterator[Dial]:
    with dialling(endpoint) as dial:
        yield dial


# -- persistent sessions ----------------------------------------------------------------------------------------------


@EACH
def test_a_session_keeps_subscriptions_and_stores_qos_1_while_its_client_is_away(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    first = dial(kind, session_seconds=600)
    assert not first.greeting.session_present
    assert first.subscribe("my-topic") == 1
    leaves(first)
    endpoint.publish("my-topic", b"not stored", qos=0)
    stored = [b"%d" % number for number in range(5)]
    for payload in stored:
        endpoint.publish("my-topic", payload, qos=1)
    again = dial(kind, session_seconds=600)  # a new object: what is kept is kept by the endpoint
    assert again.greeting.session_present
    assert again.publish("my-topic", b"as it comes").result(WAIT) == 0
    assert payloads(again, 6) == [*stored, b"as it comes"]


@EACH
def test_what_was_not_acknowledged_comes_again_first_when_the_library_reconnects(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    device = dial(kind, session_seconds=600, returns=True)
    device.subscribe("my-topic")
    endpoint.faults.swallow("PUBLISH", times=100, client_id="device")
    sent = [b"%d" % number for number in range(120)]
    for payload in sent:  # 100 are on their way and not acknowledged, 20 wait behind them
        endpoint.publish("my-topic", payload, qos=1)
    with endpoint.faults.unreachable():
        assert device.lost.get(timeout=WAIT) is None
        endpoint.publish("my-topic", b"while away", qos=1)
    assert device.welcome().session_present
    assert payloads(device, 121) == [*sent, b"while away"]


@EACH
def test_a_publish_without_its_puback_is_sent_again_when_the_library_reconnects(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    device = dial(kind, session_seconds=600, returns=True)
    endpoint.faults.swallow("PUBACK", client_id="device")
    acknowledged = device.publish("my-topic", b"twice")
    endpoint.wait_for(events.Published, client_id="device", timeout=WAIT)
    is_lost(device)
    assert device.welcome().session_present
    assert acknowledged.result(WAIT) == 0
    assert [(each.payload, each.duplicate) for each in endpoint.events.of_kind(events.Published)] == [
        (b"twice", False),
        (b"twice", True),
    ]


@EACH
def test_a_clean_start_ends_the_session_and_what_was_stored(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    first = dial(kind, session_seconds=600)
    first.subscribe("my-topic")
    leaves(first)
    endpoint.publish("my-topic", b"stored", qos=1)
    clean = dial(kind)
    assert not clean.greeting.session_present
    assert endpoint.wait_for(events.SessionEnded, client_id="device", timeout=WAIT).cause == "clean_start"
    clean.subscribe("my-topic")
    endpoint.publish("my-topic", b"as it comes", qos=1)
    assert clean.payload() == b"as it comes"
    leaves(clean)
    assert not dial(kind, session_seconds=600).greeting.session_present  # nor was the clean one kept


@EACH
def test_the_sessions_of_the_two_versions_are_not_interchangeable(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    leaves(dial(kind, session_seconds=600))
    assert not dial(OTHER_VERSION[kind], session_seconds=600).greeting.session_present
    assert endpoint.wait_for(events.SessionEnded, client_id="device", timeout=WAIT).cause == "other_version"


# -- shared subscriptions ---------------------------------------------------------------------------------------------


@EACH
def test_each_message_goes_to_one_member_and_to_the_other_when_that_is_gone(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    members = [dial(kind, name) for name in ("one", "two")]
    for member in members:
        assert member.subscribe("$share/group/my-topic") == 1
    sent = {b"%d" % number for number in range(40)}
    for payload in sent:
        endpoint.publish("my-topic", payload, qos=1)
    for payload in sent:
        endpoint.wait_for(events.Delivered, payload=payload, timeout=WAIT)
    delivered = endpoint.events.of_kind(events.Delivered)
    shares = {member: [each.payload for each in delivered if each.client_id == member.client_id] for member in members}
    assert sorted(payload for share in shares.values() for payload in share) == sorted(sent)
    for member, share in shares.items():
        assert share  # all 40 to one of the two: once in 500 thousand million runs
        assert payloads(member, len(share)) == share
        has_acknowledged(member, len(share))
    leaves(members[0])
    endpoint.publish("my-topic", b"to who is left", qos=1)
    assert members[1].payload() == b"to who is left"


@EACH
def test_what_a_member_did_not_acknowledge_goes_to_another_one(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    one = dial(kind, "one", session_seconds=600)
    one.subscribe("$share/group/my-topic")
    endpoint.faults.swallow("PUBLISH", times=2, client_id="one")
    for payload in (b"1", b"2"):
        endpoint.publish("my-topic", payload, qos=1)
    two = dial(kind, "two")
    two.subscribe("$share/group/my-topic")
    is_lost(one)
    assert payloads(two, 2) == [b"1", b"2"]


@EACH
def test_messages_wait_for_the_group_while_all_its_members_are_away(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    for name in ("one", "two"):
        member = dial(kind, name, session_seconds=600)
        member.subscribe("$share/group/my-topic")
        leaves(member)
    for payload in (b"1", b"2"):
        endpoint.publish("my-topic", payload, qos=1)
    assert endpoint.wait_for(events.Queued, timeout=WAIT).topic_filter == "$share/group/my-topic"
    assert payloads(dial(kind, "two", session_seconds=600), 2) == [b"1", b"2"]


def test_members_of_all_makers_and_both_versions_share(endpoint: LocalEndpoint, dial: Dial) -> None:
    members = [dial(kind, kind.__name__) for kind in KINDS]
    for member in members:
        member.subscribe("$share/group/my-topic")
    outsider = dial(Paho311, "outsider")
    outsider.subscribe("my-topic")
    sent = [b"%d" % number for number in range(200)]
    for payload in sent:
        endpoint.publish("my-topic", payload, qos=1)
    assert payloads(outsider, 200) == sent  # who is no member gets all
    shared: list[bytes] = []
    for member in members:
        share = [
            each.payload for each in endpoint.events.of_kind(events.Delivered) if each.client_id == member.client_id
        ]
        assert share
        assert payloads(member, len(share)) == share
        shared += share
    assert sorted(shared) == sorted(sent)


# -- wills ------------------------------------------------------------------------------------------------------------


@EACH
def test_the_will_of_a_lost_client_is_published(dial: Dial, kind: Kind) -> None:
    watcher = dial(kind, "watcher")
    watcher.subscribe("wills")
    is_lost(dial(kind, will=GONE))
    assert watcher.received.get(timeout=WAIT) == Message("wills", b"gone", 1)


@EACH
def test_a_client_that_says_goodbye_takes_its_will_with_it(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    watcher = dial(kind, "watcher")
    watcher.subscribe("wills")
    leaves(dial(kind, will=GONE))
    endpoint.publish("wills", b"next", qos=1)
    assert watcher.payload() == b"next"


@EACH
def test_a_retained_will_is_there_for_who_comes_later(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    is_lost(dial(kind, will=Will("wills", payload=b"gone", qos=1, retain=True)))
    endpoint.wait_for(events.Published, topic="wills", retain=True, timeout=WAIT)
    watcher = dial(kind, "watcher")
    watcher.subscribe("wills")
    assert watcher.payload() == b"gone"


@MQTT5
def test_a_goodbye_may_ask_for_the_will(dial: Dial, kind: Kind) -> None:
    watcher = dial(kind, "watcher")
    watcher.subscribe("wills")
    leaves(dial(kind, will=GONE), with_will=True)
    assert watcher.payload() == b"gone"


@MQTT5
def test_a_delayed_will_waits_and_who_comes_back_in_time_takes_it_back(
    endpoint: LocalEndpoint, dial: Dial, clock: ManualClock, kind: Kind
) -> None:
    watcher = dial(kind, "watcher")
    watcher.subscribe("wills")
    wish: dict[str, Any] = {"session_seconds": 600, "will": GONE, "will_delay_seconds": 60}
    is_lost(dial(kind, **wish))
    clock.advance(59)
    again = dial(kind, **wish)
    assert again.greeting.session_present
    clock.advance(60)
    is_lost(again)
    clock.advance(59)
    endpoint.publish("wills", b"not yet", qos=1)
    clock.advance(1)
    assert payloads(watcher, 2) == [b"not yet", b"gone"]
    assert len([each for each in endpoint.events.of_kind(events.Published) if each.payload == b"gone"]) == 1


# -- takeover ---------------------------------------------------------------------------------------------------------


@EACH
def test_who_comes_with_the_same_client_id_takes_the_session_over(
    endpoint: LocalEndpoint, dial: Dial, kind: Kind
) -> None:
    watcher = dial(kind, "watcher")
    watcher.subscribe("wills")
    old = dial(kind, session_seconds=600, will=GONE)
    old.subscribe("my-topic")
    new = dial(kind, session_seconds=600)
    assert new.greeting.session_present
    assert old.lost.get(timeout=WAIT) == (142 if kind.is_5 else None)  # session taken over
    ended = endpoint.wait_for(events.Disconnected, client_id="device", timeout=WAIT)
    assert ended.reason == "DUPLICATE_CLIENTID"
    assert watcher.payload() == b"gone"
    endpoint.publish("my-topic", b"for the new one", qos=1)
    assert new.payload() == b"for the new one"
    with pytest.raises(queue.Empty):
        old.received.get_nowait()


# -- expiry -----------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("kept", [True, False], ids=["in-time", "too-late"])
def test_a_session_ends_when_its_time_is_over(
    endpoint: LocalEndpoint, dial: Dial, clock: ManualClock, kind: Kind, kept: bool
) -> None:
    lives = 600 if kind.is_5 else HOUR  # MQTT 3.1.1 cannot ask for less than the account's
    first = dial(kind, session_seconds=600)
    first.subscribe("my-topic")
    leaves(first)
    endpoint.publish("my-topic", b"stored", qos=1)
    clock.advance(lives - 1)
    if not kept:
        clock.advance(1)
        assert endpoint.wait_for(events.SessionEnded, timeout=WAIT).cause == "expired"
    again = dial(kind, session_seconds=600)
    assert again.greeting.session_present is kept
    if kept:
        assert again.payload() == b"stored"
        clock.advance(DAY // 2)  # its time does not run while it is connected
        leaves(again)
        assert dial(kind, session_seconds=600).greeting.session_present


@EACH
@pytest.mark.parametrize("refresh_seconds", [300])
def test_after_a_day_of_refreshes_the_connection_ends_and_its_session_an_hour_later(
    endpoint: LocalEndpoint, dial: Dial, clock: ManualClock, kind: Kind
) -> None:
    wish = {"session_seconds": HOUR}
    device = dial(kind, **wish)
    clock.advance(DAY)
    assert device.lost.get(timeout=WAIT) == (152 if device.is_5 else None)  # administrative action
    assert endpoint.wait_for(events.Disconnected, timeout=WAIT).reason == "CUSTOMAUTH_TTL_EXPIRATION"
    assert len(endpoint.events.of_kind(events.AuthorizerCalled)) == DAY // 300
    again = dial(kind, **wish)
    assert again.greeting.session_present
    leaves(again)
    clock.advance(HOUR)
    assert not dial(kind, **wish).greeting.session_present


@MQTT5
@pytest.mark.parametrize(("asked", "told"), [(600, 600), (DAY, HOUR)])
def test_a_session_is_kept_for_at_most_an_hour_and_connack_says_so(
    dial: Dial, kind: Kind, asked: int, told: int
) -> None:
    assert dial(kind, session_seconds=asked).greeting.session_seconds == told


@EACH
def test_a_stored_message_expires_and_what_is_left_counts_down(
    endpoint: LocalEndpoint, dial: Dial, clock: ManualClock, kind: Kind
) -> None:
    device = dial(kind, session_seconds=600)
    device.subscribe("my-topic")
    leaves(device)
    publisher = dial(Paho5 if kind is Awscrt5 else Awscrt5, "publisher")  # MQTT 3.1.1 cannot say it
    for payload, seconds in ((b"short", 60), (b"long", 300), (b"for ever", None)):
        assert publisher.publish("my-topic", payload, expiry_seconds=seconds).result(WAIT) == 0
    clock.advance(61)
    again = dial(kind, session_seconds=600)
    left = 239 if kind.is_5 else None
    assert again.received.get(timeout=WAIT) == Message("my-topic", b"long", 1, left)
    assert again.received.get(timeout=WAIT) == Message("my-topic", b"for ever", 1)
    gone = endpoint.wait_for(events.Dropped, client_id="device", timeout=WAIT)
    assert (gone.payload, gone.cause) == (b"short", "expired")


# -- receive maximum --------------------------------------------------------------------------------------------------


def gets_no_more_than(maximum: int, endpoint: LocalEndpoint, device: Device) -> None:
    """The device holds back its PUBACKs, is sent so many messages, and the rest when it acknowledges."""
    device.subscribe("my-topic")
    device.hold()
    sent = [b"%d" % number for number in range(maximum + 20)]
    for payload in sent:
        endpoint.publish("my-topic", payload, qos=1)
    assert len(endpoint.events.of_kind(events.Delivered)) == maximum
    assert device.payload() == sent[0]
    device.let_go()
    assert payloads(device, len(sent) - 1) == sent[1:]
    has_acknowledged(device, len(sent))
    assert most_unacknowledged(device) == maximum


@EACH
def test_no_more_than_100_messages_are_unacknowledged(endpoint: LocalEndpoint, dial: Dial, kind: Kind) -> None:
    gets_no_more_than(100, endpoint, dial(kind))


@MQTT5
@pytest.mark.parametrize("maximum", [1, 3])
def test_a_client_of_mqtt_5_may_ask_for_fewer(endpoint: LocalEndpoint, dial: Dial, kind: Kind, maximum: int) -> None:
    gets_no_more_than(maximum, endpoint, dial(kind, receive_maximum=maximum))


@MQTT5
def test_connack_tells_how_many_a_client_may_have_unacknowledged(dial: Dial, kind: Kind) -> None:
    assert dial(kind).greeting.receive_maximum == 100

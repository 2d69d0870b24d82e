"""What happens later: delayed wills, the life of a connection, refreshed grants; and on which clock."""

from __future__ import annotations

import pytest
from broker_driver import ARN, EVERYTHING, V5, V311, Driver, everything_but, grant, statement
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.agenda import Agenda, Planned
from iot_customauth_client.local.codec import Connect, Disconnect, Property, Publish, SubAck, Version, Will
from iot_customauth_client.local.effects import Effect, HangUp
from iot_customauth_client.local.events import Decided, Disconnected, Published, SessionEnded
from iot_customauth_client.local.moment import Moment

BOTH = pytest.mark.parametrize("version", [V5, V311])


def willing(*, delay: int = 30, expiry: int = 100, clean_start: bool = False, client_id: str = "device") -> Connect:
    will = Will("gone", b"it is gone", 1, properties={Property.WILL_DELAY_INTERVAL: delay})
    return Connect(V5, client_id, clean_start, 60, will=will, properties={Property.SESSION_EXPIRY_INTERVAL: expiry})


def wills(driver: Driver) -> list[bytes]:
    return [event.payload for event in driver.of(Published) if event.topic == "gone"]


def watched(packet: Connect | None = None) -> Driver:
    """A device with a will (1), and a client that gets the will (9)."""
    driver = Driver()
    driver.connect(1, packet or willing())
    driver.connect(9, Connect(V5, "watcher"))
    driver.subscribe(9, "gone")
    return driver


# -- wills ------------------------------------------------------------------------------------------------------------


def test_a_will_waits_for_its_delay() -> None:
    driver = watched()
    driver.close(1)
    driver.advance(29.9)
    assert wills(driver) == []
    driver.advance(0.1)
    assert wills(driver) == [b"it is gone"]
    assert driver.topics(9) == ["gone"]
    driver.advance(1_000)
    assert wills(driver) == [b"it is gone"]


def test_real_time_does_not_end_the_delay_of_a_will() -> None:
    driver = watched()
    driver.close(1)
    driver.now += 1_000
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert wills(driver) == []


def test_a_client_that_resumes_its_session_takes_its_will_back() -> None:
    driver = watched()
    driver.close(1)
    driver.advance(29)
    driver.connect(2, willing())
    driver.advance(10_000)
    assert wills(driver) == []


def test_a_takeover_that_resumes_the_session_takes_a_delayed_will_back() -> None:
    driver = watched()
    driver.connect(2, willing())
    driver.advance(10_000)
    assert wills(driver) == []
    driver.connect(3, willing(delay=0))
    driver.connect(4, willing())
    assert wills(driver) == [b"it is gone"]


def test_a_will_does_not_wait_longer_than_the_session_lives() -> None:
    driver = watched(willing(delay=1_000, expiry=100))
    driver.close(1)
    driver.advance(99)
    assert wills(driver) == []
    driver.advance(1)
    assert wills(driver) == [b"it is gone"]
    assert driver.last(SessionEnded).cause == "expired"


def test_a_session_that_ends_with_its_connection_leaves_no_time_for_a_delay() -> None:
    driver = watched(willing(expiry=0))
    driver.close(1)
    assert wills(driver) == [b"it is gone"]


def test_a_clean_start_ends_the_session_and_so_the_delay() -> None:
    driver = watched()
    driver.close(1)
    driver.connect(2, willing(clean_start=True))
    assert wills(driver) == [b"it is gone"]


def test_the_expiry_of_a_will_begins_when_it_is_published() -> None:
    will = Will("gone", b"x", 1, properties={Property.WILL_DELAY_INTERVAL: 30, Property.MESSAGE_EXPIRY_INTERVAL: 10})
    driver = watched(Connect(V5, "device", will=will, properties={Property.SESSION_EXPIRY_INTERVAL: 100}))
    driver.close(1)
    driver.advance(1_000)
    (message,) = driver.received(9)
    assert message.properties == {Property.MESSAGE_EXPIRY_INTERVAL: 10}


def test_disconnecting_drops_a_will_that_has_a_delay() -> None:
    driver = watched()
    driver.receive(1, Disconnect())
    driver.advance(10_000)
    assert wills(driver) == []


@BOTH
def test_the_will_of_a_kept_session_without_a_delay_is_published_at_once(version: Version) -> None:
    properties = {Property.SESSION_EXPIRY_INTERVAL: 100} if version is V5 else {}
    will = Will("gone", b"it is gone", 1)
    driver = watched(Connect(version, "device", False, will=will, properties=properties))
    driver.close(1)
    assert wills(driver) == [b"it is gone"]
    assert driver.broker.sizes()["kept_sessions"] == 1


@pytest.mark.parametrize("there", [True, False])
def test_the_user_of_the_endpoint_can_prevent_a_will(there: bool) -> None:
    driver = watched()
    if not there:
        driver.close(1)
    effects = driver.broker.disconnect(
        "device",
        "API_INITIATED_DISCONNECT",
        clean_session=True,
        prevent_will_message=True,
        now=driver.now,
        at=driver.at,
    )
    driver.carry_out(effects)
    driver.advance(10_000)
    assert wills(driver) == []


def test_a_client_that_comes_back_before_the_end_of_its_life_starts_a_new_one() -> None:
    driver = watched()
    driver.connect(2, willing(), life=300)
    driver.advance(200)
    driver.connect(3, willing(), life=300)
    driver.advance(200)
    assert 3 not in driver.hung_up


# -- the life of a connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "told"), [(V5, [152]), (V311, [])])
def test_a_connection_ends_after_disconnect_after_seconds(version: Version, told: list[int]) -> None:
    driver = Driver()
    driver.connect(1, Connect(version, "device", will=Will("gone", b"it is gone")), life=300)
    assert driver.broker.next_at() == driver.at + 300
    driver.advance(299)
    assert not driver.hung_up
    driver.advance(1)
    assert driver.disconnects(1) == told
    assert driver.hung_up == {1}
    ended = driver.last(Disconnected)
    assert ended.reason == "CUSTOMAUTH_TTL_EXPIRATION"
    assert "300 s" in ended.explanation
    assert wills(driver) == [b"it is gone"]


def test_the_life_of_a_connection_does_not_end_in_real_time() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "device", keep_alive_seconds=1_200), life=300)
    driver.now += 1_000
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert not driver.hung_up


def test_the_keep_alive_does_not_end_on_the_clock_that_can_be_moved() -> None:
    driver = Driver()
    driver.connect(1)
    driver.advance(86_400)
    assert not driver.hung_up
    driver.now += 90
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert driver.hung_up == {1}


def test_a_connection_that_ended_before_its_time_leaves_nothing_planned() -> None:
    driver = Driver()
    driver.connect(1, life=300)
    driver.close(1)
    assert driver.broker.next_at() is None
    assert driver.broker.sizes()["planned"] == 0


def test_a_life_that_was_over_when_the_transport_ended_is_told_to_nobody() -> None:
    driver = Driver()
    driver.connect(1, life=300)
    driver.at += 301
    driver.close(1)
    assert driver.last(Disconnected).reason == "CUSTOMAUTH_TTL_EXPIRATION"
    assert driver.disconnects(1) == []
    assert not any(driver.broker.sizes().values())


def test_a_day_of_refreshes_then_the_end_of_life_takes_no_real_time() -> None:
    driver = Driver()
    driver.connect(1, life=86_400)
    for _ in range(287):
        driver.advance(300)
        driver.carry_out(driver.broker.regrant(1, grant(life=300), now=driver.now, at=driver.at))
        assert not driver.hung_up
    driver.advance(300)
    assert driver.last(Disconnected).reason == "CUSTOMAUTH_TTL_EXPIRATION"


# -- a grant that is refreshed ----------------------------------------------------------------------------------------


def test_a_refreshed_grant_decides_from_then_on() -> None:
    driver = Driver()
    driver.connect(1, policy=everything_but("iot:Publish", "topic/b"))
    driver.subscribe(1, "#")
    driver.publish(1, "a")
    newer = grant(*everything_but("iot:*", "topic/a", "topicfilter/c"))
    assert driver.broker.regrant(1, newer, now=driver.now, at=driver.at) == []
    driver.publish(1, "b")
    assert driver.topics(1) == ["a", "b"]
    assert SubAck(7, (135,)).reason_codes == driver.subscribe(1, "c")[0].reason_codes  # type: ignore[union-attr]
    driver.receive(1, Publish("a", b"", 1, packet_id=3))
    assert driver.last(Decided).resource == f"{ARN}topic/a"
    assert not driver.last(Decided).allowed


def test_a_subscription_stays_when_the_grant_is_refreshed_and_each_delivery_is_decided_anew() -> None:
    driver = Driver()
    driver.connect(1)
    driver.subscribe(1, "a", "b")
    newer = grant(*everything_but("iot:Receive", "topic/a"))
    driver.carry_out(driver.broker.regrant(1, newer, now=driver.now, at=driver.at))
    driver.connect(9)
    driver.publish(9, "a", qos=1)
    driver.publish(9, "b", qos=1)
    assert driver.topics(1) == ["b"]


def test_what_waits_behind_the_window_is_decided_by_the_refreshed_grant() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "device", properties={Property.RECEIVE_MAXIMUM: 1}))
    driver.subscribe(1, "a", "b")
    driver.connect(9)
    for topic in ("b", "a", "b"):
        driver.publish(9, topic, qos=1)
    newer = grant(*everything_but("iot:Receive", "topic/a"))
    driver.carry_out(driver.broker.regrant(1, newer, now=driver.now, at=driver.at))
    driver.acknowledge(1)
    assert driver.topics(1) == ["b", "b"]


@pytest.mark.parametrize(("version", "told"), [(V5, [135]), (V311, [])])
def test_a_refreshed_grant_that_does_not_allow_connect_ends_the_connection(version: Version, told: list[int]) -> None:
    driver = Driver()
    driver.connect(1, version=version)
    newer = grant(EVERYTHING, statement("Deny", "iot:Connect", "client/*"))
    driver.carry_out(driver.broker.regrant(1, newer, now=driver.now, at=driver.at))
    assert driver.disconnects(1) == told
    assert driver.last(Disconnected).reason == "AUTH_ERROR"
    assert not driver.last(Decided).allowed


def test_a_condition_on_the_will_still_holds_when_the_grant_is_refreshed() -> None:
    condition = {"Condition": {"ArnEquals": {"iot:LastWillTopic": f"{ARN}topic/gone"}}}
    policy = [{**EVERYTHING, "Action": "iot:Connect", **condition}, {**EVERYTHING, "Action": "iot:Publish"}]
    driver = Driver()
    driver.connect(1, willing(), policy=policy)
    driver.carry_out(driver.broker.regrant(1, grant(*policy), now=driver.now, at=driver.at))
    assert not driver.hung_up


@pytest.mark.parametrize(("version", "told"), [(V5, [135]), (V311, [])])
def test_a_denied_refresh_ends_the_connection(version: Version, told: list[int]) -> None:
    driver = Driver()
    driver.connect(1, version=version)
    driver.carry_out(driver.broker.revoke(1, "the authorizer denied it", now=driver.now, at=driver.at))
    assert driver.disconnects(1) == told
    ended = driver.last(Disconnected)
    assert (ended.reason, ended.explanation) == ("AUTH_ERROR", "the authorizer denied it")


def test_a_refresh_that_comes_after_the_connection_ended_does_nothing() -> None:
    driver = Driver()
    driver.connect(1)
    driver.close(1)
    assert driver.broker.regrant(1, grant(), now=driver.now, at=driver.at) == []
    assert driver.broker.revoke(1, "denied", now=driver.now, at=driver.at) == []


def test_what_was_due_long_ago_is_done_as_of_its_time() -> None:
    will = Will("gone", b"x", 1, properties={Property.WILL_DELAY_INTERVAL: 30, Property.MESSAGE_EXPIRY_INTERVAL: 10})
    driver = Driver()
    driver.connect(1, Connect(V5, "device", will=will, properties={Property.SESSION_EXPIRY_INTERVAL: 100}))
    watcher = Connect(V5, "watcher", False, properties={Property.SESSION_EXPIRY_INTERVAL: 3_600})
    driver.connect(9, watcher)
    driver.subscribe(9, "gone")
    driver.close(1)
    driver.close(9)
    driver.at += 39
    driver.connect(10, watcher)
    assert driver.received(10)[0].properties == {Property.MESSAGE_EXPIRY_INTERVAL: 1}


# -- what is due ------------------------------------------------------------------------------------------------------


def test_what_is_due_is_done_in_the_order_of_time_whatever_is_called_next() -> None:
    driver = watched(willing(delay=30, expiry=100))
    driver.close(1)
    driver.connect(2, Connect(V5, "other"), life=60)
    driver.at += 500
    effects = driver.broker.receive(9, Publish("x", b""), now=driver.now, at=driver.at)
    driver.carry_out(effects)
    kinds = [event.kind for event in driver.events]
    tail = kinds[kinds.index("disconnected") + 1 :]
    assert [kind for kind in tail if kind in {"published", "disconnected", "session_ended"}] == [
        "published",  # the will
        "disconnected",  # the end of life
        "session_ended",
        "published",
    ]
    assert any(isinstance(effect, HangUp) and effect.connection == 2 for effect in effects)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=200))
def test_the_agenda_gives_out_what_was_not_cancelled_in_the_order_of_time(plans: list[tuple[int, bool]]) -> None:
    agenda = Agenda()
    done: list[tuple[int, int]] = []
    kept: list[tuple[int, int]] = []
    cancelled: list[Planned] = []

    for index, (when, keep) in enumerate(plans):

        def action(moment: Moment, effects: list[Effect], entry: tuple[int, int] = (when, index)) -> None:
            done.append(entry)

        planned = agenda.plan(when, action)
        if keep:
            kept.append((when, index))
        else:
            cancelled.append(planned)
    for planned in cancelled:
        planned.cancel()
        planned.cancel()
    assert len(agenda) == len(kept)
    assert agenda.next_at() == min((when for when, _ in kept), default=None)
    while (due := agenda.due(10)) is not None:
        due.fire(Moment(0, 10), [])
        due.cancel()
    assert done == [entry for entry in sorted(kept) if entry[0] <= 10]
    assert len(agenda) == len(kept) - len(done)


def test_plans_that_were_cancelled_do_not_fill_the_memory() -> None:
    agenda = Agenda()
    for _ in range(10_000):
        agenda.plan(1_000_000, lambda moment, effects: None).cancel()
    assert len(agenda._heap) < 200

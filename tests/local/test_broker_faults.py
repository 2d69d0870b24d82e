"""Faults on demand: what is swallowed, delayed, answered or throttled, for whom, how often."""

from __future__ import annotations

from threading import Thread

import pytest
from broker_driver import V5, V311, Driver, only

from iot_customauth_client.errors import InvalidTopic
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
)
from iot_customauth_client.local.events import Connected, Decided, Disconnected, Dropped, Published, Refused
from iot_customauth_client.local.faults import Fault, Faults

BOTH = pytest.mark.parametrize("version", [V5, V311])


def driven(version: Version = V5) -> Driver:
    driver = Driver()
    driver.connect(1, Connect(version, "device", keep_alive_seconds=60))
    return driver


# -- swallow ----------------------------------------------------------------------------------------------------------


@BOTH
def test_a_swallowed_puback_leaves_the_message_published(version: Version) -> None:
    driver = driven(version)
    driver.broker.faults.swallow("PUBACK")
    assert driver.receive(1, Publish("a", b"x", 1, packet_id=1)) == []
    assert driver.last(Published).topic == "a"
    assert driver.receive(1, Publish("a", b"x", 1, packet_id=2)) == [PubAck(2)]
    assert driver.broker.faults.pending == ()


@BOTH
def test_after_a_swallowed_connack_the_client_hears_nothing_more(version: Version) -> None:
    driver = Driver()
    driver.broker.faults.swallow("CONNACK")
    assert driver.connect(1, version=version) == []
    assert driver.of(Connected)
    assert driver.subscribe(1, "a") == []
    driver.publish(1, "a", qos=1)
    assert driver.received(1) == []
    driver.now += 90
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert driver.disconnects(1) == []
    assert driver.hung_up == {1}


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("SUBACK", Subscribe(7, (SubscribeRequest("a", 0),))),
        ("UNSUBACK", Unsubscribe(7, ("a",))),
        ("PINGRESP", PingReq()),
    ],
)
def test_other_answers_can_be_swallowed(name: str, packet: Subscribe | Unsubscribe | PingReq) -> None:
    driver = driven()
    driver.broker.faults.swallow(name)  # type: ignore[arg-type]
    assert driver.receive(1, packet) == []
    assert len(driver.receive(1, packet)) == 1


def test_a_swallowed_delivery_comes_again_when_the_session_is_resumed() -> None:
    driver = Driver()
    packet = Connect(V5, "device", False, properties={Property.SESSION_EXPIRY_INTERVAL: 60})
    driver.connect(1, packet)
    driver.subscribe(1, "a")
    driver.broker.faults.swallow("PUBLISH")
    driver.connect(9)
    driver.publish(9, "a", b"1", qos=1)
    driver.publish(9, "a", b"2", qos=1)
    assert [message.payload for message in driver.received(1)] == [b"2"]
    driver.close(1)
    driver.connect(2, packet)
    assert [message.payload for message in driver.received(2)] == [b"1", b"2"]


def test_a_swallowed_delivery_teaches_no_topic_alias() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "device", properties={Property.TOPIC_ALIAS_MAXIMUM: 1}))
    driver.subscribe(1, "a long topic")
    driver.broker.faults.swallow("PUBLISH", times=1)
    for _ in range(3):
        driver.publish(1, "a long topic")
    assert [message.topic for message in driver.received(1)] == ["a long topic", ""]


# -- delay ------------------------------------------------------------------------------------------------------------


def test_a_delayed_puback_comes_later_on_the_clock_that_can_be_moved() -> None:
    driver = driven()
    driver.broker.faults.delay("PUBACK", 2.5)
    assert driver.receive(1, Publish("a", b"x", 1, packet_id=1)) == []
    assert driver.receive(1, Publish("a", b"x", 1, packet_id=2)) == [PubAck(2)]
    assert driver.broker.next_at() == driver.at + 2.5
    driver.at += 2.5
    assert driver.carry_out(driver.broker.expire(driver.now, driver.at), 1) == [PubAck(1)]


def test_everything_waits_for_a_delayed_connack() -> None:
    driver = Driver()
    driver.broker.faults.delay("CONNACK", 3)
    assert driver.connect(1) == []
    assert driver.subscribe(1, "a") == []
    driver.publish(1, "a")
    driver.at += 3
    sent = driver.carry_out(driver.broker.expire(driver.now, driver.at), 1)
    assert [type(packet) for packet in sent] == [ConnAck, SubAck, Publish]
    assert [type(packet) for packet in driver.receive(1, PingReq())] == [PingResp]


def test_a_connection_that_ends_before_its_delayed_connack_is_hung_up_on_without_a_word() -> None:
    driver = Driver()
    driver.broker.faults.delay("CONNACK", 3)
    driver.connect(1)
    driver.carry_out(driver.broker.disconnect("client-1", "API_INITIATED_DISCONNECT", now=driver.now, at=driver.at))
    assert driver.disconnects(1) == []
    assert driver.hung_up == {1}
    driver.close(1)
    driver.advance(10)
    assert not any(driver.broker.sizes().values())


def test_a_transport_that_ended_is_not_sent_what_a_fault_kept_back_for_it() -> None:
    driver = Driver()
    driver.broker.faults.delay("CONNACK", 3)
    driver.connect(1)
    driver.at += 5
    driver.close(1)
    assert driver.last(Disconnected).reason == "CONNECTION_LOST"
    assert not any(driver.broker.sizes().values())


# -- answer -----------------------------------------------------------------------------------------------------------


def test_the_next_connects_are_refused() -> None:
    driver = Driver()
    driver.connect(9, Connect(V5, "device"))
    driver.broker.faults.refuse_connects(2, reason_code=136)
    answer = only(driver.connect(1, Connect(V5, "device")), ConnAck)
    assert answer.reason_code == 136
    assert driver.connect(2, Connect(V311, "device")) == []
    assert driver.hung_up == {1, 2}
    refused = driver.of(Refused)
    assert [(event.cause, event.reason_code) for event in refused] == [("fault", 136), ("fault", None)]
    driver.connect(3, Connect(V5, "device"))
    assert driver.last(Connected).connection == 3


def test_a_connect_is_refused_for_one_client_only() -> None:
    driver = Driver()
    driver.broker.faults.refuse_connects(None, client_id="device")
    driver.connect(1, Connect(V5, "other"))
    for number in (2, 3, 4):
        assert only(driver.connect(number, Connect(V5, "device")), ConnAck).reason_code == 128
    assert driver.broker.faults.pending == (Fault("answer", "CONNECT", None, "device", reason_code=128),)
    driver.broker.faults.clear()
    driver.connect(5, Connect(V5, "device"))
    assert [event.connection for event in driver.of(Connected)] == [1, 5]


def test_a_publish_is_answered_with_a_code_and_goes_nowhere() -> None:
    driver = driven()
    driver.subscribe(1, "#")
    driver.broker.faults.answer("PUBLISH", 151, topic="a/+")
    assert only(driver.receive(1, Publish("b", b"", 1, packet_id=1)), PubAck).reason_code == 0
    assert only(driver.receive(1, Publish("a/b", b"", 1, packet_id=2)), PubAck).reason_code == 151
    assert driver.topics(1) == ["b"]
    assert "fault" in driver.last(Decided).explanation
    assert only(driver.receive(1, Publish("a/b", b"", 1, packet_id=3)), PubAck).reason_code == 0


def test_a_publish_of_qos_0_has_no_answer() -> None:
    driver = driven()
    driver.broker.faults.answer("PUBLISH", 151)
    driver.publish(1, "a")
    assert driver.last(Published).topic == "a"
    assert len(driver.broker.faults.pending) == 1


def test_311_is_hung_up_on_instead_of_answered() -> None:
    driver = driven(V311)
    driver.broker.faults.answer("PUBLISH", 135)
    assert driver.receive(1, Publish("a", b"", 1, packet_id=1)) == []
    assert "fault" in driver.last(Disconnected).explanation


def test_one_filter_of_a_subscribe_is_answered_with_a_code() -> None:
    driver = driven()
    driver.broker.faults.answer("SUBSCRIBE", 128, topic="b/+")
    assert only(driver.subscribe(1, "a", "b/+", "b/c"), SubAck).reason_codes == (1, 128, 1)
    driver.publish(1, "b/x")
    assert driver.topics(1) == []


# -- throttle ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "told"), [(V5, [151]), (V311, [])])
def test_a_throttled_publish_is_discarded(version: Version, told: list[int]) -> None:
    driver = driven(version)
    driver.broker.faults.throttle("PUBLISH", times=2)
    answers = driver.receive(1, Publish("a", b"", 1, packet_id=1))
    assert [packet.reason_code for packet in answers if isinstance(packet, PubAck)] == told
    driver.publish(1, "a")
    assert [event.cause for event in driver.of(Dropped)] == ["publish_rate"] * 2
    assert not driver.hung_up
    driver.publish(1, "a")
    assert len(driver.of(Published)) == 1


@pytest.mark.parametrize(("version", "told"), [(V5, 151), (V311, None)])
def test_a_throttled_connect_is_refused(version: Version, told: int | None) -> None:
    driver = Driver()
    driver.broker.faults.throttle("CONNECT")
    driver.connect(1, version=version)
    assert (driver.last(Refused).cause, driver.last(Refused).reason_code) == ("connect_rate", told)


# -- the receive maximum, which only a fault can bring a client over ---------------------------------------------------


def test_the_101st_unanswered_message_ends_mqtt_5_with_147() -> None:
    driver = driven()
    driver.broker.faults.swallow("PUBACK", times=None)
    for number in range(1, 101):
        driver.receive(1, Publish("a", b"", 1, packet_id=number))
    driver.receive(1, Publish("a", b"", 1, duplicate=True, packet_id=50))
    driver.publish(1, "a")
    assert not driver.hung_up
    driver.receive(1, Publish("a", b"", 1, packet_id=101))
    assert driver.disconnects(1) == [147]
    assert driver.last(Disconnected).reason == "CLIENT_ERROR"


def test_the_101st_unanswered_message_of_311_is_left_out() -> None:
    driver = driven(V311)
    driver.broker.faults.swallow("PUBACK", times=100)
    for number in range(1, 102):
        assert driver.receive(1, Publish("a", b"", 1, packet_id=number)) == []
    assert not driver.hung_up
    assert (driver.last(Dropped).cause, len(driver.of(Published))) == ("receive_maximum", 100)


def test_a_delayed_answer_makes_room_when_it_comes() -> None:
    driver = driven()
    driver.broker.faults.delay("PUBACK", 5, times=100)
    for number in range(1, 101):
        driver.receive(1, Publish("a", b"", 1, packet_id=number))
    driver.advance(5)
    assert only(driver.receive(1, Publish("a", b"", 1, packet_id=1)), PubAck).reason_code == 0


# -- the value --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"action": "drop", "packet": "PUBACK"}, "action 'drop' is not one of swallow, delay, answer, throttle"),
        ({"action": "swallow", "packet": "CONNECT"}, "swallow is not for CONNECT: it is for CONNACK"),
        ({"action": "answer", "packet": "PUBACK", "reason_code": 128}, "answer is not for PUBACK"),
        ({"action": "answer", "packet": "PUBLISH", "reason_code": 0}, "PUBLISH cannot be answered with reason code 0"),
        ({"action": "answer", "packet": "CONNECT", "reason_code": 145}, "give one of 128, "),
        ({"action": "throttle", "packet": "SUBSCRIBE"}, "throttle is not for SUBSCRIBE"),
        ({"action": "swallow", "packet": "PUBACK", "times": 0}, "times is 0"),
        ({"action": "delay", "packet": "PUBACK", "seconds": -1.0}, "seconds is -1.0"),
        ({"action": "delay", "packet": "PUBACK", "seconds": float("nan")}, "seconds is nan"),
        ({"action": "swallow", "packet": "CONNACK", "topic": "a"}, "CONNACK has no topic"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Fault(**fields)  # type: ignore[arg-type]


def test_a_wrong_topic_filter_is_refused() -> None:
    with pytest.raises(InvalidTopic):
        Faults().swallow("PUBACK", topic="a/#/b")


def test_the_oldest_fault_that_fits_is_used_first() -> None:
    faults = Faults()
    faults.swallow("PUBACK", client_id="one", topic="a")
    faults.delay("PUBACK", 1, times=2)
    actions = ("swallow", "delay")
    taken = [faults.take(actions, "PUBACK", "one", ("b",)), faults.take(actions, "PUBACK", "one", ("a",))]  # type: ignore[arg-type]
    assert [fault.action for fault in taken if fault] == ["delay", "swallow"]
    assert [fault.times for fault in faults.pending] == [1]
    assert faults.take(("answer",), "PUBLISH", "one", ("a",)) is None


def test_faults_may_be_told_while_they_are_used() -> None:
    faults = Faults()

    def tell() -> None:
        for _ in range(500):
            faults.swallow("PUBACK")

    threads = [Thread(target=tell) for _ in range(3)]
    for thread in threads:
        thread.start()
    taken = 0
    while taken < 1_500:
        taken += faults.take(("swallow",), "PUBACK", "one") is not None
    for thread in threads:
        thread.join()
    assert faults.pending == ()


def test_every_answer_can_be_a_fault() -> None:
    driver = driven()
    for name, packet, kind in (
        ("SUBACK", Subscribe(7, (SubscribeRequest("a", 0),)), SubAck),
        ("UNSUBACK", Unsubscribe(7, ("a",)), UnsubAck),
        ("PINGRESP", PingReq(), PingResp),
        ("PUBACK", Publish("a", b"", 1, packet_id=1), PubAck),
    ):
        driver.broker.faults.delay(name, 1)  # type: ignore[arg-type]
        assert driver.receive(1, packet) == []  # type: ignore[arg-type]
        driver.at += 1
        (late,) = driver.carry_out(driver.broker.expire(driver.now, driver.at), 1)
        assert isinstance(late, kind)

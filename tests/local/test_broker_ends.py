"""How connections end: AWS's word for each end, what MQTT 5 is told, and when the will is published."""

from __future__ import annotations

import pytest
from broker_driver import REGION, V5, V311, Driver, statement

from iot_customauth_client.local.broker import Broker, DisconnectReason
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    CodecError,
    Connect,
    Disconnect,
    PingReq,
    Property,
    Publish,
    ReasonCode,
    Version,
    Will,
)
from iot_customauth_client.local.events import Disconnected, Published, Refused

BOTH = pytest.mark.parametrize("version", [V5, V311])
WILL = Will("gone", b"it is gone", 1)


def connected(version: Version = V5, will: Will | None = WILL) -> Driver:
    """A driver with a client that has a will (1) and a subscriber of everything (2)."""
    driver = Driver()
    driver.connect(1, Connect(version, "client_id", keep_alive_seconds=30, will=will))
    driver.connect(2, Connect(V5, "watcher", keep_alive_seconds=1200))
    driver.subscribe(2, "#")
    return driver


def wills(driver: Driver) -> list[bytes]:
    return [message.payload for message in driver.received(2)]


@BOTH
def test_a_disconnect_of_the_client_drops_its_will(version: Version) -> None:
    driver = connected(version)
    assert driver.receive(1, Disconnect()) == []
    assert driver.hung_up == {1}
    ended = driver.last(Disconnected)
    assert (ended.reason, ended.client_id) == ("CLIENT_INITIATED_DISCONNECT", "client_id")
    assert wills(driver) == []


@pytest.mark.parametrize("reason_code", [0x04, 0x80])
def test_a_disconnect_with_another_code_publishes_the_will(reason_code: int) -> None:
    driver = connected()
    driver.receive(1, Disconnect(reason_code))
    assert driver.last(Disconnected).reason == "CLIENT_INITIATED_DISCONNECT"
    assert wills(driver) == [b"it is gone"]


@BOTH
def test_a_transport_that_ends_publishes_the_will(version: Version) -> None:
    driver = connected(version)
    driver.close(1)
    assert driver.last(Disconnected).reason == "CONNECTION_LOST"
    (message,) = driver.received(2)
    assert (message.topic, message.payload, message.qos, message.retain) == ("gone", b"it is gone", 1, False)
    assert driver.last(Published) == Published(1, "client_id", "gone", b"it is gone", 1, False, False)


def test_a_transport_that_ends_after_the_connection_did_says_nothing_more() -> None:
    driver = connected()
    driver.receive(1, Disconnect())
    before = list(driver.events)
    driver.close(1)
    assert driver.events == before


def test_a_takeover_publishes_the_will_of_the_old_connection() -> None:
    driver = connected()
    driver.connect(3, Connect(V5, "client_id"))
    assert wills(driver) == [b"it is gone"]


def test_a_will_can_be_retained_and_keeps_its_properties() -> None:
    properties = {Property.CONTENT_TYPE: "text/plain", Property.WILL_DELAY_INTERVAL: 60}
    driver = connected(will=Will("gone", b"x", 0, retain=True, properties=properties))
    driver.close(1)
    (message,) = driver.received(2)
    assert message.properties == {Property.CONTENT_TYPE: "text/plain"}
    driver.subscribe(2, "gone")
    assert [message.retain for message in driver.received(2)] == [True]


def test_a_client_does_not_get_its_own_will() -> None:
    driver = connected()
    driver.subscribe(1, "gone")
    driver.close(1)
    assert driver.received(1) == []


def test_the_will_is_published_after_the_end_is_reported() -> None:
    driver = connected()
    driver.close(1)
    assert [event.kind for event in driver.events[-3:]] == ["disconnected", "published", "delivered"]


def test_a_will_that_fills_a_queue_ends_that_client_and_publishes_its_will() -> None:
    driver = Driver(Broker(region=REGION, account="123456789012", limits=BrokerLimits(max_queued_messages=0)))
    for number in (1, 2, 3):
        driver.connect(
            number,
            Connect(
                V5,
                f"client-{number}",
                will=Will(f"gone/{number}", b"", 1),
                properties={Property.RECEIVE_MAXIMUM: 1},
            ),
        )
        driver.subscribe(number, f"full/{number}", f"gone/{number - 1}")
        driver.publish(number, f"full/{number}", qos=1)
    driver.close(1)
    assert [(event.client_id, event.reason) for event in driver.of(Disconnected)] == [
        ("client-1", "CONNECTION_LOST"),
        ("client-2", "THROTTLED"),
        ("client-3", "THROTTLED"),
    ]
    assert driver.broker.sizes()["live"] == 0


# -- keep alive -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "told"), [(V5, [141]), (V311, [])])
def test_silence_for_one_and_a_half_keep_alives_ends_the_connection(version: Version, told: list[int]) -> None:
    driver = connected(version)
    driver.carry_out(driver.broker.expire(driver.now + 44.9, driver.at))
    assert not driver.hung_up
    driver.carry_out(driver.broker.expire(driver.now + 45, driver.at))
    assert driver.hung_up == {1}
    assert driver.disconnects(1) == told
    ended = driver.last(Disconnected)
    assert ended.reason == "MQTT_KEEP_ALIVE_TIMEOUT"
    assert "45 s" in ended.explanation
    assert wills(driver) == [b"it is gone"]


def test_any_packet_starts_the_keep_alive_anew() -> None:
    driver = connected()
    for packet in (PingReq(), Publish("a", b"")):
        driver.now += 40
        driver.receive(1, packet)
        driver.carry_out(driver.broker.expire(driver.now + 44, driver.at))
    assert not driver.hung_up


def test_what_is_sent_to_the_client_does_not_keep_it_alive() -> None:
    driver = connected()
    driver.subscribe(1, "a")
    driver.now += 44
    driver.publish(2, "a")
    driver.now += 1
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert driver.hung_up == {1}


# -- malformed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (ReasonCode.MALFORMED_PACKET, 129),
        (ReasonCode.PROTOCOL_ERROR, 130),
        (ReasonCode.PACKET_TOO_LARGE, 151),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 130),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 130),
    ],
)
def test_malformed_bytes_disconnect_mqtt_5_with_a_code_that_may_stand_there(code: ReasonCode, told: int) -> None:
    driver = connected()
    error = CodecError(code, "PUBLISH: its topic name is empty", rule="MQTT-4.7.3-1")
    driver.carry_out(driver.broker.malformed(1, error, V5, now=driver.now, at=driver.at))
    assert driver.disconnects(1) == [told]
    ended = driver.last(Disconnected)
    assert ended.reason == "CLIENT_ERROR"
    assert "its topic name is empty (MQTT-4.7.3-1)" in ended.explanation
    assert wills(driver) == [b"it is gone"]


def test_malformed_bytes_of_311_are_hung_up_on() -> None:
    driver = connected(V311)
    driver.carry_out(
        driver.broker.malformed(1, CodecError(ReasonCode.MALFORMED_PACKET, "x"), V311, now=driver.now, at=driver.at)
    )
    assert driver.disconnects(1) == []
    assert driver.hung_up == {1}


@pytest.mark.parametrize("version", [None, V5, V311])
def test_malformed_bytes_before_connack_are_hung_up_on(version: Version | None) -> None:
    driver = Driver()
    error = CodecError(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, "it asks for protocol level 3")
    driver.carry_out(driver.broker.malformed(1, error, version, now=driver.now, at=driver.at))
    assert driver.hung_up == {1}
    event = driver.last(Refused)
    assert (event.cause, event.reason_code) == ("unsupported_protocol_version", None)
    assert "protocol level 3" in event.explanation
    assert driver.broker.malformed(1, error, version, now=driver.now, at=driver.at) == []


def test_a_session_expiry_in_disconnect_that_connect_had_at_0_is_a_protocol_error() -> None:
    driver = connected()
    driver.receive(1, Disconnect(0, {Property.SESSION_EXPIRY_INTERVAL: 60}))
    assert driver.disconnects(1) == [130]
    assert driver.last(Disconnected).reason == "CLIENT_ERROR"
    assert wills(driver) == [b"it is gone"]


def test_a_session_expiry_in_disconnect_may_follow_one_in_connect() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "c", properties={Property.SESSION_EXPIRY_INTERVAL: 60}))
    driver.receive(1, Disconnect(0, {Property.SESSION_EXPIRY_INTERVAL: 30}))
    assert driver.last(Disconnected).reason == "CLIENT_INITIATED_DISCONNECT"


# -- the endpoint's user ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("API_INITIATED_DISCONNECT", 152),
        ("CUSTOMAUTH_TTL_EXPIRATION", 152),
        ("AUTH_ERROR", 135),
        ("THROTTLED", 151),
        ("SERVER_INITIATED_DISCONNECT", 139),
        ("MQTT_KEEP_ALIVE_TIMEOUT", 141),
        ("DUPLICATE_CLIENTID", 142),
        ("CONNECTION_LOST", None),
    ],
)
def test_a_kick_has_awss_word_and_the_fitting_code(reason: str, code: int | None) -> None:
    driver = connected()
    driver.carry_out(driver.broker.disconnect("client_id", reason, now=driver.now, at=driver.at))
    assert driver.disconnects(1) == ([] if code is None else [code])
    assert driver.hung_up == {1}
    assert driver.last(Disconnected).reason == reason
    assert wills(driver) == [b"it is gone"]


@pytest.mark.parametrize("reason", sorted(set(DisconnectReason) - {"CLIENT_INITIATED_DISCONNECT"}))
@BOTH
def test_every_word_but_the_clients_own_can_be_a_kick(reason: str, version: Version) -> None:
    driver = connected(version)
    driver.carry_out(driver.broker.disconnect("client_id", reason, now=driver.now, at=driver.at))
    assert driver.last(Disconnected).reason == reason


def test_every_reason_is_a_word_of_awss_lifecycle_events() -> None:
    words = (
        "AUTH_ERROR CLIENT_INITIATED_DISCONNECT CLIENT_ERROR CONNECTION_LOST DUPLICATE_CLIENTID FORBIDDEN_ACCESS "
        "MQTT_KEEP_ALIVE_TIMEOUT SERVER_ERROR SERVER_INITIATED_DISCONNECT API_INITIATED_DISCONNECT THROTTLED "
        "WEBSOCKET_TTL_EXPIRATION CUSTOMAUTH_TTL_EXPIRATION UNKNOWN NONE"
    )
    assert [reason.value for reason in DisconnectReason] == words.split()


@pytest.mark.parametrize("reason", ["CLIENT_INITIATED_DISCONNECT", "BORED", ""])
def test_another_word_is_refused_with_those_that_can_be_given(reason: str) -> None:
    with pytest.raises(ValueError, match="API_INITIATED_DISCONNECT"):
        connected().broker.disconnect("client_id", reason, now=0, at=0)


def test_a_client_that_is_not_there_cannot_be_kicked() -> None:
    assert connected().broker.disconnect("nobody", "API_INITIATED_DISCONNECT", now=0, at=0) == []


def test_shutting_down_tells_mqtt_5_so() -> None:
    driver = connected()
    driver.carry_out(driver.broker.shut_down(1, now=driver.now, at=driver.at))
    assert driver.disconnects(1) == [139]
    assert driver.last(Disconnected).reason == "SERVER_INITIATED_DISCONNECT"
    assert driver.broker.shut_down(1, now=driver.now, at=driver.at) == []


# -- nothing stays ----------------------------------------------------------------------------------------------------


def test_an_ended_connection_leaves_nothing_behind() -> None:
    driver = connected()
    driver.subscribe(1, "a/+/c", "b", qos=1)
    for _ in range(150):
        driver.publish(2, "b", qos=1)
    driver.close(1)
    driver.close(2)
    assert not any(driver.broker.sizes().values())


def test_one_clients_denial_does_not_touch_another_one() -> None:
    driver = connected()
    driver.connect(3, policy=[statement("Allow", "iot:Connect", "*")])
    driver.publish(3, "a")
    assert driver.hung_up == {3}
    driver.publish(1, "a")
    assert driver.topics(2) == ["a"]

"""The settings about refreshes and re-authorisation, on the clock that a test moves; sockets and threads are real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from authorizer_functions import allowing
from http_clients import WebSocketClient
from hypothesis import given
from hypothesis import strategies as st
from mqtt_wire import WireClient
from test_refreshes import begun

from iot_customauth_client.clock import ManualClock
from iot_customauth_client.local import Choices, LocalEndpoint, events
from iot_customauth_client.local.codec import (
    ConnAck,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
    Will,
)

MakeEndpoint = Callable[..., LocalEndpoint]
USERNAME = "user?x-amz-customauthorizer-name=a"
DAY = 86_400


class Function:
    """An authorizer that allows, for the first `times`."""

    def __init__(self, times: int = 10**6, **more: object) -> None:
        self.times = times
        self.more = more
        self.calls = 0

    def __call__(self, event: object, context: object) -> dict[str, object]:
        self.calls += 1
        if self.calls > self.times:
            return {"isAuthenticated": False}
        return allowing("iot:*", "*", **self.more)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# -- iot:Connect, asked once more --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [Version.MQTT5, Version.MQTT311])
def test_a_policy_that_allows_connecting_by_the_wills_topic_ends_the_connection_after_a_minute(
    make_endpoint: MakeEndpoint, clock: ManualClock, version: Version
) -> None:
    def function(event: object, context: object) -> dict[str, object]:
        trap = {"ArnEquals": {"iot:LastWillTopic": "arn:aws:iot:*:*:topic/gone"}}
        connecting = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*", "Condition": trap}
        publishing = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [connecting, publishing]}
        return {**allowing("x:y", "*"), "policyDocuments": [policy], "disconnectAfterInSeconds": DAY}

    endpoint = make_endpoint({"a": function}, clock=clock)
    with WireClient(endpoint, version).connected(username=USERNAME, will=Will("gone", b"")) as client:
        clock.advance(59)
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)
        clock.advance(1)
        if version is Version.MQTT5:
            answer = client.receive()
            assert isinstance(answer, Disconnect)
            assert answer.reason_code == 135
        assert client.receive() is None
    ended = endpoint.wait_for(events.Disconnected, timeout=5)
    assert ended.reason == "AUTH_ERROR"
    assert "iot:LastWillTopic" in ended.explanation


# -- the first refresh of an idle connection ---------------------------------------------------------------------------


def turn(client: WireClient, clock: ManualClock, seconds: float) -> None:
    """Let time pass, and see that the endpoint has done what was due."""
    clock.advance(seconds)
    client.send(PingReq())
    assert isinstance(client.receive(), PingResp)


def test_the_first_refresh_of_an_idle_connection_comes_late_and_the_next_one_an_interval_after_it(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    function = Function(refreshAfterInSeconds=300)
    endpoint = make_endpoint({"a": function}, clock=clock, choices=Choices(first_refresh_delay_seconds=200))
    with WireClient(endpoint).connected(username=USERNAME) as client:
        answered: Any = endpoint.wait_for("authorizer_answered", timeout=5)
        for seconds in (499, 299):
            turn(client, clock, seconds)
            assert endpoint.events.of_kind("authorizer_called")[-1].sequence < answered.sequence
            clock.advance(1)
            answered = endpoint.wait_for("authorizer_answered", timeout=5, after=answered)
    assert function.calls == 3


OPERATIONS: list[tuple[Packet, type[Packet]]] = [
    (Publish("t", b"", 1, packet_id=1), PubAck),
    (Subscribe(1, (SubscribeRequest("t", 0),)), SubAck),
]


@pytest.mark.parametrize(("operation", "answer"), OPERATIONS, ids=["publish", "subscribe"])
def test_the_first_refresh_of_a_connection_in_use_is_not_late(
    make_endpoint: MakeEndpoint, clock: ManualClock, operation: Packet, answer: type[Packet]
) -> None:
    function = Function(refreshAfterInSeconds=300)
    endpoint = make_endpoint({"a": function}, clock=clock, choices=Choices(first_refresh_delay_seconds=300))
    with WireClient(endpoint).connected(username=USERNAME) as client:
        first = endpoint.wait_for("authorizer_answered", timeout=5)
        client.send(operation)
        assert isinstance(client.receive(), answer)
        clock.advance(300)
        endpoint.wait_for("authorizer_answered", timeout=5, after=first)
    assert function.calls == 2


def test_a_life_that_ends_before_a_late_refresh_ends_without_it(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    function = Function(refreshAfterInSeconds=300, disconnectAfterInSeconds=400)
    endpoint = make_endpoint({"a": function}, clock=clock, choices=Choices(first_refresh_delay_seconds=300))
    with WireClient(endpoint).connected(username=USERNAME) as client:
        clock.advance(DAY)
        assert isinstance(client.receive(), Disconnect)
    endpoint.wait_for("closed", timeout=5)
    assert function.calls == 1


@given(st.integers(300, 400), st.integers(0, 300))
def test_a_turn_that_is_put_off_comes_exactly_so_much_later(interval: int, delay: int) -> None:
    refreshes = begun((1, interval))
    refresh = refreshes.take(1000.0 + interval, now=0.0)
    assert refresh is not None
    assert refresh.first
    refreshes.put_off(refresh, seconds=delay)
    assert refreshes.next_at() == 1000.0 + interval + delay
    again = refreshes.take(1000.0 + interval + delay, now=0.0)
    assert again is refresh
    assert not refresh.first
    refreshes.end(1)
    assert len(refreshes) == 0


# -- with which code a connection ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [135, 152, "hang_up"])
def test_the_code_when_the_function_denies_a_refresh(
    make_endpoint: MakeEndpoint, clock: ManualClock, choice: Any
) -> None:
    function = Function(1, refreshAfterInSeconds=300)
    endpoint = make_endpoint({"a": function}, clock=clock, choices=Choices(failed_refresh_mqtt5=choice))
    with WireClient(endpoint).connected(username=USERNAME) as client:
        clock.advance(300)
        assert code_of(client.receive()) == choice
    endpoint.wait_for("disconnected", timeout=5, reason="AUTH_ERROR")


@pytest.mark.parametrize("choice", [152, 135, "hang_up"])
def test_the_code_when_a_websocket_is_a_day_old(make_endpoint: MakeEndpoint, clock: ManualClock, choice: Any) -> None:
    endpoint = make_endpoint(
        {"a": Function(refreshAfterInSeconds=DAY)}, clock=clock, choices=Choices(end_of_life_mqtt5=choice)
    )
    with WebSocketClient(endpoint) as client:
        clock.advance(10)
        assert isinstance(client.connect(username=USERNAME), ConnAck)
        clock.advance(DAY - 10)
        client.send(Publish("t", b""))
        assert code_of(client.receive()) == choice
    endpoint.wait_for("disconnected", timeout=5, reason="WEBSOCKET_TTL_EXPIRATION")


def code_of(packet: Packet | None) -> int | str:
    if packet is None:
        return "hang_up"
    assert isinstance(packet, Disconnect)
    return packet.reason_code

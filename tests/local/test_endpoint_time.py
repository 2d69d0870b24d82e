"""The endpoint's time on a clock that the test moves: refreshes, the end of a connection's life, sessions.

Everything else is real: TLS sockets, threads, clients.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from http_clients import HttpClient, WebSocketClient
from mqtt_wire import WireClient

from iot_customauth_client import ConnectionBuilder, Credentials
from iot_customauth_client.clock import ManualClock, SystemClock
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import (
    ConnAck,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
)

MakeEndpoint = Callable[..., LocalEndpoint]
USERNAME = "user01?x-amz-customauthorizer-name=a"
DAY = 86_400


def allowing(action: str = "*", *, refresh: int = 300, life: int = DAY) -> dict[str, object]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return {
        "isAuthenticated": True,
        "principalId": "p",
        "policyDocuments": [{"Version": "2012-10-17", "Statement": statement}],
        "refreshAfterInSeconds": refresh,
        "disconnectAfterInSeconds": life,
    }


class Function:
    """An authorizer that answers from a list, the last answer for ever, and remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = answers
        self.asked: list[Any] = []

    def __call__(self, event: Any, context: object) -> object:
        self.asked.append(event)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def serve(make_endpoint: MakeEndpoint, clock: ManualClock | None, function: Function, **named: Any) -> LocalEndpoint:
    return make_endpoint({"a": function}, clock=clock, **named)


def dial(endpoint: LocalEndpoint, version: Version = Version.MQTT5, **fields: Any) -> WireClient:
    return WireClient(endpoint, version).connected(username=USERNAME, **fields)


def test_a_day_of_refreshes_ends_with_the_connections_life(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    function = Function(allowing())
    endpoint = serve(make_endpoint, clock, function)
    with dial(endpoint) as client:
        clock.advance(DAY)  # in one step
        answer = client.receive()
        assert isinstance(answer, Disconnect)
        assert client.receive() is None
    ended = endpoint.wait_for(events.Disconnected, timeout=5)
    assert ended.reason == "CUSTOMAUTH_TTL_EXPIRATION"
    assert len(function.asked) == DAY // 300  # the first, and every 300 s but the last, when its life is over
    assert all(event == function.asked[0] for event in function.asked)
    endpoint.wait_for("closed", timeout=5)
    clock.advance(DAY)
    assert len(function.asked) == DAY // 300


def test_many_small_steps_make_a_day_too(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing(refresh=DAY)))
    with dial(endpoint) as client:
        for _ in range(DAY // 100 * 10 - 1):
            clock.advance(9.9)
            clock.advance(0.1)
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)
        clock.advance(9.9)
        clock.advance(0.1)
        assert isinstance(client.receive(), Disconnect)


def test_a_refresh_is_not_asked_before_its_time(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    function = Function(allowing(refresh=600))
    endpoint = serve(make_endpoint, clock, function)
    with dial(endpoint):
        first = endpoint.wait_for("authorizer_answered", timeout=5)
        clock.advance(599.9)
        clock.advance(0.1)
        second = endpoint.wait_for("authorizer_answered", timeout=5, after=first)
        clock.advance(599.9)
        with dial(endpoint, client_id="other"):  # a whole conversation later nothing more was asked
            pass
        assert len(function.asked) == 3
        clock.advance(0.1)
        third = endpoint.wait_for("authorizer_called", timeout=5, after=second, connection=1)
    assert third.sequence > second.sequence


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"isAuthenticated": False}, "isAuthenticated false"),
        (RuntimeError("the database is away"), "RuntimeError: the database is away"),
        ({"isAuthenticated": True}, "the authorizer's result is invalid"),
    ],
    ids=["denial", "failure", "invalid"],
)
@pytest.mark.parametrize("version", list(Version))
def test_a_refresh_that_is_not_allowed_ends_the_connection(
    make_endpoint: MakeEndpoint, clock: ManualClock, version: Version, answer: object, told: str
) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing(), answer))
    with dial(endpoint, version) as client:
        clock.advance(300)
        if version is Version.MQTT5:
            goodbye = client.receive()
            assert isinstance(goodbye, Disconnect)
            assert goodbye.reason_code == 135
        assert client.receive() is None
    ended = endpoint.wait_for(events.Disconnected, timeout=5)
    assert ended.reason == "AUTH_ERROR"
    assert "asked again" in ended.explanation
    assert told in ended.explanation


def test_a_refresh_replaces_the_policy(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing(), allowing("iot:Connect")))
    with dial(endpoint) as client:
        client.send(Publish("my-topic", b"1", 1, packet_id=1))
        assert client.receive() == PubAck(1, 0)
        first = endpoint.wait_for("authorizer_answered", timeout=5)
        clock.advance(300)
        endpoint.wait_for("authorizer_answered", timeout=5, after=first)
        client.send(Publish("my-topic", b"2", 1, packet_id=2))
        answer = client.receive()
        assert isinstance(answer, PubAck)
        assert answer.reason_code == 135


def test_the_interval_is_that_of_the_last_result_and_the_life_that_of_the_first(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    function = Function(allowing(refresh=300, life=2000), allowing(refresh=600, life=DAY))
    endpoint = serve(make_endpoint, clock, function)
    with dial(endpoint) as client:
        clock.advance(1999)  # 300, 900, 1500
        called = endpoint.events.wait_for("authorizer_called", timeout=5)
        for _ in range(3):
            called = endpoint.wait_for("authorizer_called", timeout=5, after=called)
        clock.advance(1)
        assert isinstance(client.receive(), Disconnect)
    assert len(function.asked) == 4
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "CUSTOMAUTH_TTL_EXPIRATION"


def test_a_denial_counts_although_the_clock_went_past_the_end_of_life(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing(), allowing(), {"isAuthenticated": False}))
    with dial(endpoint) as client:
        clock.advance(2 * DAY)
        client.receive()
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "AUTH_ERROR"


def test_the_second_in_which_keep_alives_are_looked_at_ends_nobody_before_the_answer(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    answered = threading.Event()
    calls: list[object] = []

    def slow(event: object, context: object) -> object:
        calls.append(event)
        if len(calls) == 1:
            return allowing()
        answered.wait(30)
        return {"isAuthenticated": False}

    endpoint = make_endpoint({"a": slow}, clock=clock)
    with dial(endpoint) as client:
        clock.advance(2 * DAY)
        endpoint.wait_for("authorizer_called", timeout=5, after=endpoint.events.of_kind("connected")[0])
        running = endpoint._needs_running()
        running.call(running.server._expire)
        assert not endpoint.events.of_kind("disconnected")
        answered.set()
        client.receive()
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "AUTH_ERROR"


def test_a_function_that_hangs_on_a_refresh_holds_up_nobody_else(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    end = threading.Event()
    calls: list[object] = []

    def hanging(event: object, context: object) -> object:
        calls.append(event)
        if len(calls) > 1:
            end.wait(30)
        return allowing()

    endpoint = make_endpoint({"a": Function(allowing(refresh=DAY)), "hanging": hanging}, clock=clock)
    with (
        WireClient(endpoint).connected(client_id="h", username="?x-amz-customauthorizer-name=hanging"),
        dial(endpoint, client_id="other") as other,
    ):
        clock.advance(300)
        endpoint.wait_for("authorizer_called", timeout=5, connection=1, after=endpoint.events.of_kind("connected")[-1])
        other.send(Publish("my-topic", b"1", 1, packet_id=1))
        assert other.receive() == PubAck(1, 0)
        with dial(endpoint, client_id="third"):
            pass
        end.set()


def test_a_connection_that_its_policy_refuses_is_not_asked_about_again(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    function = Function(allowing("iot:Publish"))
    endpoint = serve(make_endpoint, clock, function)
    with WireClient(endpoint) as client:
        answer = client.connect(username=USERNAME)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == 135
        clock.advance(DAY)
        assert client.receive() is None
    assert endpoint._needs_running().server.timekeeper.refreshing == 0
    assert len(function.asked) == 1


@pytest.mark.parametrize(("seconds", "kept"), [(599, True), (601, False)])
def test_a_session_lasts_as_long_as_it_was_asked_for(
    make_endpoint: MakeEndpoint, clock: ManualClock, seconds: int, kept: bool
) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing()))
    wish: dict[Property, Any] = {Property.SESSION_EXPIRY_INTERVAL: 600}
    with dial(endpoint, properties=wish, clean_start=False) as client:
        client.send(Subscribe(1, (SubscribeRequest("my-topic", 1),)))
        assert isinstance(client.receive(), SubAck)
    endpoint.wait_for("closed", timeout=5)
    endpoint.publish("my-topic", b"while away", qos=1)
    clock.advance(seconds)
    with WireClient(endpoint) as client:
        answer = client.connect(username=USERNAME, properties=wish, clean_start=False)
        assert isinstance(answer, ConnAck)
        assert answer.session_present is kept
        if kept:
            message = client.receive()
            assert isinstance(message, Publish)
            assert message.payload == b"while away"


def test_a_websocket_lives_for_a_day_of_the_clock(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing()))
    with WebSocketClient(endpoint) as client:
        clock.advance(100)  # between the upgrade and CONNECT: from here its authorizer's day begins
        assert isinstance(client.connect(username=USERNAME), ConnAck)
        clock.advance(DAY - 101)
        client.send(Publish("my-topic", b"1", 1, packet_id=1))
        assert client.receive() == PubAck(1, 0)
        clock.advance(1)
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)  # it is closed when a message is next sent
        client.send(Publish("my-topic", b"2", 1, packet_id=2))
        assert isinstance(client.receive(), Disconnect)
        assert client.receive() is None
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "WEBSOCKET_TTL_EXPIRATION"


def test_a_grant_kept_for_https_lasts_until_its_refresh(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    function = Function(allowing(refresh=300))
    authorizer = LocalAuthorizer(function, signing_disabled=True, enable_caching_for_http=True)
    endpoint = make_endpoint({"a": authorizer}, clock=clock, default_authorizer="a")
    with HttpClient(endpoint) as client:
        for seconds, calls in ((0, 1), (299, 1), (1, 2)):
            clock.advance(seconds)
            assert client.post("/topics/my-topic").status == 200
            assert len(function.asked) == calls


def test_keep_alive_does_not_run_on_the_clock_that_is_moved(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing(refresh=DAY)))
    with dial(endpoint) as client:
        clock.advance(DAY - 1)
        client.send(Publish("my-topic", b"1", 1, packet_id=1))
        assert client.receive() == PubAck(1, 0)


def test_a_clock_that_goes_by_itself_serves_as_well(make_endpoint: MakeEndpoint) -> None:
    for clock in (None, SystemClock()):
        endpoint = make_endpoint({"a": Function(allowing())}, clock=clock)
        endpoint.faults.delay("CONNACK", 0.05)  # the shortest thing that is due later
        with dial(endpoint):
            pass


def test_advancing_after_the_end_disturbs_nobody(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    function = Function(allowing())
    endpoint = serve(make_endpoint, clock, function)
    with dial(endpoint):
        endpoint.stop()
    clock.advance(DAY)
    assert len(function.asked) == 1


def test_advancing_from_many_threads_while_clients_come_and_go(make_endpoint: MakeEndpoint, clock: ManualClock) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing()))
    stop = threading.Event()

    def advance() -> None:
        while not stop.is_set():
            clock.advance(7)

    threads = [threading.Thread(target=advance) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            with contextlib.closing(WireClient(endpoint)) as client:
                answer: Packet | None = client.connect(client_id=f"c{number}", username=USERNAME)
                assert isinstance(answer, ConnAck)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    with dial(endpoint, client_id="last"):
        pass


def test_an_awscrt_client_comes_back_after_its_connections_life(
    make_endpoint: MakeEndpoint, clock: ManualClock
) -> None:
    endpoint = serve(make_endpoint, clock, Function(allowing(life=3000)))
    credentials = Credentials.from_password("user01", "pass01", authorizer="a")
    stopped = threading.Event()
    client = ConnectionBuilder(endpoint.settings("client_id"), credentials).mqtt5(
        on_lifecycle_event_stopped_fn=lambda _: stopped.set(), min_reconnect_delay_ms=20, max_reconnect_delay_ms=100
    )
    client.start()
    try:
        first = endpoint.wait_for("connected", timeout=5)
        clock.advance(3000)
        ended = endpoint.wait_for("disconnected", timeout=5, after=first)
        assert isinstance(ended, events.Disconnected)
        assert ended.reason == "CUSTOMAUTH_TTL_EXPIRATION"
        endpoint.wait_for("connected", timeout=5, after=ended)
    finally:
        client.stop()
        assert stopped.wait(5)

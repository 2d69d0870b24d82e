"""Faults on demand, each seen from a native awscrt client, and where the wire matters from a bare socket."""

from __future__ import annotations

import concurrent.futures
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from authorizer_functions import allow_all
from awscrt_clients import TIMEOUT, NativeClient
from http_clients import WebSocketClient
from mqtt_wire import WireClient

from iot_customauth_client import AuthenticationRefused, ConnectionBuilder, Credentials, connect
from iot_customauth_client.clock import ManualClock
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck, Connect, PingReq, Property, PubAck, Publish, Version, Will

MakeEndpoint = Callable[..., LocalEndpoint]
USERNAME = "user01?x-amz-customauthorizer-name=a"
CREDENTIALS = Credentials.from_password("user01", "pass01", authorizer="a")


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint) -> LocalEndpoint:
    return make_endpoint({"a": allow_all})


def dial(endpoint: LocalEndpoint, version: Version = Version.MQTT5, **fields: Any) -> WireClient:
    return WireClient(endpoint, version).connected(username=USERNAME, **fields)


# -- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_dropped_tcp_connection_is_lost_for_both_sides(endpoint: LocalEndpoint, how: Any) -> None:
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        assert endpoint.faults.drop("client_id", how=how) == 1
        lost = client.wait("disconnection")
        assert lost.disconnect_packet is None
        client.wait("connection_success")
        client.publish(b"here again").result(TIMEOUT)
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "CONNECTION_LOST"


def test_a_reset_is_a_reset_and_an_end_is_an_end(endpoint: LocalEndpoint) -> None:
    with dial(endpoint) as client, socket.socket(fileno=client.socket.detach()) as raw:  # below TLS
        raw.settimeout(5)
        endpoint.faults.drop(how="rst")
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    with dial(endpoint) as client, socket.socket(fileno=client.socket.detach()) as raw:
        raw.settimeout(5)
        endpoint.faults.drop(how="fin")
        assert raw.recv(1) == b""  # not even a farewell of TLS


def test_only_the_client_that_is_named_is_dropped(endpoint: LocalEndpoint) -> None:
    with dial(endpoint, client_id="one") as one, dial(endpoint, client_id="two") as two:
        assert endpoint.faults.drop("three") == 0
        assert endpoint.faults.drop("one") == 1
        assert one.receive() is None
        two.send(PingReq())
        assert two.receive() is not None
        assert endpoint.faults.drop() == 1


def test_a_will_is_published_for_a_dropped_connection(endpoint: LocalEndpoint) -> None:
    with NativeClient(endpoint, "watcher") as watcher:
        watcher.wait("connection_success")
        watcher.subscribe("wills")
        with dial(endpoint, client_id="one", will=Will("wills", b"gone", 1)):
            endpoint.faults.drop("one")
            assert watcher.received.get(timeout=TIMEOUT) == b"gone"


def test_a_half_open_connection_neither_reads_nor_answers(endpoint: LocalEndpoint) -> None:
    with NativeClient(endpoint) as client, dial(endpoint, client_id="other") as other:
        client.wait("connection_success")
        assert endpoint.faults.half_open("client_id") == 1
        unanswered = client.publish(b"into the void")
        other.send(PingReq())
        assert other.receive() is not None  # by now the other one would have been answered too
        endpoint.publish("my-topic", b"to nobody")
        with pytest.raises((concurrent.futures.TimeoutError, TimeoutError)):
            unanswered.result(0.3)
        assert not endpoint.events.of_kind("published")[0].client_id  # only the endpoint's own arrived
        endpoint.faults.drop("client_id")
        client.wait("connection_success")
        unanswered.result(TIMEOUT)  # the session was kept: the client sends it again


def test_a_silent_client_is_replaced_when_it_comes_back_and_its_old_connection_stays_dead(
    endpoint: LocalEndpoint,
) -> None:
    with dial(endpoint) as dead:
        endpoint.faults.half_open("client_id")
        with dial(endpoint) as alive:
            ended = endpoint.wait_for(events.Disconnected, timeout=5)
            assert (ended.connection, ended.reason) == (1, "DUPLICATE_CLIENTID")
            dead.send(PingReq())
            alive.send(PingReq())
            assert alive.receive() is not None
            dead.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                dead.receive()
    endpoint.wait_for("closed", timeout=5, connection=1)  # noticed although nothing is read


def test_mqtt_in_websocket_can_be_half_open_and_dropped_too(endpoint: LocalEndpoint) -> None:
    with WebSocketClient(endpoint) as client:
        assert isinstance(client.connect(username=USERNAME), ConnAck)
        assert endpoint.faults.half_open("client_id") == 1
        client.send(PingReq())
        endpoint.publish("my-topic", b"to nobody")
        assert endpoint.faults.drop("client_id", how="fin") == 1
        assert client.receive() is None
        assert client.closed_with is None  # no farewell of WebSocket either
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "CONNECTION_LOST"


def test_the_endpoint_stops_although_a_connection_is_half_open(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all})
    with dial(endpoint):
        endpoint.faults.half_open()
        endpoint.stop()
    assert [each.kind for each in endpoint.events][-1] == "stopped"


def test_ignored_connections_get_no_answer_and_the_next_one_does(endpoint: LocalEndpoint) -> None:
    endpoint.faults.ignore_connections(2)
    for _ in range(2):
        with socket.create_connection((endpoint.host, endpoint.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
            raw.settimeout(0.2)
            with pytest.raises(TimeoutError):
                raw.recv(1)
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
    for number in (1, 2):
        endpoint.wait_for("closed", timeout=5, connection=number)


def test_a_native_client_gives_an_ignored_connection_up_and_tries_again(endpoint: LocalEndpoint) -> None:
    endpoint.faults.ignore_connections()
    with NativeClient(endpoint) as client:  # its TLS time-out is awscrt's own 10 s: the endpoint ends it before
        endpoint.wait_for("opened", timeout=5)
        endpoint.faults.drop()
        client.wait("connection_failure")
        client.wait("connection_success")


def test_an_unreachable_endpoint_refuses_and_comes_back_on_the_same_port(endpoint: LocalEndpoint) -> None:
    port = endpoint.port
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        with endpoint.faults.unreachable():
            client.wait("disconnection")
            assert client.wait("connection_failure").exception.name == "AWS_IO_SOCKET_CONNECTION_REFUSED"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
        assert endpoint.port == port
        client.wait("connection_success")
        client.publish(b"here again").result(TIMEOUT)
    endpoint.faults.come_back()  # it is back: nothing happens


def test_a_connection_accepted_in_the_very_turn_is_dropped_like_the_others(
    endpoint: LocalEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    running = endpoint._needs_running()
    loop, faults = running.server.loop, running.server.network_faults
    connected: list[socket.socket] = []

    async def vanish_while_accepting() -> None:
        connected.append(socket.create_connection((endpoint.host, endpoint.port)))
        vanishing = loop.create_future()
        # The next turn accepts, after it has queued this: so it runs before asyncio announces what was accepted.
        loop.call_soon(lambda: vanishing.set_result(loop.create_task(faults.become_unreachable("rst"))))
        await (await vanishing)

    running.call_async(vanish_while_accepting())
    with connected[0] as raw:
        raw.settimeout(5)
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    assert "asyncio" not in {record.name for record in caplog.records}


def test_our_connect_waits_for_an_endpoint_that_comes_back(endpoint: LocalEndpoint) -> None:
    endpoint.faults.become_unreachable()
    waited = threading.Timer(0.3, endpoint.faults.come_back)
    waited.start()
    with connect(endpoint.settings("client_id"), credentials=CREDENTIALS, timeout=20) as connection:
        connection.publish("my-topic", "there").result(5)
    waited.join()


def test_a_port_that_somebody_took_meanwhile_is_told_and_can_be_had_later(endpoint: LocalEndpoint) -> None:
    endpoint.faults.become_unreachable()
    with (
        socket.create_server(("127.0.0.1", endpoint.port)),
        pytest.raises(OSError, match=f"port {endpoint.port} .*in use"),
    ):
        endpoint.faults.come_back()
    endpoint.faults.come_back()
    with dial(endpoint):
        pass


def test_an_unreachable_endpoint_can_be_stopped_and_started(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all})
    endpoint.faults.become_unreachable()
    endpoint.faults.become_unreachable()
    endpoint.stop()
    endpoint.start()
    with dial(endpoint):
        pass


# -- MQTT -------------------------------------------------------------------------------------------------------------


def test_refused_connects_are_counted(endpoint: LocalEndpoint) -> None:
    endpoint.refuse_connects(2, reason_code=135)
    with NativeClient(endpoint) as client:
        for _ in range(2):
            assert client.wait("connection_failure").connack_packet.reason_code == 135
        client.wait("connection_success")
    endpoint.refuse_connects()
    with WireClient(endpoint, Version.MQTT311) as wire:
        assert wire.connect(username=USERNAME) is None
    with dial(endpoint, Version.MQTT311):
        pass


def test_our_connect_raises_a_refusal(endpoint: LocalEndpoint) -> None:
    endpoint.refuse_connects(reason_code=135)
    with pytest.raises(AuthenticationRefused):
        connect(endpoint.settings("client_id"), credentials=CREDENTIALS, timeout=10)


def test_a_swallowed_connack_is_a_time_out_and_the_next_attempt_succeeds(endpoint: LocalEndpoint) -> None:
    endpoint.faults.swallow("CONNACK")
    with NativeClient(endpoint) as client:
        assert client.wait("connection_failure").exception.name == "AWS_ERROR_MQTT5_CONNACK_TIMEOUT"
        client.wait("connection_success")


def test_a_delayed_connack_comes_when_the_clock_says_so(make_endpoint: MakeEndpoint) -> None:
    clock = ManualClock()
    endpoint = make_endpoint({"a": allow_all}, clock=clock)
    endpoint.faults.delay("CONNACK", 3)
    with WireClient(endpoint) as client:
        client.send(Connect(Version.MQTT5, "client_id", username=USERNAME))
        endpoint.wait_for("connected", timeout=5)
        clock.advance(2.9)
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.receive()
        client.socket.settimeout(5)
        clock.advance(0.1)
        assert isinstance(client.receive(), ConnAck)


def test_a_native_client_waits_for_a_delayed_connack(endpoint: LocalEndpoint) -> None:
    endpoint.faults.delay("CONNACK", 0.2)
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        client.publish().result(TIMEOUT)


def test_a_swallowed_puback_is_made_good_after_a_reconnect(endpoint: LocalEndpoint) -> None:
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        endpoint.faults.swallow("PUBACK", topic="my-topic")
        future = client.publish(b"twice")
        endpoint.wait_for("published", timeout=5)
        endpoint.faults.drop("client_id")
        client.wait("connection_success")
        future.result(TIMEOUT)
    assert [each.payload for each in endpoint.events.of_kind(events.Published)] == [b"twice", b"twice"]


def test_a_publish_is_answered_with_a_given_reason_code(endpoint: LocalEndpoint) -> None:
    endpoint.faults.answer("PUBLISH", 151, topic="my-topic")
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        assert client.publish().result(TIMEOUT).puback.reason_code == 151
        assert client.publish().result(TIMEOUT).puback.reason_code == 0


def test_a_throttled_publish_is_discarded(endpoint: LocalEndpoint) -> None:
    with dial(endpoint) as client:
        endpoint.faults.throttle("PUBLISH")
        client.send(Publish("my-topic", b"1", 1, packet_id=1), Publish("my-topic", b"2", 1, packet_id=2))
        answers = [client.receive(), client.receive()]
    assert PubAck(2, 0) in answers
    assert PubAck(1, 0) not in answers


def test_a_client_is_disconnected_with_a_reason(endpoint: LocalEndpoint) -> None:
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        assert endpoint.disconnect("client_id", "THROTTLED")
        assert client.wait("disconnection").disconnect_packet.reason_code == 151
        client.wait("connection_success")
    endpoint.wait_for("closed", timeout=5)
    assert not endpoint.disconnect("nobody")


def test_behaving_again_forgets_what_was_asked_for(endpoint: LocalEndpoint) -> None:
    endpoint.refuse_connects(9)
    endpoint.faults.ignore_connections(9)
    endpoint.faults.become_unreachable()
    endpoint.faults.clear()
    with dial(endpoint):
        assert endpoint.faults.pending == ()


def test_faults_may_be_asked_for_before_the_start_those_of_the_network_not() -> None:
    endpoint = LocalEndpoint({"a": allow_all})
    endpoint.refuse_connects()
    with pytest.raises(RuntimeError, match="does not run"):
        endpoint.faults.drop()
    with endpoint, WireClient(endpoint) as client:
        answer = client.connect(username=USERNAME)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == 128
        with pytest.raises(ValueError, match="did you mean 'rst'"):
            endpoint.faults.drop(how="rts")  # type: ignore[arg-type]


def test_a_311_client_of_awscrt_notices_a_dropped_connection(endpoint: LocalEndpoint) -> None:
    interrupted, resumed = threading.Event(), threading.Event()
    connection = ConnectionBuilder(endpoint.settings("client_id"), CREDENTIALS).mqtt311(
        on_connection_interrupted=lambda *_, **__: interrupted.set(),
        on_connection_resumed=lambda *_, **__: resumed.set(),
    )
    connection.connect().result(TIMEOUT)
    endpoint.faults.drop("client_id")
    assert interrupted.wait(TIMEOUT)
    assert resumed.wait(TIMEOUT)
    connection.disconnect().result(TIMEOUT)


# -- rates ------------------------------------------------------------------------------------------------------------


def test_with_the_services_quotas_a_second_connect_within_a_second_is_refused(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all}, quotas="aws")
    with dial(endpoint), WireClient(endpoint) as again:
        answer = again.connect(username=USERNAME)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code != 0
        with dial(endpoint, client_id="another"):
            pass


def test_with_the_services_quotas_too_much_throughput_is_slowed_down_and_nothing_lost(
    make_endpoint: MakeEndpoint,
) -> None:
    endpoint = make_endpoint({"a": allow_all}, quotas="aws")
    with NativeClient(endpoint) as client:
        client.wait("connection_success")
        futures = [client.publish(bytes(131_000)) for _ in range(8)]  # 1 MiB, of 512 KiB a second
        assert [each.result(TIMEOUT).puback.reason_code for each in futures] == [0] * 8


def test_an_operator_can_end_a_session_and_keep_the_will_back(endpoint: LocalEndpoint) -> None:
    wish: dict[Property, Any] = {Property.SESSION_EXPIRY_INTERVAL: 600}
    with dial(endpoint, properties=wish, will=Will("wills", b"gone", 1)):
        assert endpoint.disconnect("client_id", clean_session=True, prevent_will_message=True)
    with WireClient(endpoint) as client:
        answer = client.connect(username=USERNAME, clean_start=False)
        assert isinstance(answer, ConnAck)
        assert not answer.session_present
    assert not endpoint.events.of_kind("published")

"""Faults of the client that were found by reading it, each with the least that shows that it is mended."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from awscrt import http, websocket
from client_support import WAIT, States
from door_servers import FORBIDDEN, ConnectProxy, HttpDoor, Reply

from iot_customauth_client import (
    ConnectionClosed,
    ConnectTimeout,
    Credentials,
    EndpointUnreachable,
    HttpsPublisher,
    State,
    connect,
    kept_connection,
)
from iot_customauth_client.https_exchange import Exchange

pytest_plugins = ("door_servers",)

BEARER = Credentials.from_bearer_token("marker-token-31aa", token_key_name="key", authorizer="gate")
ROUNDS = 40


# -- a proxy that never answers ---------------------------------------------------------------------------------------


class ProxySilentOnce(ConnectProxy):
    """Takes its first connection and never answers it; serves all that come after it."""

    def _talk(self, client: socket.socket, number: int) -> None:
        if number == 1:
            self.over.wait(2 * WAIT)
        else:
            super()._talk(client, number)


def test_a_proxy_that_never_answered_connect_costs_one_message_not_the_publisher(door: HttpDoor) -> None:
    with ProxySilentOnce(door.port) as proxy:
        settings = door.settings(http_proxy=proxy.url, connect_timeout_seconds=1)
        with HttpsPublisher(settings, BEARER) as publisher:
            with pytest.raises(EndpointUnreachable) as caught:
                publisher.publish("t", b"lost", timeout=WAIT)
            assert caught.value.code == "attempt_timeout"
            assert publisher.publish("t", b"arrives", timeout=WAIT).status == 200
        assert proxy.accepted == 2
    assert [seen.body for seen in door.publishes()] == [b"arrives"]


# -- an upgrade probe that fails by itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_a_session_goes_on_when_the_second_upgrade_request_raises(
    protocol: Any, door: HttpDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def refusing(**_: object) -> None:
        asked.set()
        raise RuntimeError("no more file descriptors")

    monkeypatch.setattr(websocket, "connect", refusing)
    door.answer = lambda _seen: Reply(status=403, body=FORBIDDEN)
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in="headers")
    states = States()
    connection = connect(settings, credentials=BEARER, timeout=0, on_state_change=states)
    try:
        ended = states.wait_for(State.WAITING, State.CLOSED)  # not for ever in CONNECTING
        assert asked.is_set()
        assert ended.error is not None
    finally:
        connection.close(drain=False)
    with pytest.raises(ConnectTimeout):  # the answer to the probe would have said that waiting is no use
        connect(settings.replace(client_id="device-2"), credentials=BEARER, timeout=1)


# -- close() beside publish() -----------------------------------------------------------------------------------------


class Dials:
    """Counts the dials of awscrt's HTTP client, and those of them that were begun while `forbidden` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.after_close = 0
        self.forbidden = threading.Event()
        new = http.HttpClientConnection.new

        def dial(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            self.after_close += self.forbidden.is_set()
            return new(*arguments, **named)

        monkeypatch.setattr(http.HttpClientConnection, "new", staticmethod(dial))


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    return Dials(monkeypatch)


def test_a_message_that_a_thread_hands_over_after_close_returned_is_turned_away(
    door: HttpDoor, dials: Dials, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, closed = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Exchange:  # publish() has passed its check, and hands over when close() is over
        inside.set()
        assert closed.wait(WAIT)
        return Exchange(*arguments)

    monkeypatch.setattr(kept_connection, "Exchange", held)
    publisher = HttpsPublisher(door.settings(), BEARER)
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(publisher.publish, "t", b"late")
        assert inside.wait(WAIT)
        publisher.close()
        closed.set()
        with pytest.raises(ConnectionClosed):
            published.result(WAIT)
    assert (dials.count, door.accepted) == (0, 0)


def test_each_message_that_races_with_close_arrives_or_is_told_that_it_did_not(door: HttpDoor, dials: Dials) -> None:
    arrived = 0
    with ThreadPoolExecutor(1) as pool:
        for number in range(ROUNDS):
            dials.forbidden.clear()
            publisher = HttpsPublisher(door.settings(), BEARER)
            start = threading.Barrier(2)

            def publish(publisher: HttpsPublisher = publisher, start: threading.Barrier = start) -> bool:
                start.wait(WAIT)
                try:
                    return publisher.publish("t", b"x", timeout=WAIT).status == 200
                except ConnectionClosed:
                    return False

            published = pool.submit(publish)
            start.wait(WAIT)
            for _ in range(number * 50):  # close() a little later each time
                pass
            publisher.close(timeout=WAIT)
            dials.forbidden.set()
            arrived += published.result(WAIT)
            with pytest.raises(ConnectionClosed):
                publisher.publish("t", b"after")
    assert dials.after_close == 0
    assert len(door.publishes()) >= arrived
    assert dials.count <= ROUNDS

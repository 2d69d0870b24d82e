"""The two links alone: one attempt when told, one end for each, nothing that awscrt would do by itself."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import BOTH, GOOD, WAIT, WRONG, Farewell, connects, seen
from stub_servers import MqttStub, Stub

from iot_customauth_client import ConnectionBuilder, ConnectionSettings, Credentials, Message, PublishResult
from iot_customauth_client.errors import CustomAuthError
from iot_customauth_client.links.base import Accepted, FilterRequest, Link, LinkEnd, PublishOutcome
from iot_customauth_client.links.mqtt5 import Mqtt5Link
from iot_customauth_client.links.mqtt311 import Mqtt311Link
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck, Connect, Disconnect, Packet
from iot_customauth_client.outgoing import Outgoing
from iot_customauth_client.runtime import runtime

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


class Listener:
    """Collects what a link tells, in order."""

    def __init__(self) -> None:
        self.told: queue.Queue[Accepted | LinkEnd] = queue.Queue()
        self.received: queue.Queue[tuple[Message, Callable[[], bool] | None]] = queue.Queue()

    def link_connected(self, link: Link, accepted: Accepted) -> None:
        self.told.put(accepted)

    def link_ended(self, link: Link, end: LinkEnd) -> None:
        self.told.put(end)

    def link_received(self, link: Link, /, message: Message, acknowledge: Callable[[], bool] | None) -> None:
        self.received.put((message, acknowledge))

    def connected(self) -> Accepted:
        told = self.told.get(timeout=WAIT)
        assert isinstance(told, Accepted), told
        return told

    def ended(self) -> LinkEnd:
        told = self.told.get(timeout=WAIT)
        assert isinstance(told, LinkEnd), told
        return told


def make_link(
    settings: ConnectionSettings, listener: Listener, credentials: Credentials = GOOD
) -> Mqtt5Link | Mqtt311Link:
    kind = Mqtt5Link if settings.protocol == "mqtt5" else Mqtt311Link
    return kind(ConnectionBuilder(settings, credentials), listener, runtime())


def settings_of(service: LocalEndpoint, client_id: str, protocol: str) -> ConnectionSettings:
    return service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]


class NoPromise:
    def resolve(self, result: PublishResult) -> None: ...

    def reject(self, error: CustomAuthError) -> None: ...


def outgoing(topic: str, payload: bytes, **fields: Any) -> Outgoing:
    return Outgoing(topic, payload, promise=NoPromise(), accepted_at=0.0, **fields)


@BOTH
def test_a_link_connects_once_and_reports_one_end(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, protocol), listener)
    assert connects(service, client_id) == 0  # nothing before it is told
    link.attempt()
    accepted = listener.connected()
    assert accepted.session_present is False
    assert accepted.receive_maximum == (100 if protocol == "mqtt5" else None)
    link.end()
    end = listener.ended()
    assert (end.was_connected, end.by_us) == (True, True)
    gone = service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"
    assert listener.told.empty()


@BOTH
def test_what_a_link_can_do_is_declared(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    link = make_link(settings_of(service, client_id, protocol), Listener())
    can = link.capabilities
    assert (can.manual_ack, can.reason_codes, can.renews_in_place) == (
        (True, True, False) if protocol == "mqtt5" else (False, False, True)
    )
    assert can.filters_per_subscribe == (8 if protocol == "mqtt5" else 1)


@BOTH
def test_a_refused_attempt_is_not_repeated_by_awscrt(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, protocol), listener, WRONG)
    link.attempt()
    end = listener.ended()
    assert (end.was_connected, end.by_us) == (False, False)
    assert end.reason_code == (135 if protocol == "mqtt5" else None)
    assert end.error is not None
    assert end.error_name
    link.attempt()  # only when told
    assert listener.ended().was_connected is False
    assert connects(service, client_id) == 2
    assert listener.told.empty()


@BOTH
def test_a_lost_connection_is_not_brought_back_by_awscrt(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    def answer(packet: Packet) -> list[Packet]:
        if isinstance(packet, Connect):
            return [ConnAck(session_present=False, reason_code=0)]
        return []

    with MqttStub(authority, answer=answer) as stub:
        listener = Listener()
        link = make_link(stub.settings(client_id, authority_file, protocol=protocol), listener)
        link.attempt()
        listener.connected()
        stub.hang_up()
        end = listener.ended()
        assert (end.was_connected, end.by_us) == (True, False)
        link.attempt()  # what follows is ours: a second one comes after this, and no third
        listener.connected()
        link.end()
        assert listener.ended().by_us
        stub.wait_packets(Disconnect)
        assert stub.accepted == 2


@BOTH
def test_an_abandoned_link_reports_nothing_and_closes_a_late_success(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    go_on, hung_up = threading.Event(), threading.Event()

    def answer(packet: Packet) -> list[Packet]:
        if isinstance(packet, Connect):
            go_on.wait(WAIT)
            return [ConnAck(session_present=False, reason_code=0)]
        return []

    with MqttStub(authority, answer=answer, on_hang_up=hung_up.set) as stub:
        listener = Listener()
        link = make_link(stub.settings(client_id, authority_file, protocol=protocol), listener)
        link.attempt()
        stub.wait_packets(Connect)
        link.abandon()
        del link
        gc.collect()
        go_on.set()
        assert hung_up.wait(WAIT)
    assert listener.told.empty()


@BOTH
def test_messages_and_answers_go_both_ways(protocol: str, service: LocalEndpoint, client_id: str, topic: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, protocol), listener)
    link.attempt()
    listener.connected()
    answers: queue.Queue[Any] = queue.Queue()
    link.subscribe([FilterRequest(topic, 1)], lambda codes, error: answers.put((codes, error)))
    assert answers.get(timeout=WAIT) == ([1], None)
    entry = outgoing(topic, b"x")
    assert link.publish(entry, lambda entry, outcome: answers.put((entry, outcome))) is None
    assert answers.get(timeout=WAIT) == (entry, PublishOutcome(reason_code=0 if protocol == "mqtt5" else None))
    message, acknowledge = listener.received.get(timeout=WAIT)
    assert (message.topic, message.payload, message.qos) == (topic, b"x", 1)
    assert (acknowledge is not None) is link.capabilities.manual_ack
    if acknowledge is not None:
        assert not seen(service, events.Acknowledged, client_id)
        assert acknowledge() is True
    service.wait_for(events.Acknowledged, client_id=client_id, timeout=WAIT)
    link.unsubscribe(topic, lambda: answers.put("unsubscribed"))
    assert answers.get(timeout=WAIT) == "unsubscribed"
    link.end()
    listener.ended()


@BOTH
def test_what_awscrt_refuses_is_an_outcome_and_no_exception(
    protocol: str, service: LocalEndpoint, client_id: str
) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, protocol), listener)
    link.attempt()
    listener.connected()
    answers: queue.Queue[Any] = queue.Queue()
    outcome = link.publish(outgoing("a/#/b", b""), lambda _, outcome: answers.put(outcome))
    if outcome is None:
        outcome = answers.get(timeout=WAIT)
    assert outcome.error is not None
    assert not outcome.gone
    link.subscribe([FilterRequest("a/#/b", 1)], lambda codes, error: answers.put((codes, error)))
    codes, error = answers.get(timeout=WAIT)
    assert codes is None
    assert error is not None
    link.end()
    listener.ended()


@BOTH
def test_a_link_that_was_told_to_end_twice_is_let_go(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, protocol), listener)
    link.attempt()
    listener.connected()
    link.end()
    listener.ended()
    link.abandon()
    farewell = Farewell(link)
    del link
    farewell.wait()


@BOTH
def test_a_link_is_collected_when_nobody_holds_it(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, protocol), listener)
    link.attempt()
    listener.connected()
    farewell = Farewell(link)
    del link
    farewell.wait()
    service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)  # and its socket is closed


@BOTH
def test_dialling_does_not_keep_the_listener_alive(protocol: str, client_id: str) -> None:
    with Stub(lambda connection: bool(connection.recv(1024)) and None) as stub:  # type: ignore[func-returns-value]
        settings = ConnectionSettings(endpoint="localhost", port=stub.port, client_id=client_id, protocol=protocol)  # type: ignore[arg-type]
        listener = Listener()
        make_link(settings, listener).attempt()
        farewell = Farewell(listener)
        del listener
        farewell.wait()
        stub.wait_accepted(1)

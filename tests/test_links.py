"""The two links alone: one attempt when told, one end for each, nothing that awscrt would do by itself."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import BOTH, GOOD, WAIT, WRONG, Farewell, allowing, connects, seen
from link_support import Listener, make_link
from stub_servers import MqttStub, Stub, usual_answer

from iot_customauth_client import ConnectionBuilder, ConnectionSettings, Credentials, PublishResult
from iot_customauth_client.errors import CustomAuthError
from iot_customauth_client.links.base import FilterRequest, Link, PublishOutcome
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck, Connect, Disconnect, Packet, Publish
from iot_customauth_client.outgoing import Outgoing

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


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


# -- the next attempt, over the same native object --------------------------------------------------------------------


class Losing(MqttStub):
    """A server that acknowledges nothing until `generous` is set; `present` is what later CONNACKs say."""

    def __init__(self, authority: trustme.CA, *, present: bool = True) -> None:
        self.generous = False
        self.present = present
        super().__init__(authority, answer=self._decide)

    def _decide(self, packet: Packet) -> Sequence[Packet]:
        if isinstance(packet, Connect):
            return [ConnAck(session_present=self.present and self.accepted > 1, reason_code=0)]
        if isinstance(packet, Publish) and not self.generous:
            return []
        return usual_answer(packet)

    @property
    def publishes(self) -> list[bytes]:
        return [packet.payload for packet in self.packets if isinstance(packet, Publish)]

    @property
    def usernames(self) -> list[str | None]:
        return [packet.username for packet in self.packets if isinstance(packet, Connect)]


@pytest.mark.parametrize("present", [True, False])
def test_awscrt_sends_again_by_itself_what_311_kept(
    present: bool, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with Losing(authority, present=present) as stub:
        listener = Listener()
        link = make_link(stub.settings(client_id, authority_file, protocol="mqtt311"), listener)
        assert link.capabilities.keeps_in_flight
        native = link.native
        link.attempt()
        listener.connected()
        outcomes: queue.Queue[Any] = queue.Queue()
        for payload in (b"1", b"2", b"3"):
            link.publish(outgoing("a/b", payload), lambda entry, outcome: outcomes.put((entry.payload, outcome)))
        stub.wait_packets(Publish, 3)
        stub.hang_up()
        listener.ended()
        assert outcomes.empty()
        stub.generous = True
        link.attempt()
        assert listener.connected().session_present is present
        link.publish(outgoing("a/b", b"4"), lambda entry, outcome: outcomes.put((entry.payload, outcome)))
        ends = [outcomes.get(timeout=WAIT) for _ in range(4)]
        assert ends == [(payload, PublishOutcome()) for payload in (b"1", b"2", b"3", b"4")]
        assert stub.publishes == [b"1", b"2", b"3", b"1", b"2", b"3", b"4"]
        assert link.native is native
        link.end()
        listener.ended()


@pytest.mark.parametrize(("protocol", "expiry"), [("mqtt311", 0), ("mqtt5", 3_600)])
def test_what_awscrt_does_not_keep_is_reported_as_gone(
    protocol: str, expiry: int, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with Losing(authority) as stub:
        listener = Listener()
        settings = stub.settings(client_id, authority_file, protocol=protocol, session_expiry_seconds=expiry)
        link = make_link(settings, listener)
        assert not link.capabilities.keeps_in_flight
        link.attempt()
        listener.connected()
        outcomes: queue.Queue[PublishOutcome] = queue.Queue()
        link.publish(outgoing("a/b", b"1"), lambda _, outcome: outcomes.put(outcome))
        stub.wait_packets(Publish)
        stub.hang_up()
        listener.ended()
        assert outcomes.get(timeout=WAIT).gone
        stub.generous = True
        link.attempt()
        listener.connected()
        assert stub.publishes == [b"1"]  # nobody else sends it again
        link.end()
        listener.ended()


def test_311_uses_new_credentials_on_the_same_native_object(
    authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with Losing(authority) as stub:
        listener = Listener()
        settings = stub.settings(client_id, authority_file, protocol="mqtt311")
        link = make_link(settings, listener, Credentials.from_password("first", "word"))
        native = link.native
        link.attempt()
        listener.connected()
        link.end()
        listener.ended()
        assert link.renew(ConnectionBuilder(settings, Credentials.from_password("second", "word")))
        link.attempt()
        listener.connected()
        stub.hang_up()
        listener.ended()
        link.attempt()
        listener.connected()
        assert stub.usernames == ["first", "second", "second"]
        assert link.native is native
        link.end()
        listener.ended()


def test_an_mqtt5_client_takes_no_new_credentials_in_connect(service: LocalEndpoint, client_id: str) -> None:
    settings = settings_of(service, client_id, "mqtt5")
    link = make_link(settings, Listener())
    assert link.renew(ConnectionBuilder(settings, GOOD))  # the same bytes
    assert not link.renew(ConnectionBuilder(settings, WRONG))


@BOTH
@pytest.mark.parametrize("place", ["headers", "query"])
def test_an_upgrade_carries_new_credentials_with_the_next_attempt(place: str, protocol: str, client_id: str) -> None:
    def gate(event: Mapping[str, Any], context: object) -> dict[str, object]:
        return allowing() if "fresh" in str(event["protocolData"]["http"]) else {"isAuthenticated": False}

    with LocalEndpoint({"gate": gate}) as service:
        listener = Listener()
        settings = settings_of(service, client_id, protocol).replace(transport="websocket", credentials_in=place)
        stale, fresh = (
            Credentials.from_bearer_token(token, token_key_name="t", authorizer="gate") for token in ("stale", "fresh")
        )
        link = make_link(settings, listener, stale)
        native = link.native
        assert link.capabilities.renews_in_place
        link.attempt()
        assert listener.ended().was_connected is False
        assert link.renew(ConnectionBuilder(settings, fresh))
        link.attempt()
        listener.connected()
        assert link.native is native
        link.end()
        listener.ended()


def test_an_acknowledgement_for_a_connection_of_before_is_not_sent(
    service: LocalEndpoint, client_id: str, topic: str
) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, "mqtt5"), listener)
    link.attempt()
    listener.connected()
    granted = threading.Event()
    link.subscribe([FilterRequest(topic, 1)], lambda codes, error: granted.set())
    assert granted.wait(WAIT)
    link.publish(outgoing(topic, b"x"), lambda *_: None)
    _, acknowledge = listener.received.get(timeout=WAIT)
    link.end()
    listener.ended()
    link.attempt()
    listener.connected()
    assert acknowledge is not None
    assert acknowledge() is False
    message, acknowledge = listener.received.get(timeout=WAIT)  # the service sends it again
    assert message.payload == b"x"
    assert acknowledge is not None
    assert acknowledge() is True
    link.end()
    listener.ended()


def test_what_arrives_for_nobody_is_not_acknowledged(service: LocalEndpoint, client_id: str, topic: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, "mqtt5"), listener)
    link.attempt()
    listener.connected()
    granted, sent = threading.Event(), threading.Event()
    link.subscribe([FilterRequest(topic, 1)], lambda codes, error: granted.set())
    assert granted.wait(WAIT)
    del listener  # and with it who receives
    gc.collect()
    link.publish(outgoing(topic, b"x"), lambda *_: sent.set())
    assert sent.wait(WAIT)
    service.wait_for(events.Delivered, client_id=client_id, timeout=WAIT)
    link.abandon()
    service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert not seen(service, events.Acknowledged, client_id)


@BOTH
def test_messages_under_way_do_not_keep_what_waits_for_them_alive(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    class Waiting(NoPromise):
        """Knows the link, as a user's future does by way of the outbox."""

        def __init__(self, link: Link) -> None:
            self.link = link

    with Losing(authority) as stub:
        listener = Listener()
        link = make_link(stub.settings(client_id, authority_file, protocol=protocol), listener)
        link.attempt()
        listener.connected()
        link.publish(Outgoing("a/b", b"1", promise=Waiting(link), accepted_at=0.0), lambda *_: None)
        stub.wait_packets(Publish)
        farewell = Farewell(link)
        del link
        farewell.wait()


def test_properties_of_mqtt5_reach_the_service(service: LocalEndpoint, client_id: str, topic: str) -> None:
    listener = Listener()
    link = make_link(settings_of(service, client_id, "mqtt5"), listener)
    link.attempt()
    listener.connected()
    granted = threading.Event()
    link.subscribe([FilterRequest(topic, 1)], lambda codes, error: granted.set())
    assert granted.wait(WAIT)
    some: dict[str, Any] = {"content_type": "text/x", "response_topic": "open/r", "correlation_data": b"\xff\x00"}
    more = some | {"expiry_seconds": 60, "user_properties": (("a", "1"), ("a", "2"))}
    for fields in ({}, some, more, {"qos": 0}):
        link.publish(outgoing(topic, b"x", **fields), lambda *_: None)
        message, _ = listener.received.get(timeout=WAIT)
        assert (message.payload, message.qos) == (b"x", fields.get("qos", 1))
        assert message.content_type == fields.get("content_type")
        assert message.response_topic == fields.get("response_topic")
        assert message.correlation_data == fields.get("correlation_data")
        assert message.user_properties == fields.get("user_properties", ())
        assert (message.expiry_seconds is None) is ("expiry_seconds" not in fields)
    link.end()
    listener.ended()

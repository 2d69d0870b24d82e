"""Request and response: a reply finds its request, and every request ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import BOTH, GOOD, WAIT, Dial, failure, seen
from stub_servers import MqttStub, usual_answer

from iot_customauth_client import (
    ConfigurationError,
    Connection,
    ConnectionClosed,
    InvalidTopic,
    Message,
    OperationTimeout,
    PolicyDenied,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import Packet, PubAck, Publish
from iot_customauth_client.requests import MAX_IDLE_REPLY_TOPICS, ReplyTopic, Request, is_reply

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


@pytest.fixture
def responder(service: LocalEndpoint, client_id: str) -> Iterator[Connection]:
    """Another device, over MQTT 5."""
    settings = service.settings(f"{client_id}-responder")
    with connect(settings, credentials=GOOD, timeout=WAIT) as connection:
        yield connection


@BOTH
def test_a_request_gets_what_the_handler_returned(protocol: str, dial: Dial, responder: Connection, topic: str) -> None:
    connection = dial(protocol)
    results: dict[bytes, object] = {b"bytes": b"\xff", b"text": "é", b"nothing": None, b"json": {"n": [1]}}
    with responder.respond(topic, lambda message: results[message.payload]):
        assert connection.request(topic, b"bytes", timeout=WAIT).payload == b"\xff"
        assert connection.request(topic, b"text", timeout=WAIT).text() == "é"
        assert connection.request(topic, b"nothing", timeout=WAIT).payload == b""
        reply = connection.request(topic, b"json", timeout=WAIT)
    assert (reply.topic, reply.json()) == (f"{topic}/response", {"n": [1]})


@BOTH
def test_both_protocols_can_respond(protocol: str, dial: Dial, topic: str, client_id: str) -> None:
    responder, requester = dial(protocol), dial(protocol, client_id=f"{client_id}-b")
    with responder.respond(f"{topic}/+", lambda message: message.payload + b"!"):
        assert requester.request(f"{topic}/a", b"x", timeout=WAIT).payload == b"x!"


@BOTH
def test_concurrent_requests_each_get_their_own_reply(
    protocol: str, dial: Dial, responder: Connection, topic: str
) -> None:
    connection = dial(protocol)
    with responder.respond(topic, lambda message: message.payload), ThreadPoolExecutor(8) as pool:
        payloads = [b"%d" % number for number in range(40)]
        replies = list(pool.map(lambda payload: connection.request(topic, payload, timeout=WAIT).payload, payloads))
    assert replies == payloads


def test_replies_find_their_requests_in_any_order(dial: Dial, responder: Connection, topic: str) -> None:
    first_is_there = threading.Event()
    waiting: list[Message] = []

    def later(message: Message) -> None:
        waiting.append(message)
        first_is_there.set()

    connection = dial()
    with responder.subscribe(topic, later), ThreadPoolExecutor(1) as pool:
        first = pool.submit(connection.request, topic, b"first", timeout=WAIT)
        assert first_is_there.wait(WAIT)

        def answer_both(message: Message) -> None:
            for each in (message, waiting[0]):
                assert each.response_topic is not None
                responder.publish(each.response_topic, each.payload, correlation_data=each.correlation_data)

        with responder.subscribe(f"{topic}/b", answer_both):
            second = connection.request(f"{topic}/b", b"second", response_topic=f"{topic}/response", timeout=WAIT)
        assert second.payload == b"second"
        assert first.result(WAIT).payload == b"first"


def test_the_reply_topic_can_be_chosen(dial: Dial, responder: Connection, topic: str) -> None:
    with responder.respond(topic, lambda message: message.response_topic):
        reply = dial().request(topic, response_topic=f"{topic}/elsewhere", timeout=WAIT)
    assert reply.topic == reply.text() == f"{topic}/elsewhere"


def test_a_reply_without_a_request_is_ignored_and_counted(dial: Dial, responder: Connection, topic: str) -> None:
    connection = dial()
    with responder.respond(topic, lambda message: message.payload):
        connection.request(topic, b"a", timeout=WAIT)
        responder.publish(f"{topic}/response", b"stray", correlation_data=b"unknown").result(WAIT)
        responder.publish(f"{topic}/response", b"stray").result(WAIT)
        assert connection.request(topic, b"b", timeout=WAIT).payload == b"b"
    assert connection._session.requests.ignored == 2


@BOTH
def test_a_request_that_nobody_answers_times_out_as_sent(protocol: str, dial: Dial, topic: str) -> None:
    error = failure(OperationTimeout, dial(protocol).request, topic, timeout=0.5, phase="connected")
    assert error.stage == "sent"


def test_a_time_out_tells_that_nobody_was_subscribed_to_the_request(
    authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    def answer(packet: Packet) -> Any:
        if isinstance(packet, Publish):
            return [PubAck(packet.packet_id or 0, reason_code=16)]
        return usual_answer(packet)

    with (
        MqttStub(authority, answer=answer) as stub,
        connect(stub.settings(client_id, authority_file), credentials=GOOD) as connection,
    ):
        error = failure(OperationTimeout, connection.request, "open/a", timeout=0.5)
        assert "nobody was subscribed" in error.likely_causes[0]


@BOTH
def test_after_a_time_out_the_next_request_has_its_turn(
    protocol: str, dial: Dial, responder: Connection, topic: str
) -> None:
    connection = dial(protocol)
    failure(OperationTimeout, connection.request, topic, b"a", timeout=0.3)
    with responder.respond(topic, lambda message: message.payload):
        assert connection.request(topic, b"b", timeout=WAIT).payload == b"b"


@BOTH
def test_a_request_without_a_connection_times_out_as_queued(protocol: str, client_id: str) -> None:
    nowhere = {"port": 1, "client_id": client_id, "protocol": protocol, "timeout": 0}
    with connect("localhost", credentials=GOOD, **nowhere) as connection:  # type: ignore[arg-type]
        error = failure(OperationTimeout, connection.request, "open/a", timeout=0.2)
        assert error.stage == "queued"
        connection.close(timeout=0.1, drain=False)


def test_a_reply_topic_that_the_policy_forbids_fails_the_request_at_once(dial: Dial, topic: str) -> None:
    connection = dial()
    error = failure(PolicyDenied, connection.request, topic, response_topic="forbidden/reply", timeout=None)
    assert (error.action, error.topic) == ("iot:Subscribe", "forbidden/reply")
    failure(PolicyDenied, connection.request, topic, response_topic="forbidden/reply", timeout=None)


def test_a_request_that_the_policy_forbids_fails_at_once(dial: Dial, topic: str) -> None:
    error = failure(PolicyDenied, dial().request, "forbidden/a", response_topic=topic, timeout=None)
    assert (error.action, error.topic) == ("iot:Publish", "forbidden/a")


@BOTH
def test_closing_ends_requests_under_way(protocol: str, dial: Dial, topic: str, service: LocalEndpoint) -> None:
    connection = dial(protocol)
    with ThreadPoolExecutor(1) as pool, connection.subscribe(topic) as messages:
        waiting = pool.submit(connection.request, topic, timeout=None)
        messages.get(WAIT)
        connection.close(drain=False)
        failure(ConnectionClosed, waiting.result, WAIT)
    failure(ConnectionClosed, connection.request, topic, timeout=WAIT)


@BOTH
def test_what_cannot_be_requested_is_refused_at_once(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    failure(InvalidTopic, connection.request, "a/#", timeout=WAIT)
    failure(InvalidTopic, connection.request, topic, response_topic="a/+", timeout=WAIT)
    if protocol == "mqtt311":
        failure(ConfigurationError, connection.request, topic, response_topic=f"{topic}/other", timeout=WAIT)

    async def coroutine(_: Message) -> None: ...

    with pytest.raises(TypeError):
        connection.respond(topic, coroutine)


@BOTH
def test_a_handler_may_request(protocol: str, dial: Dial, responder: Connection, client_id: str, topic: str) -> None:
    connection, requester = dial(protocol), dial(protocol, client_id=f"{client_id}-b")
    with (
        responder.respond(f"{topic}/inner", lambda message: message.payload * 2),
        connection.respond(
            f"{topic}/outer",
            lambda message: connection.request(f"{topic}/inner", message.payload, timeout=WAIT).payload,
        ),
    ):
        assert requester.request(f"{topic}/outer", b"x", timeout=WAIT).payload == b"xx"


@BOTH
def test_a_responder_with_a_wide_filter_does_not_answer_replies(
    protocol: str, dial: Dial, client_id: str, topic: str
) -> None:
    connection, requester = dial(protocol), dial(protocol, client_id=f"{client_id}-b")
    asked: list[bytes] = []
    with connection.respond(f"{topic}/#", lambda message: asked.append(message.payload)):
        requester.request(f"{topic}/a", b"1", timeout=WAIT)
        requester.request(f"{topic}/a", b"2", timeout=WAIT)
    assert asked == [b"1", b"2"]


def test_a_failing_handler_sends_no_reply_and_serves_the_next_request(
    dial: Dial, responder: Connection, topic: str, no_secret_in_logs: list[str]
) -> None:
    def handler(message: Message) -> bytes:
        if message.payload == b"bad":
            raise ValueError("the responder's own fault")
        return b"good"

    connection = dial()
    with responder.respond(topic, handler):
        failure(OperationTimeout, connection.request, topic, b"bad", timeout=0.5)
        assert connection.request(topic, b"fine", timeout=WAIT).payload == b"good"
    assert responder._session.inbox.handler_errors == 1
    assert any("the responder's own fault" in line for line in no_secret_in_logs)


def test_the_last_used_reply_topics_stay_subscribed_and_older_ones_go(
    dial: Dial, responder: Connection, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial()
    with responder.respond(f"{topic}/+", lambda message: b""):
        for number in range(MAX_IDLE_REPLY_TOPICS + 2):
            connection.request(f"{topic}/{number}", timeout=WAIT)
            connection.request(f"{topic}/{number}", timeout=WAIT)
        gone = [
            name
            for name in (f"{topic}/0/response", f"{topic}/1/response")
            if service.wait_for(events.Unsubscribed, client_id=client_id, topic_filters=(name,), timeout=WAIT)
        ]
    assert len(gone) == 2
    subscribed = [event.topic_filters for event in seen(service, events.Subscribed, client_id)]
    assert len(subscribed) == MAX_IDLE_REPLY_TOPICS + 2


def test_what_is_a_reply_is_told_from_a_request() -> None:
    assert not is_reply(Message("a", b""))
    assert not is_reply(Message("a/response", b"", response_topic="b"))
    assert not is_reply(Message("a", b"", response_topic="b", correlation_data=b"c"))
    assert is_reply(Message("a/response", b""))
    assert is_reply(Message("a", b"", correlation_data=b"c"))


def test_a_request_that_meets_the_refusal_of_its_reply_topic_halfway_ends_as_well(
    dial: Dial, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = PolicyDenied("no", action="iot:Subscribe", topic=f"{topic}/response")
    add = ReplyTopic.add

    def refused_first(reply_topic: ReplyTopic, request: Request) -> None:
        reply_topic.refused(denied)
        add(reply_topic, request)

    connection = dial()
    with monkeypatch.context() as patch:
        patch.setattr(ReplyTopic, "add", refused_first)
        failure(PolicyDenied, connection.request, topic, timeout=WAIT)
    failure(OperationTimeout, connection.request, topic, timeout=0.1)  # a new one asks anew

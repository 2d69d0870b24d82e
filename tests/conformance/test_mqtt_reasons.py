"""Reason strings, and clients that want none (Request Problem Information 0)."""

from __future__ import annotations

import re

import pytest
from conformance_bench import V5, Bench

from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
)

QUIET = {Property.REQUEST_PROBLEM_INFORMATION: 0}
REASON = Property.REASON_STRING
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.mark.mqtt5("3.1.2-29")
def test_a_client_that_wants_no_problem_information_gets_bare_codes(bench: Bench) -> None:
    client = bench.client(V5, properties=QUIET)
    answer = client.publish("no-publish/x", qos=1)
    assert answer is not None
    assert (answer.reason_code, dict(answer.properties)) == (135, {})
    client.send(Subscribe(1, (SubscribeRequest("no-subscribe/x", 0),)))
    assert client.expect(SubAck) == SubAck(1, (135,))


@pytest.mark.mqtt5("3.1.2-29")
def test_it_still_gets_the_user_properties_of_messages(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5, properties=QUIET)
    client.subscribe(topic)
    client.publish(topic, properties={Property.USER_PROPERTY: (("a", "b"),)})
    assert client.message().properties == {Property.USER_PROPERTY: (("a", "b"),)}


@pytest.mark.aws("reason-strings")
@pytest.mark.parametrize("properties", [{}, {Property.REQUEST_PROBLEM_INFORMATION: 1}])
def test_another_client_gets_reason_strings_that_name_packet_and_trace(
    bench: Bench, properties: dict[Property, int]
) -> None:
    peer = bench.peer(V5)
    connack = peer.connect(bench.name("no-connect"), properties=properties)
    assert isinstance(connack, ConnAck)
    client = bench.client(V5, properties=properties)
    puback = client.publish("no-publish/x", qos=1)
    assert puback is not None
    client.send(Subscribe(1, (SubscribeRequest("no-subscribe/x", 0),)))
    suback = client.expect(SubAck)
    client.send(Publish("no-publish/x", b""))
    last = client.expect(Disconnect)
    for name, packet in (("CONNACK", connack), ("PUBACK", puback), ("SUBACK", suback), ("DISCONNECT", last)):
        reason = packet.properties[REASON]
        assert isinstance(reason, str)
        assert re.fullmatch(f"{name}:[A-Z][A-Za-z ]+:{UUID}", reason), reason


def test_success_needs_no_reason(bench: Bench) -> None:
    client = bench.client(V5)
    assert client.connack is not None
    assert REASON not in client.connack.properties
    answer = client.publish(bench.name(), qos=1)
    assert answer is not None
    assert answer.properties == {}


@pytest.mark.mqtt5("3.2.2-20", "3.4.2-3", "3.9.2-2", "3.11.2-1", "3.11.2-2", "3.14.2-4")
def test_no_answer_carries_user_properties_and_unsuback_none_at_all(bench: Bench) -> None:
    asked = {Property.USER_PROPERTY: (("a", "b"),)}
    client = bench.client(V5, properties=asked)
    assert client.connack is not None
    request = SubscribeRequest("no-subscribe/x", 0)
    client.send(Publish("no-publish/x", b"", 1, packet_id=1, properties=asked), Subscribe(2, (request,), asked))
    client.send(Unsubscribe(3, ("a/#/b", "a"), asked), PingReq())
    puback, suback, unsuback = client.expect(PubAck), client.expect(SubAck), client.expect(UnsubAck)
    assert unsuback.reason_codes == (143, 0)
    client.send(Connect(V5, client.client_id, properties=asked))
    last = client.expect(Disconnect)
    for answer in (client.connack, puback, suback, unsuback, last):
        assert Property.USER_PROPERTY not in answer.properties
    assert unsuback.properties == {}

"""How connections end: DISCONNECT of either side, and what comes after it."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench

from iot_customauth_client.local import events
from iot_customauth_client.local.codec import Disconnect, PingReq, Property, Publish, Version


@pytest.mark.mqtt5("3.14.4-1")
@pytest.mark.mqtt311("3.14.4-1", "3.14.4-2")
@EITHER
def test_what_follows_a_clients_disconnect_is_not_taken(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = bench.client(version)
    watcher.subscribe(topic)
    client = bench.client(version)
    client.send(Publish(topic, b"before"), Disconnect(), Publish(topic, b"after"), PingReq())
    assert client.receive() is None
    assert watcher.payloads() == [b"before"]


@pytest.mark.mqtt5("3.14.2-1")
@pytest.mark.parametrize("code", [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
def test_every_code_that_a_client_may_say_ends_its_connection_as_its_own_wish(bench: Bench, code: int) -> None:
    client = bench.client(V5)
    client.leave(code, {Property.REASON_STRING: "why", Property.USER_PROPERTY: (("a", "b"),)})
    ended = bench.endpoint.wait_for(events.Disconnected, client_id=client.client_id, timeout=10)
    assert ended.reason == "CLIENT_INITIATED_DISCONNECT"


@pytest.mark.mqtt5("3.14.4-1", "3.14.4-2", "3.14.2-1", "4.13.2-1", "3.14.2-2")
@pytest.mark.aws("no-server-redirection")
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("API_INITIATED_DISCONNECT", 152),
        ("SERVER_INITIATED_DISCONNECT", 139),
        ("FORBIDDEN_ACCESS", 135),
        ("THROTTLED", 151),
        ("CUSTOMAUTH_TTL_EXPIRATION", 152),
    ],
)
def test_the_endpoints_disconnect_is_the_last_packet(bench: Bench, reason: str, code: int) -> None:
    client = bench.client(V5)
    bench.endpoint.disconnect(client.client_id, reason)
    last = client.expect(Disconnect)
    assert last.reason_code == code
    assert not {Property.SESSION_EXPIRY_INTERVAL, Property.SERVER_REFERENCE} & set(last.properties)
    assert client.receive() is None
    old = bench.client(V311)
    bench.endpoint.disconnect(old.client_id, reason)
    assert old.end() is None


@pytest.mark.mqtt5("4.1.0-1")
@EITHER
def test_the_end_of_one_connection_is_no_matter_of_another(bench: Bench, version: Version) -> None:
    topic = bench.name()
    stays, ends = bench.client(version), bench.client(version)
    for client in (stays, ends):
        client.subscribe(topic)
    ends.send_bytes(b"\0\0")
    ends.end()
    stays.publish(topic, qos=1)
    assert len(stays.messages()) == 1

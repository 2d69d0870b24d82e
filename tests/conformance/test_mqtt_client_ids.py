"""Client ids: the empty one, the longest, the reserved; and two clients with the same one."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, Peer, raw_connect, text

from iot_customauth_client.local import events
from iot_customauth_client.local.codec import ConnAck, Property, Publish, Version, Will


def assigned(client: Peer) -> str:
    assert client.connack is not None
    client_id = client.connack.properties[Property.ASSIGNED_CLIENT_IDENTIFIER]
    assert isinstance(client_id, str)
    return client_id


@pytest.mark.mqtt5("3.1.3-6", "3.1.3-7", "3.2.2-16")
@pytest.mark.aws("assigned-client-ids")
@pytest.mark.parametrize("clean_start", [True, False])
def test_an_empty_client_id_of_5_is_assigned_a_unique_one(bench: Bench, clean_start: bool) -> None:
    ids = {assigned(bench.client(V5, "", clean_start=clean_start)) for _ in range(10)}
    assert len(ids) == 10
    assert all(each.startswith("$GEN/") for each in ids)
    for each in ids:
        assert bench.endpoint.wait_for(events.Connected, client_id=each, timeout=0)


@pytest.mark.mqtt311("3.1.3-6")
def test_an_empty_client_id_of_311_with_clean_session_is_assigned_one_too(bench: Bench) -> None:
    topic = bench.name()
    one, other = bench.client(V311, ""), bench.client(V311, "")
    one.subscribe(topic)
    other.publish(topic)
    assert len(one.messages()) == 1


@pytest.mark.mqtt311("3.1.3-7")
@pytest.mark.aws("no-connack-311")
def test_an_empty_client_id_of_311_without_clean_session_is_hung_up_on(bench: Bench) -> None:
    peer = bench.peer(V311)
    peer.send_bytes(raw_connect(V311, flags=0, rest=text("")))
    assert peer.receive() is None


@pytest.mark.mqtt5("3.1.3-8")
@pytest.mark.aws("assigned-client-ids")
def test_an_assigned_client_id_cannot_be_used_to_connect(bench: Bench) -> None:
    first = bench.client(V5, "")
    first.leave()
    peer = bench.peer(V5)
    answer = peer.connect(assigned(first))
    assert isinstance(answer, ConnAck)
    assert answer.reason_code == 133
    assert peer.receive() is None
    assert bench.peer(V311).connect(assigned(first)) is None


@pytest.mark.mqtt5("3.1.3-5", "3.1.3-8")
@pytest.mark.aws("client-id-length", "no-connack-311")
@pytest.mark.parametrize(("client_id", "taken"), [("x" * 128, True), ("é" * 64, True), ("x" * 129, False)])
def test_a_client_id_has_128_bytes_and_no_more(bench: Bench, client_id: str, taken: bool) -> None:
    answer = bench.peer(V5).connect(client_id)
    assert isinstance(answer, ConnAck)
    assert answer.reason_code == (0 if taken else 133)
    assert (bench.peer(V311).connect(client_id) is not None) is taken


@pytest.mark.mqtt5("3.1.4-3")
@pytest.mark.mqtt311("3.1.4-2")
@EITHER
def test_a_newcomer_takes_the_client_id_and_the_old_connection_ends(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = bench.client(V5)
    watcher.subscribe(topic)
    old = bench.client(version, will=Will(topic, b"gone"))
    new = bench.client(version, old.client_id)
    assert old.end() == (142 if version is V5 else None)
    new.ping()
    assert watcher.payloads() == [b"gone"]


@pytest.mark.mqtt5("3.1.4-3")
@pytest.mark.mqtt311("3.1.4-2")
@pytest.mark.parametrize(("before", "after"), [(V5, V311), (V311, V5)])
def test_a_newcomer_of_the_other_version_takes_it_too(bench: Bench, before: Version, after: Version) -> None:
    old = bench.client(before)
    bench.client(after, old.client_id)
    assert old.end() == (142 if before is V5 else None)


@pytest.mark.mqtt5("3.1.4-3", "3.1.4-4")
@pytest.mark.mqtt311("3.1.4-2", "3.1.4-3")
@EITHER
def test_a_newcomer_resumes_the_session_of_the_old_connection(bench: Bench, version: Version) -> None:
    topic = bench.name()
    old = bench.keeper(version)
    old.subscribe(topic)
    bench.client(version).publish(topic, b"x", qos=1)
    (sent,) = old.messages(acknowledge=False)
    new = bench.keeper(version, old.client_id)
    assert new.connack is not None
    assert new.connack.session_present
    assert new.message() == sent


@EITHER
def test_a_newcomer_that_is_refused_takes_nobodys_place(bench: Bench, version: Version) -> None:
    old = bench.client(version)
    bench.peer(version).connect(old.client_id, will=Will("no-publish/x", b""))
    old.ping()


@EITHER
def test_what_the_old_connection_still_sends_is_not_taken(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = bench.client(V5)
    watcher.subscribe(topic)
    old = bench.client(version)
    bench.client(version, old.client_id).ping()
    try:
        old.send(Publish(topic, b"late"))
    except OSError:  # the endpoint has closed already
        return
    old.end()
    assert watcher.messages() == []

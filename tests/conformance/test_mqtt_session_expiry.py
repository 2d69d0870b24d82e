"""How long a session outlives its connection (MQTT 5), and what a DISCONNECT may change about it."""

from __future__ import annotations

import pytest
from conformance_bench import V5, Bench, Peer

from iot_customauth_client.local.codec import ConnAck, Disconnect, Properties, Property

EXPIRY = Property.SESSION_EXPIRY_INTERVAL


def expiring(seconds: int | None) -> Properties:
    return {} if seconds is None else {EXPIRY: seconds}


def is_kept(bench: Bench, client: Peer) -> bool:
    again = bench.client(V5, client.client_id, clean_start=False)
    assert again.connack is not None
    return again.connack.session_present


@pytest.mark.mqtt5("3.1.2-23", "4.1.0-2")
@pytest.mark.parametrize("seconds", [None, 0])
def test_a_session_without_expiry_ends_with_its_connection(bench: Bench, seconds: int | None) -> None:
    client = bench.client(V5, clean_start=False, properties=expiring(seconds))
    client.leave()
    assert not is_kept(bench, client)


@pytest.mark.mqtt5("3.1.2-23", "4.1.0-2")
@pytest.mark.parametrize(("waited", "kept"), [(99, True), (100, False)])
def test_a_session_lasts_as_long_as_was_asked_for(bench: Bench, waited: int, kept: bool) -> None:
    client = bench.client(V5, properties=expiring(100))
    client.vanish()
    bench.clock.advance(waited)
    assert is_kept(bench, client) is kept


@pytest.mark.aws("session-expiry-maximum")
@pytest.mark.parametrize("asked", [3_601, 604_800, 0xFFFF_FFFF])
def test_more_than_the_accounts_maximum_is_lowered_and_told(bench: Bench, asked: int) -> None:
    client = bench.client(V5, properties=expiring(asked))
    assert client.connack is not None
    assert client.connack.properties[EXPIRY] == 3_600
    client.vanish()
    bench.clock.advance(3_600)
    assert not is_kept(bench, client)


@pytest.mark.parametrize("asked", [1, 3_600])
def test_what_is_granted_as_asked_is_not_told(bench: Bench, asked: int) -> None:
    client = bench.client(V5, properties=expiring(asked))
    assert client.connack is not None
    assert EXPIRY not in client.connack.properties


@pytest.mark.parametrize(("last", "waited", "kept"), [(10, 9, True), (10, 10, False), (1_000, 999, True)])
def test_a_disconnect_may_change_the_expiry(bench: Bench, last: int, waited: int, kept: bool) -> None:
    client = bench.client(V5, properties=expiring(100))
    client.leave(properties=expiring(last))
    bench.clock.advance(waited)
    assert is_kept(bench, client) is kept


def test_a_disconnect_with_expiry_0_ends_the_session(bench: Bench) -> None:
    client = bench.client(V5, properties=expiring(100))
    client.leave(properties=expiring(0))
    assert not is_kept(bench, client)


@pytest.mark.aws("session-expiry-maximum")
def test_a_disconnect_cannot_ask_for_more_than_the_maximum(bench: Bench) -> None:
    client = bench.client(V5, properties=expiring(100))
    client.leave(properties=expiring(604_800))
    bench.clock.advance(3_600)
    assert not is_kept(bench, client)


@pytest.mark.mqtt5("4.13.1-1", "3.14.2-2")
def test_a_disconnect_cannot_ask_for_a_session_that_connect_did_not(bench: Bench) -> None:
    client = bench.client(V5)
    client.send(Disconnect(0, expiring(10)))
    answer = client.expect(Disconnect)
    assert answer.reason_code == 130  # section 3.14.2.2.2
    assert EXPIRY not in answer.properties
    assert client.receive() is None


@pytest.mark.mqtt5("3.1.2-5")
def test_the_last_connect_says_how_long_the_session_lasts(bench: Bench) -> None:
    client = bench.client(V5, properties=expiring(1_000))
    client.vanish()
    again = bench.client(V5, client.client_id, clean_start=False, properties=expiring(10))
    assert again.connack is not None
    assert again.connack.session_present
    again.vanish()
    bench.clock.advance(10)
    assert not is_kept(bench, client)


@pytest.mark.mqtt5("3.1.2-4", "3.2.2-2")
def test_a_clean_start_may_ask_for_a_session(bench: Bench) -> None:
    client = bench.client(V5, clean_start=True, properties=expiring(100))
    client.vanish()
    assert is_kept(bench, client)
    answer = bench.peer(V5).connect(client.client_id, clean_start=True)
    assert isinstance(answer, ConnAck)
    assert not answer.session_present

"""The events as others rely on them: kinds, fields, and that neither repr nor JSON shows a payload."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest

from iot_customauth_client.local.events import (
    EVENT_KINDS,
    AuthorizerAnswered,
    Event,
    Published,
    Stopped,
    Subscribed,
    connected,
    connecting,
    transport,
)

PUBLISHED = Published(3, "client_id", "my-topic", b"a secret payload", 1, False, False)


def test_every_class_of_event_is_in_the_table_under_its_kind() -> None:
    files = (connected, connecting, transport)
    named = [each for file in files for each in vars(file).values() if isinstance(each, type)]
    classes = {each for each in named if issubclass(each, Event)} - {Event}
    assert set(EVENT_KINDS.values()) == classes
    assert all(each.kind == kind for kind, each in EVENT_KINDS.items())


CONNECT = "connection client_id protocol username authorizer keep_alive_seconds clean_start will_topic"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("listening", "host port hostnames ca_file authorizers domains"),
        ("opened", "connection peer"),
        ("proxied", "connection target"),
        ("handshake", "connection server_name alpn_offered alpn tls_version domain"),
        ("turned_away", "connection cause explanation"),
        ("http_request", "connection trace_id method path query authorizer credentials_in body_bytes"),
        ("http_answered", "connection trace_id status"),
        ("warned", "connection cause explanation"),
        ("connect_received", f"{CONNECT} transport domain"),
        ("authorizer_called", "connection authorizer event"),
        ("authorizer_answered", "connection authorizer outcome elapsed_seconds result explanation"),
        ("connected", "connection client_id principal_id protocol keep_alive_seconds session_present"),
        ("refused", "connection client_id cause reason_code explanation status"),
        ("decided", "connection client_id action resource allowed explanation"),
        ("subscribed", "connection client_id topic_filters reason_codes"),
        ("unsubscribed", "connection client_id topic_filters"),
        ("published", "connection client_id topic payload qos retain duplicate"),
        ("delivered", "connection client_id topic payload qos retain"),
        ("acknowledged", "connection client_id packet_id"),
        ("queued", "client_id topic_filter topic payload"),
        ("dropped", "connection client_id topic payload cause explanation"),
        ("session_ended", "client_id cause explanation"),
        ("disconnected", "connection client_id reason explanation"),
        ("closed", "connection"),
        ("stopped", ""),
    ],
)
def test_an_event_has_exactly_these_fields(kind: str, names: str) -> None:
    own = [each.name for each in fields(EVENT_KINDS[kind]) if each.name not in {"sequence", "at"}]
    assert own == names.split()


def test_a_payload_appears_as_its_length_only() -> None:
    assert PUBLISHED.fields()["payload_bytes"] == 16
    assert "payload" not in PUBLISHED.fields()
    assert "secret" not in repr(PUBLISHED)
    assert "payload_bytes=16" in repr(PUBLISHED)


def test_fields_are_fit_for_json() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    subscribed = replace(Subscribed(1, "c", ("a/+", "b"), (1, 135)), sequence=8, at=at)
    assert json.loads(json.dumps(subscribed.fields())) == {
        "sequence": 8,
        "at": "2026-01-02T03:04:05+00:00",
        "kind": "subscribed",
        "connection": 1,
        "client_id": "c",
        "topic_filters": ["a/+", "b"],
        "reason_codes": [1, 135],
    }
    answered = AuthorizerAnswered(1, "a", "allowed", 0.5, {"isAuthenticated": True}, "")
    assert json.loads(json.dumps(answered.fields()))["result"] == {"isAuthenticated": True}


def test_an_event_cannot_be_changed_and_is_stamped_by_replacing_it() -> None:
    with pytest.raises(FrozenInstanceError):
        PUBLISHED.topic = "other"  # type: ignore[misc]
    stamped = replace(PUBLISHED, sequence=5)
    assert (stamped.sequence, stamped.payload, PUBLISHED.sequence) == (5, b"a secret payload", 0)


def test_an_event_without_fields_of_its_own_still_has_a_kind() -> None:
    assert Stopped(sequence=1).fields() == {"sequence": 1, "at": None, "kind": "stopped"}

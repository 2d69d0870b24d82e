"""HTTPS and WebSocket without SNI, where the Host header names the endpoint: `Choices.name_in_host`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest
from authorizer_functions import allow_all
from http_clients import NAME

from iot_customauth_client.local import Choices, DomainConfiguration, LocalEndpoint, events

MakeEndpoint = Callable[..., LocalEndpoint]
OWN = "devices.example.com"
DOMAINS = {
    "own": DomainConfiguration(domain_name=OWN, default_authorizer="own", allow_authorizer_override=False),
    "off": DomainConfiguration(domain_name="off.example.com", status="DISABLED"),
    "mqtt": DomainConfiguration(
        domain_name="mqtt.example.com", authentication_type="CUSTOM_AUTH", application_protocol="SECURE_MQTT"
    ),
}


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint) -> LocalEndpoint:
    authorizers = {"account": allow_all, "own": allow_all}
    choices = Choices(name_in_host="taken")
    return make_endpoint(authorizers, default_authorizer="account", domains=DOMAINS, choices=choices)


def without_sni(endpoint: LocalEndpoint, request: bytes, *alpn: str) -> bytes:
    """Send a request over TLS without SNI; returns what comes first."""
    context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    raw = socket.create_connection((endpoint.host, endpoint.port), timeout=10)
    with raw, context.wrap_socket(raw) as client:
        client.sendall(request)
        return client.recv(65_536)


def publish(*hosts: str, version: str = "1.1") -> bytes:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    return f"POST /topics/a?qos=1 HTTP/{version}\r\n{lines}Content-Length: 1\r\n\r\nx".encode()


@pytest.mark.parametrize(
    ("host", "asked"),
    [("localhost", "account"), ("LOCALHOST:8443", "account"), (OWN, "own"), (f"{OWN}:443", "own")],
)
def test_a_publish_without_sni_goes_to_the_domain_that_its_host_names(
    endpoint: LocalEndpoint, host: str, asked: str
) -> None:
    assert without_sni(endpoint, publish(host)).startswith(b"HTTP/1.1 200")
    called = endpoint.wait_for(events.AuthorizerCalled, timeout=10)
    assert called.authorizer == asked
    assert "tls" not in called.event["protocolData"]


def test_an_upgrade_without_sni_meets_the_domain_too(endpoint: LocalEndpoint) -> None:
    upgrade = (
        f"GET /mqtt HTTP/1.1\r\nHost: {OWN}\r\n{NAME}: account\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    assert without_sni(endpoint, upgrade.encode(), "http/1.1").startswith(b"HTTP/1.1 101")
    endpoint.wait_for(events.Warned, cause="override_ignored", timeout=10)


@pytest.mark.parametrize(
    ("request_", "status", "cause"),
    [
        (publish("stranger.example.com"), 403, "host_unknown"),
        (publish("off.example.com"), 403, "domain_disabled"),
        (publish("mqtt.example.com"), 404, "domain_protocol"),
        (publish(version="1.0"), 403, "host_missing"),
    ],
)
def test_a_host_that_leads_nowhere_is_refused_with_the_reason(
    endpoint: LocalEndpoint, request_: bytes, status: int, cause: str
) -> None:
    assert without_sni(endpoint, request_).split()[1] == str(status).encode()
    refused = endpoint.wait_for(events.Refused, timeout=10)
    assert (refused.cause, refused.status) == (cause, status)
    assert not endpoint.events.of_kind(events.AuthorizerCalled)


def test_a_host_with_a_password_in_it_is_not_shown(endpoint: LocalEndpoint) -> None:
    assert without_sni(endpoint, publish("user01:secret77@localhost")).startswith(b"HTTP/1.1 403")
    refused = endpoint.wait_for(events.Refused, cause="host_unknown", timeout=10)
    assert "secret77" not in refused.explanation
    assert "<25 characters>" in refused.explanation


def test_mqtt_needs_sni_all_the_same(endpoint: LocalEndpoint) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized"):
        without_sni(endpoint, b"", "mqtt")


def test_unless_it_is_chosen_there_is_no_way_in_without_sni(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all}, default_authorizer="a")
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized"):
        without_sni(endpoint, publish("localhost"))
    endpoint.wait_for(events.TurnedAway, cause="sni_missing", timeout=10)

"""Our clients at domain configurations: by the real host name, every transport, credentials that name no authorizer.

The host names lead nowhere: the endpoint is the clients' HTTP proxy, as `LocalEndpoint.settings(domain=...)` sets it.
"""

from __future__ import annotations

import queue
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConfigurationError,
    ConnectError,
    Credentials,
    CustomAuthError,
    HttpsPublisher,
    KeyPair,
    State,
    StateChange,
    connect,
    generate_key_pair,
)
from iot_customauth_client.local import DomainConfiguration, LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.signing import sign_token

WAIT = 15.0
TOKEN = "a-token+/=?&%41"
ALLOW: dict[str, object] = {
    "isAuthenticated": True,
    "principalId": "Domain",
    "disconnectAfterInSeconds": 3600,
    "refreshAfterInSeconds": 300,
    "policyDocuments": [
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
    ],
}
MQTT_WAYS = [
    (protocol, transport, place)
    for protocol in ("mqtt5", "mqtt311")
    for transport, place in (
        ("tls", "connect"),
        ("websocket", "connect"),
        ("websocket", "headers"),
        ("websocket", "query"),
    )
]
KINDS = ("password", "bearer", "signed")


def by_token(event: dict[str, Any], context: object) -> dict[str, object]:
    return ALLOW if event.get("token") == TOKEN else {"isAuthenticated": False}


def by_password(event: dict[str, Any], context: object) -> dict[str, object]:
    mqtt = event["protocolData"].get("mqtt", {})
    return ALLOW if mqtt.get("username") == "user" else {"isAuthenticated": False}


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


@pytest.fixture(scope="module")
def service(keys: KeyPair) -> Iterator[LocalEndpoint]:
    """A domain configuration for each kind of credentials and protocol, with a default authorizer, without override."""
    authorizers = {
        "password": LocalAuthorizer(by_password, signing_disabled=True),
        "bearer": LocalAuthorizer(by_token, signing_disabled=True, token_key_name="token"),
        "signed": LocalAuthorizer(by_token, token_key_name="token", public_keys=(keys.public_pem,)),
    }
    domains = {
        f"{kind}.{protocol}": DomainConfiguration(
            domain_name=f"{kind}.{protocol.replace('_', '-')}.devices.example.com",
            default_authorizer=kind,
            allow_authorizer_override=False,
            authentication_type="CUSTOM_AUTH",
            application_protocol=protocol,  # type: ignore[arg-type]
        )
        for kind in KINDS
        for protocol in ("DEFAULT", "SECURE_MQTT", "MQTT_WSS", "HTTPS")
    }
    with LocalEndpoint(authorizers, domains=domains) as endpoint:
        yield endpoint


def nameless(kind: str, keys: KeyPair) -> Credentials:
    """Credentials that do not say which authorizer is to be asked."""
    if kind == "password":
        return Credentials.from_password("user", "word")
    if kind == "bearer":
        return Credentials.from_bearer_token(TOKEN, token_key_name="token")
    return Credentials.from_signed_token(TOKEN, sign_token(TOKEN, keys.private_pem), token_key_name="token")


def there_and_back(service: LocalEndpoint, domain: str, credentials: Credentials, **settings: Any) -> int:
    """Connect, and get a message back; returns the sequence number of the last event before."""
    before = service.events.last_sequence
    client_id = f"domain-{uuid.uuid4().hex[:12]}"
    with (
        connect(service.settings(client_id, domain=domain, **settings), credentials=credentials, timeout=WAIT) as link,
        link.subscribe(f"t/{client_id}") as messages,
    ):
        link.publish(f"t/{client_id}", b"there and back").result(WAIT)
        assert messages.get(WAIT).payload == b"there and back"
    return before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("protocol", "transport", "place"), MQTT_WAYS)
@pytest.mark.parametrize("typed", [False, True], ids=["default", "typed"])
def test_credentials_without_a_name_reach_the_domains_authorizer(
    service: LocalEndpoint, keys: KeyPair, kind: str, protocol: str, transport: str, place: str, typed: bool
) -> None:
    domain = f"{kind}.{('SECURE_MQTT' if transport == 'tls' else 'MQTT_WSS') if typed else 'DEFAULT'}"
    before = there_and_back(
        service, domain, nameless(kind, keys), protocol=protocol, transport=transport, credentials_in=place
    )
    assert service.wait_for(events.AuthorizerCalled, after=before, timeout=WAIT).authorizer == kind
    handshake = service.wait_for(events.Handshake, after=before, timeout=WAIT)
    assert handshake.domain == domain
    assert handshake.alpn == ("mqtt" if transport == "tls" else None)
    assert not [each for each in service.events.of_kind("warned") if each.sequence > before]


@pytest.mark.parametrize("kind", ["bearer", "signed"])
@pytest.mark.parametrize("place", ["headers", "query"])
@pytest.mark.parametrize("protocol", ["DEFAULT", "HTTPS"])
def test_https_credentials_without_a_name_reach_the_domains_authorizer(
    service: LocalEndpoint, keys: KeyPair, kind: str, place: str, protocol: str
) -> None:
    before = service.events.last_sequence
    settings = service.settings("unused", domain=f"{kind}.{protocol}")
    with HttpsPublisher(settings, nameless(kind, keys)) as publisher:
        publisher.publish("t/https", b"x", credentials_in=place, timeout=WAIT)  # type: ignore[arg-type]
    assert service.wait_for(events.AuthorizerCalled, after=before, timeout=WAIT).authorizer == kind
    assert service.wait_for(events.Published, after=before, topic="t/https", timeout=WAIT).payload == b"x"


@pytest.mark.parametrize("alpn", ["auto", "none", "x-amzn-mqtt-ca", "something"])
@pytest.mark.parametrize("port", [443, 8883])
def test_awscrt_reaches_secure_mqtt_with_any_alpn_and_both_ports(
    service: LocalEndpoint, keys: KeyPair, alpn: str, port: int
) -> None:
    before = there_and_back(service, "bearer.SECURE_MQTT", nameless("bearer", keys), alpn=alpn, port=port)
    handshake = service.wait_for(events.Handshake, after=before, timeout=WAIT)
    selected = {"auto": "mqtt", "x-amzn-mqtt-ca": "x-amzn-mqtt-ca"}.get(alpn)
    assert handshake.alpn == selected
    target = service.wait_for(events.Proxied, after=before, timeout=WAIT).target
    assert target == f"bearer.secure-mqtt.devices.example.com:{port}"


def test_https_reaches_its_domain_by_port_8443_too(service: LocalEndpoint, keys: KeyPair) -> None:
    settings = service.settings("unused", domain="bearer.HTTPS", port=8443)
    with HttpsPublisher(settings, nameless("bearer", keys)) as publisher:
        assert publisher.publish("t/https", b"x", timeout=WAIT).trace_id


@pytest.mark.parametrize(
    ("protocol", "transport", "kind"),
    [
        ("SECURE_MQTT", "websocket", events.TurnedAway),
        ("HTTPS", "websocket", events.Refused),
        ("MQTT_WSS", "tls", events.TurnedAway),
        ("HTTPS", "tls", events.TurnedAway),
    ],
)
def test_another_transport_than_the_domains_fails_and_the_log_says_why(
    service: LocalEndpoint, keys: KeyPair, protocol: str, transport: str, kind: type[events.TurnedAway | events.Refused]
) -> None:
    before = service.events.last_sequence
    settings = service.settings("device", domain=f"bearer.{protocol}", transport=transport)  # type: ignore[arg-type]
    states: queue.Queue[StateChange] = queue.Queue()
    with connect(settings, credentials=nameless("bearer", keys), timeout=0, on_state_change=states.put):
        told = service.wait_for(kind, cause="domain_protocol", after=before, timeout=WAIT)
        while (change := states.get(timeout=WAIT)).error is None:
            assert change.state is not State.CONNECTED
    assert f"`bearer.{protocol}` has application protocol {protocol}" in told.explanation


@pytest.mark.parametrize("version", ["mqtt5", "mqtt311"])
@pytest.mark.parametrize(
    ("protocol", "transport", "code", "spoken"),
    [
        ("SECURE_MQTT", "websocket", "hung_up_in_upgrade", "MQTT over WebSocket"),
        ("MQTT_WSS", "tls", "closed_before_connack", "MQTT over TLS"),
        ("HTTPS", "tls", "closed_before_connack", "MQTT over TLS"),
    ],
)
def test_a_hang_up_names_the_protocol_that_the_domain_may_not_speak(
    service: LocalEndpoint, keys: KeyPair, protocol: str, transport: str, code: str, spoken: str, version: str
) -> None:
    settings = service.settings(
        "device",
        domain=f"bearer.{protocol}",
        transport=transport,  # type: ignore[arg-type]
        protocol=version,  # type: ignore[arg-type]
    )
    with pytest.raises(ClosedBeforeConnack) as caught:
        connect(settings, credentials=nameless("bearer", keys), timeout=WAIT)
    error = caught.value
    assert error.code == code
    cause = f"the domain configuration of this host name does not speak {spoken}"
    assert [each for each in error.likely_causes if each.startswith(cause) and protocol in each]
    if code == "hung_up_in_upgrade":
        assert "hung up during the upgrade to WebSocket" in error.message
        assert error.likely_causes[0].startswith(cause)


def test_a_publish_over_https_to_a_domain_of_mqtt_names_the_protocol_first(
    service: LocalEndpoint, keys: KeyPair
) -> None:
    with (
        HttpsPublisher(service.settings("unused", domain="bearer.SECURE_MQTT"), nameless("bearer", keys)) as publisher,
        pytest.raises(ConnectError) as caught,
    ):
        publisher.publish("t", b"x", timeout=WAIT)
    assert caught.value.code == "connection_lost"
    assert "does not speak HTTPS (it is a SECURE_MQTT one)" in caught.value.likely_causes[0]


def test_a_publish_over_https_to_a_websocket_domain_says_what_is_wrong(service: LocalEndpoint, keys: KeyPair) -> None:
    settings = service.settings("unused", domain="bearer.MQTT_WSS")
    with (
        HttpsPublisher(settings, nameless("bearer", keys)) as publisher,
        pytest.raises(CustomAuthError, match="MQTT over WebSocket"),
    ):
        publisher.publish("t", b"x", timeout=WAIT)


def test_settings_for_a_domain_that_is_not_there_name_the_nearest(service: LocalEndpoint) -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'bearer\.HTTPS'"):
        service.settings("device", domain="bearer.HTTP")


def test_by_default_settings_lead_to_the_default_endpoint(service: LocalEndpoint, keys: KeyPair) -> None:
    assert service.settings("device").endpoint == "localhost"
    with (
        pytest.raises(AuthenticationRefused),  # there is no account default: the domains' defaults are their own
        connect(service.settings("device"), credentials=nameless("bearer", keys), timeout=WAIT),
    ):
        pass
    assert service.wait_for("refused", cause="authorizer_not_named", timeout=WAIT)

"""Domain configurations over real sockets: what each one speaks, whom it asks, and what it tells of whom it refuses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from authorizer_functions import allow_all
from http_clients import NAME, SIGNATURE
from mqtt_wire import WireClient

from iot_customauth_client import KeyPair, generate_key_pair
from iot_customauth_client.local import Choices, DomainConfiguration, LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck, Version
from iot_customauth_client.local.event_text import event_line
from iot_customauth_client.signing import sign_token

MakeEndpoint = Callable[..., LocalEndpoint]
UPGRADE = (
    "GET /mqtt HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n{more}\r\n"
)
POST = "POST /topics/t HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n{more}\r\nhi"


HOSTS = {
    "SECURE_MQTT": "mqtt.example.com",
    "MQTT_WSS": "wss.example.com",
    "HTTPS": "https.example.com",
    "DEFAULT": "any.example.com",
}


def domain(protocol: str, **more: Any) -> DomainConfiguration:
    """A configuration for a host name of the protocol's, whose default authorizer cannot be overridden."""
    fields: dict[str, Any] = {"default_authorizer": "own", "allow_authorizer_override": False}
    return DomainConfiguration(
        domain_name=HOSTS[protocol],
        authentication_type="CUSTOM_AUTH",
        application_protocol=protocol,
        **(fields | more),
    )


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


@pytest.fixture(scope="module")
def service(keys: KeyPair) -> Iterator[LocalEndpoint]:
    """Every protocol as a domain configuration, and some that differ in one thing."""
    authorizers = {
        "account": LocalAuthorizer(allow_all, signing_disabled=True),
        "own": LocalAuthorizer(allow_all, signing_disabled=True, token_key_name="token"),
        "signed": LocalAuthorizer(allow_all, token_key_name="jwt", public_keys=(keys.public_pem,)),
    }
    domains = {
        "mqtt": domain("SECURE_MQTT"),
        "wss": domain("MQTT_WSS"),
        "https": domain("HTTPS"),
        "any": domain("DEFAULT"),
        "off": DomainConfiguration(domain_name="off.example.com", status="DISABLED"),
        "bare": DomainConfiguration(domain_name="bare.example.com"),
        "open": DomainConfiguration(
            domain_name="open.example.com", default_authorizer="own", allow_authorizer_override=True
        ),
        "signed": DomainConfiguration(
            domain_name="signed.example.com", default_authorizer="signed", allow_authorizer_override=False
        ),
    }
    with LocalEndpoint(authorizers, default_authorizer="account", domains=domains) as endpoint:
        yield endpoint


@pytest.fixture
def since(service: LocalEndpoint) -> int:
    return service.events.last_sequence


def mqtt(service: LocalEndpoint, host: str, *alpn: str, version: Version = Version.MQTT5) -> WireClient:
    return WireClient(service, version, server_name=host, alpn=alpn)


def http(
    service: LocalEndpoint, host: str, request: str, *alpn: str, host_header: str | None = None, **more: str
) -> bytes:
    """Send one request; return all that comes back until the answer is whole, or the end."""
    headers = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    with mqtt(service, host, *alpn) as client:
        client.send_bytes(request.format(host=host_header or host, more=headers).encode())
        answer = b""
        try:
            while not answer.endswith((b"\r\n\r\n", b"}")):
                data = client.socket.recv(65536)
                if not data:
                    break
                answer += data
        except (ConnectionError, ssl.SSLEOFError):
            pass
        return answer


def refusal(service: LocalEndpoint, since: int) -> events.Refused:
    return service.wait_for(events.Refused, after=since, timeout=10)


# -- what each one speaks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpn", "selected"),
    [
        ((), None),
        (("mqtt",), "mqtt"),
        (("x-amzn-mqtt-ca",), "x-amzn-mqtt-ca"),
        (("x-amzn-mqtt-ca", "mqtt"), "mqtt"),
        (("http/1.1",), None),
        (("h2", "something"), None),
    ],
)
@pytest.mark.parametrize("version", [Version.MQTT5, Version.MQTT311])
def test_secure_mqtt_speaks_mqtt_whatever_alpn_is_offered(
    service: LocalEndpoint, since: int, alpn: tuple[str, ...], selected: str | None, version: Version
) -> None:
    with mqtt(service, "mqtt.example.com", *alpn, version=version) as client:
        client.connected(username="user")
        assert client.socket.selected_alpn_protocol() == selected
    handshake = service.wait_for(events.Handshake, after=since, timeout=10)
    connect = service.wait_for(events.ConnectReceived, after=since, timeout=10)
    assert (handshake.domain, handshake.alpn, handshake.alpn_offered) == ("mqtt", selected, alpn)
    assert (connect.domain, connect.authorizer) == ("mqtt", "own")


@pytest.mark.parametrize("request_text", [UPGRADE, POST], ids=["websocket", "post"])
@pytest.mark.parametrize("alpn", [(), ("mqtt",)])
def test_secure_mqtt_answers_http_with_no_byte(
    service: LocalEndpoint, since: int, request_text: str, alpn: tuple[str, ...]
) -> None:
    assert http(service, "mqtt.example.com", request_text, *alpn) == b""
    told = service.wait_for(events.TurnedAway, cause="domain_protocol", after=since, timeout=10)
    assert "`mqtt` has application protocol SECURE_MQTT" in told.explanation
    assert "HTTP came" in told.explanation


@pytest.mark.parametrize("host", ["wss.example.com", "https.example.com"])
@pytest.mark.parametrize("alpn", [(), ("mqtt",)])
def test_a_domain_of_http_hangs_up_on_mqtt_whatever_alpn_is_offered(
    service: LocalEndpoint, since: int, host: str, alpn: tuple[str, ...]
) -> None:
    with mqtt(service, host, *alpn) as client:
        assert client.connect(username="user") is None
    told = service.wait_for(events.TurnedAway, cause="domain_protocol", after=since, timeout=10)
    assert "needs SECURE_MQTT" in told.explanation
    assert not [each for each in service.events.of_kind("authorizer_called") if each.sequence > since]


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("mqtt",), ("x-amzn-http-ca",), ("h2",)])
def test_https_publishes_and_grants_no_upgrade(service: LocalEndpoint, since: int, alpn: tuple[str, ...]) -> None:
    assert http(service, "https.example.com", POST, *alpn).startswith(b"HTTP/1.1 200")
    assert service.wait_for(events.Published, after=since, timeout=10).payload == b"hi"
    answer = http(service, "https.example.com", UPGRADE, *alpn)
    assert answer.startswith(b"HTTP/1.1 404")
    told = refusal(service, since)
    assert (told.cause, told.status) == ("domain_protocol", 404)
    assert "MQTT_WSS or DEFAULT" in told.explanation


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("mqtt",), ("h2",)])
def test_mqtt_wss_upgrades_and_takes_no_publish(service: LocalEndpoint, since: int, alpn: tuple[str, ...]) -> None:
    assert http(service, "wss.example.com", UPGRADE, *alpn).startswith(b"HTTP/1.1 101")
    assert http(service, "wss.example.com", POST, *alpn).startswith(b"HTTP/1.1 404")
    told = refusal(service, since)
    assert (told.cause, told.status) == ("domain_protocol", 404)
    assert "HTTPS or DEFAULT" in told.explanation
    assert not [each for each in service.events.of_kind("authorizer_called") if each.sequence > since]


def test_what_is_neither_http_nor_mqtt_is_told_the_protocol_of_the_domain(service: LocalEndpoint, since: int) -> None:
    with mqtt(service, "https.example.com") as client:
        client.send_bytes(b"\x00\x01 what is this")
        assert client.receive() is None
    told = service.wait_for(events.TurnedAway, cause="domain_protocol", after=since, timeout=10)
    assert "ALPN" not in told.explanation


def test_without_a_protocol_alpn_selects_as_at_the_default_endpoint(service: LocalEndpoint, since: int) -> None:
    with mqtt(service, "any.example.com", "mqtt") as client:
        client.connected(username="user")
    assert http(service, "any.example.com", POST).startswith(b"HTTP/1.1 200")
    assert http(service, "any.example.com", UPGRADE).startswith(b"HTTP/1.1 101")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        mqtt(service, "any.example.com", "x-amzn-mqtt-ca")
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        mqtt(service, "any.example.com", "h2")
    with mqtt(service, "any.example.com") as client:
        assert client.connect(username="user") is None
    told = service.wait_for(events.TurnedAway, cause="mqtt_without_alpn", after=since, timeout=10)
    assert "offer ALPN `mqtt`" in told.explanation


def test_the_default_endpoint_is_as_it_was_beside_typed_domains(service: LocalEndpoint, since: int) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        mqtt(service, "localhost", "x-amzn-mqtt-ca")
    with mqtt(service, "localhost", "x-amzn-mqtt-ca", "mqtt") as client:
        client.connected(username="user")
        assert client.socket.selected_alpn_protocol() == "mqtt"
    connect = service.wait_for(events.ConnectReceived, after=since, timeout=10)
    assert (connect.domain, connect.authorizer) == ("iot:Data-ATS", "account")


def test_a_disabled_domain_gets_an_alert_and_an_explanation(service: LocalEndpoint, since: int) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized"):
        mqtt(service, "off.example.com", "mqtt")
    told = service.wait_for(events.TurnedAway, cause="domain_disabled", after=since, timeout=10)
    assert "set its status to ENABLED" in told.explanation


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_disabled_domain_ends_as_an_unknown_name_does(make_endpoint: MakeEndpoint, how: Any) -> None:
    off = DomainConfiguration(domain_name="off.example.com", status="DISABLED")
    endpoint = make_endpoint({"a": allow_all}, domains={"off": off}, choices=Choices(unknown_server_name=how))
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        mqtt(endpoint, "off.example.com", "mqtt")
    endpoint.wait_for(events.TurnedAway, cause="domain_disabled", timeout=10)


# -- whom it asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "username", "asked"),
    [
        ("localhost", "user", "account"),
        ("localhost", f"user?{NAME}=own", "own"),
        ("bare.example.com", "user", "account"),
        ("bare.example.com", f"user?{NAME}=own", "own"),
        ("open.example.com", "user", "own"),
        ("open.example.com", f"user?{NAME}=account", "account"),
        ("any.example.com", "user", "own"),
        ("any.example.com", f"user?{NAME}=account", "own"),
        ("any.example.com", f"user?{NAME}=nobody", "own"),
        ("any.example.com", f"user?{NAME}=", "own"),
    ],
)
def test_the_name_counts_where_it_may_then_the_domains_default_then_the_accounts(
    service: LocalEndpoint, since: int, host: str, username: str, asked: str
) -> None:
    with mqtt(service, host, "mqtt") as client:
        client.connected(username=username)
    assert service.wait_for(events.AuthorizerCalled, after=since, timeout=10).authorizer == asked
    assert service.wait_for(events.ConnectReceived, after=since, timeout=10).authorizer == asked


@pytest.mark.parametrize(
    ("given", "warned"), [("account", True), ("nobody", True), ("''", True), ("own", False), (None, False)]
)
def test_a_name_that_may_not_be_given_is_ignored_with_a_warning(
    service: LocalEndpoint, since: int, given: str | None, warned: bool
) -> None:
    with mqtt(service, "mqtt.example.com") as client:
        client.connected(username="user" if given is None else f"user?{NAME}={given}")
    service.wait_for(events.Connected, after=since, timeout=10)
    warnings = [each for each in service.events.of_kind("warned") if each.sequence > since]
    if not warned:
        assert warnings == []
        return
    (warning,) = warnings
    assert isinstance(warning, events.Warned)
    assert warning.cause == "override_ignored"
    assert f"authorizer `{given}` is named" in warning.explanation
    assert "`own` is asked" in warning.explanation


def test_a_two_quote_name_with_a_signed_token_connects_where_no_override_is_allowed(
    service: LocalEndpoint, since: int, keys: KeyPair
) -> None:
    """As a vendor's devices do at the service: token first, the name two quotation marks, an unpadded signature."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib3QifQ"
    signature = quote(sign_token(token, keys.private_pem).rstrip("="), safe="")
    with mqtt(service, "signed.example.com", "mqtt", version=Version.MQTT311) as client:
        client.connected(username=f"bot?jwt={token}&{NAME}=''&{SIGNATURE}={signature}", password=None)
    called = service.wait_for(events.AuthorizerCalled, after=since, timeout=10)
    assert (called.authorizer, called.event["signatureVerified"]) == ("signed", True)
    assert service.wait_for(events.Warned, after=since, timeout=10).cause == "override_ignored"


def test_a_name_in_the_upgrade_or_in_a_request_is_ignored_too(service: LocalEndpoint, since: int) -> None:
    more = {NAME: "account", "token": "t"}
    assert http(service, "https.example.com", POST, **more).startswith(b"HTTP/1.1 200")
    assert http(service, "wss.example.com", UPGRADE, **more).startswith(b"HTTP/1.1 101")
    assert service.wait_for(events.AuthorizerCalled, after=since, timeout=10).authorizer == "own"
    warnings = [each for each in service.events.of_kind("warned") if each.sequence > since]
    assert [each.fields()["cause"] for each in warnings] == ["override_ignored"] * 2


@pytest.mark.parametrize("given", ["account", "nobody", "''"])
def test_a_name_that_may_not_be_given_is_refused_if_so_chosen(make_endpoint: MakeEndpoint, given: str) -> None:
    endpoint = make_endpoint(
        {"own": allow_all, "account": allow_all},
        domains={"m": domain("SECURE_MQTT"), "w": domain("MQTT_WSS"), "h": domain("HTTPS")},
        choices=Choices(disallowed_override="refuse"),
    )
    with mqtt(endpoint, "mqtt.example.com") as client:
        answer = client.connect(username=f"user?{NAME}={given}")
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == 135
    assert http(endpoint, "https.example.com", POST, **{NAME: given}).startswith(b"HTTP/1.1 403")
    assert http(endpoint, "wss.example.com", UPGRADE, **{NAME: given}).startswith(b"HTTP/1.1 403")
    told = [each.fields() for each in endpoint.events.of_kind("refused")]
    assert [each["cause"] for each in told] == ["override_not_allowed"] * 3
    assert all("allow_authorizer_override" in str(each["explanation"]) for each in told)
    assert not endpoint.events.of_kind("authorizer_called")
    assert endpoint.wait_for(events.ConnectReceived, timeout=10).authorizer is None
    with mqtt(endpoint, "mqtt.example.com") as client:
        client.connected(username=f"user?{NAME}=own")
    with mqtt(endpoint, "localhost", "mqtt") as client:
        client.connected(username=f"user?{NAME}=account")


# -- SNI and Host -----------------------------------------------------------------------------------------------------


def test_sni_decides_where_host_names_another_domain_and_the_log_warns(service: LocalEndpoint, since: int) -> None:
    answer = http(service, "any.example.com", POST, host_header="wss.example.com:443")
    assert answer.startswith(b"HTTP/1.1 200")
    assert service.wait_for(events.AuthorizerCalled, after=since, timeout=10).authorizer == "own"
    warning = service.wait_for(events.Warned, after=since, timeout=10)
    assert warning.cause == "host_names_other_domain"
    assert "`wss`" in warning.explanation
    assert "`any`" in warning.explanation


@pytest.mark.parametrize("header", ["any.example.com", "ANY.example.com:8443", "elsewhere.example.com"])
def test_a_host_of_the_same_domain_or_of_none_is_no_matter(service: LocalEndpoint, since: int, header: str) -> None:
    assert http(service, "any.example.com", POST, host_header=header).startswith(b"HTTP/1.1 200")
    assert not [each for each in service.events.of_kind("warned") if each.sequence > since]


# -- ports, through the endpoint as its own proxy ---------------------------------------------------------------------


def proxied(service: LocalEndpoint, target: str) -> tuple[socket.socket, bytes]:
    raw = socket.create_connection((service.host, service.port), timeout=10)
    raw.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += raw.recv(1)
    return raw, answer


@pytest.mark.parametrize(
    "target",
    [
        "localhost:443",
        "any.example.com:443",
        "mqtt.example.com:443",
        "mqtt.example.com:8883",
        "wss.example.com:443",
        "https.example.com:443",
        "HTTPS.example.com:8443",
    ],
)
def test_the_proxy_leads_to_the_ports_of_a_domains_protocol(service: LocalEndpoint, target: str) -> None:
    raw, answer = proxied(service, target)
    assert answer.startswith(b"HTTP/1.1 200")
    context = ssl.create_default_context(cafile=str(service.ca_file))
    context.set_alpn_protocols(["mqtt"])
    context.wrap_socket(raw, server_hostname=target.partition(":")[0]).close()


@pytest.mark.parametrize(
    ("target", "ports"),
    [
        ("localhost:8883", "443"),
        ("localhost:8443", "443"),
        ("any.example.com:8883", "443"),
        ("mqtt.example.com:8443", "443 and 8883"),
        ("wss.example.com:8883", "443"),
        ("https.example.com:8883", "443 and 8443"),
    ],
)
def test_the_proxy_refuses_other_ports_and_names_the_right_ones(
    service: LocalEndpoint, since: int, target: str, ports: str
) -> None:
    if target.endswith(f":{service.port}"):
        pytest.skip("the endpoint listens on the very port that stands for another one here")
    raw, answer = proxied(service, target)
    raw.close()
    assert answer.startswith(b"HTTP/1.1 403")
    told = service.wait_for(events.TurnedAway, cause="proxy_port_unknown", after=since, timeout=10)
    assert f"on port {ports} only" in told.explanation


# -- what is told -----------------------------------------------------------------------------------------------------


def test_the_listening_event_lists_the_domains(service: LocalEndpoint) -> None:
    listening = service.wait_for(events.Listening, timeout=10)
    assert listening.domains["mqtt"] == "mqtt.example.com"
    assert set(listening.domains) == {"mqtt", "wss", "https", "any", "off", "bare", "open", "signed"}
    assert listening.hostnames == ("localhost",)
    assert '"mqtt": "mqtt.example.com"' in event_line(listening)


def test_a_line_of_the_log_names_the_domain_unless_it_is_the_default_one(service: LocalEndpoint, since: int) -> None:
    with mqtt(service, "mqtt.example.com") as client:
        client.connected(username="user")
    with mqtt(service, "localhost", "mqtt") as client:
        client.connected(username="user")
    for kind in ("handshake", "connect_received"):
        lines = [event_line(each) for each in service.events.of_kind(kind) if each.sequence > since]
        assert ["domain configuration mqtt" in line for line in lines] == [True, False]


def test_an_endpoint_without_domains_lists_none(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all})
    assert dict(endpoint.wait_for(events.Listening, timeout=10).domains) == {}

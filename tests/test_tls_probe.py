"""The second handshake: it names what awscrt cannot, and never sends anything of the device's."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import trustme
from client_support import PROXY_PASSWORD, PROXY_USER, WAIT, check_error
from stub_servers import MqttStub, Stub

from iot_customauth_client.errors import EndpointUnreachable, ProxyRefused, TlsFailed
from iot_customauth_client.local import DomainConfiguration, LocalEndpoint, events
from iot_customauth_client.proxy import HttpProxy
from iot_customauth_client.tls_probe import ProbeTarget, probe

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def target(
    port: int,
    ca_file: Path | None = None,
    *,
    host: str = "localhost",
    alpn: str | None = "mqtt",
    via: int | None = None,
) -> ProbeTarget:
    proxy = None if via is None else HttpProxy("127.0.0.1", via, PROXY_USER, PROXY_PASSWORD)
    return ProbeTarget(host, port, ca_file, alpn, proxy)


def test_nothing_is_wrong_with_a_good_endpoint_and_no_mqtt_is_sent(service: LocalEndpoint) -> None:
    before = service.events.last_sequence
    assert probe(target(service.port, service.ca_file), WAIT) is None
    shake = service.wait_for(events.Handshake, after=before, timeout=WAIT)
    assert (shake.server_name, shake.alpn) == ("localhost", "mqtt")
    service.wait_for(events.Closed, connection=shake.connection, timeout=WAIT)
    assert not [event for event in service.events.since(before) if event.kind == "connect_received"]


def test_an_authority_that_is_not_trusted_is_named(service: LocalEndpoint, authority_file: Path) -> None:
    found = probe(target(service.port, authority_file), WAIT)
    assert isinstance(found, TlsFailed)
    assert found.verdict
    assert "not trusted" in found.message
    assert str(authority_file) in found.likely_causes[0]
    against_the_system = probe(target(service.port, None), WAIT)
    assert isinstance(against_the_system, TlsFailed)
    assert "the system's authorities" in against_the_system.likely_causes[0]


def test_a_certificate_for_another_name_is_named(authority: trustme.CA, authority_file: Path) -> None:
    with MqttStub(authority, hostname="other.example") as stub:
        found = probe(target(stub.port, authority_file), WAIT)
    assert isinstance(found, TlsFailed)
    assert found.verdict
    assert "for another host name" in found.message


@pytest.mark.parametrize(("alpn", "code"), [("nonsense", "alpn_refused"), ("x-amzn-mqtt-ca", "handshake_refused")])
def test_an_alpn_name_that_is_not_served_is_a_verdict(service: LocalEndpoint, alpn: str, code: str) -> None:
    found = probe(target(service.port, service.ca_file, alpn=alpn), WAIT)
    check_error(found, code=code, phase="tls")
    assert isinstance(found, TlsFailed)
    assert found.verdict


def test_a_server_without_alpn_is_found_out(authority: trustme.CA, authority_file: Path) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def shake(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(1)

    with Stub(shake) as stub:
        check_error(probe(target(stub.port, authority_file), WAIT), code="alpn_not_selected", phase="tls")
        assert probe(target(stub.port, authority_file, alpn=None), WAIT) is None


def test_a_host_name_that_is_not_served_is_named(service: LocalEndpoint) -> None:
    proxied = target(443, service.ca_file, host="localhost", via=service.port)
    assert probe(proxied, WAIT) is None
    with LocalEndpoint({"a": lambda event, context: {}}, hostnames=("other.example",)) as endpoint:
        found = probe(target(endpoint.port, endpoint.ca_file), WAIT)
    check_error(found, code="sni_refused", phase="tls")
    assert "describe-endpoint" in str(found)
    assert "IP address" not in str(found)


def test_an_ip_address_and_a_disabled_domain_configuration_are_among_the_causes(service: LocalEndpoint) -> None:
    found = probe(target(service.port, service.ca_file, host="127.0.0.1"), WAIT)
    check_error(found, code="sni_refused", phase="tls")
    assert isinstance(found, TlsFailed)
    assert "an IP address" in found.likely_causes[0]
    off = {"off": DomainConfiguration(domain_name="off.example.com", status="DISABLED")}
    with LocalEndpoint({"a": lambda event, context: {}}, domains=off) as endpoint:
        found = probe(target(443, endpoint.ca_file, host="off.example.com", via=endpoint.port), WAIT)
    check_error(found, code="sni_refused", phase="tls")
    assert "a domain configuration that is disabled" in str(found)


def test_a_name_that_does_not_resolve_and_a_port_that_nobody_listens_on() -> None:
    found = probe(target(443, host="no-such-host.invalid"), WAIT)
    assert isinstance(found, EndpointUnreachable)
    check_error(found, code="dns_failed", phase="dns")
    with Stub(lambda _: None, listening=False) as nobody:
        check_error(probe(target(nobody.port), WAIT), code="tcp_failed", phase="tcp")
        through = probe(target(443, via=nobody.port), WAIT)
    check_error(through, code="tcp_failed", phase="tcp")
    assert isinstance(through, EndpointUnreachable)
    assert "the proxy" in through.message


def test_a_server_that_says_nothing_is_left_in_time() -> None:
    end = threading.Event()
    with Stub(lambda _: bool(end.wait(WAIT))) as stub:  # type: ignore[arg-type, return-value]
        check_error(probe(target(stub.port), 0.2), code="tls_no_answer", phase="tls")
        end.set()


def test_a_server_that_speaks_something_else_is_no_verdict() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP ready\r\n")
        connection.recv(4096)

    with Stub(greet) as stub:
        found = probe(target(stub.port), WAIT)
    check_error(found, phase="tls")
    assert isinstance(found, TlsFailed)
    assert not found.verdict
    with Stub(lambda _: None) as stub:
        found = probe(target(stub.port), WAIT)
    check_error(found, phase="tls")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407),
        (b"HTTP/1.0 403\r\n\r\n", 403),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None),
        (b"", None),
    ],
)
def test_a_proxy_that_says_no_is_quoted_without_its_password(answer: bytes, status: int | None) -> None:
    asked: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(answer)

    with Stub(refuse) as stub:
        found = probe(target(443, via=stub.port), WAIT)
    check_error(found, code="proxy_refused", phase="proxy")
    assert isinstance(found, ProxyRefused)
    assert found.status == status
    assert asked[0].startswith(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nProxy-Authorization: Basic ")


def test_a_ca_file_that_cannot_be_read_is_left_to_the_builder(tmp_path: Path) -> None:
    assert probe(target(1, tmp_path / "none.pem"), WAIT) is None

"""A second, plain TLS handshake that says why the first one failed.

awscrt reports one code for every failure of TLS, and that after 12 to 28 seconds; Python's `ssl` names the reason in
milliseconds. The probe dials the same host and port, through the same proxy, with the same trust, SNI and ALPN, ends
after the handshake, and never sends a byte of MQTT, let alone credentials of the device.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import ConnectError, EndpointUnreachable, ProxyRefused, TlsFailed

if TYPE_CHECKING:
    import ssl

    from .proxy import HttpProxy

_MAX_PROXY_ANSWER_BYTES: Final = 16_384
_PROXY_AUTHENTICATION_REQUIRED: Final = 407


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """Where and how to knock."""

    host: str
    port: int
    ca_file: Path | None
    alpn: str | None
    proxy: HttpProxy | None


def probe(target: ProbeTarget, timeout: float) -> ConnectError | None:
    """Make one handshake within about `timeout` seconds; return what is wrong, or `None` if nothing is.

    Blocks: run it on a worker thread.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
    except (OSError, ssl.SSLError):
        return None  # the builder has read this file already and says what is wrong with it
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the default of Python 3.13; awscrt is not that strict
    if target.alpn is not None:
        context.set_alpn_protocols([target.alpn])
    try:
        with _dial(target, timeout) as plain:
            if target.proxy is not None:
                _ask_proxy(plain, target, target.proxy)
            with context.wrap_socket(plain, server_hostname=target.host) as secure:
                return _after_handshake(secure, target)
    except (ProxyRefused, EndpointUnreachable) as error:
        return error
    except ssl.SSLError as error:
        return _explain(error, target)
    except TimeoutError:
        return EndpointUnreachable(
            f"{target.host}:{target.port} takes connections but did not finish a TLS handshake in {timeout:g} s",
            code="tls_no_answer",
            phase="tls",
            likely_causes=("a firewall lets TCP through and stops TLS", "the endpoint is overloaded"),
        )
    except OSError as error:
        return EndpointUnreachable(
            f"{target.host}:{target.port} dropped the connection in the TLS handshake: {_words(error)}",
            code="tls_dropped",
            phase="tls",
            likely_causes=("the port is not a TLS port", "a firewall ends TLS to names it does not know"),
        )


def _dial(target: ProbeTarget, timeout: float) -> socket.socket:
    host, port = (target.host, target.port) if target.proxy is None else (target.proxy.host, target.proxy.port)
    what = "the proxy " if target.proxy is not None else ""
    try:
        return socket.create_connection((host, port), timeout)
    except socket.gaierror as error:
        raise EndpointUnreachable(
            f"the name of {what}{host} does not resolve: {_words(error)}",
            code="dns_failed",
            phase="dns",
            likely_causes=("the name is misspelt", "the device has no network or no DNS server yet"),
        ) from None
    except OSError as error:
        raise EndpointUnreachable(
            f"no TCP connection to {what}{host}:{port}: {_words(error)}",
            code="tcp_failed",
            phase="tcp",
            likely_causes=("nothing listens there", "a firewall stops the port", "there is no route to it"),
        ) from None


def _ask_proxy(plain: socket.socket, target: ProbeTarget, proxy: HttpProxy) -> None:
    lines = [f"CONNECT {target.host}:{target.port} HTTP/1.1", f"Host: {target.host}:{target.port}"]
    if proxy.username is not None:
        secret = base64.b64encode(f"{proxy.username}:{proxy.password or ''}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {secret}")
    plain.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_PROXY_ANSWER_BYTES:
        more = plain.recv(4096)
        if not more:
            break
        answer += more
    words = answer.split(b"\r\n", 1)[0].split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
    if status is not None and 200 <= status < 300:
        return
    wants_login = status == _PROXY_AUTHENTICATION_REQUIRED
    raise ProxyRefused(
        f"the proxy {proxy.host}:{proxy.port} refused to connect to {target.host}:{target.port}: "
        + (f"HTTP {status}" if status is not None else "its answer is not HTTP"),
        status=status,
        phase="proxy",
        likely_causes=(
            ("its user name or password is wrong or missing",)
            if wants_login
            else ("the proxy does not allow this host or port", "this is not an HTTP proxy")
        ),
        what_to_do="write http_proxy as http://user:password@host:port" if wants_login else None,
    )


def _after_handshake(secure: ssl.SSLSocket, target: ProbeTarget) -> ConnectError | None:
    """The handshake is through; with TLS 1.3 a refusal can still follow as an alert."""
    if target.alpn is not None and secure.selected_alpn_protocol() is None:
        return TlsFailed(
            f"{target.host}:{target.port} does not know ALPN, so it is not the custom authentication port",
            code="alpn_not_selected",
            phase="tls",
            likely_causes=("the port is wrong", "a proxy or firewall on the way ends TLS itself"),
            what_to_do="use port 443 of the account's data endpoint, and let TLS through unopened",
        )
    return None


_CERTIFICATE_CODES: Final = {
    # X509_V_ERR_* of OpenSSL's x509_vfy.h
    9: "not valid yet",
    10: "expired",
    18: "self-signed",
    19: "signed by an authority that is not trusted",
    20: "signed by an authority that is not trusted",
    21: "signed by an authority that is not trusted",
    62: "for another host name",
    64: "for another address",
}


def _explain(error: ssl.SSLError, target: ProbeTarget) -> ConnectError:
    import ssl

    trusted = "the system's authorities" if target.ca_file is None else f"ca_file {target.ca_file}"
    where = f"{target.host}:{target.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _CERTIFICATE_CODES.get(error.verify_code, error.verify_message)
        return TlsFailed(
            f"the certificate of {where} is refused: {reason} ({error.verify_message})",
            verdict=True,
            code="certificate_refused",
            phase="tls",
            likely_causes=_certificate_causes(error.verify_code, trusted),
            what_to_do="for AWS leave ca_file out (or use the Amazon root CAs); for the local endpoint pass its ca.pem",
        )
    # Python 3.11 has no name for some of OpenSSL's reasons, and gives OpenSSL's words: "tlsv1 alert no ...".
    reason = (error.reason or _words(error)).upper().replace(" ", "_")
    if "NO_APPLICATION_PROTOCOL" in reason:
        return TlsFailed(
            f"{where} does not serve ALPN {target.alpn!r}",
            verdict=True,
            code="alpn_refused",
            phase="tls",
            likely_causes=("the ALPN name is wrong: custom authentication over MQTT is `mqtt`",),
            what_to_do='leave alpn at "auto"',
        )
    if "UNRECOGNIZED_NAME" in reason:
        return TlsFailed(
            f"{where} does not serve the host name {target.host!r} (SNI)",
            verdict=True,
            code="sni_refused",
            phase="tls",
            likely_causes=_unserved_name_causes(target.host),
            what_to_do="compare it with what `aws iot describe-endpoint --endpoint-type iot:Data-ATS` says, or"
            " `aws iot describe-domain-configuration` for a name of your own; the local endpoint prints the names it"
            " serves",
        )
    if "HANDSHAKE_FAILURE" in reason or "CERTIFICATE_REQUIRED" in reason:
        return TlsFailed(
            f"{where} broke the TLS handshake off: {reason}",
            verdict=True,
            code="handshake_refused",
            phase="tls",
            likely_causes=(
                f"with ALPN {target.alpn!r} it wants a client certificate: custom authentication is ALPN `mqtt`",
                "it shares no TLS version or cipher with this device",
            ),
        )
    return TlsFailed(
        f"the TLS handshake with {where} failed: {reason}",
        code="tls_failed",
        phase="tls",
        likely_causes=("the port is not a TLS port", "something on the way changes the traffic"),
    )


def _unserved_name_causes(host: str) -> tuple[str, ...]:
    causes = (
        "the endpoint belongs to another account or region",
        "the name is misspelt",
        "it is the name of a domain configuration that is disabled",
    )
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return causes
    return ("it is an IP address: the service is reached by host name only", *causes)


def _certificate_causes(code: int, trusted: str) -> tuple[str, ...]:
    if code in (9, 10):
        return ("the device's clock is wrong", "the certificate ran out")
    if code in (62, 64):
        return ("the endpoint is not the one that the name means", "a proxy on the way answers in its place")
    return (
        f"its authority is not among {trusted}",
        "a firewall or proxy on the way opens TLS and presents a certificate of its own",
    )


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__

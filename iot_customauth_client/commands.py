"""The same thing by a command that anybody has: `mosquitto_pub`, `curl`, `openssl`, with placeholders for secrets.

For a person who wants to know whether it is their program, their credentials or the network. Each command does what
this package would do, option for option; what is secret stands as `<password>` or `<token, percent-encoded>`, and
whoever runs the command fills it in. Pure text: nothing is run here, and no secret comes in.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from .carriage import NAME_PARAMETER, SIGNATURE_PARAMETER, RawCredentials, query_parameters, shown_name
from .limits import SERVICE_PORT, WEBSOCKET_PATH

if TYPE_CHECKING:
    from .proxy import HttpProxy
    from .settings import ConnectionSettings

_SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.2
_PROTOCOLS = {"mqtt5": "mqttv5", "mqtt311": "mqttv311"}


def placeholders(raw: RawCredentials, *, encoded: bool) -> tuple[tuple[str, str], ...]:
    """Return the parameters' names with placeholders as values; the authorizer's name is no secret."""
    shown: list[tuple[str, str]] = []
    how = ", percent-encoded" if encoded else ""
    for name, value in query_parameters(raw):
        plain = shown_name(name, value)
        if name == NAME_PARAMETER:
            shown.append((plain, quote(value, safe="") if encoded else value))
        elif name == SIGNATURE_PARAMETER:
            shown.append((plain, f"<signature{how}>"))
        elif name == raw.token_key_name:
            shown.append((plain, f"<token{how}>"))
        else:
            shown.append((plain, f"<value of {plain.strip('<>')}{how}>"))
    return tuple(shown)


def openssl(settings: ConnectionSettings, proxy: HttpProxy | None, alpn: str | None) -> str:
    """Return the command that shakes hands as we do, and shows certificate and verdict."""
    parts = ["openssl", "s_client", "-connect", f"{settings.endpoint}:{settings.port}"]
    parts += ["-servername", settings.endpoint, "-verify_hostname", settings.endpoint, "-verify_return_error"]
    if alpn is not None:
        parts += ["-alpn", alpn]
    if settings.ca_file is not None:
        parts += ["-CAfile", str(settings.ca_file)]
    if proxy is not None:
        parts += ["-proxy", f"{proxy.host}:{proxy.port}"]
        if proxy.username is not None:
            parts += ["-proxy_user", "<proxy user>", "-proxy_pass", "pass:<proxy password>"]
    return shlex.join(parts)


def mosquitto_pub(settings: ConnectionSettings, raw: RawCredentials) -> str:
    """Return the command that connects over TLS with the same user name and password, and publishes once."""
    parts = ["mosquitto_pub", "-h", settings.endpoint, "-p", str(settings.port)]
    parts += ["--cafile", str(settings.ca_file)] if settings.ca_file is not None else ["--tls-use-os-certs"]
    if settings.alpn_name is not None:
        parts += ["--tls-alpn", settings.alpn_name]
    parts += ["-V", _PROTOCOLS[settings.protocol], "-i", settings.client_id or "<client id>"]
    query = _query(placeholders(raw, encoded=True))
    base = "<user name>" if raw.username else ""
    if base or query or raw.password is not None:
        parts += ["-u", f"{base}?{query}" if query else base]
    if raw.password is not None:
        parts += ["-P", "<password>"]
    return shlex.join([*parts, "-q", "1", "-t", "<topic>", "-m", "<payload>"])


def curl_upgrade(settings: ConnectionSettings, raw: RawCredentials, proxy: HttpProxy | None) -> str:
    """Return the command that asks for the same upgrade and shows the answer: 101 is yes."""
    headers: list[tuple[str, str]] = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", _SAMPLE_KEY),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ]
    target = WEBSOCKET_PATH
    if settings.credentials_in == "headers":
        headers += placeholders(raw, encoded=False)
    elif settings.credentials_in == "query":
        target = _with_query(target, _query(placeholders(raw, encoded=True)))
    options = ["--max-time", "5", *_curl_headers(headers)]
    return _curl(settings, proxy, options, target)


def curl_publish(
    settings: ConnectionSettings,
    proxy: HttpProxy | None,
    target: str,
    headers: Sequence[tuple[str, str]],
) -> str:
    """Return the command that publishes over HTTPS; `target` and `headers` have placeholders already."""
    options = ["--data-binary", "<payload>", "-H", "Content-Type:", *_curl_headers(headers)]
    return _curl(settings, proxy, options, target)


def with_placeholders(target: str, raw: RawCredentials) -> str:
    """Return the target of a request with the credentials' placeholders as (further) query."""
    return _with_query(target, _query(placeholders(raw, encoded=True)))


def _curl(settings: ConnectionSettings, proxy: HttpProxy | None, options: Iterable[str], target: str) -> str:
    parts = ["curl", "-i", "--http1.1"]
    if settings.alpn_name != "http/1.1":
        parts.append("--no-alpn")
    if settings.ca_file is not None:
        parts += ["--cacert", str(settings.ca_file)]
    if proxy is not None:
        parts += ["--proxy", f"http://{proxy.host}:{proxy.port}"]
        if proxy.username is not None:
            # curl decodes both.
            parts += ["--proxy-user", "<proxy user, percent-encoded>:<proxy password, percent-encoded>"]
    port = "" if settings.port == SERVICE_PORT else f":{settings.port}"
    return shlex.join([*parts, *options, f"https://{settings.endpoint}{port}{target}"])


def _curl_headers(headers: Iterable[tuple[str, str]]) -> list[str]:
    # `name;` is curl's way to send a header without a value.
    return [part for name, value in headers for part in ("-H", f"{name}: {value}" if value else f"{name};")]


def _query(parameters: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in parameters)


def _with_query(target: str, query: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}{query}" if query else target

"""What a connection or a publish will send, for people to read: every value that matters, every secret as its size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .carriage import ConnectFields, RawCredentials, redact_bytes, redact_headers, redact_path, redact_username
from .commands import curl_upgrade, mosquitto_pub, openssl
from .limits import MAX_HEADER_CHARACTERS, MAX_QUERY_CHARACTERS, SERVICE_PORT, clamp_keep_alive
from .upgrade import UpgradeParts, upgrade_parts

if TYPE_CHECKING:
    from .proxy import HttpProxy
    from .settings import ConnectionSettings


@dataclass(frozen=True, slots=True)
class ConnectPlan:
    """What `ConnectionBuilder` will send. Secrets are shown as sizes.

    `username` and `password` are those of CONNECT. `path` and `headers` are what the upgrade to WebSocket has besides
    what WebSocket itself needs; `path` is `None` without WebSocket. `keep_alive_sent_seconds` is what the CONNECT
    packet says, `keep_alive_applied_seconds` what the service makes of it. `notes` are sentences about values that may
    surprise; `commands` do the same by other programs, with placeholders where secrets belong.
    """

    protocol: str
    transport: str
    host: str
    port: int
    server_name: str
    alpn: str | None
    trust: str
    proxy: str | None
    path: str | None
    headers: tuple[tuple[str, str], ...]
    client_id: str
    username: str | None
    password: str | None
    clean_start: bool
    session_expiry_seconds: int
    keep_alive_sent_seconds: int
    keep_alive_applied_seconds: int
    will_topic: str | None
    sdk_metrics: bool
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def __str__(self) -> str:
        session = "clean" if self.clean_start else f"kept for {self.session_expiry_seconds} s"
        upgrade = [] if self.path is None else [("upgrade", f"GET {self.path}, subprotocol mqtt")]
        rows = [
            ("protocol", f"{self.protocol} over {self.transport}"),
            ("connect to", f"{self.host}:{self.port}" + (f" through {self.proxy}" if self.proxy else "")),
            ("SNI", self.server_name),
            ("ALPN", self.alpn or "none"),
            ("trust", self.trust),
            *upgrade,
            *(("header", f"{name}: {value}") for name, value in self.headers),
            ("client id", self.client_id),
            ("user name", self.username if self.username is not None else "not sent"),
            ("password", self.password if self.password is not None else "not sent"),
            ("session", session),
            ("keep alive", f"{self.keep_alive_sent_seconds} s, applied: {self.keep_alive_applied_seconds} s"),
            ("will", self.will_topic or "none"),
            ("SDK metrics", "appended to the user name by awscrt" if self.sdk_metrics else "off"),
            *(("note", note) for note in self.notes),
            *(("try it", command) for command in self.commands),
        ]
        return _table(rows)


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What `HttpsPublisher` will send for one message. Secrets are shown as sizes; see `ConnectPlan`."""

    host: str
    port: int
    server_name: str
    alpn: str | None
    trust: str
    proxy: str | None
    target: str
    headers: tuple[tuple[str, str], ...]
    payload_bytes: int
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [
            ("protocol", "HTTP/1.1 over TLS"),
            ("connect to", f"{self.host}:{self.port}" + (f" through {self.proxy}" if self.proxy else "")),
            ("SNI", self.server_name),
            ("ALPN", self.alpn or "none"),
            ("trust", self.trust),
            ("request", f"POST {self.target}"),
            *(("header", f"{name}: {value}") for name, value in self.headers),
            ("body", f"{self.payload_bytes} bytes"),
            *(("note", note) for note in self.notes),
            *(("try it", command) for command in self.commands),
        ]
        return _table(rows)


def make_plan(
    settings: ConnectionSettings,
    raw: RawCredentials,
    fields: ConnectFields,
    proxy: HttpProxy | None,
    *,
    mqtt311_keep_alive: int,
) -> ConnectPlan:
    """Put the plan together from what is settled already."""
    is_mqtt5 = settings.protocol == "mqtt5"
    over_websocket = settings.transport == "websocket"
    keep_alive = settings.keep_alive_seconds if is_mqtt5 else mqtt311_keep_alive
    expiry = settings.session_expiry_seconds
    parts = upgrade_parts(raw, settings.credentials_in)
    return ConnectPlan(
        protocol="MQTT 5" if is_mqtt5 else "MQTT 3.1.1",
        transport="WebSocket over TLS" if over_websocket else "TLS",
        host=settings.endpoint,
        port=settings.port,
        server_name=settings.endpoint,
        alpn=settings.alpn_name,
        trust=trust_of(settings),
        proxy=None if proxy is None else repr(proxy),
        path=redact_path(parts.path) if over_websocket else None,
        headers=redact_headers(parts.headers),
        client_id=settings.client_id or "",
        username=None if fields.username is None else redact_username(fields.username),
        password=None if fields.password is None else redact_bytes(fields.password),
        clean_start=expiry == 0,
        session_expiry_seconds=expiry,
        keep_alive_sent_seconds=keep_alive,
        keep_alive_applied_seconds=clamp_keep_alive(keep_alive),
        will_topic=None if settings.will is None else settings.will.topic,
        sdk_metrics=settings.send_sdk_metrics,
        notes=(*host_notes(settings), *_connect_notes(settings, parts, keep_alive)),
        commands=(
            openssl(settings, proxy, settings.alpn_name),
            curl_upgrade(settings, raw, proxy) if over_websocket else mosquitto_pub(settings, raw),
        ),
    )


def trust_of(settings: ConnectionSettings) -> str:
    """Say which authorities are trusted."""
    return "the system's authorities" if settings.ca_file is None else str(settings.ca_file)


def host_notes(settings: ConnectionSettings) -> list[str]:
    """Return what may surprise about host and port."""
    notes: list[str] = []
    if _is_aws(settings) and "-ats." not in settings.endpoint:
        notes.append("the host name has no '-ats': only ATS endpoints present certificates that systems trust today")
    if _is_aws(settings) and settings.port != SERVICE_PORT:
        notes.append(f"port {settings.port}: AWS IoT Core serves custom authentication on port {SERVICE_PORT} only")
    return notes


def size_notes(target: str, headers: Iterable[tuple[str, str]]) -> list[str]:
    """Return what may surprise about the size of an HTTP request's head."""
    notes: list[str] = []
    query = len(target.partition("?")[2])
    if query > MAX_QUERY_CHARACTERS:
        notes.append(
            f"the query has {query} characters: TestInvokeAuthorizer takes {MAX_QUERY_CHARACTERS}, and what a real "
            "request may have is not documented; headers take more, CONNECT most"
        )
    longest = max((len(value) for _, value in headers), default=0)
    if longest > MAX_HEADER_CHARACTERS:
        notes.append(
            f"a header has {longest} characters: TestInvokeAuthorizer takes {MAX_HEADER_CHARACTERS}, and what a real "
            "request may have is not documented"
        )
    return notes


def _connect_notes(settings: ConnectionSettings, parts: UpgradeParts, keep_alive: int) -> list[str]:
    notes = size_notes(parts.path, parts.headers)
    if settings.transport == "tls" and _is_aws(settings) and settings.alpn_name != "mqtt":
        notes.append("without ALPN `mqtt` the service reads this as HTTP and hangs up")
    if settings.transport == "websocket":
        notes.append("the service ends a WebSocket after 24 hours")
    if keep_alive != settings.keep_alive_seconds:
        notes.append(
            f"keep alive {settings.keep_alive_seconds} s is sent as {keep_alive} s: awscrt's 3.1.1 client needs it "
            "above its wait for CONNACK"
        )
    return notes


def _is_aws(settings: ConnectionSettings) -> bool:
    return settings.endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<12}{value}" for name, value in rows)

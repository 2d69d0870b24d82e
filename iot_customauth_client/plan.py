"""What a connection will send, for people to read: every value that matters, every secret as its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .carriage import ConnectFields, redact_bytes, redact_username
from .limits import SERVICE_PORT, clamp_keep_alive

if TYPE_CHECKING:
    from .proxy import HttpProxy
    from .settings import ConnectionSettings


@dataclass(frozen=True, slots=True)
class ConnectPlan:
    """What `ConnectionBuilder` will send. `username` and `password` show sizes instead of secrets.

    `keep_alive_sent_seconds` is what the CONNECT packet says, `keep_alive_applied_seconds` what the service makes of
    it. `notes` are sentences about values that may surprise.
    """

    protocol: str
    host: str
    port: int
    server_name: str
    alpn: str | None
    trust: str
    proxy: str | None
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

    def __str__(self) -> str:
        session = "clean" if self.clean_start else f"kept for {self.session_expiry_seconds} s"
        rows = [
            ("protocol", f"{self.protocol} over TLS"),
            ("connect to", f"{self.host}:{self.port}" + (f" through {self.proxy}" if self.proxy else "")),
            ("SNI", self.server_name),
            ("ALPN", self.alpn or "none"),
            ("trust", self.trust),
            ("client id", self.client_id),
            ("user name", self.username if self.username is not None else "not sent"),
            ("password", self.password if self.password is not None else "not sent"),
            ("session", session),
            ("keep alive", f"{self.keep_alive_sent_seconds} s, applied: {self.keep_alive_applied_seconds} s"),
            ("will", self.will_topic or "none"),
            ("SDK metrics", "appended to the user name by awscrt" if self.sdk_metrics else "off"),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(f"{name:<12}{value}" for name, value in rows)


def make_plan(
    settings: ConnectionSettings, fields: ConnectFields, proxy: HttpProxy | None, *, mqtt311_keep_alive: int
) -> ConnectPlan:
    """Put the plan together from what is settled already."""
    is_mqtt5 = settings.protocol == "mqtt5"
    keep_alive = settings.keep_alive_seconds if is_mqtt5 else mqtt311_keep_alive
    expiry = settings.session_expiry_seconds
    return ConnectPlan(
        protocol="MQTT 5" if is_mqtt5 else "MQTT 3.1.1",
        host=settings.endpoint,
        port=settings.port,
        server_name=settings.endpoint,
        alpn=settings.alpn_name,
        trust="the system's authorities" if settings.ca_file is None else str(settings.ca_file),
        proxy=None if proxy is None else repr(proxy),
        client_id=settings.client_id or "",
        username=None if fields.username is None else redact_username(fields.username),
        password=None if fields.password is None else redact_bytes(fields.password),
        clean_start=expiry == 0,
        session_expiry_seconds=expiry,
        keep_alive_sent_seconds=keep_alive,
        keep_alive_applied_seconds=clamp_keep_alive(keep_alive),
        will_topic=None if settings.will is None else settings.will.topic,
        sdk_metrics=settings.send_sdk_metrics,
        notes=tuple(_notes(settings, keep_alive)),
    )


def _notes(settings: ConnectionSettings, keep_alive: int) -> list[str]:
    notes: list[str] = []
    host = settings.endpoint
    aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    if aws and "-ats." not in host:
        notes.append("the host name has no '-ats': only ATS endpoints present certificates that systems trust today")
    if aws and settings.port != SERVICE_PORT:
        notes.append(f"port {settings.port}: AWS IoT Core serves custom authentication on port {SERVICE_PORT} only")
    if aws and settings.alpn_name != "mqtt":
        notes.append("without ALPN `mqtt` the service reads this as HTTP and hangs up")
    if keep_alive != settings.keep_alive_seconds:
        notes.append(
            f"keep alive {settings.keep_alive_seconds} s is sent as {keep_alive} s: awscrt's 3.1.1 client needs it "
            "above its wait for CONNACK"
        )
    return notes

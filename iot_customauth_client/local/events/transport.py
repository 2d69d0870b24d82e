"""Events of the endpoint itself and of its transports: TCP, the proxy's answer, TLS, HTTP.

What the client wants of MQTT is not known yet, or not any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from .event import Event

DEFAULT_DOMAIN: Final = "iot:Data-ATS"
"""The service's name for the domain configuration of the default endpoint: who answers for the `hostnames`."""


@dataclass(frozen=True, slots=True, repr=False)
class Listening(Event):
    """The endpoint accepts connections."""

    kind: ClassVar[str] = "listening"

    host: str
    port: int
    hostnames: tuple[str, ...]
    """The names it serves: what a client may send as SNI."""
    ca_file: str
    """Path of the certificate authority (PEM) that clients have to trust."""
    authorizers: tuple[str, ...]
    """Names of the authorizers."""
    domains: Mapping[str, str] = field(default_factory=dict)
    """The domain configurations besides the default one: the name of each, and the host name it answers for."""


@dataclass(frozen=True, slots=True, repr=False)
class Stopped(Event):
    """The endpoint accepts no more connections, and all that it had are closed."""

    kind: ClassVar[str] = "stopped"


@dataclass(frozen=True, slots=True, repr=False)
class Opened(Event):
    """A TCP connection was accepted."""

    kind: ClassVar[str] = "opened"

    connection: int
    """Number of the connection, from 1, never used twice by one endpoint."""
    peer: str
    """Address and port of the client, as text."""


@dataclass(frozen=True, slots=True, repr=False)
class Proxied(Event):
    """The client took the endpoint for its HTTP proxy, and asked for a host name that the endpoint serves."""

    kind: ClassVar[str] = "proxied"

    connection: int
    target: str
    """What the client asked for, as `host:port`."""


@dataclass(frozen=True, slots=True, repr=False)
class Handshake(Event):
    """The TLS handshake is complete."""

    kind: ClassVar[str] = "handshake"

    connection: int
    server_name: str | None
    """SNI as the client sent it."""
    alpn_offered: tuple[str, ...]
    """ALPN names of the client, in its order; empty if it sent none."""
    alpn: str | None
    """The ALPN name that was agreed on; None if none was."""
    tls_version: str
    """Such as `TLSv1.3`."""
    domain: str = DEFAULT_DOMAIN
    """Name of the domain configuration that answers."""


@dataclass(frozen=True, slots=True, repr=False)
class TurnedAway(Event):
    """The connection was ended before MQTT began: TLS, ALPN, SNI, plain text, garbage, or too slow."""

    kind: ClassVar[str] = "turned_away"

    connection: int
    cause: str
    """A stable slug."""
    explanation: str
    """What the client did wrong and what to do instead, in one line."""


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequested(Event):
    """A complete HTTP request arrived: a publish, an upgrade to WebSocket, or what is neither."""

    kind: ClassVar[str] = "http_request"

    connection: int
    trace_id: str
    """As the answer's `traceId` and its header `x-amzn-RequestId`; the id of the authorizer's event too."""
    method: str
    path: str
    """As it was sent, without the query; its size only if it leads nowhere, for it may be anything."""
    query: str | None
    """Redacted unless secrets are to be shown; None if there was no `?`."""
    authorizer: str | None
    """Name of the authorizer that the request leads to; None if there is none."""
    credentials_in: Literal["headers", "query"] | None
    """Where the service's names were found; None if they were not, as with an upgrade whose CONNECT has them."""
    body_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswered(Event):
    """An HTTP request was answered."""

    kind: ClassVar[str] = "http_answered"

    connection: int
    trace_id: str
    status: int
    """Such as 200, or 101 for an upgrade. Why it is an error is told by `refused` or `turned_away`."""


@dataclass(frozen=True, slots=True, repr=False)
class Warned(Event):
    """Something worked, but the real service may do otherwise."""

    kind: ClassVar[str] = "warned"

    connection: int
    cause: str
    """A stable slug."""
    explanation: str


@dataclass(frozen=True, slots=True, repr=False)
class Closed(Event):
    """The TCP connection is closed."""

    kind: ClassVar[str] = "closed"

    connection: int

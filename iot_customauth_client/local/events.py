"""What happened at the local endpoint, as values: one class for each kind of event.

The real service tells hardly anything of this to the client, and the rest only to CloudWatch. Here every step is an
event: tests wait for it, the command prints it. So the kinds and their fields are a public interface; the table
`EVENT_KINDS` is its index.

Order of the events of one connection: `opened`, (`proxied`), `handshake`, `connect_received`, `authorizer_called`,
`authorizer_answered`, `decided` for `iot:Connect`, `connected`, then what the client does, then `disconnected` and
`closed`. A connection that does not get that far has `turned_away` (before MQTT) or `refused` (before CONNACK) in
the place where it ended, then `closed`.

In HTTP each request has an `http_request` and an `http_answered`; between them what the authorizer is asked, and
`published` or `refused`. After an `http_answered` of status 101 the connection goes on as MQTT.

An event must never show a secret: whoever makes one puts a redacted user name and a redacted authorizer event into
it (unless the user of the endpoint asked to see secrets), and a payload is shown by its length only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, Final, Literal, TypeAlias

from .quick_values import quickly_made

DEFAULT_DOMAIN: Final = "iot:Data-ATS"
"""The service's name for the domain configuration of the default endpoint: who answers for the `hostnames`."""

AuthorizerOutcome: TypeAlias = Literal["allowed", "denied", "failed", "timed_out", "invalid"]
"""`allowed` and `denied`: it answered so. `failed`: it raised. `timed_out`: no answer within 5 s. `invalid`: it
answered, but with a result that the service would not accept."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    sequence: place in the log of its endpoint, from 1; 0 as long as it is in no log.
    at: time of the day, aware, when it came into the log; None as long as it is in no log.
    """

    kind: ClassVar[str] = "event"

    sequence: int = field(default=0, kw_only=True)
    at: datetime | None = field(default=None, kw_only=True)

    def fields(self) -> dict[str, object]:
        """Return kind, sequence, time and all fields, fit for JSON.

        `at` is ISO 8601 text, a tuple is a list, and `payload` is replaced by `payload_bytes`, its length.
        """
        shown: dict[str, object] = {"sequence": self.sequence, "at": None, "kind": self.kind}
        if self.at is not None:
            shown["at"] = self.at.isoformat()
        for each in fields(self):
            if each.name in shown:
                continue
            value: object = getattr(self, each.name)
            if isinstance(value, bytes):
                shown[f"{each.name}_bytes"] = len(value)
            elif isinstance(value, tuple):
                shown[each.name] = list(value)
            elif isinstance(value, Mapping):
                shown[each.name] = dict(value)
            else:
                shown[each.name] = value
        return shown

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.fields().items() if name not in {"kind", "at"})
        return f"{type(self).__name__}({', '.join(shown)})"


# -- the endpoint -------------------------------------------------------------------------------------------------


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


# -- before MQTT --------------------------------------------------------------------------------------------------


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


# -- HTTP ---------------------------------------------------------------------------------------------------------


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


# -- CONNECT ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class ConnectReceived(Event):
    """A CONNECT packet arrived."""

    kind: ClassVar[str] = "connect_received"

    connection: int
    client_id: str
    """As the client sent it: may be empty."""
    protocol: Literal["mqtt5", "mqtt311"]
    username: str | None
    """Redacted unless secrets are to be shown; None if the client sent none."""
    authorizer: str | None
    """Name of the authorizer that will be asked; None if there is none."""
    keep_alive_seconds: int
    """As asked for."""
    clean_start: bool
    """MQTT 3.1.1's clean session."""
    will_topic: str | None
    transport: Literal["tls", "websocket"] = "tls"
    domain: str = DEFAULT_DOMAIN
    """Name of the domain configuration that answers."""


@dataclass(frozen=True, slots=True, repr=False)
class AuthorizerCalled(Event):
    """An authorizer was called."""

    kind: ClassVar[str] = "authorizer_called"

    connection: int
    authorizer: str
    event: Mapping[str, object]
    """The event it was given, redacted unless secrets are to be shown."""


@dataclass(frozen=True, slots=True, repr=False)
class AuthorizerAnswered(Event):
    """An authorizer answered, failed, or took too long."""

    kind: ClassVar[str] = "authorizer_answered"

    connection: int
    authorizer: str
    outcome: AuthorizerOutcome
    elapsed_seconds: float
    result: Mapping[str, object] | None
    """What it returned; None if it returned nothing that JSON can express."""
    explanation: str


@dataclass(frozen=True, slots=True, repr=False)
class Connected(Event):
    """CONNACK was sent: the client is connected."""

    kind: ClassVar[str] = "connected"

    connection: int
    client_id: str
    """The assigned one if the client sent an empty one."""
    principal_id: str
    """As the authorizer returned it."""
    protocol: Literal["mqtt5", "mqtt311"]
    keep_alive_seconds: int
    """As the endpoint enforces it."""
    session_present: bool
    """Whether it resumed a session, with its subscriptions and what was stored for it."""


@dataclass(frozen=True, slots=True, repr=False)
class Refused(Event):
    """The connection was ended between CONNECT and CONNACK, or instead of CONNECT; or an HTTP request was refused."""

    kind: ClassVar[str] = "refused"

    connection: int
    client_id: str
    """Empty if the client sent none, or nothing that could be read."""
    cause: str
    """A stable slug."""
    reason_code: int | None
    """Reason code of the CONNACK; None if the connection was closed without one, as always with MQTT 3.1.1."""
    explanation: str
    status: int | None = None
    """Of the answer to an HTTP request; None in MQTT. The connection may go on."""


# -- a connected client -------------------------------------------------------------------------------------------


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Decided(Event):
    """It was decided whether the client may do something.

    Reported for every denial, by the policy or by a rule of the service that comes before it (a wrong topic, a
    quota), and for what is allowed on `iot:Connect` and `iot:Subscribe`. That a publish or a delivery was allowed is
    told by `published` and `delivered`.
    """

    kind: ClassVar[str] = "decided"

    connection: int
    client_id: str
    action: str
    """Such as `iot:Subscribe`."""
    resource: str
    """The ARN."""
    allowed: bool
    explanation: str
    """Which statement decided or why none did; or the rule that forbids it."""


@dataclass(frozen=True, slots=True, repr=False)
class Subscribed(Event):
    """A SUBSCRIBE was answered."""

    kind: ClassVar[str] = "subscribed"

    connection: int
    client_id: str
    topic_filters: tuple[str, ...]
    reason_codes: tuple[int, ...]
    """As in the SUBACK, in the order of the filters: the granted QoS, or 128 and above for a refusal."""


@dataclass(frozen=True, slots=True, repr=False)
class Unsubscribed(Event):
    """An UNSUBSCRIBE was answered."""

    kind: ClassVar[str] = "unsubscribed"

    connection: int
    client_id: str
    topic_filters: tuple[str, ...]


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Published(Event):
    """A message was accepted: from a client, as a client's will, or from the endpoint itself."""

    kind: ClassVar[str] = "published"

    connection: int | None
    """None if the endpoint itself published it. For a will, the connection that ended."""
    client_id: str
    """Empty if the endpoint itself published it, or an HTTPS request: HTTP has no client id."""
    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    """The DUP flag of the packet."""


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Delivered(Event):
    """A message was sent to a subscriber."""

    kind: ClassVar[str] = "delivered"

    connection: int
    client_id: str
    topic: str
    payload: bytes
    qos: int
    retain: bool
    """The RETAIN flag as sent to this subscriber."""


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Acknowledged(Event):
    """A subscriber acknowledged a message of QoS 1 (its PUBACK arrived)."""

    kind: ClassVar[str] = "acknowledged"

    connection: int
    client_id: str
    packet_id: int


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Queued(Event):
    """A message of QoS 1 was stored for somebody who is away: a session, or all members of a shared subscription."""

    kind: ClassVar[str] = "queued"

    client_id: str
    """Whose session it is; empty for a shared subscription."""
    topic_filter: str
    """Of the subscription that takes it."""
    topic: str
    payload: bytes


@quickly_made
@dataclass(frozen=True, slots=True, repr=False)
class Dropped(Event):
    """A message was given up: it is not delivered, or not taken from its publisher."""

    kind: ClassVar[str] = "dropped"

    connection: int | None
    """None if the one it was for is away."""
    client_id: str
    """Who was to get it, or who published it; empty for a shared subscription."""
    topic: str
    payload: bytes
    cause: str
    """To a subscriber: `expired`, `queue_full`, `queue_rate`, `too_large`, `delivery_rate`, `unacknowledged`,
    `no_member`; from a publisher: `publish_rate`, `receive_maximum`."""
    explanation: str


@dataclass(frozen=True, slots=True, repr=False)
class Disconnected(Event):
    """A client that was connected is not any more."""

    kind: ClassVar[str] = "disconnected"

    connection: int
    client_id: str
    reason: str
    """AWS's word, as in the lifecycle events' `disconnectReason`: such as `CLIENT_INITIATED_DISCONNECT`."""
    explanation: str
    """What the client did, or what happened to it, in one sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class SessionEnded(Event):
    """A session that could have been resumed is gone, with its subscriptions and what was stored for it."""

    kind: ClassVar[str] = "session_ended"

    client_id: str
    cause: str
    """`expired`, `clean_start` (the client began a new one), `other_version` (it came back with the other version of
    MQTT), `disconnect` (it set the expiry to 0), `deleted` (by the user of the endpoint), `too_many`."""
    explanation: str


@dataclass(frozen=True, slots=True, repr=False)
class Closed(Event):
    """The TCP connection is closed."""

    kind: ClassVar[str] = "closed"

    connection: int


EVENT_KINDS: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        each.kind: each
        for each in (
            Listening,
            Opened,
            Proxied,
            Handshake,
            TurnedAway,
            HttpRequested,
            HttpAnswered,
            Warned,
            ConnectReceived,
            AuthorizerCalled,
            AuthorizerAnswered,
            Connected,
            Refused,
            Decided,
            Subscribed,
            Unsubscribed,
            Published,
            Delivered,
            Queued,
            Acknowledged,
            Dropped,
            Disconnected,
            SessionEnded,
            Closed,
            Stopped,
        )
    }
)
"""Every kind of event by its name."""

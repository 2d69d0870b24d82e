"""Events between CONNECT, or an HTTP request with credentials, and its answer.

The user name and the authorizer's event come here redacted, unless the user of the endpoint asked to see secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from .event import Event
from .transport import DEFAULT_DOMAIN

AuthorizerOutcome: TypeAlias = Literal["allowed", "denied", "failed", "timed_out", "invalid"]
"""`allowed` and `denied`: it answered so. `failed`: it raised. `timed_out`: no answer within 5 s. `invalid`: it
answered, but with a result that the service would not accept."""


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

"""What the broker wants done, and what it is told about a client, as values.

The broker does no I/O: each of its methods returns a list of effects, and the endpoint carries them out in that
order.
"""

from dataclasses import dataclass
from typing import TypeAlias

from ..authorizer.policy_document import PolicyDocument
from .codec import Packet
from .events import Event
from .quick_values import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Send:
    """Send the packet on the connection, encoded for the version that its CONNECT asked for."""

    connection: int
    packet: Packet


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the transport of the connection after what was to be sent before. Nothing is sent to it afterwards."""

    connection: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Read nothing from the connection for so many seconds of real time: its throughput is used up.

    Only with `quotas="aws"`. A later one for the same connection replaces it.
    """

    connection: int
    seconds: float


@quickly_made
@dataclass(frozen=True, slots=True)
class Happened:
    """Put the event into the log."""

    event: Event


Effect: TypeAlias = Send | HangUp | Hold | Happened


@dataclass(frozen=True, slots=True)
class Grant:
    """What the authorizer granted to one connection.

    source_ip: the client's address for `aws:SourceIp` in policies; None if it is not known.
    server_name: the name by which it connected (SNI), for `iot:DomainName`; None if it is not known.
    disconnect_after_seconds: how long the connection may live, from CONNACK; None for without end. A later grant for
        the same connection does not change it (AWS page "Defining your Lambda function").
    """

    principal_id: str
    policies: tuple[PolicyDocument, ...]
    source_ip: str | None
    disconnect_after_seconds: int | None = None
    server_name: str | None = None

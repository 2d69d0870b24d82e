"""Who is connected, as the lifecycle events of one connection name it (`lifecycle.py`). It never changes meanwhile."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Presence:
    """One connection of a client.

    principal_id: the authorizer's `principalId` at CONNECT; a refresh does not change it here.
    ip_address: None if it is not known; then the events do not have the field.
    version_number: the same for `connected` and `disconnected`, rising with each connection of a client id.
    """

    client_id: str
    session_identifier: str
    principal_id: str
    ip_address: str | None
    version_number: int

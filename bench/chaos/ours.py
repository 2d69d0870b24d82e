"""The settings and credentials of devices with this package, the same for both faces."""

from __future__ import annotations

from iot_customauth_client import ConnectionSettings, Credentials

from .device import CONNECT_SECONDS, SESSION_SECONDS, Task, token


def settings_of(task: Task) -> ConnectionSettings:
    """Return where and how a device connects."""
    return ConnectionSettings(
        endpoint="localhost",
        client_id=task.client_id,
        port=task.port,
        ca_file=task.ca_file,  # type: ignore[arg-type]
        protocol=task.protocol,
        keep_alive_seconds=30,
        session_expiry_seconds=SESSION_SECONDS,
        connect_timeout_seconds=CONNECT_SECONDS,
    )


def credentials_of(task: Task) -> Credentials:
    """Fetch fresh credentials; they end, so that the connection is renewed."""
    return Credentials.from_password("device", token(), expires_in_seconds=task.token_seconds)

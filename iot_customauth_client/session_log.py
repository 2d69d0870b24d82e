"""The session's log: one line per transition, in `key=value` form, on the logger `iot_customauth_client.session`.

Never a payload, a user name or a secret. Which credentials were used is told by a fingerprint, and only if there is a
secret of at least 20 characters among them: a shorter one could be guessed from its fingerprint.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from .carriage import RawCredentials
from .state import State, StateChange

_log = logging.getLogger("iot_customauth_client.session")
_MIN_SECRET_CHARACTERS: Final = 20


def fingerprint(raw: RawCredentials) -> str:
    """Return 8 hexadecimal digits that tell these credentials from others, or `-`."""
    secrets = [(raw.token or "").encode(), (raw.signature or "").encode(), raw.password or b""]
    longest = max(secrets, key=len)
    return hashlib.sha256(longest).hexdigest()[:8] if len(longest) >= _MIN_SECRET_CHARACTERS else "-"


def log_change(change: StateChange, *, client_id: str | None, elapsed_seconds: float, credentials: str) -> None:
    """Write the line for one transition."""
    parts = [f"{change.state.value}: client_id={client_id} attempt={change.attempt}"]
    error = change.error
    if error is not None:
        parts.append(f"phase={error.phase} code={error.code}")
    parts.append(f"elapsed_s={elapsed_seconds:.3f}")
    if change.retry_in_seconds is not None:
        parts.append(f"next_attempt_in_s={change.retry_in_seconds:.1f}")
    parts.append(f"credentials={credentials}")
    if error is not None:
        parts.append(f"error={error.message}")
    _log.log(_level(change), "%s", " ".join(parts))


def _level(change: StateChange) -> int:
    if change.state is State.CONNECTING:
        return logging.DEBUG
    if change.error is None:
        return logging.INFO
    return logging.ERROR if change.state is State.CLOSED else logging.WARNING

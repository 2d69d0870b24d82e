"""What a `timeout` may be, wherever one is given: checked before anything is accepted, sent or waited for."""

from __future__ import annotations

from typing import Final

from .errors import ConfigurationError

GRANT_TIMEOUT_SECONDS: Final = 30.0
"""How long to wait for the answer to a subscription, unless another time is given."""


def check_timeout(timeout: float | None) -> None:
    """Raise `ConfigurationError` for a time-out that is no number of seconds, or less than 0."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ConfigurationError(f"timeout must be seconds, 0 or more, or None for no limit: not {timeout!r}")

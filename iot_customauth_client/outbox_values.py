"""How much an outbox takes, and what it says about itself: the two frozen values around the engine in `outbox.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .errors import ConfigurationError

WhenFull: TypeAlias = Literal["raise", "drop_oldest"]
"""`"raise"`: `publish()` raises `OutboxFull`; `"drop_oldest"`: the oldest message not sent yet makes room."""


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """What one connection's outbox takes: messages, bytes of payload, seconds of age (`None`: any), and when full.

    Raises `ConfigurationError` for limits below 1, an age that is not above 0, and another `when_full`.
    """

    max_messages: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    max_age_seconds: float | None = None
    when_full: WhenFull = "raise"

    def __post_init__(self) -> None:
        for name in ("max_messages", "max_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"{name} must be a whole number, 1 or more, not {value!r}")
        age = self.max_age_seconds
        if age is not None and not (isinstance(age, int | float) and not isinstance(age, bool) and age > 0):
            raise ConfigurationError(f"max_age_seconds must be above 0, or None for no limit, not {age!r}")
        if self.when_full not in ("raise", "drop_oldest"):
            raise ConfigurationError(f'when_full must be "raise" or "drop_oldest", not {self.when_full!r}')


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What is in the outbox at one moment.

    `messages` and `bytes` (of payload) are accepted and not settled, `in_flight` of them sent and not acknowledged,
    `stored` of them safe in the file of a `SqliteOutbox`. `oldest_age_seconds` is the time since the oldest of them was
    accepted, `None` if there is none. `dropped` counts all that had to make room since the connection was made.
    """

    messages: int
    bytes: int
    oldest_age_seconds: float | None
    in_flight: int
    stored: int
    dropped: int

"""How fast messages may go out: at most so many, and so many bytes, in any second.

The service counts 100 publishes a second on one connection and throws away what is over it; what is over 512 KiB a
second it delays. Both are counted here over a sliding second, so that a burst after a quiet time goes out at once, and
no second, wherever it begins, holds more than the rate. The time is real, whatever the connection's clock: this is
about what the service sees.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from .limits import MAX_BYTES_PER_SECOND_PER_CONNECTION, MAX_PUBLISHES_PER_SECOND_PER_CONNECTION

if TYPE_CHECKING:
    from .clock import Clock
    from .outgoing import Outgoing
    from .settings import ConnectionSettings

_WINDOW_SECONDS: Final = 1.02
"""A second, and what the network may push together."""
_GRAIN_SECONDS: Final = 0.01
_HEADER_BYTES: Final = 7
_AWS_HOST: Final = re.compile(r"(?:.+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)", re.IGNORECASE)


class Rate:
    """At most so many messages, and bytes if they are limited, in any second. Has no lock: one thread at a time."""

    def __init__(self, clock: Clock, *, messages_per_second: int, bytes_per_second: int | None = None) -> None:
        self.clock = clock
        self._max_messages = messages_per_second
        self._max_bytes = bytes_per_second
        self._sent: deque[list[float]] = deque()  # [time, messages, bytes], oldest first, times within a grain together
        self._messages = 0.0
        self._bytes = 0.0

    def take(self, entry: Outgoing) -> float:
        """Count one message and return 0; or count nothing and return in how many seconds it may be tried again."""
        now = self.clock.monotonic()
        sent = self._sent
        while sent and sent[0][0] <= now - _WINDOW_SECONDS:
            _, messages, size = sent.popleft()
            self._messages -= messages
            self._bytes -= size
        size = _HEADER_BYTES + len(entry.topic) + len(entry.payload)
        if sent and (
            self._messages >= self._max_messages
            or (self._max_bytes is not None and self._bytes + size > self._max_bytes)
        ):
            return max(sent[0][0] + _WINDOW_SECONDS - now, _GRAIN_SECONDS)
        if sent and now - sent[-1][0] < _GRAIN_SECONDS:
            sent[-1][1] += 1
            sent[-1][2] += size
        else:
            sent.append([now, 1, size])
        self._messages += 1
        self._bytes += size
        return 0.0


def rate_of(settings: ConnectionSettings, clock: Clock) -> Rate | None:
    """Return what `max_publishes_per_second` means for these settings on the real clock; `None`: no limit.

    `"aws"` is 100 messages and 512 KiB a second towards a host name of AWS. A custom domain cannot be told from
    somebody's own broker: there it means no limit.
    """
    wanted = settings.max_publishes_per_second
    if wanted is None:
        return None
    if wanted != "aws":
        return Rate(clock, messages_per_second=wanted)
    if _AWS_HOST.fullmatch(settings.endpoint) is None:
        return None
    return Rate(
        clock,
        messages_per_second=MAX_PUBLISHES_PER_SECOND_PER_CONNECTION,
        bytes_per_second=MAX_BYTES_PER_SECOND_PER_CONNECTION,
    )

"""When a consumer that has emptied its queue should doze for a moment instead of waiting to be woken.

Waking a thread costs more than a message: two threads then hand the interpreter to each other all the time. Under a
flood a consumer that dozes two milliseconds finds a batch, and the native thread wakes nobody. A lone message must not
pay for that: dozing begins only when messages have come fast at several wake-ups in a row (faster than anything that
waits for an answer), each doze has to bring a batch, and each one that does not doubles the number of wake-ups until
the next try.
"""

from __future__ import annotations

from typing import Final

DOZE_SECONDS: Final = 0.002
_FAST_PER_SECOND: Final = 8_000
_WORTH_MESSAGES: Final = 8
_FIRST_RUN: Final = 4
_LONGEST_RUN: Final = 4_096


class Linger:
    """The decision for one consumer. Not thread-safe; a race costs one doze too many or too few."""

    __slots__ = ("_last", "_needed", "_run", "taken")

    def __init__(self) -> None:
        self._last = 0.0
        self._run = 0
        self._needed = _FIRST_RUN
        self.taken = 0
        """Messages since the last wake-up: the consumer counts them here."""

    def woken(self, now: float) -> None:
        """Note that the consumer had to be woken, at this monotonic time."""
        fast = self.taken > (now - self._last) * _FAST_PER_SECOND
        self._run = self._run + 1 if fast else 0
        self._last = now
        self.taken = 0

    @property
    def worth_it(self) -> bool:
        """Whether to doze for `DOZE_SECONDS` before waiting."""
        return self._run >= self._needed

    def gained(self, messages: int) -> None:
        """Note what a doze brought: a batch is worth the next doze, less is not."""
        if messages >= _WORTH_MESSAGES:
            self._needed = _FIRST_RUN
        else:
            self._run = 0
            self._needed = min(self._needed * 2, _LONGEST_RUN)

"""How long to wait before the next attempt: growing, jittered, and not forgotten too soon.

Two kinds of pauses, each with full jitter, so that a fleet that lost its endpoint does not come back in step:

==========  ==========================================  ==================================================
kind        after                                       pause in seconds, the n-th time in a row
==========  ==========================================  ==================================================
*failure*   an attempt that failed, a lost connection   0 to 1, 2, 4 ... 60
*refusal*   the endpoint said no, also to fresh         60 to 240, 960, 3,600
            credentials
==========  ==========================================  ==================================================

A CONNACK alone proves little: a policy may end the connection a moment later, for ever in turn. So the count starts
again only after a connection has *lasted*: 30 s, or longer than the longest pause that was due.

Nothing here waits, and no clock is read: times come in. `BackOff.remembered` and `BackOff.recalled` carry the count
beyond a process, for scripts that crash and are started again. They use the wall clock, since nothing else goes on
between two processes; a clock that was set in the meantime can make the pause shorter, and never longer than it was.
A new process never waits for more than 30 s before its first attempt, whatever pause was remembered, that of a refusal
included: this is to slow a crash loop down, and who starts a device anew has often mended something. It is half of the
time that `connect()` has by default: with all of it, a script that starts again whenever `connect()` raises would never
make an attempt. The counts stay, so the pauses after that attempt are as long as they would have been.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Jitter = Callable[[float, float], float]

_FIRST_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 60.0
_SHORTEST_REFUSAL_SECONDS: Final = 60.0
_LONGEST_REFUSAL_SECONDS: Final = 3_600.0
_LASTED_SECONDS: Final = 30.0
_LONGEST_RECALLED_SECONDS: Final = 30.0
_MOST_COUNTED: Final = 64


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is left of a pause that an earlier process began: seconds, and why it did (a code and a sentence)."""

    seconds: float
    refused: bool
    code: str
    message: str


class BackOff:
    """Counts failures and refusals of one connection. Not thread-safe: for one owner."""

    def __init__(self, jitter: Jitter = random.uniform) -> None:
        self._jitter = jitter
        self._failures = 0
        self._refusals = 0

    @property
    def lasts_after_seconds(self) -> float:
        """How long a connection has to last until the count starts again."""
        return max(_LASTED_SECONDS, _longest(self._failures))

    def lasted(self) -> None:
        """A connection has lasted: start again."""
        self._failures = self._refusals = 0

    def failed(self, *, at_least: float = 0.0) -> float:
        """Count a failure or a lost connection; return the pause in seconds, at least `at_least`."""
        self._failures = min(self._failures + 1, _MOST_COUNTED)
        return max(at_least, self._jitter(0.0, _longest(self._failures)))

    def refused(self) -> float:
        """Count a refusal; return the pause in seconds."""
        self._refusals = min(self._refusals + 1, _MOST_COUNTED)
        longest = min(_LONGEST_REFUSAL_SECONDS, _SHORTEST_REFUSAL_SECONDS * 4.0 ** min(self._refusals, 8))
        return self._jitter(_SHORTEST_REFUSAL_SECONDS, longest)

    # -- beyond the process -------------------------------------------------------------------------------------------

    def remembered(self, wall: float, pause: float, *, refused: bool, code: str, message: str) -> str:
        """Return a text for a later process: this pause begins now, at the wall clock's `wall` seconds."""
        return json.dumps(
            {
                "failures": self._failures,
                "refusals": self._refusals,
                "until": wall + pause,
                "pause": pause,
                "refused": refused,
                "code": code,
                "message": message,
            }
        )

    def recalled(self, text: str | None, wall: float) -> Recalled | None:
        """Take over the counts of an earlier process; return what is left of its pause, or `None` for nothing.

        That is 30 s at most. A text that is not one of ours counts as none.
        """
        try:
            kept = json.loads(text or "")
            failures, refusals, refused = int(kept["failures"]), int(kept["refusals"]), bool(kept["refused"])
            until, pause = float(kept["until"]), float(kept["pause"])
            code, message = str(kept["code"]), str(kept["message"])
        except (ValueError, TypeError, KeyError, OverflowError):
            return None
        if not (math.isfinite(until) and math.isfinite(pause)):
            return None
        self._failures = min(max(failures, 0), _MOST_COUNTED)
        self._refusals = min(max(refusals, 0), _MOST_COUNTED)
        left = min(until - wall, pause, _LONGEST_RECALLED_SECONDS)
        return Recalled(left, refused, code, message) if left > 0 else None


class Takeovers:
    """Notices that somebody else uses the same client id: two takeovers within ten minutes are no accident."""

    _WITHIN_SECONDS: Final = 600.0
    _FIRST_SECONDS: Final = 5.0
    _LONGEST_SECONDS: Final = 300.0

    def __init__(self) -> None:
        self._times: list[float] = []

    def noticed(self, now: float) -> int:
        """Count a takeover at this monotonic time; return how many there were within ten minutes."""
        self._times = [*(each for each in self._times if now - each < self._WITHIN_SECONDS), now]
        return len(self._times)

    def pause_seconds(self) -> float:
        """Return the least pause before coming back: each return evicts the other one, who will return as well."""
        count = len(self._times)
        if count < 2:
            return 0.0
        return min(self._LONGEST_SECONDS, self._FIRST_SECONDS * 2.0 ** min(count - 2, 10))


def _longest(failures: int) -> float:
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** max(0, min(failures, 16) - 1))

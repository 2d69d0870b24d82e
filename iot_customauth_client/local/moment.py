"""When something happens, on the two clocks of the local endpoint.

Keep alive and rates are matters of the network and run on real time. What the service decides by hours (sessions,
wills, message expiry, the life of a connection) runs on a clock that a test may move by hand. Both are monotonic
seconds, and nothing in common: a number of one must never be compared with one of the other.
"""

from dataclasses import dataclass

from .quick_values import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Moment:
    """A moment on both clocks.

    now: real, monotonic seconds.
    at: monotonic seconds of the clock that can be moved.
    """

    now: float
    at: float

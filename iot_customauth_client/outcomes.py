"""What follows from an attempt that failed: one table, for the first connection and for all later ones.

================================================  ==========================  =================================
outcome                                           until the first success     after it
================================================  ==========================  =================================
configuration error, certificate verdict, 407     stop                        wait
`CredentialsRejected`, `CredentialsExpired`       stop                        stop
refusal                                           fresh credentials, if there are any; then
                                                  stop                        refused, or stop (`when_refused`)
closed before CONNACK                             stop the second time        wait
                                                  in a row, else wait
all else                                          wait                        wait
================================================  ==========================  =================================

Once a connection stood, settings and credentials were right at least then. So what looks like a mistake afterwards
comes from the world around: a captive portal, a certificate that is being replaced, a proxy that restarts. None of
that may end the connection of a device that nobody can reach. What the policy of `connect()` says of one error
(raise, raise at the second time, try again) is in `diagnosis.policy_of`.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from .diagnosis import Policy, policy_of
from .errors import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConfigurationError,
    ConnectError,
    CredentialsExpired,
    CredentialsRejected,
)

Failure = ConnectError | ConfigurationError


class Next(Enum):
    """What the session does next."""

    STOP = "the connection is over"
    FRESH = "once more, as soon as allowed, with fresh credentials"
    WAIT = "another attempt after a pause"
    REFUSED = "another attempt after a long pause"


def next_of(
    error: Failure,
    *,
    first: bool,
    fresh_left: bool,
    hang_ups: int,
    when_refused: Literal["retry", "stop"],
) -> Next:
    """Return what follows from a failed attempt.

    `first`: no attempt has succeeded yet; `fresh_left`: the source may give other credentials, and has not been asked
    for them since the last success; `hang_ups`: how often in a row the connection was closed before CONNACK, this
    time included.
    """
    if isinstance(error, CredentialsRejected | CredentialsExpired):
        return Next.STOP
    if isinstance(error, AuthenticationRefused):
        if fresh_left:
            return Next.FRESH
        return Next.STOP if first or when_refused == "stop" else Next.REFUSED
    if not first:
        return Next.WAIT
    if isinstance(error, ClosedBeforeConnack):
        return Next.STOP if hang_ups > 1 else Next.WAIT
    return Next.STOP if policy_of(error) is Policy.RAISE else Next.WAIT

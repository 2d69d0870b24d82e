"""Credentials that are fetched when they are needed, by however many connections share them.

The idea
--------
A device's token ends; somebody (a token service, a file, a command) gives the next one. `SharedCredentials` asks for
it: before an attempt when nothing unexpired is there, and before the present one ends. It protects who is asked: one
fetch at a time, none within `min_interval_seconds` of one that gave some (but for one after a refusal, and after
`renew()`), and after failures with growing pauses; a fleet of connections in one process costs one fetch.

::

    obtain(instead_of=None) -- cached and not expired --> cached
                            -- else ------------------> fetch --> cached
    obtain(instead_of=old)  -- cached is another one ---> cached            (renewal)
                            -- else ------------------> fetch
    refused(value)          -- empties the cache, if it still holds that value
    renew()                 -- empties the cache, and tells the connections

Sessions see a `Source`; a plain `Credentials` is one as well, which never renews. Lifetimes are counted on the clock of
the connections, from the moment of the fetch: a device may have no wall clock at boot. Nothing here blocks but the
fetch itself, on a worker thread or on an event loop, under a time limit.
"""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from .clock import Clock
from .credentials import Credentials
from .errors import ConfigurationError, CredentialsExpired, CredentialsUnavailable
from .fetch_call import Failure, FetchCall, RunAsync, failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .runtime import Runtime

Fetch: TypeAlias = Callable[[], Credentials | Awaitable[Credentials]]

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Lease:
    """Credentials, and how long they are good on the clock of who asked (monotonic seconds); `None`: for ever."""

    credentials: Credentials
    expires_at: float | None = None
    renew_at: float | None = None


Obtained: TypeAlias = Callable[[Lease | Failure], None]


class Source(Protocol):
    """Where a session gets its credentials from."""

    @property
    def renewable(self) -> bool:
        """Whether asking again can give other credentials."""
        ...

    def obtain(
        self,
        done: Obtained,
        *,
        clock: Clock,
        runtime: Runtime,
        run_async: RunAsync | None = None,
        instead_of: Credentials | None = None,
    ) -> None:
        """Call `done`, on any thread and perhaps at once, with credentials for an attempt, or why there are none.

        With `instead_of` it gives others than those, if there are any to be had: for a renewal. `run_async` runs an
        async function of the user's; without it, a loop of the process's own does.
        """
        ...

    def refused(self, credentials: Credentials) -> None:
        """The endpoint refused these."""
        ...

    def on_renew(self, call: Callable[[], None]) -> None:
        """Call, on any thread, when what was given is no longer good. Holds bound methods weakly."""
        ...


def source_of(credentials: Credentials | Fetch | SharedCredentials) -> Source:
    """Return the source for what a user passed as credentials.

    Raises `ConfigurationError` for anything but `Credentials`, a callable (wrapped in a `SharedCredentials`) and
    `SharedCredentials`.
    """
    if isinstance(credentials, Credentials):
        return _Fixed(credentials)
    if isinstance(credentials, SharedCredentials):
        return credentials
    if isinstance(credentials, type) or not callable(credentials):
        kind = credentials.__name__ if isinstance(credentials, type) else type(credentials).__name__
        raise ConfigurationError(
            f"credentials must be Credentials, SharedCredentials or a function that returns Credentials, not {kind}: "
            "see Credentials.from_password()"
        )
    return SharedCredentials(credentials)


class _Fixed:
    """A plain `Credentials`: the same for ever, or until it expires."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._expires_at: float | None = None
        self._counted = False

    @property
    def renewable(self) -> bool:
        return False

    def obtain(
        self,
        done: Obtained,
        *,
        clock: Clock,
        runtime: Runtime,  # noqa: ARG002 - the protocol's
        run_async: RunAsync | None = None,  # noqa: ARG002
        instead_of: Credentials | None = None,  # noqa: ARG002
    ) -> None:
        if not self._counted:  # once, from then on the connection's clock counts
            left = self._credentials.lifetime_seconds(clock.now())
            self._expires_at = None if left is None else clock.monotonic() + left
            self._counted = True
        if self._expires_at is not None and clock.monotonic() >= self._expires_at:
            done(
                CredentialsExpired(
                    "the credentials have expired",
                    phase="credentials",
                    what_to_do="pass a function that returns fresh Credentials: it is asked before every attempt",
                )
            )
            return
        done(Lease(self._credentials, self._expires_at))

    def refused(self, credentials: Credentials) -> None:
        pass

    def on_renew(self, call: Callable[[], None]) -> None:
        pass


class SharedCredentials:
    """Credentials that are fetched when needed, and renewed before they end; one may serve many connections.

    `fetch` returns `Credentials`, or is an async function that does. It is asked before an attempt to connect when
    nothing unexpired is there, and `leeway_seconds` before the expiry (half of a lifetime shorter than twice that);
    renewals are spread by up to 10 %. Without an expiry it is asked before every attempt. A plain function runs on a
    worker thread and may block; an async one runs on the connection's event loop, with the sync face on a loop of
    the process's own. One call at a time; after one that gave some, none for `min_interval_seconds`, except for one
    more when the endpoint refused them, and after `renew()`. After `timeout_seconds` it counts as failed.

    Whatever it raises, or credentials that have expired already, is `CredentialsUnavailable`, and tried again after a
    pause of 1, 2, 4 ... 60 s, or after `retry_after_seconds` if it raises a `CredentialsUnavailable` that says so.
    `CredentialsRejected` (the account is gone) stops the connection.

    Raises `ConfigurationError` for limits that make no sense.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        leeway_seconds: float = 60,
        timeout_seconds: float = 30,
        min_interval_seconds: float = 10,
    ) -> None:
        if not callable(fetch) or isinstance(fetch, type):
            raise ConfigurationError("fetch must be a function that returns Credentials")
        if leeway_seconds < 0 or timeout_seconds <= 0 or min_interval_seconds < 0:
            raise ConfigurationError("leeway_seconds, timeout_seconds and min_interval_seconds must not be negative")
        self._fetch = fetch
        self._leeway_seconds = leeway_seconds
        self._timeout_seconds = timeout_seconds
        self._min_interval_seconds = min_interval_seconds
        self._lock = threading.Lock()
        self._clock: weakref.ref[Clock] | None = None
        self._lease: Lease | None = None
        self._failure: Failure | None = None
        self._failures = 0
        self._fetch_again_at = 0.0
        self._refusal_at: float | None = None
        self._flight: FetchCall | None = None
        self._waiting: list[Obtained] = []
        self._renewals: list[Callable[[], Callable[[], None] | None]] = []

    @classmethod
    def from_file(cls, file: str | Path, *, poll_seconds: float = 5, **limits: float) -> SharedCredentials:
        """Read the table `[credentials]` of a TOML file, and watch it: see `Credentials.load`.

        When the file, or a file that it names by a `*_file` key, changes, the connections renew. It is looked at every
        `poll_seconds`. `limits` are those of `SharedCredentials`.
        """
        from .credential_sources import watch

        return watch(cls, file, poll_seconds, limits)

    @classmethod
    def from_command(cls, command: Sequence[str], **limits: float) -> SharedCredentials:
        """Run a command, without a shell, and read what it prints: one JSON object, at most 64 KiB.

        Its keys are those of the table `[credentials]`, and `expires_in_seconds`. A status other than 0 is a failure;
        status 77 means that there will be none any more (`CredentialsRejected`). Pass no secret as an argument: others
        can see them.
        """
        from .credential_sources import command_output

        return cls(command_output(command, limits.get("timeout_seconds", 30)), **limits)

    @classmethod
    def from_environment(cls, prefix: str = "IOT_CREDENTIALS_", **limits: float) -> SharedCredentials:
        """Read environment variables: `IOT_CREDENTIALS_USERNAME`, `IOT_CREDENTIALS_PASSWORD_FILE` and so on.

        The names are the keys of the table `[credentials]`. They are read anew before every attempt, files included.
        """
        from .credential_sources import environment

        return cls(environment(prefix), **limits)

    def renew(self) -> None:
        """Say that what was fetched is no longer good: the connections fetch anew and renew, without a loss."""
        with self._lock:
            self._lease = None
            self._fetch_again_at = 0.0
            if self._flight is not None:
                self._flight.outdated = True  # it may bring what was good when it began
            calls = [call for reference in self._renewals if (call := reference()) is not None]
        for call in calls:
            call()

    def __repr__(self) -> str:
        return f"SharedCredentials({getattr(self._fetch, '__name__', type(self._fetch).__name__)})"

    # -- for sessions: see Source -------------------------------------------------------------------------------------

    @property
    def renewable(self) -> bool:
        """Whether asking again can give other credentials."""
        return True

    def obtain(
        self,
        done: Obtained,
        *,
        clock: Clock,
        runtime: Runtime,
        run_async: RunAsync | None = None,
        instead_of: Credentials | None = None,
    ) -> None:
        """Give credentials, cached or fetched. See `Source.obtain`."""
        with self._lock:
            self._check_clock(clock)
            answer = self._at_hand(clock, instead_of)
            flight = self._flight
            if answer is None and flight is not None and flight.overdue:
                answer = flight.too_long()  # that call still goes on: a second one would hang as well
            start = answer is None and (flight is None or flight.process != os.getpid())
            if answer is None:
                self._waiting.append(done)
            if start:
                flight = self._flight = FetchCall(
                    self._fetch,
                    self._timeout_seconds,
                    clock,
                    runtime,
                    run_async,
                    landed=self._landed,
                    gave_up=self._gave_up,
                )
        if answer is not None:
            done(answer)
        elif start and flight is not None:
            flight.start()

    def refused(self, credentials: Credentials) -> None:
        """Forget these, if they are still what was fetched last."""
        with self._lock:
            lease = self._lease
            if lease is None or lease.credentials != credentials:
                return
            self._lease = None
            clock = None if self._clock is None else self._clock()
            now = clock.monotonic() if clock is not None else 0.0
            if self._refusal_at is None or now - self._refusal_at >= self._min_interval_seconds:
                self._refusal_at = now
                self._fetch_again_at = now

    def on_renew(self, call: Callable[[], None]) -> None:
        """Call when `renew()` was called."""
        reference: Callable[[], Callable[[], None] | None]
        reference = weakref.WeakMethod(call) if inspect.ismethod(call) else partial(_same, call)
        with self._lock:
            self._renewals = [each for each in self._renewals if each() is not None]
            self._renewals.append(reference)

    # -- inside (under the lock) --------------------------------------------------------------------------------------

    def _check_clock(self, clock: Clock) -> None:
        known = None if self._clock is None else self._clock()
        if known is None:
            self._clock = weakref.ref(clock)
        elif known is not clock:
            raise ConfigurationError("one SharedCredentials cannot serve connections with different clocks")

    def _at_hand(self, clock: Clock, instead_of: Credentials | None) -> Lease | Failure | None:
        """Return what can be answered without a fetch."""
        now = clock.monotonic()
        lease = self._lease
        if lease is not None and (lease.expires_at is None or now < lease.expires_at):
            if instead_of is not None:
                if lease.credentials != instead_of:
                    return lease
            elif lease.expires_at is not None or now < self._fetch_again_at:
                return lease
        if now >= self._fetch_again_at:
            return None
        if self._failure is not None:
            failure = self._failure.copy()
            if isinstance(failure, CredentialsUnavailable):
                failure.retry_after_seconds = self._fetch_again_at - now
            return failure
        if lease is not None and instead_of is not None:
            return lease  # asked a moment ago: nothing newer is there
        return CredentialsUnavailable(
            f"the source of the credentials was asked {self._min_interval_seconds:g} s ago or less",
            code="credentials_asked_recently",
            phase="credentials",
            retry_after_seconds=self._fetch_again_at - now,
            likely_causes=("the endpoint refused what it gave", "what it gave had expired at once"),
        )

    def _landed(self, flight: FetchCall, result: object, error: BaseException | None) -> None:
        """Take the end of a fetch, also one that came after its time."""
        with self._lock:
            if self._flight is flight:
                self._flight = None
            answer = self._judge(flight.clock, result, error)
            if flight.outdated and isinstance(answer, Lease):
                self._lease, self._fetch_again_at = None, flight.clock.monotonic()
            waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(answer)

    def _gave_up(self, failure: Failure) -> None:
        """The fetch goes on, but nobody waits for it any more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(failure.copy())

    def _judge(self, clock: Clock, result: object, error: BaseException | None) -> Lease | Failure:
        now = clock.monotonic()
        failure = failure_of(result, error)
        if failure is None and isinstance(result, Credentials):
            left = result.lifetime_seconds(clock.now())
            if left is None or left > 0:
                expires_at = None if left is None else now + left
                renew_at = None if left is None else now + max(left - self._leeway_seconds, left / 2)
                self._lease, self._failure, self._failures = Lease(result, expires_at, renew_at), None, 0
                self._fetch_again_at = now + self._min_interval_seconds
                return self._lease
            failure = CredentialsUnavailable(
                "the source of the credentials gave expired ones",
                code="credentials_expired_at_once",
                phase="credentials",
                likely_causes=("it gives what it kept from an earlier time", "this device's clock is ahead"),
            )
        assert failure is not None  # noqa: S101 - an answer is either
        self._failures += 1
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1), _LONGEST_PAUSE_SECONDS)
        asked_for = getattr(failure, "retry_after_seconds", None)
        self._failure = failure
        self._fetch_again_at = now + (pause if asked_for is None else max(0.0, asked_for))
        return failure


def _same(call: Callable[[], None]) -> Callable[[], None]:
    return call

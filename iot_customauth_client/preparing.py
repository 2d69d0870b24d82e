"""What an attempt needs beforehand: credentials from their source, and a builder that carries them.

The source is asked before every attempt, and before a renewal. Its answer comes on any thread, perhaps much later, and
is taken to the session's `Serial`; an answer to a question that has been given up is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from .builder import ConnectionBuilder
from .clock import Clock
from .errors import ConfigurationError, ConnectError, CredentialsUnavailable
from .fetch_call import RunAsync
from .runtime import Runtime
from .settings import ConnectionSettings
from .shared_credentials import Lease, Source
from .upgrade import upgrade_parts

Failure: TypeAlias = ConnectError | ConfigurationError


@dataclass(frozen=True, slots=True)
class Prepared:
    """Credentials that are ready to be sent. `carried` compares equal if the bytes on the wire would be. Secret."""

    lease: Lease
    builder: ConnectionBuilder
    carried: object = field(repr=False)


Done: TypeAlias = Callable[[Prepared | Failure], None]


class Preparing:
    """One session's questions to its source of credentials. `post` runs a call on the session's `Serial`."""

    def __init__(
        self,
        settings: ConnectionSettings,
        source: Source,
        *,
        clock: Clock,
        runtime: Runtime,
        run_async: RunAsync | None,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._runtime = runtime
        self._run_async = run_async
        self._post = post
        self._turn = 0

    def ask(self, done: Done, *, instead_of: Prepared | None = None) -> None:
        """Call `done` on the `Serial`, unless `forget` or another `ask` comes first.

        With `instead_of` the source is asked for others than those.
        """
        self._turn += 1
        obtained = partial(self._obtained, self._turn, done)
        old = None if instead_of is None else instead_of.lease.credentials
        try:
            self._source.obtain(
                obtained, clock=self._clock, runtime=self._runtime, run_async=self._run_async, instead_of=old
            )
        except ConfigurationError as error:
            obtained(error)
        except Exception as error:  # noqa: BLE001 - a source of the user's own; without an end the session would hang
            failure = CredentialsUnavailable(
                f"the source of the credentials failed: {type(error).__name__}", phase="credentials"
            )
            failure.__cause__ = error
            obtained(failure)

    def forget(self) -> None:
        """Take no answer any more."""
        self._turn += 1

    def _obtained(self, turn: int, done: Done, answer: Lease | Failure) -> None:
        self._post(partial(self._prepare, turn, done, answer))

    def _prepare(self, turn: int, done: Done, answer: Lease | Failure) -> None:
        if turn != self._turn:
            return
        if not isinstance(answer, Lease):
            failure = answer.copy()
            failure.client_id = self._settings.client_id
            failure.elapsed_seconds = failure.elapsed_seconds or 0.0
            done(failure)
            return
        try:
            prepared = prepare(self._settings, answer)
        except ConfigurationError as error:
            done(error)
            return
        done(prepared)


def prepare(settings: ConnectionSettings, lease: Lease) -> Prepared:
    """Return what carries these credentials. Raises `ConfigurationError` for what cannot be carried so."""
    builder = ConnectionBuilder(settings, lease.credentials)
    parts: Any = upgrade_parts(lease.credentials.reveal(), settings.credentials_in)
    return Prepared(lease, builder, (builder.carried, parts))

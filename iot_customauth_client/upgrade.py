"""The upgrade request of MQTT over WebSocket: what carries the credentials of one attempt, made anew for each.

awscrt asks for it by a callback, the *handshake transform*, before every attempt, also before those that its clients
make by themselves. Two rules of awscrt rule this file: an attempt hangs for ever, and cannot even be stopped, until the
transform is told done; and whatever exception is given with that is lost. So the credentials are fetched on a worker
thread under a time limit, done is told exactly once whatever happens, and the error is kept here, for the link to
report as the end of the attempt.

awscrt itself sets path `/mqtt`, the subprotocol `mqtt` and the headers of RFC 6455.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from .carriage import RawCredentials, write_headers, write_path
from .errors import ConfigurationError, CredentialsUnavailable, CustomAuthError
from .limits import WEBSOCKET_PATH
from .runtime import Runtime

Place: TypeAlias = Literal["connect", "headers", "query"]
Carried: TypeAlias = Callable[[], RawCredentials]
"""Gives the credentials of the next attempt. May block, may raise; called on a worker thread."""


@dataclass(frozen=True, slots=True, repr=False)
class UpgradeParts:
    """What the upgrade request has besides what WebSocket needs: the target, and further headers. Secret."""

    path: str
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"UpgradeParts({len(self.path)} characters, {len(self.headers)} headers)"


def upgrade_parts(raw: RawCredentials, place: Place) -> UpgradeParts:
    """Return the parts for credentials in that place. Raises `ConfigurationError` for what it cannot carry."""
    if place == "headers":
        return UpgradeParts(WEBSOCKET_PATH, write_headers(raw))
    if place == "query":
        return UpgradeParts(write_path(WEBSOCKET_PATH, raw))
    return UpgradeParts(WEBSOCKET_PATH)


class Upgrade:
    """Makes the upgrade requests of one native client; `transform` is what awscrt calls.

    awscrt holds it, so `carried` must not hold the client, nor who made it.
    """

    def __init__(self, carried: Carried, place: Place, runtime: Runtime, *, timeout_seconds: float) -> None:
        self._carried = carried
        self._place: Place = place
        self._runtime = runtime
        self._timeout_seconds = timeout_seconds
        self._error: CustomAuthError | None = None

    def renew(self, carried: Carried) -> None:
        """Ask this from the next attempt on."""
        self._carried = carried

    @property
    def error(self) -> CustomAuthError | None:
        """Why the latest attempt's request could not be made; `None` if it could."""
        return self._error

    def parts(self) -> UpgradeParts:
        """Ask for the credentials and return the parts. May block. Raises `CustomAuthError` whatever went wrong."""
        if self._place == "connect":
            return UpgradeParts(WEBSOCKET_PATH)
        try:
            return upgrade_parts(self._carried(), self._place)
        except CustomAuthError:
            raise
        except BaseException as error:
            raise CredentialsUnavailable(
                f"the source of the credentials failed: {type(error).__name__}",
                phase="credentials",
                likely_causes=("see the cause of this error: it comes from the function that was asked",),
            ) from error

    def transform(self, transform_args: Any, **_: object) -> None:
        """See `awscrt.mqtt5.WebsocketHandshakeTransformArgs`. Returns at once."""
        self._error = None
        if self._place == "connect":
            transform_args.set_done()
            return
        filling = _Filling(transform_args)
        clock = self._runtime.clock
        timer = clock.call_at(clock.monotonic() + self._timeout_seconds, partial(self._too_long, filling))
        try:
            self._runtime.workers.submit(partial(self._fill, filling, timer.cancel))
        except RuntimeError as refusal:  # the system gives no more threads
            timer.cancel()
            error = CredentialsUnavailable("there is no thread to ask for the credentials on", phase="credentials")
            error.__cause__ = refusal
            self._end(filling.take(), error)

    def _fill(self, filling: _Filling, cancel_timer: Callable[[], None]) -> None:
        try:
            parts = self.parts()
        except CustomAuthError as error:
            self._end(filling.take(), error)
        else:
            self._write(filling.take(), parts)
        cancel_timer()

    def _write(self, arguments: Any, parts: UpgradeParts) -> None:
        error: CustomAuthError | None = None
        if arguments is not None:
            request = arguments.http_request
            try:
                request.path = parts.path
                for name, value in parts.headers:
                    request.headers.add(name, value)
            except Exception as refusal:  # noqa: BLE001 - awscrt waits for an end, whatever it is
                error = ConfigurationError(
                    "awscrt refuses the credentials in the upgrade request", code="options_refused_by_awscrt"
                )
                error.__cause__ = refusal
        self._end(arguments, error)

    def _too_long(self, filling: _Filling) -> None:
        error = CredentialsUnavailable(
            f"the source of the credentials gave none within {self._timeout_seconds:g} s",
            code="credentials_timeout",
            phase="credentials",
            likely_causes=("what it asks is slow or unreachable", "it waits for something that waits for it"),
        )
        self._end(filling.take(), error)

    def _end(self, arguments: Any, error: CustomAuthError | None) -> None:
        if arguments is not None:
            self._error = error  # before awscrt is told: its report of the end follows from that
            arguments.set_done(error)


class _Filling:
    """One request that is being made. Who takes it first ends it; nobody touches it after that."""

    def __init__(self, arguments: Any) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()

    def take(self) -> Any:
        """Return awscrt's arguments the first time, `None` after that."""
        with self._lock:
            arguments, self._arguments = self._arguments, None
            return arguments

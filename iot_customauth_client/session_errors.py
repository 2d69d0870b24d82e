"""The errors that a session makes: of messages that did not arrive, and of ends that it decided itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .errors import (
    ClientIdTakenOver,
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    CustomAuthError,
    NotConnected,
    OperationError,
)
from .operation_failures import explain_publish

if TYPE_CHECKING:
    from .back_off import Recalled
    from .links.base import PublishOutcome
    from .outgoing import Outgoing
    from .settings import ConnectionSettings

_FAILED: Final = 0x80


def publish_failure(settings: ConnectionSettings, entry: Outgoing, outcome: PublishOutcome) -> CustomAuthError | None:
    """Return the error of a publish, or `None` if it arrived."""
    if outcome.gone:
        return NotConnected(f"the connection went away before the QoS 0 message to {entry.topic!r} was written")
    if outcome.error is not None:
        failure = OperationError(
            f"awscrt could not send the message to {entry.topic!r}: {outcome.error}",
            code="native_failure",
            phase="connected",
        )
        failure.__cause__ = outcome.error
        return failure
    code = outcome.reason_code
    if code is None or code < _FAILED:
        return None
    return explain_publish(code, entry.topic, retain=entry.retain, client_id=settings.client_id)


def publish_over(closed: Callable[[str], ConnectionClosed], entry: Outgoing) -> CustomAuthError:
    """Return the error of a message that the end of the connection left behind."""
    if entry.sent_at is None:
        return closed(f"the message to {entry.topic!r} was not sent, the connection is closed")
    return closed(
        f"the message to {entry.topic!r} was sent and not acknowledged (it may have arrived); the connection ended"
    )


def closed_error(message: str, cause: CustomAuthError | None, client_id: str | None) -> ConnectionClosed:
    """Return a `ConnectionClosed` with what ended the connection as its cause."""
    if cause is None:
        return ConnectionClosed(message, client_id=client_id, phase="closing")
    error = ConnectionClosed(
        f"{message}: {cause.message}",
        client_id=client_id,
        phase=cause.phase,
        likely_causes=cause.likely_causes,
        what_to_do=cause.what_to_do,
    )
    error.__cause__ = cause
    return error


def gave_up(
    timeout: float,
    last: CustomAuthError | None,
    client_id: str | None,
    *,
    fetching: bool,
    settings: ConnectionSettings,
) -> ConnectTimeout:
    """Return the error of a `connect()` whose time is over; `fetching`: credentials were waited for just then."""
    if last is None:
        return _first_attempt_unfinished(timeout, client_id, fetching=fetching, settings=settings)
    error = ConnectTimeout(
        f"no connection in {timeout:g} s; the last attempt: {last.message}",
        phase=last.phase,
        client_id=client_id,
        elapsed_seconds=timeout,
        likely_causes=last.likely_causes,
        what_to_do=last.what_to_do,
    )
    error.__cause__ = last
    return error


def _first_attempt_unfinished(
    timeout: float, client_id: str | None, *, fetching: bool, settings: ConnectionSettings
) -> ConnectTimeout:
    common: dict[str, Any] = {"client_id": client_id, "elapsed_seconds": timeout}
    if fetching:
        return ConnectTimeout(
            f"no connection in {timeout:g} s: the source of the credentials has not answered yet",
            phase="credentials",
            likely_causes=("the function, command or service that gives the credentials hangs, or is slow",),
            what_to_do="give connect() a longer timeout, or the source a shorter one (timeout_seconds)",
            **common,
        )
    where = f"{settings.endpoint}:{settings.port}"
    return ConnectTimeout(
        f"no connection in {timeout:g} s: the first attempt at {where} has had no answer yet",
        phase="connect",
        likely_causes=("what listens there, or a firewall on the way, is silent", "the link is slow"),
        what_to_do=f"give connect() a longer timeout: one attempt may take {settings.connect_timeout_seconds:g} s "
        "(connect_timeout_seconds), and says what it met when it fails",
        **common,
    )


def pause_of_earlier_process(recalled: Recalled, client_id: str | None) -> ConnectError:
    """Return the error that stands for what an earlier process remembered in the outbox file."""
    return ConnectError(
        f"an earlier process could not connect, and its pause is not over: {recalled.message}",
        code=recalled.code,
        client_id=client_id,
        phase="connect",
        what_to_do="wait, or call retry_now() (connect with timeout=0 to get at it) once the cause is gone",
    )


def taken_over(error: ClientIdTakenOver, client_id: str | None) -> ClientIdTakenOver:
    """Return the error for a takeover that was not the first: two fight over one client id."""
    named = error.copy()
    named.message = (
        f"another process uses client id {client_id!r}: it and this one evict each other, whenever one of them connects"
    )
    named.args = (named.message,)
    named.code = "client_id_contested"
    return named

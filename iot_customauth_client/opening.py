"""What both faces do before they open a connection or subscribe: check the arguments, fill in what was left out.

Nothing here waits, connects or reads a file. What users pass is either turned into the value that the session wants, or
refused with words that say what to pass instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from .credentials import Credentials
from .errors import ConfigurationError
from .outbox_memory import MemoryOutbox
from .publishing import check_qos
from .settings import ConnectionSettings
from .shared_credentials import Fetch, SharedCredentials
from .topics import check_topic_filter

if TYPE_CHECKING:
    from .outbox_sqlite import SqliteOutbox

GivenCredentials: TypeAlias = Credentials | SharedCredentials | Fetch
GivenOutbox: TypeAlias = "MemoryOutbox | SqliteOutbox"
Ack: TypeAlias = Literal["auto", "manual"]
OnHandlerError: TypeAlias = Literal["acknowledge", "redeliver"]


def settings_of(
    endpoint: str | ConnectionSettings, client_id: str | None, overrides: dict[str, Any]
) -> ConnectionSettings:
    """Return the settings to connect with: what is given beside finished ones overrides those."""
    given = dict(overrides)
    if client_id is not None:
        given["client_id"] = client_id
    if isinstance(endpoint, ConnectionSettings):
        return endpoint.replace(**given) if given else endpoint
    return ConnectionSettings(endpoint=endpoint, **given)


def outbox_of(outbox: GivenOutbox | None) -> GivenOutbox:
    """Return the outbox that was passed, or the default one. Raises `ConfigurationError` for what is none."""
    if outbox is None:
        return MemoryOutbox()
    if isinstance(outbox, type) or not callable(getattr(outbox, "open", None)):
        kind = outbox.__name__ if isinstance(outbox, type) else type(outbox).__name__
        raise ConfigurationError(f"outbox must be a MemoryOutbox(...) or SqliteOutbox(path, ...), not {kind}")
    return outbox


def check_timeout(timeout: float | None) -> None:
    """Raise `ConfigurationError` for a time-out that is no number of seconds, or less than 0."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ConfigurationError(f"timeout must be seconds, 0 or more, or None for no limit: not {timeout!r}")


def check_subscription(
    topic_filter: str,
    handler: Callable[..., object] | None,
    *,
    qos: int,
    ack: str,
    max_queued: int,
    on_handler_error: str,
) -> None:
    """Raise what `subscribe()` raises at once for arguments that cannot be meant."""
    check_topic_filter(topic_filter)
    check_qos(qos)
    if handler is not None and not callable(handler):
        raise TypeError(f"the handler must be callable, not {type(handler).__name__}")
    if isinstance(max_queued, bool) or not isinstance(max_queued, int) or max_queued < 1:
        raise ConfigurationError(f"max_queued must be a whole number, 1 or more, not {max_queued!r}")
    if ack not in get_args(Ack):
        raise ConfigurationError(f'ack must be "auto" or "manual", not {ack!r}')
    if on_handler_error not in get_args(OnHandlerError):
        raise ConfigurationError(f'on_handler_error must be "acknowledge" or "redeliver", not {on_handler_error!r}')


def refuse_coroutine_function(handler: object) -> None:
    """Raise TypeError for a handler that would have to be awaited: nothing would, in the sync face."""
    # An object with `async def __call__` is one as well.
    call = type(handler).__call__ if callable(handler) else None
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        raise TypeError(
            "a coroutine function cannot be a handler here: nothing would await it. Pass a plain function, or use "
            "iot_customauth_client.aio"
        )

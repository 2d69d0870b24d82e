"""What both faces do before they open a connection or subscribe: check the arguments, fill in what was left out.

Nothing here waits, connects or reads a file. What users pass is either turned into the value that the session wants, or
refused with words that say what to pass instead.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .credentials import Credentials
from .errors import ConfigurationError, NotSupported
from .outbox_memory import MemoryOutbox
from .settings import ConnectionSettings
from .shared_credentials import Fetch, SharedCredentials
from .timeouts import check_timeout as check_timeout

if TYPE_CHECKING:
    from .outbox_sqlite import SqliteOutbox

GivenCredentials: TypeAlias = Credentials | SharedCredentials | Fetch
GivenOutbox: TypeAlias = "MemoryOutbox | SqliteOutbox"
Ack = Literal["auto", "manual"]
OnHandlerError = Literal["acknowledge", "redeliver"]


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


def check_handler(handler: object, *, needed: bool = False) -> None:
    """Raise TypeError for what cannot be a handler of the sync face, a coroutine function above all."""
    if handler is None and not needed:
        return
    if not callable(handler):
        raise TypeError(f"the handler must be callable, not {type(handler).__name__}")
    # An object with `async def __call__` is one as well.
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
        raise TypeError(
            "a coroutine function cannot be a handler here: nothing would await it. Pass a plain function, or use "
            "iot_customauth_client.aio"
        )


def check_subscription(
    handler: object, *, qos: int, ack: str, on_handler_error: str, max_queued: int, mqtt5: bool
) -> None:
    """Raise for what a subscription cannot be: `ConfigurationError`, or `NotSupported` if the protocol has no way."""
    if isinstance(max_queued, bool) or not isinstance(max_queued, int) or max_queued < 1:
        raise ConfigurationError(f"max_queued must be a number of messages, 1 or more, not {max_queued!r}")
    if ack not in ("auto", "manual"):
        raise ConfigurationError(f'ack must be "auto" or "manual", not {ack!r}')
    if on_handler_error not in ("acknowledge", "redeliver"):
        raise ConfigurationError(f'on_handler_error must be "acknowledge" or "redeliver", not {on_handler_error!r}')
    if on_handler_error == "acknowledge":
        return
    if handler is None or ack == "manual":
        raise ConfigurationError(
            'on_handler_error="redeliver" is for a handler with ack="auto": with an iterator or ack="manual" your own '
            "code decides what is acknowledged"
        )
    if not mqtt5:
        raise NotSupported(
            'on_handler_error="redeliver" needs protocol="mqtt5": with MQTT 3.1.1 awscrt acknowledges on arrival'
        )
    if qos == 0:
        raise NotSupported('on_handler_error="redeliver" needs qos=1: the service never sends QoS 0 again')

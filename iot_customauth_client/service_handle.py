"""Service clients (shadow, jobs, identity) that follow the native object of a connection.

Such a client of `awsiot` binds to one awscrt object for life, while a connection may replace its object when the
credentials are renewed (MQTT 5 with credentials in CONNECT). So it is the connection that keeps the recipe, and makes
the client anew for every object. This file must not know any service client, nor hold on to a native object by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .errors import NotConnected, OperationError

T = TypeVar("T")

_log = logging.getLogger("iot_customauth_client.service")


class ServiceHandle(Generic[T]):
    """What `factory(native)` made of the connection's native object of now: ask `current` whenever you need it.

    ::

        shadow = connection.service(lambda native: IotShadowClientV2(native, options))
        shadow.current.get_shadow(GetShadowRequest(thing_name="thing")).result(10)

    Keep the handle, not what `current` gave: after a renewal that one belongs to an object that is gone, and its
    requests end with a time-out. A request that was under way at a renewal has to be made again. What is set up once
    for a client, like the streams of `IotShadowClientV2`, belongs into the factory, so that every new client has it.

    The factory gets an `awscrt.mqtt5.Client` or an `awscrt.mqtt.Connection`. It runs on the thread that asks for the
    service the first time, and on a worker thread of the connection after that; it must not wait for the service, since
    the connection goes on when it has returned. An exception of the first call goes to the caller; a later one is
    logged, and raised by `current` until a factory call succeeds again. All methods may be called from any thread.
    """

    def __init__(self, factory: Callable[[Any], T], native: Any = None) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._calls = 0
        self._made: tuple[T] | None = None
        self._error: BaseException | None = None
        if native is not None:
            self._made = (factory(native),)

    @property
    def current(self) -> T:
        """The client for the native object of now.

        Raises `NotConnected` before the first attempt to connect has made one, and `OperationError` (code
        `service_factory_failed`, with the cause) while the factory fails.
        """
        with self._lock:
            made, error = self._made, self._error
        if error is not None:
            raise OperationError(
                f"the service client could not be made anew for the renewed connection: {type(error).__name__}",
                code="service_factory_failed",
                phase="connected",
                likely_causes=("see the cause of this error: it comes from the function given to service()",),
                what_to_do="correct the function; it is called again at the next renewal",
            ) from error
        if made is None:
            raise NotConnected(
                "there is no native object to make a service client of yet",
                what_to_do="wait until the connection is up: wait_connected()",
            )
        return made[0]

    def rebuild(self, native: Any) -> None:
        """Make the client anew for this native object; the connection calls this. Never raises."""
        with self._lock:
            self._calls += 1
            call = self._calls
        made: tuple[T] | None = None
        failure: BaseException | None = None
        try:
            made = (self._factory(native),)
        except BaseException as error:  # noqa: BLE001 - the caller's function: not even sys.exit() may stop an attempt
            failure = error
            _log.exception("the function given to service() failed for a new native object")
        with self._lock:
            if call == self._calls:  # else a later call was faster, and has the newer object
                self._made, self._error = made, failure

    def __repr__(self) -> str:
        with self._lock:
            state = "failed" if self._error else "ready" if self._made else "waiting for a native object"
        return f"ServiceHandle({getattr(self._factory, '__qualname__', type(self._factory).__name__)}, {state})"

"""The asyncio face: `from iot_customauth_client import aio`.

`aio.connect(...)` is there at once; what it needs is loaded when a connection is opened, off the event loop. The other
names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from .aio_connect import Connecting as Connecting
from .aio_connect import connect as connect

if TYPE_CHECKING:
    from .aio_connection import Connection as Connection
    from .aio_futures import PublishFuture as PublishFuture
    from .aio_https import HttpsPublisher as HttpsPublisher
    from .aio_subscription import Subscription as Subscription
    from .https import HttpsResult as HttpsResult

_HOME_OF: Final = {
    "Connection": "aio_connection",
    "HttpsPublisher": "aio_https",
    "HttpsResult": "https",
    "PublishFuture": "aio_futures",
    "Subscription": "aio_subscription",
}

__all__ = ["Connecting", "Connection", "HttpsPublisher", "HttpsResult", "PublishFuture", "Subscription", "connect"]


def __getattr__(name: str) -> object:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __package__), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    return __all__

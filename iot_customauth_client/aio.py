"""The asyncio face. Its names are loaded when they are first used.

`from iot_customauth_client import aio`, then `aio.HttpsPublisher`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .aio_https import HttpsPublisher as HttpsPublisher
    from .https import HttpsResult as HttpsResult

_HOME_OF: Final = {"HttpsPublisher": "aio_https", "HttpsResult": "https"}

__all__ = ["HttpsPublisher", "HttpsResult"]


def __getattr__(name: str) -> object:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __package__), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    return __all__

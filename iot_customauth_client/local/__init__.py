"""The local endpoint: AWS IoT Core custom authentication on one machine, with your own authorizer function.

`LocalEndpoint` serves it, `LocalAuthorizer` describes an authorizer, `EventLog` holds what happened, `events` has the
kinds. Names are loaded when they are first used; it needs the extra `local`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import events
    from .authorizers import LocalAuthorizer
    from .certificates import CertificateError
    from .choices import Choices
    from .endpoint import LocalEndpoint
    from .event_log import EventLog
    from .events import Event

__all__ = ["CertificateError", "Choices", "Event", "EventLog", "LocalAuthorizer", "LocalEndpoint", "events"]

_WHERE = {
    "CertificateError": "certificates",
    "Choices": "choices",
    "Event": "events",
    "EventLog": "event_log",
    "LocalAuthorizer": "authorizers",
    "LocalEndpoint": "endpoint",
}


def __getattr__(name: str) -> object:
    if name == "events":
        return importlib.import_module(".events", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)

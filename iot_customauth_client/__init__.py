"""Connect Python devices to AWS IoT Core with custom authentication.

The names below are loaded when they are first used, so that `import iot_customauth_client.authorizer`, inside a
Lambda function, loads nothing of the client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .builder import ConnectionBuilder as ConnectionBuilder
    from .clock import Clock as Clock
    from .clock import ManualClock as ManualClock
    from .connection import Connection as Connection
    from .connection import connect as connect
    from .credentials import Credentials as Credentials
    from .errors import AuthenticationRefused as AuthenticationRefused
    from .errors import ClientIdTakenOver as ClientIdTakenOver
    from .errors import ClosedBeforeConnack as ClosedBeforeConnack
    from .errors import ConfigurationError as ConfigurationError
    from .errors import ConnectError as ConnectError
    from .errors import ConnectionClosed as ConnectionClosed
    from .errors import ConnectTimeout as ConnectTimeout
    from .errors import CredentialsExpired as CredentialsExpired
    from .errors import CredentialsRejected as CredentialsRejected
    from .errors import CredentialsUnavailable as CredentialsUnavailable
    from .errors import CustomAuthError as CustomAuthError
    from .errors import EndpointUnreachable as EndpointUnreachable
    from .errors import InvalidTopic as InvalidTopic
    from .errors import MessageExpired as MessageExpired
    from .errors import NotConnected as NotConnected
    from .errors import NotSupported as NotSupported
    from .errors import OperationError as OperationError
    from .errors import OperationTimeout as OperationTimeout
    from .errors import OutboxFull as OutboxFull
    from .errors import PayloadTooLarge as PayloadTooLarge
    from .errors import PolicyDenied as PolicyDenied
    from .errors import ProxyRefused as ProxyRefused
    from .errors import Throttled as Throttled
    from .errors import TlsFailed as TlsFailed
    from .futures import PublishFuture as PublishFuture
    from .https import HttpsPublisher as HttpsPublisher
    from .https import HttpsResult as HttpsResult
    from .messages import CloseReport as CloseReport
    from .messages import Message as Message
    from .messages import PublishResult as PublishResult
    from .outbox_memory import MemoryOutbox as MemoryOutbox
    from .outbox_sqlite import SqliteOutbox as SqliteOutbox
    from .outbox_values import OutboxStats as OutboxStats
    from .plan import ConnectPlan as ConnectPlan
    from .plan import PublishPlan as PublishPlan
    from .runtime import close_all as close_all
    from .service_handle import ServiceHandle as ServiceHandle
    from .settings import ConnectionSettings as ConnectionSettings
    from .shared_credentials import SharedCredentials as SharedCredentials
    from .signals import close_on_signal as close_on_signal
    from .signing import KeyPair as KeyPair
    from .signing import generate_key_pair as generate_key_pair
    from .signing import sign_token as sign_token
    from .signing import verify_token as verify_token
    from .state import State as State
    from .state import StateChange as StateChange
    from .stats import Stats as Stats
    from .subscription import Subscription as Subscription
    from .will import Will as Will

__version__: Final = "0.1.0"

_HOMES: Final = {
    "builder": ("ConnectionBuilder",),
    "clock": ("Clock", "ManualClock"),
    "connection": ("Connection", "connect"),
    "credentials": ("Credentials",),
    "errors": (
        "AuthenticationRefused",
        "ClientIdTakenOver",
        "ClosedBeforeConnack",
        "ConfigurationError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionClosed",
        "CredentialsExpired",
        "CredentialsRejected",
        "CredentialsUnavailable",
        "CustomAuthError",
        "EndpointUnreachable",
        "InvalidTopic",
        "MessageExpired",
        "NotConnected",
        "NotSupported",
        "OperationError",
        "OperationTimeout",
        "OutboxFull",
        "PayloadTooLarge",
        "PolicyDenied",
        "ProxyRefused",
        "Throttled",
        "TlsFailed",
    ),
    "futures": ("PublishFuture",),
    "https": ("HttpsPublisher", "HttpsResult"),
    "messages": ("CloseReport", "Message", "PublishResult"),
    "plan": ("ConnectPlan", "PublishPlan"),
    "runtime": ("close_all",),
    "settings": ("ConnectionSettings",),
    "signing": ("KeyPair", "generate_key_pair", "sign_token", "verify_token"),
    "state": ("State", "StateChange"),
    "subscription": ("Subscription",),
    "outbox_memory": ("MemoryOutbox",),
    "outbox_sqlite": ("SqliteOutbox",),
    "shared_credentials": ("SharedCredentials",),
    "stats": ("Stats",),
    "outbox_values": ("OutboxStats",),
    "service_handle": ("ServiceHandle",),
    "signals": ("close_on_signal",),
    "will": ("Will",),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AuthenticationRefused",
    "ClientIdTakenOver",
    "Clock",
    "CloseReport",
    "ClosedBeforeConnack",
    "ConfigurationError",
    "ConnectError",
    "ConnectPlan",
    "ConnectTimeout",
    "Connection",
    "ConnectionBuilder",
    "ConnectionClosed",
    "ConnectionSettings",
    "Credentials",
    "CredentialsExpired",
    "CredentialsRejected",
    "CredentialsUnavailable",
    "CustomAuthError",
    "EndpointUnreachable",
    "HttpsPublisher",
    "HttpsResult",
    "InvalidTopic",
    "KeyPair",
    "ManualClock",
    "MemoryOutbox",
    "Message",
    "MessageExpired",
    "NotConnected",
    "NotSupported",
    "OperationError",
    "OperationTimeout",
    "OutboxFull",
    "OutboxStats",
    "PayloadTooLarge",
    "PolicyDenied",
    "ProxyRefused",
    "PublishFuture",
    "PublishPlan",
    "PublishResult",
    "ServiceHandle",
    "SharedCredentials",
    "SqliteOutbox",
    "State",
    "StateChange",
    "Stats",
    "Subscription",
    "Throttled",
    "TlsFailed",
    "Will",
    "close_all",
    "close_on_signal",
    "connect",
    "generate_key_pair",
    "sign_token",
    "verify_token",
]


def __getattr__(name: str) -> object:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""A link on its own, and who listens to it: for tests of what is below the session."""

from __future__ import annotations

import queue
from collections.abc import Callable

from client_support import GOOD, WAIT

from iot_customauth_client import ConnectionBuilder, ConnectionSettings, Credentials, Message
from iot_customauth_client.links.base import Accepted, Link, LinkEnd
from iot_customauth_client.links.mqtt5 import Mqtt5Link
from iot_customauth_client.links.mqtt311 import Mqtt311Link
from iot_customauth_client.runtime import runtime


class Listener:
    """Collects what a link tells, and what it receives, in order."""

    def __init__(self) -> None:
        self.told: queue.Queue[Accepted | LinkEnd] = queue.Queue()
        self.received: queue.Queue[tuple[Message, Callable[[], bool] | None]] = queue.Queue()

    def link_connected(self, link: Link, accepted: Accepted) -> None:
        self.told.put(accepted)

    def link_ended(self, link: Link, end: LinkEnd) -> None:
        self.told.put(end)

    def receive(self, message: Message, acknowledge: Callable[[], bool] | None) -> None:
        self.received.put((message, acknowledge))

    def connected(self) -> Accepted:
        told = self.told.get(timeout=WAIT)
        assert isinstance(told, Accepted), told
        return told

    def ended(self) -> LinkEnd:
        told = self.told.get(timeout=WAIT)
        assert isinstance(told, LinkEnd), told
        return told


def make_link(
    settings: ConnectionSettings, listener: Listener, credentials: Credentials = GOOD
) -> Mqtt5Link | Mqtt311Link:
    kind = Mqtt5Link if settings.protocol == "mqtt5" else Mqtt311Link
    return kind(ConnectionBuilder(settings, credentials), listener, runtime(), listener)

"""A device that knows nothing of this package, as a test of sessions wants it: what it asks for, what it is told.

The tests say what they want of a device once, and run it with each kind: awscrt's and paho's clients, each in both
versions of MQTT. A kind adds no behaviour: who resumes a session, how a client is told of a takeover, and when PUBACK
goes out is its library's own.

A device that loses its connection stays away, unless it was asked to return: awscrt would come back at once, and a
takeover would become an endless struggle of two.
"""

from __future__ import annotations

import abc
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar

from client_support import WAIT

from iot_customauth_client import Will
from iot_customauth_client.local import LocalEndpoint, events

AUTHORIZER = "gate"
USER, PASSWORD = "user01", "pass01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a device asks for in CONNECT. Delay and maximum are of MQTT 5 only."""

    session_seconds: int = 0
    will: Will | None = None
    will_delay_seconds: int | None = None
    receive_maximum: int | None = None
    returns: bool = False
    """Connect again by itself after a loss, as its library does it."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What CONNACK told; of MQTT 3.1.1 only the first."""

    session_present: bool
    session_seconds: int | None = None
    receive_maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the device got it. `expiry_seconds`: what is left, in MQTT 5."""

    topic: str
    payload: bytes
    qos: int
    expiry_seconds: int | None = None


class Refused(ConnectionError):
    """There was no CONNACK, then `code` is None, or it has a reason code."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Device(abc.ABC):
    """A client whose callbacks fill queues."""

    is_5: ClassVar[bool]
    """Whether it speaks MQTT 5."""

    def __init__(self, endpoint: LocalEndpoint, client_id: str, wish: Wish) -> None:
        self.endpoint = endpoint
        self.client_id = client_id
        self.wish = wish
        self.welcomes: queue.Queue[Welcome | Exception] = queue.Queue()
        self.received: queue.Queue[Message] = queue.Queue()
        self.lost: queue.Queue[int | None] = queue.Queue()
        """Reason codes of DISCONNECT, or None where there was none."""
        self.greeting = Welcome(False)
        """What the first CONNACK told; whoever connects the device keeps it here."""
        self._may_acknowledge = threading.Event()
        self._may_acknowledge.set()

    def welcome(self) -> Welcome:
        """What the next CONNACK tells."""
        told = self.welcomes.get(timeout=WAIT)
        if isinstance(told, Exception):
            raise told
        return told

    def payload(self) -> bytes:
        """The payload of the next message."""
        return self.received.get(timeout=WAIT).payload

    def hold(self) -> None:
        """Stay in the callback of the next message, before its PUBACK: nothing is acknowledged until `let_go`."""
        self._may_acknowledge.clear()

    def let_go(self) -> None:
        """Leave the callback."""
        self._may_acknowledge.set()

    def _take(self, message: Message) -> None:
        self.received.put(message)
        self._may_acknowledge.wait(WAIT)

    @abc.abstractmethod
    def connect(self) -> None:
        """Begin to connect; `welcome` tells how it ended."""

    @abc.abstractmethod
    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribe, and return what SUBACK says."""

    @abc.abstractmethod
    def publish(self, topic: str, payload: bytes, *, expiry_seconds: int | None = None) -> Future[int]:
        """Publish with QoS 1; the future is done with PUBACK, and has its reason code (0 in MQTT 3.1.1)."""

    @abc.abstractmethod
    def leave(self, *, with_will: bool = False) -> None:
        """Send DISCONNECT, if there is a connection, and end; `with_will` is of MQTT 5 only."""


def leaves(device: Device, **how: Any) -> None:
    """The device says goodbye, and the endpoint has heard it."""
    before = device.endpoint.events.last_sequence
    device.leave(**how)
    device.endpoint.wait_for(events.Disconnected, client_id=device.client_id, after=before, timeout=WAIT)


def is_lost(device: Device) -> None:
    """The device's TCP connection is reset, and it has noticed."""
    assert device.endpoint.faults.drop(device.client_id) == 1
    assert device.lost.get(timeout=WAIT) is None


def payloads(device: Device, count: int) -> list[bytes]:
    """The payloads of the next messages."""
    return [device.received.get(timeout=WAIT).payload for _ in range(count)]


def has_acknowledged(device: Device, count: int) -> None:
    """So many PUBACKs of the device have arrived."""
    last: events.Event | None = None
    for _ in range(count):
        last = device.endpoint.wait_for(events.Acknowledged, client_id=device.client_id, after=last, timeout=WAIT)


def most_unacknowledged(device: Device) -> int:
    """The most messages that were sent to the device and not acknowledged at the same time."""
    now = most = 0
    for event in device.endpoint.events:
        if isinstance(event, events.Delivered | events.Acknowledged) and event.client_id == device.client_id:
            now += 1 if isinstance(event, events.Delivered) else -1
            most = max(most, now)
    return most

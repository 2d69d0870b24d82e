"""Which subscriptions a received message goes to, and what is wanted of the service for them.

Two things are kept for each topic filter: who asked for it (`Registration`s, each with a sink of its own), and where
the service stands with it (`wanted`, `asked`, `granted`). Equal filters share one SUBSCRIBE with the highest QoS.
Matching results are cached by topic, since a device hears from few topics over and over.

Overlapping *different* filters may hand a message over twice: the service has no subscription identifiers, so it
cannot be told which of its two deliveries was for which filter. The inbox hands each delivery to every registration
that matches only once per packet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from .errors import CustomAuthError
from .messages import Message, Receipt
from .topics import matches, split_shared

_MAX_ROUTES: Final = 1_024


class Sink(Protocol):
    """Where a registration's messages and fate go. Called on the native thread or a worker: must return at once."""

    def deliver(self, message: Message) -> None:
        """Take a message over; settle it with `message.ack()` when it is done with."""
        ...

    def granted(self, qos: int) -> None:
        """The service granted the subscription, with this QoS."""
        ...

    def refused(self, error: CustomAuthError) -> None:
        """The service refused the subscription; there will be no messages."""
        ...

    def ended(self, error: CustomAuthError | None) -> None:
        """The connection is over: on purpose (`None`), or by this error."""
        ...


class Registration:
    """One subscriber to one topic filter."""

    __slots__ = ("qos", "sink", "topic_filter")

    def __init__(self, topic_filter: str, qos: int, sink: Sink) -> None:
        self.topic_filter = topic_filter
        self.qos = qos
        self.sink = sink


class Interest:
    """One topic filter that somebody wants. `asked_qos` and `granted_qos` are `None` until there is one."""

    __slots__ = ("asked_qos", "granted_qos", "registrations", "topic_filter")

    def __init__(self, topic_filter: str) -> None:
        self.topic_filter = topic_filter
        self.registrations: list[Registration] = []
        self.asked_qos: int | None = None
        self.granted_qos: int | None = None

    @property
    def wanted_qos(self) -> int:
        """The highest QoS among the registrations."""
        return max(each.qos for each in self.registrations)


class Inbox:
    """All registrations of one connection. Thread-safe; never calls a sink while it holds its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interests: dict[str, Interest] = {}
        self._routes: dict[str, tuple[Registration, ...]] = {}

    @property
    def unacknowledged(self) -> int:
        """Messages received and not acknowledged yet."""
        return 0

    received = handler_errors = dropped = 0

    def session_resumed(self) -> None:
        """The first CONNACK of this process had a session."""

    def add(self, registration: Registration) -> Interest:
        """Add a subscriber; return what is wanted of the service for its filter."""
        with self._lock:
            interest = self._interests.setdefault(registration.topic_filter, Interest(registration.topic_filter))
            interest.registrations.append(registration)
            self._routes.clear()
            return interest

    def remove(self, registration: Registration) -> bool:
        """Take a subscriber away; return whether it was the last one of its filter."""
        with self._lock:
            interest = self._interests.get(registration.topic_filter)
            if interest is None or registration not in interest.registrations:
                return False
            interest.registrations.remove(registration)
            self._routes.clear()
            if interest.registrations:
                return False
            del self._interests[registration.topic_filter]
            return True

    def drop(self, topic_filter: str) -> list[Registration]:
        """Take a filter away with all its subscribers, and return them."""
        with self._lock:
            interest = self._interests.pop(topic_filter, None)
            self._routes.clear()
            return [] if interest is None else list(interest.registrations)

    def interests(self) -> list[Interest]:
        """Return all that is wanted, in the order in which it was asked for."""
        with self._lock:
            return list(self._interests.values())

    def interest(self, topic_filter: str) -> Interest | None:
        """Return what is wanted for one filter."""
        with self._lock:
            return self._interests.get(topic_filter)

    def receive(self, message: Message, acknowledge: Callable[[], bool] | None) -> None:
        """Hand a received message to all who want it; nobody at all: acknowledge it and forget it."""
        routes = self._routes.get(message.topic)
        if routes is None:
            routes = self._route(message.topic)
        if not routes:
            if acknowledge is not None:
                acknowledge()
            return
        receipt = None if acknowledge is None else Receipt(acknowledge, len(routes))
        if len(routes) == 1:
            if receipt is not None:
                message.owe(receipt)
            routes[0].sink.deliver(message)
            return
        for registration in routes:
            registration.sink.deliver(message.shared(receipt))

    def _route(self, topic: str) -> tuple[Registration, ...]:
        with self._lock:
            found = tuple(
                registration
                for interest in self._interests.values()
                if matches(split_shared(interest.topic_filter)[1], topic)
                for registration in interest.registrations
            )
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            self._routes[topic] = found
            return found

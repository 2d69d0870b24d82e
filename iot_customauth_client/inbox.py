"""Where received messages go: from a link to all subscriptions that match, without a thread in between.

`receive` is called by a link on the native thread, for every message. It finds the `Registration`s of the topic (cached
by topic: a device hears from few topics over and over), notes the acknowledgement that is owed, and hands the message
to their `Sink`s, which must not wait. It also keeps, for each topic filter, what `subscribing.py` needs to know.

Overlapping *different* filters may hand a message over twice: the service has no subscription identifiers, so it
cannot be told which of its two deliveries was for which filter. The inbox hands each delivery to every registration
that matches only once per packet.

What nobody wants is acknowledged, counted and warned of once per topic; but a session that was resumed may send
messages before the script has subscribed again, and those wait for it (`resumed_session.py`).
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

from .clock import Clock
from .errors import CustomAuthError, OperationTimeout
from .messages import Message
from .receipts import Acknowledge, Receipt, Receipts, Share
from .resumed_session import HOLD_SECONDS, ResumedSession
from .runtime import runtime
from .topics import matches

_MAX_ROUTES: Final = 1_024
_MAX_WARNED_TOPICS: Final = 100
_NAMED_TOPICS: Final = 10

_log = logging.getLogger("iot_customauth_client.inbox")


class Sink(Protocol):
    """Where a registration's messages and fate go. Called on the native thread or a worker: must return at once."""

    def deliver(self, message: Message) -> None:
        """Take a message over; settle it with `message.ack()` when it is done with.

        Must not register or unregister: a lock of the inbox may be held.
        """
        ...

    def granted(self, qos: int) -> None:
        """The service granted the subscription, with this QoS; again after a reconnect that had to ask again."""
        ...

    def unanswered(self, error: OperationTimeout) -> None:
        """The service has said nothing; it is asked again after the next connect."""
        ...

    def refused(self, error: CustomAuthError) -> None:
        """The service refused the subscription, now or after a reconnect; there will be no messages."""
        ...

    def ended(self, error: CustomAuthError | None) -> None:
        """The connection is over: on purpose (`None`), or by this error."""
        ...


class Counts:
    """What happened to received messages. `received` is counted by the native thread, the others rarely."""

    __slots__ = ("_lock", "dropped", "handler_errors", "received")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = 0
        self.handler_errors = 0
        self.dropped = 0

    def add_dropped(self, messages: int = 1) -> None:
        """Count messages that nobody will see."""
        with self._lock:
            self.dropped += messages

    def add_handler_error(self) -> None:
        """Count a handler that raised."""
        with self._lock:
            self.handler_errors += 1


class Registration:
    """One subscriber to one topic filter. `counts` are those of its inbox, once it has been added to one."""

    __slots__ = ("counts", "qos", "sink", "topic_filter")

    def __init__(self, topic_filter: str, qos: int, sink: Sink) -> None:
        self.topic_filter = topic_filter
        self.qos = qos
        self.sink = sink
        self.counts = Counts()


class Interest:
    """One topic filter that somebody wants, and where the service stands with it.

    `asked_qos` is what this connection or the session it resumed was asked for, `answered_qos` the last of these that
    was granted, `granted_qos` what came of it; each `None` until there is one.
    """

    __slots__ = ("answered_qos", "asked_qos", "granted_qos", "registrations", "topic_filter")

    def __init__(self, topic_filter: str) -> None:
        self.topic_filter = topic_filter
        self.registrations: list[Registration] = []
        self.asked_qos: int | None = None
        self.answered_qos: int | None = None
        self.granted_qos: int | None = None

    @property
    def wanted_qos(self) -> int:
        """The highest QoS among the registrations."""
        return max((each.qos for each in tuple(self.registrations)), default=0)


class Inbox:
    """All registrations of one connection. Thread-safe.

    No sink is called while a lock is held, but for what a resumed session brought: newer messages must not overtake it.
    `clock` is the connection's; stalls are a matter of real time.
    """

    def __init__(self, clock: Clock | None = None, *, client_id: str | None = None) -> None:
        real = runtime().clock
        self._clock = clock or real
        self._client_id = client_id
        self._lock = threading.Lock()
        self._interests: dict[str, Interest] = {}
        self._leaving: dict[str, None] = {}
        self._routes: dict[str, tuple[Registration, ...]] = {}
        self._receipts = Receipts(real, client_id=client_id)
        self._resumed = ResumedSession()
        self._warned: dict[str, None] = {}
        self.counts = Counts()

    # -- counts -------------------------------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        """Messages that arrived, each counted once however many subscriptions it went to."""
        return self.counts.received

    @property
    def handler_errors(self) -> int:
        """Messages at which a handler raised."""
        return self.counts.handler_errors

    @property
    def dropped(self) -> int:
        """Messages that nobody saw: QoS 0 over `max_queued`, and those that matched no subscription."""
        return self.counts.dropped

    @property
    def unacknowledged(self) -> int:
        """Messages received over this connection and not acknowledged yet (MQTT 5, QoS 1)."""
        return len(self._receipts)

    # -- who wants what -----------------------------------------------------------------------------------------------

    def add(self, registration: Registration) -> Interest:
        """Add a subscriber, who gets first what a resumed session brought for it; return what its filter wants."""
        registration.counts = self.counts
        with self._lock:
            interest = self._interests.setdefault(registration.topic_filter, Interest(registration.topic_filter))
            interest.registrations.append(registration)
            self._leaving.pop(registration.topic_filter, None)
            self._routes.clear()
            for message, receipt in self._resumed.take(partial(matches, registration.topic_filter)):
                if receipt is not None:
                    receipt.holder = registration
                    message.owe(receipt)
                registration.sink.deliver(message)
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
            self._leaving[registration.topic_filter] = None
            return True

    def left(self, topic_filter: str) -> None:
        """The service sends nothing more for a filter that was given up."""
        with self._lock:
            self._leaving.pop(topic_filter, None)

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

    # -- what arrives (native thread) ---------------------------------------------------------------------------------

    def receive(self, message: Message, acknowledge: Acknowledge | None) -> None:
        """Hand a received message to all who want it. `acknowledge` is `None` where nothing is owed."""
        self.counts.received += 1
        routes = self._routes.get(message.topic)
        if routes is None:
            routes = self._route(message, acknowledge)
            if routes is None:
                return
        if len(routes) == 1:
            (registration,) = routes
            if acknowledge is not None:
                message.owe(self._receipts.owe(acknowledge, registration))
            registration.sink.deliver(message)
            return
        joint = None if acknowledge is None else self._receipts.owe_jointly(acknowledge, routes)
        for registration in routes:
            registration.sink.deliver(message.shared(None if joint is None else Share(joint, registration)))

    def _route(self, message: Message, acknowledge: Acknowledge | None) -> tuple[Registration, ...] | None:
        """Find who wants a message; `None` if nobody does, and then it has been seen to."""
        topic = message.topic
        with self._lock:
            found = tuple(
                registration
                for interest in self._interests.values()
                if matches(interest.topic_filter, topic)
                for registration in interest.registrations
            )
            if found:
                if len(self._routes) >= _MAX_ROUTES:
                    self._routes.clear()
                self._routes[topic] = found
                return found
            given_up = any(matches(each, topic) for each in self._leaving)
            if not given_up and self._resumed.has_room(message):
                receipt = None if acknowledge is None else self._receipts.owe(acknowledge, None)
                self._resumed.hold(message, receipt)
                return None
            warn = not given_up and topic not in self._warned and len(self._warned) < _MAX_WARNED_TOPICS
            if warn:
                self._warned[topic] = None
        if acknowledge is not None:
            acknowledge()
        if not given_up:
            self.counts.add_dropped()
        if warn:
            self._warn_of([topic])
        return None

    # -- connections --------------------------------------------------------------------------------------------------

    def connected(self, *, session_present: bool) -> None:
        """CONNACK came. Without a session nothing is held any more; see `session_resumed` for the other case."""
        if session_present:
            with self._lock:
                self._resumed.sent_again()
            self.session_resumed()
            return
        with self._lock:
            self._leaving.clear()
        self._end_hold()

    def session_resumed(self) -> None:
        """The first CONNACK of this process had a session: hold what nobody wants yet, for 10 s of the clock.

        Each QoS 1 message goes to the first subscription that fits, in order and before newer ones. With MQTT 5 they
        stay unacknowledged, so a crash loses none, and the service sends no more than 100 before some are taken; with
        MQTT 3.1.1 at most 1,000 wait in memory. What is left in the end is acknowledged with a warning. Without effect
        after the first CONNACK.
        """
        with self._lock:
            if not self._resumed.resumed():
                return
        me = weakref.ref(self)

        def end() -> None:
            inbox = me()
            if inbox is not None:
                inbox._end_hold()

        self._clock.call_at(self._clock.monotonic() + HOLD_SECONDS, end)

    def disconnected(self) -> None:
        """The connection is gone, and with it the way to acknowledge what came by it."""
        self._receipts.make_void()

    def _end_hold(self) -> None:
        with self._lock:
            left = self._resumed.end()
        for message, receipt in left:
            _settle(message, receipt)
        if left:
            self.counts.add_dropped(len(left))
            self._warn_of(message.topic for message, _ in left)

    def _warn_of(self, topics: Iterable[str]) -> None:
        distinct = dict.fromkeys(topics)
        named = ", ".join(repr(topic) for topic in list(distinct)[:_NAMED_TOPICS])
        _log.warning(
            "dropped what came on %s%s: this process has no subscription for it client_id=%s. The session was "
            "subscribed by an earlier process: subscribe within %g s of connecting, or connect once with "
            "session_expiry_seconds=0 to forget its filters.",
            named,
            " and other topics" if len(distinct) > _NAMED_TOPICS else "",
            self._client_id,
            HOLD_SECONDS,
        )


def _settle(message: Message, receipt: Receipt | None) -> None:
    if receipt is not None:
        message.owe(receipt)
    message.ack()

"""Request and response over MQTT: a request names the topic of its reply, and replies find their request.

MQTT 5: the request carries `response_topic` and random `correlation_data`; the responder publishes to that topic with
the same data. MQTT 3.1.1 has neither, so a convention stands in: the reply to a request on `T` comes on `T/response`,
and one request at a time is under way for each such topic. There a reply that comes after its request has timed out
is taken for the reply of the next one, and so is one that comes twice: nothing on the wire could tell. An MQTT 5
requester takes no reply without its correlation data, so both ends should speak MQTT 5, or both 3.1.1, or the
responder MQTT 5.

The default reply topic is `T/response` for both, so that one statement of a policy can allow it: `iot:Subscribe` on
`topicfilter/T/response` and `iot:Receive` on `topic/T/response` for the requester, `iot:Publish` on it for the
responder. A request is published once the subscription to its reply topic is granted. That subscription stays for the
next request; of those that no request needs, the 8 used last are kept (a connection may have 50).

This knows neither futures nor loops: an `Answer` is told how its request ended, by whichever thread knows first.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from .clock import Timer
from .errors import ConfigurationError, ConnectionClosed, CustomAuthError, OperationTimeout
from .inbox import Registration
from .messages import Message, PublishResult
from .outgoing import QUEUED, Outgoing
from .publishing import UNSET, Payload, make_outgoing
from .request import Answer as Answer
from .request import Request as Request
from .topics import check_topic_name

RESPONSE_LEVEL: Final = "/response"
MAX_IDLE_REPLY_TOPICS: Final = 8
_CORRELATION_BYTES: Final = 16


class Accepting(Protocol):
    """What is asked of the outbox."""

    def accept(self, entry: Outgoing) -> None:
        """Take a message to be sent."""
        ...

    def withdraw(self, entry: Outgoing) -> bool:
        """Take a message back if it was not sent yet, and say whether that was so."""
        ...


class Host(Protocol):
    """What is asked of the session."""

    @property
    def outbox(self) -> Accepting:
        """Where messages go out."""
        ...

    def register(self, registration: Registration) -> None:
        """Add a subscriber."""
        ...

    def unregister(self, registration: Registration) -> None:
        """Take a subscriber away."""
        ...

    def monotonic(self) -> float:
        """The connection's clock, in seconds."""
        ...

    def call_in(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call on a worker thread after some seconds of the connection's clock."""
        ...


class Requests:
    """The requests of one connection, both faces. Thread-safe."""

    def __init__(self, host: Host, *, mqtt5: bool) -> None:
        self._host = host
        self._mqtt5 = mqtt5
        self.lock = threading.Lock()
        self._topics: OrderedDict[str, ReplyTopic] = OrderedDict()
        self.ignored = 0
        """Replies that no request waited for: late, doubled, or somebody else's."""

    def ask(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        answer: Answer,
        timeout: float | None,
        json: Any = UNSET,
        response_topic: str | None = None,
    ) -> Request:
        """Send a request (QoS 1) and have `answer` told of its reply; returns at once.

        `response_topic` is where the reply is to come (default: `<topic>/response`; MQTT 3.1.1 allows no other, since
        the responder would not know). `timeout`, in seconds of the connection's clock, spans everything from now on,
        also the time without a connection; `None` waits for ever.

        Raises what publishing raises for what cannot be sent, and `ConnectionClosed`. `answer` hears of `PolicyDenied`
        (the request, or the subscription to its reply), `OperationTimeout` (`stage` "queued": it was never sent),
        `OutboxFull` and `ConnectionClosed`.
        """
        reply_topic = topic + RESPONSE_LEVEL if response_topic is None else response_topic
        check_topic_name(reply_topic, what="response topic")
        if not self._mqtt5 and reply_topic != topic + RESPONSE_LEVEL:
            raise ConfigurationError(
                f"with MQTT 3.1.1 the reply to a request on {topic!r} comes on {topic + RESPONSE_LEVEL!r}: the request "
                "cannot name another topic",
                what_to_do='use protocol="mqtt5", or leave response_topic out',
            )
        request = Request(self, answer, timeout)
        request.entry = make_outgoing(
            topic,
            payload,
            promise=request,
            accepted_at=self._host.monotonic(),
            mqtt5=self._mqtt5,
            json=json,
            response_topic=reply_topic if self._mqtt5 else None,
            correlation_data=os.urandom(_CORRELATION_BYTES) if self._mqtt5 else None,
        )
        self._reply_topic(reply_topic).add(request)
        if timeout is not None:
            request.timer = self._host.call_in(timeout, request.expire)
            if request.settled:
                request.timer.cancel()
        return request

    def respond(self, message: Message, result: object) -> None:
        """Publish what a handler returned as the reply to `message` (QoS 1); returns once it is accepted.

        `result`: bytes or text, `None` for an empty reply, a dict or a list as JSON. It goes to the request's response
        topic with its correlation data; without one (MQTT 3.1.1) to `<topic>/response`. Where the requester may name
        any topic, the policy of this connection is what bounds it. Raises what publishing raises.
        """
        json = result if isinstance(result, dict | list) else UNSET
        payload: Any = b"" if result is None or json is not UNSET else result
        self._host.outbox.accept(
            make_outgoing(
                message.response_topic or message.topic + RESPONSE_LEVEL,
                payload,
                promise=_Forgotten(),
                accepted_at=self._host.monotonic(),
                mqtt5=self._mqtt5,
                json=json,
                correlation_data=message.correlation_data if self._mqtt5 else None,
            )
        )

    def responder(self, handler: Callable[[Message], object]) -> Callable[[Message], None]:
        """Return a subscription's handler that replies with what `handler(message)` returns.

        The request is acknowledged after its reply was accepted. A handler that raises gives no reply: it is logged
        and counted like any other, and the requester's time runs out.
        """

        def respond(message: Message) -> None:
            if not is_reply(message):
                self.respond(message, handler(message))

        return respond

    # -- reply topics -------------------------------------------------------------------------------------------------

    def forget(self, request: Request) -> bool:
        """Let go of a request that has ended without its reply; return whether it was never sent."""
        replies = request.replies
        if replies is not None:
            replies.remove(request)
        entry = request.entry
        if entry is None or not request.published:
            return True
        return entry.state == QUEUED and self._host.outbox.withdraw(entry)

    def publish(self, request: Request) -> None:
        """Hand a request to the outbox."""
        assert request.entry is not None  # noqa: S101 - set before it is added anywhere
        try:
            self._host.outbox.accept(request.entry)
        except CustomAuthError as error:  # OutboxFull, or the connection is over: whoever asked has long returned
            request.reject(error)

    def lost(self, name: str) -> None:
        """A reply topic was refused, or the connection is over: the next request asks again."""
        with self.lock:
            self._topics.pop(name, None)

    def settle_idle(self) -> None:
        """Unsubscribe from the reply topics that were not used for longest, if there are more than are kept."""
        with self.lock:
            idle = [(name, each) for name, each in self._topics.items() if each.idle]
            surplus = idle[: max(0, len(idle) - MAX_IDLE_REPLY_TOPICS)]
            for name, _ in surplus:
                del self._topics[name]
        for _, each in surplus:
            self._host.unregister(each.registration)

    def _reply_topic(self, name: str) -> ReplyTopic:
        with self.lock:
            found = self._topics.get(name)
            if found is not None:
                found.claims += 1
                self._topics.move_to_end(name)
                return found
            made = self._topics[name] = ReplyTopic(self, name, one_at_a_time=not self._mqtt5)
            made.claims += 1
        try:
            self._host.register(made.registration)
        except BaseException:
            self.lost(name)
            raise
        return made


class ReplyTopic:
    """The subscription to one reply topic, and the requests whose reply it brings. See `inbox.Sink`.

    `_queued` wait to be published (for the grant; with MQTT 3.1.1 for their turn), `_open` are published.
    """

    def __init__(self, requests: Requests, name: str, *, one_at_a_time: bool) -> None:
        self._requests = requests
        self._name = name
        self._one_at_a_time = one_at_a_time
        self._granted = False
        self._ended_by: Callable[[], CustomAuthError] | None = None
        self._queued: deque[Request] = deque()
        self._open: OrderedDict[bytes | None, Request] = OrderedDict()
        self.claims = 0
        self.registration = Registration(name, 1, self)

    @property
    def idle(self) -> bool:
        """Whether no request needs it (`claims` are about to be added)."""
        return not (self._queued or self._open or self.claims)

    def add(self, request: Request) -> None:
        """Publish a request when it may be."""
        with self._requests.lock:
            request.replies = self
            self.claims -= 1
            ended_by = self._ended_by
            if ended_by is None:
                self._queued.append(request)
        if ended_by is not None:  # between the finding of this topic and now
            request.reject(ended_by())
            return
        self._publish_next()

    def remove(self, request: Request) -> None:
        """Wait for its reply no longer."""
        with self._requests.lock:
            if request in self._queued:
                self._queued.remove(request)
            key = _key(request)
            if self._open.get(key) is request:
                del self._open[key]
        self._publish_next()
        self._requests.settle_idle()

    def _publish_next(self) -> None:
        while True:
            with self._requests.lock:
                if not self._granted or not self._queued or (self._one_at_a_time and self._open):
                    return
                request = self._queued.popleft()
                self._open[_key(request)] = request
                request.published = True
            self._requests.publish(request)

    # -- inbox.Sink ---------------------------------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """A reply came, or something else (native thread)."""
        with self._requests.lock:
            request = self._open.pop(None if self._one_at_a_time else message.correlation_data, None)
            if request is None:
                self._requests.ignored += 1
        if request is not None:
            request.reply(message)
        message.ack()
        if request is not None:
            self._publish_next()
            self._requests.settle_idle()

    def granted(self, qos: int) -> None:  # noqa: ARG002 - a reply is as good with QoS 0
        """The replies will come: publish what has waited for that."""
        with self._requests.lock:
            self._granted = True
        self._publish_next()

    def unanswered(self, error: OperationTimeout) -> None:
        """The service said nothing yet; the requests' own time-outs go on."""

    def refused(self, error: CustomAuthError) -> None:
        """The service will not deliver replies."""
        self._fail(error.copy)

    def ended(self, error: CustomAuthError | None) -> None:
        """The connection is over."""
        self._fail(partial(_closed, self._name, error))

    def _fail(self, error_of: Callable[[], CustomAuthError]) -> None:
        self._requests.lost(self._name)
        with self._requests.lock:
            self._granted, self._ended_by = False, error_of
            requests = [*self._open.values(), *self._queued]
        for request in requests:
            request.reject(error_of())


class _Forgotten:
    """The promise of a reply: nobody waits for it, the requester will notice."""

    def resolve(self, result: PublishResult) -> None:
        """It arrived."""

    def reject(self, error: CustomAuthError) -> None:
        """It did not."""


def is_reply(message: Message) -> bool:
    """Tell whether a message is itself a reply, which a responder with a wide filter also gets: never answer those."""
    if message.response_topic is not None:
        return False
    return message.correlation_data is not None or message.topic.endswith(RESPONSE_LEVEL)


def _key(request: Request) -> bytes | None:
    return None if request.entry is None else request.entry.correlation_data


def _closed(name: str, error: CustomAuthError | None) -> CustomAuthError:
    if error is not None:
        return error.copy()
    return ConnectionClosed(f"the connection was closed before the reply on {name!r} came", phase="closing")

"""What the session asks of a link, and what a link tells the session.

A link wraps one native awscrt client. It makes one attempt when told, reports one end for each attempt, and never
decides: no retry, no back-off, no queue of its own. What the two native clients do by themselves (MQTT 5: retry for
ever; 3.1.1: reconnect in silence) is switched off or undone in the link.

::

    idle --attempt()--> attempting --connected()--> up --+
     ^                      |                            |  end(), abandon(), or the network
     +------- ended() ------+----------------------------+

A listener is called on the native event-loop thread: it must return at once, and never wait for anything native. All
callbacks given to awscrt hold weak references, or the objects would never be collected: a link holds its listener and
the inbox weakly, keeps what the answers of the service go to in `Answers` of its own, and is itself held by the runtime
only while it dials or ends.

Received messages go straight to the inbox; the listener hears of the connection alone.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ..builder import ConnectionBuilder
    from ..errors import CustomAuthError
    from ..messages import Message
    from ..outgoing import Outgoing
    from ..upgrade import Upgrade


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of link can do.

    - `manual_ack`: a received message can be acknowledged later than on arrival;
    - `reason_codes`: refusals come with a code instead of a hang-up;
    - `filters_per_subscribe`: topic filters in one SUBSCRIBE;
    - `renews_in_place`: new credentials can be used by the same native object, see `Link.renew`;
    - `keeps_in_flight`: after a lost connection, the native object sends again by itself what was not acknowledged, in
      order and before anything new, on the next connection of the same link. Nobody else must send it again.
    """

    manual_ack: bool
    reason_codes: bool
    filters_per_subscribe: int
    renews_in_place: bool
    keeps_in_flight: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """CONNACK said yes. `receive_maximum`: unacknowledged QoS 1 messages the peer takes, `None` if it did not say."""

    session_present: bool
    receive_maximum: int | None = None


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How an attempt, or the connection it made, ended.

    `error` is awscrt's own, or ours where the upgrade to WebSocket could not be asked for (then there is no
    `error_name`); `error_name` is awscrt's (`AWS_IO_SOCKET_CLOSED`), `reason_code` and `reason_string` come from
    CONNACK or DISCONNECT, `by_us` tells that `end()` or `abandon()` asked for it, `was_connected` that CONNACK came.
    """

    was_connected: bool
    by_us: bool = False
    error: BaseException | None = None
    error_name: str | None = None
    reason_code: int | None = None
    reason_string: str | None = None


@dataclass(frozen=True, slots=True)
class FilterRequest:
    """One topic filter to subscribe to."""

    topic_filter: str
    qos: int


class LinkListener(Protocol):
    """Who is told what happens on a link. Called on the native thread."""

    def link_connected(self, link: Link, accepted: Accepted) -> None:
        """CONNACK came and was good."""
        ...

    def link_ended(self, link: Link, end: LinkEnd) -> None:
        """The attempt, or the connection, is over; the link is idle again."""
        ...


class Receiver(Protocol):
    """Who takes what arrives: the inbox. Called on the native thread."""

    def receive(self, message: Message, acknowledge: Callable[[], bool] | None) -> None:
        """Take a message; `acknowledge`, if any, is to be called once, later, from any thread.

        It says `False` once its connection is gone: the service sends the message again.
        """
        ...


PublishDone = Callable[["Outgoing", "PublishOutcome"], None]


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """The end of one publish on a link: a reason code (`None` where there is none), or an error.

    `gone` marks errors that mean "the connection went away": they say nothing about the message.
    """

    reason_code: int | None = None
    error: BaseException | None = None
    gone: bool = False


class Link(Protocol):
    """One native client. All methods return at once and may be called from any thread."""

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of link can do."""
        ...

    @property
    def native(self) -> Any:
        """The awscrt object: `mqtt5.Client` or `mqtt.Connection`."""
        ...

    def renew(self, builder: ConnectionBuilder) -> bool:
        """Use this builder's credentials from the next `attempt()` on.

        `False`, and no effect, if this native object cannot carry them: then a new link is needed.
        """
        ...

    def attempt(self) -> None:
        """Make one attempt to connect. Only when idle; again after every end."""
        ...

    def end(self) -> None:
        """Say DISCONNECT and close; `link_ended` follows."""
        ...

    def abandon(self) -> None:
        """Report nothing from now on; end the native object whenever it lets itself be ended."""
        ...

    def publish(self, entry: Outgoing, done: PublishDone) -> PublishOutcome | None:
        """Send one message; `done` follows, unless an outcome is returned: then nothing was sent.

        Calls must not overlap. Where `keeps_in_flight`, `done` may follow on a later connection of this link.
        """
        ...

    def subscribe(
        self, requests: Sequence[FilterRequest], done: Callable[[Sequence[int] | None, BaseException | None], None]
    ) -> None:
        """Send one SUBSCRIBE; `done` gets one reason code per request (0, 1, or 128 and above), or an error."""
        ...

    def unsubscribe(self, topic_filter: str, done: Callable[[], None]) -> None:
        """Send one UNSUBSCRIBE; `done` follows however it ended."""
        ...


# -- what both links need ---------------------------------------------------------------------------------------------

_LEADING_CODE = re.compile(r"^\s*\d+ \((AWS_\w+)\)")

GONE = frozenset(
    {
        "AWS_ERROR_MQTT5_USER_REQUESTED_STOP",
        "AWS_ERROR_MQTT5_CLIENT_TERMINATED",
        "AWS_ERROR_MQTT5_OPERATION_FAILED_DUE_TO_OFFLINE_QUEUE_POLICY",
        "AWS_ERROR_MQTT_CONNECTION_SHUTDOWN",
        "AWS_ERROR_MQTT_CONNECTION_DESTROYED",
        "AWS_ERROR_MQTT_CONNECTION_DISCONNECTING",
        "AWS_ERROR_MQTT_CANCELLED_FOR_CLEAN_SESSION",
        "AWS_ERROR_MQTT_NOT_CONNECTED",
        "AWS_ERROR_MQTT_UNEXPECTED_HANGUP",
        "AWS_IO_SOCKET_CLOSED",
    }
)
"""awscrt's errors of an operation that only say that the connection is gone."""


def native_name(error: BaseException | None) -> str | None:
    """Return awscrt's name for an error; its validation errors carry it in the text of a RuntimeError only."""
    if error is None:
        return None
    name = getattr(error, "name", None)
    if isinstance(name, str):
        return name
    found = _LEADING_CODE.match(str(error))
    return found.group(1) if found else None


def is_gone(error: BaseException | None) -> bool:
    """Tell whether an error of an operation only says that the connection is gone."""
    return native_name(error) in GONE


def publish_failure(error: BaseException) -> PublishOutcome:
    """Return the outcome for an error that awscrt raised for one publish."""
    return PublishOutcome(error=error, gone=is_gone(error))


def upgrade_error(upgrade: Upgrade | None, was_connected: bool) -> CustomAuthError | None:
    """Return why an attempt had no upgrade request, if that is what ended it: awscrt loses this error."""
    return None if upgrade is None or was_connected else upgrade.error


def nobody() -> None:
    """Stand in for a listener that is no longer told anything."""


OwnerT = TypeVar("OwnerT")


class _Weakly:
    """Calls a method of an object while that lives."""

    __slots__ = ("_method", "_owner")

    def __init__(self, owner: weakref.ref[Any], method: Callable[[Any, Any], None]) -> None:
        self._owner = owner
        self._method = method

    def __call__(self, data: Any) -> None:
        alive = self._owner()
        if alive is not None:
            self._method(alive, data)


def weakly(owner: weakref.ref[OwnerT], method: Callable[[OwnerT, Any], None]) -> Callable[[Any], None]:
    """Return a callback with one argument that calls a method of `owner` while it lives.

    Small, since a thousand connections have six each: a `WeakMethod` in a closure takes 750 bytes, this takes 50.
    """
    return _Weakly(owner, method)


class Answers:
    """What the answers of the service go to: held here, for awscrt holds whatever it is given until the answer comes.

    With a message under way, awscrt would otherwise hold its future, and by that a whole connection that everybody
    else has let go of.
    """

    __slots__ = ("__weakref__", "_calls", "_me", "_numbers", "publishes")

    def __init__(self) -> None:
        self._calls: dict[int, Callable[[Any], None]] = {}
        self.publishes: dict[int, tuple[Outgoing, PublishDone]] = {}
        self._numbers = count()
        self._me: weakref.ref[Answers] = weakref.ref(self)

    def of_publish(
        self,
        call: Callable[[weakref.ref[Answers], int, Any], None],
        entry: Outgoing,
        done: PublishDone,
    ) -> Callable[[Any], None]:
        """Return a callback for the future of a publish: `call(reference to this, number, future)`.

        `call` takes what is given here out of `publishes`, if this object lives. That is one object and one call less
        for each message than `to` would need.
        """
        number = next(self._numbers)
        self.publishes[number] = entry, done
        return partial(call, self._me, number)

    def to(self, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a callback for one future of awscrt, which leads to `call` while this object lives."""
        number = next(self._numbers)
        self._calls[number] = call
        return partial(_answer, self._me, number)


def _answer(reference: weakref.ref[Answers], number: int, future: Any) -> None:
    answers = reference()
    if answers is not None:
        answers._calls.pop(number)(future)

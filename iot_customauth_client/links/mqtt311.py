"""The MQTT 3.1.1 link, over `awscrt.mqtt.Connection`.

awscrt's 3.1.1 client makes one first attempt, cannot cancel it, throws the CONNACK code away, and after a lost
connection reconnects by itself without a word. Here a lost connection is ended with `disconnect()` inside the very
callback that tells of the loss: there awscrt has not begun to wait for its next attempt, and is through at once (a
moment later it would take a second). The next attempt is ours.

One native object serves the link for life: awscrt reads user name and password anew at every `connect()`. With a kept
session it keeps what was not acknowledged, and sends it again, first and in order, once it is connected again, whether
the service still has the session or not. With a clean session it fails it. Messages are acknowledged on arrival: this
client has no other way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from awscrt import mqtt

from ..messages import Message
from .base import (
    Accepted,
    Answers,
    Capabilities,
    FilterRequest,
    LinkEnd,
    LinkListener,
    PublishDone,
    PublishOutcome,
    Receiver,
    native_name,
    nobody,
    publish_failure,
    upgrade_error,
)
from .native_thread import keep_thread_state

if TYPE_CHECKING:
    from ..builder import ConnectionBuilder
    from ..outgoing import Outgoing
    from ..runtime import Runtime
    from .nodelay import Watch

_KEPT_SESSION = Capabilities(
    manual_ack=False,
    reason_codes=False,
    filters_per_subscribe=1,
    renews_in_place=True,
    keeps_in_flight=True,
)
_CLEAN_SESSION = replace(_KEPT_SESSION, keeps_in_flight=False)
_TAKEN = PublishOutcome()
_REFUSED = 0x80
_QOS = (mqtt.QoS.AT_MOST_ONCE, mqtt.QoS.AT_LEAST_ONCE)


class Mqtt311Link:
    """See `base.Link`."""

    def __init__(self, builder: ConnectionBuilder, listener: LinkListener, runtime: Runtime, inbox: Receiver) -> None:
        self._runtime = runtime
        self._listener: Callable[[], LinkListener | None] = weakref.ref(listener)
        self._inbox: Callable[[], Receiver | None] = weakref.ref(inbox)
        self._answers = Answers()
        self._capabilities = _KEPT_SESSION if builder.settings.session_expiry_seconds else _CLEAN_SESSION
        proxy = builder.proxy()
        self._peer_port = builder.settings.port if proxy is None else proxy.port
        self._watch: Watch | None = None
        self._connected = False
        self._ending = False
        self._disconnecting: Any = None
        me = weakref.ref(self)

        def interrupted(error: BaseException, **_: object) -> None:
            link = me()
            if link is not None:
                link._on_interrupted(error)

        def resumed(**_: object) -> None:
            link = me()
            if link is not None:
                link._hang_up()

        def received(topic: str, payload: bytes, dup: bool, qos: int, retain: bool, **_: object) -> None:
            link = me()
            if link is not None:
                link._on_message(topic, payload, dup, int(qos), retain)

        self._upgrade = builder.upgrade()
        self._connection = builder.mqtt311(
            on_connection_interrupted=interrupted, on_connection_resumed=resumed, upgrade=self._upgrade
        )
        self._connection.on_message(received)

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of link can do."""
        return self._capabilities

    @property
    def native(self) -> mqtt.Connection:
        """The awscrt connection."""
        return self._connection

    def renew(self, builder: ConnectionBuilder) -> bool:
        """Use these credentials from the next attempt on."""
        self._connection.username = builder.carried.username
        self._connection.password = builder.carried.password
        if self._upgrade is not None:
            self._upgrade.renew(builder.carried_next)
        return True

    def attempt(self) -> None:
        """Make one attempt to connect, after a disconnect that is still going on."""
        self._connected, self._ending = False, False
        self._runtime.keep(self)
        if self._disconnecting is not None:
            self._disconnecting.add_done_callback(lambda _: self._dial())
        else:
            self._dial()

    def _dial(self) -> None:
        self._disconnecting = None
        self._watch = self._runtime.nodelay.watch(self._peer_port)
        self._connection.connect().add_done_callback(self._on_connect)

    def end(self) -> None:
        """Say DISCONNECT and close. An attempt that has not ended yet ends first: awscrt cannot cancel it."""
        self._ending = True
        if self._connected:
            self._hang_up()

    def abandon(self) -> None:
        """Report nothing from now on; a late success is closed unseen."""
        self._listener = self._inbox = nobody
        self.end()

    # -- operations ---------------------------------------------------------------------------------------------------

    def publish(self, entry: Outgoing, done: PublishDone) -> PublishOutcome | None:
        """Send one message."""
        try:
            future, _ = self._connection.publish(entry.topic, entry.payload, _QOS[entry.qos], entry.retain)
        except Exception as error:  # noqa: BLE001 - must not reach the pump: that would lose an acknowledgement
            return publish_failure(error)
        future.add_done_callback(self._answers.of_publish(_published, entry, done))
        return None

    def subscribe(
        self, requests: Sequence[FilterRequest], done: Callable[[Sequence[int] | None, BaseException | None], None]
    ) -> None:
        """Send one SUBSCRIBE with the one filter that awscrt takes."""
        (request,) = requests
        try:
            future, _ = self._connection.subscribe(request.topic_filter, _QOS[request.qos])
        except (RuntimeError, TypeError, ValueError) as error:
            done(None, error)
            return
        future.add_done_callback(self._answers.to(partial(_subscribed, done)))

    def unsubscribe(self, topic_filter: str, done: Callable[[], None]) -> None:
        """Send one UNSUBSCRIBE."""
        try:
            future, _ = self._connection.unsubscribe(topic_filter)
        except (RuntimeError, TypeError, ValueError):
            done()
            return
        future.add_done_callback(self._answers.to(lambda _: done()))

    # -- what awscrt tells (event-loop thread) ------------------------------------------------------------------------

    def _on_connect(self, future: Any) -> None:
        keep_thread_state()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.end()
        error = future.exception()
        listener = self._listener()
        if error is not None:
            self._runtime.release(self)
            error = upgrade_error(self._upgrade, was_connected=False) or error
            if listener is not None:
                listener.link_ended(self, _end_of(error, was_connected=False, by_us=self._ending))
            return
        self._connected = True
        if listener is None or self._ending:
            self._hang_up()
            return
        self._runtime.release(self)
        listener.link_connected(self, Accepted(session_present=bool(future.result()["session_present"])))

    def _on_interrupted(self, error: BaseException) -> None:
        was_connected, self._connected = self._connected, False
        if not was_connected:
            return
        # Before the report: whoever hears of the end may make the next attempt, which must come after this.
        self._runtime.keep(self)
        self._disconnecting = self._connection.disconnect()
        self._disconnecting.add_done_callback(lambda _: self._runtime.release(self))
        listener = self._listener()
        if listener is not None:
            listener.link_ended(self, _end_of(error, was_connected=True, by_us=self._ending))

    def _hang_up(self) -> None:
        self._runtime.keep(self)
        self._connection.disconnect().add_done_callback(self._on_disconnected)

    def _on_disconnected(self, future: Any) -> None:
        was_connected, self._connected = self._connected, False
        self._runtime.release(self)
        listener = self._listener()
        if listener is not None and was_connected:
            listener.link_ended(self, _end_of(future.exception(), was_connected=True, by_us=self._ending))

    def _on_message(self, topic: str, payload: bytes, duplicate: bool, qos: int, retain: bool) -> None:
        inbox = self._inbox()
        if inbox is not None:
            inbox.receive(Message(topic, bytes(payload), qos=qos, retain=retain, duplicate=duplicate), None)


def _end_of(error: BaseException | None, *, was_connected: bool, by_us: bool) -> LinkEnd:
    return LinkEnd(was_connected=was_connected, by_us=by_us, error=error, error_name=native_name(error))


def _published(reference: weakref.ref[Answers], number: int, future: Any) -> None:
    answers = reference()
    if answers is not None:
        entry, done = answers.publishes.pop(number)
        error = future.exception()
        done(entry, _TAKEN if error is None else publish_failure(error))


def _subscribed(done: Callable[[Sequence[int] | None, BaseException | None], None], future: Any) -> None:
    error = future.exception()
    if error is None:
        done([int(future.result()["qos"])], None)
    elif isinstance(error, mqtt.SubscribeError):
        done([_REFUSED], None)
    else:
        done(None, error)

"""The MQTT 5 link, over `awscrt.mqtt5.Client`.

awscrt would retry for ever, also after *not authorized*. Here it gets one attempt: after a failure or a disconnection
the client is stopped, and the end is reported once it has stopped; should a second attempt begin before that, it is
vetoed, by stopping the client inside the event that announces it. A client that has stopped can be started again, and
keeps what CONNECT carries; all that was under way is failed by the stop, so whoever sent it sends it again.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from awscrt import mqtt5

from ..limits import MAX_FILTERS_PER_SUBSCRIBE
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
    weakly,
)
from .native_thread import keep_thread_state

if TYPE_CHECKING:
    from ..builder import ConnectionBuilder
    from ..outgoing import Outgoing
    from ..runtime import Runtime
    from .nodelay import Watch

_IN_CONNECT = Capabilities(
    manual_ack=True,
    reason_codes=True,
    filters_per_subscribe=MAX_FILTERS_PER_SUBSCRIBE,
    renews_in_place=False,
    keeps_in_flight=False,
)
_IN_UPGRADE = replace(_IN_CONNECT, renews_in_place=True)
"""With credentials in headers or query, each attempt asks anew; only a change in CONNECT needs a new client."""
_TAKEN = PublishOutcome(reason_code=0)
_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)


class Mqtt5Link:
    """See `base.Link`."""

    def __init__(self, builder: ConnectionBuilder, listener: LinkListener, runtime: Runtime, inbox: Receiver) -> None:
        self._runtime = runtime
        self._listener: Callable[[], LinkListener | None] = weakref.ref(listener)
        self._inbox: Callable[[], Receiver | None] = weakref.ref(inbox)
        self._answers = Answers()
        self._connection_number = 0
        self._carried = builder.carried
        proxy = builder.proxy()
        self._peer_port = builder.settings.port if proxy is None else proxy.port
        self._watch: Watch | None = None
        self._lock = threading.Lock()
        self._idle = True
        self._attempting = False
        self._connected = False
        self._ending = False
        self._end: LinkEnd | None = None
        self._capabilities = _IN_CONNECT if builder.settings.credentials_in == "connect" else _IN_UPGRADE
        self._upgrade = builder.upgrade()
        me = weakref.ref(self)
        self._client = builder.mqtt5(
            upgrade=self._upgrade,
            on_lifecycle_event_attempting_connect_fn=weakly(me, Mqtt5Link._on_attempting),
            on_lifecycle_event_connection_success_fn=weakly(me, Mqtt5Link._on_success),
            on_lifecycle_event_connection_failure_fn=weakly(me, Mqtt5Link._on_failure),
            on_lifecycle_event_disconnection_fn=weakly(me, Mqtt5Link._on_disconnection),
            on_lifecycle_event_stopped_fn=weakly(me, Mqtt5Link._on_stopped),
            on_publish_callback_fn=weakly(me, Mqtt5Link._on_publish),
        )

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of link can do."""
        return self._capabilities

    @property
    def native(self) -> mqtt5.Client:
        """The awscrt client."""
        return self._client

    def renew(self, builder: ConnectionBuilder) -> bool:
        """Use these credentials in the upgrade requests to come; what CONNECT carries is fixed for a client's life."""
        if self._upgrade is None or builder.carried != self._carried:
            return builder.carried == self._carried
        self._upgrade.renew(builder.carried_next)
        return True

    def attempt(self) -> None:
        """Make one attempt to connect."""
        with self._lock:
            self._idle = False
            self._attempting, self._connected, self._ending, self._end = True, False, False, None
            # Held while it dials: whoever made it may be gone before awscrt can let go of it.
            self._runtime.keep(self)
        self._watch = self._runtime.nodelay.watch(self._peer_port)
        self._client.start()

    def end(self) -> None:
        """Say DISCONNECT and close."""
        with self._lock:
            self._ending = True
            if self._idle:
                return  # awscrt would tell no second end, and nothing would let go of this link
            self._runtime.keep(self)
        self._client.stop(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION))

    def abandon(self) -> None:
        """Report nothing from now on, and stop."""
        self._listener = self._inbox = nobody
        self.end()

    # -- operations ---------------------------------------------------------------------------------------------------

    def publish(self, entry: Outgoing, done: PublishDone) -> PublishOutcome | None:
        """Send one message."""
        # awscrt reads attributes, and does not look at the type: to make a packet costs 1 us of about 25 for a message.
        plain = entry.expiry_seconds is None and not entry.user_properties
        packet: Any = entry if plain else _packet_of(entry)
        try:
            future = self._client.publish(packet)
        except Exception as error:  # noqa: BLE001 - must not reach the pump: that would lose an acknowledgement
            return publish_failure(error)
        future.add_done_callback(self._answers.of_publish(_published, entry, done))
        return None

    def subscribe(
        self, requests: Sequence[FilterRequest], done: Callable[[Sequence[int] | None, BaseException | None], None]
    ) -> None:
        """Send one SUBSCRIBE."""
        packet = mqtt5.SubscribePacket(
            subscriptions=[mqtt5.Subscription(topic_filter=each.topic_filter, qos=_QOS[each.qos]) for each in requests]
        )
        try:
            future = self._client.subscribe(packet)
        except (RuntimeError, TypeError, ValueError) as error:
            done(None, error)
            return
        future.add_done_callback(self._answers.to(partial(_subscribed, done)))

    def unsubscribe(self, topic_filter: str, done: Callable[[], None]) -> None:
        """Send one UNSUBSCRIBE."""
        try:
            future = self._client.unsubscribe(mqtt5.UnsubscribePacket(topic_filters=[topic_filter]))
        except (RuntimeError, TypeError, ValueError):
            done()
            return
        future.add_done_callback(self._answers.to(lambda _: done()))

    # -- what awscrt tells (event-loop thread) ------------------------------------------------------------------------

    def _on_attempting(self, _: object) -> None:
        with self._lock:
            first, self._attempting = self._attempting, False
        if not first or self._ending:
            self._client.stop()

    def _on_success(self, data: Any) -> None:
        keep_thread_state()
        listener = self._listener()
        if listener is None or self._ending:
            self.end()
            return
        self._stop_watching()
        self._connection_number += 1
        self._connected = True
        self._runtime.release(self)
        settings = data.negotiated_settings
        listener.link_connected(
            self,
            Accepted(
                session_present=bool(data.connack_packet.session_present),
                receive_maximum=None if settings is None else settings.receive_maximum_from_server,
            ),
        )

    def _on_failure(self, data: Any) -> None:
        packet = data.connack_packet
        self._note_end(data.exception, packet, was_connected=False)

    def _on_disconnection(self, data: Any) -> None:
        self._note_end(data.exception, data.disconnect_packet, was_connected=self._connected)

    def _note_end(self, error: BaseException | None, packet: Any, *, was_connected: bool) -> None:
        if self._end is None:
            error = upgrade_error(self._upgrade, was_connected) or error
            self._end = LinkEnd(
                was_connected=was_connected,
                by_us=self._ending,
                error=error,
                error_name=native_name(error),
                reason_code=None if packet is None or packet.reason_code is None else int(packet.reason_code),
                reason_string=None if packet is None else packet.reason_string,
            )
        self._client.stop()

    def _on_stopped(self, _: object) -> None:
        self._stop_watching()
        with self._lock:
            self._idle = True
            self._runtime.release(self)
        end = self._end or LinkEnd(was_connected=self._connected, by_us=self._ending)
        listener = self._listener()
        if listener is not None:
            listener.link_ended(self, end)

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.end()

    def _on_publish(self, data: Any) -> None:
        acquire = data.acquire_publish_acknowledgement_control
        # Taken in any case: awscrt acknowledges by itself what nobody takes, and this may be for nobody any more.
        acknowledge = None if acquire is None else partial(self._acknowledge, self._connection_number, acquire())
        inbox = self._inbox()
        if inbox is None:
            return
        packet = data.publish_packet
        properties = packet.user_properties
        message = Message(
            packet.topic,
            packet.payload or b"",
            qos=int(packet.qos),
            retain=bool(packet.retain),
            content_type=packet.content_type,
            response_topic=packet.response_topic,
            correlation_data=packet.correlation_data_bytes,  # the other one is text, and None for what is not UTF-8
            user_properties=tuple((each.name, each.value) for each in properties) if properties else (),
            expiry_seconds=packet.message_expiry_interval_sec,
        )
        inbox.receive(message, acknowledge)

    def _acknowledge(self, connection_number: int, handle: Any) -> bool:
        if not self._connected or self._end is not None or connection_number != self._connection_number:
            return False  # awscrt would ignore it in silence
        self._client.invoke_publish_acknowledgement(handle)
        return True


def _packet_of(entry: Outgoing) -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket(
        topic=entry.topic,
        payload=entry.payload,
        qos=_QOS[entry.qos],
        retain=entry.retain,
        message_expiry_interval_sec=entry.expiry_seconds,
        content_type=entry.content_type,
        response_topic=entry.response_topic,
        correlation_data_bytes=entry.correlation_data,
        user_properties=[mqtt5.UserProperty(*pair) for pair in entry.user_properties] or None,
    )


def _published(reference: weakref.ref[Answers], number: int, future: Any) -> None:
    answers = reference()
    if answers is None:
        return
    entry, done = answers.publishes.pop(number)
    try:
        puback = future.result().puback  # for QoS 0 awscrt makes one up, with nothing in it
    except Exception as error:  # noqa: BLE001 - whatever awscrt says
        done(entry, publish_failure(error))
        return
    code = None if puback is None else puback.reason_code
    done(entry, _TAKEN if code == 0 else PublishOutcome(reason_code=None if code is None else int(code)))


def _subscribed(done: Callable[[Sequence[int] | None, BaseException | None], None], future: Any) -> None:
    error = future.exception()
    if error is not None:
        done(None, error)
        return
    done([int(code) for code in future.result().reason_codes], None)

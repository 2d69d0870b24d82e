"""awscrt's native clients as devices, from the public `ConnectionBuilder`: as somebody gets them who goes on with
awscrt's own API.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from awscrt import mqtt, mqtt5
from client_support import WAIT
from session_device import AUTHORIZER, PASSWORD, USER, Device, Message, Refused, Welcome, Wish

from iot_customauth_client import ConnectionBuilder, Credentials
from iot_customauth_client.local import LocalEndpoint


def _builder(device: Device) -> ConnectionBuilder:
    wish = device.wish
    settings = device.endpoint.settings(
        device.client_id,
        protocol="mqtt5" if device.is_5 else "mqtt311",
        session_expiry_seconds=wish.session_seconds,
        will=wish.will,
    )
    return ConnectionBuilder(settings, Credentials.from_password(USER, PASSWORD, authorizer=AUTHORIZER))


class Awscrt5(Device):
    is_5 = True

    def __init__(self, endpoint: LocalEndpoint, client_id: str, wish: Wish) -> None:
        super().__init__(endpoint, client_id, wish)
        self._stopped = threading.Event()
        options = _builder(self).mqtt5_options(
            on_publish_callback_fn=self._on_publish,
            on_lifecycle_event_connection_success_fn=self._on_success,
            on_lifecycle_event_connection_failure_fn=self._on_failure,
            on_lifecycle_event_disconnection_fn=self._on_disconnection,
            on_lifecycle_event_stopped_fn=lambda _: self._stopped.set(),
            min_reconnect_delay_ms=20,
            max_reconnect_delay_ms=100,
        )
        options.connect_options.receive_maximum = wish.receive_maximum
        options.connect_options.will_delay_interval_sec = wish.will_delay_seconds
        self._client = mqtt5.Client(options)

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        packet = data.publish_packet
        self._take(Message(packet.topic, packet.payload, packet.qos.value, packet.message_expiry_interval_sec))

    def _on_success(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        agreed = data.negotiated_settings
        expiry, maximum = agreed.session_expiry_interval_sec, agreed.receive_maximum_from_server
        self.welcomes.put(Welcome(agreed.rejoined_session, expiry, maximum))

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if self.wish.returns:
            return  # it will try again
        self._client.stop()
        packet = data.connack_packet
        self.welcomes.put(Refused(None if packet is None else packet.reason_code.value))

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        packet = data.disconnect_packet
        if not self.wish.returns:
            self._client.stop()
        self.lost.put(None if packet is None else packet.reason_code.value)

    def connect(self) -> None:
        self._client.start()

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        wanted = mqtt5.Subscription(topic_filter=topic_filter, qos=mqtt5.QoS(qos))
        answer = self._client.subscribe(mqtt5.SubscribePacket(subscriptions=[wanted])).result(WAIT)
        return int(answer.reason_codes[0])

    def publish(self, topic: str, payload: bytes, *, expiry_seconds: int | None = None) -> Future[int]:
        packet = mqtt5.PublishPacket(
            topic=topic,
            payload=payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            message_expiry_interval_sec=expiry_seconds,
        )
        return _then(self._client.publish(packet), lambda completion: int(completion.puback.reason_code))

    def leave(self, *, with_will: bool = False) -> None:
        self.let_go()
        reason = mqtt5.DisconnectReasonCode
        code = reason.DISCONNECT_WITH_WILL_MESSAGE if with_will else reason.NORMAL_DISCONNECTION
        self._client.stop(mqtt5.DisconnectPacket(reason_code=code))
        assert self._stopped.wait(WAIT)


class Awscrt311(Device):
    is_5 = False

    def __init__(self, endpoint: LocalEndpoint, client_id: str, wish: Wish) -> None:
        super().__init__(endpoint, client_id, wish)
        self._ended: Future[Any] | None = None
        self._connection = _builder(self).mqtt311(
            on_connection_interrupted=self._on_interrupted,
            on_connection_resumed=lambda connection, return_code, session_present, **_: self.welcomes.put(
                Welcome(session_present)
            ),
        )
        # Messages of a resumed session come without a SUBSCRIBE, so no callback of a subscription would take them.
        self._connection.on_message(lambda topic, payload, qos, **_: self._take(Message(topic, payload, qos.value)))

    def _on_interrupted(self, connection: mqtt.Connection, error: Exception, **_: Any) -> None:
        if not self.wish.returns:
            self._ended = self._connection.disconnect()
        self.lost.put(None)

    def connect(self) -> None:
        def done(future: Future[Any]) -> None:
            if future.exception() is None:
                self.welcomes.put(Welcome(future.result()["session_present"]))
                return
            self._ended = Future()  # there is nothing to disconnect, and awscrt refuses to
            self._ended.set_result(None)
            self.welcomes.put(Refused(None))  # awscrt does not tell more

        self._connection.connect().add_done_callback(done)

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        try:
            return int(self._connection.subscribe(topic_filter, mqtt.QoS(qos))[0].result(WAIT)["qos"])
        except mqtt.SubscribeError:
            return 128

    def publish(self, topic: str, payload: bytes, *, expiry_seconds: int | None = None) -> Future[int]:
        assert expiry_seconds is None
        return _then(self._connection.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE)[0], lambda _: 0)

    def leave(self, *, with_will: bool = False) -> None:
        assert not with_will
        self.let_go()
        self._ended = self._ended or self._connection.disconnect()
        self._ended.result(WAIT)


def _then(future: Future[Any], make: Callable[[Any], int]) -> Future[int]:
    """A future of what `make` makes of another one's result."""
    made: Future[int] = Future()

    def done(future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            made.set_result(make(future.result()))
        else:
            made.set_exception(error)

    future.add_done_callback(done)
    return made

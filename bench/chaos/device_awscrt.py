"""A device with awscrt's MQTT 5 client, as a sensible user writes it.

It rejoins its session; its callbacks only put messages into a queue, since a handler that takes its time would stall
the event loop; it fetches a fresh token when it is refused, which needs a new client, and publishes again what the old
one had not got rid of. What awscrt cannot do, it does not do either: messages live in memory, and are acknowledged when
they are in the queue.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import Any

from awscrt import io, mqtt5

from .device import CONNECT_SECONDS, SESSION_SECONDS, Device, Task, token
from .payloads import payload_of

_REFUSED = (mqtt5.ConnectReasonCode.NOT_AUTHORIZED, mqtt5.ConnectReasonCode.BAD_USERNAME_OR_PASSWORD)


class AwscrtDevice:
    """The device, over a new client for every token."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._open: dict[int, Future[Any]] = {}
        self._lock = threading.RLock()
        self._refused = threading.Event()
        options = io.TlsContextOptions()
        options.override_default_trust_store_from_path(None, device.task.ca_file)
        options.alpn_list = ["mqtt"]
        self._tls = io.ClientTlsContext(options)
        self._stopped = threading.Event()
        self._client = self._start()

    def run(self) -> None:
        """Publish and obey until `finish`."""
        threading.Thread(target=self._handle, daemon=True).start()
        threading.Thread(target=self._follow_refusals, daemon=True).start()
        for burst in self._device.bursts():
            for number in burst:
                self._publish(number)
            self._device.reporter.tell("handed", burst[0], burst[-1])
        threading.Event().wait(0.5)
        with self._lock:
            self._client.stop()
        self._stopped.wait(3)
        self._device.done(f"{len(self._open)} open")

    def _start(self) -> mqtt5.Client:
        task = self._device.task
        stopped = self._stopped = threading.Event()
        options = mqtt5.ClientOptions(
            host_name="localhost",
            port=task.port,
            bootstrap=io.ClientBootstrap.get_or_create_static_default(),
            tls_ctx=self._tls,
            connect_options=mqtt5.ConnectPacket(
                client_id=task.client_id,
                username="device",
                password=token().encode(),
                keep_alive_interval_sec=30,
                session_expiry_interval_sec=SESSION_SECONDS,
            ),
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            connack_timeout_ms=int(CONNECT_SECONDS * 1000),
            min_reconnect_delay_ms=250,
            max_reconnect_delay_ms=5_000,
            on_publish_callback_fn=lambda data: self._messages.put(data.publish_packet.payload),
            on_lifecycle_event_connection_success_fn=self._connected,
            on_lifecycle_event_connection_failure_fn=self._failed,
            on_lifecycle_event_stopped_fn=lambda _: stopped.set(),
            disable_metrics=True,
        )
        client = mqtt5.Client(options)
        client.start()
        return client

    def _connected(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        wanted = mqtt5.Subscription(topic_filter=self._device.task.subscribes_to, qos=mqtt5.QoS.AT_LEAST_ONCE)
        if not data.connack_packet.session_present:
            future = self._client.subscribe(mqtt5.SubscribePacket(subscriptions=[wanted]))
            future.add_done_callback(lambda _: self._device.reporter.tell("subscribed"))

    def _failed(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if data.connack_packet is not None and data.connack_packet.reason_code in _REFUSED:
            self._refused.set()

    def _follow_refusals(self) -> None:
        while True:
            self._refused.wait()
            self._refused.clear()
            with self._lock:
                self._client.stop()
                self._stopped.wait(3)
                self._client = self._start()
                unfinished = sorted(self._open)
                self._open.clear()
                for number in unfinished:
                    self._publish(number)
            threading.Event().wait(1.0)

    def _publish(self, number: int) -> None:
        packet = mqtt5.PublishPacket(
            topic=self._device.task.publishes_to, payload=payload_of(number), qos=mqtt5.QoS.AT_LEAST_ONCE
        )
        with self._lock:
            future = self._client.publish(packet)
            self._open[number] = future
        future.add_done_callback(lambda future: self._ended(number, future))

    def _ended(self, number: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            if "USER_REQUESTED_STOP" in str(error):
                return  # it is published again
            self._device.reporter.tell("failed", number, None, str(error))
        elif int(future.result().puback.reason_code) >= 0x80:
            self._device.reporter.tell("failed", number, None, f"reason code {future.result().puback.reason_code}")
        else:
            self._device.reporter.tell("acknowledged", number)
        if self._open.get(number) is future:
            self._open.pop(number, None)

    def _handle(self) -> None:
        while True:
            payload = self._messages.get()
            slow = self._device.take_slow()
            if slow:
                self._device.finishing.wait(slow)
            self._device.handled(payload)


if __name__ == "__main__":
    AwscrtDevice(Device(Task.from_arguments())).run()

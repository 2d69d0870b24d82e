"""A native awscrt client as somebody uses it who does not know this package, with what it tells in a queue."""

from __future__ import annotations

import queue
from types import TracebackType
from typing import Any, Self

from awscrt import mqtt5

from iot_customauth_client import ConnectionBuilder, Credentials
from iot_customauth_client.local import LocalEndpoint

TIMEOUT = 10


class NativeClient:
    """An awscrt MQTT 5 client that comes back by itself after 20 to 100 ms."""

    def __init__(self, endpoint: LocalEndpoint, client_id: str = "client_id", *, ping_timeout_ms: int = 0) -> None:
        self._told: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.received: queue.Queue[bytes] = queue.Queue()
        credentials = Credentials.from_password("user01", "pass01", authorizer="a")
        options: dict[str, Any] = {
            f"on_lifecycle_event_{name}_fn": lambda data, name=name: self._told.put((name, data))
            for name in ("connection_success", "connection_failure", "disconnection", "stopped")
        }
        settings = endpoint.settings(client_id, connect_timeout_seconds=1)
        self.client = ConnectionBuilder(settings, credentials).mqtt5(
            **options,
            on_publish_callback_fn=lambda data: self.received.put(data.publish_packet.payload),
            min_reconnect_delay_ms=20,
            max_reconnect_delay_ms=100,
            ack_timeout_sec=60,
        )

    def wait(self, name: str) -> Any:
        """The data of the next event of this name."""
        while True:
            found, data = self._told.get(timeout=TIMEOUT)
            if found == name:
                return data

    def publish(self, payload: bytes = b"", topic: str = "my-topic") -> Any:
        """Publish with QoS 1; a future of the PUBACK."""
        return self.client.publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE))

    def subscribe(self, topic_filter: str = "my-topic") -> None:
        wish = mqtt5.Subscription(topic_filter=topic_filter, qos=mqtt5.QoS.AT_LEAST_ONCE)
        self.client.subscribe(mqtt5.SubscribePacket(subscriptions=[wish])).result(TIMEOUT)

    def __enter__(self) -> Self:
        self.client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.stop()
        if kind is None:
            self.wait("stopped")

"""A device with paho-mqtt, as a sensible user writes it: it rejoins its session, reconnects by itself, and makes a
fresh token for every attempt.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .device import CONNECT_SECONDS, SESSION_SECONDS, Device, Task, token
from .payloads import payload_of


class PahoDevice:
    """The device, over one client that reconnects by itself."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._numbers: dict[int, int] = {}
        self._early: dict[int, Any] = {}
        self._lock = threading.Lock()
        task = device.task
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=task.client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.tls_set_context(self._context(task.ca_file))
        client.username_pw_set("device", token())
        client.reconnect_delay_set(1, 5)
        client.connect_timeout = CONNECT_SECONDS
        client.max_queued_messages_set(0)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda client, _: client.username_pw_set("device", token())
        client.on_disconnect = lambda client, *_: client.username_pw_set("device", token())
        client.on_subscribe = lambda *_: device.reporter.tell("subscribed")
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    @staticmethod
    def _context(ca_file: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["mqtt"])
        return context

    def run(self) -> None:
        """Publish and obey until `finish`."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_SECONDS
        self._client.connect_async(
            "localhost", self._device.task.port, keepalive=30, clean_start=False, properties=properties
        )
        self._client.loop_start()
        for burst in self._device.bursts():
            for number in burst:
                self._publish(number)
            self._device.reporter.tell("handed", burst[0], burst[-1])
        threading.Event().wait(0.5)
        self._client.disconnect()
        self._client.loop_stop()
        self._device.done(f"{len(self._numbers)} open")

    def _publish(self, number: int) -> None:
        info = self._client.publish(self._device.task.publishes_to, payload_of(number), qos=1)
        # Not connected is no error here: paho keeps the message and sends it later.
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            self._device.reporter.tell("failed", number, None, f"rc {info.rc}")
            return
        with self._lock:
            if info.mid in self._early:
                code = self._early.pop(info.mid)
            else:
                self._numbers[info.mid] = number
                return
        self._ended(number, code)

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, code: Any, _properties: Any) -> None:
        with self._lock:  # it may come before publish() has returned
            if mid not in self._numbers:
                self._early[mid] = code
                return
            number = self._numbers.pop(mid)
        self._ended(number, code)

    def _ended(self, number: int, code: Any) -> None:
        if code.is_failure:
            self._device.reporter.tell("failed", number, None, str(code))
        else:
            self._device.reporter.tell("acknowledged", number)

    def _on_connect(self, client: Any, _userdata: Any, flags: Any, code: Any, _properties: Any) -> None:
        if not code.is_failure and not flags.session_present:
            client.subscribe(self._device.task.subscribes_to, 1)

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        slow = self._device.take_slow()
        if slow:
            self._device.finishing.wait(slow)
        self._device.handled(message.payload)


if __name__ == "__main__":
    PahoDevice(Device(Task.from_arguments())).run()

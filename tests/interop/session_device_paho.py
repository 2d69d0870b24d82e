"""`paho-mqtt` 2.x as devices, with an `ssl.SSLContext` and ALPN `mqtt`."""

from __future__ import annotations

import queue
import ssl
import threading
from concurrent.futures import Future
from typing import Any, ClassVar

import paho.mqtt.client as paho
from client_support import WAIT
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from session_device import AUTHORIZER, PASSWORD, USER, Device, Message, Refused, Welcome, Wish

from iot_customauth_client.local import LocalEndpoint


class _Paho(Device):
    version: ClassVar[MQTTProtocolVersion]

    def __init__(self, endpoint: LocalEndpoint, client_id: str, wish: Wish) -> None:
        super().__init__(endpoint, client_id, wish)
        self._subacks: queue.Queue[list[ReasonCode]] = queue.Queue()
        self._pubacks: dict[int, Future[int]] = {}
        self._lock = threading.Lock()
        self._was_welcome = False
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=self.version,
            clean_session=None if self.is_5 else not wish.session_seconds,
            reconnect_on_failure=wish.returns,
        )
        client.reconnect_delay_set(0.05, 0.1)  # type: ignore[arg-type]
        context = ssl.create_default_context(cafile=str(endpoint.ca_file))
        context.set_alpn_protocols(["mqtt"])
        client.tls_set_context(context)
        client.username_pw_set(f"{USER}?x-amz-customauthorizer-name={AUTHORIZER}", PASSWORD)
        if wish.will is not None:
            properties = Properties(PacketTypes.WILLMESSAGE) if self.is_5 else None
            if properties is not None and wish.will_delay_seconds is not None:
                properties.WillDelayInterval = wish.will_delay_seconds
            client.will_set(wish.will.topic, wish.will.payload, wish.will.qos, wish.will.retain, properties)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = lambda client, userdata, mid, codes, properties: self._subacks.put(codes)
        client.on_publish = lambda client, userdata, mid, code, properties: self._puback(mid).set_result(code.value)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        if code.is_failure:
            self.welcomes.put(Refused(code.value))
            return
        self._was_welcome = True
        expiry = getattr(properties, "SessionExpiryInterval", None)
        if expiry is None and self.is_5:
            expiry = self.wish.session_seconds  # CONNACK has it only if the service changed it
        self.welcomes.put(Welcome(flags.session_present, expiry, getattr(properties, "ReceiveMaximum", None)))

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        if not self._was_welcome:
            self.welcomes.put(Refused(None))
        # paho makes up "unspecified error" (128) for a connection that was lost without a word.
        self.lost.put(code.value if flags.is_disconnect_packet_from_server else None)

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        expiry = getattr(message.properties, "MessageExpiryInterval", None)
        self._take(Message(message.topic, message.payload, message.qos, expiry))

    def _puback(self, mid: int) -> Future[int]:
        with self._lock:  # it may come before publish() has returned
            return self._pubacks.setdefault(mid, Future())

    def connect(self) -> None:
        named: dict[str, Any] = {}
        if self.is_5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self.wish.session_seconds
            if self.wish.receive_maximum is not None:
                properties.ReceiveMaximum = self.wish.receive_maximum
            named = {"clean_start": not self.wish.session_seconds, "properties": properties}
        self._client.connect("localhost", self.endpoint.port, keepalive=60, **named)
        self._client.loop_start()

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        self._client.subscribe(topic_filter, qos)
        return int(self._subacks.get(timeout=WAIT)[0].value)

    def publish(self, topic: str, payload: bytes, *, expiry_seconds: int | None = None) -> Future[int]:
        properties = None
        if expiry_seconds is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expiry_seconds
        return self._puback(self._client.publish(topic, payload, 1, properties=properties).mid)

    def leave(self, *, with_will: bool = False) -> None:
        self.let_go()
        code = ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message") if with_will else None
        self._client.disconnect(code)
        self._client.loop_stop()


class Paho5(_Paho):
    is_5 = True
    version = MQTTProtocolVersion.MQTTv5


class Paho311(_Paho):
    is_5 = False
    version = MQTTProtocolVersion.MQTTv311

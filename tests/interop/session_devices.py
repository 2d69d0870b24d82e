"""Four devices that know nothing of this package, behind one face: awscrt and paho, each in both versions of MQTT.

The tests of sessions say what they want of a device once, and run it with each. A device here is only what its library
does: who resumes a session, how it is told of a takeover, and when PUBACK goes out is the library's own. awscrt's
objects come from the public `ConnectionBuilder`, which is how somebody gets them who goes on with awscrt's API.

A device that loses its connection stays away, unless it was asked to return: awscrt would come back at once, and a
takeover would become an endless struggle of two.
"""

from __future__ import annotations

import abc
import contextlib
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar

import paho.mqtt.client as paho
import pytest
from awscrt import mqtt, mqtt5
from client_support import WAIT
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iot_customauth_client import ConnectionBuilder, Credentials, Will
from iot_customauth_client.local import LocalEndpoint, events

AUTHORIZER = "gate"
USER, PASSWORD = "user01", "pass01"
DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a device asks for in CONNECT. Delay and maximum are of MQTT 5 only."""

    session_seconds: int = 0
    will: Will | None = None
    will_delay_seconds: int | None = None
    receive_maximum: int | None = None
    returns: bool = False
    """Connect again by itself after a loss, as its library does it."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What CONNACK told; of MQTT 3.1.1 only the first."""

    session_present: bool
    session_seconds: int | None = None
    receive_maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the device got it. `expiry_seconds`: what is left, in MQTT 5."""

    topic: str
    payload: bytes
    qos: int
    expiry_seconds: int | None = None


class Refused(ConnectionError):  # noqa: N818
    """There was no CONNACK, then `code` is None, or it has a reason code."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Device(abc.ABC):
    """A client whose callbacks fill queues."""

    is_5: ClassVar[bool]
    """Whether it speaks MQTT 5."""

    def __init__(self, endpoint: LocalEndpoint, client_id: str, wish: Wish) -> None:
        self.endpoint = endpoint
        self.client_id = client_id
        self.wish = wish
        self.welcomes: queue.Queue[Welcome | Exception] = queue.Queue()
        self.received: queue.Queue[Message] = queue.Queue()
        self.lost: queue.Queue[int | None] = queue.Queue()
        """Reason codes of DISCONNECT, or None where there was none."""
        self.greeting = Welcome(False)
        """What the first CONNACK told; whoever connects the device keeps it here."""
        self._may_acknowledge = threading.Event()
        self._may_acknowledge.set()

    def welcome(self) -> Welcome:
        """What the next CONNACK tells."""
        told = self.welcomes.get(timeout=WAIT)
        if isinstance(told, Exception):
            raise told
        return told

    def payload(self) -> bytes:
        """The payload of the next message."""
        return self.received.get(timeout=WAIT).payload

    def hold(self) -> None:
        """Stay in the callback of the next message, before its PUBACK: nothing is acknowledged until `let_go`."""
        self._may_acknowledge.clear()

    def let_go(self) -> None:
        """Leave the callback."""
        self._may_acknowledge.set()

    def _take(self, message: Message) -> None:
        self.received.put(message)
        self._may_acknowledge.wait(WAIT)

    @abc.abstractmethod
    def connect(self) -> None:
        """Begin to connect; `welcome` tells how it ended."""

    @abc.abstractmethod
    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribe, and return what SUBACK says."""

    @abc.abstractmethod
    def publish(self, topic: str, payload: bytes, *, expiry_seconds: int | None = None) -> Future[int]:
        """Publish with QoS 1; the future is done with PUBACK, and has its reason code (0 in MQTT 3.1.1)."""

    @abc.abstractmethod
    def leave(self, *, with_will: bool = False) -> None:
        """Send DISCONNECT, if there is a connection, and end; `with_will` is of MQTT 5 only."""


# -- awscrt -----------------------------------------------------------------------------------------------------------


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
            refused = future.exception() is not None  # awscrt does not know more
            self.welcomes.put(Refused(None) if refused else Welcome(future.result()["session_present"]))

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


# -- paho -------------------------------------------------------------------------------------------------------------


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


KINDS: tuple[type[Device], ...] = (Awscrt5, Awscrt311, Paho5, Paho311)


def kinds(*chosen: type[Device]) -> pytest.MarkDecorator:
    """Run a test with each of these kinds of device."""
    return pytest.mark.parametrize("kind", chosen, ids=lambda kind: kind.__name__.lower())


def _then(future: Future[Any], make: Any) -> Future[int]:
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


# -- a test's endpoint and its devices ----------------------------------------------------------------------------------

Dial = Callable[..., Device]


def allowing(refresh_seconds: int = DAY) -> Callable[[object, object], dict[str, object]]:
    """An authorizer that allows everything, for a day."""
    result: dict[str, object] = {
        "isAuthenticated": True,
        "principalId": "p",
        "policyDocuments": [
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        ],
        "refreshAfterInSeconds": refresh_seconds,
        "disconnectAfterInSeconds": DAY,
    }
    return lambda event, context: result


@contextlib.contextmanager
def dialling(endpoint: LocalEndpoint) -> Iterator[Dial]:
    """Connect devices of any kind, `dial(kind, client_id, **wish)`; all leave at the end.

    `waits=False` does not wait for CONNACK.
    """
    with contextlib.ExitStack() as stack:

        def dial(kind: type[Device], client_id: str = "device", *, waits: bool = True, **wish: Any) -> Device:
            device = kind(endpoint, client_id, Wish(**wish))
            device.connect()
            stack.callback(device.leave)
            if waits:
                device.greeting = device.welcome()
            return device

        yield dial


def leaves(device: Device, **how: Any) -> None:
    """The device says goodbye, and the endpoint has heard it."""
    before = device.endpoint.events.last_sequence
    device.leave(**how)
    device.endpoint.wait_for(events.Disconnected, client_id=device.client_id, after=before, timeout=WAIT)


def is_lost(device: Device) -> None:
    """The device's TCP connection is reset, and it has noticed."""
    assert device.endpoint.faults.drop(device.client_id) == 1
    assert device.lost.get(timeout=WAIT) is None


def payloads(device: Device, count: int) -> list[bytes]:
    """The payloads of the next messages."""
    return [device.received.get(timeout=WAIT).payload for _ in range(count)]

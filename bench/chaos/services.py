"""The two services, and the truth about what reached them: nothing in between can lose or repeat it.

Behind mosquitto stands a client of our own that talks to it directly, past every relay, and is never disturbed. The
local endpoint runs in this process: its event log says what it accepted, and what it threw away.

Topics: a device publishes to `up/<lane>` and subscribes to `down/<lane>`; `/` in the name of a lane is `-`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

import trustme
from awscrt import io, mqtt5

from iot_customauth_client.local import LocalEndpoint, events

from .payloads import number_of, payload_of
from .relay import reserved
from .schedule import Service as ServiceName

_PATIENCE: Final = 15.0

Arrived = Callable[[str, int], None]
"""A message of a device reached the service: its lane, its number."""


class Service(Protocol):
    """A service with its truth. A context manager; `port` and `ca_file` are known inside."""

    name: ServiceName
    port: int
    ca_file: Path

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def send(self, lane: str, number: int, accepted: Callable[[int], None]) -> None:
        """Send a message to a device; `accepted` is called, on any thread, when the service has taken it."""
        ...


def client_id_of(lane: str) -> str:
    """Return the client id of a device."""
    return f"device-{lane.replace('/', '-')}"


def up(lane: str) -> str:
    """Return the topic on which a device publishes."""
    return f"up/{lane.replace('/', '-')}"


def down(lane: str) -> str:
    """Return the topic on which a device is spoken to."""
    return f"down/{lane.replace('/', '-')}"


class Mosquitto:
    """Mosquitto over TLS, which takes any user name and password, keeps everything, and has a client of ours inside."""

    name: ServiceName = "mosquitto"

    def __init__(self, directory: Path, lanes: Mapping[str, str], arrived: Arrived, errors: IO[bytes]) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
        if program is None:
            raise SystemExit("mosquitto is missing: install the Debian package `mosquitto`")
        self._program = program
        self._directory = directory
        self._arrived = arrived
        self._errors = errors
        self._lane_of = {up(lane): lane for lane in lanes}
        self._disturbed: list[str] = []

    def __enter__(self) -> Self:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        certificate = authority.issue_cert("localhost")
        self.ca_file = self._directory / "mosquitto-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        key, chain = self._directory / "mosquitto-key.pem", self._directory / "mosquitto-cert.pem"
        certificate.private_key_pem.write_to_path(str(key))
        for number, part in enumerate(certificate.cert_chain_pems):
            part.write_to_path(str(chain), append=number > 0)
        with reserved(0) as free:
            self.port: int = free.getsockname()[1]
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\ncertfile {chain}\nkeyfile {key}\nallow_anonymous true\n"
            "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 100\nset_tcp_nodelay true\n"
            "persistence false\nlog_dest none\n" + ("user root\n" if os.geteuid() == 0 else "")
        )
        self._process = subprocess.Popen(
            [self._program, "-c", str(configuration)], stderr=self._errors, start_new_session=True
        )
        try:
            self._client = self._listen()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.stop()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._disturbed and exc_info[0] is None:
            raise RuntimeError(
                f"the listener behind mosquitto was disturbed, its word counts no more: {self._disturbed}"
            )

    def send(self, lane: str, number: int, accepted: Callable[[int], None]) -> None:
        packet = mqtt5.PublishPacket(topic=down(lane), payload=payload_of(number), qos=mqtt5.QoS.AT_LEAST_ONCE)

        def done(future: Future[Any]) -> None:
            if future.exception() is None:
                accepted(number)

        self._client.publish(packet).add_done_callback(done)

    def _listen(self) -> mqtt5.Client:
        connected = threading.Event()
        tls = io.TlsContextOptions()
        tls.override_default_trust_store_from_path(None, str(self.ca_file))
        options = mqtt5.ClientOptions(
            host_name="localhost",
            port=self.port,
            bootstrap=io.ClientBootstrap.get_or_create_static_default(),
            tls_ctx=io.ClientTlsContext(tls),
            connect_options=mqtt5.ConnectPacket(client_id="backend", session_expiry_interval_sec=86_400),
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            on_publish_callback_fn=self._on_publish,
            on_lifecycle_event_connection_success_fn=lambda _: connected.set(),
            on_lifecycle_event_disconnection_fn=self._on_disconnection,
            min_reconnect_delay_ms=50,
            max_reconnect_delay_ms=200,
            disable_metrics=True,
        )
        client = mqtt5.Client(options)
        client.start()
        if not connected.wait(_PATIENCE):
            raise RuntimeError("mosquitto does not answer")
        wanted = [mqtt5.Subscription(topic_filter="up/#", qos=mqtt5.QoS.AT_LEAST_ONCE)]
        client.subscribe(mqtt5.SubscribePacket(subscriptions=wanted)).result(_PATIENCE)
        return client

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        packet = data.publish_packet
        self._arrived(self._lane_of[packet.topic], number_of(packet.payload))

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        if "USER_REQUESTED_STOP" not in str(data.exception):
            self._disturbed.append(str(data.exception))


class Endpoint:
    """The local endpoint, with an authorizer whose tokens end and which can be out of order."""

    name: ServiceName = "endpoint"

    def __init__(self, lanes: Mapping[str, str], arrived: Arrived, discarded: Arrived) -> None:
        self._lane_of = {up(lane): lane for lane in lanes}
        self._arrived, self._discarded = arrived, discarded
        self._seen = 0
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, name="truth", daemon=True)
        self._broken: str | None = None
        self.valid_since = 0.0
        self.out_of_order: set[str] = set()
        self.local = LocalEndpoint({"gate": self._authorize}, default_authorizer="gate")

    def __enter__(self) -> Self:
        self.local.start()
        self.port = self.local.port
        self.ca_file = self.local.ca_file
        self._reader.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._reader.join(_PATIENCE)
        self.local.stop()
        if self._broken is not None and exc_info[0] is None:
            raise RuntimeError(self._broken)

    def send(self, lane: str, number: int, accepted: Callable[[int], None]) -> None:
        self.local.publish(down(lane), payload_of(number), qos=1)
        accepted(number)

    def expire_tokens(self) -> None:
        """From now on, only tokens that are made later are good."""
        self.valid_since = time.time()

    def _authorize(self, event: Mapping[str, Any], context: object) -> dict[str, object]:  # noqa: ARG002 - as Lambda calls it
        from base64 import b64decode

        asked = event["protocolData"]["mqtt"]
        if asked["clientId"] in self.out_of_order:
            return {}  # no result at all: the service treats it as it does a function that raises
        minted = float(b64decode(asked["password"]))
        statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
        return {
            "isAuthenticated": minted >= self.valid_since,
            "principalId": "device",
            "disconnectAfterInSeconds": 86_400,
            "refreshAfterInSeconds": 86_400,
            "policyDocuments": [{"Version": "2012-10-17", "Statement": [statement]}],
        }

    def _read(self) -> None:
        while not self._stop.wait(0.03):
            self._read_news()
        self._read_news()

    def _read_news(self) -> None:
        log = self.local.events
        news = log.since(self._seen)
        if news and news[0].sequence != self._seen + 1:
            self._broken = f"events {self._seen + 1} to {news[0].sequence - 1} were forgotten before they were read"
        for event in news:
            self._seen = event.sequence
            if isinstance(event, events.Published) and event.topic in self._lane_of:
                self._arrived(self._lane_of[event.topic], number_of(event.payload))
            elif isinstance(event, events.Dropped):
                if event.topic in self._lane_of:
                    self._discarded(self._lane_of[event.topic], number_of(event.payload))
                else:
                    self._broken = f"the endpoint gave a message up by itself: {event.cause}: {event.explanation}"

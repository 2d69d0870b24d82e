"""Clients of the HTTP door over real sockets: `http.client`, and a WebSocket of wsproto that carries MQTT."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Pong,
    RejectConnection,
    RejectData,
    Request,
)

from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.codec import Connect, Decoder, Packet, Version, encode

NAME = "x-amz-customauthorizer-name"
SIGNATURE = "x-amz-customauthorizer-signature"


def context_of(endpoint: LocalEndpoint) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(endpoint.ca_file))


def tls_socket(endpoint: LocalEndpoint) -> ssl.SSLSocket:
    """A TLS connection that offers no ALPN."""
    raw = socket.create_connection((endpoint.host, endpoint.port), timeout=10)
    return context_of(endpoint).wrap_socket(raw, server_hostname="localhost")


@dataclass(frozen=True)
class HttpReply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class HttpClient:
    """One kept-alive connection of `http.client`."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self.connection = http.client.HTTPSConnection(
            "localhost", endpoint.port, context=context_of(endpoint), timeout=10
        )

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> HttpReply:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, target, body, names)
        reply = self.connection.getresponse()
        return HttpReply(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read())

    def post(self, target: str, body: bytes = b"", **headers: str) -> HttpReply:
        return self.request("POST", target, body, **headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()


class Rejected(Exception):
    """The upgrade was answered with something else than 101."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class WebSocketClient:
    """A WebSocket that carries MQTT; raises `Rejected` if the upgrade is refused."""

    def __init__(
        self,
        endpoint: LocalEndpoint,
        version: Version = Version.MQTT5,
        *,
        target: str = "/mqtt",
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = ("mqtt",),
    ) -> None:
        self.version = version
        self.closed_with: int | None = None
        self.pongs = 0
        self.accepted: AcceptConnection | None = None
        self._decoder = Decoder(version=version)
        self._packets: list[Packet] = []
        self.socket = tls_socket(endpoint)
        self.protocol = WSConnection(ConnectionType.CLIENT)
        try:
            self._shake(target, headers or {}, subprotocols)
        except BaseException:
            self.socket.close()
            raise

    def _shake(self, target: str, headers: Mapping[str, str], subprotocols: Sequence[str]) -> None:
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        request = Request(host="localhost", target=target, subprotocols=list(subprotocols), extra_headers=extra)
        self.socket.sendall(self.protocol.send(request))
        status, body = 0, b""
        while self.accepted is None:
            data = self.socket.recv(65536)
            assert data, "closed during the upgrade"
            self.protocol.receive_data(data)
            for event in self.protocol.events():
                match event:
                    case AcceptConnection():
                        self.accepted = event
                    case RejectConnection():
                        status = event.status_code
                    case RejectData():
                        body += event.data
                        if event.body_finished:
                            raise Rejected(status, body)
                    case _:
                        self._take(event)

    def send_event(self, *events: Event) -> None:
        self.socket.sendall(b"".join(self.protocol.send(event) for event in events))

    def send(self, *packets: Packet) -> None:
        """Send packets, each in a message of its own."""
        self.send_event(*[BytesMessage(encode(packet, self.version)) for packet in packets])

    def receive(self) -> Packet | None:
        """The next packet; `None` when the endpoint has closed."""
        while not self._packets and self.closed_with is None:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLEOFError):
                return None
            if not data:
                return None
            self.protocol.receive_data(data)
            for event in self.protocol.events():
                self._take(event)
        return self._packets.pop(0) if self._packets else None

    def wait_for_pong(self) -> None:
        """Read until a Pong has come; packets that came before it are kept."""
        pongs = self.pongs
        while self.pongs == pongs:
            self.protocol.receive_data(self.socket.recv(65536))
            for event in self.protocol.events():
                self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case BytesMessage():
                self._packets += self._decoder.feed(bytes(event.data))
            case CloseConnection():
                self.closed_with = event.code
            case Pong():
                self.pongs += 1
            case _:
                raise AssertionError(event)

    def connect(
        self, *, client_id: str = "client_id", username: str | None = None, password: bytes | None = None
    ) -> Packet | None:
        """Send CONNECT and return the answer."""
        self.send(Connect(self.version, client_id, keep_alive_seconds=60, username=username, password=password))
        return self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

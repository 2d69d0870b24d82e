"""A client of nothing but `ssl` and the codec: what it sends is what the test wrote, what it gets is what was sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.codec import ConnAck, Connect, Decoder, Packet, Version, encode

AUTHORIZER = "custom_auth_mqtt_2021_08_21"
USERNAME = f"user01?x-amz-customauthorizer-name={AUTHORIZER}"


class WireClient:
    """One TLS connection to an endpoint."""

    def __init__(
        self,
        endpoint: LocalEndpoint,
        version: Version = Version.MQTT5,
        *,
        server_name: str | None = "localhost",
        alpn: Sequence[str] = ("mqtt",),
        timeout: float = 10,
    ) -> None:
        self.version = version
        self._decoder = Decoder(version=version)
        self._packets: list[Packet] = []
        context = ssl.create_default_context(cafile=str(endpoint.ca_file))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if server_name is None:
            context.check_hostname = False
        raw = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout)
        try:
            self.socket = context.wrap_socket(raw, server_hostname=server_name)
        except BaseException:
            raw.close()
            raise

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Packet | None:
        """The next packet; `None` when the endpoint has hung up."""
        while not self._packets:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLEOFError):
                return None
            if not data:
                return None
            self._packets += self._decoder.feed(data)
        return self._packets.pop(0)

    def connect(
        self,
        *,
        client_id: str = "client_id",
        username: str | None = USERNAME,
        password: bytes | None = b"pass01",
        **fields: Any,
    ) -> Packet | None:
        """Send CONNECT and return the answer."""
        self.send(
            Connect(self.version, client_id, keep_alive_seconds=60, username=username, password=password, **fields)
        )
        return self.receive()

    def connected(self, **fields: Any) -> Self:
        """Send CONNECT and insist on being let in."""
        answer = self.connect(**fields)
        assert isinstance(answer, ConnAck), answer
        assert answer.reason_code == 0
        return self

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serves_a_good_client(endpoint: LocalEndpoint, *, timeout: float = 10) -> None:
    """Insist that a well-behaved client can connect now."""
    with contextlib.closing(WireClient(endpoint, timeout=timeout)) as client:
        client.connected()

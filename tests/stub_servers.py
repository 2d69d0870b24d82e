"""Servers that misbehave, for faults that the local endpoint does not have: on loopback, with a thread a connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trustme
from client_support import WAIT
from threaded_server import ThreadedServer

from iot_customauth_client import ConnectionSettings
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Decoder,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Version,
    encode,
)


class Stub(ThreadedServer):
    """Runs `serve(socket)` for each connection."""

    def __init__(self, serve: Callable[[socket.socket], None], *, listening: bool = True) -> None:
        super().__init__(lambda connection, _number: serve(connection), listening=listening)

    def wait_accepted(self, count: int, timeout: float = WAIT) -> None:
        self.wait(lambda: self.accepted >= count, timeout, lambda: self.accepted)


Answer = Callable[[Packet], Sequence[Packet]]


class MqttStub(Stub):
    """An MQTT server over TLS with ALPN `mqtt` that answers as the test says, for faults the endpoint does not have.

    `answer(packet)` gives what to send back for each packet; without it everything is granted and acknowledged.
    `silent` leaves out the answers to packets of these types. `deaf_after` stops reading at a packet of this type.
    `on_hang_up` is called when a client has gone.
    """

    def __init__(
        self,
        authority: trustme.CA,
        *,
        hostname: str = "localhost",
        answer: Answer | None = None,
        silent: tuple[type[Any], ...] = (),
        deaf_after: type[Any] | None = None,
        on_hang_up: Callable[[], object] = bool,
        listening: bool = True,
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(hostname, key_type=trustme.KeyType.ECDSA).configure_cert(self._context)
        self._context.set_alpn_protocols(["mqtt"])
        self._answer = answer or usual_answer
        self._silent = silent
        self._deaf_after = deaf_after
        self._on_hang_up = on_hang_up
        self.packets: list[Packet] = []
        super().__init__(self._talk, listening=listening)

    def settings(self, client_id: str, authority_file: Path, **overrides: Any) -> ConnectionSettings:
        given: dict[str, Any] = {"endpoint": "localhost", "port": self.port, "ca_file": authority_file}
        return ConnectionSettings(client_id=client_id, **(given | overrides))

    def wait_packets(self, kind: type[Any], count: int = 1, timeout: float = WAIT) -> list[Any]:
        """Wait until so many packets of a kind have come, and return them."""

        def found() -> list[Packet]:
            return [packet for packet in self.packets if isinstance(packet, kind)]

        self.wait(lambda: len(found()) >= count, timeout, lambda: self.packets)
        return found()

    def _talk(self, plain: socket.socket) -> None:
        with self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as secure:
            self.keep(secure)
            secure.do_handshake()
            try:
                self._converse(secure)
            finally:
                self._on_hang_up()

    def _converse(self, secure: ssl.SSLSocket) -> None:
        decoder = Decoder()
        version = Version.MQTT5
        while data := secure.recv(65_536):
            for packet in decoder.feed(data):
                self.note(lambda packet=packet: self.packets.append(packet))  # type: ignore[misc]
                if isinstance(packet, Connect):
                    version = packet.version
                if not isinstance(packet, self._silent):
                    secure.sendall(b"".join(encode(each, version) for each in self._answer(packet)))
                if self._deaf_after is not None and isinstance(packet, self._deaf_after):
                    self.over.wait()
                    return


def usual_answer(packet: Packet) -> Sequence[Packet]:
    """What a server that grants everything answers."""
    match packet:
        case Connect():
            return [ConnAck(session_present=False, reason_code=0)]
        case Publish() if packet.qos:
            assert packet.packet_id is not None
            return [PubAck(packet.packet_id)]
        case Subscribe():
            return [SubAck(packet.packet_id, tuple(each.qos for each in packet.requests))]
        case Unsubscribe():
            return [UnsubAck(packet.packet_id)]  # MQTT 5 clients of the tests do not look at its codes
        case PingReq():
            return [PingResp()]
        case _:
            return []

"""Small real servers for the tests of the HTTP doors: TLS on loopback, h11 and wsproto inside, and an HTTP proxy.

They answer as a test tells them to and keep what came; they know no authorizer and no policy.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h11
import pytest
import trustme
import wsproto
import wsproto.events as ws
from client_support import WAIT
from threaded_server import ThreadedServer, shut_down

from iot_customauth_client import ConnectionSettings
from iot_customauth_client.carriage import ReadHeaders, ReadPath, read_headers, read_path
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


@dataclass(frozen=True)
class Seen:
    """One HTTP request, as a server reads it; `connection` numbers the TCP connections from 1."""

    connection: int
    method: str
    target: str
    raw_headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def path(self) -> ReadPath:
        return read_path(self.target)

    @property
    def headers(self) -> ReadHeaders:
        return read_headers(self.raw_headers)


@dataclass(frozen=True)
class Reply:
    """What to answer: `status` 101 accepts an upgrade. `delay` is waited for before it is sent."""

    status: int = 200
    body: bytes = b'{"message":"OK","traceId":"11111111-2222-3333-4444-555555555555"}'
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    delay: threading.Event | None = None
    close: bool = False


FORBIDDEN = b'{"message":"Forbidden","traceId":"99999999-aaaa-bbbb-cccc-dddddddddddd"}'


class HttpDoor(ThreadedServer):
    """HTTP/1.1 and WebSocket over TLS: `answer(seen)` says what to answer; inside a WebSocket, MQTT that grants all."""

    ends = (*ThreadedServer.ends, h11.RemoteProtocolError)

    def __init__(self, authority: trustme.CA, ca_file: Path, *, hostname: str = "localhost") -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(hostname, key_type=trustme.KeyType.ECDSA).configure_cert(self._context)
        self._context.set_alpn_protocols(["http/1.1"])
        self.hostname = hostname
        self.ca_file = ca_file
        self.answer: Callable[[Seen], Reply] = usual_reply
        self.answer_mqtt: Callable[[Packet], Sequence[Packet]] = usual_answer
        self.requests: list[Seen] = []
        self.packets: list[Packet] = []
        self.alpn: list[str | None] = []
        self.server_names: list[str | None] = []
        self._context.sni_callback = lambda _tls, name, _context: self.server_names.append(name)
        super().__init__(self._talk)

    def settings(self, client_id: str | None = "device-1", **overrides: Any) -> ConnectionSettings:
        given: dict[str, Any] = {"endpoint": self.hostname, "port": self.port, "ca_file": self.ca_file}
        return ConnectionSettings(client_id=client_id, **(given | overrides))

    @contextlib.contextmanager
    def handshakes_held(self) -> Iterator[None]:
        """Let no TLS handshake go on inside the block."""
        go_on, usual = threading.Event(), self._context.sni_callback

        def wait(tls: ssl.SSLObject, name: str, context: ssl.SSLContext) -> int | None:
            go_on.wait(WAIT)
            return usual(tls, name, context) if usual is not None else None

        self._context.sni_callback = wait
        try:
            yield
        finally:
            go_on.set()
            self._context.sni_callback = usual

    def upgrades(self) -> list[Seen]:
        return [each for each in self.requests if each.method == "GET"]

    def publishes(self) -> list[Seen]:
        return [each for each in self.requests if each.method == "POST"]

    def connects(self) -> list[Connect]:
        return [packet for packet in self.packets if isinstance(packet, Connect)]

    def _talk(self, plain: socket.socket, number: int) -> None:
        with self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as secure:
            self.keep(secure)
            secure.do_handshake()
            self.alpn.append(secure.selected_alpn_protocol())
            self._http(secure, number)

    def _http(self, secure: ssl.SSLSocket, number: int) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
        raw = b""
        request: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = secure.recv(65_536)
                raw += data
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                seen = _seen(number, request, body)
                if seen.headers.get("upgrade") == "websocket":
                    self._websocket(secure, raw, seen)
                    return
                self.note(lambda seen=seen: self.requests.append(seen))
                reply = self.answer(seen)
                if reply.delay is not None:
                    reply.delay.wait(WAIT)
                headers = [("content-length", str(len(reply.body))), *reply.headers]
                if reply.close:
                    headers.append(("connection", "close"))
                parts = (
                    h11.Response(status_code=reply.status, headers=headers),
                    h11.Data(data=reply.body),
                    h11.EndOfMessage(),
                )
                secure.sendall(b"".join(connection.send(part) or b"" for part in parts))  # at once: Nagle waits 40 ms
                if reply.close:
                    return
                connection.start_next_cycle()
                raw = b""
            else:
                return

    def _websocket(self, secure: ssl.SSLSocket, raw: bytes, seen: Seen) -> None:
        connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        connection.receive_data(raw)
        (asked,) = connection.events()
        assert isinstance(asked, ws.Request)
        self.note(lambda: self.requests.append(seen))
        reply = self.answer(seen)
        if reply.status != 101:
            headers = [(name.encode(), value.encode()) for name, value in reply.headers]
            headers.append((b"content-length", str(len(reply.body)).encode()))
            refusal = ws.RejectConnection(status_code=reply.status, headers=headers, has_body=True)
            secure.sendall(connection.send(refusal) + connection.send(ws.RejectData(data=reply.body)))
            return
        assert asked.subprotocols == ["mqtt"]
        secure.sendall(connection.send(ws.AcceptConnection(subprotocol="mqtt")))
        decoder, version = Decoder(), Version.MQTT5
        while data := secure.recv(65_536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, ws.BytesMessage):
                    for packet in decoder.feed(bytes(event.data)):
                        self.note(lambda packet=packet: self.packets.append(packet))
                        if isinstance(packet, Connect):
                            version = packet.version
                        answer = b"".join(_encode(each, version) for each in self.answer_mqtt(packet))
                        if answer:
                            secure.sendall(connection.send(ws.BytesMessage(data=answer)))
                elif isinstance(event, ws.CloseConnection):
                    secure.sendall(connection.send(event.response()))
                    return


class ConnectProxy(ThreadedServer):
    """An HTTP proxy that knows CONNECT only, and lets nobody through without its user name and password.

    It goes to `port` on loopback whatever name is asked for; `targets` are those names.
    """

    def __init__(self, port: int, *, username: str = "proxy-user", password: str = "proxy-p%40ss") -> None:
        self._target_port = port
        self._expected = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        self.url_part = f"{username}:{password.replace('%', '%25')}"
        self.targets: list[str] = []
        self.refused = 0
        super().__init__(self._talk)

    @property
    def url(self) -> str:
        return f"http://{self.url_part}@127.0.0.1:{self.port}"

    def _talk(self, client: socket.socket, _number: int) -> None:
        connection = h11.Connection(h11.SERVER)
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(client.recv(65_536))
        assert isinstance(event, h11.Request)
        assert event.method == b"CONNECT"
        given = dict(event.headers).get(b"proxy-authorization", b"").decode()
        if given != self._expected:
            self.refused += 1
            headers = [("proxy-authenticate", 'Basic realm="test"'), ("content-length", "0")]
            client.sendall(connection.send(h11.Response(status_code=407, headers=headers)) or b"")
            return
        self.targets.append(event.target.decode())
        client.sendall(connection.send(h11.Response(status_code=200, headers=[])) or b"")
        with socket.create_connection(("127.0.0.1", self._target_port)) as server:
            self.keep(server)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join(WAIT)


def _encode(packet: Packet, version: Version) -> bytes:
    if isinstance(packet, UnsubAck) and version is not Version.MQTT5:
        packet = replace(packet, reason_codes=())
    return encode(packet, version)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        shut_down(each)


def _seen(number: int, request: h11.Request, body: bytes) -> Seen:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
    return Seen(number, request.method.decode(), request.target.decode("latin-1"), headers, body)


def usual_reply(seen: Seen) -> Reply:
    """Accept everything."""
    return Reply(status=101) if seen.method == "GET" else Reply()


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
            return [UnsubAck(packet.packet_id, tuple(0 for _ in packet.topic_filters))]
        case PingReq():
            return [PingResp()]
        case _:
            return []


def all_told_by(error: BaseException) -> str:
    """All text that an error and its causes can show."""
    told = ""
    each: BaseException | None = error
    while each is not None:
        told += f"{each!r} {each} {each.args!r} {vars(each)!r}\n"
        each = each.__cause__
    return told


# -- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def door_authority() -> trustme.CA:
    """A certificate authority for these servers."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="session")
def door_ca_file(door_authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, for `ca_file`."""
    file = tmp_path_factory.mktemp("door-authority") / "ca.pem"
    door_authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def door(door_authority: trustme.CA, door_ca_file: Path) -> Iterator[HttpDoor]:
    """A server that accepts every upgrade and every publish, until a test says otherwise."""
    with HttpDoor(door_authority, door_ca_file) as server:
        yield server


@pytest.fixture
def proxy(door: HttpDoor) -> Iterator[ConnectProxy]:
    """A proxy with basic authentication in front of `door`."""
    with ConnectProxy(door.port) as server:
        yield server

"""What one HTTPS publish costs: this package's publisher, bare awscrt.http, and two well-kept clients, side by side.

A TLS server on loopback, in a process of its own, answers every POST at once; each client sends the same request
(128 bytes, credentials in headers) over one kept-alive connection, one after the other. The clients take turns, round
by round, so that a busy machine disturbs all alike. Medians of microseconds a message. `httpx` and `urllib3` are
measured if they are installed; nothing else needs them. Usage: scripts/bench https_publish [rounds] [messages]
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import multiprocessing
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from iot_customauth_client import ConnectionSettings, Credentials, HttpsPublisher, aio
from iot_customauth_client.carriage import write_headers

PAYLOAD = b"x" * 128
CREDENTIALS = Credentials.from_signed_token("t" * 400, "c" * 344, token_key_name="token", authorizer="gate")
BODY = b'{"message":"OK","traceId":"11111111-2222-3333-4444-555555555555"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
TARGET = "/topics/devices%2Fd1?qos=1"


def serve(certificate: str, port: Any) -> None:
    """Answer every request as soon as its 128 bytes of body are there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    port.send(listener.getsockname()[1])

    def talk(plain: socket.socket) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_side=True) as secure:
            read = b""
            while data := secure.recv(65_536):
                read += data
                _, found, body = read.partition(b"\r\n\r\n")
                if found and len(body) >= len(PAYLOAD):
                    secure.sendall(ANSWER)
                    read = b""

    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()


def with_publisher(port: int, ca_file: str) -> Callable[[int], None]:
    publisher = HttpsPublisher(settings(port, ca_file), CREDENTIALS)

    def send(count: int) -> None:
        for _ in range(count):
            publisher.publish("devices/d1", PAYLOAD)

    return send


def with_aio(port: int, ca_file: str) -> Callable[[int], None]:
    loop = asyncio.new_event_loop()
    publisher = aio.HttpsPublisher(settings(port, ca_file), CREDENTIALS)

    async def all_of(count: int) -> None:
        for _ in range(count):
            await publisher.publish("devices/d1", PAYLOAD)

    return lambda count: loop.run_until_complete(all_of(count))


def with_awscrt(port: int, ca_file: str) -> Callable[[int], None]:
    from awscrt import http
    from awscrt import io as native_io

    options = native_io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, ca_file)
    tls = native_io.ClientTlsContext(options).new_connection_options()
    tls.set_server_name("localhost")
    connection = http.HttpClientConnection.new("localhost", port, tls_connection_options=tls).result()
    own = [("Host", f"localhost:{port}"), ("Content-Length", str(len(PAYLOAD)))]

    def send(count: int) -> None:
        for _ in range(count):
            headers = http.HttpHeaders([*own, *write_headers(CREDENTIALS.reveal())])
            body: list[bytes] = []
            stream = connection.request(
                http.HttpRequest("POST", TARGET, headers, io.BytesIO(PAYLOAD)),
                lambda **_: None,
                lambda chunk, body=body, **_: body.append(bytes(chunk)),
            )
            stream.activate()
            assert stream.completion_future.result() == 200

    return send


def with_httpx(port: int, ca_file: str) -> Callable[[int], None]:
    import httpx

    client = httpx.Client(verify=ssl.create_default_context(cafile=ca_file))

    def send(count: int) -> None:
        for _ in range(count):
            headers = dict(write_headers(CREDENTIALS.reveal()))
            assert client.post(f"https://localhost:{port}{TARGET}", content=PAYLOAD, headers=headers).status_code == 200

    return send


def with_urllib3(port: int, ca_file: str) -> Callable[[int], None]:
    import urllib3

    pool = urllib3.HTTPSConnectionPool("localhost", port, ca_certs=ca_file, maxsize=1)

    def send(count: int) -> None:
        for _ in range(count):
            headers = dict(write_headers(CREDENTIALS.reveal()))
            assert pool.request("POST", TARGET, body=PAYLOAD, headers=headers).status == 200

    return send


def settings(port: int, ca_file: str) -> ConnectionSettings:
    return ConnectionSettings(endpoint="localhost", port=port, ca_file=Path(ca_file))


def clients() -> dict[str, Callable[[int, str], Callable[[int], None]]]:
    found = {
        "HttpsPublisher": with_publisher,
        "aio.HttpsPublisher": with_aio,
        "awscrt.http, bare": with_awscrt,
    }
    if importlib.util.find_spec("urllib3"):
        found["urllib3"] = with_urllib3
    if importlib.util.find_spec("httpx"):
        found["httpx"] = with_httpx
    return found


def main(rounds: int, messages: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        ca_file, certificate = f"{directory}/ca.pem", f"{directory}/server.pem"
        authority.cert_pem.write_to_path(ca_file)
        authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).private_key_and_cert_chain_pem.write_to_path(
            certificate
        )
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(certificate, theirs), daemon=True)
        server.start()
        port = ours.recv()
        senders = {name: make(port, ca_file) for name, make in clients().items()}
        samples: dict[str, list[float]] = {name: [] for name in senders}
        processor: dict[str, list[float]] = {name: [] for name in senders}
        for send in senders.values():
            send(20)  # dial, and warm up
        for _ in range(rounds):
            for name, send in senders.items():
                began, used = time.perf_counter(), time.process_time()
                send(messages)
                samples[name].append((time.perf_counter() - began) / messages * 1e6)
                processor[name].append((time.process_time() - used) / messages * 1e6)
        server.terminate()
    print(f"{'client':<22}{'us':>8}{'CPU us':>8}{'a second':>10}   (medians of {rounds} rounds of {messages})")
    for name, values in samples.items():
        middle = statistics.median(values)
        print(f"{name:<22}{middle:>8.0f}{statistics.median(processor[name]):>8.0f}{1e6 / middle:>10.0f}")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]) if len(sys.argv) == 3 else (7, 300))

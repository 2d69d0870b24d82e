"""Many endpoints in one process, at once and one after the other, and every way to end one: nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from authorizer_functions import allow_all
from http_clients import NAME as HEADER
from http_clients import HttpClient, WebSocketClient, tls_socket
from mqtt_wire import AUTHORIZER, WireClient, serves_a_good_client
from waiting import eventually, threads

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.certificates import Certificates
from iot_customauth_client.local.client_connection import ClientConnection
from iot_customauth_client.local.endpoint_thread import EndpointThread
from iot_customauth_client.local.event_log import EventLog
from iot_customauth_client.local.server import Server

LARGE = (LocalEndpoint, EndpointThread, Server, Broker, EventLog, Certificates, ClientConnection)
"""What an endpoint consists of. None of it may outlive the endpoint and its owner's last reference."""
SECONDS = 20.0


@dataclass(frozen=True)
class Belongings:
    """What this process has."""

    threads: frozenset[threading.Thread]
    descriptors: int
    temporary: frozenset[Path]
    objects: Counter[type]
    loops: int

    @classmethod
    def now(cls) -> Belongings:
        gc.collect()
        alive = gc.get_objects()
        return cls(
            threads(),
            len(list(Path("/proc/self/fd").iterdir())),
            frozenset(Path(tempfile.gettempdir()).glob("iot-customauth-*")),
            Counter(type(each) for each in alive if type(each) in LARGE),
            sum(isinstance(each, asyncio.AbstractEventLoop) for each in alive),
        )

    def more_than(self, before: Belongings) -> dict[str, object]:
        """What is here that was not there before; empty if nothing is."""
        more = {
            "threads": self.threads - before.threads,
            "descriptors": max(0, self.descriptors - before.descriptors),
            "temporary": self.temporary - before.temporary,
            "objects": self.objects - before.objects,
            "loops": max(0, self.loops - before.loops),
        }
        return {name: value for name, value in more.items() if value}


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Insist on it after every test of this file. The temporary directory is the test's own, other tests use theirs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    with LocalEndpoint({AUTHORIZER: allow_all}) as endpoint:  # what the process has once, before counting
        serves_a_good_client(endpoint)
    del endpoint
    before = Belongings.now()
    yield
    eventually(lambda: not Belongings.now().more_than(before))
    assert not Belongings.now().more_than(before)


def test_twenty_endpoints_in_one_process_serve_at_the_same_time() -> None:
    with contextlib.ExitStack() as stack:
        endpoints = [stack.enter_context(LocalEndpoint({AUTHORIZER: allow_all})) for _ in range(20)]
        assert len({endpoint.port for endpoint in endpoints}) == 20
        clients = [stack.enter_context(WireClient(endpoint)) for endpoint in endpoints]
        for number, client in enumerate(clients):
            client.connected(client_id=f"client-{number}")
        for number, endpoint in enumerate(endpoints):
            connected = endpoint.events.of_kind("connected")
            assert [getattr(event, "client_id", None) for event in connected] == [f"client-{number}"]


def test_a_hundred_endpoints_one_after_the_other_leave_nothing() -> None:
    for _ in range(100):
        with LocalEndpoint({AUTHORIZER: allow_all}) as endpoint:
            serves_a_good_client(endpoint)


def test_an_endpoint_that_was_stopped_is_not_kept_alive_by_anything() -> None:
    endpoint = LocalEndpoint({AUTHORIZER: allow_all})
    with endpoint:
        serves_a_good_client(endpoint)
    alive = weakref.ref(endpoint)
    del endpoint
    gc.collect()
    assert alive() is None


# -- starts that fail -------------------------------------------------------------------------------------------------


def test_a_start_on_a_port_in_use_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for _ in range(10):
            with pytest.raises(OSError, match="is in use"):
                LocalEndpoint({AUTHORIZER: allow_all}, port=taken.getsockname()[1]).start()


def test_a_start_with_a_certificate_directory_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "ca.pem").write_text("not a certificate")
    (tmp_path / "ca-key.pem").write_text("not a key")
    for directory in (tmp_path, tmp_path / "file") * 5:
        with pytest.raises(ConfigurationError):
            LocalEndpoint({AUTHORIZER: allow_all}, cert_dir=directory).start()


def test_a_start_that_fails_in_the_thread_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(server: Server, listening: socket.socket) -> None:
        raise RuntimeError("this server does not start")

    with monkeypatch.context() as patched:
        patched.setattr(Server, "start", broken)
        for _ in range(10):
            with pytest.raises(RuntimeError, match="does not start"):
                LocalEndpoint({AUTHORIZER: allow_all}).start()


# -- ends with somebody there -----------------------------------------------------------------------------------------


def test_a_stop_with_connections_in_every_stage_leaves_nothing() -> None:
    release = threading.Event()

    def stuck(event: object, context: object) -> dict[str, object]:
        release.wait(SECONDS)
        return allow_all(event, context)

    authorizers = {AUTHORIZER: allow_all, "stuck": stuck}
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(LocalEndpoint(authorizers))
        stack.enter_context(WireClient(endpoint)).connected(client_id="live")
        stack.enter_context(socket.create_connection((endpoint.host, endpoint.port)))  # says nothing
        stack.enter_context(socket.create_connection((endpoint.host, endpoint.port))).sendall(b"\x16\x03\x01")
        stack.enter_context(WireClient(endpoint))  # TLS, no CONNECT
        stack.enter_context(tls_socket(endpoint)).sendall(b"GET / HT")
        stack.enter_context(WebSocketClient(endpoint, headers={HEADER: AUTHORIZER})).connect()
        assert (
            stack.enter_context(HttpClient(endpoint)).post("/topics/a?qos=1", b"", **{HEADER: AUTHORIZER}).status == 200
        )
        waiting = stack.enter_context(WireClient(endpoint))
        waiting.socket.settimeout(SECONDS)
        silent = stack.enter_context(WireClient(endpoint)).connected(client_id="silent")
        assert endpoint.faults.half_open("silent") == 1
        del silent
        thread = threading.Thread(
            target=waiting.connect, kwargs={"username": "u?x-amz-customauthorizer-name=stuck", "client_id": "waits"}
        )
        thread.start()
        endpoint.wait_for("authorizer_called", authorizer="stuck", timeout=SECONDS)
        endpoint.stop()
        release.set()
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_stop_may_be_called_from_two_threads_and_twice() -> None:
    endpoint = LocalEndpoint({AUTHORIZER: allow_all}).start()
    serves_a_good_client(endpoint)
    both = threading.Barrier(2)

    def stop() -> None:
        both.wait(SECONDS)
        endpoint.stop()
        assert not [each for each in threading.enumerate() if each.name == "iot-customauth-local"]

    threads = [threading.Thread(target=stop) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(SECONDS)
    endpoint.stop()
    assert len(endpoint.events.of_kind("stopped")) == 1


# -- ends that nobody asked for ---------------------------------------------------------------------------------------


def test_an_endpoint_that_is_dropped_without_stop_ends_and_says_so() -> None:
    endpoint = LocalEndpoint({AUTHORIZER: allow_all}).start()
    events, ca_file = endpoint.events, endpoint.ca_file
    client = WireClient(endpoint).connected()
    dropped = [endpoint]
    del endpoint
    with pytest.warns(ResourceWarning, match="was not stopped"):
        dropped.clear()
    with client:
        while client.receive() is not None:  # DISCONNECT, then the end
            pass
    events.wait_for("closed", timeout=SECONDS)
    assert eventually(lambda: not ca_file.exists())


RUNNING_AT_THE_END = """
import sys, threading
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint

def stuck(event, context):
    print("called", flush=True)
    threading.Event().wait()

def good(event, context):
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy]}

endpoint = LocalEndpoint({
    "good": good,
    "stuck": stuck,
    "command": LocalAuthorizer(command=["sh", "-c", "echo $$ >&2; exec sleep 1000"], signing_disabled=True),
}).start()
print(endpoint.port, endpoint.ca_file, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("authorizer", ["good", "stuck", "command"])
def test_a_process_that_ends_with_a_running_endpoint_leaves_nothing(authorizer: str) -> None:
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNING_AT_THE_END],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    port, ca_file = process.stdout.readline().split()
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["mqtt"])
    with socket.create_connection(("127.0.0.1", int(port)), SECONDS) as raw:
        client = context.wrap_socket(raw, server_hostname="localhost")
        username = f"u?x-amz-customauthorizer-name={authorizer}".encode()
        body = b"\0\4MQTT\5\x82\0\x3c\0" + b"\0\1c" + len(username).to_bytes(2, "big") + username
        client.sendall(bytes((0x10, len(body))) + body)
        child = None
        if authorizer == "good":
            assert client.recv(1024)[0] == 0x20  # CONNACK
        elif authorizer == "stuck":
            assert process.stdout.readline() == "called\n"
        else:
            child = int(process.stderr.readline())
        _, errors = process.communicate("end\n", SECONDS)
        if authorizer == "good":
            assert client.recv(1024)[0] == 0xE0  # DISCONNECT
        client.close()
    assert process.returncode == 0
    assert errors == ""
    assert not Path(ca_file).exists()
    assert not list(Path(tempfile.gettempdir()).glob("iot-customauth-*"))
    assert child is None or eventually(lambda: not Path(f"/proc/{child}").exists())

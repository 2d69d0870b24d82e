"""Starting and stopping: nothing is left behind, nothing is waited for without end, mistakes are told at once."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mqtt_wire import WireClient, serves_a_good_client
from waiting import eventually, threads

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import Disconnect

NAME = "custom_auth_mqtt_2021_08_21"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_behind(password_authorizer: LocalAuthorizer) -> None:
    with LocalEndpoint({NAME: password_authorizer}) as endpoint:  # what the process has once, before counting
        serves_a_good_client(endpoint)
    gc.collect()
    before, files = threads(), open_files()
    for _ in range(3):
        with LocalEndpoint({NAME: password_authorizer}) as endpoint:
            clients = [WireClient(endpoint) for _ in range(20)]
            clients[0].connected()
            clients[1].connect(password=b"wrong")
            raw = socket.create_connection((endpoint.host, endpoint.port))
            raw.sendall(b"\x16\x03\x01")
            ca_file, server = endpoint.ca_file, endpoint._needs_running().server
        assert not server._connections
        assert not any(server.peers.sizes().values())
        assert not any(server.broker.sizes().values())
        assert not asyncio.all_tasks(server.loop)
        assert not ca_file.exists()
        raw.close()
        for client in clients:
            client.close()
    gc.collect()
    assert not threads() - before
    # Other tests' native clients may be about to open or close something of theirs; a leak of ours would stay.
    assert eventually(lambda: open_files() <= files)


def test_connections_that_came_and_went_leave_nothing_in_the_server(endpoint: LocalEndpoint) -> None:
    for password in (b"pass01", b"wrong") * 10:
        with WireClient(endpoint) as client:
            client.connect(password=password)
        socket.create_connection((endpoint.host, endpoint.port)).close()  # before its first byte
    for number in range(1, 41):
        endpoint.wait_for("closed", connection=number, timeout=5)
    server = endpoint._needs_running().server
    assert not server._connections
    assert not any(server.peers.sizes().values())
    assert not server._outputs
    assert not server._live
    assert not server.timekeeper.refreshing
    assert not any(server.broker.sizes().values())


def test_a_connected_client_is_told_that_the_endpoint_stops(password_authorizer: LocalAuthorizer) -> None:
    with LocalEndpoint({NAME: password_authorizer}) as endpoint:
        client = WireClient(endpoint).connected()
    with client:
        answer = client.receive()
        assert isinstance(answer, Disconnect)
        assert client.receive() is None
    assert endpoint.wait_for(events.Disconnected, timeout=0).reason == "SERVER_INITIATED_DISCONNECT"
    assert [event.kind for event in endpoint.events][-1] == "stopped"


def test_starting_and_stopping_twice_does_no_harm(password_authorizer: LocalAuthorizer) -> None:
    endpoint = LocalEndpoint({NAME: password_authorizer})
    endpoint.stop()
    endpoint.start()
    port = endpoint.port
    assert endpoint.start().port == port
    serves_a_good_client(endpoint)
    endpoint.stop()
    endpoint.stop()
    assert len(endpoint.events.of_kind("stopped")) == 1
    with pytest.raises(RuntimeError, match="does not run"):
        _ = endpoint.port
    with endpoint:
        serves_a_good_client(endpoint)


def test_two_endpoints_in_one_process(password_authorizer: LocalAuthorizer) -> None:
    with LocalEndpoint({NAME: password_authorizer}) as one, LocalEndpoint({NAME: password_authorizer}) as two:
        assert one.port != two.port
        serves_a_good_client(one)
        serves_a_good_client(two)


def test_the_authority_of_a_directory_is_found_again(password_authorizer: LocalAuthorizer, tmp_path: Path) -> None:
    authorities = []
    for _ in range(2):
        with LocalEndpoint({NAME: password_authorizer}, cert_dir=tmp_path) as endpoint:
            authorities.append(endpoint.ca_file.read_bytes())
            serves_a_good_client(endpoint)
    assert authorities[0] == authorities[1]


def test_a_port_in_use_is_told_in_words(endpoint: LocalEndpoint, password_authorizer: LocalAuthorizer) -> None:
    with pytest.raises(OSError, match=f"port {endpoint.port} on 127.0.0.1 is in use"):
        LocalEndpoint({NAME: password_authorizer}, port=endpoint.port).start()
    assert [thread.name for thread in threading.enumerate()].count("iot-customauth-local") == 1


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "x" * 64, "a\0b"], ids=ascii)
def test_an_address_that_is_not_here_is_told_in_words(host: str, password_authorizer: LocalAuthorizer) -> None:
    with pytest.raises(OSError, match=re.escape(ascii(host).strip("'"))):
        LocalEndpoint({NAME: password_authorizer}, host=host).start()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hostnames": ()}, "no host name"),
        ({"hostnames": "localhost"}, r"write a list, \['localhost'\]"),
        ({"host": None}, "host is None: write an address"),
        ({"port": 70_000}, "port is 70000: .* to 65,535"),
        ({"port": "8443"}, "port is '8443'"),
        ({"choices": {"plus_in_query": "space"}}, "choices is a dict: pass Choices"),
        ({"session_expiry_seconds": "60"}, "1 to 604,800 s"),
        ({"hostnames": ("https://localhost",)}, "without scheme"),
        ({"region": "Tokyo"}, "eu-central-1"),
        ({"account": "123"}, "12 digits"),
        ({"refused_subscribe_311": "sub_ack"}, "did you mean 'suback'"),
        ({"quotas": "on"}, "unknown quotas 'on'"),
        ({"session_expiry_seconds": 0}, "1 to 604,800 s"),
        ({"default_authorizer": "custom_auth_mqtt_2021"}, f"did you mean '{NAME}'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    fields: dict[str, object], named: str, password_authorizer: LocalAuthorizer
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        LocalEndpoint({NAME: password_authorizer}, **fields)  # type: ignore[arg-type]


def test_events_can_be_awaited_from_an_event_loop(endpoint: LocalEndpoint) -> None:
    async def run() -> events.Connected:
        waiting = asyncio.create_task(endpoint.wait_for_async(events.Connected, timeout=5))
        await asyncio.to_thread(serves_a_good_client, endpoint)
        return await waiting

    assert asyncio.run(run()).client_id == "client_id"


def test_the_ca_file_is_found_from_any_directory(
    password_authorizer: LocalAuthorizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with LocalEndpoint({NAME: password_authorizer}, cert_dir="certificates") as endpoint:
        monkeypatch.chdir("/")
        assert endpoint.ca_file == tmp_path / "certificates" / "ca.pem"
        serves_a_good_client(endpoint)


FORKED = """
import os, sys
from iot_customauth_client.local import LocalEndpoint
with LocalEndpoint({"gate": lambda event, context: {"isAuthenticated": False}}) as endpoint:
    child = os.fork()
    if child == 0:
        try:
            CALL
        except RuntimeError as error:
            print(str(error).replace(str(os.getppid()), "PARENT").replace(str(endpoint.port), "PORT"))
        sys.exit()
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    "call",
    [
        'endpoint.publish("t", "hello")',
        'endpoint.disconnect("client_id")',
        'endpoint.wait_for("connected", timeout=30)',
        "endpoint.faults.drop()",
        'endpoint.faults.swallow("PUBACK")',
        "with endpoint.faults.unreachable(): pass",
    ],
)
def test_a_forked_process_is_told_at_once_that_the_endpoint_is_not_its(call: str) -> None:
    script = FORKED.replace("CALL", call)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]  # newer Pythons warn of any fork
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "runs in process PARENT" in done.stdout
    assert "port PORT" in done.stdout
    assert not done.stderr


INTERRUPTED = """
import os, shutil, signal, sys, tempfile, threading
from pathlib import Path
from iot_customauth_client.local import LocalEndpoint, server

tempfile.tempdir = sys.argv[1]
interrupted = threading.Event()

def interrupt(signal_number, frame):
    interrupted.set()
    raise KeyboardInterrupt

def cut_short():
    os.kill(os.getpid(), signal.SIGUSR1)
    assert interrupted.wait(10)

class Interrupted(server.Server):
    async def start(self, listening):
        await super().start(listening)
        if "start" in sys.argv[2]:
            cut_short()

    async def close(self):
        if "stop" in sys.argv[2]:
            cut_short()
        return await super().close()

def rmtree(*args, **more):
    if "removal" in sys.argv[2] and not interrupted.is_set():
        signal.raise_signal(signal.SIGUSR1)
    real_rmtree(*args, **more)

real_rmtree, shutil.rmtree = shutil.rmtree, rmtree
sys.modules["iot_customauth_client.local.endpoint"].Server = Interrupted
signal.signal(signal.SIGUSR1, interrupt)
try:
    with LocalEndpoint({"gate": lambda event, context: {"isAuthenticated": False}}):
        pass
except KeyboardInterrupt:
    print("interrupted")
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
        print(thread.name, "left" if thread.is_alive() else "ended")
print(list(Path(sys.argv[1]).iterdir()))
"""


@pytest.mark.parametrize("moment", ["start", "stop", "removal"])
def test_ctrl_c_while_it_starts_or_stops_leaves_nothing_behind(moment: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), moment], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("interrupted"), done.stderr
    assert "left" not in done.stdout
    assert done.stdout.endswith("[]\n")
    assert not done.stderr

"""A gateway's worth of connections in one process: a thousand, on one event-loop thread, and no thread for each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from client_support import WAIT

from iot_customauth_client import ConnectionSettings, Credentials, Message, aio, connect
from iot_customauth_client.runtime import runtime

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
COUNT = 1_000
LONG = 60.0
PLAIN = Credentials.from_password("user01", "pass01")

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="needs the package mosquitto"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc"),
    pytest.mark.timeout(150),
]


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """Room for a descriptor for each connection, here and in the broker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = COUNT + 500 if hard == resource.RLIM_INFINITY else min(hard, COUNT + 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def settings(many_files: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectionSettings]:
    """A broker for all of them."""
    directory = tmp_path_factory.mktemp("broker")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(str(directory / "cert.pem"), append=number > 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "broker.conf").write_text(
        f"listener {port} 127.0.0.1\ncertfile {directory / 'cert.pem'}\nkeyfile {directory / 'key.pem'}\n"
        "allow_anonymous true\nlog_dest none\n" + ("user root\n" if os.geteuid() == 0 else "")
    )
    assert MOSQUITTO is not None
    broker = subprocess.Popen([MOSQUITTO, "-c", str(directory / "broker.conf")])
    try:
        until = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert broker.poll() is None
            assert time.monotonic() < until
        yield ConnectionSettings(endpoint="localhost", port=port, ca_file=directory / "ca.pem")
    finally:
        broker.terminate()
        broker.wait(WAIT)


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def idle_workers_end() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("iot-customauth-worker-"):
            thread.join(WAIT)


class Arrivals:
    """Counts who has received the one message that is for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = COUNT
        self.all = threading.Event()

    def __call__(self, message: Message) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self.all.set()


def test_a_thousand_connections_share_one_event_loop_thread(
    settings: ConnectionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime().workers, "_idle_seconds", 0.05)
    arrivals = Arrivals()
    connections = [
        connect(settings, client_id=f"many-{number}", credentials=PLAIN, timeout=0) for number in range(COUNT)
    ]
    try:
        subscriptions = [connection.subscribe("to/all", arrivals, qos=1) for connection in connections]
        for subscription in subscriptions:
            subscription.wait_granted(LONG)
        idle_workers_end()
        assert native_threads() < 20
        connections[0].publish("to/all", b"hello").result(WAIT)
        assert arrivals.all.wait(LONG)
        idle_workers_end()
        assert native_threads() < 20
    finally:
        for connection in connections:
            connection.close(timeout=WAIT, drain=False)


def test_a_thousand_connections_share_one_asyncio_loop(settings: ConnectionSettings) -> None:
    async def main() -> None:
        arrivals = Arrivals()
        opening = [aio.connect(settings, client_id=f"loop-{number}", credentials=PLAIN) for number in range(COUNT)]
        connections = await asyncio.gather(*opening)
        try:
            subscriptions = [connection.subscribe("to/all", arrivals, qos=1) for connection in connections]
            await asyncio.gather(*(subscription.wait_granted(LONG) for subscription in subscriptions))
            await asyncio.to_thread(idle_workers_end)
            assert native_threads() < 25
            await connections[0].publish("to/all", b"hello")
            assert await asyncio.to_thread(arrivals.all.wait, LONG)
        finally:
            await asyncio.gather(*(connection.close(drain=False) for connection in connections))

    asyncio.run(main())

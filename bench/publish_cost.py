"""What one publish with QoS 1 costs: this package's connection and bare awscrt, in turns, over TLS to a mosquitto.

`sem` is the public awscrt call with a semaphore of 500, as most scripts do it; `burst` lets 500 out and goes on when
half of them are acknowledged, the best that a script can do. `ours` publishes and waits for all futures. `lone` is one
publish after the other, each waited for. Payloads have 128 bytes. Printed are messages a second (medians) and the
medians of the ratios of each round, so that a busy machine disturbs all alike.

Usage: python bench/publish_cost.py [rounds] [messages]
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme
from awscrt import io, mqtt, mqtt5

from iot_customauth_client import ConnectionSettings, Credentials, connect

PAYLOAD = b"x" * 128
TOPIC = "bench/publish"
WINDOW = 500
SECONDS = 60.0

Run = Callable[[int], None]


def start_mosquitto(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a broker of our own on a free port of loopback; it writes `ca.pem` into the folder before."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\n"
        f"max_queued_messages 0\ncertfile {folder}/server.pem\nkeyfile {folder}/server.pem\nuser root\n"
    )
    broker = subprocess.Popen(["mosquitto", "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)  # noqa: S607
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    return broker, port


class Raw:
    """Bare awscrt, one client of either protocol."""

    def __init__(self, protocol: str, port: int, ca_file: Path) -> None:
        options = io.TlsContextOptions()
        options.override_default_trust_store(ca_file.read_bytes())
        context = io.ClientTlsContext(options)
        self.client: Any
        if protocol == "mqtt311":
            self.client = mqtt.Connection(mqtt.Client(None, context), "localhost", port, f"raw-{protocol}")
            self.client.connect().result(SECONDS)
            return
        connected = threading.Event()
        self.client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name="localhost",
                port=port,
                tls_ctx=context,
                connect_options=mqtt5.ConnectPacket(client_id=f"raw-{protocol}"),
                on_lifecycle_event_connection_success_fn=lambda _: connected.set(),
            )
        )
        self.client.start()
        assert connected.wait(SECONDS)

    def publish(self) -> Any:
        if isinstance(self.client, mqtt.Connection):
            return self.client.publish(TOPIC, PAYLOAD, mqtt.QoS.AT_LEAST_ONCE)[0]
        return self.client.publish(mqtt5.PublishPacket(topic=TOPIC, payload=PAYLOAD, qos=mqtt5.QoS.AT_LEAST_ONCE))

    def sem(self, count: int) -> None:
        """Publish with a semaphore."""
        window = threading.Semaphore(WINDOW)
        for _ in range(count):
            window.acquire()
            self.publish().add_done_callback(lambda _: window.release())
        for _ in range(WINDOW):
            window.acquire()

    def burst(self, count: int) -> None:
        """Publish in bursts of half a window."""
        done = sent = 0
        room = threading.Event()

        def acknowledged(_: Any) -> None:
            nonlocal done
            done += 1
            if done == sent or sent - done == WINDOW // 2:
                room.set()

        while sent < count:
            room.clear()
            while sent < count and sent - done < WINDOW:
                sent += 1
                self.publish().add_done_callback(acknowledged)
            if sent - done > WINDOW // 2:
                room.wait(SECONDS)
        while done < count:
            room.clear()
            if done < count:
                room.wait(0.05)

    def lone(self, count: int) -> None:
        """Publish one after the other."""
        for _ in range(count):
            self.publish().result(SECONDS)


def measure(protocol: str, port: int, ca_file: Path, rounds: int, count: int) -> None:
    settings = ConnectionSettings(
        endpoint="localhost", client_id=f"ours-{protocol}", port=port, ca_file=ca_file, protocol=protocol, alpn=None
    )
    raw = Raw(protocol, port, ca_file)
    with connect(settings, credentials=Credentials.from_password("user", "secret")) as connection:
        publish = connection.publish

        def ours(count: int) -> None:
            futures = [publish(TOPIC, PAYLOAD) for _ in range(count)]
            for future in futures:
                future.result(SECONDS)

        def ours_lone(count: int) -> None:
            for _ in range(count):
                publish(TOPIC, PAYLOAD).result(SECONDS)

        runs: dict[str, tuple[Run, int]] = {
            "ours": (ours, count),
            "sem": (raw.sem, count),
            "burst": (raw.burst, count),
            "ours lone": (ours_lone, count // 5),
            "raw lone": (raw.lone, count // 5),
        }
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, (run, messages) in runs.items():
                begun = time.perf_counter()
                run(messages)
                if number:  # the first round warms up
                    rates[name].append(messages / (time.perf_counter() - begun))
    for name, found in rates.items():
        print(f"{protocol:8} {name:10} {statistics.median(found):8.0f} messages/s")
    for mine, other in (("ours", "sem"), ("ours", "burst"), ("ours lone", "raw lone")):
        ratios = [a / b for a, b in zip(rates[mine], rates[other], strict=True)]
        print(
            f"{protocol:8} {mine} / {other}: {statistics.median(ratios):.2f}  ({min(ratios):.2f} - {max(ratios):.2f})"
        )


def main() -> None:
    rounds, count = (
        (int(each) for each in (*sys.argv[1:3], "5", "5000")[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 5_000)
    )
    with tempfile.TemporaryDirectory() as folder:
        broker, port = start_mosquitto(Path(folder))
        try:
            for protocol in ("mqtt5", "mqtt311"):
                measure(protocol, port, Path(folder) / "ca.pem", rounds, count)
        finally:
            broker.terminate()
            broker.wait(10)


if __name__ == "__main__":
    main()

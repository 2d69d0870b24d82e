"""What the rows of `side_by_side.py` share: a private broker, raw clients, and the taking of turns.

Everything talks to one mosquitto over TLS on loopback, with its limits off and TCP_NODELAY on, so that what is left is
the client's side. Variants of a row take turns in one run, repetition by repetition; a figure is the median of the
ratios of each repetition, since a busy machine disturbs whole repetitions.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import itertools
import multiprocessing
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import trustme

from iot_customauth_client import ConnectionBuilder, ConnectionSettings, Credentials
from iot_customauth_client.runtime import runtime

PAYLOAD_BYTES = 128
CREDENTIALS = Credentials.from_password("bench", "word")
WINDOW = 500
WAIT = 60.0
SPAWN = multiprocessing.get_context("spawn")
_numbers = itertools.count()


@dataclass(frozen=True)
class Figure:
    """One line of the table. `met` and `aimed` are `None` where nothing was promised."""

    row: str
    must: str
    value: str
    met: bool | None = None
    aim: str = ""
    aimed: bool | None = None


@dataclass(frozen=True)
class Bench:
    """Where to measure, and how long."""

    port: int
    ca_file: Path
    directory: Path
    quick: bool
    clients: itertools.count[int] = field(default_factory=itertools.count, repr=False)

    @property
    def repetitions(self) -> int:
        return 3 if self.quick else 7

    def messages(self, usual: int) -> int:
        return usual // 3 if self.quick else usual

    def settings(self, **overrides: Any) -> ConnectionSettings:
        """Settings for one more client."""
        given: dict[str, Any] = {
            "endpoint": "localhost",
            "port": self.port,
            "ca_file": self.ca_file,
            "client_id": unique("bench"),
            "session_expiry_seconds": 300,
            "keep_alive_seconds": 600,
        }
        return ConnectionSettings(**(given | overrides))


def unique(prefix: str) -> str:
    """A name that nobody else in this run uses."""
    return f"{prefix}-{multiprocessing.current_process().pid}-{next(_numbers)}"


@contextlib.contextmanager
def broker() -> Iterator[tuple[int, Path, Path]]:
    """Run a private mosquitto; give its port, its authority's certificate, and a directory for scratch."""
    executable = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if executable is None:
        raise SystemExit("the benchmarks need mosquitto: apt-get install mosquitto")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        certificate = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(directory / "ca.pem")
        certificate.private_key_pem.write_to_path(directory / "key.pem")
        (directory / "chain.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (directory / "mosquitto.conf").write_text(
            f"user {getpass.getuser()}\n"
            f"listener {port} 127.0.0.1\n"
            f"certfile {directory}/chain.pem\nkeyfile {directory}/key.pem\n"
            "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
        )
        with (directory / "mosquitto.log").open("w") as log:
            process = subprocess.Popen([executable, "-c", directory / "mosquitto.conf"], stdout=log, stderr=log)
        try:
            _wait_listening(process, port, directory)
            yield port, directory / "ca.pem", directory
        finally:
            process.terminate()
            process.wait()


def _wait_listening(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"mosquitto ended: {(directory / 'mosquitto.log').read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()
            return
        time.sleep(0.02)
    raise SystemExit("mosquitto does not listen")


# -- taking turns -----------------------------------------------------------------------------------------------------


def take_turns(variants: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Run every variant once to warm up, then all in turn; the first of a turn changes. Gives what they return."""
    for run in variants.values():
        run()
    samples: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(repetitions):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(variants[name]())
    return samples


def ratio(mine: list[float], theirs: list[float]) -> float:
    """The median of the ratios of each repetition."""
    return statistics.median(mine / theirs for mine, theirs in zip(mine, theirs, strict=True))


def at_least(row: str, value: float, must: float, aim: float | None = None, *, of: str, note: str = "") -> Figure:
    """A figure that should be high: a ratio to something."""
    return Figure(
        row,
        f">= {must:g}x {of}",
        f"{value:.2f}x{note}",
        value >= must,
        "" if aim is None else f">= {aim:g}x",
        None if aim is None else value >= aim,
    )


def rates(samples: Mapping[str, list[float]]) -> None:
    """Print the medians, for who wants to know more than the ratios."""
    print("    " + ", ".join(f"{name} {statistics.median(values):,.0f}/s" for name, values in samples.items()))


# -- raw awscrt -------------------------------------------------------------------------------------------------------


@cache
def _raw_bootstrap() -> Any:
    from awscrt import io

    group = io.EventLoopGroup(1)
    return io.ClientBootstrap(group, io.DefaultHostResolver(group))


class Raw:
    """One connected `awscrt.mqtt5.Client`, used by awscrt's public API alone.

    All of them on one event-loop thread, as awscrt's users have it, but not on that of our connections: it keeps its
    Python state (`links/native_thread.py`), and would make bare awscrt faster than it is.
    """

    def __init__(
        self, bench: Bench, on_publish: Callable[[Any], None] | None = None, *, no_delay: bool = False
    ) -> None:
        from awscrt import mqtt5

        self.mqtt5 = mqtt5
        up, self._down = threading.Event(), threading.Event()
        settings = bench.settings()
        options = ConnectionBuilder(settings, CREDENTIALS).mqtt5_options(
            on_publish_callback_fn=on_publish,
            on_lifecycle_event_connection_success_fn=lambda _: up.set(),
            on_lifecycle_event_stopped_fn=lambda _: self._down.set(),
        )
        options.bootstrap = _raw_bootstrap()
        self.client = mqtt5.Client(options)
        watch = runtime().nodelay.watch(settings.port) if no_delay else None
        self.client.start()
        assert up.wait(WAIT)
        if watch is not None:
            watch.end()

    def packet(self, topic: str, payload: bytes, qos: int = 1) -> Any:
        return self.mqtt5.PublishPacket(topic=topic, payload=payload, qos=self.mqtt5.QoS(qos))

    def subscribe(self, topic: str, qos: int) -> None:
        wanted = self.mqtt5.Subscription(topic_filter=topic, qos=self.mqtt5.QoS(qos))
        self.client.subscribe(self.mqtt5.SubscribePacket(subscriptions=[wanted])).result(WAIT)

    def publish_sem(self, topic: str, payloads: list[bytes], qos: int = 1) -> None:
        """Publish with a semaphore for a window: what most people write."""
        window = threading.Semaphore(WINDOW)
        left = threading.Semaphore(0)

        def done(_: object) -> None:
            window.release()
            left.release()

        for payload in payloads:
            window.acquire()
            self.client.publish(self.packet(topic, payload, qos)).add_done_callback(done)
        for _ in payloads:
            left.acquire()

    def publish_burst(self, topic: str, payloads: list[bytes], qos: int = 1) -> None:
        """Publish in bursts: sleep until half of the window is free. The best that awscrt's users know."""
        count, sent = len(payloads), 0
        done = 0
        ready = threading.Event()

        def acknowledged(_: object) -> None:
            nonlocal done
            done += 1
            if sent - done == WINDOW // 2 or done == count:
                ready.set()

        while sent < count:
            while sent < count and sent - done < WINDOW:
                sent += 1
                packet = self.packet(topic, payloads[sent - 1], qos)
                self.client.publish(packet).add_done_callback(acknowledged)
            ready.clear()
            if sent < count and sent - done > WINDOW // 2:
                ready.wait(0.05)
        while done < count:
            ready.wait(0.01)
            ready.clear()

    def close(self) -> None:
        self.client.stop()
        self._down.wait(WAIT)


# -- paho, aiomqtt and loops ------------------------------------------------------------------------------------------


def paho_client(bench: Bench, *, no_delay: bool = False) -> Any:
    """A connected paho client with its loop in a thread and a window of 500."""
    from paho.mqtt import client as paho

    up = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=unique("paho"), protocol=paho.MQTTv5)
    client.tls_set(ca_certs=str(bench.ca_file))
    client.max_inflight_messages_set(WINDOW)
    client.on_connect = lambda *_: up.set()
    client.connect("localhost", bench.port, keepalive=600)
    if no_delay:
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.loop_start()
    assert up.wait(WAIT)
    return client


async def aiomqtt_client(bench: Bench) -> Any:
    """A connected aiomqtt client of this loop, with a window of 500."""
    import logging

    import aiomqtt

    logging.getLogger("mqtt").setLevel(logging.ERROR)  # it warns of every one of 500 messages under way

    client = aiomqtt.Client(
        "localhost",
        bench.port,
        identifier=unique("aiomqtt"),
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=ssl.create_default_context(cafile=str(bench.ca_file)),
        max_inflight_messages=WINDOW,
        max_concurrent_outgoing_calls=WINDOW,
        keepalive=600,
    )
    return await client.__aenter__()


class Loop:
    """An asyncio loop in a thread of its own, from the start to the end of a row."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10 * WAIT)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def payloads(count: int) -> list[bytes]:
    """Payloads of 128 bytes that begin with their number."""
    return [number.to_bytes(8, "big").ljust(PAYLOAD_BYTES, b"x") for number in range(count)]


def number_of(payload: bytes) -> int:
    """The number that `payloads()` put into one."""
    return int.from_bytes(payload[:8], "big")


def timed(count: int, call: Callable[[], object]) -> float:
    """Call, and return how many a second that was."""
    began = time.perf_counter()
    call()
    return count / (time.perf_counter() - began)

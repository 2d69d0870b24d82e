"""The local endpoint as a test bench: what it takes to start, what 2,000 idle devices cost it, how much goes through.

Usage: scripts/bench endpoint [--quick] [--only start|idle|throughput|log]... [--connections 2000]
                              [--against DIRECTORY] [--profile FILE] [--shape PART]...

The endpoint has a process of its own, all clients together another one, mosquitto a third: on two cores an endpoint
that is busy has one for itself. Throughput is compared with mosquitto over TLS and without it, in turns within one
run; `--against` takes another checkout of this package into the turns, to see what a change is worth. Absolute numbers
of two runs cannot be compared. `--profile` writes cProfile's statistics of the endpoint's thread, which slows it down.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from endpoint_host import USERNAME, Host, cpu_seconds, pss_bytes, raise_file_limit
from endpoint_throughput import SHAPES, Sample, Shape, run
from harness import broker as mosquitto
from lean_clients import Broker, Client, Crowd, Subscriber, publish_packet

HERE = Path(__file__).parent.parent
PARTS = ("start", "idle", "throughput", "log")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench endpoint", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, three rounds")
    parser.add_argument("--only", action="append", choices=PARTS, help="repeatable; default: all")
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--against", type=Path, help="another checkout of this package")
    parser.add_argument("--profile", type=Path, help="where to write what cProfile saw of the endpoint's thread")
    parser.add_argument("--shape", action="append", help="part of a shape's name; default: all shapes")
    parser.add_argument("--rounds", type=int)
    asked = parser.parse_args()
    raise_file_limit()
    checkouts = {"endpoint": HERE} | ({"against": asked.against} if asked.against else {})
    parts = asked.only or PARTS
    if "start" in parts:
        start(checkouts)
    if "idle" in parts:
        for name, checkout in checkouts.items():
            idle(name, checkout, asked.connections)
    if "throughput" in parts:
        shapes = [each for each in SHAPES if not asked.shape or any(part in each.name for part in asked.shape)]
        rounds = asked.rounds or (3 if asked.quick else 5)
        throughput(checkouts, shapes, rounds, scale=0.1 if asked.quick else 1.0, profile=asked.profile)
    if "log" in parts:
        log_memory()
    return 0


def start(checkouts: dict[str, Path]) -> None:
    """How long `start()` takes in a fresh process, without the imports."""
    samples: dict[str, list[float]] = {name: [] for name in checkouts}
    for _ in range(7):
        for name, checkout in checkouts.items():
            host = Host(checkout)
            samples[name].append(host.start_seconds)
            host.close()
    for name, times in samples.items():
        print(f"start of one endpoint, {name}: median {statistics.median(times) * 1e3:.1f} ms of {len(times)}")


# -- idle devices -----------------------------------------------------------------------------------------------------


def idle(name: str, checkout: Path, connections: int) -> None:
    """Many devices that say nothing, and one message to all of them."""
    host = Host(checkout)
    pid = host.process.pid
    broker = Broker(host.port, host.ca_file, USERNAME)
    context = broker.context()
    warm = [Client(broker, context, f"warm-{number}") for number in range(20)]
    topics = {0: "all/qos0", 1: "all/qos1"}
    memory, own, cpu = host.ask("memory"), pss_bytes(), cpu_seconds(pid)
    began = time.perf_counter()
    clients = [Client(broker, context, f"idle-{number}") for number in range(connections)]
    connecting = time.perf_counter() - began
    cpu = cpu_seconds(pid) - cpu
    per, theirs = (host.ask("memory") - memory) / connections, (pss_bytes() - own) / connections
    print(f"{name}: {connections:,} connections, TLS and MQTT 5, in {connecting:.1f} s, one after the other")
    print(
        f"    {connecting / connections * 1e3:.2f} ms each, CPU of the endpoint {cpu / connections * 1e3:.2f} ms of it"
    )
    # In the process of the clients the memory of the first round is used again in the next ones.
    beside = f", {theirs / 1024:.1f} KiB at the clients" if name == "endpoint" else ""
    print(f"    memory for each: {per / 1024:.1f} KiB at the endpoint{beside}")
    cpu = cpu_seconds(pid)
    time.sleep(10)
    print(f"    CPU while all are idle: {(cpu_seconds(pid) - cpu) / 10:.2%} of one core")
    sender = warm[0]
    for qos, topic in topics.items():
        before = host.ask("events")
        subscribers = [Subscriber(each, topic, qos) for each in clients]
        if qos == 0:
            with_subscription = (host.ask("memory") - memory) / connections
            print(f"    memory for each with a subscription: {with_subscription / 1024:.1f} KiB")
        crowd = Crowd(clients)
        began, cpu = time.perf_counter(), cpu_seconds(pid)
        sender.socket.sendall(publish_packet(topic, 0 if qos == 0 else 1))
        crowd.drive(partial(_all_received, subscribers))
        acknowledged = not qos or host.ask("arrived", kind="acknowledged", after=before, count=connections)
        elapsed, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu
        crowd.close()
        if not acknowledged:
            raise SystemExit("not all acknowledgements arrived")
        more = " with all acknowledgements" if qos else ""
        print(f"    one QoS {qos} message to all{more}: {elapsed * 1e3:.0f} ms, {cpu * 1e3:.0f} ms CPU of the endpoint")
    for each in (*clients, *warm):
        each.close()
    host.close()


def _all_received(subscribers: list[Subscriber]) -> bool:
    return all(each.received for each in subscribers)


# -- throughput -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def plain_mosquitto(directory: Path) -> Iterator[tuple[int, int]]:
    """Run a mosquitto without TLS; give its port and its process id."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = (directory / "mosquitto.conf").read_text().splitlines()
    kept = [line for line in configuration if not line.startswith(("listener", "certfile", "keyfile"))]
    (directory / "plain.conf").write_text("\n".join((f"listener {port} 127.0.0.1", *kept, "")))
    executable = Path(f"/proc/{_pid_listening(int(configuration[1].split()[1]))}/exe").resolve()
    process = subprocess.Popen([executable, "-c", directory / "plain.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _pid_listening(port: int) -> int:
    """The process that listens on a port of this machine."""
    import psutil

    return next(each.pid for each in psutil.net_connections("tcp") if each.laddr.port == port and each.pid)


def throughput(
    checkouts: dict[str, Path], shapes: list[Shape], rounds: int, *, scale: float, profile: Path | None
) -> None:
    """Let all brokers take turns, shape by shape, and print the table."""
    with contextlib.ExitStack() as stack:
        port, ca_file, directory = stack.enter_context(mosquitto())
        plain_port, plain_pid = stack.enter_context(plain_mosquitto(directory))
        brokers: dict[str, tuple[Broker, int]] = {}
        for name, checkout in checkouts.items():
            host = Host(checkout, profile=profile if name == "endpoint" else None)
            stack.callback(host.close)
            brokers[name] = Broker(host.port, host.ca_file, USERNAME), host.process.pid
        brokers["mosquitto, TLS"] = Broker(port, ca_file), _pid_listening(port)
        brokers["mosquitto, plain"] = Broker(plain_port, None), plain_pid
        print(f"deliveries of 128 bytes a second, median of {rounds} rounds; x: ratio to mosquitto over TLS")
        for shape in shapes:
            smaller = Shape(**{**shape.__dict__, "messages": max(int(shape.messages * scale), 20 * shape.burst)})
            samples: dict[str, list[Sample]] = {name: [] for name in brokers}
            for each in brokers.values():
                run(smaller, *each)
            for turn in range(rounds):
                names = list(brokers)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    samples[name].append(run(smaller, *brokers[name]))
            _print_shape(shape, samples)


def _print_shape(shape: Shape, samples: dict[str, list[Sample]]) -> None:
    print(f"  {shape.name}")
    theirs = samples["mosquitto, TLS"]
    for name, mine in samples.items():
        rate = statistics.median(each.rate for each in mine)
        ratio = statistics.median(one.rate / other.rate for one, other in zip(mine, theirs, strict=True))
        cpu = statistics.median(each.broker_cpu for each in mine)
        own = statistics.median(each.client_cpu for each in mine)
        faster = ""
        if name == "endpoint" and "against" in samples:
            pairs = list(zip(mine, samples["against"], strict=True))
            rates = statistics.median(one.rate / other.rate for one, other in pairs)
            costs = statistics.median(other.broker_cpu / one.broker_cpu for one, other in pairs if one.broker_cpu)
            faster = f"  {rates:.2f}x the rate of the other checkout, its CPU {costs:.2f}x"
        print(
            f"    {name:16} {rate:9,.0f}/s {ratio:6.3f}x   CPU of the broker {cpu * 1e6:6.1f} us each,"
            f" of the clients {own * 1e6:5.1f}{faster}",
            flush=True,
        )


# -- the event log ----------------------------------------------------------------------------------------------------


def log_memory() -> None:
    """What a log that is full costs, and that it stays so."""
    host = Host(HERE)
    before = host.ask("memory")
    for count in (100_000, 100_000, 1_000_000):
        kept = host.ask("fill", count=count)
        memory = host.ask("memory") - before
        print(
            f"event log after {count:,} more `delivered` events of 128 bytes: {kept:,} kept, {memory / 2**20:.1f} MiB"
        )
    host.close()


if __name__ == "__main__":
    sys.exit(main())

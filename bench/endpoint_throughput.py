"""Messages through a broker: who publishes to whom, how many a second, and what each costs the broker's process.

A shape is a number of publishers, each with a topic of its own, and of subscribers for each topic. Publishers send in
bursts and have at most two of them under way. CPU time of the broker's process is told beside the rate, since it does
not depend on what else the machine does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from endpoint_host import cpu_seconds
from lean_clients import Broker, Client, Crowd, Publisher, Subscriber


@dataclass(frozen=True)
class Shape:
    """Who publishes to whom. `copies` of each message are delivered; `burst` messages are written at once."""

    name: str
    pairs: int
    copies: int
    qos: int
    burst: int
    messages: int
    """Deliveries of one round, all subscribers together."""


SHAPES = (
    Shape("1 -> 1, QoS 1, one at a time", 1, 1, 1, 1, 3_000),
    Shape("1 -> 1, QoS 1", 1, 1, 1, 50, 12_000),
    Shape("1 -> 1, QoS 0", 1, 1, 0, 50, 20_000),
    Shape("10 -> 10, QoS 1", 10, 1, 1, 10, 12_000),
    Shape("10 -> 10, QoS 0", 10, 1, 0, 10, 20_000),
    Shape("1 -> 100, QoS 1", 1, 100, 1, 10, 20_000),
    Shape("1 -> 100, QoS 0", 1, 100, 0, 10, 40_000),
)


@dataclass(frozen=True)
class Sample:
    """One round. Per second: deliveries. CPU: seconds of the broker, and of the clients, for one delivery."""

    rate: float
    broker_cpu: float
    client_cpu: float


def run(shape: Shape, broker: Broker, pid: int) -> Sample:
    """Connect, let messages through, and tell how it went."""
    context = broker.context()
    made = 0

    def client() -> Client:
        nonlocal made
        made += 1
        return Client(broker, context, f"bench-{made}")

    count = shape.messages // shape.copies // shape.pairs // shape.burst * shape.burst
    lanes: list[tuple[Publisher, list[Subscriber]]] = []
    clients: list[Client] = []
    for lane in range(shape.pairs):
        topic = f"bench/{lane:02}"
        takers = [client() for _ in range(shape.copies)]
        sender = client()
        clients += (*takers, sender)
        subscribers = [Subscriber(each, topic, shape.qos) for each in takers]
        lanes.append((Publisher(sender, topic, shape.qos, count=count, burst=shape.burst), subscribers))
    crowd = Crowd(clients)

    def done() -> bool:
        over = True
        for publisher, subscribers in lanes:
            received = min(each.received for each in subscribers)
            if not publisher.done:
                # With QoS 1 a publisher goes on with its PUBACKs, but never far ahead of the slowest subscriber.
                publisher.go_on(min(received, publisher.acknowledged) if shape.qos else received)
            over = over and publisher.done and received == count
        return over

    began, cpu, own = time.perf_counter(), cpu_seconds(pid), time.process_time()
    crowd.drive(done)
    elapsed, cpu, own = time.perf_counter() - began, cpu_seconds(pid) - cpu, time.process_time() - own
    crowd.close()
    for each in clients:
        each.close()
    deliveries = count * shape.pairs * shape.copies
    return Sample(deliveries / elapsed, cpu / deliveries, own / deliveries)

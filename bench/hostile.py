"""What grows how, when somebody sends ever more of the worst: figures for n, 2n and 4n in one run.

    python -m bench.hostile

Each row does a piece of work of a size that a peer chooses, in pure code without sockets. From n to 4n the time of a
row that grows with its size is four times as long, of a quadratic one sixteen times. Rows marked `each` are the cost of
one operation, which should not grow at all. The smallest of three runs counts, each of which goes through all sizes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.local.client_hello import BadClientHello, ClientHelloReader
from iot_customauth_client.local.codec import NO_PROPERTIES, Decoder, Property, Publish, Version, encode
from iot_customauth_client.local.event_log import EventLog
from iot_customauth_client.local.events import Closed
from iot_customauth_client.local.http_door import HttpDoor
from iot_customauth_client.local.message import Message
from iot_customauth_client.local.outbound import Delivery, Outbound
from iot_customauth_client.local.peers import PeerLimits, Peers
from iot_customauth_client.local.redaction import scrub
from iot_customauth_client.local.retained import RetainedMessages
from iot_customauth_client.local.routing import FilterTree
from iot_customauth_client.local.topic_aliases import OutgoingAliases
from iot_customauth_client.local.turns import Backlog, Turns
from iot_customauth_client.local.websocket_pipe import WebSocketPipe

V5 = Version.MQTT5
GROWS, SAME = 9.0, 3.0
"""Ratios above which a row that may grow with its size, or may not grow, is marked; a busy machine doubles either."""


def _bytewise(feed: Callable[[bytes], object], data: bytes) -> None:
    for at in range(len(data)):
        feed(data[at : at + 1])


def decoder_bytewise(n: int) -> None:
    _bytewise(Decoder(version=V5).feed, encode(Publish("a", bytes(n)), V5))


def client_hello_bytewise(n: int) -> None:
    reader = ClientHelloReader()
    data = b"".join(
        b"\x16\x03\x01\x00\x01" + b for b in (bytes((each,)) for each in b"\x01\x00\xf0\x00" + bytes(n // 6))
    )
    with contextlib.suppress(BadClientHello):
        _bytewise(reader.feed, data)


def http_head_bytewise(n: int) -> None:
    door = HttpDoor()

    def feed(data: bytes) -> None:
        door.feed(data)
        door.next()

    _bytewise(feed, b"POST /topics/a HTTP/1.1\r\n" + b"a: b\r\n" * (n // 6))


def http_pipelined(n: int) -> None:
    door = HttpDoor()
    door.feed(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * (n // 27))
    while door.next() is not None:
        door.answer(404, [], b"no")


def http_small_chunks(n: int) -> None:
    door = HttpDoor()
    door.feed(b"POST /topics/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (n // 6))
    door.next()


def websocket_empty_frames(n: int) -> None:
    WebSocketPipe().receive(b"\x82\x80abcd" * (n // 6))


def websocket_one_endless_frame(n: int) -> None:
    pipe = WebSocketPipe()
    pipe.receive(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"abcd")
    for _ in range(n // 1_000):
        pipe.receive(bytes(1_000))


def match_among_filters(n: int) -> None:
    tree: FilterTree[int, int] = FilterTree()
    for number in range(n):
        tree.add(f"a/+/{number}/#", number, number)
    _each(lambda: tree.match("a/b/c/d"))


def retained_lookup(n: int) -> None:
    retained = RetainedMessages(n)
    for number in range(n):
        retained.keep(Message(f"t/{number}", b"x", 0, True, None, NO_PROPERTIES, None))
    new = Message("new", b"x", 0, True, None, NO_PROPERTIES, None)
    _each(lambda: retained.has_room(new, 1.0))


def full_queue_that_expires(n: int) -> None:
    outbound = Outbound(max_messages=n)
    number = 0

    def one() -> None:
        nonlocal number
        message = Message("a", b"x", 1, False, None, NO_PROPERTIES, float(number))
        if not outbound.offer(Delivery(message, False)) and outbound.purge(float(number - n)):
            outbound.offer(Delivery(message, False))
        number += 1

    for _ in range(n):
        one()
    _each(one, times=20_000)


def wait_in_a_full_log(n: int) -> None:
    log = EventLog(max_events=n)
    for number in range(n):
        log.append(Closed(number))

    def one() -> None:
        log.append(Closed(-1))
        log.wait_for("closed", timeout=1, after=log.last_sequence - 1, connection=-1)

    _each(one)


def aliases_of_many_topics(n: int) -> None:
    aliases = OutgoingAliases(8)
    for number in range(n):
        aliases.apply(Publish(f"topic/{number}", b""))


def values_that_are_all_repeated(n: int) -> None:
    query = "&".join(f"{number:x}=y{number}" for number in range(n))
    event = build_event(connection_id="id", signature_verified=False, query_string=query, headers={})
    scrub(query, event)


def user_properties(n: int) -> None:
    packet = Publish("a", b"", properties={Property.USER_PROPERTY: (("", ""),) * n})
    Decoder(version=V5).feed(encode(packet, V5))


def evictions_of_one_address(n: int) -> None:
    peers = Peers(PeerLimits(n, n, n, n))
    for number in range(n):
        peers.opened(number, "192.0.2.1")

    def one() -> None:
        nonlocal number
        number += 1
        eviction = peers.opened(number, "192.0.2.1")
        if eviction is not None:
            peers.closed(eviction.connection)

    _each(one)


def turn_among_flooders(n: int) -> None:
    turns = Turns()
    turns.unfinished = n
    turns.select(0)
    backlogs = [(Backlog(turns), _taker(Decoder(version=V5))) for _ in range(n)]

    def one() -> None:
        for backlog, feed in backlogs:
            if not backlog:
                backlog.put(
                    feed, encode(Publish("a", b"", properties={Property.USER_PROPERTY: (("", ""),)}), V5) * 1_500
                )
            backlog.work()

    _each(one, times=3)


def _taker(decoder: Decoder) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        decoder.feed(data)

    return take


_spent = [0.0]


def _each(do: Callable[[], object], *, times: int = 2_000) -> None:
    """Only this counts, for rows that prepare something first."""
    begun = time.perf_counter()
    for _ in range(times):
        do()
    _spent[0] = time.perf_counter() - begun


ROWS: tuple[tuple[Callable[[int], None], int, bool], ...] = (
    (decoder_bytewise, 20_000, False),
    (client_hello_bytewise, 15_000, False),
    (http_head_bytewise, 15_000, False),
    (http_pipelined, 15_000, False),
    (http_small_chunks, 15_000, False),
    (websocket_empty_frames, 15_000, False),
    (websocket_one_endless_frame, 1_000_000, False),
    (aliases_of_many_topics, 20_000, False),
    (values_that_are_all_repeated, 3_000, False),
    (user_properties, 5_000, False),
    (match_among_filters, 10_000, True),
    (retained_lookup, 1_250, True),
    (full_queue_that_expires, 2_500, True),
    (wait_in_a_full_log, 25_000, True),
    (evictions_of_one_address, 1_000, True),
    (turn_among_flooders, 50, True),
)


def main() -> int:
    bad = 0
    print(f"{'':32} {'n':>10} {'n ms':>9} {'2n ms':>9} {'4n ms':>9}  4n to n")
    for row, size, each in ROWS:
        runs = [[_time(row, size * factor) for factor in (1, 2, 4)] for _ in range(3)]  # in turns: load comes and goes
        times = [min(of_one_size) for of_one_size in zip(*runs, strict=True)]
        ratio = times[2] / times[0]
        wrong = ratio > (SAME if each else GROWS)
        bad += wrong
        name = f"{row.__name__}{' (each)' if each else ''}"
        shown = " ".join(f"{seconds * 1e3:9.2f}" for seconds in times)
        print(f"{name:32} {size:>10,} {shown}  {ratio:7.1f}{'  GROWS TOO FAST' if wrong else ''}")
    return 1 if bad else 0


def _time(row: Callable[[int], None], size: int) -> float:
    _spent[0] = 0.0
    begun = time.perf_counter()
    row(size)
    return _spent[0] or time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())

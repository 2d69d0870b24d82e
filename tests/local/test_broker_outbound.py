"""The queue, the window and the packet identifiers of one session, without a broker around them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.codec import NO_PROPERTIES, Property
from iot_customauth_client.local.message import Message
from iot_customauth_client.local.outbound import Delivery, Outbound


def delivery(size: int = 1, *, expires_at: float | None = None, shared: str | None = None) -> Delivery:
    message = Message("a", b"x" * size, 1, False, None, NO_PROPERTIES, expires_at)
    return Delivery(message, False, shared)


def filled(count: int, window: int = 100) -> Outbound:
    """An outbound with so many in flight."""
    outbound = Outbound()
    outbound.resume(window)
    for _ in range(count):
        outbound.offer(delivery())
        outbound.take(0.0)
    return outbound


def test_the_identifiers_of_what_is_sent_again_are_taken() -> None:
    outbound = filled(2)
    outbound.suspend()
    outbound.resume(100)
    fresh = set()
    for _ in range(65_540):
        outbound.offer(delivery())
        taken = outbound.take(0.0)
        assert taken is not None
        fresh.add(taken[0])
        outbound.acknowledge(taken[0])
    assert fresh == set(range(3, 65_536))
    assert [taken[0] for taken in (outbound.take_stored(0.0), outbound.take_stored(0.0)) if taken] == [1, 2]


def test_no_more_than_100_are_unacknowledged_however_often_a_client_comes_and_goes() -> None:
    outbound = filled(60)
    for _ in range(5):
        outbound.suspend()
        outbound.resume(100)
        for _ in range(60):
            outbound.offer(delivery())
        while outbound.window_open and outbound.take(0.0):
            pass
        assert outbound.in_flight <= 100
    outbound.suspend()
    assert len(outbound._again) == 100
    outbound.resume(1_000)
    while outbound.window_open:
        outbound.take_stored(0.0)
    assert outbound.in_flight == 100


def test_what_is_given_away_or_expires_frees_its_bytes() -> None:
    outbound = Outbound(max_bytes=10)
    outbound.resume(1)
    outbound.offer(delivery())
    outbound.take(0.0)
    assert outbound.offer(delivery(10, shared="$share/g/a"))
    assert not outbound.offer(delivery(1))
    assert [each.shared for each in outbound.suspend()] == ["$share/g/a"]
    assert outbound.offer(delivery(10, expires_at=5))
    assert outbound.purge(4.9) == []
    assert not outbound.offer(delivery(1))
    assert len(outbound.purge(5)) == 1
    assert outbound.offer(delivery(10))
    assert not outbound.offer(delivery(1))


def test_what_waits_counts_as_before_when_the_client_is_away() -> None:
    outbound = Outbound(max_bytes=10)
    outbound.resume(1)
    outbound.offer(delivery())
    outbound.take(0.0)
    outbound.offer(delivery(6))
    outbound.suspend()
    assert not outbound.offer(delivery(5))
    assert outbound.offer(delivery(4))


def test_what_is_given_away_comes_in_its_order_and_nothing_else_is() -> None:
    outbound = Outbound()
    outbound.resume(2)
    sizes = [1, 2, 3, 4, 5, 6]
    for size in sizes:
        outbound.offer(delivery(size, shared="$share/g/a" if size % 2 else None))
    outbound.take(0.0)
    outbound.take(0.0)
    assert [len(each.message.payload) for each in outbound.suspend()] == [1, 3, 5]
    outbound.resume(100)
    kept = [outbound.take_stored(0.0) for _ in range(4)]
    assert [len(taken[1].message.payload) for taken in kept if taken] == [2, 4, 6]


@given(st.integers(0, 10**10).map(lambda number: number / 7), st.integers(1, 604_800))
def test_a_message_that_is_sent_at_once_has_all_its_time_left(at: float, seconds: int) -> None:
    properties = {Property.MESSAGE_EXPIRY_INTERVAL: seconds}
    message = Message.of("a", b"", qos=1, retain=False, publisher=None, properties=properties, at=at)
    assert message.properties_at(at) == properties

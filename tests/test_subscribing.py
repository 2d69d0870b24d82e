"""Subscriptions as desired state: what is asked of the service on each connection, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from outbox_support import FakeLink

from iot_customauth_client import (
    CustomAuthError,
    ManualClock,
    Message,
    NotSupported,
    OperationTimeout,
    PolicyDenied,
)
from iot_customauth_client.inbox import Inbox, Registration
from iot_customauth_client.links.base import FilterRequest
from iot_customauth_client.subscribing import SUBACK_TIMEOUT_SECONDS, Subscribing

Done = Callable[[Sequence[int] | None, BaseException | None], None]


class SubscribeLink(FakeLink):
    """A link that keeps what it was asked for until the test answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[list[FilterRequest], Done]] = []
        self.unsubscribed: list[tuple[str, Callable[[], None]]] = []

    @property
    def capabilities(self) -> Any:
        return SimpleNamespace(filters_per_subscribe=8)

    def subscribe(self, requests: Sequence[FilterRequest], done: Done) -> None:
        self.asked.append((list(requests), done))

    def unsubscribe(self, topic_filter: str, done: Callable[[], None]) -> None:
        self.unsubscribed.append((topic_filter, done))

    def filters(self) -> list[str]:
        """What was asked for since the last time."""
        return [request.topic_filter for requests, _ in self.asked for request in requests]

    def grant(self) -> list[str]:
        """Grant all that was asked for, and return it."""
        asked, self.asked = self.asked, []
        for requests, done in asked:
            done([request.qos for request in requests], None)
        return [request.topic_filter for requests, _ in asked for request in requests]


class Fate:
    """A sink that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def deliver(self, message: Message) -> None: ...

    def granted(self, qos: int) -> None:
        self.told.append(qos)

    def unanswered(self, error: OperationTimeout) -> None:
        self.told.append(error)

    def refused(self, error: CustomAuthError) -> None:
        self.told.append(error)

    def ended(self, error: CustomAuthError | None) -> None:
        self.told.append("ended")


class Place:
    """An inbox, its subscribing, and a clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inbox = Inbox(self.clock)
        self.subscribing = Subscribing(self.inbox, lambda call: call(), "device-1", clock=self.clock)

    def add(self, topic_filter: str, qos: int = 1) -> tuple[Registration, Fate]:
        fate = Fate()
        registration = Registration(topic_filter, qos, fate)
        self.inbox.add(registration)
        self.subscribing.align()
        return registration, fate

    def remove(self, registration: Registration) -> None:
        if self.inbox.remove(registration):
            self.subscribing.align(registration.topic_filter)


def test_without_a_session_everything_is_asked_again_eight_at_a_time() -> None:
    place, link = Place(), SubscribeLink()
    names = [f"t/{number}" for number in range(20)]
    for name in names:
        place.add(name)
    for _ in range(3):
        place.subscribing.attach(link, session_present=False)
        assert [len(requests) for requests, _ in link.asked] == [8, 8, 4]
        assert link.grant() == names
        place.subscribing.detach()


def test_with_a_session_only_what_was_never_granted_is_asked() -> None:
    place, link = Place(), SubscribeLink()
    place.add("granted")
    place.subscribing.attach(link, session_present=True)  # a session of an earlier process: nobody knows its filters
    assert link.grant() == ["granted"]
    _, fate = place.add("unanswered")
    assert place.subscribing.unanswered() == ["unanswered"]
    place.subscribing.detach()
    assert place.subscribing.unanswered() == []
    place.add("new")
    place.subscribing.attach(link, session_present=True)
    link.asked.pop(0)  # the lost one
    assert link.grant() == ["unanswered", "new"]
    assert fate.told == [1]


def test_a_raised_qos_that_was_not_answered_is_asked_again() -> None:
    place, link = Place(), SubscribeLink()
    place.add("a", 0)
    place.subscribing.attach(link)
    link.grant()
    _, high = place.add("a", 1)
    assert place.subscribing.unanswered() == ["a"]
    place.subscribing.detach()
    link.asked.clear()
    place.subscribing.attach(link, session_present=True)
    assert [request.qos for requests, _ in link.asked for request in requests] == [1]
    link.grant()
    assert high.told[-1] == 1


def test_an_answer_of_an_earlier_connection_counts_for_nothing() -> None:
    place, link = Place(), SubscribeLink()
    _, fate = place.add("a")
    place.subscribing.attach(link)
    ((_, late),) = link.asked
    place.subscribing.detach()
    late([1], None)
    place.subscribing.attach(link)  # the same link, as with MQTT 3.1.1
    late([0x87], None)
    assert fate.told == []
    assert place.subscribing.unanswered() == ["a"]


def test_a_refusal_after_a_reconnect_ends_that_subscription_alone() -> None:
    place, link = Place(), SubscribeLink()
    (_, good), (_, bad) = place.add("good"), place.add("bad")
    place.subscribing.attach(link)
    link.grant()
    place.subscribing.detach()
    place.subscribing.attach(link)
    ((_, done),) = link.asked
    done([1, 0x87], None)
    assert good.told == [1, 1]
    assert isinstance(bad.told[-1], PolicyDenied)
    assert [each.topic_filter for each in place.inbox.interests()] == ["good"]


def test_a_filter_can_be_refused_from_outside() -> None:
    place, link = Place(), SubscribeLink()
    (_, one), (_, other) = place.add("a"), place.add("a")
    place.add("b")
    place.subscribing.attach(link)
    place.subscribing.refuse("a", NotSupported("told by the session"))
    assert [str(fate.told[0]) for fate in (one, other)] == ["told by the session"] * 2
    place.subscribing.detach()
    link.asked.clear()
    place.subscribing.attach(link, session_present=True)
    assert link.grant() == ["b"]
    assert link.unsubscribed == []


@pytest.mark.parametrize("session_present", [True, False])
def test_what_was_closed_without_a_connection_is_unsubscribed_if_the_session_was_kept(session_present: bool) -> None:
    place, link = Place(), SubscribeLink()
    registration, _ = place.add("a")
    place.subscribing.attach(link)
    link.grant()
    place.subscribing.detach()
    place.remove(registration)
    assert link.unsubscribed == []
    place.subscribing.attach(link, session_present=session_present)
    assert [name for name, _ in link.unsubscribed] == (["a"] if session_present else [])


def test_an_unsubscribe_that_was_not_answered_is_sent_again() -> None:
    place, link = Place(), SubscribeLink()
    registration, _ = place.add("a")
    place.subscribing.attach(link)
    link.grant()
    place.remove(registration)
    quiet: list[bool] = []
    place.subscribing.when_quiet(lambda: quiet.append(True))
    assert quiet == []
    place.subscribing.detach()
    assert quiet == [True]
    place.subscribing.attach(link, session_present=True)
    assert [name for name, _ in link.unsubscribed] == ["a", "a"]
    link.unsubscribed[-1][1]()
    place.subscribing.detach()
    place.subscribing.attach(link, session_present=True)
    assert len(link.unsubscribed) == 2


def test_what_was_never_asked_is_not_unsubscribed() -> None:
    place, link = Place(), SubscribeLink()
    registration, _ = place.add("a")
    place.remove(registration)
    place.subscribing.attach(link, session_present=True)
    assert link.filters() == []
    assert link.unsubscribed == []


def test_what_is_wanted_again_at_once_is_asked_again() -> None:
    place, link = Place(), SubscribeLink()
    registration, _ = place.add("a")
    place.subscribing.attach(link)
    link.grant()
    place.remove(registration)
    _, fate = place.add("a")
    link.unsubscribed[0][1]()
    assert link.grant() == ["a"]
    assert fate.told == [1]


def test_a_subscribe_without_an_answer_is_told_after_a_while_and_asked_again_at_the_next_connect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, link = Place(), SubscribeLink()
    (_, silent), (_, quick) = place.add("silent"), place.add("quick", 0)
    place.subscribing.attach(link)
    (requests, _) = link.asked.pop()
    assert len(requests) == 2
    place.clock.advance(SUBACK_TIMEOUT_SECONDS - 1)
    assert silent.told == []
    place.clock.advance(2)
    (error,) = silent.told
    assert isinstance(error, OperationTimeout)
    assert error.stage == "sent"
    assert "'silent'" in caplog.messages[0]
    place.subscribing.detach()
    place.subscribing.attach(link, session_present=True)
    assert link.grant() == ["silent", "quick"]
    assert silent.told[1:] == [1]
    assert quick.told[-1] == 0
    place.clock.advance(60)
    assert len(silent.told) == 2


def test_the_end_is_told_to_all_and_to_who_comes_at_the_last_moment() -> None:
    place, link = Place(), SubscribeLink()
    _, early = place.add("a")
    place.subscribing.attach(link)
    place.subscribing.end(None)
    _, late = place.add("b")
    assert early.told == late.told == ["ended"]

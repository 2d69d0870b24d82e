"""The inbox: who gets a message, what is asked of the service, and when a packet is acknowledged."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import CustomAuthError, ManualClock, Message, OperationTimeout
from iot_customauth_client.inbox import Inbox, Registration
from iot_customauth_client.topics import matches


class Mailbox:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def deliver(self, message: Message) -> None:
        self.messages.append(message)

    def granted(self, qos: int) -> None: ...

    def unanswered(self, error: OperationTimeout) -> None: ...

    def refused(self, error: CustomAuthError) -> None: ...

    def ended(self, error: CustomAuthError | None) -> None: ...

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]


class Service:
    """Counts acknowledgements; says whether they could be sent."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.acknowledged = 0
        self._reachable = reachable

    def acknowledge(self) -> bool:
        self.acknowledged += 1
        return self._reachable


def register(inbox: Inbox, topic_filter: str, qos: int = 1) -> tuple[Registration, Mailbox]:
    mailbox = Mailbox()
    registration = Registration(topic_filter, qos, mailbox)
    inbox.add(registration)
    return registration, mailbox


# -- who gets it ------------------------------------------------------------------------------------------------------

names = st.lists(st.sampled_from(["a", "b", "$x"]), min_size=1, max_size=3).map("/".join)
filters = st.lists(st.sampled_from(["a", "b", "$x", "+"]), min_size=1, max_size=3).map("/".join) | names.map(
    lambda name: f"{name}/#"
)


@given(st.lists(filters, max_size=6), st.lists(names, max_size=6))
def test_each_subscription_gets_what_its_filter_matches_once(topic_filters: list[str], topics: list[str]) -> None:
    inbox = Inbox()
    mailboxes = [(topic_filter, register(inbox, topic_filter)[1]) for topic_filter in topic_filters]
    for topic in topics:
        inbox.receive(Message(topic, b""), None)
    for topic_filter, mailbox in mailboxes:
        assert mailbox.topics == [topic for topic in topics if matches(topic_filter, topic)]


def test_a_subscription_added_later_gets_what_comes_later() -> None:
    inbox = Inbox()
    _, early = register(inbox, "a/#")
    inbox.receive(Message("a/b", b"1"), None)
    _, late = register(inbox, "a/+")
    inbox.receive(Message("a/b", b"2"), None)
    assert [message.payload for message in early.messages] == [b"1", b"2"]
    assert [message.payload for message in late.messages] == [b"2"]


def test_a_removed_subscription_gets_no_more() -> None:
    inbox = Inbox()
    first, mailbox = register(inbox, "a")
    _, other = register(inbox, "a")
    inbox.receive(Message("a", b"1"), None)
    assert inbox.remove(first) is False
    inbox.receive(Message("a", b"2"), None)
    assert len(mailbox.messages) == 1
    assert len(other.messages) == 2


def test_a_shared_filter_gets_what_its_plain_filter_matches() -> None:
    inbox = Inbox()
    _, mailbox = register(inbox, "$share/group/a/+")
    inbox.receive(Message("a/b", b""), None)
    assert mailbox.topics == ["a/b"]


def test_each_subscription_has_a_message_of_its_own() -> None:
    inbox = Inbox()
    _, one = register(inbox, "a")
    _, other = register(inbox, "+")
    message = Message(
        "a",
        b"p",
        qos=1,
        retain=True,
        duplicate=True,
        content_type="text",
        response_topic="r",
        correlation_data=b"c",
        user_properties=(("k", "v"),),
        expiry_seconds=5,
    )
    inbox.receive(message, None)
    (first,), (second,) = one.messages, other.messages
    assert first is not second
    for name in Message.__slots__:
        if name != "_receipt":
            assert getattr(first, name) == getattr(second, name) == getattr(message, name)


def test_routes_are_right_for_more_topics_than_are_remembered() -> None:
    inbox = Inbox()
    _, mailbox = register(inbox, "t/+")
    topics = [f"t/{number}" for number in range(3_000)]
    for topic in topics * 2:
        inbox.receive(Message(topic, b""), None)
    assert mailbox.topics == topics * 2
    assert len(inbox._routes) <= 1_024


# -- what is asked of the service -------------------------------------------------------------------------------------


def test_equal_filters_share_one_interest_with_the_highest_qos() -> None:
    inbox = Inbox()
    first, _ = register(inbox, "a", 0)
    assert inbox.interests()[0].wanted_qos == 0
    second, _ = register(inbox, "a", 1)
    (interest,) = inbox.interests()
    assert (interest.topic_filter, interest.wanted_qos) == ("a", 1)
    assert inbox.remove(second) is False
    assert interest.wanted_qos == 0
    assert inbox.remove(first) is True
    assert inbox.interests() == []


def test_interests_stand_in_the_order_in_which_they_were_asked_for() -> None:
    inbox = Inbox()
    for topic_filter in ("c", "a", "b", "a"):
        register(inbox, topic_filter)
    assert [interest.topic_filter for interest in inbox.interests()] == ["c", "a", "b"]
    found = inbox.interest("a")
    assert found is not None
    assert found.asked_qos is None
    assert found.granted_qos is None
    assert inbox.interest("z") is None


def test_removing_what_is_not_there_is_harmless() -> None:
    inbox = Inbox()
    registration, _ = register(inbox, "a")
    assert inbox.remove(registration) is True
    assert inbox.remove(registration) is False
    register(inbox, "a")
    assert inbox.remove(registration) is False


def test_a_dropped_filter_goes_with_all_its_subscribers() -> None:
    inbox = Inbox()
    (one, mailbox), (other, _) = register(inbox, "a"), register(inbox, "a")
    inbox.receive(Message("a", b"1"), None)
    assert inbox.drop("a") == [one, other]
    assert inbox.drop("a") == []
    inbox.receive(Message("a", b"2"), None)
    assert len(mailbox.messages) == 1
    assert inbox.remove(one) is False


# -- acknowledgements -------------------------------------------------------------------------------------------------


def test_a_message_that_nobody_wants_is_acknowledged_at_once() -> None:
    inbox, service = Inbox(), Service()
    inbox.connected(session_present=False)
    inbox.receive(Message("a", b"", qos=1), service.acknowledge)
    assert service.acknowledged == 1
    assert (inbox.received, inbox.dropped, inbox.unacknowledged) == (1, 1, 0)


def test_a_packet_is_acknowledged_once_when_the_last_subscription_is_done_with_it() -> None:
    inbox, service = Inbox(), Service()
    mailboxes = [register(inbox, topic_filter)[1] for topic_filter in ("a", "+", "#")]
    inbox.receive(Message("a", b"", qos=1), service.acknowledge)
    first, second, third = (mailbox.messages[0] for mailbox in mailboxes)
    assert second.ack() is True
    assert second.ack() is True  # a second time counts for nothing
    assert first.ack() is True
    assert service.acknowledged == 0
    assert third.ack() is True
    assert service.acknowledged == 1


def test_an_acknowledgement_that_cannot_be_sent_is_told() -> None:
    inbox, service = Inbox(), Service(reachable=False)
    _, mailbox = register(inbox, "a")
    inbox.receive(Message("a", b"", qos=1), service.acknowledge)
    assert mailbox.messages[0].ack() is False
    assert mailbox.messages[0].ack() is False  # a second time says the same


def test_a_message_that_needs_no_acknowledgement_takes_one() -> None:
    assert Message("a", b"").ack() is True


def test_messages_may_come_while_subscriptions_come_and_go() -> None:
    inbox, service = Inbox(), Service()
    _, steady = register(inbox, "a")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            registration, _ = register(inbox, "+", 0)
            inbox.remove(registration)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2_000):
        inbox.receive(Message("a", str(number).encode()), service.acknowledge)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert [message.payload for message in steady.messages] == [str(number).encode() for number in range(2_000)]


def test_what_a_lost_connection_owed_is_void_and_counts_no_more() -> None:
    inbox, service = Inbox(), Service()
    _, mailbox = register(inbox, "a")
    register(inbox, "b")
    _, both = register(inbox, "b")
    for topic in ("a", "b"):
        inbox.receive(Message(topic, b"", qos=1), service.acknowledge)
    assert inbox.unacknowledged == 2
    inbox.disconnected()
    assert inbox.unacknowledged == 0
    assert mailbox.messages[0].ack() is False
    assert both.messages[0].ack() is False
    assert service.acknowledged == 0


# -- what a resumed session brings ------------------------------------------------------------------------------------


def resumed(*, early: bool = False) -> tuple[Inbox, ManualClock, Service]:
    """An inbox after a CONNACK with a session; `early`: the messages come before anybody knew."""
    clock = ManualClock()
    inbox, service = Inbox(clock), Service()
    if early:
        for number in range(3):
            inbox.receive(Message("a", b"%d" % number, qos=1), service.acknowledge)
    inbox.connected(session_present=True)
    if not early:
        for number in range(3):
            inbox.receive(Message("a", b"%d" % number, qos=1), service.acknowledge)
    return inbox, clock, service


@pytest.mark.parametrize("early", [False, True])
def test_what_nobody_wants_yet_waits_for_the_first_subscription_that_fits(early: bool) -> None:
    inbox, _, service = resumed(early=early)
    assert (service.acknowledged, inbox.unacknowledged) == (0, 3)
    _, other = register(inbox, "b")
    _, first = register(inbox, "+")
    _, second = register(inbox, "a")
    inbox.receive(Message("a", b"3", qos=1), service.acknowledge)
    assert [message.payload for message in first.messages] == [b"0", b"1", b"2", b"3"]
    assert [message.payload for message in second.messages] == [b"3"]
    assert other.messages == []
    assert service.acknowledged == 0
    for message in first.messages[:3]:
        assert message.ack() is True
    assert (service.acknowledged, inbox.unacknowledged, inbox.dropped) == (3, 1, 0)


def test_what_nobody_wanted_within_ten_seconds_is_acknowledged_with_a_warning_that_shows_no_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox, clock, service = resumed()
    clock.advance(9.9)
    assert service.acknowledged == 0
    clock.advance(0.2)
    assert (service.acknowledged, inbox.dropped) == (3, 3)
    (warning,) = caplog.messages
    assert "'a'" in warning
    assert "b'0'" not in warning
    _, late = register(inbox, "a")
    assert late.messages == []


def test_no_more_than_a_thousand_messages_wait() -> None:
    inbox, _, service = resumed()
    for number in range(3, 1_010):
        inbox.receive(Message("a", b"%d" % number, qos=1), service.acknowledge)
    assert (service.acknowledged, inbox.dropped) == (10, 10)
    _, mailbox = register(inbox, "a")
    assert [message.payload for message in mailbox.messages] == [b"%d" % number for number in range(1_000)]


def test_what_the_service_sends_again_finds_room_beside_what_it_replaces() -> None:
    inbox, _, service = resumed()
    for number in range(3, 1_000):
        inbox.receive(Message("a", b"%d" % number, qos=1), service.acknowledge)
    inbox.disconnected()
    for number in range(1_000):  # before anybody has looked at the CONNACK
        inbox.receive(Message("a", b"%d" % number, qos=1), service.acknowledge)
    inbox.connected(session_present=True)
    assert (service.acknowledged, inbox.dropped) == (0, 0)
    _, mailbox = register(inbox, "a")
    assert [message.payload for message in mailbox.messages] == [b"%d" % number for number in range(1_000)]


def test_qos_0_does_not_wait() -> None:
    inbox, _, _ = resumed()
    inbox.receive(Message("b", b""), None)
    _, mailbox = register(inbox, "b")
    assert mailbox.messages == []


def test_over_mqtt311_messages_wait_in_memory() -> None:
    inbox = Inbox(ManualClock())
    inbox.receive(Message("a", b"x", qos=1), None)
    inbox.connected(session_present=True)
    _, mailbox = register(inbox, "a")
    (message,) = mailbox.messages
    assert message.ack() is True


def test_without_a_session_nothing_waits() -> None:
    inbox, service = Inbox(ManualClock()), Service()
    inbox.receive(Message("a", b"", qos=1), service.acknowledge)  # what is here before CONNACK was looked at
    inbox.connected(session_present=False)
    inbox.receive(Message("a", b"", qos=1), service.acknowledge)
    assert (service.acknowledged, inbox.dropped) == (2, 2)
    inbox.connected(session_present=True)  # a later connection of the same process
    inbox.receive(Message("a", b"", qos=1), service.acknowledge)
    assert service.acknowledged == 3


def test_what_the_service_sends_again_after_a_reconnect_waits_once() -> None:
    inbox, _, service = resumed()
    inbox.disconnected()
    for number in range(3):
        inbox.receive(Message("a", b"%d" % number, qos=1), service.acknowledge)
    inbox.connected(session_present=True)
    _, mailbox = register(inbox, "a")
    assert [message.payload for message in mailbox.messages] == [b"0", b"1", b"2"]
    assert all(message.ack() for message in mailbox.messages)


@given(st.lists(st.sampled_from(["a", "b", "c", "+", "#", "message", "end"]), max_size=40))
def test_every_message_is_acknowledged_once_and_seen_in_order_whenever_subscriptions_come(steps: list[str]) -> None:
    clock = ManualClock()
    inbox, acknowledged, mailboxes = Inbox(clock), list[int](), list[Mailbox]()
    inbox.connected(session_present=True)
    for number, step in enumerate(steps):
        if step == "end":
            clock.advance(11)
        elif step == "message":
            acknowledge = partial(_note, acknowledged, number)
            inbox.receive(Message("abc"[number % 3], b"%d" % number, qos=1), acknowledge)
        else:
            mailboxes.append(register(inbox, step)[1])
    clock.advance(11)
    for mailbox in mailboxes:
        numbers = [int(message.payload) for message in mailbox.messages]
        for topic in "abc":
            of_topic = [int(message.payload) for message in mailbox.messages if message.topic == topic]
            assert of_topic == sorted(of_topic)
        assert len(set(numbers)) == len(numbers)
        for message in mailbox.messages:
            message.ack()
    assert sorted(acknowledged) == [number for number, step in enumerate(steps) if step == "message"]
    assert inbox.unacknowledged == 0


def _note(acknowledged: list[int], number: int) -> bool:
    acknowledged.append(number)
    return True


def test_a_topic_without_a_subscription_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    inbox.connected(session_present=False)
    for topic in ("a", "b", "a"):
        inbox.receive(Message(topic, b"", qos=1), None)
    assert len(caplog.messages) == 2
    assert inbox.dropped == 3


def test_what_is_still_on_its_way_for_a_filter_that_was_given_up_is_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox, service = Inbox(), Service()
    inbox.connected(session_present=False)
    registration, _ = register(inbox, "a/+")
    inbox.remove(registration)
    inbox.receive(Message("a/b", b"", qos=1), service.acknowledge)
    assert (service.acknowledged, inbox.dropped, caplog.messages) == (1, 0, [])
    inbox.left("a/+")
    inbox.receive(Message("a/b", b"", qos=1), service.acknowledge)
    assert (service.acknowledged, inbox.dropped, len(caplog.messages)) == (2, 1, 1)


# -- the message ------------------------------------------------------------------------------------------------------


def test_a_message_reads_text_and_json() -> None:
    message = Message("a", '{"n": "\u00e9"}'.encode())
    assert message.text() == '{"n": "\u00e9"}'
    assert message.json() == {"n": "\u00e9"}
    with pytest.raises(UnicodeDecodeError):
        Message("a", b"\xff").text()
    with pytest.raises(ValueError, match="Expecting value"):
        Message("a", b"no").json()


def test_a_messages_repr_does_not_show_its_payload() -> None:
    assert repr(Message("a", b"secret", qos=1)) == "Message(topic='a', payload=<6 bytes>, qos=1)"

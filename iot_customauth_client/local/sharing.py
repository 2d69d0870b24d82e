"""Shared subscriptions: which member of a group gets a message.

A random one of those that are connected, of both versions of MQTT, and among them one whose window is open if there
is such (AWS page "MQTT", "Shared subscriptions"). Each is asked whether it may receive the message, as for any
delivery; one that may not is passed over, so the message goes to a member that may.

If none is connected, a message of QoS 1 waits, provided that some member has a session to come back to; one of QoS 0
is gone. What was on its way to a member and is not acknowledged when its connection ends goes back to the group at
once, in front of what waits, and so to another member (MQTT 5, section 4.8.2, allows it; AWS's page says that it is
queued). With the service's rates what waited goes out slowly, and other messages overtake it.

What waits is bounded; past the bounds newer messages are dropped, and the older ones stay (AWS page "MQTT").
"""

from collections.abc import Callable, Iterable
from typing import Final

from ..limits import SHARED_STORED_MESSAGES_PER_SECOND
from .agenda import Agenda
from .deliveries import QUEUE_RATE, Deliveries, dropped
from .effects import Effect, Happened
from .events import Queued
from .holdings import Holdings
from .message import Message
from .moment import Moment
from .outbound import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, Delivery
from .quotas import AccountQuotas, Rate
from .session import Session, Subscription
from .shared_group import SharedGroup

MAX_MEMBERS: Final = 100
"""Subscriptions of one group. The service has such a quota; its number is not in our sources."""


class Sharing:
    """All shared subscriptions.

    choose: returns a number below the one it is given, as `random.randrange` does.
    retention_seconds: how long a message waits that says nothing itself (the service: as long as a session may live).
    """

    __slots__ = (
        "_agenda",
        "_choose",
        "_deliveries",
        "_groups",
        "_holdings",
        "_max_bytes",
        "_max_members",
        "_max_messages",
        "_quotas",
        "_retention_seconds",
    )

    def __init__(
        self,
        deliveries: Deliveries,
        agenda: Agenda,
        *,
        quotas: AccountQuotas | None,
        choose: Callable[[int], int],
        retention_seconds: int,
        max_members: int = MAX_MEMBERS,
        max_messages: int = MAX_QUEUED_MESSAGES,
        max_bytes: int = MAX_QUEUED_BYTES,
        holdings: Holdings | None = None,
    ) -> None:
        self._deliveries = deliveries
        self._agenda = agenda
        self._quotas = quotas
        self._choose = choose
        self._retention_seconds = retention_seconds
        self._max_members = max_members
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._holdings = Holdings() if holdings is None else holdings
        self._groups: dict[str, SharedGroup] = {}

    def sizes(self) -> dict[str, int]:
        """Count what is held."""
        waiting = sum(group.waiting for group in self._groups.values())
        return {"shared_groups": len(self._groups), "shared_waiting": waiting}

    # -- members --------------------------------------------------------------------------------------------------

    def has_room(self, session: Session, topic_filter: str) -> bool:
        """Tell whether a session can become, or is, a member."""
        group = self._groups.get(topic_filter)
        return group is None or session in group.members or len(group.members) < self._max_members

    def join(self, subscription: Subscription) -> SharedGroup:
        """Make a session a member, or replace its subscription; returns the group."""
        topic_filter = subscription.topic_filter
        group = self._groups.get(topic_filter)
        if group is None:
            pace = None if self._quotas is None else Rate(SHARED_STORED_MESSAGES_PER_SECOND)
            group = SharedGroup(
                topic_filter,
                pace=pace,
                max_messages=self._max_messages,
                max_bytes=self._max_bytes,
                holdings=self._holdings,
            )
            self._groups[topic_filter] = group
        group.members[subscription.session] = subscription
        return group

    def leave(self, session: Session, topic_filter: str, effects: list[Effect]) -> SharedGroup | None:
        """Take a member out; returns the group if that was the last one: it is gone, with what waited."""
        group = self._groups[topic_filter]
        del group.members[session]
        if group.members:
            return None
        while group.waiting:
            effects.append(dropped(None, "", group.take(), "no_member", _NO_MEMBER))
        if group.resumption is not None:
            group.resumption.cancel()
        return self._groups.pop(topic_filter)

    # -- messages -------------------------------------------------------------------------------------------------

    def share(self, group: SharedGroup, message: Message, moment: Moment, effects: list[Effect]) -> None:
        """Give a message to one member, or let it wait for one."""
        online = group.online
        ready: list[Subscription] = []
        busy: list[Subscription] = []
        if group.pace is not None or not (group.waiting and message.qos):
            for each in online:
                if self._is_ready(each, message, moment):
                    ready.append(each)
                elif group.pace is None and each.session.outbound.has_room(message.size):
                    # Without a rate, one that is not ready keeps the message in its own queue.
                    busy.append(each)
        chosen = self._shuffled(ready) + self._shuffled(busy)
        if chosen:
            self._give(group, message, chosen, moment, effects)
        elif message.qos and (online or group.keeps):
            self._store(group, message, moment, effects)

    def drain(self, group: SharedGroup, moment: Moment, effects: list[Effect]) -> None:
        """Give what waits to members that are ready, as far as the rate lets it."""
        while group.waiting:
            first = group.first()
            if moment.at >= first.until or first.message.expired(moment.at):
                effects.append(dropped(None, "", group.take(), "expired", "it waited too long for a member to come"))
                continue
            ready = [each for each in group.online if self._is_ready(each, first.message, moment)]
            if self._is_held_back(group, len(ready), moment) or not ready:
                return
            self._give(group, group.take(), self._shuffled(ready), moment, effects)

    def drain_for(self, session: Session, moment: Moment, effects: list[Effect]) -> None:
        """Give a session what waits in its groups: it came, or has room again."""
        if not self._groups:
            return
        for topic_filter in session.subscriptions:
            group = self._groups.get(topic_filter)
            if group is not None and group.waiting:
                self.drain(group, moment, effects)

    def give_back(self, deliveries: Iterable[Delivery], moment: Moment, effects: list[Effect]) -> None:
        """Take back what was on its way to a member whose connection ended."""
        by_group: dict[str, list[Message]] = {}
        for delivery in deliveries:
            if delivery.shared is not None:
                by_group.setdefault(delivery.shared, []).append(delivery.message)
        for topic_filter, messages in by_group.items():
            group = self._groups.get(topic_filter)
            if group is not None:
                over = group.put_back(messages, moment.at + self._retention_seconds)
                effects.extend(_no_room(group, each) for each in over)
                self.drain(group, moment, effects)
            else:
                effects.extend(dropped(None, "", each, "no_member", _NO_MEMBER) for each in messages)

    def _store(self, group: SharedGroup, message: Message, moment: Moment, effects: list[Effect]) -> None:
        if self._quotas is not None and not self._quotas.queued.take(moment.now):
            effects.append(dropped(None, "", message, "queue_rate", QUEUE_RATE))
            return
        until = moment.at + self._retention_seconds if message.expires_at is None else message.expires_at
        if group.store(message, until):
            effects.append(Happened(Queued("", group.topic_filter, message.topic, message.payload)))
            self.drain(group, moment, effects)
        else:
            effects.append(_no_room(group, message))

    def _give(
        self,
        group: SharedGroup,
        message: Message,
        subscriptions: list[Subscription],
        moment: Moment,
        effects: list[Effect],
    ) -> None:
        """Give a message to the first of these members that may receive it."""
        for subscription in subscriptions:
            retain = message.retain and subscription.retain_as_published
            delivery = Delivery(message, retain, group.topic_filter)
            if self._deliveries.deliver(subscription, delivery, moment, effects):
                return

    def _is_ready(self, subscription: Subscription, message: Message, moment: Moment) -> bool:
        """Tell whether a member can be sent a message at once."""
        session = subscription.session
        outbound = session.outbound
        if not min(message.qos, subscription.qos):
            has_room = True
        elif session.pace is None:
            has_room = outbound.ready
        else:
            has_room = outbound.window_open  # a message may go out although stored ones are held back
        return has_room and _is_within_rate(subscription, moment)

    def _is_held_back(self, group: SharedGroup, ready: int, moment: Moment) -> bool:
        """Tell whether the rate of what waited is used up; then plan to go on."""
        if group.pace is None:
            return False
        if group.resumption is not None and group.resumption.pending:
            return True
        if ready and group.pace.take(moment.at, share=ready):
            return False
        if not ready and all(_is_within_rate(each, moment) for each in group.online):
            return True  # the next one that comes, or acknowledges, drains it

        def go_on(moment: Moment, effects: list[Effect]) -> None:
            group.resumption = None
            self.drain(group, moment, effects)

        # Held back by the rate of a connection, which runs on the other clock: a second of this one is as good.
        when = group.pace.next_window(moment.at) if ready else moment.at + 1.0
        group.resumption = self._agenda.plan(when, go_on)
        return True

    def _shuffled(self, subscriptions: list[Subscription]) -> list[Subscription]:
        """Begin with a random one; the rest is only asked if that one may not receive the message."""
        if len(subscriptions) < 2:
            return subscriptions
        first = self._choose(len(subscriptions))
        return subscriptions[first:] + subscriptions[:first]


def _is_within_rate(subscription: Subscription, moment: Moment) -> bool:
    live = subscription.session.connection
    return live is None or live.quotas is None or live.quotas.publishes_out.allows(moment.now)


def _no_room(group: SharedGroup, message: Message) -> Happened:
    explanation = f"{group.waiting} messages wait for a member of {group.topic_filter!r}, which is all"
    return dropped(None, "", message, "queue_full", explanation)


_NO_MEMBER: Final = "the shared subscription has no member left"

"""From a published message to its subscribers: the filter tree and the retained messages.

A message goes to every subscription that takes it; of a shared one, to one member. A client with overlapping filters
gets one copy for each of them, each with the lesser of the two QoS: MQTT allows it (MQTT-3.3.5-1 for 3.1.1, section
3.3.4 for 5), the service has no subscription identifiers to tell the copies apart, and what it does itself is not
documented. A client that copes with two copies copes with one; `Choices.overlapping_filters` gives it one.
"""

from collections.abc import Iterable
from typing import TypeAlias

from ..limits import MAX_SUBSCRIPTIONS_PER_ACCOUNT
from .choices import DEFAULT_CHOICES, Choices
from .codec import PubAck
from .deliveries import Deliveries
from .effects import Effect, Happened
from .events import Acknowledged
from .live_connection import LiveConnection
from .message import Message
from .moment import Moment
from .offence import Offence
from .outbound import Delivery
from .retained import MAX_RETAINED_MESSAGES, RetainedMessages
from .routing import FilterTree
from .session import Session, Subscription
from .shared_group import SharedGroup
from .sharing import Sharing
from .topic_rules import is_shared, reaches_subscribers

Key: TypeAlias = Session | str
"""Who has the filter: a session, or a shared subscription by what was subscribed to."""


class Router:
    """All subscriptions and retained messages. Appends what is to be done to the list of effects it is given."""

    __slots__ = ("_choices", "_deliveries", "_max_subscriptions", "_retained", "_sharing", "_subscriptions", "_tree")

    def __init__(
        self,
        deliveries: Deliveries,
        sharing: Sharing,
        *,
        max_retained_messages: int = MAX_RETAINED_MESSAGES,
        max_subscriptions: int = MAX_SUBSCRIPTIONS_PER_ACCOUNT,
        choices: Choices = DEFAULT_CHOICES,
    ) -> None:
        self._choices = choices
        self._deliveries = deliveries
        self._sharing = sharing
        self._max_subscriptions = max_subscriptions
        self._subscriptions = 0
        self._tree: FilterTree[Key, Subscription | SharedGroup] = FilterTree()
        self._retained = RetainedMessages(max_retained_messages)

    # -- subscriptions --------------------------------------------------------------------------------------------

    def subscribe(self, subscription: Subscription, moment: Moment, effects: list[Effect]) -> bool:
        """Add a subscription, or replace the session's one with the same filter; tell whether it is new."""
        session, topic_filter = subscription.session, subscription.topic_filter
        new = topic_filter not in session.subscriptions
        session.subscriptions[topic_filter] = subscription
        self._subscriptions += new
        if is_shared(topic_filter):
            group = self._sharing.join(subscription)
            self._tree.add(group.plain_filter, topic_filter, group)
            self._sharing.drain(group, moment, effects)
        else:
            self._tree.add(topic_filter, session, subscription)
        return new

    def has_room(self, more: int = 1) -> bool:
        """Tell whether there can be so many more subscriptions, of whichever session."""
        return self.subscriptions + more <= self._max_subscriptions

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all sessions; a shared one counts for each member."""
        return self._subscriptions

    def can_share(self, session: Session, topic_filter: str) -> bool:
        """Tell whether there is room for a session in a shared subscription."""
        return self._sharing.has_room(session, topic_filter)

    def unsubscribe(self, session: Session, topic_filter: str, effects: list[Effect]) -> None:
        """Remove a subscription, if there is one."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._remove(session, topic_filter, effects)

    def forget(self, session: Session, effects: list[Effect]) -> None:
        """Remove all subscriptions of a session."""
        for topic_filter in session.subscriptions:
            self._remove(session, topic_filter, effects)
        session.subscriptions.clear()

    def _remove(self, session: Session, topic_filter: str, effects: list[Effect]) -> None:
        self._subscriptions -= 1
        if not is_shared(topic_filter):
            self._tree.remove(topic_filter, session)
            return
        gone = self._sharing.leave(session, topic_filter, effects)
        if gone is not None:
            self._tree.remove(gone.plain_filter, topic_filter)

    # -- sessions that come and go ----------------------------------------------------------------------------------

    def resume(self, live: LiveConnection, moment: Moment, effects: list[Effect]) -> None:
        """Send a session what was stored for it, now that its client is there."""
        self._deliveries.resume(live.session, live.receive_maximum, moment, effects)
        self._sharing.drain_for(live.session, moment, effects)

    def suspend(self, session: Session, effects: list[Effect]) -> list[Delivery]:
        """Store for a session whose client is away; returns what belongs to shared subscriptions (see `give_back`)."""
        return self._deliveries.suspend(session, effects)

    def give_back(self, deliveries: list[Delivery], moment: Moment, effects: list[Effect]) -> None:
        """Let others have what was on its way to a session through shared subscriptions."""
        self._sharing.give_back(deliveries, moment, effects)

    # -- messages -------------------------------------------------------------------------------------------------

    def has_subscribers(self, topic: str) -> bool:
        """Tell whether somebody subscribed to a filter that takes the topic."""
        return bool(self._tree.match(topic))

    def can_retain(self, message: Message, moment: Moment) -> bool:
        """Tell whether there is room for one more retained message."""
        return self._retained.has_room(message, moment.at)

    def publish(self, message: Message, moment: Moment, effects: list[Effect]) -> None:
        """Keep the message if it is retained, and send it to all who subscribed."""
        if message.retain and self._retained.has_room(message, moment.at):
            self._retained.keep(message)
        if not reaches_subscribers(message.topic):
            return
        matches: Iterable[Subscription | SharedGroup] = self._tree.match(message.topic)
        if self._choices.overlapping_filters == "one_copy":
            matches = _one_for_each(matches, message)
        for found in matches:
            if isinstance(found, SharedGroup):
                self._sharing.share(found, message, moment, effects)
                continue
            # MQTT-3.3.1-9 and -12: RETAIN is cleared on the way to an established subscription, unless that
            # subscription asked to see it as published (MQTT-3.3.1-13).
            self._deliver(found, message, message.retain and found.retain_as_published, moment, effects)

    def replay(self, subscription: Subscription, moment: Moment, effects: list[Effect]) -> None:
        """Send the retained message of the subscription's filter, if there is one, with RETAIN set.

        A filter with wildcards has none: topics are looked up by their exact name. A shared subscription has none
        either (AWS page "MQTT").
        """
        message = self._retained.get(subscription.topic_filter, moment.at)
        if message is not None:
            self._deliver(subscription, message, True, moment, effects)

    def acknowledge(self, live: LiveConnection, packet: PubAck, moment: Moment, effects: list[Effect]) -> None:
        """Take a client's PUBACK, and send what waited for its place.

        A PUBACK that nothing is waiting for is ignored: MQTT names no consequence, and a late one does no harm. So is
        one for a message that waits for the throughput: who guesses identifiers must not make room for more to wait.
        Its reason code does not matter: also a refused message has arrived.
        """
        if live.quotas is not None and live.quotas.is_delayed(packet.packet_id):
            return
        if live.session.outbound.acknowledge(packet.packet_id):
            effects.append(Happened(Acknowledged(live.number, live.client_id, packet.packet_id)))
            self._send_waiting(live, moment, effects)

    def free(self, live: LiveConnection, packet_id: int, moment: Moment, effects: list[Effect]) -> None:
        """Take the place of a message that was given up before it was sent, and send what waited for it."""
        if live.session.outbound.acknowledge(packet_id):
            self._send_waiting(live, moment, effects)

    def _send_waiting(self, live: LiveConnection, moment: Moment, effects: list[Effect]) -> None:
        self._deliveries.send_waiting(live.session, moment, effects)
        self._sharing.drain_for(live.session, moment, effects)

    def take_overflowed(self) -> list[LiveConnection]:
        """Return the clients whose queue has become full since the last call."""
        return self._deliveries.take_overflowed()

    def take_forbidden(self) -> list[tuple[LiveConnection, Offence]]:
        """Return the clients to be ended for what they may not receive, since the last call."""
        return self._deliveries.take_forbidden()

    def sizes(self) -> dict[str, int]:
        """Count what is held."""
        return {
            "subscriptions": len(self._tree),
            "filter_nodes": self._tree.nodes(),
            "retained": len(self._retained),
            "overflowed": self._deliveries.overflowed,
            "delayed_bytes": self._deliveries.delayed_bytes,
            **self._sharing.sizes(),
        }

    def _deliver(
        self, subscription: Subscription, message: Message, retain: bool, moment: Moment, effects: list[Effect]
    ) -> None:
        if _takes(subscription, message):
            self._deliveries.deliver(subscription, Delivery(message, retain), moment, effects)


def _takes(subscription: Subscription, message: Message) -> bool:
    """Tell whether a subscription takes a message that its filter fits (MQTT-3.8.3-3: not one's own with No Local)."""
    return not (subscription.no_local and message.publisher == subscription.session.client_id)


def _one_for_each(
    matches: Iterable[Subscription | SharedGroup], message: Message
) -> Iterable[Subscription | SharedGroup]:
    """Return all shared subscriptions, and of each session the one subscription with the highest QoS."""
    shared: list[SharedGroup] = []
    best: dict[Session, Subscription] = {}
    for found in matches:
        if isinstance(found, SharedGroup):
            shared.append(found)
        elif _takes(found, message) and (found.session not in best or best[found.session].qos < found.qos):
            best[found.session] = found
    return [*shared, *best.values()]

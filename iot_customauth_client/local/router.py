"""From a published message to its subscribers: the filter tree, the retained messages, and the sending.

A message goes to every subscription that takes it. A client with overlapping filters gets one copy for each of them,
each with the lesser of the two QoS: MQTT allows it (MQTT-3.3.5-1 for 3.1.1, section 3.3.4 for 5), the service has no
subscription identifiers to tell the copies apart, and what it does itself is not documented. A client that copes with
two copies copes with one.

Each delivery needs `iot:Receive`; a denied one is left out and reported, and the connection stays (AWS page
"AWS IoT Core policy actions").
"""

from .codec import NO_PROPERTIES, PubAck, Publish, Version
from .effects import Effect, Happened, Send
from .events import Acknowledged, Decided, Delivered
from .live_connection import LiveConnection, Subscription
from .message import Message
from .outbound import Delivery
from .permissions import RECEIVE
from .retained import MAX_RETAINED_MESSAGES, RetainedMessages
from .routing import FilterTree
from .topic_rules import reaches_subscribers


class Router:
    """All subscriptions and retained messages. Appends what is to be done to the list of effects it is given."""

    __slots__ = ("_overflowed", "_retained", "_tree")

    def __init__(self, *, max_retained_messages: int = MAX_RETAINED_MESSAGES) -> None:
        self._tree: FilterTree[LiveConnection, Subscription] = FilterTree()
        self._retained = RetainedMessages(max_retained_messages)
        self._overflowed: list[LiveConnection] = []

    # -- subscriptions --------------------------------------------------------------------------------------------

    def subscribe(self, subscription: Subscription) -> bool:
        """Add a subscription, or replace the client's one with the same filter; tell whether it is new."""
        live = subscription.subscriber
        new = subscription.topic_filter not in live.subscriptions
        live.subscriptions[subscription.topic_filter] = subscription
        self._tree.add(subscription.topic_filter, live, subscription)
        return new

    def unsubscribe(self, live: LiveConnection, topic_filter: str) -> bool:
        """Remove a subscription; False if there was none."""
        if live.subscriptions.pop(topic_filter, None) is None:
            return False
        return self._tree.remove(topic_filter, live)

    def forget(self, live: LiveConnection) -> None:
        """Remove all subscriptions of a client."""
        for topic_filter in live.subscriptions:
            self._tree.remove(topic_filter, live)
        live.subscriptions.clear()

    # -- messages -------------------------------------------------------------------------------------------------

    def can_retain(self, message: Message, now: float) -> bool:
        """Tell whether there is room for one more retained message."""
        return self._retained.has_room(message, now)

    def publish(self, message: Message, now: float, effects: list[Effect]) -> None:
        """Keep the message if it is retained, and send it to all who subscribed."""
        if message.retain and self._retained.has_room(message, now):
            self._retained.keep(message)
        if not reaches_subscribers(message.topic):
            return
        for subscription in self._tree.match(message.topic):
            # MQTT-3.3.1-9 and -12: RETAIN is cleared on the way to an established subscription, unless that
            # subscription asked to see it as published (MQTT-3.3.1-13).
            retain = message.retain and subscription.retain_as_published
            self._deliver(subscription, Delivery(message, retain), now, effects)

    def replay(self, subscription: Subscription, now: float, effects: list[Effect]) -> None:
        """Send the retained message of the subscription's filter, if there is one, with RETAIN set.

        A filter with wildcards has none: topics are looked up by their exact name.
        """
        message = self._retained.get(subscription.topic_filter, now)
        if message is not None:
            self._deliver(subscription, Delivery(message, retain=True), now, effects)

    def acknowledge(self, live: LiveConnection, packet: PubAck, now: float, effects: list[Effect]) -> None:
        """Take a client's PUBACK, and send what waited for its place.

        A PUBACK that nothing is waiting for is ignored: MQTT names no consequence, and a late one does no harm. Its
        reason code does not matter: also a refused message has arrived.
        """
        if live.outbound.acknowledge(packet.packet_id):
            effects.append(Happened(Acknowledged(live.number, live.client_id, packet.packet_id)))
            self._send_queued(live, now, effects)

    def take_overflowed(self) -> list[LiveConnection]:
        """Return the clients whose queue has become full since the last call."""
        overflowed, self._overflowed = self._overflowed, []
        return overflowed

    def sizes(self) -> dict[str, int]:
        """Count what is held."""
        return {
            "subscriptions": len(self._tree),
            "filter_nodes": self._tree.nodes(),
            "retained": len(self._retained),
            "overflowed": len(self._overflowed),
        }

    # -- one delivery ---------------------------------------------------------------------------------------------

    def _deliver(self, subscription: Subscription, delivery: Delivery, now: float, effects: list[Effect]) -> None:
        live = subscription.subscriber
        message = delivery.message
        if live.overflowed or (subscription.no_local and message.publisher == live.client_id):
            return
        decision = live.permissions.decide(RECEIVE, message.topic)
        if not decision.allowed:
            effects.append(
                Happened(
                    Decided(
                        live.number, live.client_id, decision.action, decision.resource, False, decision.explanation
                    )
                )
            )
        elif message.qos == 0 or subscription.qos == 0:
            self._send(live, delivery, None, now, effects)
        elif live.outbound.offer(delivery):
            self._send_queued(live, now, effects)
        else:
            live.overflowed = True
            self._overflowed.append(live)

    def _send_queued(self, live: LiveConnection, now: float, effects: list[Effect]) -> None:
        while (taken := live.outbound.take(now)) is not None:
            packet_id, delivery = taken
            if not self._send(live, delivery, packet_id, now, effects):
                live.outbound.acknowledge(packet_id)

    def _send(
        self, live: LiveConnection, delivery: Delivery, packet_id: int | None, now: float, effects: list[Effect]
    ) -> bool:
        """Send one PUBLISH; False if it is larger than the client takes: then it counts as sent (MQTT-3.1.2-25)."""
        message = delivery.message
        qos = 0 if packet_id is None else 1
        properties = message.properties_at(now) if live.version is Version.MQTT5 else NO_PROPERTIES
        packet = Publish(message.topic, message.payload, qos, delivery.retain, False, packet_id, properties)
        if not live.fits(packet):
            return False
        effects.append(Send(live.number, packet))
        effects.append(
            Happened(Delivered(live.number, live.client_id, message.topic, message.payload, qos, delivery.retain))
        )
        return True

"""The broker once more, as plainly as it can be said: who must get which message, in which order, and when not.

It is fed the effects of the real one, in their order, and takes from them only what happened (connected, published,
subscribed); what follows from it, it works out by itself: by looking at each subscription in turn, with lists instead
of windows, and policies asked one by one. Where the two disagree, one is wrong.

    each message that was published     one copy for each subscription that takes it, with the lesser QoS, none to its
                                        publisher with No Local, none that the policy keeps back
    QoS 0                               at once, or never
    QoS 1                               in order, for sessions also while their client is away; again what was not
                                        acknowledged, first and with its identifier
    session                             present exactly if it was kept, of the same version, and not started anew
    will                                once, when it is due, unless it was taken back
    retained                            to new subscriptions as they asked for it, by the exact topic

For a broker without faults, rates, shared subscriptions and narrow bounds (`World(wild=False)`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf

from iot_customauth_client.authorizer.arn import topic_arn, topicfilter_arn
from iot_customauth_client.authorizer.context import Context
from iot_customauth_client.authorizer.policy import evaluate
from iot_customauth_client.limits import MAX_RETRY_SECONDS
from iot_customauth_client.local.broker import Effect, Happened, Send
from iot_customauth_client.local.codec import (
    ConnAck,
    Disconnect,
    Property,
    Publish,
    Subscribe,
    Version,
)
from iot_customauth_client.local.events import (
    Acknowledged,
    Connected,
    Decided,
    Disconnected,
    Dropped,
    Event,
    Published,
    SessionEnded,
    Subscribed,
    Unsubscribed,
)
from iot_customauth_client.topics import matches

from .broker_watch import topic_of
from .broker_world import ACCOUNT, GRANTS, REGION, World
from .dice import InputDice
from .target import ensure


@dataclass(frozen=True, slots=True)
class Copy:
    """A message as one subscriber is to get it."""

    topic: str
    payload: bytes
    retain: bool
    qos: int = 0
    publisher: str = ""
    expires_at: float = inf
    sent_at: float = inf
    """When it was sent first."""


@dataclass(slots=True)
class Kept:
    """A session: subscriptions by filter (QoS, No Local, Retain As Published), and the messages of QoS 1."""

    client_id: str
    version: Version
    expiry: float
    connection: int | None = None
    left_after: float = inf
    left_at: float = inf
    subscriptions: dict[str, tuple[int, bool, bool]] = field(default_factory=dict[str, tuple[int, bool, bool]])
    now: list[Copy] = field(default_factory=list[Copy])
    queue: list[Copy] = field(default_factory=list[Copy])
    again: dict[int, Copy] = field(default_factory=dict[int, Copy])
    flight: dict[int, Copy] = field(default_factory=dict[int, Copy])
    denied: int = 0


class ModelledWorld(World):
    """A world whose broker is held against the model after each operation."""

    def __init__(self, dice: InputDice) -> None:
        super().__init__(dice, wild=False)
        self.sessions: dict[str, Kept] = {}
        self.retained: dict[str, Copy] = {}
        self.wills: dict[bytes, float] = {}
        """Those that are to be published, by payload, with the time until which it has to be done."""
        self._present: dict[int, bool] = {}
        self._ended: set[str] = set()
        self._before = self.at

    # -- what happened -------------------------------------------------------------------------------------------------

    def look(self, effects: Sequence[Effect]) -> None:
        """Follow what happened, and hold what was sent against what should be."""
        super().look(effects)
        self._ended.clear()
        for effect in effects:
            match effect:
                case Send(number, ConnAck(session_present=present)):
                    self._present[number] = present
                case Send(number, Publish() as packet):
                    self._sent(number, packet)
                case Happened(event):
                    self._happened(event)
                case _:
                    pass
        self._check_settled()
        self._before = self.at

    def _happened(self, event: Event) -> None:
        match event:
            case Connected():
                self._connected(event)
            case Disconnected():
                self._disconnected(event)
            case SessionEnded():
                self._session_ended(event)
            case Published():
                self._published(event)
            case Subscribed():
                self._subscribed(event)
            case Unsubscribed():
                for topic_filter in event.topic_filters:
                    self.sessions[event.client_id].subscriptions.pop(topic_filter, None)
            case Acknowledged():
                ensure(
                    event.packet_id in self.sessions[event.client_id].flight, "only what is under way is acknowledged"
                )
                del self.sessions[event.client_id].flight[event.packet_id]
            case Decided(action="iot:Receive"):
                self._kept_back(event)
            case Dropped():
                self._dropped(event)
            case _:
                pass

    def _connected(self, event: Connected) -> None:
        packet = self.watch.clients[event.connection].packet
        session = self.sessions.get(event.client_id)
        ensure(self._present[event.connection] == event.session_present, "CONNACK and event agree on the session")
        ensure(event.session_present == (session is not None), "a session is present exactly if it was kept")
        asked = packet.properties.get(Property.SESSION_EXPIRY_INTERVAL, 0)
        expiry = asked if packet.version is Version.MQTT5 else (0 if packet.clean_start else self.expiry)
        assert isinstance(expiry, int)
        if session is None:
            session = self.sessions[event.client_id] = Kept(event.client_id, packet.version, 0)
        else:
            ensure(session.connection is None, "a client id is connected once")
            ensure(not packet.clean_start and session.version is packet.version, "only its own session is resumed")
            ensure(self.at < session.left_at + session.expiry, "no session is resumed that is over")
            self._take_back(session)
        session.expiry = min(expiry, self.expiry) if packet.client_id else 0
        session.connection = event.connection
        session.left_at = inf

    def _take_back(self, session: Kept) -> None:
        """A session that is resumed takes back the will of its last connection, if that is not due yet."""
        for client in self.watch.clients.values():
            will = client.packet.will
            if client.packet.client_id == session.client_id and will and self.wills.get(will.payload, 0) > self.at:
                del self.wills[will.payload]

    def _disconnected(self, event: Disconnected) -> None:
        session = self.sessions[event.client_id]
        ensure(session.connection == event.connection, "the connection that ends is the session's")
        packet = self.watch.clients[event.connection].packet
        said, willing = self.said, packet.will is not None
        if event.reason == "CLIENT_INITIATED_DISCONNECT":
            assert isinstance(said, Disconnect)
            asked = said.properties.get(Property.SESSION_EXPIRY_INTERVAL)
            if isinstance(asked, int):
                ensure(not asked or session.expiry > 0, "a session of 0 s is not prolonged")
                session.expiry = min(asked, self.expiry)
            willing = willing and said.reason_code != 0
        if self.kicked[0] == event.client_id and self.kicked[2]:
            willing = False
        session.connection, session.left_after, session.left_at = None, self._before, self.at
        session.again = {**session.flight, **session.again}
        session.flight = {}
        session.now.clear()
        if willing:
            assert packet.will is not None
            delay = packet.will.properties.get(Property.WILL_DELAY_INTERVAL, 0)
            assert isinstance(delay, int)
            self.wills[packet.will.payload] = self.at + min(delay, session.expiry)
        if not session.expiry:
            self._end(session)

    def _session_ended(self, event: SessionEnded) -> None:
        session = self.sessions.get(event.client_id)
        if session is None:
            ensure(event.client_id in self._ended, "a session ends once")
            return
        ensure(session.connection is None, "no session of a connected client ends")
        if event.cause == "expired":
            ensure(self.at >= session.left_after + session.expiry, "a session does not end too early")
        if self.kicked[0] == event.client_id and self.kicked[1] and self.kicked[2]:
            self._take_back(session)
        self._end(session)

    def _end(self, session: Kept) -> None:
        self._ended.add(session.client_id)
        del self.sessions[session.client_id]
        for client in self.watch.clients.values():
            will = client.packet.will
            if will is not None and will.payload in self.wills and client.packet.client_id == session.client_id:
                self.wills[will.payload] = self.at

    # -- messages ------------------------------------------------------------------------------------------------------

    def _published(self, event: Published) -> None:
        expires_at = inf
        if event.payload.startswith(b"will"):
            ensure(event.payload in self.wills, "a will is published once, and only if it is due")
            del self.wills[event.payload]
        elif event.connection is not None:
            said = self.said
            if isinstance(said, Publish):
                expiry = said.properties.get(Property.MESSAGE_EXPIRY_INTERVAL)
                expires_at = self.at + max(expiry, 1) if isinstance(expiry, int) else inf
            if event.connection in self.granted and event.connection in self.watch.live:
                for action in ("iot:Publish", "iot:RetainPublish") if event.retain else ("iot:Publish",):
                    ensure(self._may(event.connection, action, event.topic), f"nothing goes past {action}")
        copy = Copy(event.topic, event.payload, False, event.qos, event.client_id, expires_at)
        if event.retain:
            if event.payload:
                self.retained[event.topic] = copy
            else:
                self.retained.pop(event.topic, None)
        if event.topic.startswith("$aws/rules/"):
            return
        for session in self.sessions.values():
            for topic_filter, (qos, no_local, as_published) in session.subscriptions.items():
                if matches(topic_filter, event.topic):
                    retain = event.retain and as_published
                    self._deliver(session, replace(copy, retain=retain), qos, no_local)

    def _deliver(self, session: Kept, copy: Copy, qos: int, no_local: bool) -> None:
        if no_local and copy.publisher == session.client_id:
            return
        qos = min(qos, copy.qos)
        if session.connection is None:
            if qos:
                session.queue.append(copy)
        elif not self._may(session.connection, "iot:Receive", copy.topic):
            session.denied += 1
        else:
            (session.queue if qos else session.now).append(copy)

    def _subscribed(self, event: Subscribed) -> None:
        session, said = self.sessions[event.client_id], self.said
        assert isinstance(said, Subscribe)
        for request, code in zip(said.requests, event.reason_codes, strict=True):
            topic_filter = request.topic_filter
            allowed = self._may(event.connection, "iot:Subscribe", topic_filter)
            ensure(code >= 0x80 or allowed, "nothing goes past iot:Subscribe")
            ensure(code != 0x87 or not allowed, "nothing that is allowed is refused as not authorized")
            if code >= 0x80:
                continue
            ensure(code == min(request.qos, 1), "the QoS that was asked for is granted, up to 1")
            new = topic_filter not in session.subscriptions
            session.subscriptions[topic_filter] = (code, request.no_local, request.retain_as_published)
            kept = self.retained.get(topic_filter)
            if kept is None or self.at >= kept.expires_at or request.retain_handling > (1 if new else 0):
                continue
            self._deliver(session, replace(kept, retain=True), code, request.no_local)

    def _sent(self, number: int, packet: Publish) -> None:
        client = self.watch.clients[number]
        session = next(each for each in self.sessions.values() if each.connection == number)
        topic = topic_of(client, packet)
        ensure(self._may(number, "iot:Receive", topic), "nothing is delivered without permission")
        packet_id = packet.packet_id
        if packet_id is not None and packet_id in session.again:
            ensure(next(iter(session.again)) == packet_id, "what is sent again comes in its order")
            copy = session.again.pop(packet_id)
            ensure((copy.topic, copy.payload) == (topic, packet.payload), "what is sent again keeps its identifier")
            ensure(self.at - copy.sent_at < MAX_RETRY_SECONDS, "nothing is sent again after an hour")
        else:
            ensure(packet_id is None or not session.again, "what is sent again comes before what is new")
            copy = replace(
                self._take(session.now if packet_id is None else session.queue, topic, packet), sent_at=self.at
            )
        ensure(self.at < copy.expires_at, "nothing is delivered that has expired")
        if packet_id is not None:
            session.flight[packet_id] = copy

    def _take(self, copies: list[Copy], topic: str, packet: Publish) -> Copy:
        """Take the first copy out; of one message there may be several, in any order."""
        for place, copy in enumerate(copies):
            if (copy.topic, copy.payload) != (topic, packet.payload):
                break
            if copy.retain == packet.retain:
                return copies.pop(place)
        ensure(False, "what is delivered was published, is subscribed to, and comes in its order")
        raise AssertionError

    def _kept_back(self, event: Decided) -> None:
        session = self.sessions[event.client_id]
        if session.denied:
            session.denied -= 1
            return
        waiting = session.again.values() if session.again else session.queue
        first = next(iter(waiting), None)
        ensure(first is not None, "only what waits is kept back")
        assert first is not None
        ensure(topic_arn(REGION, ACCOUNT, first.topic) == event.resource, "the first that waits is asked about")
        self._drop_first(session)

    def _dropped(self, event: Dropped) -> None:
        ensure(event.cause in {"expired", "too_large", "unacknowledged"}, "nothing is dropped for want of room")
        session = self.sessions[event.client_id]
        wanted = event.topic, event.payload
        sent_before = event.cause == "unacknowledged"
        for copies in () if sent_before else (session.now, session.queue):
            for place, copy in enumerate(copies):
                if (copy.topic, copy.payload) == wanted:
                    ensure(event.cause != "expired" or self.at >= copy.expires_at, "only what is old expires")
                    del copies[place]
                    return
        for packet_id, copy in session.again.items():
            if (copy.topic, copy.payload) == wanted:
                old = self.at - copy.sent_at >= MAX_RETRY_SECONDS
                ensure(old or not sent_before, "what was not acknowledged is given up after an hour, and not before")
                del session.again[packet_id]
                return
        ensure(False, "only what waits is dropped")

    def _drop_first(self, session: Kept) -> None:
        if session.again:
            del session.again[next(iter(session.again))]
        else:
            del session.queue[0]

    def _may(self, number: int, action: str, topic: str) -> bool:
        return may(GRANTS.index(self.granted[number]), self.watch.clients[number].packet.client_id, action, topic)

    # -- after an operation --------------------------------------------------------------------------------------------

    def _check_settled(self) -> None:
        for session in self.sessions.values():
            ensure(not session.now, "a message of QoS 0 is delivered at once")
            ensure(not session.denied, "what is kept back is told")

    def check_sizes(self) -> dict[str, int]:
        """Hold what the broker counts against the model too."""
        sizes = super().check_sizes()
        sessions = self.sessions.values()
        ensure(sizes["sessions"] == len(sessions), "the broker has the model's sessions")
        ensure(sizes["in_flight"] == sum(len(each.flight) for each in sessions), "the same is under way")
        ensure(sizes["queued"] == sum(len(each.queue) + len(each.again) for each in sessions), "the same waits")
        filters = sum(len(each.subscriptions) for each in sessions)
        ensure(sizes["subscriptions"] == filters, "the broker has the model's subscriptions")
        for session in sessions:
            ensure(self.at < session.left_at + session.expiry + 0.02, "a session ends when its time is over")
        ensure(all(self.at < due + 0.02 for due in self.wills.values()), "a will is published when it is due")
        return sizes

    def drain(self) -> None:
        """Let every client acknowledge what it has: then all that was for it has come."""
        for number in list(self.open):
            client = self.watch.clients[number]
            while client.unacknowledged and number in self.watch.live:
                self.acknowledge_first(number)
        for session in self.sessions.values():
            if session.connection is not None:
                ensure(not session.queue and not session.again, "all that was for a client has come")

    def empty(self) -> None:
        """End everything; the model has said what it had to."""
        self.look = super().look  # type: ignore[method-assign]
        self.check_sizes = super().check_sizes  # type: ignore[method-assign]
        super().empty()


@cache
def may(grant: int, client_id: str, action: str, topic: str) -> bool:
    """Ask the policies of a grant."""
    arn = topicfilter_arn if action == "iot:Subscribe" else topic_arn
    context = Context(client_id, "192.0.2.1")
    return evaluate(GRANTS[grant].policies, action, arn(REGION, ACCOUNT, topic), context).allowed

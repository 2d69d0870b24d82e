"""HTTP on one connection: each request to its answer, in order.

    request ──refused──> 404, 405, 426, 400                       the connection goes on
       ├── GET /mqtt ──> credentials in it checked ──> 101, and the talk becomes MQTT in WebSocket
       └── POST /topics/... ──> authenticated ──> read ──> the broker ──> 200, 403, 400

The order is the service's as far as it is known: who is not let in gets 403, whatever is wrong with the request. The
function is called for each request, or once in `refreshAfterInSeconds` for a connection whose authorizer has
`enableCachingForHttp` (AWS page "Defining your Lambda function"); other credentials on it are another client's.

Each refusal is one `refused` event with the true cause; the client is told as little as the service tells it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

from .. import limits
from ..carriage import read_query
from .authentication import Question, Refusal, Verdict
from .codec import Packet, ReasonCode
from .consultation import consult, make_grant
from .doors import TurnAway
from .effects import Grant
from .events import HttpAnswered, HttpRequested, Refused, TurnedAway, Warned
from .http_answers import ACCEPTED, HttpAnswer, HttpRefusal, forbidden, refused
from .http_door import Fault, HttpDoor, HttpRequest
from .http_head import Reply
from .http_names import HARMLESS_HEADERS, PUBLISH_PARAMETERS
from .http_publish import InvalidPublish, read_publication
from .http_routes import Target, refuse_route, shown_method
from .mqtt_talk import MAX_HELD_BYTES, MqttTalk
from .offence import RefusedOperation
from .presented import Carrier, HttpPart, Presented
from .redaction import shown_query
from .talk import Stage
from .visitor import Visitor
from .websocket_pipe import WebSocketPipe
from .websocket_upgrade import grant_headers, refuse_upgrade

if TYPE_CHECKING:
    from .client_connection import ClientConnection

_CREDENTIALS_IN: Final[dict[Carrier | None, Literal["headers", "query"]]] = {
    Carrier.HEADERS: "headers",
    Carrier.QUERY: "query",
}

_AUTHORIZER_NOT_KNOWN: Final = frozenset({"authorizer_not_named", "authorizer_unknown"})


@dataclass(frozen=True, slots=True, repr=False)
class _Exchange:
    """One request and what its answer needs."""

    request: HttpRequest
    target: Target
    presented: Presented
    trace_id: str


@dataclass(frozen=True, slots=True, repr=False)
class _KeptGrant:
    """What the function granted to the client that sent `key`; good before `until`, by the endpoint's clock."""

    key: Hashable
    grant: Grant
    until: float


class HttpTalk:
    """The HTTP of one connection."""

    def __init__(self, line: ClientConnection) -> None:
        self._line: Final = line
        self._server: Final = line.server
        self._door = HttpDoor()
        self._busy = False
        self._kept: _KeptGrant | None = None
        self._plus_is_space: Final = self._server.choices.plus_in_query == "space"

    # -- called by the connection ------------------------------------------------------------------------------------

    def receive(self, plaintext: bytes) -> None:
        """Take plaintext."""
        self._door.feed(plaintext)
        if not self._busy:
            self._go_on()
        elif self._door.waiting_bytes > MAX_HELD_BYTES:
            self._line.pause()

    def send(self, packet: Packet) -> None:
        """Do nothing: there is no MQTT here."""

    def output(self) -> bytes:
        """Return nothing: answers are written at once."""
        return b""

    def farewell(self) -> bytes:
        """Say nothing: an answer has said it."""
        return b""

    def forget(self) -> None:
        """Let go of what is held."""
        self._kept = None

    # -- requests ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        line = self._line
        ends = self._server.loop.time() + self._server.turns.share_seconds
        while not (self._busy or line.left):
            if self._server.loop.time() >= ends:
                line.do_first(self._go_on_later, b"")
                return
            match self._door.next():
                case None:
                    self._wait()
                    return
                case Reply(data):
                    line.write(data)
                case TurnAway() as turn_away:
                    line.turn_away(line.domain.explain(turn_away))
                case Fault() as fault:
                    self._end(fault)
                case HttpRequest() as request:
                    if self._begin(request):
                        return

    def _go_on_later(self, nothing: bytes) -> None:
        del nothing
        if not self._busy:
            self._go_on()
            self._read_on()

    def _read_on(self) -> None:
        """Read again, if what was sent ahead is dealt with so far: it may have been too much, see `receive`."""
        if self._door.waiting_bytes <= MAX_HELD_BYTES:
            self._line.resume()

    def _wait(self) -> None:
        """Wait for the peer: the time that it has depends on whether it has begun a request."""
        line = self._line
        if self._door.over:
            line.leave()
        elif self._door.within_request:
            if line.stage is not Stage.HTTP:
                line.enter(Stage.HTTP)
        elif line.stage is not Stage.HTTP:
            line.enter(Stage.IDLE)

    def _begin(self, request: HttpRequest) -> bool:
        """Serve one request; whether the connection speaks another protocol now."""
        self._line.heard()
        refusal = self._find_domain(request) if self._line.server_name is None else None
        target = Target.of(request)
        presented = Presented(
            self._line.server_name,
            HttpPart(request.headers, target.query),
            plus_is_space=self._plus_is_space,
        )
        exchange = _Exchange(request, target, presented, str(uuid4()))
        self._tell(exchange)
        refusal = refusal or self._line.domain.refuse_route(target.path) or refuse_route(request.method, target)
        if refusal is not None:
            self._refuse(exchange.trace_id, refusal)
        elif target.upgrades:
            return self._upgrade(exchange)
        else:
            self._authenticate(exchange)
        return False

    def _find_domain(self, request: HttpRequest) -> HttpRefusal | None:
        """Find the domain by the Host header, since no SNI has named it; see `Choices.name_in_host`."""
        found = self._server.domains.by_host(request.values("host"))
        if isinstance(found, HttpRefusal):
            return found
        self._line.domain = found
        return None

    def _tell(self, exchange: _Exchange) -> None:
        server, number, authentication = self._server, self._line.number, self._line.authentication
        query = exchange.target.query
        if query is not None and not server.show_secrets:
            query = shown_query(query)
        server.log.append(
            HttpRequested(
                number,
                exchange.trace_id,
                shown_method(exchange.request.method),
                exchange.target.shown,
                query,
                authentication.wanted(exchange.presented),
                _CREDENTIALS_IN.get(authentication.carrier(exchange.presented)),
                len(exchange.request.body),
            )
        )
        for warning in authentication.warnings(exchange.presented):
            server.log.append(Warned(number, *warning))
        for host in exchange.request.values("host"):
            other = server.domains.other_host(self._line.domain, host)
            if other is not None:
                server.log.append(Warned(number, "host_names_other_domain", other))

    def _answer(self, trace_id: str, answer: HttpAnswer) -> None:
        headers = answer.headers_for(trace_id, datetime.now(UTC))
        self._server.log.append(HttpAnswered(self._line.number, trace_id, answer.status))
        self._line.write(self._door.answer(answer.status, headers, answer.body(trace_id)))

    def _refuse(self, trace_id: str, refusal: HttpRefusal) -> None:
        status = refusal.answer.status
        self._server.log.append(Refused(self._line.number, "", refusal.cause, None, refusal.explanation, status))
        self._answer(trace_id, refusal.answer)

    def _end(self, fault: Fault) -> None:
        """Answer what cannot be read on, and close."""
        self._answer(str(uuid4()), HttpAnswer(fault.status, fault.explanation))
        self._line.turn_away(TurnAway(fault.cause, None, fault.explanation))

    # -- the upgrade -------------------------------------------------------------------------------------------------

    def _upgrade(self, exchange: _Exchange) -> bool:
        """Grant the upgrade, or refuse it; whether it was granted."""
        refusal = refuse_upgrade(exchange.request)
        if refusal is None:
            wrong = self._line.authentication.check_upgrade(exchange.presented)
            # Of AWS credentials 403 was seen at the service; of others nobody has told.
            signed = wrong is not None and wrong.cause == "sigv4"
            status = 403 if signed else self._server.choices.refused_upgrade_status
            refusal = forbidden(wrong.cause, wrong.explanation, status=status) if wrong else None
        if refusal is not None:
            self._refuse(exchange.trace_id, refusal)
            return False
        line = self._line
        self._server.log.append(HttpAnswered(line.number, exchange.trace_id, 101))
        talk = MqttTalk(line, WebSocketPipe(), http=exchange.presented.http)  # its life begins before the client knows
        line.write(self._door.switch(grant_headers(exchange.request, exchange.trace_id)))
        line.become(talk, Stage.CONNECT, self._door.rest)
        return True

    # -- publishing --------------------------------------------------------------------------------------------------

    def _authenticate(self, exchange: _Exchange) -> None:
        server = self._server
        question = self._line.authentication.question(exchange.presented, connection_id=exchange.trace_id)
        if isinstance(question, Refusal):
            unknown = question.cause in _AUTHORIZER_NOT_KNOWN
            status = server.choices.unknown_authorizer_status_https if unknown else 403
            self._refuse(exchange.trace_id, forbidden(question.cause, question.explanation, status=status))
            return
        key = _client_key(question, exchange)
        kept = self._kept
        if kept is not None and kept.key == key and server.at() < kept.until:
            self._publish(exchange, kept.grant)
            return
        self._busy = True
        consult(
            server,
            self._line.number,
            question,
            lambda verdict, elapsed: self._judged(exchange, question, verdict, elapsed),
        )

    def _judged(self, exchange: _Exchange, question: Question, verdict: Verdict, elapsed_seconds: float) -> None:
        self._busy = False
        if self._line.left:
            self._tell_left(elapsed_seconds)
            return
        if verdict.result is None:
            refusal = verdict.refusal or Refusal("not_authenticated", "")
            self._refuse(exchange.trace_id, forbidden(refusal.cause, refusal.explanation))
        else:
            grant = make_grant(self._server, question, verdict.result, self._line.source_ip)
            if question.authorizer.enable_caching_for_http:
                until = self._server.at() + verdict.result.refresh_after_seconds
                self._kept = _KeptGrant(_client_key(question, exchange), grant, until)
            self._publish(exchange, grant)
        self._go_on()
        self._read_on()

    def _publish(self, exchange: _Exchange, grant: Grant) -> None:
        server = self._server
        try:
            publication = read_publication(exchange.request, exchange.target, plus_is_space=self._plus_is_space)
        except InvalidPublish as error:
            self._refuse(exchange.trace_id, refused(400, "publish_invalid", str(error)))
            return
        effects, refusal = server.broker.publish_for(
            Visitor(
                self._line.number,
                grant,
                region=server.place.arn_region,
                account=server.place.arn_account,
                choices=server.choices,
            ),
            publication.topic,
            publication.payload,
            qos=publication.qos,
            retain=publication.retain,
            properties=publication.properties,
            now=server.loop.time(),
            at=server.at(),
        )
        server.perform(effects)
        if refusal is None:
            server.peers.let_in(self._line.number)
            self._answer(exchange.trace_id, ACCEPTED)
        else:
            self._refuse(exchange.trace_id, _as_http(refusal))

    def _tell_left(self, elapsed_seconds: float) -> None:
        if self._line.evicted is not None:  # which was told when it happened
            return
        explanation = (
            f"the client closed the connection before the authorizer answered, {elapsed_seconds:.1f} s after its"
            f" request; the authorizer may take {limits.AUTHORIZER_TIMEOUT_SECONDS:g} s, so a client must wait longer"
        )
        self._server.log.append(TurnedAway(self._line.number, "client_left", explanation))


def _as_http(refusal: RefusedOperation) -> HttpRefusal:
    match refusal.reason_code:
        case ReasonCode.TOPIC_NAME_INVALID:
            return refused(400, "topic_invalid", refusal.explanation)
        case ReasonCode.QUOTA_EXCEEDED:
            return refused(429, "quota_exceeded", refusal.explanation)
        case _:
            return forbidden("publish_not_allowed", refusal.explanation)


def _client_key(question: Question, exchange: _Exchange) -> Hashable:
    """What tells two clients of one connection apart: all that may be a part of their credentials."""
    headers = tuple((name, value) for name, value in exchange.request.headers if name not in HARMLESS_HEADERS)
    parameters = read_query(exchange.target.query or "")
    return question.name, headers, tuple(each for each in parameters if each[0] not in PUBLISH_PARAMETERS)

"""The first bytes of a connection: what happens to it before TLS.

Nobody who reaches the port by mistake should have to guess what it wants. What begins like this (`openings`) gets that:

    TLS handshake record      -> the ClientHello is read        -> Hello
    HTTP CONNECT name:443     -> 200, and the stream starts anew -> Reply, Proxied
    any other HTTP request    -> 400                            -> Reply, TurnAway
    plain MQTT, SSLv2, SOCKS, other TLS records, garbage        -> TurnAway

`Front` is fed what the socket gave, cut anywhere, and returns what to do. All bytes are kept until the ClientHello
is complete, and handed on with it: TLS reads them as if nobody had looked.
A script that must use the real endpoint name and port 443 comes here through its HTTP proxy setting: that is what
CONNECT is for, and the only thing it can reach is this endpoint itself.

Never here: I/O, waiting, more than `MAX_HTTP_HEAD_BYTES` or `MAX_CLIENT_HELLO_BYTES` of memory per connection, and
never a header's or a request target's content in an explanation, for credentials travel in both (of a well-formed
CONNECT, host name and port alone are shown).
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto

from .client_hello import BadClientHello, ClientHello, ClientHelloReader
from .doors import Alert, ServedNames, TurnAway, shown
from .http_head import BadRequest, HttpHead, Reply
from .openings import Opening, recognise

_AUTHORITY = re.compile(r"\[?([0-9A-Za-z._:-]{1,253})\]?:([0-9]{1,5})")  # RFC 9112 section 3.2.3


@dataclass(frozen=True, slots=True)
class Proxied:
    """A CONNECT to `target` ("name:port") was granted; the stream starts anew."""

    target: str


@dataclass(frozen=True, slots=True)
class Hello:
    """The ClientHello is complete; `received` holds every byte that TLS has to be given first."""

    client_hello: ClientHello
    received: bytes


Output = Reply | Proxied | Hello | TurnAway


class _Stage(Enum):
    OPENING = auto()
    HTTP = auto()
    CLIENT_HELLO = auto()
    OVER = auto()


class Front:
    """What happens to a connection until its ClientHello is there.

        OPENING ──> CLIENT_HELLO ──> OVER (Hello; from every stage, TurnAway)
           │  ^
           v  │ a granted CONNECT, once
          HTTP

    `served` are the host names that a CONNECT may ask for, `ports` the ports: the service's 443, to which the caller
    may add the one it listens on; `ports_of` returns what a domain configuration adds for its name.
    """

    def __init__(
        self,
        served: ServedNames,
        *,
        ports: Collection[int] = (443,),
        ports_of: Callable[[str], Collection[int]] = lambda _: (),
    ) -> None:
        self._served = served
        self._ports = frozenset(ports)
        self._ports_of = ports_of
        self._stage = _Stage.OPENING
        self._head = bytearray()
        self._http: HttpHead | None = None  # made for those that speak HTTP: h11 has 4 KiB for it
        self._hello = ClientHelloReader()
        self._proxied = False

    @property
    def progress(self) -> str:
        """How far the client has come, as the end of a sentence: "after 12 bytes of a ClientHello"."""
        match self._stage:
            case _Stage.OPENING if not self._head:
                return "after CONNECT, before the ClientHello" if self._proxied else "before its first byte"
            case _Stage.OPENING:
                return "within its first bytes"
            case _Stage.HTTP:
                return f"after {self._http.received if self._http else 0} bytes of an HTTP request"
            case _Stage.CLIENT_HELLO:
                return f"after {len(self._hello.received)} bytes of a ClientHello"
            case _Stage.OVER:
                return "after its first message"

    def receive(self, data: bytes | bytearray) -> list[Output]:
        """Take the next bytes from the socket and return what to do, in order.

        `Hello` and `TurnAway` are the last output: bytes that come after them are dropped here (after a `Hello`
        they belong to TLS). The outputs do not depend on how the bytes were cut, but that `Hello.received` ends
        with the piece that completed it.
        """
        outputs: list[Output] = []
        rest = bytes(data)
        while rest and self._stage is not _Stage.OVER:
            rest = self._advance(rest, outputs)
        return outputs

    def end(self) -> TurnAway | None:
        """Note that the client closed the stream; None when the front's part was over already."""
        if self._stage is _Stage.OVER:
            return None
        progress = self.progress
        self._stage = _Stage.OVER
        return TurnAway("closed_early", None, f"the client closed the connection {progress}")

    def _advance(self, data: bytes, outputs: list[Output]) -> bytes:
        """Let the present stage take `data`; return what is left for the next stage."""
        if self._stage is _Stage.OPENING:
            self._head += data
            opening = recognise(bytes(self._head))
            if opening is None:
                return b""
            taken = bytes(self._head)
            self._head.clear()
            match opening:
                case Opening.TLS_HANDSHAKE:
                    self._stage = _Stage.CLIENT_HELLO
                case Opening.HTTP:
                    self._stage = _Stage.HTTP
                case _:
                    self._turn_away(_explain(opening, taken), outputs)
            return taken
        if self._stage is _Stage.HTTP:
            return self._read_http(data, outputs)
        self._read_hello(data, outputs)
        return b""

    def _read_hello(self, data: bytes, outputs: list[Output]) -> None:
        try:
            hello = self._hello.feed(data)
        except BadClientHello as error:
            sentence = (
                f"the ClientHello cannot be read: {error}; the client's TLS library or something between is broken"
            )
            self._turn_away(TurnAway("bad_client_hello", Alert.DECODE_ERROR, sentence), outputs)
        else:
            if hello is not None:
                self._stage = _Stage.OVER
                outputs.append(Hello(hello, self._hello.received))

    def _read_http(self, data: bytes, outputs: list[Output]) -> bytes:
        http = self._http = self._http or HttpHead()
        request = http.feed(data)
        if request is None:
            return b""
        if isinstance(request, BadRequest):
            return self._refuse(http, request.status, TurnAway("bad_http", None, request.explanation), outputs)
        if request.method != "CONNECT":
            sentence = (
                f"plain HTTP {request.method} without TLS on the TLS port: use https:// or wss://, with the "
                "endpoint's ca.pem"
            )
            return self._refuse(http, 400, TurnAway("plain_http", None, sentence), outputs)
        return self._connect(http, request.target, outputs)

    def _connect(self, http: HttpHead, target: str, outputs: list[Output]) -> bytes:
        wanted = _AUTHORITY.fullmatch(target)
        if self._proxied:
            sentence = "a second HTTP CONNECT on one stream: after the first, TLS has to follow"
            return self._refuse(http, 400, TurnAway("connect_twice", None, sentence), outputs)
        if wanted is None:
            sentence = "HTTP CONNECT without a target of the form name:443"
            return self._refuse(http, 400, TurnAway("bad_http", None, sentence), outputs)
        name, port = wanted[1], int(wanted[2])
        if name not in self._served:
            sentence = f"HTTP CONNECT to {shown([name])}, which is not served here; served: {self._served}"
            return self._refuse(http, 403, TurnAway("proxy_target_unknown", None, sentence), outputs)
        more = self._ports_of(name)
        if port not in self._ports and port not in more:
            served_on = " and ".join(f"{each}" for each in sorted({443, *more}))
            sentence = (
                f"HTTP CONNECT to port {port} of {shown([name])}: custom authentication is served there on port"
                f" {served_on} only"
            )
            return self._refuse(http, 403, TurnAway("proxy_port_unknown", None, sentence), outputs)
        outputs.append(Reply(http.establish()))
        outputs.append(Proxied(target))
        rest = http.rest
        self._proxied = True
        self._http = None
        self._stage = _Stage.OPENING
        return rest

    def _refuse(self, http: HttpHead, status: int, turn_away: TurnAway, outputs: list[Output]) -> bytes:
        outputs.append(Reply(http.answer(status, turn_away.explanation)))
        self._turn_away(turn_away, outputs)
        return b""

    def _turn_away(self, turn_away: TurnAway, outputs: list[Output]) -> None:
        self._stage = _Stage.OVER
        outputs.append(turn_away)


def _explain(opening: Opening, head: bytes) -> TurnAway:
    if opening is Opening.GARBAGE:
        sentence = f"the first byte, 0x{head[0]:02x}, begins neither TLS nor an HTTP CONNECT: not a client of this port"
        return TurnAway("garbage", None, sentence)
    return _EXPLANATIONS[opening]


_EXPLANATIONS = {
    Opening.MQTT: TurnAway(
        "plain_mqtt",
        None,
        "plain MQTT without TLS on the TLS port: switch TLS on in the client, with the endpoint's ca.pem, its host "
        "name as SNI and ALPN `mqtt`",
    ),
    Opening.OTHER_TLS_RECORD: TurnAway(
        "tls_without_hello",
        Alert.UNEXPECTED_MESSAGE,
        "a TLS record, but no ClientHello: the client goes on with a connection that this endpoint does not know",
    ),
    Opening.SSL_2: TurnAway(
        "ssl_2",
        Alert.PROTOCOL_VERSION,
        "a ClientHello in the format of SSL 2: the service takes TLS 1.2 and 1.3",
    ),
    Opening.SOCKS: TurnAway(
        "socks",
        None,
        "this looks like SOCKS: the endpoint is an HTTP proxy to itself, so set it as the client's HTTP proxy",
    ),
}

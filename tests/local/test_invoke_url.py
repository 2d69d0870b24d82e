"""Lambda Invoke URLs: which are taken, how one is called, and how everything that can go wrong is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local.authorizer_calls import Answer, AuthorizerCalls
from iot_customauth_client.local.authorizer_files import OutsideFunction
from iot_customauth_client.local.invoke_url import InvokeUrl
from iot_customauth_client.local.lambda_context import LambdaContext
from iot_customauth_client.local.outside_call import MAX_ANSWER_BYTES
from iot_customauth_client.local.redaction import scrub

PATH = "/2015-03-31/functions/authorizer/invocations"
EVENT = build_event(connection_id="id", signature_verified=False, username="u", password=b"pass01", client_id="c")
Handler = Callable[[socket.socket, bytes], None]


@contextlib.contextmanager
def serving(handler: Handler, wrap: Callable[[socket.socket], socket.socket] | None = None) -> Iterator[InvokeUrl]:
    """A server that hands each complete request to `handler`, on a thread of its own."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve(peer: socket.socket) -> None:
            with contextlib.suppress(OSError), peer if wrap is None else wrap(peer) as peer:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += peer.recv(65536)
                head, _, body = request.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                while len(body) < length:
                    body += peer.recv(65536)
                handler(peer, head + b"\r\n\r\n" + body)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listening.accept()
                    threading.Thread(target=serve, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        stack.callback(listening.shutdown, socket.SHUT_RDWR)
        yield InvokeUrl.parse(f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}")


def answering(status: str, body: bytes, *headers: str) -> Handler:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return lambda peer, request: peer.sendall(head.encode() + body)


def ask(url: InvokeUrl, *, timeout_seconds: float = 5) -> Answer:
    """Have the function called as the endpoint does; waits until no thread is left of it."""

    async def run() -> Answer:
        loop = asyncio.get_running_loop()
        calls = AuthorizerCalls(OutsideFunction(url), loop, timeout_seconds=timeout_seconds, scrub=scrub)
        answer: asyncio.Future[Answer] = loop.create_future()
        context = LambdaContext("f", region="eu-central-1", account="1", timeout_seconds=timeout_seconds)
        calls.call(EVENT, context, answer.set_result)
        await answer
        async with asyncio.timeout(5):
            while calls.abandoned:  # noqa: ASYNC110  # nobody is told of it, and that is right
                await asyncio.sleep(0.005)
        return answer.result()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "host", "port", "name"),
    [
        (f"http://localhost:3001{PATH}", "localhost", 3001, "authorizer"),
        (f"HTTP://127.0.0.1{PATH}/", "127.0.0.1", 80, "authorizer"),
        (f"https://[::1]:9000{PATH}?Qualifier=1", "::1", 9000, "authorizer"),
        ("https://h/2015-03-31/functions/arn%3Aaws%3Alambda/invocations", "h", 443, "arn:aws:lambda"),
    ],
)
def test_urls_of_tools_for_local_lambdas_are_taken(text: str, host: str, port: int, name: str) -> None:
    url = InvokeUrl.parse(text)
    assert (url.host, url.port, url.function_name) == (host, port, name)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("http://localhost:3001", "another path"),
        ("http://localhost:3001/2015-03-31/functions/invocations", "another path"),
        (f"http://localhost:70000{PATH}", "Port out of range"),
        (f"http://{PATH}", "no host"),
        (f"http://user:secret@localhost{PATH}", "a user name or a password"),
        (f"http://local host{PATH}", "no URL has"),
        (f"http://a..b{PATH}", "label"),
        (f"https://lambda.eu-central-1.amazonaws.com{PATH}", "sam local start-lambda"),
    ],
)
def test_other_urls_are_refused_with_the_form(text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        InvokeUrl.parse(text)
    assert "invocations" in caught.value.message or "in its container" in caught.value.message
    assert "secret" not in caught.value.message


def test_the_event_is_posted_as_json_and_the_result_comes_back() -> None:
    seen: list[bytes] = []

    def handler(peer: socket.socket, request: bytes) -> None:
        seen.append(request)
        answering("200 OK", b'{"isAuthenticated": false, "n": [1, 2]}')(peer, request)

    with serving(handler) as url:
        answer = ask(url)
    assert (answer.outcome, answer.result) == ("answered", {"isAuthenticated": False, "n": [1, 2]})
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST {PATH} HTTP/1.1\r\n".encode())
    assert b"\r\nX-Amz-Invocation-Type: RequestResponse" in head
    assert json.loads(body) == EVENT


ERROR = b'{"errorType": "TypeError", "errorMessage": "no pass01 here"}'

FAILURES: list[tuple[str, Handler, str, str]] = [
    (
        "a function error by header",
        answering("200 OK", ERROR, "X-Amz-Function-Error: Unhandled"),
        "failed",
        "the function raised TypeError: no <hidden> here",
    ),
    (
        "a function error as the emulator tells it",
        answering("200 OK", ERROR),
        "failed",
        "the function raised TypeError",
    ),
    ("an unknown function", answering("404 Not Found", b'{"Message": "not found"}'), "failed", "404 Not Found: not f"),
    ("a server error", answering("502 Bad Gateway", b"<html>no</html>"), "failed", "502 Bad Gateway: <html>no</html>"),
    ("a redirect", answering("302 Found", b"", "Location: http://127.0.0.1:1/"), "failed", "302 Found"),
    ("text", answering("200 OK", b"Task timed out after 3.00 seconds"), "invalid", "is not JSON (line 1, column 1)"),
    ("nothing", answering("200 OK", b""), "invalid", "is empty"),
    ("bytes", answering("200 OK", b"\xff\xfe\xfd"), "invalid", "is not JSON"),
    ("far too much", answering("200 OK", b" " * (MAX_ANSWER_BYTES + 1)), "invalid", "more than 1,048,576 bytes"),
    ("deep nesting", answering("200 OK", b"[" * 200_000), "invalid", "is not JSON"),
    ("another protocol", lambda peer, _: peer.sendall(b"220 mail ESMTP\r\n"), "failed", "not answer as HTTP does"),
    (
        "a cut answer",
        lambda peer, _: peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        "failed",
        "in the middle of its answer",
    ),
    (
        "a cut chunk",
        lambda peer, _: peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}"),
        "failed",
        "in the middle of its answer",
    ),
    ("no answer", lambda peer, _: None, "failed", "closed the connection without an answer; does it speak https?"),
]


@pytest.mark.parametrize(("handler", "outcome", "told"), [each[1:] for each in FAILURES], ids=[f[0] for f in FAILURES])
def test_what_goes_wrong_is_told(handler: Handler, outcome: str, told: str) -> None:
    with serving(handler) as url:
        answer = ask(url)
    assert answer.outcome == outcome
    assert told in answer.explanation
    assert "pass01" not in answer.explanation


def test_a_port_where_nothing_listens_is_told() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        answer = ask(InvokeUrl.parse(f"http://127.0.0.1:{reserved.getsockname()[1]}{PATH}"))
    assert answer.outcome == "failed"
    assert "nothing listens on 127.0.0.1:" in answer.explanation


def test_https_that_is_plain_http_is_told() -> None:
    with serving(answering("200 OK", b"{}")) as url:
        answer = ask(InvokeUrl.parse(str(url).replace("http:", "https:")), timeout_seconds=0.5)
    assert answer.outcome in ("failed", "timed_out")  # the server waits for an HTTP request that never comes
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def greet() -> None:
            peer, _ = listening.accept()
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            stack.enter_context(peer)

        threading.Thread(target=greet, daemon=True).start()
        answer = ask(InvokeUrl.parse(f"https://127.0.0.1:{listening.getsockname()[1]}{PATH}"))
    assert answer.outcome == "failed"
    assert "does it speak plain http?" in answer.explanation


@pytest.mark.parametrize("trusted", [True, False])
def test_https_needs_a_certificate_that_is_trusted(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def tls(raw: socket.socket) -> socket.socket:
        return context.wrap_socket(raw, server_side=True)

    with serving(answering("200 OK", b"[1]"), wrap=tls) as url:
        answer = ask(InvokeUrl.parse(f"https://localhost:{url.port}{PATH}"))
    if trusted:
        assert (answer.outcome, answer.result) == ("answered", [1])
    else:
        assert answer.outcome == "failed"
        assert f"the certificate of localhost:{url.port} is not trusted" in answer.explanation


def test_a_host_name_that_does_not_exist_is_told() -> None:
    answer = ask(InvokeUrl.parse(f"http://no-such-host.invalid{PATH}"))
    assert "cannot be found" in answer.explanation


def never(peer: socket.socket, request: bytes) -> None:
    peer.recv(1)


def drip(peer: socket.socket, request: bytes) -> None:
    """An answer without end, each part of it in time."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.sendall(b"1\r\n \r\n")
        time.sleep(0.02)


def continue_for_ever(peer: socket.socket, request: bytes) -> None:
    while True:
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize("handler", [never, drip, continue_for_ever])
def test_the_time_limit_ends_the_call_and_its_connection(handler: Handler) -> None:
    ended = threading.Event()

    def watched(peer: socket.socket, request: bytes) -> None:
        try:
            handler(peer, request)
        finally:
            ended.set()

    with serving(watched) as url:
        answer = ask(url, timeout_seconds=0.2)  # returns when its thread has ended
        assert ended.wait(5)
    assert answer.outcome == "timed_out"


def test_a_call_still_running_when_the_endpoint_stops_is_cut_off() -> None:
    entered = threading.Event()

    def handler(peer: socket.socket, request: bytes) -> None:
        entered.set()
        peer.recv(1)

    async def run(url: InvokeUrl) -> list[threading.Thread]:
        calls = AuthorizerCalls(OutsideFunction(url), asyncio.get_running_loop(), scrub=scrub)
        calls.call(EVENT, LambdaContext("f", region="", account="", timeout_seconds=5), lambda answer: None)
        assert await asyncio.to_thread(entered.wait, 5)
        return calls.close()

    with serving(handler) as url:
        for thread in asyncio.run(run(url)):
            thread.join(2)
            assert not thread.is_alive()


def test_every_field_of_a_function_error_may_be_of_any_type() -> None:
    bodies: list[Any] = [[], "text", {"errorMessage": None}, {"errorMessage": {"a": 1}, "errorType": 3}, 7]
    for body in bodies:
        with serving(answering("200 OK", json.dumps(body).encode(), "X-Amz-Function-Error: Handled")) as url:
            assert ask(url).explanation.startswith("the function raised ")

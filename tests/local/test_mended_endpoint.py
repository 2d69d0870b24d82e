"""Faults of the local endpoint that were found by reading it, each with the least that shows that it is mended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.server
import itertools
import json
import os
import re
import select
import signal
import string
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from authorizer_functions import allow_all
from http_clients import NAME, HttpClient, tls_socket

from iot_customauth_client import ConfigurationError
from iot_customauth_client.authorizer.event import AuthorizerEvent, build_event
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.authorizer_calls import Answer, AuthorizerCalls
from iot_customauth_client.local.authorizer_files import OutsideFunction
from iot_customauth_client.local.command import Command
from iot_customauth_client.local.http_door import HttpDoor
from iot_customauth_client.local.invoke_url import InvokeUrl
from iot_customauth_client.local.lambda_context import LambdaContext
from iot_customauth_client.local.mqtt_talk import MAX_HELD_BYTES
from iot_customauth_client.local.presented import MqttPart, Presented
from iot_customauth_client.local.redaction import scrub, shown_result

MakeEndpoint = Callable[..., LocalEndpoint]
WAIT = 10.0
LONG_TOKEN = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(8))
"""512 characters, in which no eight are the same as any other eight."""
PASSWORD = "marker-word-5f21"
PATH = "/2015-03-31/functions/authorizer/invocations"
ONE_READ_BYTES = 256 * 1024
"""What asyncio reads at once."""


def has_a_piece_of(token: str, text: str) -> bool:
    return any(token[at : at + 8] in text for at in range(len(token) - 7))


# -- a client that sends ahead and never reads ------------------------------------------------------------------------


def test_small_requests_sent_ahead_are_held_back_however_many_are_answered(
    make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    feed = HttpDoor.feed

    def measured(door: HttpDoor, data: bytes | bytearray) -> None:
        feed(door, data)
        held.append(door.waiting_bytes)

    monkeypatch.setattr(HttpDoor, "feed", measured)
    endpoint = make_endpoint({"a": allow_all}, default_authorizer="a")
    request = b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with tls_socket(endpoint) as client:

        def pour() -> None:
            with contextlib.suppress(OSError):  # the socket takes no more, and is shut down in the end
                client.sendall(request * 300_000)

        pouring = threading.Thread(target=pour, daemon=True)
        pouring.start()
        for _ in endpoint_publishes(endpoint, 100):
            pass
        with contextlib.suppress(OSError):
            client.shutdown(2)
        pouring.join(WAIT)
        assert not pouring.is_alive()
    assert MAX_HELD_BYTES < max(held) <= MAX_HELD_BYTES + ONE_READ_BYTES


def endpoint_publishes(endpoint: LocalEndpoint, count: int) -> Iterator[events.Published]:
    after = 0
    for _ in range(count):
        published = endpoint.wait_for(events.Published, after=after, timeout=WAIT)
        after = published.sequence
        yield published


# -- a token that was cut off -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def quoting_function() -> Iterator[str]:
    """An Invoke URL of a function that quotes its token in the error that it raises."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"errorType": "Error", "errorMessage": f"no user has {event['token']}"}).encode()
            self.send_response(200)
            self.send_header("X-Amz-Function-Error", "Unhandled")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # its name in the base class
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{PATH}"
        finally:
            server.shutdown()
            thread.join(WAIT)


def told_about(endpoint: LocalEndpoint) -> str:
    """Have the function called with the token; gives all that the events tell."""
    with HttpClient(endpoint) as client:
        assert client.post("/topics/a", b"", **{NAME.replace("-", "_"): "a", "token": LONG_TOKEN}).status == 403
    refused = endpoint.wait_for(events.Refused, cause="authorizer_failed", timeout=WAIT)
    assert "<hidden>" in refused.explanation
    return "".join(f"{event!r} {event}" for event in endpoint.events)


def test_a_token_that_an_error_text_cut_off_is_in_no_event(make_endpoint: MakeEndpoint) -> None:
    with quoting_function() as url:
        authorizer = LocalAuthorizer(url, signing_disabled=True, token_key_name="token")
        told = told_about(make_endpoint({"a": authorizer}))
    assert "no user has <hidden>" in told
    assert not has_a_piece_of(LONG_TOKEN, told)


def test_a_token_of_which_python_quotes_the_beginning_is_in_no_event(
    make_endpoint: MakeEndpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    def function(event: dict[str, str], context: object) -> int:
        return int(event["token"])  # ValueError: invalid literal ... and the first 200 characters of it

    authorizer = LocalAuthorizer(function, signing_disabled=True, token_key_name="token")
    told = told_about(make_endpoint({"a": authorizer}))
    assert "invalid literal for int()" in told
    assert not has_a_piece_of(LONG_TOKEN, told)
    printed = capfd.readouterr().err
    assert "invalid literal for int()" in printed
    assert not has_a_piece_of(LONG_TOKEN, printed)


def test_a_token_in_a_key_of_a_result_is_not_shown() -> None:
    event = build_event(connection_id="id", signature_verified=False, token=LONG_TOKEN, username="u")
    shown = shown_result({LONG_TOKEN: True, f"x{LONG_TOKEN[:50]}": 1, "principalId": "p"}, event)
    assert shown is not None
    assert shown["principalId"] == "p"
    assert not has_a_piece_of(LONG_TOKEN, repr(shown))


# -- a user name of thousands of parameters ---------------------------------------------------------------------------


def test_thousands_of_short_parameters_need_no_pattern_each(monkeypatch: pytest.MonkeyPatch) -> None:
    words = itertools.islice(map("".join, itertools.product(string.ascii_lowercase, repeat=3)), 9_000)
    username = f"u?{'&'.join(f'x={word}' for word in words)}"
    event: AuthorizerEvent = build_event(connection_id="id", signature_verified=False, username=username)
    patterns: list[str] = []
    compiled = re.sub

    def counted(pattern: str, replacement: str, text: str) -> str:
        patterns.append(pattern)
        return compiled(pattern, replacement, text)

    monkeypatch.setattr(re, "sub", counted)
    shown = shown_result({"principalId": "user bat, 1", "policyDocuments": ["{}"] * 10}, event)
    assert shown is not None
    assert shown["principalId"] == "user <hidden>, 1"
    assert len(patterns) < 20
    assert scrub("it was bat", event) == "it was <hidden>"
    assert len(patterns) < 40


def test_a_user_name_is_read_once_however_often_it_is_asked_for() -> None:
    presented = Presented("localhost", None, MqttPart(f"u?{'&'.join(['x=abc'] * 9_000)}", None, "c"))
    assert presented.carriers() is presented.carriers()


# -- an authorizer's URL with a password ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{PASSWORD}@localhost:3001{PATH}",
        f"http://{PASSWORD}@localhost:3001{PATH}",
        f"ftp://user:{PASSWORD}@localhost{PATH}",
        f"http://user:{PASSWORD}@localhost:99999{PATH}",
        f"http://user:{PASSWORD}@localhost:port{PATH}",
        f"http://user:{PASSWORD}@[::1{PATH}",
        f"http://user:{PASSWORD}@{PATH}",
        f"http://user:12/{PASSWORD}@localhost{PATH}",
        f"http:user:{PASSWORD}@localhost",
        f"user:{PASSWORD}@localhost",
    ],
)
def test_a_password_in_an_authorizers_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="holds a user name or a password") as caught:
        InvokeUrl.parse(url)
    error = caught.value
    told = f"{error} {error!r} {error.args!r} {vars(error)!r}"
    told += "".join(traceback.format_exception_only(error))
    assert error.__cause__ is None
    assert PASSWORD not in told


# -- what a command leaves behind -------------------------------------------------------------------------------------


def ask(command: Command, *, timeout_seconds: float = WAIT) -> Answer:
    """Have the command run as the endpoint does."""
    event = build_event(connection_id="id", signature_verified=False, username="u")

    async def run() -> Answer:
        loop = asyncio.get_running_loop()
        calls = AuthorizerCalls(OutsideFunction(command), loop, timeout_seconds=timeout_seconds, scrub=scrub)
        answer: asyncio.Future[Answer] = loop.create_future()
        context = LambdaContext("f", region="eu-central-1", account="1", timeout_seconds=timeout_seconds)
        calls.call(event, context, answer.set_result)
        return await answer

    return asyncio.run(run())


def has_ended(number: int) -> bool:
    """Wait until a process has ended; kill it if it does not."""
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return True
    try:
        if select.select([handle], [], [], 2)[0]:
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return False
    finally:
        os.close(handle)


needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd, which is Linux's")
RESULT = '{"isAuthenticated": false}'


@needs_pidfd
def test_a_command_that_succeeded_leaves_no_child_behind(tmp_path: Path) -> None:
    file = tmp_path / "number"
    script = f"sleep 300 >/dev/null 2>&1 & echo $! > \"$0\"; echo '{RESULT}'"
    answer = ask(Command.of(["sh", "-c", script, str(file)]))
    assert (answer.outcome, answer.result) == ("answered", {"isAuthenticated": False})
    assert has_ended(int(file.read_text()))


@needs_pidfd
def test_a_child_that_holds_the_output_of_its_command_is_gone_at_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "number"
    script = f"sleep 300 & echo $! > \"$0\"; echo '{RESULT}'"
    answer = ask(Command.of(["sh", "-c", script, str(file)]), timeout_seconds=1)
    assert answer.outcome == "timed_out"  # its output has no end before that
    assert has_ended(int(file.read_text()))

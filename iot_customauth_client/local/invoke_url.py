"""An authorizer function behind a Lambda Invoke URL: written in any language, served by a tool for local Lambdas.

The form is that of Lambda's Invoke API, `http://host:port/2015-03-31/functions/NAME/invocations`, as
`sam local start-lambda` and the Lambda runtime interface emulator (in every AWS base image) serve it. The event is
posted as JSON; 200 with the result as JSON comes back.

How a function's error arrives differs: Lambda and SAM mark it with the header `X-Amz-Function-Error`, the emulator
does not, and shows it by a body with `errorMessage` (and a time-out by plain text). Both count as a failure.

Nothing is followed, retried or kept open: one request, one connection.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from .outside_call import BACKSTOP_SECONDS, MAX_ANSWER_BYTES, FunctionFailed, OutsideCall, one_line, read_answer

if TYPE_CHECKING:
    from ..authorizer.event import AuthorizerEvent
    from .lambda_context import LambdaContext

INVOKE_URL_FORM: Final = "http://host:port/2015-03-31/functions/NAME/invocations"
"""How an Invoke URL is written, for messages."""
FUNCTION_ERROR_HEADER: Final = "X-Amz-Function-Error"

_PATH: Final = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/invocations/?")
_AWS_HOST: Final = re.compile(r"lambda\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|.*\.lambda-url\..*\.on\.aws")
_HEADERS: Final = {"Content-Type": "application/json", "X-Amz-Invocation-Type": "RequestResponse"}


@dataclass(frozen=True, slots=True)
class InvokeUrl:
    """A checked Invoke URL. `target` is the path, with the query if there is one."""

    secure: bool
    host: str
    port: int
    target: str
    function_name: str

    @classmethod
    def parse(cls, text: str) -> InvokeUrl:
        """Read an Invoke URL.

        Raises `ConfigurationError` that says what is wrong with it and how it is written.
        """
        form = f"write {INVOKE_URL_FORM}, as `sam local start-lambda` prints it"
        if "@" in text:  # no Invoke URL has one; before any error that quotes it
            raise ConfigurationError(f"the authorizer URL holds a user name or a password, which is not sent; {form}")
        try:
            parts = urlsplit(text)
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as error:  # UnicodeError is one
            raise ConfigurationError(f"authorizer URL {text!r}: {error}; {form}") from error
        if parts.scheme not in ("http", "https"):
            raise ConfigurationError(f"authorizer URL {text!r} does not begin with http:// or https://; {form}")
        if any(each.isspace() or not each.isprintable() or not each.isascii() for each in text):
            raise ConfigurationError(f"authorizer URL {text!r} holds a character that no URL has; {form}")
        if not parts.hostname:
            raise ConfigurationError(f"authorizer URL {text!r} has no host; {form}")
        if _AWS_HOST.fullmatch(parts.hostname):
            raise ConfigurationError(
                f"authorizer URL {text!r} is AWS's own: it wants requests signed with an AWS account's keys, which the"
                " local endpoint does not do; serve the function on this machine, with `sam local start-lambda` or in"
                " its container"
            )
        match = _PATH.fullmatch(parts.path)
        if match is None:
            raise ConfigurationError(f"authorizer URL {text!r} has another path than an invocation; {form}")
        secure = parts.scheme.lower() == "https"
        target = parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")
        port = (443 if secure else 80) if port is None else port
        return cls(secure, parts.hostname, port, target, unquote(match["name"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.target}"


def is_url(text: str) -> bool:
    """Tell whether the text of an authorizer's function is meant to be a URL."""
    return text.lower().startswith(("http://", "https://"))


class UrlCall(OutsideCall):
    """One request to an Invoke URL."""

    def __init__(self, url: InvokeUrl) -> None:
        self._url: Final = url
        self._lock = threading.Lock()
        self._aborted = False
        self._socket: socket.socket | None = None

    def __call__(self, event: AuthorizerEvent, context: LambdaContext) -> object:
        """Post the event and read the answer."""
        connection = self._connection(context.get_remaining_time_in_millis() / 1000 + BACKSTOP_SECONDS)
        try:
            connection.connect()
            self._remember(connection.sock)
            connection.request("POST", self._url.target, json.dumps(event).encode(), _HEADERS)
            response = connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
            if response.length and len(data) <= MAX_ANSWER_BYTES:
                raise http.client.IncompleteRead(data, response.length)
            return self._judge(response, data)
        except (OSError, http.client.HTTPException) as error:
            raise FunctionFailed(self._explain(error)) from error
        finally:
            with self._lock:
                self._socket = None
            connection.close()

    def abort(self) -> None:
        """Shut the connection down: whoever reads from it is told at once that there is no more."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own, which changes the object under the thread that uses it.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        url = self._url
        if url.secure:
            return http.client.HTTPSConnection(
                url.host, url.port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(url.host, url.port, timeout=timeout)

    def _remember(self, connected: socket.socket) -> None:
        """Let `abort` find the socket; the time limit may have passed while it was being connected."""
        with self._lock:
            if self._aborted:
                raise TimeoutError
            self._socket = connected

    def _judge(self, response: http.client.HTTPResponse, data: bytes) -> object:
        marked = response.headers.get(FUNCTION_ERROR_HEADER)
        if marked is not None:
            raise FunctionFailed(f"the function raised {_error_text(data) or one_line(marked)}")
        if not 200 <= response.status <= 299:
            said = _error_text(data)
            raise FunctionFailed(
                f"{self._url} answered {response.status} {one_line(response.reason)}"
                + (f": {said}" if said else "")
                + (f"; is {self._url.function_name!r} the function's name there?" if response.status == 404 else "")
            )
        answer = read_answer(
            data,
            what=f"what {self._url} answered",
            advice="it must be the function's result; the log of whoever serves the function may tell more",
        )
        if isinstance(answer, dict) and "errorMessage" in answer and "isAuthenticated" not in answer:
            raise FunctionFailed(f"the function raised {_error_text(data)}")  # as the emulator tells it
        return answer

    def _explain(self, error: OSError | http.client.HTTPException) -> str:
        url = self._url
        where = f"{url.host}:{url.port}"
        match error:
            case ConnectionRefusedError():
                return (
                    f"nothing listens on {where}: is it running, and is that its port? (`sam local start-lambda` takes"
                    " 3001, a container of a Lambda image what `docker run -p` says)"
                )
            case socket.gaierror():
                return f"the host name {url.host!r} cannot be found: {error.strerror}"
            case ssl.SSLCertVerificationError():
                return f"the certificate of {where} is not trusted: {error.verify_message}; use http, or SSL_CERT_FILE"
            case ssl.SSLError():
                return f"no TLS with {where}: {one_line(error.reason or str(error))}; does it speak plain http?"
            case TimeoutError():
                return f"{where} did not answer in time"
            case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return f"{where} closed the connection without an answer; does it speak https?"
            case http.client.IncompleteRead():
                return f"{where} closed the connection in the middle of its answer"
            case http.client.HTTPException():
                return f"{where} does not answer as HTTP does: {one_line(type(error).__name__)}"
            case _:
                return f"{where} cannot be reached: {one_line(error.strerror or str(error))}"


def _error_text(data: bytes) -> str:
    """`TypeError: its message` out of a Lambda error document, or whatever text a service explains itself with."""
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError):
        return one_line(data[:1024].decode("utf-8", "replace"))
    if not isinstance(document, dict):
        return ""
    members = cast("dict[str, object]", document)
    kind = members.get("errorType")
    said = next((members[key] for key in ("errorMessage", "Message", "message") if key in members), "")
    return one_line(f"{kind}: {said}" if kind else str(said))

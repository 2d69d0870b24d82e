"""Answers to HTTP requests, as the service writes them.

Every answer but 101 has a JSON body `{"message": ..., "traceId": ...}`, and the trace id again as `x-amzn-RequestId`
(AWS page "HTTPS" and answers seen at the service). An error has its name in `x-amzn-ErrorType`, with the colon that
the service puts there; the names are those of the iot-data API. Which message stands there is documented for 200 and
403 only: a denial says no more than `Forbidden`, the reason is for the log; of other errors the client is told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final, Literal

_ERROR_TYPES: Final = {
    400: "InvalidRequestException",
    401: "UnauthorizedException",
    403: "ForbiddenException",
    404: "ResourceNotFoundException",
    405: "MethodNotAllowedException",
    413: "RequestEntityTooLargeException",
    429: "ThrottlingException",
    500: "InternalFailureException",
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What is answered. `headers` are further ones."""

    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def body(self, trace_id: str) -> bytes:
        """Return the JSON text."""
        return json.dumps({"message": self.message, "traceId": trace_id}, separators=(",", ":")).encode()

    def headers_for(self, trace_id: str, at: datetime) -> list[tuple[str, str]]:
        """Return the headers, without connection and length of the body; `at` is the time of day, aware, in UTC."""
        error_type = _ERROR_TYPES.get(self.status)
        return [
            ("content-type", "application/json"),
            ("date", format_datetime(at, usegmt=True)),
            ("x-amzn-RequestId", trace_id),
            *([("x-amzn-ErrorType", f"{error_type}:")] if error_type else []),
            *self.headers,
        ]


@dataclass(frozen=True, slots=True)
class HttpRefusal:
    """A request that is refused: what the client gets, and what the log is told."""

    answer: HttpAnswer
    cause: str
    explanation: str


ACCEPTED: Final = HttpAnswer(200, "OK")
_FORBIDDEN: Final = HttpAnswer(403, "Forbidden")
_UNAUTHORIZED: Final = HttpAnswer(401, "Unauthorized")


def forbidden(cause: str, explanation: str, *, status: Literal[403, 401] = 403) -> HttpRefusal:
    """Refuse as the service does for whatever concerns credentials and policies: the client is told nothing."""
    return HttpRefusal(_FORBIDDEN if status == 403 else _UNAUTHORIZED, cause, explanation)


def refused(status: int, cause: str, explanation: str, *headers: tuple[str, str]) -> HttpRefusal:
    """Refuse, and tell the client why."""
    return HttpRefusal(HttpAnswer(status, explanation, headers), cause, explanation)

"""One request under way: how it ends, told once, whichever thread knows first.

A reply, a refusal, a time-out and `cancel()` may come at the same moment; the first one counts. It must not decide when
a request is sent or which reply is its own: that is `requests.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from .errors import CustomAuthError, OperationTimeout
from .messages import Message, PublishResult

if TYPE_CHECKING:
    from .clock import Timer
    from .outgoing import Outgoing
    from .requests import ReplyTopic, Requests

_NOBODY_SUBSCRIBED: Final = 0x10


class Answer(Protocol):
    """Who waits for a reply; told exactly once, on the native thread or a worker: must return at once."""

    def replied(self, message: Message) -> None:
        """The reply came; it is acknowledged afterwards."""
        ...

    def failed(self, error: CustomAuthError) -> None:
        """There will be none: refused, timed out, or the connection is over."""
        ...


class Request:
    """One request under way: the `Promise` of its own message, and what its reply is told by. See `Requests.ask`."""

    def __init__(self, requests: Requests, answer: Answer, timeout: float | None) -> None:
        self._requests = requests
        self._answer: Answer | None = answer
        self._timeout = timeout
        self.timer: Timer | None = None
        self.entry: Outgoing | None = None
        self.published = False
        self.nobody_subscribed = False
        self.replies: ReplyTopic | None = None

    def cancel(self) -> None:
        """Wait no longer: nothing is told any more. A request that was not sent yet is withdrawn."""
        if self._settle() is not None:
            self._requests.forget(self)

    # -- how it ends: the first one counts ----------------------------------------------------------------------------

    def reply(self, message: Message) -> None:
        """The reply came."""
        answer = self._settle()
        if answer is not None:
            answer.replied(message)

    def resolve(self, result: PublishResult) -> None:
        """The service has the request (see `outgoing.Promise`)."""
        self.nobody_subscribed = result.reason_code == _NOBODY_SUBSCRIBED

    def reject(self, error: CustomAuthError) -> None:
        """The request, or the subscription to its reply, failed."""
        answer = self._settle()
        if answer is not None:
            self._requests.forget(self)
            answer.failed(error)

    def expire(self) -> None:
        """Its time is over."""
        answer = self._settle()
        if answer is not None:
            answer.failed(self._time_out(withdrawn=self._requests.forget(self)))

    def _settle(self) -> Answer | None:
        with self._requests.lock:
            answer, self._answer = self._answer, None
        timer = self.timer
        if timer is not None:
            timer.cancel()
        return answer

    @property
    def settled(self) -> bool:
        """Whether it has ended."""
        return self._answer is None

    def _time_out(self, *, withdrawn: bool) -> OperationTimeout:
        entry = self.entry
        topic = None if entry is None else entry.topic
        if withdrawn:
            return OperationTimeout(
                f"the request on {topic!r} was not sent within {self._timeout:g} s and is withdrawn",
                stage="queued",
                phase="connected",
                likely_causes=(
                    "not connected, or the reply topic is not granted yet",
                    "earlier requests are answered first",
                ),
            )
        nobody = f"nobody was subscribed to {topic!r} when the request arrived (PUBACK 16)"
        causes = ("the responder is away or failed", "its policy does not allow iot:Publish on the reply topic")
        return OperationTimeout(
            f"no reply to the request on {topic!r} within {self._timeout:g} s; it may have been carried out",
            stage="sent",
            phase="connected",
            likely_causes=(nobody,) if self.nobody_subscribed else causes,
        )

"""The reply to a request, for the thread that waits for it.

It is told of the end by whichever thread knows first, and must return at once; see `requests.Answer`.
"""

from __future__ import annotations

from concurrent.futures import Future

from .errors import CustomAuthError
from .messages import Message


class Reply:
    """One reply to come. The requests promise to tell of exactly one end."""

    def __init__(self) -> None:
        self._future: Future[Message] = Future()

    def result(self) -> Message:
        """Wait for the reply and return it, or raise why there is none."""
        return self._future.result()

    def replied(self, message: Message) -> None:
        """It came."""
        self._future.set_result(message)

    def failed(self, error: CustomAuthError) -> None:
        """There will be none."""
        self._future.set_exception(error)

"""The `context` argument that AWS Lambda gives a Python function, as far as it has a meaning here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime


class LambdaContext:
    """What a function may ask about its own call.

    Attributes: the names of the Lambda page "Using the Lambda context object to retrieve Python function
    information"; `identity` and `client_context` are `None`, as for every function that a service calls.
    """

    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    identity: None = None
    client_context: None = None

    def __init__(
        self,
        function_name: str,
        *,
        region: str,
        account: str,
        timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.function_name = function_name
        self.invoked_function_arn = f"arn:aws:lambda:{region}:{account}:function:{function_name}"
        self.aws_request_id = str(uuid.uuid4())
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
        self._monotonic = monotonic
        self._deadline = monotonic() + timeout_seconds

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the call is given up, never less than 0."""
        return max(0, round((self._deadline - self._monotonic()) * 1000))

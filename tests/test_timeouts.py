"""A `timeout` that is no number of seconds is refused before anything has happened, by every call that takes one."""

from __future__ import annotations

from typing import Any

import pytest
from aio_support import Place, run
from client_support import WAIT, Dial, failure

from iot_customauth_client import ConfigurationError

pytest_plugins = ("aio_support", "client_support")

NO_TIMEOUTS = pytest.mark.parametrize("timeout", ["5", -1, float("nan"), True], ids=repr)


@NO_TIMEOUTS
def test_the_sync_face_refuses_it(dial: Dial, topic: str, timeout: Any) -> None:
    connection = dial()
    messages = connection.subscribe(topic)
    failure(ConfigurationError, connection.publish, topic, b"", timeout=timeout)
    failure(ConfigurationError, connection.request, topic, b"", timeout=timeout)
    for call in (messages.get, messages.wait_granted, connection.flush, connection.wait_connected):
        failure(ConfigurationError, call, timeout)
    connection.flush(WAIT)
    assert connection.stats().published == 0
    failure(ConfigurationError, connection.publish(topic, b"").wait_stored, timeout)


@NO_TIMEOUTS
def test_the_asyncio_face_refuses_it(here: Place, timeout: Any) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            messages = connection.subscribe("open/a")
            with pytest.raises(ConfigurationError):
                connection.publish("open/a", timeout=timeout)
            with pytest.raises(ConfigurationError):
                await connection.request("open/a", timeout=timeout)
            for call in (messages.get, messages.wait_granted, connection.flush, connection.wait_connected):
                with pytest.raises(ConfigurationError):
                    await call(timeout)
            assert connection.stats().published == 0
            with pytest.raises(ConfigurationError):
                await connection.publish("open/a").wait_stored(timeout)

    run(main())


@pytest.mark.parametrize("limit", [0, None, "10", True], ids=repr)
def test_a_queue_needs_a_number_of_messages(dial: Dial, topic: str, limit: Any) -> None:
    failure(ConfigurationError, dial(timeout=0).subscribe, topic, max_queued=limit)

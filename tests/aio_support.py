"""What the tests of the asyncio face share: an endpoint with an authorizer that can be held, and how to run a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import pytest
from client_support import AUTHORIZERS, GOOD, allowing

from iot_customauth_client import Credentials, aio
from iot_customauth_client.local import LocalEndpoint

T = TypeVar("T")
HELD = Credentials.from_password("held", "held", authorizer="held")
"""Credentials that let a CONNECT wait until `Gate.open()`."""


class Gate:
    """An authorizer that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._opened = threading.Event()

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, object]:
        self.asked.set()
        self._opened.wait(4)
        return allowing()

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate(endpoint_with_gate: tuple[LocalEndpoint, list[Gate]]) -> Iterator[Gate]:
    """The authorizer of this test's `HELD` credentials."""
    gate = Gate()
    endpoint_with_gate[1].append(gate)
    yield gate
    gate.open()


@pytest.fixture(scope="module")
def endpoint_with_gate() -> Iterator[tuple[LocalEndpoint, list[Gate]]]:
    gates: list[Gate] = []

    def held(event: Mapping[str, Any], context: object) -> dict[str, object]:
        return gates[-1](event, context)

    with LocalEndpoint({**AUTHORIZERS, "held": held}) as endpoint:
        yield endpoint, gates


@pytest.fixture
def here(endpoint_with_gate: tuple[LocalEndpoint, list[Gate]], client_id: str) -> Place:
    """The endpoint that the tests of a module share, for a client id of this test's own."""
    return Place(endpoint_with_gate[0], client_id)


class Place:
    """Where a test connects to."""

    def __init__(self, endpoint: LocalEndpoint, client_id: str) -> None:
        self.endpoint = endpoint
        self.client_id = client_id

    def connect(self, protocol: str = "mqtt5", *, client_id: str | None = None, **arguments: Any) -> aio.Connecting:
        given: dict[str, Any] = {"credentials": GOOD, "timeout": 10} | arguments
        return aio.connect(self.endpoint.settings(client_id or self.client_id, protocol=protocol), **given)  # type: ignore[arg-type]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a test on a loop of its own, under a time limit; nothing may be left running when it ends."""

    async def watched() -> T:
        try:
            return await asyncio.wait_for(coroutine, 40)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
            assert not left, left

    return asyncio.run(watched())

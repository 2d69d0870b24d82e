"""Service clients that follow the native object, with the shadow client of awsiot against a small shadow service."""

from __future__ import annotations

import gc
import json
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from awscrt.mqtt_request_response import ClientOptions
from awsiot.iotshadow import GetShadowRequest, IotShadowClientV2, ShadowState, UpdateShadowRequest
from client_support import BOTH, GOOD, WAIT, allowing, failure
from link_support import Listener, make_link

from iot_customauth_client import Connection, Message, connect
from iot_customauth_client.errors import NotConnected, OperationError
from iot_customauth_client.links.base import FilterRequest
from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.service_handle import ServiceHandle

pytest_plugins = ("client_support",)

THING = "thing-1"
PREFIX = f"$aws/things/{THING}/shadow"
OPTIONS = ClientOptions(
    max_request_response_subscriptions=4, max_streaming_subscriptions=2, operation_timeout_in_seconds=int(WAIT)
)


def shadowing(event: Mapping[str, Any], context: object) -> dict[str, object]:
    """Lets everybody use the shadow topics."""
    result = allowing()
    documents: Any = result["policyDocuments"]
    documents[0]["Statement"] = [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]
    return result


@pytest.fixture(scope="module")
def service() -> Iterator[LocalEndpoint]:
    with LocalEndpoint({"gate": shadowing}) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def shadows(service: LocalEndpoint) -> Iterator[Connection]:
    """A shadow service in miniature: one document for each thing, answered on the service's topics."""
    documents: dict[str, dict[str, Any]] = {}

    def answer(message: Message) -> None:
        thing, operation = message.topic.split("/")[2], message.topic.rpartition("/")[2]
        request = message.json()
        state = documents.setdefault(thing, {"desired": {}})
        if operation == "update":
            state["desired"].update(request["state"]["desired"])
        reply = {"state": state, "clientToken": request["clientToken"], "timestamp": 1, "version": 1}
        # A client may not publish there, as it may not at the service.
        service.publish(f"{message.topic}/accepted", json.dumps(reply), qos=1)

    with connect(service.settings("device-shadows"), credentials=GOOD, timeout=WAIT) as responder:
        for operation in ("get", "update"):
            responder.subscribe(f"$aws/things/+/shadow/{operation}", answer).wait_granted(WAIT)
        yield responder


@BOTH
def test_a_shadow_client_works_over_every_native_object(
    protocol: str, service: LocalEndpoint, shadows: Connection, client_id: str
) -> None:
    listener = Listener()
    settings = service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]
    handle: ServiceHandle[IotShadowClientV2] = ServiceHandle(lambda native: IotShadowClientV2(native, OPTIONS))
    for color in ("red", "green"):
        link = make_link(settings, listener)
        handle.rebuild(link.native)
        link.attempt()
        listener.connected()
        state = ShadowState(desired={protocol: color})
        updated = handle.current.update_shadow(UpdateShadowRequest(thing_name=THING, state=state)).result(WAIT)
        assert updated.state is not None
        got = handle.current.get_shadow(GetShadowRequest(thing_name=THING)).result(WAIT)
        assert got.state is not None
        assert got.state.desired is not None
        assert got.state.desired[protocol] == color
        link.end()
        listener.ended()


def test_a_shadow_client_outlives_a_reconnect_over_the_same_object(
    service: LocalEndpoint, shadows: Connection, client_id: str
) -> None:
    listener = Listener()
    link = make_link(service.settings(client_id, protocol="mqtt311"), listener)
    shadow = IotShadowClientV2(link.native, OPTIONS)
    for _ in range(2):
        link.attempt()
        listener.connected()
        assert shadow.get_shadow(GetShadowRequest(thing_name=THING)).result(WAIT).state is not None
        link.end()
        listener.ended()


@BOTH
def test_our_own_subscriptions_and_a_service_client_share_the_object(
    protocol: str, service: LocalEndpoint, shadows: Connection, client_id: str
) -> None:
    listener = Listener()
    link = make_link(service.settings(client_id, protocol=protocol), listener)  # type: ignore[arg-type]
    link.attempt()
    listener.connected()
    granted = threading.Event()
    link.subscribe([FilterRequest(f"{PREFIX}/get/accepted", 1)], lambda codes, error: granted.set())
    assert granted.wait(WAIT)
    shadow = IotShadowClientV2(link.native, OPTIONS)
    shadow.get_shadow(GetShadowRequest(thing_name=THING)).result(WAIT)
    message, _ = listener.received.get(timeout=WAIT)
    assert "state" in json.loads(message.payload)
    link.end()
    listener.ended()


# -- the handle alone -------------------------------------------------------------------------------------------------


class Recipe:
    """A factory that counts, and fails when told."""

    def __init__(self) -> None:
        self.failing = False

    def __call__(self, native: str) -> str:
        if self.failing:
            raise LookupError("no such service")
        return f"client of {native}"


def test_the_handle_follows_the_native_object() -> None:
    handle = ServiceHandle(Recipe())
    error = failure(NotConnected, lambda: handle.current)
    assert error.what_to_do
    handle.rebuild("first")
    assert handle.current == "client of first"
    handle.rebuild("second")
    assert handle.current == "client of second"


def test_none_is_a_result_like_others() -> None:
    handle: ServiceHandle[None] = ServiceHandle(lambda _: None, "native")
    assert handle.current is None


def test_the_first_failure_of_a_factory_goes_to_the_caller() -> None:
    recipe = Recipe()
    recipe.failing = True
    with pytest.raises(LookupError):
        ServiceHandle(recipe, "first")


def test_a_later_failure_is_told_by_current_until_the_factory_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    recipe = Recipe()
    handle = ServiceHandle(recipe, "first")
    recipe.failing = True
    handle.rebuild("second")
    error = failure(OperationError, lambda: handle.current, code="service_factory_failed", phase="connected")
    assert isinstance(error.__cause__, LookupError)
    assert "service()" in caplog.text
    recipe.failing = False
    handle.rebuild("third")
    assert handle.current == "client of third"


def test_a_factory_that_asks_to_exit_does_not_end_the_attempt_that_it_is_called_in() -> None:
    handle = ServiceHandle(lambda native: native if native == "first" else sys.exit(1), "first")
    handle.rebuild("second")
    error = failure(OperationError, lambda: handle.current, code="service_factory_failed", phase="connected")
    assert isinstance(error.__cause__, SystemExit)


def test_a_slow_factory_does_not_bring_an_older_object_back() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def factory(native: str) -> str:
        if native == "old":
            begun.set()
            assert go_on.wait(WAIT)
        return native

    handle = ServiceHandle(factory, "first")
    slow = threading.Thread(target=handle.rebuild, args=("old",))
    slow.start()
    assert begun.wait(WAIT)
    assert handle.current == "first"  # nobody waits for the factory
    handle.rebuild("new")
    go_on.set()
    slow.join(WAIT)
    assert handle.current == "new"


def test_the_handle_lets_go_of_what_it_made_before() -> None:
    class Client:
        pass

    handle = ServiceHandle(lambda _: Client(), "first")
    gone = threading.Event()
    reference = weakref.ref(handle.current, lambda _: gone.set())
    handle.rebuild("second")
    gc.collect()
    assert gone.wait(WAIT), reference

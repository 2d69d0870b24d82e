"""What types a user sees. Never run: `mypy --strict` reads it (tests/test_public_names.py).

An `assert_type` fails if a type is lost; a `type: ignore` fails if a mistake is no longer found, since unused ones are
errors under `--strict`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, assert_type

from pydantic import SecretBytes, SecretStr

from iot_customauth_client import (
    AuthenticationRefused,
    CloseReport,
    ConfigurationError,
    Connection,
    ConnectionBuilder,
    ConnectionSettings,
    ConnectPlan,
    Credentials,
    CustomAuthError,
    ManualClock,
    Message,
    OperationTimeout,
    PolicyDenied,
    PublishFuture,
    PublishResult,
    State,
    StateChange,
    Subscription,
    Will,
    aio,
    close_all,
    connect,
)


def credentials() -> Credentials:
    made = Credentials.from_password("user01", "pass01", authorizer="custom_auth_mqtt")
    assert_type(made, Credentials)
    assert_type(Credentials.from_password("u", b"\x00", expires_in_seconds=60, parameters={"a": "b"}), Credentials)
    assert_type(Credentials.from_signed_token("t", "c2ln", token_key_name="k", username="u"), Credentials)
    assert_type(Credentials.from_bearer_token("t", token_key_name="k", expires_at=datetime.now(UTC)), Credentials)
    assert_type(Credentials.from_username("bot?a=b", None, token_key_name="a"), Credentials)
    assert_type(Credentials.load("device.toml"), Credentials)
    assert_type(Credentials.load(Path("device.toml")), Credentials)
    assert_type(made.username, str)
    assert_type(made.password, SecretBytes | None)
    assert_type(made.token, SecretStr | None)
    assert_type(made.parameters, Mapping[str, str])
    assert_type(made.expires_at, datetime | None)
    Credentials.from_password("u")  # type: ignore[call-arg]
    Credentials.from_password("u", 5)  # type: ignore[arg-type]
    Credentials.from_password("u", "p", "authorizer")  # type: ignore[call-arg]
    Credentials.from_password("u", "p", authoriser="a")  # type: ignore[call-arg]
    Credentials.from_signed_token("t", "c2ln")  # type: ignore[call-arg]
    Credentials.from_bearer_token("t", token_key_name=None)  # type: ignore[arg-type]
    made.parameters["a"] = "b"  # type: ignore[index]
    return made


def settings() -> ConnectionSettings:
    made = ConnectionSettings(endpoint="localhost", client_id="client_id", will=Will("gone", payload=b"x", qos=1))
    assert_type(made.endpoint, str)
    assert_type(made.client_id, str | None)
    assert_type(made.port, int)
    assert_type(made.protocol, Literal["mqtt5", "mqtt311"])
    assert_type(made.alpn, str | None)
    assert_type(made.ca_file, Path | None)
    assert_type(made.will, Will | None)
    assert_type(made.http_proxy, SecretStr | None)
    assert_type(made.connect_timeout_seconds, float)
    assert_type(made.replace(port=8443), ConnectionSettings)
    assert_type(ConnectionSettings.load("device.toml", port=8443), ConnectionSettings)
    return made


def connecting() -> None:
    with connect(
        "localhost",
        client_id="client_id",
        credentials=credentials(),
        timeout=None,
        port=8443,
        protocol="mqtt311",
        ca_file="ca.pem",
        http_proxy="env",
        alpn=None,
        will=Will("gone"),
        clock=ManualClock(),
        on_state_change=changed,
    ) as connection:
        assert_type(connection, Connection)
    assert_type(connect(settings(), credentials=credentials()), Connection)
    connect("localhost", client_id="c")  # type: ignore[call-arg]
    connect("localhost", "c", credentials=credentials())  # type: ignore[call-arg]
    connect("localhost", credentials=credentials(), prot=1)  # type: ignore[call-arg]
    connect("localhost", credentials=credentials(), port="443")  # type: ignore[arg-type]
    connect("localhost", credentials=credentials(), protocol="mqtt3")  # type: ignore[arg-type]
    connect("localhost", credentials=("user", "password"))  # type: ignore[arg-type]
    assert_type(close_all(), None)


def changed(change: StateChange) -> None:
    assert_type(change.state, State)
    assert_type(change.previous, State)
    assert_type(change.error, CustomAuthError | None)
    assert_type(change.retry_in_seconds, float | None)


def publishing(connection: Connection) -> None:
    future = connection.publish("my-topic", json={"counter": 1})
    assert_type(future, PublishFuture)
    assert_type(future.result(5), PublishResult)
    assert_type(future.cancel(), bool)
    assert_type(future.result().reason_code, int | None)
    as_usual: concurrent.futures.Future[PublishResult] = future
    concurrent.futures.wait([as_usual])
    connection.publish("a", bytearray(b"x"), qos=0, retain=True, timeout=5.0)
    connection.publish("a", memoryview(b"x"), content_type="text", user_properties=[("k", "v")])
    connection.publish("a", {"counter": 1})  # type: ignore[arg-type]
    connection.publish("a", b"", 1)  # type: ignore[call-arg]
    connection.publish("a", expiry=5)  # type: ignore[call-arg]
    mapping = {"k": "v"}
    connection.publish("a", user_properties=mapping)  # type: ignore[arg-type]


def subscribing(connection: Connection) -> None:
    with connection.subscribe("a/+", qos=1, ack="manual", max_queued=5) as messages:
        assert_type(messages, Subscription)
        assert_type(next(messages), Message)
        assert_type(messages.get(5), Message)
        assert_type(messages.wait_granted(), int)
        for message in messages:
            assert_type(message.topic, str)
            assert_type(message.payload, bytes)
            assert_type(message.text(), str)
            assert_type(message.json(), Any)
            assert_type(message.ack(), bool)
            assert_type(message.user_properties, tuple[tuple[str, str], ...])
    connection.subscribe("a", handle)
    connection.subscribe("a", lambda message: print(message.text()))
    connection.subscribe("a", 5)  # type: ignore[arg-type]
    connection.subscribe("a", ack="later")  # type: ignore[arg-type]


def handle(message: Message) -> None:
    print(message.payload.hex())


def ending(connection: Connection) -> None:
    report = connection.close(timeout=2, drain=False)
    assert_type(report, CloseReport)
    assert_type(report.unacknowledged, int)
    assert_type(connection.state, State)
    assert_type(connection.last_error, CustomAuthError | None)
    assert_type(connection.wait_closed(5), None)


def failing(connection: Connection) -> None:
    try:
        connection.publish("a").result()
    except PolicyDenied as error:
        assert_type(error.action, str)
    except OperationTimeout as error:
        assert_type(error.stage, Literal["queued", "sent"])
    except AuthenticationRefused as error:
        assert_type(error.reason_code, int | None)
    except ConfigurationError as error:
        assert_type(error.likely_causes, tuple[str, ...])
        assert_type(error.what_to_do, str | None)


def native_only() -> None:
    builder = ConnectionBuilder(settings(), credentials())
    plan = builder.explain()
    assert_type(plan, ConnectPlan)
    assert_type(plan.username, str | None)
    builder.mqtt5(ack_timeout_sec=5)
    builder.mqtt311(on_connection_closed=lambda **_: None)
    builder.mqtt311(on_closed=None)  # type: ignore[call-arg]
    ConnectionBuilder("localhost", credentials())  # type: ignore[arg-type]


# -- asyncio ----------------------------------------------------------------------------------------------------------


async def fetch() -> Credentials:
    return credentials()


async def connecting_in_asyncio() -> None:
    async with aio.connect("localhost", client_id="client_id", credentials=fetch, port=8443) as connection:
        assert_type(connection, aio.Connection)
    connection = await aio.connect(settings(), credentials=credentials(), timeout=0, on_state_change=changed_in_asyncio)
    assert_type(connection, aio.Connection)
    assert_type(connection.state, State)
    assert_type(await connection.wait_connected(5), None)
    assert_type(await connection.flush(5), None)
    assert_type(await connection.close(), CloseReport)
    aio.connect("localhost", credentials=credentials(), prot=1)  # type: ignore[call-arg]
    aio.connect("localhost", credentials=5)  # type: ignore[arg-type]


async def changed_in_asyncio(change: StateChange) -> None:
    assert_type(change.state, State)


async def messages_in_asyncio(connection: aio.Connection) -> None:
    future = connection.publish("my-topic", json={"counter": 1}, qos=1, timeout=5)
    assert_type(future, aio.PublishFuture)
    as_usual: asyncio.Future[PublishResult] = future
    assert_type(await as_usual, PublishResult)
    assert_type(await future.wait_stored(), None)
    async with connection.subscribe("a/+", ack="manual") as messages:
        assert_type(messages, aio.Subscription)
        assert_type(await messages.get(5), Message)
        async for message in messages:
            assert_type(message, Message)
    connection.subscribe("a", handle)
    connection.subscribe("a", handle_in_asyncio, on_handler_error="redeliver")
    connection.respond("a", handle_in_asyncio)
    assert_type(await connection.request("a", b"x", timeout=5), Message)
    connection.publish("a", {"counter": 1})  # type: ignore[arg-type]
    connection.publish("a", expiry=5)  # type: ignore[call-arg]
    connection.subscribe("a", 5)  # type: ignore[arg-type]
    await connection.request("a")  # type: ignore[call-arg]


async def handle_in_asyncio(message: Message) -> bytes:
    return message.payload

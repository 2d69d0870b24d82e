"""MQTT.js, unchanged, over `wss` with a signed token in the URL's query: what a web page or a Node.js device does.

The version is pinned by mqttjs/package-lock.json; it is installed by `npm ci` into a temporary directory. A query is
all that a browser has; Node.js may also set headers, and both may send the credentials in CONNECT.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.signing import KeyPair, generate_key_pair, sign_token

NODE, NPM = shutil.which("node"), shutil.which("npm")
SOURCES = Path(__file__).parent / "mqttjs"
FILES = (".npmrc", "package.json", "package-lock.json", "device.js")
INSTALL_SECONDS, RUN_SECONDS = 150, 30
UNREACHABLE = ("EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "ENETUNREACH", "ETIMEDOUT")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs Node.js (node)"),
    pytest.mark.skipif(NPM is None, reason="needs npm"),
    pytest.mark.timeout(INSTALL_SECONDS + 60),  # the first test installs
]
BOTH = pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
LEVELS = {"mqtt5": 5, "mqtt311": 4}
NAME, SIGNATURE = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
PAYLOADS = [b'{"counter": 0}', b"", bytes(range(256)) * 5, bytes(120_000)]
"""Of every length that a WebSocket frame writes in another way, and long enough to be worth compressing."""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`device.js`, beside an installed MQTT.js."""
    directory = tmp_path_factory.mktemp("mqttjs")
    for name in FILES:
        shutil.copy(SOURCES / name, directory)
    assert NPM is not None
    done = subprocess.run(
        [NPM, "ci", "--prefer-offline"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode and any(code in done.stderr for code in UNREACHABLE):
        pytest.skip("npm ci reaches no registry")
    assert done.returncode == 0, done.stderr
    return directory / "device.js"


class Door:
    """An authorizer function that knows one token, and counts its calls."""

    def __init__(self) -> None:
        self.keys: KeyPair = generate_key_pair()
        self.token = next(
            token
            for token in (f"tok+en/{number}=&?%41" for number in count())
            if {"+", "/", "="} <= set(sign_token(token, self.keys.private_pem))
        )
        self.calls: list[Mapping[str, Any]] = []

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, object]:
        self.calls.append(event)
        known = event["signatureVerified"] is True and event["token"] == self.token
        return {"isAuthenticated": known, "principalId": "Signed", "policyDocuments": [POLICY]}

    def parameters(self, token: str | None = None, *, signature_of: str | None = None) -> dict[str, str]:
        """The three names and their values, not encoded."""
        token = self.token if token is None else token
        return {NAME: "signed", "token": token, SIGNATURE: sign_token(signature_of or token, self.keys.private_pem)}


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest.fixture(scope="module")
def service(door: Door) -> Iterator[LocalEndpoint]:
    """An endpoint that wants signed tokens."""
    signed = LocalAuthorizer(door, token_key_name="token", public_keys=(door.keys.public_pem,))
    with LocalEndpoint({"signed": signed}) as endpoint:
        yield endpoint


def in_query(parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"query": parameters}


def in_headers(parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"options": {"wsOptions": {"headers": parameters}}}


def in_connect(parameters: Mapping[str, str]) -> dict[str, Any]:
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())
    return {"options": {"username": f"user01?{query}", "password": "unused"}}


def run(device: Path, service: LocalEndpoint, protocol: str, placed: Mapping[str, Any]) -> dict[str, Any]:
    """Let the device connect, subscribe and publish; return its report."""
    options = {"protocolVersion": LEVELS[protocol], "clientId": f"js-{protocol}", **placed.get("options", {})}
    order = {
        "url": f"wss://localhost:{service.port}/mqtt",
        "query": placed.get("query", {}),
        "options": options,
        "topic": "devices/js",
        "payloads": [base64.b64encode(payload).decode() for payload in PAYLOADS],
    }
    assert NODE is not None
    done = subprocess.run(
        [NODE, device.name],
        cwd=device.parent,
        input=json.dumps(order),
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(service.ca_file)},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@BOTH
@pytest.mark.parametrize("place", [in_query, in_headers, in_connect])
def test_mqttjs_carries_messages_with_a_signed_token_that_holds_plus_slash_and_equals(
    device: Path, service: LocalEndpoint, door: Door, protocol: str, place: Callable[..., dict[str, Any]]
) -> None:
    before = service.events.last_sequence
    report = run(device, service, protocol, place(door.parameters()))
    assert report["error"] is None
    assert (report["connack"], report["granted"]) == (0, [1])
    assert [base64.b64decode(payload) for payload in report["received"]] == PAYLOADS
    sizes = [str(len(payload)) if protocol == "mqtt5" else None for payload in PAYLOADS]
    assert report["userProperties"] == sizes
    assert door.calls[-1]["token"] == door.token
    assert service.wait_for(events.ConnectReceived, after=before, timeout=RUN_SECONDS).protocol == protocol
    gone = service.wait_for(events.Disconnected, after=before, timeout=RUN_SECONDS)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"


@BOTH
def test_mqttjs_is_refused_with_a_wrong_token_in_the_query(
    device: Path, service: LocalEndpoint, door: Door, protocol: str
) -> None:
    before, calls = service.events.last_sequence, len(door.calls)
    report = run(device, service, protocol, in_query(door.parameters("somebody-else")))
    assert report["connack"] is None
    if protocol == "mqtt5":
        assert report["error"] == {"message": "Connection refused: Not authorized", "code": 135}
    else:
        assert report["error"] is None  # the service has no word for it in MQTT 3.1.1, and hangs up
    refused = service.wait_for(events.Refused, after=before, timeout=RUN_SECONDS)
    assert (refused.cause, refused.reason_code) == ("not_authenticated", 135 if protocol == "mqtt5" else None)
    assert len(door.calls) == calls + 1


@BOTH
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({SIGNATURE: None}, "signature_missing"),
        ({"token": "somebody-else"}, "signature_invalid"),
        ({NAME: "nobody"}, "authorizer_unknown"),
    ],
    ids=["no-signature", "signature-of-another-token", "unknown-authorizer"],
)
def test_mqttjs_gets_403_to_its_upgrade_and_the_function_is_not_called(
    device: Path, service: LocalEndpoint, door: Door, protocol: str, change: Mapping[str, str | None], cause: str
) -> None:
    before, calls = service.events.last_sequence, len(door.calls)
    parameters = {name: value for name, value in {**door.parameters(), **change}.items() if value is not None}
    report = run(device, service, protocol, in_query(parameters))
    assert report["connack"] is None
    assert report["error"]["message"] == "Unexpected server response: 403"
    refused = service.wait_for(events.Refused, after=before, timeout=RUN_SECONDS)
    assert (refused.cause, refused.status) == (cause, 403)
    assert len(door.calls) == calls

"""What the tests of sessions and faults stand on: the kinds of devices, an authorizer, and somebody who connects and
takes leave of the devices of a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from session_device import Device, Wish
from session_device_awscrt import Awscrt5, Awscrt311
from session_device_paho import Paho5, Paho311

from iot_customauth_client.local import LocalEndpoint

Kind = type[Device]
Dial = Callable[..., Device]
HOUR = 3_600
DAY = 86_400

KINDS: tuple[Kind, ...] = (Awscrt5, Awscrt311, Paho5, Paho311)


def kinds(*chosen: Kind) -> pytest.MarkDecorator:
    """Run a test with each of these kinds of device."""
    return pytest.mark.parametrize("kind", chosen, ids=lambda kind: kind.__name__.lower())


EACH = kinds(*KINDS)
MQTT5 = kinds(Awscrt5, Paho5)
MQTT311 = kinds(Awscrt311, Paho311)
OTHER_VERSION: dict[Kind, Kind] = {Awscrt5: Awscrt311, Awscrt311: Awscrt5, Paho5: Paho311, Paho311: Paho5}


def allowing(refresh_seconds: int = DAY) -> Callable[[object, object], dict[str, object]]:
    """An authorizer that allows everything, for a day."""
    result: dict[str, object] = {
        "isAuthenticated": True,
        "principalId": "p",
        "policyDocuments": [
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        ],
        "refreshAfterInSeconds": refresh_seconds,
        "disconnectAfterInSeconds": DAY,
    }
    return lambda event, context: result


@contextlib.contextmanager
def dialling(endpoint: LocalEndpoint) -> Iterator[Dial]:
    """Connect devices of any kind, `dial(kind, client_id, **wish)`; all leave at the end.

    `waits=False` does not wait for CONNACK.
    """
    with contextlib.ExitStack() as stack:

        def dial(kind: Kind, client_id: str = "device", *, waits: bool = True, **wish: Any) -> Device:
            device = kind(endpoint, client_id, Wish(**wish))
            device.connect()
            stack.callback(device.leave)
            if waits:
                device.greeting = device.welcome()
            return device

        yield dial

"""The plain TLS handshakes that explain why an attempt takes long are few, however many connections wait."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iot_customauth_client import ConnectionSettings, TlsFailed
from iot_customauth_client.diagnosis import Context
from iot_customauth_client.explainer import Explainer, Failure
from iot_customauth_client.runtime import Runtime


def ignore(_: object) -> None:
    pass


def test_a_thousand_waiting_connections_do_not_make_a_thousand_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, submitted = Runtime(), list[Callable[[], None]]()
    monkeypatch.setattr(runtime.workers, "submit", submitted.append)
    settings = ConnectionSettings(endpoint="localhost", port=1, client_id="device")
    explainers = [Explainer(settings, runtime, lambda call: call()) for _ in range(1_000)]
    for each in explainers:
        each.ask_early(ignore)
    assert len(submitted) == 8

    told = list[Failure]()
    error = TlsFailed("awscrt's own word")
    explainers[-1].explain(error, None, Context(settings, 3.0), told.append)
    assert told == [error]  # rather than waiting in a long line

    submitted[0]()  # nobody listens on port 1: it is over at once
    explainers[-1].ask_early(ignore)
    assert len(submitted) == 9

"""The endpoint that `connections.py` lets strangers at, in a process of its own: what it holds is told on demand.

Reads a word a line from stdin, `state` or `stop`, and answers each with one JSON object on stdout. Nothing else may be
written there, and nothing but log lines on stderr.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import threading
from pathlib import Path

from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.event_log import EventLog

KEPT_EVENTS = 2_000
"""Of the event log, whose growth up to its own bound is not what is measured here."""


def authorizer(event: dict[str, object], context: object) -> dict[str, object]:
    """Let in whoever says `pass01`; over HTTPS, whoever names the authorizer."""
    del context
    data = event["protocolData"]
    assert isinstance(data, dict)
    allowed = "mqtt" not in data or data["mqtt"].get("password") == "cGFzczAx"
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    return {
        "isAuthenticated": allowed,
        "principalId": "fuzz",
        "policyDocuments": [{"Version": "2012-10-17", "Statement": statement}],
        "disconnectAfterInSeconds": 86_400,
        "refreshAfterInSeconds": 86_400,
    }


def state(endpoint: LocalEndpoint) -> dict[str, int]:
    """What the endpoint holds now, by name."""
    running = endpoint._needs_running()
    server = running.server
    held = running.call(
        lambda: {
            "tasks": len(asyncio.all_tasks(server.loop)),
            **{f"peers {name}": size for name, size in server.peers.sizes().items()},
            "unread": len(server.unread),
            **{f"broker {name}": size for name, size in server.broker.sizes().items()},
        }
    )
    gc.collect()
    threads = sum(not each.name.startswith("authorizer-") for each in threading.enumerate())
    return {
        "threads": threads,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "resident_kib": _resident_kib(),
        **held,
    }


def _resident_kib() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    endpoint = LocalEndpoint({"fuzz": authorizer}, default_authorizer="fuzz")
    endpoint._events = EventLog(max_events=KEPT_EVENTS)
    with endpoint:
        print(json.dumps({"port": endpoint.port, "ca_file": str(endpoint.ca_file)}), flush=True)
        for line in sys.stdin:
            if line.strip() == "stop":
                break
            print(json.dumps(state(endpoint)), flush=True)
    left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    print(json.dumps({"threads": len(left)}), flush=True)


if __name__ == "__main__":
    main()

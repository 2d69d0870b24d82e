"""One local endpoint in a process of its own, measured from outside and asked from outside: `bench/endpoint_cost.py`.

Run as a script it is the child: it starts a `LocalEndpoint` of whichever checkout PYTHONPATH names, and answers one
line of JSON for each line it reads. Imported it is the handle: `Host` starts the child and asks it.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

AUTHORIZER = "bench"
USERNAME = f"bench?x-amz-customauthorizer-name={AUTHORIZER}"
_FILES = 8_192


class Host:
    """A running endpoint. `checkout`: the directory of the package; `profile`: a file for cProfile of its thread."""

    def __init__(self, checkout: Path, *, profile: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *([] if profile is None else [str(profile)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0"},
        )
        hello = self._read()
        self.port: int = hello["port"]
        self.ca_file = Path(hello["ca_file"])
        self.start_seconds: float = hello["start_seconds"]

    def ask(self, what: str, **fields: Any) -> Any:
        """Have it answer: see `_answers` for what it knows."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"what": what, **fields}) + "\n")
        self.process.stdin.flush()
        return self._read()["answer"]

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the endpoint's process has ended")
        return json.loads(line)

    def close(self) -> None:
        """End it, in good order if it can."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def pss_bytes(pid: int | str = "self") -> int:
    """Memory of a process: its own pages, and its share of those that it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError("no Pss in smaps_rollup")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raise_file_limit() -> None:
    """Two thousand connections need more descriptors than the usual 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))


def _let_in(_event: object, _context: object) -> dict[str, object]:
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    return {
        "isAuthenticated": True,
        "principalId": "bench",
        "disconnectAfterInSeconds": 86_400,
        "refreshAfterInSeconds": 86_400,
        "policyDocuments": [{"Version": "2012-10-17", "Statement": [statement]}],
    }


def _serve(profile: str | None) -> None:
    from iot_customauth_client.local import LocalEndpoint, server

    profiler: Any = None
    if profile is not None:
        import cProfile

        profiler = cProfile.Profile()
        old = server.Server.start

        async def start(self: Any, listening: Any) -> None:
            await old(self, listening)
            self.loop.call_soon(profiler.enable)

        server.Server.start = start  # type: ignore[method-assign]
    raise_file_limit()
    began = time.perf_counter()
    with LocalEndpoint({AUTHORIZER: _let_in}) as endpoint:
        hello = {
            "port": endpoint.port,
            "ca_file": str(endpoint.ca_file),
            "start_seconds": time.perf_counter() - began,
        }
        print(json.dumps(hello), flush=True)
        answers = {
            "memory": lambda _: (gc.collect(), pss_bytes())[1],
            "events": lambda _: endpoint.events.last_sequence,
            "fill": lambda asked: _fill(endpoint.events, asked["count"]),
            "arrived": lambda asked: _arrived(endpoint.events, asked["kind"], asked["after"], asked["count"]),
        }
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps({"answer": answers[asked["what"]](asked)}), flush=True)
        if profiler is not None:
            endpoint._needs_running().call(profiler.disable)
    if profiler is not None:
        profiler.dump_stats(profile)


def _arrived(log: Any, kind: str, after: int, count: int) -> bool:
    """Wait until so many events of a kind came after one of them."""
    deadline = time.monotonic() + 60
    while sum(event.kind == kind for event in log.since(after)) < count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _fill(log: Any, count: int) -> int:
    """Put so many events with 128 bytes of payload each into the log; tell how many it keeps."""
    from iot_customauth_client.local.events import Delivered

    for number in range(count):
        payload = number.to_bytes(8, "big") * 16
        log.append(Delivered(number, f"client-{number % 100}", "bench/topic", payload, 1, False))
    return len(log)


if __name__ == "__main__":
    _serve(sys.argv[1] if len(sys.argv) > 1 else None)

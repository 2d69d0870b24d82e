"""Thousands of hostile connections against one endpoint, with neighbours that must not notice.

    python -m bench.fuzz.connections [--count 10000] [--seed 1]

A dozen kinds (`connections_kinds.py`) are mixed by the seed, at most `AT_ONCE` at once; the endpoint runs in a process
of its own. Meanwhile three neighbours (MQTT, WebSocket, HTTPS) publish and receive. At the end the endpoint must hold
what it held at the beginning, its memory must have stayed flat, its stderr must show log lines and no traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from iot_customauth_client.local.codec import Connect, Disconnect, Publish, Version, encode

from .connections_kinds import KINDS, RETAINED_TOPICS, Line, Target
from .connections_neighbours import Neighbour

AT_ONCE = 200
"""Connections at a time."""
SETTLE_SECONDS = 40.0
"""How long the endpoint may take to be as it was: its time limits are 10 s."""
FLAT_KIB = 24 * 1024
"""How much more memory may be resident at the end than after the first fifth: what allocators do not give back."""
_HOMELY = ("broker policy_answers",)  # of the neighbours, and no matter


@dataclass
class Verdict:
    """What came of a run; true if it was good."""

    count: int
    seed: int
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    neighbours: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        lines = [f"{self.count:,} hostile connections, seed {self.seed}, {self.seconds:.0f} s", *self.table]
        lines += self.neighbours
        lines += [f"WRONG: {each}" for each in self.wrong] or [
            "nothing was left behind, nobody was kept from being served"
        ]
        return "\n".join(lines)


class Endpoint:
    """The process that is attacked."""

    def __init__(self, stderr: IO[bytes]) -> None:
        command = [sys.executable, "-m", "bench.fuzz.connections_endpoint"]
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=root
        )
        ready = self._read()
        self.port: int = ready["port"]
        self.ca_file: str = ready["ca_file"]

    def state(self) -> dict[str, int]:
        """What it holds now."""
        return self._ask("state")

    def stop(self) -> dict[str, int]:
        """End it; returns what was left."""
        try:
            return self._ask("stop")
        finally:
            self._process.wait(30)

    def kill(self) -> None:
        """End it, whatever happened."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _ask(self, word: str) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the endpoint's process ended with {self._process.wait()}")
        document: dict[str, Any] = json.loads(line)
        return document


def run_connections(
    count: int = 10_000, seed: int = 1, *, at_once: int = AT_ONCE, report: Callable[[str], None] | None = None
) -> Verdict:
    """Let so many hostile connections at an endpoint, and judge what came of it.

    report: is given a line for each tenth; without it these stand in the verdict.
    """
    verdict = Verdict(count, seed)
    report = report or verdict.table.append
    begun = time.monotonic()
    with tempfile.TemporaryFile() as stderr:
        endpoint = Endpoint(stderr)
        try:
            asyncio.run(_run(endpoint, verdict, at_once, report))
            left = endpoint.stop()
            if left["threads"]:
                verdict.wrong.append(f"{left['threads']} threads outlived the endpoint")
        except RuntimeError as error:
            verdict.wrong.append(str(error))
        finally:
            endpoint.kill()
        stderr.seek(0)
        _judge_stderr(stderr.read().decode(errors="replace"), verdict)
    verdict.seconds = time.monotonic() - begun
    return verdict


async def _run(endpoint: Endpoint, verdict: Verdict, at_once: int, report: Callable[[str], None]) -> None:
    target = Target(endpoint.port, _context(endpoint, "mqtt"), _context(endpoint))
    neighbours = (Neighbour("tls"), Neighbour("websocket", websocket=True), Neighbour("https", https=True))
    for neighbour in neighbours:
        await neighbour.start(target)
    await _attack(target, 50, verdict.seed, at_once)  # what is made once and kept
    await _settled(endpoint, target, None)
    before = endpoint.state()
    stopping = asyncio.Event()
    rounds = [asyncio.create_task(neighbour.run(stopping)) for neighbour in neighbours]
    header = f"{'after':>8} {'resident KiB':>13} {'files':>6} {'threads':>8} {'tasks':>6} {'sessions':>9}"
    report(header)
    step = max(1, verdict.count // 10)
    resident: list[int] = []
    for done in range(0, verdict.count, step):
        await _attack(target, min(step, verdict.count - done), verdict.seed * 1_000 + done + 1, at_once)
        state = await asyncio.to_thread(endpoint.state)
        resident.append(state["resident_kib"])
        line = (
            f"{done + step:>8,} {state['resident_kib']:>13,} {state['files']:>6} {state['threads']:>8}"
            f" {state['tasks']:>6} {state['broker sessions']:>9}"
        )
        report(line)
    stopping.set()
    await asyncio.gather(*rounds)
    for neighbour in neighbours:
        verdict.wrong += neighbour.wrong
        verdict.neighbours.append(
            f"neighbour {neighbour.name}: {neighbour.round_trips:,} round trips, the slowest"
            f" {neighbour.slowest_seconds:.2f} s"
        )
        if not neighbour.round_trips:
            verdict.wrong.append(f"neighbour {neighbour.name} made no round trip")
    after = await _settled(endpoint, target, before)
    for name, size in before.items():
        if name != "resident_kib" and name not in _HOMELY and after[name] != size:
            verdict.wrong.append(f"{name}: {size} before, {after[name]} after")
    growth = resident[-1] - resident[len(resident) // 5]
    if growth > FLAT_KIB:
        verdict.wrong.append(f"memory grew by {growth:,} KiB from the first fifth to the end")
    for neighbour in neighbours:
        neighbour.close()


async def _attack(target: Target, count: int, seed: int, at_once: int) -> None:
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            rng = random.Random(seed * 1_000_003 + number)
            with contextlib.suppress(OSError, TimeoutError, ssl.SSLError, EOFError, ValueError):
                async with asyncio.timeout(20):
                    await KINDS[rng.randrange(len(KINDS))](target, rng)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(at_once, count)):
            tasks.create_task(one_after_the_other())


async def _settled(endpoint: Endpoint, target: Target, before: dict[str, int] | None) -> dict[str, int]:
    """Take away what was retained, and wait until the endpoint is as it was; returns what it holds then."""
    await _forget_retained(target)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        state = await asyncio.to_thread(endpoint.state)
        wanted = {"peers half_open": 0, "peers leaving": 0, "broker kept_sessions": 0} if before is None else before
        same = all(
            state[name] == size for name, size in wanted.items() if name != "resident_kib" and name not in _HOMELY
        )
        if same or time.monotonic() > deadline:
            return state
        await asyncio.sleep(0.5)
        if state["broker retained"]:  # of a connection whose last bytes had still to be read
            await _forget_retained(target)


async def _forget_retained(target: Target) -> None:
    line = await Line.open(target, target.mqtt)
    forget = b"".join(encode(Publish(topic, b"", 0, retain=True), Version.MQTT5) for topic in RETAINED_TOPICS)
    sweeper = Connect(Version.MQTT5, "sweeper", True, 30, "u", b"pass01")
    await line.send(encode(sweeper, Version.MQTT5))
    await line.read_some()
    await line.send(forget + encode(Disconnect(0), Version.MQTT5))
    while await line.read_some():
        pass
    line.writer.transport.abort()


def _context(endpoint: Endpoint, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _judge_stderr(text: str, verdict: Verdict) -> None:
    lines = text.splitlines()
    strange = [line for line in lines if not line.startswith(("WARNING ", "ERROR ", "INFO "))]
    if strange:
        verdict.wrong.append(f"{len(strange)} lines on stderr that are no log lines, the first: {strange[:12]}")
    kinds = Counter(re.sub(r"\d+", "N", line)[:100] for line in lines)
    verdict.neighbours.append(f"{len(lines):,} log lines on stderr, of {len(kinds)} kinds:")
    verdict.neighbours += [f"  {number:,} x {kind}" for kind, number in kinds.most_common(8)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    verdict = run_connections(options.count, options.seed, report=lambda line: print(line, flush=True))
    print(verdict)
    return 0 if verdict else 1


if __name__ == "__main__":
    sys.exit(main())

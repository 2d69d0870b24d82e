"""All devices of one client under one schedule, from the first connection to the verdict."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .checker import Verdict, total
from .lane import Kind, Lane
from .relay import Network
from .schedule import Fault, Service, make_schedule
from .services import Endpoint, Mosquitto

LANES: Final[Mapping[str, Service]] = {
    **{f"mosquitto/{number}": "mosquitto" for number in range(4)},
    **{f"endpoint/{number}": "endpoint" for number in range(4)},
}
_TICKS_PER_SECOND: Final = 20
_START_SECONDS: Final = 3.0
_HINT_EVERY_SECONDS: Final = 3.0
_STALL_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of everything: `seconds` of faults, `per_lane` faults for each device, messages a second each way.

    settle_seconds: how long is waited at most, after the last fault, for what is still to come; shorter where nothing
    was promised and nothing more comes.
    """

    seconds: float
    per_lane: int
    longest: float
    rates: Mapping[Service, float]
    token_seconds: float
    always_told: bool
    settle_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a client."""

    client: str
    devices: int
    faults: int
    skipped: int
    up: Verdict
    down: Verdict
    failed: int
    unpromised: int
    """Handed to publish() without a promise yet, and not arrived: the process was killed before it was stored."""
    growth: float
    seconds: float

    @property
    def both(self) -> Verdict:
        """Both directions."""
        return self.up + self.down


def schedule_of(seed: int, extent: Extent) -> tuple[Fault, ...]:
    """Return the faults of a run."""
    return make_schedule(
        seed,
        LANES,
        seconds=extent.seconds,
        per_lane=extent.per_lane,
        longest=extent.longest,
        always_told=extent.always_told,
    )


def run(
    client: str,
    kinds: Mapping[str, Kind],
    extent: Extent,
    faults: Sequence[Fault],
    errors_file: Path,
    say: Callable[[str], None],
) -> Outcome:
    """Run the devices `kinds`, by lane, through the faults, and judge. Ends all that it started, however it ends."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        errors = stack.enter_context(errors_file.open("ab"))
        lanes: dict[str, Lane] = {}

        def arrived(lane: str, number: int) -> None:
            lanes[lane].book.arrived.append(number)

        def discarded(lane: str, number: int) -> None:
            lanes[lane].book.discarded.add(number)

        services: dict[Service, Mosquitto | Endpoint] = {
            "mosquitto": stack.enter_context(Mosquitto(directory, LANES, arrived, errors)),
            "endpoint": stack.enter_context(Endpoint(LANES, arrived, discarded)),
        }
        network = stack.enter_context(Network())
        for name, kind in kinds.items():
            service = services[LANES[name]]
            lanes[name] = Lane(
                name=name,
                kind=kind,
                service=service,
                relay=network.relay_to("127.0.0.1", service.port),
                directory=directory,
                rate=extent.rates[LANES[name]],
                token_seconds=extent.token_seconds,
                errors=errors,
                say=say,
            )
        stack.callback(_end, lanes.values())
        for lane in lanes.values():
            lane.start()
        _suffer(lanes, faults, say)
        _settle(lanes, extent, services)
        ups, downs = zip(*(lane.verdicts() for lane in lanes.values()), strict=True)
        for lane, upwards, downwards in zip(lanes.values(), ups, downs, strict=True):
            for way, verdict in (("up", upwards), ("down", downwards)):
                if not verdict.good:
                    say(f"{lane.name}: {way}: {verdict}"[:600])
        return Outcome(
            client=client,
            devices=len(lanes),
            faults=sum(fault.lane in lanes for fault in faults),
            skipped=sum(lane.skipped for lane in lanes.values()),
            up=total(ups),
            down=total(downs),
            failed=sum(len(lane.book.failed) for lane in lanes.values()),
            unpromised=sum(
                len(
                    set(range(lane.book.offered_up))
                    - lane.book.stored
                    - lane.book.acknowledged
                    - set(lane.book.arrived)
                )
                for lane in lanes.values()
                if lane.kind.durable
            ),
            growth=max(lane.growth for lane in lanes.values()),
            seconds=time.monotonic() - began,
        )


def _suffer(lanes: Mapping[str, Lane], faults: Sequence[Fault], say: Callable[[str], None]) -> None:
    """Keep messages flowing down while the faults of each device happen on a thread of its own."""
    start = time.monotonic() + _START_SECONDS
    broken: list[BaseException] = []

    def live(lane: Lane) -> None:
        try:
            for fault in faults:
                if fault.lane == lane.name:
                    time.sleep(max(0.0, start + fault.at - time.monotonic()))
                    if over.is_set():
                        return
                    try:
                        lane.inflict(fault)
                    except OSError as error:  # the service was busy with another fault: that is no fault of the device
                        say(f"{lane.name}: {fault.kind} did not happen: {error!r}")
                        lane.skipped += 1
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            broken.append(error)

    over = threading.Event()
    threads = [threading.Thread(target=live, args=(lane,), daemon=True) for lane in lanes.values()]
    for thread in threads:
        thread.start()
    owed = dict.fromkeys(lanes, 0.0)
    tick = 0
    try:
        while any(thread.is_alive() for thread in threads) and not broken:
            tick += 1
            time.sleep(max(0.0, start - _START_SECONDS + tick / _TICKS_PER_SECOND - time.monotonic()))
            for name, lane in lanes.items():
                owed[name] += lane.rate / _TICKS_PER_SECOND
                lane.send_down(int(owed[name]))
                owed[name] %= 1
                if tick % _TICKS_PER_SECOND == 0:
                    lane.child.sample()
    finally:
        over.set()
    if broken:
        raise broken[0]


def _settle(lanes: Mapping[str, Lane], extent: Extent, services: Mapping[Service, Mosquitto | Endpoint]) -> None:
    """Let everything be well, and wait for what is still to come."""
    endpoint = services["endpoint"]
    assert isinstance(endpoint, Endpoint)
    endpoint.local.faults.clear()
    endpoint.out_of_order.clear()
    for lane in lanes.values():
        lane.calm_down()
    began = time.monotonic()
    hinted = 0.0
    left, since = -1, began
    while time.monotonic() - began < extent.settle_seconds:
        if time.monotonic() - hinted > _HINT_EVERY_SECONDS:
            hinted = time.monotonic()
            for lane in lanes.values():
                lane.child.tell("hint")
        time.sleep(0.25)
        missing = sum(len(verdict.lost) for lane in lanes.values() for verdict in lane.verdicts())
        if missing != left:
            left, since = missing, time.monotonic()
        patient = any(lane.kind.durable for lane in lanes.values())
        if not missing or (not patient and time.monotonic() - since > _STALL_SECONDS):
            break
    for lane in lanes.values():
        lane.child.tell("finish")
    deadline = time.monotonic() + 15
    for lane in lanes.values():
        lane.child.done.wait(max(0.0, deadline - time.monotonic()))
    time.sleep(0.3)  # what arrived last is read from the event log


def _end(lanes: object) -> None:
    for lane in list(lanes):  # type: ignore[call-overload]
        for child in lane.children:
            if child.alive:
                child.kill()

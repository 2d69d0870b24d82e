"""Each fault alone: which states a connection goes through, how long it takes to be back, and what is retried.

Every row is made by a real device against the local endpoint, in real time but for two clocks that are moved where the
service's times are hours: a device publishes QoS 1 and is subscribed; the fault happens; the row says what its owner
was told, after how many seconds an acknowledgement came again, and what became of the messages. A row that does not
end as the contract says fails the script.

    scripts/fault_table [--check] [--only WORD]     writes docs/faults.md; with --check it only runs the rows
"""

from __future__ import annotations

import argparse
import base64
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iot_customauth_client import Credentials, ManualClock, State, StateChange, connect
from iot_customauth_client.local import LocalEndpoint, events

WAIT_SECONDS = 60.0
OUTPUT = Path(__file__).parent.parent / "docs" / "faults.md"
CLIENT_ID = "device"
UP = "fault/up"
DOWN = "fault/down"

_HEAD = """# Faults, one at a time

What a connection does about each fault: the states it goes through from being connected, the seconds until the next
acknowledgement, and what is tried again. Written by `scripts/fault_table`, which makes every fault on the local
endpoint and fails if a message that was accepted is lost, or an accepted one overtaken. Seconds are of one run on one
machine: pauses before an attempt are drawn at random (full jitter), and a service that is away longer takes longer.

| fault | states | error in `StateChange` | back after | messages | what is retried |
|---|---|---|---|---|---|
"""


@dataclass
class Scene:
    """One device under one fault."""

    endpoint: LocalEndpoint
    clock: ManualClock | None
    gate: Gate
    fetches: list[float] = field(default_factory=list)
    changes: list[StateChange] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    connection: Any = None
    sent: list[Any] = field(default_factory=list)

    def note(self, change: StateChange) -> None:
        with self.changed:
            self.changes.append(change)
            self.changed.notify_all()

    def hear(self, message: Any) -> None:
        with self.changed:
            self.received.append(message.payload)
            self.changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            if not self.changed.wait_for(condition, WAIT_SECONDS):
                raise AssertionError(f"did not come: {[change.state.value for change in self.changes]}")

    def wait_for(self, state: State) -> None:
        self.wait(lambda: any(change.state is state for change in self.changes))

    def publish(self, count: int = 20) -> None:
        first = len(self.sent)
        self.sent += [self.connection.publish(UP, b"%d" % number) for number in range(first, first + count)]

    def credentials(self) -> Credentials:
        self.fetches.append(time.monotonic())
        return Credentials.from_password("device", str(len(self.fetches)), authorizer="gate", expires_in_seconds=3_600)


class Gate:
    """The authorizer: lets in, says no, or fails, as it is told."""

    def __init__(self) -> None:
        self.answer = "yes"

    def __call__(self, event: Mapping[str, Any], _context: object) -> dict[str, object]:
        if self.answer == "fails":
            raise RuntimeError("the database is away")
        base64.b64decode(event["protocolData"]["mqtt"].get("password", ""))
        return {
            "isAuthenticated": self.answer == "yes",
            "principalId": "device",
            "disconnectAfterInSeconds": 7_200,
            "refreshAfterInSeconds": 7_200,
            "policyDocuments": [
                {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}
            ],
        }


@dataclass(frozen=True)
class Fault:
    """One row: what is done, with which settings, and what its last column says."""

    name: str
    happen: Callable[[Scene], None]
    retried: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    moved: bool = False
    """Whether the clocks of device and endpoint are moved by hand."""
    duplicates: bool = True
    """Whether a receiver may see a message twice."""


# -- what happens -----------------------------------------------------------------------------------------------------


def reset(scene: Scene) -> None:
    scene.publish()
    scene.endpoint.faults.drop(CLIENT_ID, how="rst")
    scene.publish()


def closed(scene: Scene) -> None:
    scene.publish()
    scene.endpoint.faults.drop(CLIENT_ID, how="fin")
    scene.publish()


def half_open(scene: Scene) -> None:
    scene.endpoint.faults.half_open(CLIENT_ID)
    scene.publish()


def lost_puback(scene: Scene) -> None:
    scene.endpoint.faults.swallow("PUBACK", times=3, client_id=CLIENT_ID)
    scene.publish()
    scene.endpoint.wait_for(events.Published, payload=b"39", timeout=WAIT_SECONDS)
    scene.endpoint.faults.drop(CLIENT_ID)


def late_puback(scene: Scene) -> None:
    scene.endpoint.faults.delay("PUBACK", 1.0, times=3, client_id=CLIENT_ID)
    scene.publish()


def kicked(scene: Scene) -> None:
    scene.publish()
    scene.endpoint.disconnect(CLIENT_ID)
    scene.publish()


def session_lost(scene: Scene) -> None:
    scene.publish()
    scene.endpoint.disconnect(CLIENT_ID, clean_session=True)
    scene.publish()


def taken_over(scene: Scene) -> None:
    from iot_customauth_client import ConnectionBuilder

    other = ConnectionBuilder(scene.endpoint.settings(CLIENT_ID), scene.credentials()).mqtt5()
    other.start()
    scene.wait_for(State.WAITING)
    other.stop()
    scene.publish()


def away(scene: Scene, seconds: float = 30.0) -> None:
    with scene.endpoint.faults.unreachable():
        scene.publish()
        threading.Event().wait(seconds)


def refused_once(scene: Scene) -> None:
    scene.endpoint.faults.refuse_connects(1, reason_code=135, client_id=CLIENT_ID)
    scene.endpoint.faults.drop(CLIENT_ID)
    scene.publish()


def refused(scene: Scene) -> None:
    scene.gate.answer = "no"
    scene.endpoint.faults.drop(CLIENT_ID)
    scene.publish()
    scene.wait_for(State.REFUSED)
    scene.gate.answer = "yes"
    scene.connection.retry_now()  # else in 1 to 60 minutes


def authorizer_down(scene: Scene) -> None:
    scene.gate.answer = "fails"
    scene.endpoint.faults.drop(CLIENT_ID)
    scene.publish()
    scene.wait_for(State.REFUSED)
    scene.gate.answer = "yes"
    scene.connection.retry_now()


def throttled_connect(scene: Scene) -> None:
    scene.endpoint.faults.throttle("CONNECT", client_id=CLIENT_ID)
    scene.endpoint.faults.drop(CLIENT_ID)
    scene.publish()


def throttled_publish(scene: Scene) -> None:
    scene.endpoint.faults.throttle("PUBLISH", times=3, client_id=CLIENT_ID)
    scene.publish()


def silent_server(scene: Scene) -> None:
    scene.endpoint.faults.ignore_connections(1)
    scene.endpoint.faults.drop(CLIENT_ID)
    scene.publish()


def expiring(scene: Scene) -> None:
    scene.publish()
    assert scene.clock is not None
    scene.clock.advance(3_600 - 60)
    scene.wait_for(State.RENEWING)
    scene.publish()


def time_limited(scene: Scene) -> None:
    scene.publish()
    assert scene.clock is not None
    scene.clock.advance(7_200 - 60)
    scene.wait_for(State.RENEWING)
    scene.publish()


def slow_handler(scene: Scene) -> None:
    go_on = threading.Event()
    scene.connection.subscribe("fault/slow", lambda _: go_on.wait(WAIT_SECONDS)).wait_granted(WAIT_SECONDS)
    scene.endpoint.publish("fault/slow", b"x", qos=1)
    scene.publish()
    for future in scene.sent:
        future.result(WAIT_SECONDS)
    go_on.set()


FAULTS = (
    Fault("TCP reset", reset, "the connection; what was not acknowledged, first and in order"),
    Fault("TCP closed without DISCONNECT", closed, "the same"),
    Fault(
        "half open: nothing comes back any more",
        half_open,
        "the same, once the keep alive has found out",
        settings={"keep_alive_seconds": 5},
    ),
    Fault("3 PUBACKs lost, then a reset", lost_puback, "those 3: the receiver sees them twice"),
    Fault("3 PUBACKs a second late", late_puback, "nothing", duplicates=False),
    Fault("an operator ends the connection", kicked, "the connection; what was not acknowledged"),
    Fault("the same, and the session with it", session_lost, "also every SUBSCRIBE"),
    Fault("another client with the same client id", taken_over, "the connection, later if it happens again"),
    Fault("the endpoint is away for 30 s", away, "attempts, with growing, jittered pauses of at most 60 s"),
    Fault(
        "one attempt meets a server that never answers",
        silent_server,
        "the attempt, after its time-out",
        settings={"connect_timeout_seconds": 6.0},
    ),
    Fault("one CONNECT is refused", refused_once, "at once, with fresh credentials"),
    Fault("every CONNECT is refused", refused, "once with fresh credentials, then every 1 to 60 min (here: retry_now)"),
    Fault("the authorizer fails", authorizer_down, "the same: a refusal and an outage look alike (here: retry_now)"),
    Fault("one CONNECT over the rate", throttled_connect, "the attempt, after a pause"),
    Fault("3 publishes over the rate", throttled_publish, "those 3, after a pause"),
    Fault("the credentials end", expiring, "nothing: renewed before, the session kept", moved=True),
    Fault(
        "disconnectAfterInSeconds",
        time_limited,
        "nothing: renewed before, the session kept",
        settings={"disconnect_after_seconds": 7_200},
        moved=True,
    ),
    Fault("a handler that hangs", slow_handler, "nothing: only its own subscription waits", duplicates=False),
)


@dataclass(frozen=True)
class Row:
    """What one fault led to."""

    fault: Fault
    states: str
    error: str
    seconds: float
    messages: str
    wrong: str = ""

    def line(self) -> str:
        cells = (self.fault.name, self.states, self.error, f"{self.seconds:.1f} s", self.messages, self.fault.retried)
        return "| " + " | ".join(cells) + " |"


@contextmanager
def device(fault: Fault) -> Iterator[Scene]:
    """A connected device whose first messages have gone both ways."""
    clock = ManualClock() if fault.moved else None
    gate = Gate()
    with LocalEndpoint({"gate": gate}, clock=clock) as endpoint:
        scene = Scene(endpoint, clock, gate)
        source: Any = scene.credentials
        if "disconnect_after_seconds" in fault.settings:
            source = Credentials.from_password("device", "x", authorizer="gate")
        with connect(
            endpoint.settings(CLIENT_ID, **fault.settings),
            credentials=source,
            clock=clock,
            on_state_change=scene.note,
            timeout=WAIT_SECONDS,
        ) as connection:
            scene.connection = connection
            connection.subscribe(DOWN, scene.hear).wait_granted(WAIT_SECONDS)
            scene.publish()
            connection.flush(WAIT_SECONDS)
            scene.changes.clear()
            yield scene


def run(fault: Fault) -> Row:
    """Make one fault happen, and see what becomes of it."""
    with device(fault) as scene:
        began = time.monotonic()
        fault.happen(scene)
        scene.connection.flush(WAIT_SECONDS)
        seconds = time.monotonic() - began
        scene.endpoint.publish(DOWN, b"after", qos=1)
        scene.wait(lambda: b"after" in scene.received)
        arrived = [int(each.payload) for each in scene.endpoint.events.of_kind(events.Published) if each.topic == UP]
        changes = tuple(scene.changes)
    wanted = list(range(len(scene.sent)))
    first = list(dict.fromkeys(arrived))
    duplicates = len(arrived) - len(first)
    wrong = []
    if lost := set(wanted) - set(first):
        wrong.append(f"lost {len(lost)}")
    if first != [number for number in wanted if number in set(first)] and fault.happen is not throttled_publish:
        wrong.append("overtaken")
    if failed := [future for future in scene.sent if future.exception(0) is not None]:
        wrong.append(f"{len(failed)} failed: {failed[0].exception(0)}")
    if duplicates and not fault.duplicates:
        wrong.append(f"{duplicates} twice")
    errors = dict.fromkeys(f"`{type(change.error).__name__}`" for change in changes if change.error is not None)
    return Row(
        fault,
        states=shown([change.state.value.upper() for change in changes]) or "none: stays CONNECTED",
        error=", ".join(errors) or "none",
        seconds=seconds,
        messages="lost 0" + (", some twice" if duplicates else ""),
        wrong="; ".join(wrong),
    )


def shown(states: list[str]) -> str:
    """Write states in a row, a pair that comes again and again once with how often."""
    parts: list[str] = []
    while states:
        pair, times = states[:2], 1
        while len(pair) == 2 and states[2 * times : 2 * times + 2] == pair:
            times += 1
        parts.append(" → ".join(pair) + f" (×{times})" if times > 1 else states[0])  # noqa: RUF001
        states = states[2 * times :] if times > 1 else states[1:]
    return " → ".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fault_table", description="Each fault alone, as a table.")
    parser.add_argument("--check", action="store_true", help="do not write docs/faults.md")
    parser.add_argument("--only", metavar="WORD", help="only faults with this word in their name; writes nothing")
    chosen = parser.parse_args()
    faults = [fault for fault in FAULTS if chosen.only is None or chosen.only in fault.name]
    if not faults:
        parser.error(f"no fault has {chosen.only!r} in its name")
    rows = []
    for fault in faults:
        try:
            rows.append(run(fault))
        except Exception as error:  # noqa: BLE001 - one bad row must not hide the others
            rows.append(Row(fault, "?", "?", 0.0, "?", wrong=f"{type(error).__name__}: {error}"))
        print(rows[-1].line() + (f"  WRONG: {rows[-1].wrong}" if rows[-1].wrong else ""), flush=True)
    bad = [row for row in rows if row.wrong]
    if not bad and not chosen.check and chosen.only is None:
        OUTPUT.write_text(_HEAD + "".join(row.line() + "\n" for row in rows))
        print(f"wrote {OUTPUT.relative_to(OUTPUT.parent.parent)}")
    print(f"{len(rows)} faults, {len(bad)} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

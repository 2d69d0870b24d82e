"""A day in the life of one connection, in a minute: what grows, and how often anybody is asked for a token.

Time is a clock that this script moves, for the device and for the local endpoint alike; TLS, MQTT, threads and the
signatures of the tokens are real. The token service is a function that signs a JWT good for one hour. The device sends
and receives one message a minute; the authorizer checks the token's claims, is asked again every 5 minutes, and ends a
connection after 24 h. Each row is one simulated hour.

    scripts/simulate_day [--short] [--protocol mqtt5|mqtt311]

Exit status 0 only if every renewal cost exactly one fetch and one connect, nothing was lost or out of order, the
connection was never lost, and threads, files and memory are flat.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iot_customauth_client import (
    Credentials,
    ManualClock,
    State,
    StateChange,
    Subscription,
    connect,
    generate_key_pair,
    sign_token,
)
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint
from iot_customauth_client.local.event_log import EventLog

HOUR = 3_600
LEEWAY_SECONDS = 60
"""Of `SharedCredentials`, as it comes."""
STEP_SECONDS = 60
WAIT_SECONDS = 20.0
TOPIC = "day/up"
DOWN = "day/down"
WARM_UP_HOURS = 2
MAX_GROWTH_KIB = 1_536
MAX_MORE_THREADS = 2
MAX_MORE_FILES = 1


class TokenService:
    """Signs a token that is good for an hour, whenever it is asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.keys = generate_key_pair()
        self.fetches = 0
        self.expires_at = 0.0
        self._clock = clock
        self._asked = threading.Condition()

    def __call__(self) -> Credentials:
        now = self._clock.now().timestamp()
        claims = {"sub": "device", "iat": int(now), "exp": int(now) + HOUR, "jti": self.fetches}
        head = ".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        signature = sign_token(head, self.keys.private_pem).replace("+", "-").replace("/", "_").rstrip("=")
        made = Credentials.from_jwt(f"{head}.{signature}", token_key_name="token", authorizer="tokens")
        with self._asked:
            self.fetches += 1
            self.expires_at = int(now) + HOUR
            self._asked.notify_all()
        return made

    def wait_for(self, fetches: int) -> bool:
        with self._asked:
            return self._asked.wait_for(lambda: self.fetches >= fetches, WAIT_SECONDS)


class Authorizer:
    """Lets in whose token is not over; the endpoint has verified the signature before."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def __call__(self, event: Mapping[str, Any], _context: object) -> dict[str, object]:
        payload = event["token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return {
            "isAuthenticated": claims["exp"] > self._clock.now().timestamp(),
            "principalId": "device",
            "disconnectAfterInSeconds": 24 * HOUR,
            "refreshAfterInSeconds": 300,
            "policyDocuments": [
                {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}
            ],
        }


@dataclass(frozen=True)
class Row:
    """What there is at the end of one hour."""

    hour: int
    fetches: int
    connects: int
    up: int
    down: int
    lost_connections: int
    resident_kib: int
    threads: int
    files: int

    HEADINGS = ("hour", "fetches", "connects", "up", "down", "losses", "KiB", "threads", "files")

    def cells(self) -> tuple[int, ...]:
        return (
            *(self.hour, self.fetches, self.connects, self.up, self.down),
            *(self.lost_connections, self.resident_kib, self.threads, self.files),
        )


class Day:
    """One device, one endpoint, and the clock of both."""

    def __init__(self, protocol: str) -> None:
        self.clock = ManualClock()
        self.tokens = TokenService(self.clock)
        self.faults: list[str] = []
        self._protocol = protocol
        self._states: list[State] = []
        self._changed = threading.Condition()
        self._sent = self._received = 0

    def run(self, hours: int) -> list[Row]:
        authorizer = LocalAuthorizer(
            Authorizer(self.clock), token_key_name="token", public_keys=(self.tokens.keys.public_pem,)
        )
        rows = []
        endpoint = LocalEndpoint({"tokens": authorizer}, clock=self.clock)
        endpoint._events = EventLog(max_events=500)  # it would keep the whole day otherwise, and look like a leak
        with (
            endpoint,
            connect(
                endpoint.settings("device", protocol=self._protocol),  # type: ignore[arg-type]
                credentials=self.tokens,
                clock=self.clock,
                timeout=WAIT_SECONDS,
                on_state_change=self._note,
            ) as connection,
            connection.subscribe(DOWN) as messages,
        ):
            for hour in range(1, hours + 1):
                self._hour(endpoint, connection, messages)
                rows.append(self._row(hour, connection))
                print(*(f"{cell:>9}" for cell in rows[-1].cells()), flush=True)
        return rows

    def _hour(self, endpoint: LocalEndpoint, connection: Any, messages: Subscription) -> None:
        end = self.clock.monotonic() + HOUR
        while (left := end - self.clock.monotonic()) > 0:
            until_due = self.tokens.expires_at - LEEWAY_SECONDS - self.clock.now().timestamp()
            asked = self.tokens.fetches
            # Not past the moment at which a renewal must have begun: real threads need real time for it.
            self.clock.advance(min(STEP_SECONDS, left, until_due if until_due > 0 else STEP_SECONDS))
            if self.tokens.expires_at - LEEWAY_SECONDS <= self.clock.now().timestamp():
                self._expect(self.tokens.wait_for(asked + 1), "no fetch although a renewal was due")
            # A renewal waits until a second of real time has passed since the last CONNECT: so must the day.
            self._wait_for_connects(connection, self.tokens.fetches)
            connection.publish(TOPIC, b"%d" % self._sent).result(WAIT_SECONDS)
            self._sent += 1
            endpoint.publish(DOWN, b"%d" % self._received, qos=1)
            message = messages.get(WAIT_SECONDS)
            self._expect(message.payload == b"%d" % self._received, f"got {message.payload!r}, sent {self._received}")
            message.ack()  # an iterator would do so at the next step: over a renewal it would come twice
            self._received += 1

    def _wait_for_connects(self, connection: Any, connects: int) -> None:
        with self._changed:
            settled = self._changed.wait_for(
                lambda: self._states.count(State.CONNECTED) >= connects, timeout=WAIT_SECONDS
            )
        self._expect(settled, f"not connected again after a renewal: {connection.state.value}")

    def _note(self, change: StateChange) -> None:
        with self._changed:
            self._states.append(change.state)
            self._changed.notify_all()

    def _row(self, hour: int, connection: Any) -> Row:
        stats = connection.stats()
        self._expect(stats.acknowledged == self._sent, f"sent {self._sent}, acknowledged {stats.acknowledged}")
        return Row(
            hour=hour,
            fetches=self.tokens.fetches,
            connects=stats.connects,
            up=self._sent,
            down=self._received,
            lost_connections=sum(state in (State.WAITING, State.REFUSED) for state in self._states),
            resident_kib=_resident_kib(),
            threads=len(list(Path("/proc/self/task").iterdir())),
            files=len(list(Path("/proc/self/fd").iterdir())),
        )

    def _expect(self, good: bool, otherwise: str) -> None:
        if not good:
            self.faults.append(otherwise)
            raise AssertionError(otherwise)


def verdict(rows: list[Row]) -> list[str]:
    """Return what is wrong with the day, in words; nothing if it was a good one."""
    last, base = rows[-1], rows[min(WARM_UP_HOURS, len(rows)) - 1]
    # A renewal comes after 53 to 59 minutes: the leeway before the end, and up to 10 % of spread.
    fewest, most = last.hour * HOUR // (HOUR - LEEWAY_SECONDS), last.hour * HOUR // (HOUR * 85 // 100) + 2
    wrong = []
    if not fewest <= last.fetches <= most:
        wrong.append(f"{last.fetches} fetches in {last.hour} h: {fewest} to {most} were expected")
    if last.connects != last.fetches:
        wrong.append(f"{last.fetches} fetches, but {last.connects} connects")
    if last.lost_connections:
        wrong.append(f"the connection was lost or refused {last.lost_connections} times")
    if last.resident_kib > base.resident_kib + MAX_GROWTH_KIB:
        wrong.append(f"memory grew from {base.resident_kib} to {last.resident_kib} KiB")
    if last.threads > base.threads + MAX_MORE_THREADS:
        wrong.append(f"threads grew from {base.threads} to {last.threads}")
    if last.files > base.files + MAX_MORE_FILES:
        wrong.append(f"open files grew from {base.files} to {last.files}")
    return wrong


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate_day", description="One simulated day of a connection with hourly tokens."
    )
    parser.add_argument("--short", action="store_true", help="4 hours instead of 24")
    parser.add_argument("--protocol", choices=("mqtt5", "mqtt311"), default="mqtt5")
    chosen = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        parser.error("needs /proc")
    print(*(f"{heading:>9}" for heading in Row.HEADINGS), flush=True)
    began = time.monotonic()
    rows = Day(chosen.protocol).run(4 if chosen.short else 24)
    wrong = verdict(rows)
    print(f"{rows[-1].hour} simulated hours in {time.monotonic() - began:.0f} s: " + ("; ".join(wrong) or "all flat"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

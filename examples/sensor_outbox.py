"""A sensor that loses no reading: what it could not deliver is kept in a file, over crashes, reboots and bad networks.

    python examples/sensor_outbox.py examples/device.toml outbox.db [READINGS]

Reads the credentials anew whenever they are needed, so that a renewed password or token in the file is picked up.
Ends on SIGTERM (systemd, Docker) with DISCONNECT, so that no last will is published. Without READINGS it goes on for
ever, one reading a second.
"""

import itertools
import logging
import sys
import time

from iot_customauth_client import (
    ConnectionSettings,
    Credentials,
    CustomAuthError,
    SqliteOutbox,
    close_on_signal,
    connect,
)

TOPIC = "my-topic"


def main(file: str, outbox_file: str, readings: int | None) -> None:
    close_on_signal()
    settings = ConnectionSettings.load(file, session_expiry_seconds=3600)
    outbox = SqliteOutbox(outbox_file, max_messages=100_000)

    # timeout=0: begin to measure at once, also where there is no network yet.
    with connect(settings, credentials=lambda: Credentials.load(file), outbox=outbox, timeout=0) as connection:
        connection.on_state_change(lambda change: print(f"now {change.state.value}", flush=True))
        for number in range(readings) if readings is not None else itertools.count():
            reading = {"number": number, "celsius": 20 + number % 5, "at": int(time.time())}
            connection.publish(TOPIC, json=reading).wait_stored(timeout=10)
            print(f"stored reading {number}", flush=True)
            time.sleep(1)
        report = connection.close(timeout=30)
    print(f"{connection.stats().acknowledged} readings delivered, {report.kept} are kept for the next start")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else None)
    except CustomAuthError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # Ctrl+C: `with` has closed the connection on the way here
        sys.exit(130)

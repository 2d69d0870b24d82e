"""A gateway in asyncio: many devices behind it report over one connection, and it hears what was reported.

    python examples/gateway.py examples/device.toml [REPORTS]

Each device sends REPORTS reports (3 if it is left out). The credentials are read anew whenever they are needed.
Exit code: 0 when all came back, 1 when the connection or a message was refused, 130 after Ctrl+C.
"""

import asyncio
import logging
import sys

from iot_customauth_client import ConnectionSettings, Credentials, CustomAuthError, aio

TOPIC = "my-topic"
DEVICES = ("boiler", "meter", "window")


async def report(connection: aio.Connection, device: str, reports: int) -> None:
    for number in range(reports):
        await connection.publish(TOPIC, json={"device": device, "number": number})
        await asyncio.sleep(0.1)


async def listen(connection: aio.Connection, expected: int) -> None:
    async with connection.subscribe(TOPIC) as messages:
        async with asyncio.TaskGroup() as reporting:
            for device in DEVICES:
                reporting.create_task(report(connection, device, expected // len(DEVICES)))
        for _ in range(expected):
            content = (await messages.get(timeout=10)).json()
            print(f"report {content['number']} of {content['device']}")


async def main(file: str, reports: int) -> None:
    settings = ConnectionSettings.load(file)
    async with aio.connect(settings, credentials=lambda: Credentials.load(file)) as connection:
        print(f"connected to {settings.endpoint}:{settings.port} as {settings.client_id}")
        await listen(connection, reports * len(DEVICES))
        print(f"sent and acknowledged: {connection.stats().acknowledged}")
    print("disconnected")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 3))
    except CustomAuthError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # Ctrl+C: `with` has closed the connection on the way here
        sys.exit(130)

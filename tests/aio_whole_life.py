"""A program for tests/test_aio_loop.py: the whole life of an asyncio connection, under a watch on its event loop.

`audit`: whatever Python's audit events call opening a file, asking for a name, connecting a socket or a database,
starting a process, must not happen on the loop's thread. `imports`: the import of awscrt is held until the loop has
turned many times, so that it would hang if the loop waited for it. `outbox`: `audit`, with messages kept in a file.
Usage: aio_whole_life.py CHECK DIRECTORY PROTOCOL PORT CA_FILE CLIENT_ID USER PASSWORD
"""

from __future__ import annotations

import asyncio
import importlib.abc
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from iot_customauth_client import Credentials, State, StateChange, aio
from iot_customauth_client.shared_credentials import SharedCredentials

BLOCKING = (
    "open",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "time.sleep",
    "import",
)
check, directory, protocol, port, ca_file, client_id, user, password = sys.argv[1:]
found: list[str] = []


def watch(loop_thread: int) -> None:
    """Note what may block on the loop's thread from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() == loop_thread and event.startswith(BLOCKING):
            found.append(f"{event} {arguments[:1]}\n{''.join(traceback.format_stack(limit=8))}")

    sys.addaudithook(hook)


class Holding(importlib.abc.MetaPathFinder):
    """Holds the first import of awscrt until the loop has turned 50 times."""

    def __init__(self) -> None:
        self.asked, self.turned = threading.Event(), threading.Event()

    def find_spec(self, name: str, *_: object) -> None:
        if name == "awscrt":
            self.asked.set()
            assert self.turned.wait(20), "the loop stood still while awscrt was imported"


async def turn(holding: Holding) -> None:
    await asyncio.to_thread(holding.asked.wait, 20)
    for _ in range(50):
        await asyncio.sleep(0)
    holding.turned.set()


async def main() -> None:
    turning = None
    if check == "imports":
        assert "awscrt" not in sys.modules
        holding = Holding()
        sys.meta_path.insert(0, holding)
        turning = asyncio.ensure_future(turn(holding))
    else:
        watch(threading.get_ident())
    arguments: dict[str, Any] = {"port": int(port), "ca_file": ca_file, "protocol": protocol}
    if check == "outbox":
        arguments["outbox"] = outbox
    changes = asyncio.Queue[StateChange]()
    connecting = aio.connect(
        "localhost", client_id=client_id, credentials=shared, on_state_change=changes.put_nowait, **arguments
    )
    async with connecting as connection:
        print("connected")
        if turning is not None:
            await turning
        async with connection.subscribe("open/a") as messages:
            future = connection.publish("open/a", json={"a": 1}, timeout=20)
            if check == "outbox":
                await future.wait_stored(10)
            await future
            print("published")
            assert (await messages.get(10)).json() == {"a": 1}
            print("received")
        await connection.respond("open/question", lambda message: message.json()).wait_granted()
        assert (await connection.request("open/question", json=[1], timeout=10)).json() == [1]
        print("answered")
        shared.renew()
        while (await asyncio.wait_for(changes.get(), 20)).state is not State.RENEWING:
            pass
        await connection.wait_connected(20)
        await connection.publish("open/a")
        print("renewed")
    print("closed")


async def fetch() -> Credentials:
    fetched.append(1)
    parameters = {"number": str(len(fetched))}
    return Credentials.from_password(user, password, authorizer="gate", parameters=parameters)


fetched: list[int] = []
shared = SharedCredentials(fetch, min_interval_seconds=0)
outbox: Any = None
if check == "outbox":
    from iot_customauth_client.outbox_sqlite import SqliteOutbox

    outbox = SqliteOutbox(Path(directory) / "outbox.db")
asyncio.run(main())
if found:
    sys.exit("\n".join(found))

"""The thread on which awscrt calls back keeps its Python state between two callbacks.

In a process of its own: in this one, another test may have seen to it long ago.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# What is received is handed over on awscrt's thread: what one message left there, the next one finds.
SCRIPT = """
import sys, threading
from client_support import AUTHORIZERS, GOOD
from iot_customauth_client import connect
from iot_customauth_client.inbox import Inbox
from iot_customauth_client.local import LocalEndpoint

here, threads, found = threading.local(), set(), []
receive = Inbox.receive

def noting(self, message, acknowledge):
    threads.add(threading.get_ident())
    found.append(getattr(here, "left", None))
    here.left = message.payload
    receive(self, message, acknowledge)

Inbox.receive = noting
with LocalEndpoint(AUTHORIZERS) as service:
    settings = service.settings("device-1", protocol=sys.argv[1])
    connection = connect(settings, credentials=GOOD)
    subscription = connection.subscribe("open/a")
    subscription.wait_granted(10)
    for payload in (b"1", b"2", b"3"):
        connection.publish("open/a", payload).result(10)
        subscription.get(10)
    connection.close()
assert len(threads) == 1 and threading.get_ident() not in threads
print(*found)
"""


@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_what_a_callback_leaves_on_the_native_thread_is_there_in_the_next_one(protocol: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, protocol], capture_output=True, text=True, timeout=60, check=False, cwd=HERE
    )
    assert (done.returncode, done.stdout.split()) == (0, ["None", "b'1'", "b'2'"]), done.stderr


@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_a_process_that_leaves_a_busy_connection_behind_still_ends_well(protocol: str) -> None:
    busy = SCRIPT.replace(
        "    connection.close()\n", "    for _ in range(500): connection.publish('open/a', b'4')\n    sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", busy, protocol], capture_output=True, text=True, timeout=60, check=False, cwd=HERE
    )
    assert done.returncode == 7, done.stderr
    assert not re.search("Fatal|Traceback", done.stderr), done.stderr

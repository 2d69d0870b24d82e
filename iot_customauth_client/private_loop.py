"""One event loop of the process's own, for async functions of users who have none: credentials of the sync face.

It starts with the first coroutine, on a daemon thread, and stays: clients that such a function keeps between two calls
are bound to their loop. A child of `fork` makes another one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def run_on_private_loop(coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Run a coroutine on the loop; return its future."""
    with _lock:
        process = os.getpid()
        loop = _loops.get(process)
        if loop is None:
            loop = _loops[process] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="iot-customauth-loop", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(coroutine, loop)

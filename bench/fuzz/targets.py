"""All targets, in the order in which they are printed."""

from __future__ import annotations

from .hunt import hunt
from .target import Target
from .target_broker import BROKER, MODEL
from .target_codec import CODEC
from .target_credentials import CREDENTIALS
from .target_hello import HELLO
from .target_http import HTTP
from .target_policy import POLICY
from .target_websocket import WEBSOCKET
from .verdict import Verdict

TARGETS: dict[str, Target] = {
    target.name: target for target in (CODEC, BROKER, MODEL, HELLO, HTTP, WEBSOCKET, POLICY, CREDENTIALS)
}


def hunt_by_name(name: str, packets: int, seed: int, seconds: float | None) -> Verdict:
    """Attack one target: what a process of its own is told to do, in values that can be sent to it."""
    return hunt(TARGETS[name], packets, seed, seconds=seconds)

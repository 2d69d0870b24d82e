"""All targets, in the order in which they are printed."""

from __future__ import annotations

from .target import Target
from .target_broker import BROKER, MODEL
from .target_codec import CODEC
from .target_credentials import CREDENTIALS
from .target_hello import HELLO
from .target_http import HTTP
from .target_policy import POLICY
from .target_websocket import WEBSOCKET

TARGETS: dict[str, Target] = {target.name: target for target in (CODEC, BROKER, MODEL, HELLO, HTTP, WEBSOCKET, POLICY, CREDENTIALS)}

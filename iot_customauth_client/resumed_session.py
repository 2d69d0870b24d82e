"""Messages of a resumed session that came before the script had subscribed again.

A device that reboots connects to its kept session, and the service sends at once what was published meanwhile; the
script subscribes a moment later. What matches no subscription until then is held here for the first one that fits.

::

    undecided --CONNACK without a session--> over
        |
        +-----CONNACK with a session---> holding --10 s of the connection's clock--> over

It holds from the start, since the messages may be here before anybody could tell that a session was there. Whoever
calls holds the inbox's lock: nothing of a topic may overtake what is held of it.

With MQTT 5 what is held is not acknowledged, so the service itself stops at its 100 and sends the rest when some are
handed over. With MQTT 3.1.1 awscrt acknowledges on arrival and nothing stops the service: hence the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .messages import Message
from .receipts import Receipt

HOLD_SECONDS: Final = 10.0
MAX_HELD: Final = 1_000
"""Messages that are held at most: more than a day's commands, and 128 MiB only if each is as large as can be."""


class ResumedSession:
    """What is held, in the order of arrival."""

    def __init__(self) -> None:
        self._held: list[tuple[Message, Receipt | None]] = []
        self._decided = False
        self._over = False

    @property
    def decided(self) -> bool:
        """Whether the first CONNACK has come."""
        return self._decided

    def has_room(self, message: Message) -> bool:
        """Whether to hold this one; QoS 0 never is. What the service is about to send again takes no room."""
        if self._over or not message.qos:
            return False
        return len(self._held) < MAX_HELD or sum(not _is_void(receipt) for _, receipt in self._held) < MAX_HELD

    def hold(self, message: Message, receipt: Receipt | None) -> None:
        """Keep a message that nobody wants yet."""
        self._held.append((message, receipt))

    def resumed(self) -> bool:
        """The first CONNACK had a session; return whether it was the first."""
        first, self._decided = not self._decided, True
        return first

    def sent_again(self) -> None:
        """The session went on over a new connection: let go of what the service sends again."""
        self._held = [(message, receipt) for message, receipt in self._held if not _is_void(receipt)]

    def take(self, fits: Callable[[str], bool]) -> list[tuple[Message, Receipt | None]]:
        """Take out the messages whose topic fits."""
        taken = [each for each in self._held if fits(each[0].topic)]
        if taken:
            self._held = [each for each in self._held if not fits(each[0].topic)]
        return taken

    def end(self) -> list[tuple[Message, Receipt | None]]:
        """Hold nothing more; return what is left."""
        left, self._held = self._held, []
        self._decided = self._over = True
        return left


def _is_void(receipt: Receipt | None) -> bool:
    return receipt is not None and receipt.void

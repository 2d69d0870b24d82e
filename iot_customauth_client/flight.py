"""What is in flight over one link: sent, and not acknowledged yet.

A flight lasts from `attach` to `detach`. Its counters decide two things: whether the window has room, and whether the
native thread may submit (*the gate*, see `pump.py`). An acknowledgement that comes after the flight is over counts in
this flight, not in the next one.

With a link whose native object sends again by itself (MQTT 3.1.1 with a kept session), a flight outlasts the lost
connection. Each `attach` then begins an *epoch* of it: what awscrt gives up later belongs to an earlier epoch, and says
nothing about the connection of now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .links.base import Link, PublishDone
    from .outgoing import Outgoing


class Flight:
    """The ledger of one link. The outbox's pump writes `sent`, `live` and `over`; acknowledgements write `done`.

    `acknowledged` is what the link calls at the end of each publish; the outbox sets it.
    """

    __slots__ = (
        "acknowledged",
        "cross_done",
        "cross_sent",
        "done",
        "epoch",
        "full",
        "link",
        "live",
        "over",
        "sent",
        "window",
    )

    acknowledged: PublishDone

    def __init__(self, link: Link, window: int) -> None:
        self.link = link
        self.window = window
        self.live: dict[Outgoing, None] = {}  # in the order of submission
        self.sent = self.done = self.cross_sent = self.cross_done = 0
        self.epoch = 0
        self.full = False  # the window was full when the pump last ran
        self.over = False  # the link said that the connection is gone: submit nothing until it is attached again

    def resume(self, window: int) -> None:
        """Go on over the same link, connected anew: it sends again what is in flight."""
        self.window = window
        self.over = False
        self.epoch += 1
        for entry in self.live:
            entry.attempts += 1

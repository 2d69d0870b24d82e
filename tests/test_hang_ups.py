"""What a hang-up is blamed on, with an outbox and a link that the test answers for."""

from __future__ import annotations

from outbox_support import FakeLink, ending_of, entry_of, make_outbox

from iot_customauth_client.hang_ups import HangUps
from iot_customauth_client.inbox import Inbox
from iot_customauth_client.links.base import Accepted, LinkEnd
from iot_customauth_client.runtime import runtime
from iot_customauth_client.subscribing import Subscribing
from iot_customauth_client.workers import Serial

NOT_AUTHORIZED = LinkEnd(was_connected=True, reason_code=0x87)


def test_a_message_is_not_blamed_for_the_end_before_it_that_another_one_was_suspected_of() -> None:
    shared = runtime()
    outbox = make_outbox()
    serial = Serial(shared.workers)
    subscribing = Subscribing(Inbox(client_id="device"), serial.post, "device")
    hang_ups = HangUps(outbox, subscribing, client_id="device", clock=shared.clock, runtime=shared, serial=serial)
    link = FakeLink()
    hang_ups.attach(link, Accepted(session_present=True), connect_seconds=0.1)
    for number in range(50):  # a message that has ended leaves its place in memory to the next one
        entry = entry_of(f"topic/{number}")
        promise = ending_of(entry)
        outbox.accept(entry)
        del entry
        hang_ups.ended(NOT_AUTHORIZED)
        hang_ups.detach(keep_in_flight=False)
        hang_ups.convict()
        link.sent.clear()
        link.open.clear()
        hang_ups.attach(link, Accepted(session_present=True), connect_seconds=0.1)
        link.answer_all()
        link.sent.clear()
        assert promise.error is None
        assert promise.result is not None

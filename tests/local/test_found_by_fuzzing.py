"""What `scripts/fuzz` found, or was made to find, each as a statement with the input that showed it."""

from __future__ import annotations

from broker_driver import ACCOUNT, REGION, V5, Driver

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.codec import Connect, Property
from iot_customauth_client.local.events import Disconnected


def test_a_client_whose_queue_fills_up_while_its_keep_alive_ends_is_disconnected_once() -> None:
    """The end of one member of a shared subscription fills the queue of another, which ends in the same moment."""
    broker = Broker(region=REGION, account=ACCOUNT, quotas="aws", max_queued_bytes=100, choose=lambda _: 0)
    driver = Driver(broker)
    kept = {Property.SESSION_EXPIRY_INTERVAL: 1_000}

    def connect(number: int, client_id: str) -> None:
        driver.connect(number, Connect(V5, client_id, False, 30, properties=kept))

    connect(1, "one")
    driver.subscribe(1, "$share/g/shared")
    connect(2, "two")
    driver.subscribe(2, "stored", "$share/g/shared")
    driver.close(2)
    driver.wait(5)
    for _ in range(15):
        driver.carry_out(broker.publish("stored", b"6 here", qos=1, now=driver.now, at=driver.at))
    driver.wait(5)
    connect(3, "two")  # ten of the fifteen are sent at once, five are held back by the rate
    driver.carry_out(broker.publish("shared", b"y" * 90, qos=1, now=driver.now, at=driver.at))
    driver.now += 100
    driver.carry_out(broker.expire(driver.now, driver.at))
    assert sorted(event.connection for event in driver.of(Disconnected)) == [1, 2, 3]
    assert broker.sizes()["live"] == broker.sizes()["overflowed"] == 0

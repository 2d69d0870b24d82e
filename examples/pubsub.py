"""Subscribe to a topic, publish three numbered messages to it a second apart, print what arrives, and leave.

    python examples/pubsub.py examples/device.toml

Exit code: 0 when all three came back, 1 when the connection or a message was refused, 130 after Ctrl+C.
"""

import logging
import sys
import time

from iot_customauth_client import ConnectionSettings, Credentials, CustomAuthError, connect

TOPIC = "my-topic"
COUNT = 3


def main(file: str) -> None:
    settings = ConnectionSettings.load(file)
    credentials = Credentials.load(file)

    with connect(settings, credentials=credentials) as connection:
        print(f"connected to {settings.endpoint}:{settings.port} as {settings.client_id}")

        with connection.subscribe(TOPIC) as messages:
            for counter in range(COUNT):
                if counter:
                    time.sleep(1)
                connection.publish(TOPIC, json={"counter": counter}).result(timeout=10)
                message = messages.get(timeout=10)
                print(f"received on {message.topic}: {message.json()}")

    print("disconnected")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        main(sys.argv[1])
    except CustomAuthError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # Ctrl+C: `with` has closed the connection on the way here
        sys.exit(130)

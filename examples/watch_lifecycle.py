"""Watch devices come and go: print the lifecycle events that AWS IoT Core publishes under `$aws/events/...`.

    python examples/watch_lifecycle.py

Starts a local endpoint of its own (the extra `local`), with an authorizer that lets a monitor see the events and a
device publish; then a device connects, subscribes and leaves, and one that the policy does not know is refused.

Exit code: 0 when the events have been printed, 1 when something was refused that should not be, 130 after Ctrl+C.
"""

import contextlib
import logging
import sys

from iot_customauth_client import AuthenticationRefused, Credentials, CustomAuthError, connect
from iot_customauth_client.local import LocalEndpoint

ARN = "arn:aws:iot:*:*"
STATEMENTS = {
    "monitor": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{ARN}:client/monitor"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": f"{ARN}:topicfilter/$aws/events/*"},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": f"{ARN}:topic/$aws/events/*"},
    ],
    "device": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{ARN}:client/boiler"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": f"{ARN}:topicfilter/boiler/*"},
    ],
}


def authorizer(event, context):  # noqa: ARG001
    user = event["protocolData"]["mqtt"]["username"].rpartition("?")[0]
    return {
        "isAuthenticated": user in STATEMENTS,
        "principalId": user,
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [{"Version": "2012-10-17", "Statement": STATEMENTS.get(user, [])}],
    }


def main() -> None:
    monitor_password = Credentials.from_password("monitor", "pass01", authorizer="any")
    device_password = Credentials.from_password("device", "pass02", authorizer="any")

    with (
        LocalEndpoint({"any": authorizer}) as endpoint,
        connect(endpoint.settings("monitor"), credentials=monitor_password) as monitor,
        monitor.subscribe("$aws/events/#") as events,
    ):
        with connect(endpoint.settings("boiler"), credentials=device_password) as boiler:
            boiler.subscribe("boiler/commands").wait_granted(10)
        with contextlib.suppress(AuthenticationRefused):  # the policy is for `boiler` only
            connect(endpoint.settings("toaster"), credentials=device_password)

        while True:
            event = events.get(timeout=10).json()
            details = event.get("disconnectReason") or event.get("connectFailureReason") or event.get("topics") or ""
            print(f"{event['eventType']} {event['clientId']} {details}".rstrip(), flush=True)
            if event["eventType"] == "connect_failed":  # the last thing that was made to happen
                return


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.CRITICAL)  # the refusal is no surprise here
    try:
        main()
    except CustomAuthError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # Ctrl+C: `with` has closed the connections on the way here
        sys.exit(130)

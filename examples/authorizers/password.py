"""An authorizer for AWS IoT Core that checks a user name and a password.

Plain Lambda: it can be deployed as it is, and needs nothing but Python. Locally:

    iot-customauth local --authorizer custom_auth_mqtt_2021_08_21=examples/authorizers/password.py
"""

import base64
import hmac

USERS = {"user01": "pass01"}
REGION = "ap-northeast-1"
CLIENT_ID = "client_id"
TOPIC = "my-topic"


def lambda_handler(event, context):  # noqa: ARG001
    mqtt = event["protocolData"]["mqtt"]
    # The service hands over the whole MQTT user name; the parameters after the `?` are not part of the name.
    username = mqtt.get("username", "").rpartition("?")[0] or mqtt.get("username", "")
    password = base64.b64decode(mqtt.get("password", "")).decode("utf-8", "replace")

    expected = USERS.get(username)
    if expected is None or not hmac.compare_digest(password.encode(), expected.encode()):
        print(f"refused client id {mqtt.get('clientId')}")
        return {"isAuthenticated": False}

    print(f"accepted client id {mqtt.get('clientId')}")
    arn = f"arn:aws:iot:{REGION}:*"
    return {
        "isAuthenticated": True,
        "principalId": "CustomAuthId",
        "disconnectAfterInSeconds": 84000,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": "iot:Connect",
                        "Resource": f"{arn}:client/{CLIENT_ID}",
                    },
                    {
                        "Effect": "Allow",
                        "Action": ["iot:Publish", "iot:Receive"],
                        "Resource": f"{arn}:topic/{TOPIC}",
                    },
                    {
                        "Effect": "Allow",
                        "Action": "iot:Subscribe",
                        "Resource": f"{arn}:topicfilter/{TOPIC}",
                    },
                ],
            }
        ],
    }

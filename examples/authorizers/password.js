// An authorizer for AWS IoT Core that checks a user name and a password, for Node.js.
//
// Plain Lambda: it can be deployed as it is (handler `password.handler`), and needs nothing but Node.js. Locally, either
// behind the Invoke URL of whatever serves it (`sam local start-lambda`, its container), or as a command:
//
//     [authorizers.custom_auth_mqtt_2021_08_21]
//     command = ["node", "authorizers/password.js"]
//     signing_disabled = true

"use strict";

const { timingSafeEqual } = require("node:crypto");

const USERS = { user01: "pass01" };
const ARN = "arn:aws:iot:ap-northeast-1:*";
const CLIENT_ID = "client_id";
const TOPIC = "my-topic";

function same(one, other) {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

exports.handler = async (event) => {
  const mqtt = event.protocolData.mqtt;
  // The service hands over the whole MQTT user name; the parameters after the `?` are not part of the name.
  const username = (mqtt.username ?? "").split("?")[0];
  const password = Buffer.from(mqtt.password ?? "", "base64");
  if (!Object.hasOwn(USERS, username) || !same(password, USERS[username])) {
    console.error(`refused client id ${mqtt.clientId}`);
    return { isAuthenticated: false };
  }
  console.error(`accepted client id ${mqtt.clientId}`);
  const allow = (action, resource) => ({ Effect: "Allow", Action: action, Resource: `${ARN}:${resource}` });
  return {
    isAuthenticated: true,
    principalId: "CustomAuthId",
    disconnectAfterInSeconds: 84000,
    refreshAfterInSeconds: 300,
    policyDocuments: [
      {
        Version: "2012-10-17",
        Statement: [
          allow("iot:Connect", `client/${CLIENT_ID}`),
          allow(["iot:Publish", "iot:Receive"], `topic/${TOPIC}`),
          allow("iot:Subscribe", `topicfilter/${TOPIC}`),
        ],
      },
    ],
  };
};

// As a command: the event comes on stdin, the result goes to stdout.
if (require.main === module) {
  let text = "";
  process.stdin.on("data", (chunk) => (text += chunk));
  process.stdin.on("end", async () => console.log(JSON.stringify(await exports.handler(JSON.parse(text)))));
}

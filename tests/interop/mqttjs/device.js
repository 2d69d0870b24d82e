// A device of nothing but MQTT.js, as its README has it: node device.js <order.json >report.json
//
// The order: `url`, the `options` of mqtt.connect, the `query` to append to the URL, the `topic`, and the `payloads`
// (base64) to publish there, one after the other, each when the one before it has come back.
// The report: the CONNACK's reason code, the granted QoS, the payloads and properties that came back, and the error.
// It is printed when the connection has closed. After that nothing is left to do, so that Node.js ends by itself.

"use strict";

const { readFileSync } = require("node:fs");
const mqtt = require("mqtt");

const order = JSON.parse(readFileSync(0, "utf8"));
const parts = Object.entries(order.query).map((part) => part.map(encodeURIComponent).join("="));
const url = parts.length > 0 ? `${order.url}?${parts.join("&")}` : order.url;
const report = { connack: null, granted: null, received: [], userProperties: [], error: null };

const client = mqtt.connect(url, { reconnectPeriod: 0, ...order.options });

function fail(error) {
  if (error) throw error;
}

function publishNext() {
  const payload = Buffer.from(order.payloads[report.received.length], "base64");
  const properties = order.options.protocolVersion === 5 ? { userProperties: { size: String(payload.length) } } : {};
  client.publish(order.topic, payload, { qos: 1, properties }, fail);
}

client.on("connect", (connack) => {
  report.connack = connack.reasonCode ?? connack.returnCode;
  client.subscribe(order.topic, { qos: 1 }, (error, granted) => {
    fail(error);
    report.granted = granted.map((each) => each.qos);
    publishNext();
  });
});

client.on("message", (topic, payload, packet) => {
  report.received.push(payload.toString("base64"));
  report.userProperties.push(packet.properties?.userProperties?.size ?? null);
  if (report.received.length < order.payloads.length) publishNext();
  else client.end();
});

const keep = (error) => {
  report.error = { message: error.message, code: error.code ?? null };
};
client.on("error", keep);
client.stream.on("error", keep); // the answer to the upgrade: MQTT.js keeps it to itself, and closes

client.on("close", () => console.log(JSON.stringify(report)));

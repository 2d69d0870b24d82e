// Serves the Lambda function of a file at an Invoke URL, as tools for local Lambdas do: node invoke_server.js FILE.js
// Prints its port as soon as it listens. With `emulator` as second argument errors look as the runtime interface
// emulator's do (no header); otherwise as Lambda's own.

"use strict";

const http = require("node:http");
const { resolve } = require("node:path");

const { handler } = require(resolve(process.argv[2]));
const emulator = process.argv[3] === "emulator";

const server = http.createServer((request, response) => {
  const answer = (status, document, headers = {}) => {
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(document));
  };
  if (request.method !== "POST" || request.url !== "/2015-03-31/functions/authorizer/invocations") {
    answer(404, { Type: "User", Message: "Function not found" });
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    try {
      answer(200, await handler(JSON.parse(Buffer.concat(chunks)), {}));
    } catch (error) {
      const document = { errorType: error.name, errorMessage: error.message, trace: [] };
      answer(200, document, emulator ? {} : { "X-Amz-Function-Error": "Unhandled" });
    }
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));

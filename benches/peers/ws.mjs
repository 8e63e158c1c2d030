// A broadcast server with Node's `ws`: whatever anybody sends goes to everybody. Port: the first argument.
// `ws` is found here, above, or in NODE_PATH.

import { createRequire } from "node:module";

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });

server.on("connection", (connection) => {
  connection.on("error", () => {}); // it is followed by `close`, and `ws` forgets it
  connection.on("message", (message, binary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(message, { binary });
    }
  });
});

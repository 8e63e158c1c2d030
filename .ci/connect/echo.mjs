// A chat server in ten lines, as tutorials write it, with Node's `ws`: whatever comes goes to everybody as it is.
//
//     node echo.mjs any              prints its address, and serves until it is killed
//     node echo.mjs none             the same, but chooses no subprotocol; else `ws` agrees to the first that is offered
//     node echo.mjs strict           the same, but refuses a client that offers one
//
// `ws` is found here, above, or in NODE_PATH.

import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(import.meta.url)("ws");

const options = {
  strict: { verifyClient: ({ req }) => !req.headers["sec-websocket-protocol"] },
  none: { handleProtocols: () => false },
};
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options[process.argv[2]] });

server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}`));
server.on("connection", (socket) => {
  socket.send("hello there");
  socket.on("message", (data) => {
    for (const client of server.clients) client.send(data.toString());
  });
});

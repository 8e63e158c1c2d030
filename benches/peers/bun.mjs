// A broadcast server with Bun's own `publish`, which is uWebSockets': whatever anybody sends goes to everybody.
// Port: the first argument.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response("WebSocket only\n", { status: 426, headers: { Upgrade: "websocket" } });
  },
  websocket: {
    open(connection) {
      connection.subscribe("everybody");
    },
    message(_, message) {
      server.publish("everybody", message);
    },
  },
});

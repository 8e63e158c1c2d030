"""A chat server as tutorials write it, with Python's `websockets`: everybody's JSON goes to everybody, with a name and a time.

    python tutorial.py      prints its address, and serves until it is killed
"""

import asyncio
import json
from datetime import datetime, timezone

import websockets

clients = {}


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def broadcast(frame):
    websockets.broadcast(clients, json.dumps({**frame, "timestamp": now()}))


async def chat(socket):
    clients[socket] = f"user{len(clients) + 1}"
    await socket.send(json.dumps({"type": "system", "message": "Welcome!", "timestamp": now()}))
    try:
        async for text in socket:
            try:
                frame = json.loads(text)
            except ValueError:
                frame = {"type": "chat", "message": text}
            if frame.get("type") == "ping":
                await socket.send(json.dumps({"type": "pong", "timestamp": now()}))
            elif frame.get("type") == "chat":
                await broadcast({"type": "chat", "from": clients[socket], "message": frame.get("message", "")})
            else:
                await socket.send(json.dumps({"type": "error", "message": "unknown type", "timestamp": now()}))
    finally:
        del clients[socket]


async def main():
    async with websockets.serve(chat, "127.0.0.1", 0) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.wait_closed()


asyncio.run(main())

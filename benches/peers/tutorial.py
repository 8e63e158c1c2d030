"""The chat server of many a tutorial, in Python with `websockets`: it welcomes, tells who came and went, and sends each
line to one client after the other. Port: the first argument.

It keeps the plain contract of Chinwag's README.md, as far as so few lines do.
"""

import asyncio
import json
import sys
from datetime import datetime, timezone

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

clients = {}


def frame(kind, **fields):
    return json.dumps({"type": kind, **fields, "timestamp": datetime.now(timezone.utc).isoformat()})


async def tell(text, but=None):
    for client in list(clients):
        if client is not but:
            try:
                await client.send(text)
            except ConnectionClosed:
                pass


async def handle(client):
    name = clients[client] = f"guest-{id(client) % 65536:04x}"
    try:
        await client.send(frame("system", message=f"Welcome to the chat room! {len(clients)} online"))
        await tell(frame("user_join", message=f"{name} joined", online_count=len(clients)), but=client)
        async for text in client:
            asked = json.loads(text) if text.startswith("{") else {"type": "chat", "message": text}
            if asked["type"] == "chat":
                await tell(frame("chat", **{"from": name}, message=asked["message"]))
            elif asked["type"] == "ping":
                await client.send(frame("pong"))
    except ConnectionClosed:
        pass
    finally:
        del clients[client]
        await tell(frame("user_leave", message=f"{name} left", online_count=len(clients)))


async def main():
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main())

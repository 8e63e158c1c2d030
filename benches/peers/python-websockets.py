"""A broadcast server with Python's `websockets`: whatever anybody sends goes to everybody. Port: the first argument.

The library's own `broadcast` is used: it frames a message once and waits for nobody.
"""

import asyncio
import sys

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

connections = set()


async def handle(connection):
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    except ConnectionClosed:
        pass
    finally:
        connections.discard(connection)


async def main():
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main())

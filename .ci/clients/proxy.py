"""A TCP proxy between a WebSocket client and a server. It knows where frames begin and end, so that connections can be cut,
frozen or robbed of a frame at exactly the wrong moment. It changes no byte of what it lets through.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field

TEXT, CLOSE = 1, 8


@dataclass
class Frame:
    """A WebSocket frame (RFC 6455 section 5.2), as it came and as it reads."""

    opcode: int
    payload: bytes
    raw: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self):
        """The object in a text frame; one without fields for all other frames."""
        return json.loads(self.payload) if self.opcode == TEXT else {}

    @classmethod
    async def read(cls, reader):
        raw = await reader.readexactly(2)
        length = raw[1] & 0x7F
        if length >= 126:
            extended = await reader.readexactly(2 if length == 126 else 8)
            raw, length = raw + extended, int.from_bytes(extended)
        mask = await reader.readexactly(4) if raw[1] & 0x80 else b""
        body = await reader.readexactly(length)
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(body)) if mask else body
        return cls(raw[0] & 0x0F, payload, raw + mask + body)


class Link:
    """One connection of a client, and the one to the server that was made for it."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.ends = {"client": client, "server": server}
        # What came from each end, whether or not it was passed on.
        self.came = {"client": [], "server": []}
        # The ends from which nothing passes for now, and what is done when it may.
        self.frozen = set()
        self.later = []
        # When the connection was cut, and whether the proxy speaks in the server's place.
        self.cut_at = None
        self.replaced = False

    def objects(self, end):
        """The JSON objects that came from an end, in order."""
        return [frame.json for frame in self.came[end] if frame.opcode == TEXT]

    def close_code(self):
        """The code in the server's Close, if one came."""
        closes = [frame for frame in self.came["server"] if frame.opcode == CLOSE]
        return int.from_bytes(closes[0].payload[:2]) if closes else None

    def cut(self):
        """Ends both connections without a goodbye."""
        self.cut_at = time.monotonic()
        for _, writer in self.ends.values():
            writer.transport.abort()

    def freeze(self, *ends):
        """From here on nothing from these ends passes, and nobody is told: the connection is half-open."""
        self.frozen = set(ends)

    def freeze_and_cut_client(self):
        """The client knows that the connection ended; the server does not."""
        self.freeze("client", "server")
        self.ends["client"][1].transport.abort()

    def thaw(self):
        """What was held back passes now, late."""
        self.frozen = set()
        for deed in self.later:
            deed()
        self.later.clear()

    def close_client(self, code, reason):
        """Says a Close to the client in the server's place."""
        self.replaced = True
        body = code.to_bytes(2) + reason.encode()
        self.ends["client"][1].write(bytes([0x80 | CLOSE, len(body)]) + body)
        self.ends["server"][1].transport.abort()

    async def carry(self):
        await asyncio.gather(self._pump("client", "server"), self._pump("server", "client"))

    async def _pump(self, source, sink):
        reader, writer = self.ends[source][0], self.ends[sink][1]
        try:
            writer.write(await reader.readuntil(b"\r\n\r\n"))
            while True:
                frame = await Frame.read(reader)
                self.came[source].append(frame)
                self._pass_on(source, writer, frame)
        except (asyncio.IncompleteReadError, OSError):
            self._do(source, writer.close)

    def _pass_on(self, source, writer, frame):
        if self.replaced:
            # The client answers our Close; a server would end the connection then.
            if source == "client" and frame.opcode == CLOSE:
                self.ends["client"][1].close()
            return
        deed = self.proxy.take_trap(self, source, frame)
        if deed == "cut":
            self.cut()
        elif deed != "drop":
            raw = frame.raw * 2 if deed == "twice" else frame.raw
            self._do(source, lambda: None if writer.is_closing() else writer.write(raw))

    def _do(self, source, deed):
        if source in self.frozen:
            self.later.append(deed)
        else:
            deed()


class Proxy:
    """Listens on a free port and passes every connection on to a server."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.links = []
        # When each connection came, whether it was refused or not.
        self.attempts = []
        self.refusing = False
        self.traps = []
        # What is withheld from clients until further notice: a test of a JSON object, if there is one.
        self.withheld = None

    async def start(self):
        self.listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.url = "ws://127.0.0.1:%d" % self.listener.sockets[0].getsockname()[1]

    def trap(self, source, deed, match):
        """What is to be done with the next JSON object from `source` that matches, instead of passing it on: "cut" the
        connection, "drop" it, or pass it "twice". The future is done when that has happened."""
        sprung = asyncio.get_running_loop().create_future()
        self.traps.append((source, deed, match, sprung))
        return sprung

    def take_trap(self, link, source, frame):
        if self.withheld and source == "server" and frame.opcode == TEXT and self.withheld(frame.json):
            return "drop"
        for trap in self.traps:
            where, deed, match, sprung = trap
            if where == source and source not in link.frozen and frame.opcode == TEXT and match(frame.json):
                self.traps.remove(trap)
                if not sprung.done():
                    sprung.set_result(link)
                return deed
        return None

    async def _accept(self, reader, writer):
        self.attempts.append(time.monotonic())
        if self.refusing:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection("127.0.0.1", self.target_port, limit=1 << 20)
        except OSError:
            writer.transport.abort()
            return
        link = Link(self, (reader, writer), server)
        self.links.append(link)
        try:
            await link.carry()
        except asyncio.CancelledError:
            # The run ends. (asyncio would log a handler that was cancelled as an error.)
            link.cut()

"""Who takes part: the server, people without troubles, and the clients from the page. And how one waits for them."""

import asyncio
import json
import re
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

# A single wait. Whatever is to come comes in milliseconds, but for the 10 s of a heartbeat.
WAIT_S = 15
# Silence after which the server asks clients to ping; it says so in `welcome`.
HEARTBEAT_S = 0.5
RECONNECT_S = 0.7
FLAGS = ["--rate", "0", "--ping-ms", "600", "--silence-ms", "25000", "--grace-ms", "8000", "--message-bytes", "4096"]
FLAGS += ["--reconnect-in-ms", str(int(RECONNECT_S * 1000)), "--drain", "3000", "--lang", "en", "--log", "warn", "--store", "memory"]


class Broken(Exception):
    """A client, or the server, did not do what it should."""


def expect(what, expected, came):
    if expected != came:
        raise Broken(f"{what}: expected {short(expected)}, came {short(came)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:300]} … {text[-300:]} ({len(text)} characters)"


async def within(what, awaitable, seconds=WAIT_S):
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        raise Broken(f"expected {what} within {seconds} s") from None


async def until(what, test, came=lambda: None, seconds=WAIT_S):
    """Waits for something that can only be looked at. It is looked at often."""
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise Broken(f"expected {what} within {seconds} s, came {short(came())}")
        await asyncio.sleep(0.005)


class Server:
    """The real one, on a free port."""

    def __init__(self, command):
        self.command = command
        self.process = None

    async def start(self, *flags):
        command = [self.command[0], "--listen", "127.0.0.1:0", *FLAGS, *flags, *self.command[1:]]
        try:
            self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        except OSError as error:
            raise Broken(f"{command[0]} does not start: {error}") from None
        line = (await within("the server's start line", self.process.stdout.readline())).decode()
        found = re.fullmatch(r"chinwag \S+ listening on ws://127\.0\.0\.1:(\d+) \(history in memory\)\n", line)
        if not found:
            raise Broken(f"expected the server's start line, came {line!r}")
        self.port = int(found[1])
        self.url = f"ws://127.0.0.1:{self.port}"
        return self

    async def stop(self):
        self.process.terminate()
        expect("the server's exit code after SIGTERM", 0, await within("the server's end", self.process.wait()))

    def kill(self):
        if self.process and self.process.returncode is None:
            self.process.kill()


class Person:
    """Somebody without troubles: connected directly, by a library that nobody here wrote. Knows what is true."""

    def __init__(self, socket):
        self.socket = socket
        self.frames = []

    @classmethod
    async def come(cls, url, **hello):
        person = cls(await connect(url, subprotocols=["chinwag.v1"], ping_interval=None, proxy=None))
        expect("the subprotocol", "chinwag.v1", person.socket.subprotocol)
        await person.send(type="hello", **hello)
        person.hearing = asyncio.create_task(person._hear())
        joins = len(hello.get("rooms", [])) + 1
        await until("all rooms joined", lambda: len(person.of("joined")) == joins, lambda: person.frames)
        return person

    async def _hear(self):
        try:
            async for text in self.socket:
                self.frames.append(json.loads(text))
        except ConnectionClosed:
            pass

    def of(self, *types):
        return [frame for frame in self.frames if frame["type"] in types]

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame))

    async def say(self, room, *texts):
        """Says lines, and waits until they are stored."""
        for text in texts:
            await self.send(type="chat", room=room, message=text, id=text)
        await self._acknowledged(texts)

    async def whisper(self, to, *texts):
        for text in texts:
            await self.send(type="private", to=to, message=text, id=text)
        await self._acknowledged(texts)

    async def _acknowledged(self, texts):
        def missing():
            return set(texts) - {frame.get("id") for frame in self.of("ack")}

        await until("acknowledgements", lambda: not missing(), missing)

    async def history(self, room):
        """All that is kept of a room."""
        lines, more = [], True
        while more:
            before = len(self.of("history"))
            await self.send(type="history", room=room, after=lines[-1]["seq"] if lines else 0, limit=200)
            await until("history", lambda: len(self.of("history")) > before, lambda: self.frames[-3:])
            page = self.of("history")[-1]
            lines, more = lines + page["messages"], page["more"]
        seqs = [line["seq"] for line in lines]
        expect(f"the numbers of what is stored in {room}", list(range(page["oldest"], page["newest"] + 1)), seqs)
        return [shown(line) for line in lines]

    async def go(self):
        await self.socket.close()
        await self.hearing


def shown(line):
    """A line as both clients show it."""
    to = f" to {line['to']}" if line["type"] == "private" else ""
    return f"[{line['room']}] {line['from']}{to}: {line['message']}"


class Client:
    """An example client from the page, running."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    def shown(self, room):
        return [line for line in self.lines if line.startswith(f"[{room}] ")]

    def type(self, *texts):
        self.process.stdin.write("".join(f"{text}\n" for text in texts).encode())

    async def shows(self, part, seconds=WAIT_S):
        """Waits for a line that ends so."""
        await until(f"{part!r} shown", lambda: self.has(part), lambda: self.lines[-8:], seconds)

    def has(self, part):
        return any(line.endswith(part) for line in self.lines)

    async def ends(self, code):
        """The client must end by itself, and say why in its last line."""
        await until("the client's end", lambda: self.process.returncode is not None, lambda: self.lines[-8:])
        await self.reading
        last = self.lines[-1] if self.lines else ""
        if not re.match(rf"\* over: {code}\b.*", last):
            raise Broken(f"expected a last line that begins with '* over: {code}', came {self.lines[-8:]}")
        if self.process.returncode == 0:
            raise Broken("a client that had to end ended with 0")

    def kill(self):
        if self.process.returncode is None:
            self.process.kill()

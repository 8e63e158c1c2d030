"""Does a server keep the plain contract towards Python's `websockets`, a library that nobody here wrote?

    python plain.py URL                all the checks below
    python plain.py URL quiet          stays by answering Pings alone; wants a server that pings every second or so
    python plain.py URL meet ROOM      talks in ROOM with the same check in another language, started beside it
    python plain.py URL farewell PID   sends SIGTERM to the server, which is the process PID, and hears it say goodbye

URL is the server's, without a path: ws://localhost:8765. Each check has a room of its own, so a server may be checked
twice. The contract is docs/PROTOCOL.md. Ends with 0 if it is kept; else says what was expected and what came.
"""

import asyncio
import http.client
import json
import logging
import os
import re
import secrets
import signal
import sys
import time
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

# No single wait is longer than this; whatever is to come comes in milliseconds.
WAIT_S = 10
# Names and rooms of this run, so that those of an earlier or a neighbouring run are others.
RUN = secrets.token_hex(3)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# The limit of a message in all, not of the text in it.
MESSAGE_BYTES_MAX = 65_536
# Every client of the check that is running, so that one which fails leaves nobody behind.
OPENED = []


class Broken(Exception):
    """The contract was not kept."""


def same(what, expected, came):
    if expected != came:
        raise Broken(f"{what}: expected {expected!r}, came {came!r}")


def matches(what, pattern, came):
    if not isinstance(came, str) or not re.fullmatch(pattern, came):
        raise Broken(f"{what}: expected text like {pattern}, came {came!r}")


def short(came):
    text = repr(came)
    return text if len(text) <= 400 else f"{text[:200]} … {text[-100:]} ({len(text)} characters)"


class Client:
    """A connection in a room, through the library as anybody would use it."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def connect(cls, url, **options):
        """Connects as the library does by default."""
        client = cls(await within(f"a connection to {url}", connect(url, **options)))
        OPENED.append(client)
        return client

    @classmethod
    async def join(cls, url, path, online=None, **options):
        """Connects and hears the welcome, which says how many are online if `online` is given."""
        client = await cls.connect(url + path, **options)
        welcome = await client.expect("system")
        same("the welcome's fields", ["type", "message", "timestamp"], list(welcome))
        count = r"\d+" if online is None else str(online)
        matches("the welcome", rf"Welcome to the chat room! {count} online", welcome["message"])
        return client

    async def frame(self, awaited):
        """The next message, whatever it is."""
        try:
            text = await within(awaited, self.socket.recv())
        except ConnectionClosed as closed:
            raise Broken(f"expected {awaited}, came the connection's end: {closed}") from None
        return text if isinstance(text, bytes) else json.loads(text)

    async def expect(self, kind, **fields):
        """The next message, which is of type `kind` and has these fields."""
        frame = await self.frame(f"{kind} with {short(fields)}")
        if frame.get("type") != kind or any(frame.get(name) != value for name, value in fields.items()):
            raise Broken(f"expected {kind} with {short(fields)}, came {short(frame)}")
        matches(f"the timestamp of {kind}", TIME, frame.get("timestamp"))
        return frame

    async def say(self, text):
        """Sends a text as it is."""
        await within("room to send", self.socket.send(text))

    async def ask(self, **command):
        """Sends a command."""
        await self.say(json.dumps(command))

    async def close(self, code=1000, reason=""):
        """The closing handshake, begun here. Returns the code that came back."""
        await within("the closing handshake", self.socket.close(code, reason))
        return self.socket.close_code

    async def closed(self):
        """The closing handshake, begun there. Returns the code."""
        await within("the server to close", self.socket.wait_closed())
        return self.socket.close_code


async def within(awaited, doing):
    try:
        return await asyncio.wait_for(doing, WAIT_S)
    except asyncio.TimeoutError:
        raise Broken(f"expected {awaited}, came nothing within {WAIT_S} s") from None


async def two(url, room):
    """Ann and Bob in a room."""
    ann = await Client.join(url, f"/rooms/{room}?name=Ann-{room}", 1)
    bob = await Client.join(url, f"/rooms/{room}?name=Bob-{room}", 2)
    await ann.expect("user_join", name=f"Bob-{room}")
    return ann, bob


async def close_all(*clients):
    for client in clients:
        same("the close code that comes back", 1000, await client.close())


async def check_coming_and_going(url, room):
    first = await Client.join(url, f"/rooms/{room}", 1)
    second = await Client.join(url, f"/rooms/{room}", 2)
    join = await first.expect("user_join", online_count=2)
    matches("a guest's coming", r"guest-[0-9A-Za-z]{4,} joined", join["message"])
    guest = join["message"].removesuffix(" joined")
    third = await Client.join(url, f"/rooms/{room}", 3)
    await first.expect("user_join", online_count=3)
    await second.expect("user_join", online_count=3)
    await second.close()
    await first.expect("user_leave", message=f"{guest} left", online_count=2)
    # Without a word of farewell: the connection is just cut.
    third.socket.transport.abort()
    await first.expect("user_leave", online_count=1)
    await close_all(first)


async def check_chat_reaches_everyone(url, room):
    ann, bob = await two(url, room)
    texts = ["Hello, Bob!", "", "  ", "Grüße, 你好, 👋🏽, \u202e\u0000", 'a "quoted" \\ line\nand one more']
    for seq, text in enumerate(texts, 1):
        await ann.ask(type="chat", message=text)
        mine = await ann.expect("chat", **{"from": f"Ann-{room}"}, message=text, room=room, seq=seq)
        same("what the two of them get", mine, await bob.expect("chat"))
    await bob.ask(type="chat")
    await ann.expect("chat", **{"from": f"Bob-{room}"}, message="")
    await close_all(ann, bob)


async def check_text_that_is_no_object_is_said_as_it_is(url, room):
    ann, bob = await two(url, room)
    for text in ["hi", "42", '"x"', "[1]", "{bro", "null", "", "wie geht’s?", "two\nlines"]:
        await ann.say(text)
        await ann.expect("chat", message=text)
        await bob.expect("chat", **{"from": f"Ann-{room}"}, message=text)
    await close_all(ann, bob)


async def check_faults_go_to_their_sender_alone(url, room):
    ann, bob = await two(url, room)
    for text, code in [
        ("{}", "unknown_type"),
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":7}', "unknown_type"),
        ('{"type":"chat","message":7}', "bad_request"),
        ('{"type":"chat","message":"\\ud800"}', "bad_request"),
        ('{"type":"hello"}', "bad_request"),
        ('{"type":"chat","room":"elsewhere","message":"hi"}', "not_joined"),
    ]:
        await ann.say(text)
        error = await ann.expect("error", code=code, retry=False)
        same(f"the type of the error's message for {text}", str, type(error.get("message")))
    await ann.say("done")
    await bob.expect("chat", message="done")
    await close_all(ann, bob)


async def check_ping_is_answered_to_its_sender(url, room):
    ann, bob = await two(url, room)
    await ann.ask(type="ping")
    same("the fields of a pong", ["type", "timestamp"], list(await ann.expect("pong")))
    await ann.ask(type="ping", t=1234.5)
    await ann.expect("pong", t=1234.5)
    await ann.ask(type="ping", t="abc", ref="r-1")
    await ann.expect("pong", t="abc", ref="r-1")
    await ann.say("done")
    await bob.expect("chat", message="done")
    await close_all(ann, bob)


async def check_private_reaches_one(url, room):
    ann, bob = await two(url, room)
    eve = await Client.join(url, f"/rooms/{room}?name=Eve-{room}", 3)
    for client in (ann, bob):
        await client.expect("user_join", name=f"Eve-{room}")
    await ann.ask(type="private", to=f"Bob-{room}", message="psst")
    await ann.expect("private", room="@me", to=f"Bob-{room}", message="psst", **{"from": f"Ann-{room}"})
    await bob.expect("system", message=f"Ann-{room} (private): psst")
    await ann.ask(type="private", to=f"nobody-{room}", message="psst", ref="r-2")
    await ann.expect("error", code="no_such_user", ref="r-2")
    # The next that Eve hears is what all hear: nothing came before it.
    await ann.say("aloud")
    line = await eve.expect("chat", message="aloud")
    await eve.ask(type="private", to=line["user"], message="by your number")
    await ann.expect("chat", message="aloud")
    await ann.expect("system", message=f"Eve-{room} (private): by your number")
    await close_all(eve, ann, bob)


async def check_names(url, room):
    ann = await Client.join(url, f"/rooms/{room}?name=Ann-{room}", 1)
    other = await Client.join(url, f"/rooms/{room}?name=" + quote(f"Zoë {room} 王"), 2)
    await ann.expect("user_join", message=f"Zoë {room} 王 joined", name=f"Zoë {room} 王")
    for name, code in [(f"ANN-{room}", "name_taken"), ("x" * 33, "name_invalid"), ("a\nb", "name_invalid")]:
        guest = await Client.join(url, f"/rooms/{room}?name={quote(name)}", 3)
        await guest.expect("error", code=code)
        join = await ann.expect("user_join", online_count=3)
        matches("the name instead of one that cannot be had", r"guest-[0-9A-Za-z]{4,}", join["name"])
        await guest.close()
        await ann.expect("user_leave", online_count=2)
    await other.ask(type="name", name=f"Zed-{room}", ref="r-3")
    for _ in range(3):
        await other.expect("user_join")
        await other.expect("user_leave")
    await other.expect("user_rename", **{"from": f"Zoë {room} 王"}, to=f"Zed-{room}", ref="r-3")
    await ann.expect("system", message=f"Zoë {room} 王 is now known as Zed-{room}")
    await other.ask(type="name", name=f"Ann-{room}")
    await other.expect("error", code="name_taken")
    await close_all(other, ann)


async def check_rooms_by_path(url, room):
    here = await Client.join(url, f"/rooms/{room}", 1)
    there = await Client.join(url, f"/rooms/{room}.2", 1)
    lobby = await Client.join(url, "/any/path")
    also_lobby = await Client.join(url, "")
    join = await lobby.expect("user_join", room="lobby")
    for client, name in ((here, room), (there, f"{room}.2"), (lobby, "lobby")):
        await client.say(f"in {name}")
        await client.expect("chat", room=name, message=f"in {name}")
    await also_lobby.expect("chat", room="lobby", message="in lobby")
    for bad in ("x" * 65, "a%20b", "%40me"):
        try:
            await within("an answer", connect(f"{url}/rooms/{bad}"))
        except InvalidStatus as refused:
            same(f"the status for a room called {bad}", 400, refused.response.status_code)
        else:
            raise Broken(f"expected no room called {bad}, came a connection")
    await also_lobby.close()
    await lobby.expect("user_leave", name=join["name"])
    await close_all(here, there, lobby)


async def check_a_second_room(url, room):
    ann, bob = await two(url, room)
    await ann.ask(type="join", room=f"{room}.2", ref="r-4")
    joined = await ann.expect("joined", room=f"{room}.2", online_count=1, recovered=False, seq=0, ref="r-4")
    matches("the room's epoch", r"[A-Za-z0-9_-]{8,}", joined.get("epoch"))
    await ann.ask(type="chat", room=f"{room}.2", message="alone")
    await ann.expect("chat", room=f"{room}.2", message="alone")
    await ann.ask(type="leave", room=f"{room}.2", ref="r-5")
    await ann.expect("left", room=f"{room}.2", ref="r-5")
    await ann.ask(type="join", room="a b")
    await ann.expect("error", code="room_invalid")
    await ann.ask(type="typing")
    await bob.expect("system", message=f"Ann-{room} is typing…")
    await close_all(ann, bob)


async def check_a_retry_is_said_once(url, room):
    ann, bob = await two(url, room)
    await ann.ask(type="chat", message="once", id="m-1")
    line = await ann.expect("chat", message="once", id="m-1")
    await ann.expect("ack", id="m-1", room=room, seq=line["seq"])
    await ann.ask(type="chat", message="once", id="m-1")
    await ann.expect("ack", id="m-1", room=room, seq=line["seq"], duplicate=True)
    await ann.say("done")
    await bob.expect("chat", message="once")
    await bob.expect("chat", message="done")
    await close_all(ann, bob)


async def check_who_and_history(url, room):
    ann, bob = await two(url, room)
    await ann.ask(type="who", ref="r-6")
    presence = await ann.expect("presence", room=room, online_count=2, ref="r-6")
    same("who is there", {f"Ann-{room}", f"Bob-{room}"}, {user["name"] for user in presence["users"]})
    lines = []
    for text in ["one", "two", "three"]:
        await bob.say(text)
        lines.append(await ann.expect("chat", message=text))
    await ann.ask(type="history", limit=2)
    await ann.expect("history", room=room, messages=lines[1:], oldest=1, newest=3, more=True)
    await ann.ask(type="history", before=3)
    await ann.expect("history", messages=lines[:2], more=False)
    await ann.ask(type="history", limit=0)
    await ann.expect("error", code="bad_request")
    for text in ["one", "two", "three"]:
        await bob.expect("chat", message=text)
    await close_all(ann, bob)


async def check_fragments_are_one_message(url, room):
    ann, bob = await two(url, room)
    await ann.say(['{"type":"chat",', '"mess', "", 'age":"put together"}'])
    await bob.expect("chat", message="put together")
    # Fragments end anywhere, in the middle of a character too (RFC 6455 section 5.6).
    whole = "半分 ½".encode()
    await within("room to send", ann.socket.send([bytes([byte]) for byte in whole], text=True))
    await bob.expect("chat", message=whole.decode())

    async def with_a_ping_between():
        yield "before the ping, "
        await within("a Pong in the middle of a message", await ann.socket.ping())
        yield "after it"

    await within("room to send", ann.socket.send(with_a_ping_between()))
    await bob.expect("chat", message="before the ping, after it")
    for text in ["put together", whole.decode(), "before the ping, after it"]:
        await ann.expect("chat", message=text)
    await close_all(ann, bob)


async def check_64_kib_pass_and_no_more(url, room):
    ann, bob = await two(url, room)
    frame = '{"type":"chat","message":""}'
    for text in ["x" * MESSAGE_BYTES_MAX, "語" * (MESSAGE_BYTES_MAX // 3) + "."]:
        same("the size of what is sent", MESSAGE_BYTES_MAX, len(text.encode()))
        await ann.say(text)
        await ann.expect("chat", message=text)
        await bob.expect("chat", message=text)
    text = "y" * (MESSAGE_BYTES_MAX - len(frame))
    await ann.say(frame[:-2] + text + frame[-2:])
    await bob.expect("chat", message=text)
    text = "z" * 21_846
    await ann.say([text, text, text[:-2]])
    await bob.expect("chat", message=text + text + text[:-2])
    await ann.say("w" * (MESSAGE_BYTES_MAX + 1))
    same("the close code after a byte too many", 1009, await ann.closed())
    await bob.expect("user_leave", message=f"Ann-{room} left")
    await bob.say([text, text, text[:-1]])
    same("the close code after a byte too many in fragments", 1009, await bob.closed())


async def check_close_codes_come_back(url, room):
    stays = await Client.join(url, f"/rooms/{room}", 1)
    for code in (1000, 1001, 3000, 4999):
        goes = await Client.join(url, f"/rooms/{room}", 2)
        await stays.expect("user_join", online_count=2)
        same("the close code that comes back", code, await goes.close(code, "that was all"))
        await stays.expect("user_leave", online_count=1)
    await close_all(stays)


async def check_pings_of_the_library(url, room):
    client = await Client.join(url, f"/rooms/{room}", 1)
    for data in (b"", b"text", bytes(range(125))):
        await within("a Pong with the same data", await client.socket.ping(data))
    await client.socket.pong(b"nobody asked")
    await client.say("done")
    await client.expect("chat", message="done")
    await close_all(client)


async def check_what_is_offered_but_not_known_is_not_echoed(url, room):
    client = await Client.join(url, f"/rooms/{room}", 1, compression="deflate", subprotocols=["superchat"])
    sent, answer = client.socket.request.headers, client.socket.response.headers
    matches("what the library offered", r"permessage-deflate.*", sent.get("Sec-WebSocket-Extensions"))
    same("the extensions in the answer", None, answer.get("Sec-WebSocket-Extensions"))
    same("the subprotocol in the answer", None, answer.get("Sec-WebSocket-Protocol"))
    text = "compressible " * 100
    await client.say(text)
    await client.expect("chat", message=text)
    await close_all(client)


async def check_binary_goes_to_those_who_send_it(url, room):
    ann, bob = await two(url, room)
    eve = await Client.join(url, f"/rooms/{room}", 3)
    await ann.expect("user_join")
    await bob.expect("user_join")
    await bob.say(b"\x00\xff for nobody yet")
    await bob.say("bob is ready")
    await ann.expect("chat", message="bob is ready")
    await ann.say(b"\x00\xff\xfe")
    await ann.say("done")
    await bob.expect("chat", message="bob is ready")
    same("what Bob gets", b"\x00\xff\xfe", await bob.frame("a binary message"))
    for client in (bob, ann):
        await client.expect("chat", message="done")
    await eve.expect("chat", message="bob is ready")
    await eve.expect("chat", message="done")
    await close_all(ann, bob, eve)


async def check_plain_http_is_told_what_to_do(url, room):
    address = urlsplit(url)
    for method, path, status, header, value in [
        ("GET", "/", 426, "Upgrade", "websocket"),
        ("GET", f"/rooms/{room}", 426, "Upgrade", "websocket"),
        ("GET", "/nowhere", 404, "Connection", "close"),
        ("POST", "/", 405, "Allow", "GET, HEAD"),
    ]:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=WAIT_S)
        await asyncio.to_thread(connection.request, method, path)
        answer = await asyncio.to_thread(connection.getresponse)
        same(f"the status of {method} {path}", status, answer.status)
        same(f"the header {header} of {method} {path}", value, answer.getheader(header))
        connection.close()


async def quiet(url):
    """Says nothing, ever: it is the library that answers Pings, and that is enough to stay."""
    pings = asyncio.Queue()

    class Pings(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("< PING"):
                pings.put_nowait(record)

    logger = logging.getLogger("quiet")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(Pings())
    client = await Client.join(url, f"/rooms/quiet-{RUN}", 1, logger=logger, ping_interval=None)
    for count in range(1, 6):
        await within(f"Ping number {count} of the server's", pings.get())
    other = await Client.join(url, f"/rooms/quiet-{RUN}", 2)
    await client.expect("user_join", online_count=2)
    await other.say("still there?")
    await client.expect("chat", message="still there?")
    await close_all(client, other)


async def meet(url, room):
    """Two of this, in two languages, say hello and what they heard."""
    me = f"Python-{RUN}"
    client = await Client.connect(f"{url}/rooms/{room}?name={me}")
    welcome = await client.expect("system")
    if welcome["message"].endswith(" 1 online"):
        await client.expect("user_join", online_count=2)
    await client.ask(type="chat", message="Hello from Python")
    hello = await their_line(client, me)
    await client.say(f"I heard: {hello}")
    same("what they heard", "I heard: Hello from Python", await their_line(client, me))
    await close_all(client)
    print(f"     they said: {hello}")


async def their_line(client, me):
    while True:
        line = await client.expect("chat")
        if line["from"] != me:
            return line["message"]


async def farewell(url, pid):
    client = await Client.join(url, f"/rooms/farewell-{RUN}", 1)
    other = await Client.join(url, f"/rooms/farewell-{RUN}", 2)
    await client.expect("user_join")
    os.kill(int(pid), signal.SIGTERM)
    for each in (client, other):
        notice = await each.expect("system", code="shutdown")
        same("the type of reconnect_in_ms", int, type(notice.get("reconnect_in_ms")))
        same("the type of reconnect_spread_ms", int, type(notice.get("reconnect_spread_ms")))
        same("the close code of a server that goes away", 1001, await each.closed())


async def run(name, doing):
    """Runs one check and says how it went."""
    start = time.monotonic()
    try:
        await doing
        kept, why = True, ""
    except Exception as broken:
        kept, why = False, f": {broken}" if isinstance(broken, Broken) else f": {type(broken).__name__}: {broken}"
    for client in OPENED:
        client.socket.transport.abort()
    OPENED.clear()
    print(f"{'ok  ' if kept else 'FAIL'} python {name} ({(time.monotonic() - start) * 1000:.0f} ms){why}", flush=True)
    return kept


async def main(url, mode="all", *arguments):
    if mode == "all":
        checks = [(name[6:], check) for name, check in globals().items() if name.startswith("check_")]
        results = [await run(name, check(url, f"py-{RUN}-{place}")) for place, (name, check) in enumerate(checks)]
    else:
        doing = {"quiet": quiet, "meet": meet, "farewell": farewell}[mode]
        results = [await run(mode, doing(url, *arguments))]
    print(f"python: {results.count(True)} passed, {results.count(False)} failed", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1].rstrip("/"), *sys.argv[2:])))

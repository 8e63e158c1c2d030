"""What is played: a client, a proxy that breaks its connection in some way, and somebody who talks meanwhile. `SCRIPTS`
lists the scenes; each client plays each of them. `claims` checks what the page says of the server and no client meets.
"""

import asyncio
import os
import random

from people import HEARTBEAT_S, Broken, Client, Person, expect, until, within
from proxy import CLOSE, TEXT, Proxy

# How long a client must wait for the answer to its ping.
PONG_S = 10
# How long a connection must last to be of use though nothing is said.
USEFUL_S = 10
# Lines that a client begins with in a room that it did not know.
FIRST_LINES = 50
# Lines that it asks for at a time.
HISTORY_LINES = 200
# Lines that the forgetful server keeps: fewer than a client begins with.
LINES_KEPT = 40
# How often a conversation is broken at random.
BREAKS = 40


class Scene:
    """One client, its proxy and its room, and somebody to talk to."""

    def __init__(self, stage, language, title):
        self.stage, self.language, self.title = stage, language, title
        self.room = f"{title}-{language}"
        self.name = f"{language}-{title}"
        self.step = "start"
        self.done = False
        self.clients = []

    async def open(self, server):
        self.server = server
        self.proxy = Proxy(server.port)
        await self.proxy.start()
        self.person = await Person.come(server.url, name=f"p-{self.name}", rooms=[{"room": self.room}])

    async def client(self, dice=0.1):
        """Starts the client; it is there when its room has seen it."""
        if self.clients:
            # The user of the one before is still present, and keeps the name.
            self.name = f"{self.language}-{self.title}-{len(self.clients)}"
        command = self.stage.commands[self.language]
        environment = os.environ | self.stage.environment | {"DICE": str(dice)}
        process = await asyncio.create_subprocess_exec(
            *command, self.proxy.url, self.name, self.room, env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        self.clients.append(Client(process))
        links = len(self.proxy.links)
        await self.linked(links + 1)
        return self.clients[-1]

    async def linked(self, count):
        """Waits for a connection, the `count`th, on which all rooms are joined."""

        def joined():
            links = self.proxy.links
            return len(links) >= count and sum(frame["type"] == "joined" for frame in links[-1].objects("server")) >= 2

        await until(f"connection {count}, with its rooms", joined, lambda: self.clients and self.clients[-1].lines[-8:])
        return self.proxy.links[-1]

    @property
    def link(self):
        return self.proxy.links[-1]

    async def refused(self):
        """Waits until the client knows that its connection ended: it has tried another one."""
        attempts = len(self.proxy.attempts)
        await until("an attempt to connect", lambda: len(self.proxy.attempts) > attempts)

    async def say(self, *texts):
        await self.person.say(self.room, *texts)

    def sent(self, text):
        """The ids with which the client sent a line, on all its connections."""
        frames = [frame for link in self.proxy.links for frame in link.objects("client")]
        return [frame["id"] for frame in frames if frame.get("message") == text]

    def acknowledged(self, text):
        """Whether the client was sent an acknowledgement of that line."""
        ids = {frame["id"] for frame in self.link.objects("server") if frame["type"] == "ack"}
        return bool(ids & set(self.sent(text)))

    def seq(self, text):
        """The number of a line in the room."""
        return next(frame["seq"] for frame in self.person.of("chat") if frame["message"] == text)

    def told(self, text):
        return lambda frame: frame["type"] in ("chat", "private") and frame["message"] == text

    async def judge(self, client, begin=0):
        """Takes the client over, with its own session, and compares what it showed with what is stored. The takeover must
        end it."""
        welcome = next(frame for frame in self.link.objects("server") if frame["type"] == "welcome")
        successor = await Person.come(self.server.url, session=welcome["session"], rooms=[{"room": self.room}])
        await client.ends(4500)
        expect("the user after the takeover", welcome["user"], successor.of("welcome")[0]["user"])
        for room, first in ((self.room, begin), ("@me", 0)):
            stored = await successor.history(room)
            expect(f"what the client showed of {room}", stored[first:], client.shown(room))
        moves = [frame["type"] for frame in self.person.of("user_join", "user_leave") if frame["user"] == welcome["user"]]
        expect("how the others saw the client come and go", ["user_join"], moves)
        await successor.go()

    def close(self):
        for client in self.clients:
            client.kill()


async def conversation(scene):
    """All that can happen to a line, one after the other, and then at random."""
    room, proxy = scene.room, scene.proxy
    await scene.say(*(f"before {number}" for number in range(70)))
    client = await scene.client()

    scene.step = "begin with the last lines"
    await client.shows("before 69")
    expect("the lines at first", FIRST_LINES, len(client.shown(room)))
    hello = scene.link.objects("client")[0]
    expect("the first hello's rooms", [{"room": "@me"}, {"room": room}], hello["rooms"])
    user = next(frame["user"] for frame in scene.link.objects("server") if frame["type"] == "welcome")

    scene.step = "talk"
    for number in range(3):
        client.type(f"own {number}", f"/to p-{scene.name} private {number}")
        await client.shows(f": private {number}")
        await scene.say(f"other {number}")
        await scene.person.whisper(user, f"private answer {number}")
        await client.shows(f"private answer {number}")
    await scene.person.socket.send(b"\x00 a binary message is nothing to show")
    client.type("/to nobody-at-all lost words")
    await client.shows("lost words")

    scene.step = "resume from a position"
    last = [frame for frame in scene.link.objects("server") if frame["type"] == "chat"][-1]
    epoch = next(frame["epoch"] for frame in scene.link.objects("server") if frame.get("room") == room and "epoch" in frame)
    session = next(frame["session"] for frame in scene.link.objects("server") if frame["type"] == "welcome")
    proxy.refusing = True
    scene.link.cut()
    await scene.say(*(f"missed {number}" for number in range(150)))
    await scene.person.whisper(user, "missed in private 0", "missed in private 1")
    proxy.refusing = False
    link = await scene.linked(2)
    hello = link.objects("client")[0]
    expect("the session", session, hello.get("session"))
    position = {"room": room, "epoch": epoch, "seq": last["seq"], "time": last["timestamp"]}
    expect("the position", position, hello["rooms"][1])
    await client.shows("missed 149")
    joined = [frame for frame in link.objects("server") if frame["type"] == "joined"]
    expect("recovered", [True, True], [frame["recovered"] for frame in joined])
    expect("histories asked for after a recovery", 0, sum(f["type"] == "history" for f in link.objects("client")))
    expect("a refused line that was sent again", 1, len(scene.sent("lost words")))

    for kind, prefix in (("chat", ""), ("private", f"/to p-{scene.name} ")):
        scene.step = f"a {kind} line that was stored, but not seen"
        text = f"stored unseen {kind}"
        sprung = proxy.trap("server", "cut", scene.told(text))
        client.type(prefix + text)
        await within("the line to be told", sprung)
        await client.shows(text)
        await scene.say(f"after {text}")
        await client.shows(f"after {text}")
        expect("how often it was sent: the replay has shown it", 1, len(scene.sent(text)))

        scene.step = f"a {kind} line that never arrived"
        text = f"never arrived {kind}"
        sprung = proxy.trap("client", "cut", scene.told(text))
        client.type(prefix + text)
        await within("the line to be sent", sprung)
        await client.shows(text)
        ids = scene.sent(text)
        expect("how often it was sent, and under how many ids", (2, 1), (len(ids), len(set(ids))))

        scene.step = f"a {kind} line whose acknowledgement was lost"
        text = f"unacknowledged {kind}"
        client.type(prefix + text)
        await client.shows(text)
        scene.link.cut()
        await scene.linked(len(proxy.links) + 1)
        await scene.say(f"after {text}")
        await client.shows(f"after {text}")
        expect("how often it was sent", 1, len(scene.sent(text)))

    scene.step = "an acknowledgement without its line"
    sprung = proxy.trap("server", "drop", scene.told("acknowledged unseen"))
    client.type("acknowledged unseen")
    await within("the line to be dropped", sprung)
    await scene.say("after the acknowledged")
    await client.shows("after the acknowledged")

    def histories():
        return [frame["after"] for frame in scene.link.objects("client") if frame["type"] == "history"]

    scene.step = "a jump"
    asked = len(histories())
    sprung = proxy.trap("server", "drop", scene.told("dropped 1"))
    await scene.say("dropped 0", "dropped 1")
    await within("the line to be dropped", sprung)
    await scene.say("dropped 2", "dropped 3", "dropped 4")
    await client.shows("dropped 4")
    at = scene.seq("dropped 0")
    expect("after what history was asked for", [at], histories()[asked:])

    scene.step = "a jump over more than one history"
    asked = len(histories())
    proxy.withheld = lambda frame: frame["type"] == "chat"
    await scene.say(*(f"withheld {number}" for number in range(HISTORY_LINES + 30)))
    client.type("mine, withheld")
    await until("its acknowledgement", lambda: scene.acknowledged("mine, withheld"))
    proxy.withheld = None
    await scene.say("told again")
    await client.shows("told again")
    at = scene.seq("withheld 0") - 1
    expect("after what history was asked for", [at, at + HISTORY_LINES], histories()[asked:])

    scene.step = "a repetition"
    sprung = proxy.trap("server", "twice", scene.told("repeated"))
    await scene.say("repeated", "after the repeated")
    await within("the line to be repeated", sprung)
    await client.shows("after the repeated")
    expect("how often it was shown", 1, sum(line.endswith(": repeated") for line in client.lines))

    scene.step = "a cut in the midst of a replay"
    proxy.refusing = True
    scene.link.cut()
    await scene.say(*(f"replayed {number}" for number in range(40)))
    sprung = proxy.trap("server", "cut", scene.told("replayed 17"))
    proxy.refusing = False
    await within("the cut", sprung)
    await client.shows("replayed 39")

    scene.step = "lines typed without a connection"
    proxy.refusing = True
    scene.link.cut()
    client.type(*(f"offline {number}" for number in range(105)))
    if scene.language == "js":
        await client.shows("offline 104")
        refused = [line for line in client.lines if line.startswith("* not sent")]
        expected = [f"offline {number}" for number in range(100, 105)]
        expect("lines that were refused", expected, [line[-11:] for line in refused])
    proxy.refusing = False
    await client.shows("offline 99" if scene.language == "js" else "] %s: offline 104" % scene.name)
    said = [line.rsplit(": ", 1)[1] for line in client.shown(room) if ": offline" in line]
    expect("the lines' order", [f"offline {number}" for number in range(len(said))], said)

    scene.step = "an older connection that the server takes for alive"
    client.type("before the takeover")
    await client.shows("before the takeover")
    half_open = scene.link
    half_open.freeze_and_cut_client()
    await scene.say("during the takeover")
    await client.shows("during the takeover")
    await until("the older connection replaced", lambda: half_open.close_code() == 4500, half_open.close_code)

    scene.step = "breaks at random"
    dice = random.Random(f"{scene.language} 3")
    for number in range(BREAKS):
        deed = dice.choice(["cut", "cut", "drop", "half-open"])
        if deed == "half-open":
            scene.link.freeze_and_cut_client()
        else:
            # A frame that is sure to come: after the next few that come in any case.
            source = dice.choice(["client", "server"]) if deed == "cut" else "server"
            passing = dice.randrange(2 if source == "client" else 6)
            countdown = iter([False] * passing)
            kinds = ["chat", "private"]
            if deed == "cut":
                kinds += ["hello", "welcome", "joined", "history", "ack"]
            sprung = proxy.trap(source, deed, lambda frame, c=countdown, k=kinds: frame["type"] in k and next(c, True))
        client.type(f"storm {number} own", f"/to p-{scene.name} storm {number} private")
        await scene.say(f"storm {number} other", f"storm {number} more")
        await scene.person.whisper(user, f"storm {number} answer", f"storm {number} more")
        if deed != "half-open":
            await within(f"break {number} ({deed} of what comes from the {source})", sprung)
    client.type("the end")
    await client.shows(": the end")
    await scene.person.whisper(user, "the private end")
    await client.shows("the private end")

    scene.step = "judgement"
    await scene.judge(client, begin=70 - FIRST_LINES)


async def stall(scene):
    """A half-open connection: nothing passes any more, and nothing says that it has ended."""
    await die_silently(scene, "client", "server")


async def deaf(scene):
    """The same, but what the client says still arrives."""
    await die_silently(scene, "server")


async def die_silently(scene, *ends):
    proxy = scene.proxy
    client = await scene.client()

    scene.step = "a heartbeat"
    link = scene.link

    def pings(kind="ping", end="client"):
        return [frame for frame in link.came[end] if frame.opcode == TEXT and frame.json["type"] == kind]

    async def freeze():
        """Freezes the connection between two pings, and waits for the next one."""
        count = len(pings())
        await until("a ping and its answer", lambda: len(pings("pong", "server")) == len(pings()) > count)
        count = len(pings())
        link.freeze(*ends)
        await until("a ping into the void", lambda: len(pings()) > count)
        return pings()[count].at

    await until("a ping", pings)
    first = pings()[0].at
    heard = max(frame.at for frame in link.came["server"] if frame.opcode == TEXT and frame.at < first)
    expect("a ping that comes only after silence", True, first - heard >= HEARTBEAT_S * 0.95)
    count = len(pings())
    for number in range(9):
        await scene.say(f"no silence {number}")
        await asyncio.sleep(HEARTBEAT_S / 3)
    expect("pings while others talk", count, len(pings()))

    scene.step = "a slow answer"
    await freeze()
    await asyncio.sleep(2)
    link.thaw()
    await scene.say("slow, but there")
    await client.shows("slow, but there")
    expect("connections", 1, len(proxy.attempts))

    scene.step = "no answer"
    client.type("before the stall")
    await client.shows("before the stall")
    pinged = await freeze()
    client.type("into the void")
    await scene.say("said during the stall")
    await scene.linked(2)
    waited = proxy.attempts[1] - pinged
    expect("a new connection 10 s after the ping and not before", True, PONG_S - 0.05 <= waited <= PONG_S + 3)
    await client.shows("into the void")
    expect("how often that was sent", len(ends), len(scene.sent("into the void")))
    # A client may have said that it gives the older connection up, if that still arrives; else the takeover ends it.
    await until("the older connection closed", lambda: link.close_code() is not None)
    if "client" in ends:
        expect("the older connection's Close", 4500, link.close_code())

    scene.step = "the older connection's Close comes late"
    link.thaw()
    await scene.say("after all")
    await client.shows("after all")
    expect("connections", 2, len(proxy.attempts))
    await scene.judge(client)


async def closes(scene):
    """Codes after which a client comes back, and codes after which it does not."""
    client = await scene.client(dice=0.02)
    for number, code in enumerate((1001, 1011, 1012, 1013, 4001, 4002, 4003)):
        scene.step = f"close {code}"
        scene.link.close_client(code, "come back")
        await scene.say(f"said after {code}")
        await client.shows(f"said after {code}")
        expect("connections", number + 2, len(scene.proxy.links))
    scene.step = "close 4500"
    await scene.judge(client)
    scene.step = "close 1009, by the server itself"
    client = await scene.client()
    client.type("x" * 5000)
    await client.ends(1009)
    for code in (1002, 1007, 4501, 4502, 4503, 4504):
        scene.step = f"close {code}"
        client = await scene.client()
        links = len(scene.proxy.attempts)
        scene.link.close_client(code, "for good")
        await client.ends(code)
        expect("connections", links, len(scene.proxy.attempts))


async def delays(scene, count):
    """Cuts connections before they are of any use. Returns how long the client took to come back each time."""
    came, link = [], scene.link
    for _ in range(count):
        sprung = scene.proxy.trap("server", "cut", lambda frame: frame["type"] == "joined")
        attempts = len(scene.proxy.attempts)
        if not came:
            link.cut()
        await until("the next connection", lambda: len(scene.proxy.attempts) > attempts, lambda: came, seconds=3)
        came.append(scene.proxy.attempts[attempts] - link.cut_at)
        link = await within("the cut", sprung)
    await scene.linked(len(scene.proxy.links) + 1)
    return came


async def backoff(scene):
    """How long a client waits before it comes back. All dice show the same, and little."""
    dice, rounds = 0.02, []
    client = await scene.client(dice)
    await scene.say("useful")
    await client.shows("useful")
    for title in ("at first", "after a useful connection"):
        scene.step = f"delays {title}"
        rounds.append(await delays(scene, 10))
        await scene.say(f"useful {title}")
        await client.shows(f"useful {title}")
    for number in range(10):
        expected = dice * min(20, 0.5 * 2**number)
        # A busy machine only makes them longer, so the better of two counts.
        shorter = min(came[number] for came in rounds)
        if not expected - 0.005 <= shorter <= 1.3 * expected + 0.05:
            raise Broken(f"delay {number + 1}: expected {expected:.3f} s, came {shorter:.3f} s; all: {rounds}")
    expect("a delay from its start again after a useful connection", True, rounds[1][0] < dice * 5)
    scene.step = "judgement"
    await scene.judge(client)


async def idle(scene):
    """A connection on which nobody said anything is of use, too, if it lasted."""
    dice = 0.02
    client = await scene.client(dice)
    scene.step = "a connection that lasted"
    await delays(scene, 7)
    await asyncio.sleep(USEFUL_S + 0.3)
    came = await delays(scene, 1)
    expect(f"a delay from its start again after {USEFUL_S} s", True, came[0] < dice * 5)
    scene.step = "judgement"
    await scene.judge(client)


async def restart(scene):
    """Lines that are not kept any more, and a server that forgot everything."""
    room, proxy, person = scene.room, scene.proxy, scene.person
    before = [f"before {number}" for number in range(60)]
    await scene.say(*before)
    client = await scene.client()

    def lines(*texts):
        return [f"[{room}] p-{scene.name}: {text}" for text in texts]

    scene.step = "fewer lines kept than a client begins with"
    await client.shows("before 59")
    first = lines(*before[-LINES_KEPT:])
    expect("the lines at first", first, client.shown(room))
    notes = client.lines.count(f"* {room}: lines may be missing (trimmed)")

    scene.step = "trimmed"
    sprung = proxy.trap("client", "cut", scene.told("in doubt, trimmed"))
    proxy.refusing = True
    client.type("in doubt, trimmed")
    await within("the cut", sprung)
    await scene.refused()
    client.type("never sent, trimmed")
    missed = [f"trimmed {number}" for number in range(LINES_KEPT + 20)]
    await scene.say(*missed)
    proxy.refusing = False
    await client.shows("never sent, trimmed")
    expect("notes that lines may be missing", notes + 1, client.lines.count(f"* {room}: lines may be missing (trimmed)"))
    expect("lines left to the person", 1, client.lines.count("* perhaps sent: in doubt, trimmed"))
    kept = first + lines(*missed[-LINES_KEPT:]) + [f"[{room}] {scene.name}: never sent, trimmed"]
    expect("what was shown", kept, client.shown(room))
    expect("how often the line in doubt was sent", 1, len(scene.sent("in doubt, trimmed")))

    scene.step = "the server stops"
    sprung = proxy.trap("client", "drop", scene.told("in doubt, restarted"))
    client.type("in doubt, restarted")
    await within("the line to be dropped", sprung)
    proxy.refusing = True
    attempts = len(proxy.attempts)
    link = scene.link
    await scene.server.stop()
    expect("the Close", 4001, link.close_code())
    said = next(frame.at for frame in link.came["server"] if frame.opcode == CLOSE)
    await until("the client to come back", lambda: len(proxy.attempts) > attempts)
    waited = proxy.attempts[attempts] - said
    notice = next(frame for frame in link.objects("server") if frame["type"] == "system")
    due = notice["reconnect_in_ms"] / 1000 + 0.1 * notice["reconnect_spread_ms"] / 1000
    expect(f"the client back after {due} s, as it was told", True, due - 0.005 <= waited <= due + 0.4)

    scene.step = "another server, which knows nothing"
    await scene.server.start()
    person = scene.person = await Person.come(scene.server.url, name="another", rooms=[{"room": room}])
    await scene.say(*(f"new {number}" for number in range(60)))
    client.type("never sent, restarted")
    shown = len(client.shown(room))
    sprung = proxy.trap("server", "cut", lambda frame: frame["type"] == "history")
    proxy.target_port, proxy.refusing = scene.server.port, False
    await within("a cut before the client could begin anew", sprung)
    await client.shows("never sent, restarted")
    for note in (f"* {room}: lines may be missing (epoch)", "* perhaps sent: in doubt, restarted"):
        expect(f"{note!r}, once", 1, client.lines.count(note))
    expect("how often the line in doubt was sent", 1, len(scene.sent("in doubt, restarted")))
    await scene.say("the end")
    await client.shows("the end")
    expect("what was shown since", (await person.history(room))[60 - FIRST_LINES :], client.shown(room)[shown:])
    expect("positions that the server did not know", [], [line for line in client.lines if "(ahead)" in line])


async def claims(server):
    """What the page says of the server, and the clients never meet."""
    room = "claims"
    person = await Person.come(server.url, name="claims", rooms=[{"room": room}])
    await person.say(room, "one", "two", "three")
    await person.send(type="chat", room=room, message="two", id="two")
    await until("an acknowledgement", lambda: len(person.of("ack")) == 4, lambda: person.frames)
    again = person.of("ack")[-1]
    expect("the acknowledgement of a retry", (2, True), (again["seq"], again.get("duplicate")))
    expect("what is told of it", ["one", "two", "three"], [line["message"] for line in person.of("chat")])

    epoch, second = person.of("joined")[1]["epoch"], person.of("chat")[1]
    position = {"room": room, "epoch": epoch, "seq": 2, "time": second["timestamp"]}
    said = ["three"]
    for begin, reason in (
        (position, None),
        (position | {"epoch": "another"}, "epoch"),
        (position | {"seq": 99}, "ahead"),
        (position | {"time": "2020-01-01T00:00:00.000Z"}, "ahead"),
        ({"room": room}, None),
    ):
        other = await Person.come(server.url, rooms=[begin])
        joined = other.of("joined")[1]
        recovered = begin is position
        expect(f"the answer to {begin}", (recovered, reason), (joined["recovered"], joined.get("reason")))
        said.append(f"line {len(said)}")
        await person.say(room, said[-1])

        def heard(other=other):
            return [line["message"] for line in other.of("chat")]

        await until("the line", lambda: heard()[-1:] == said[-1:], lambda: other.frames)
        expect(f"what comes after {begin}", said if recovered else said[-1:], heard())
        gone = len(person.of("user_leave"))
        await other.go()
        await until("the goodbye told", lambda: len(person.of("user_leave")) == gone + 1, lambda: person.frames[-3:])


SCRIPTS = (conversation, stall, deaf, closes, backoff, idle, restart)

// Does a server keep the plain contract towards Node's `ws`, a library that nobody here wrote?
//
//     node plain.mjs URL              all the checks below
//     node plain.mjs URL quiet        stays by answering Pings alone, and goes when it does not; wants a server that
//                                     pings every second or so
//     node plain.mjs URL meet ROOM    talks in ROOM with the same check in another language, started beside it
//
// URL is the server's, without a path: ws://localhost:8765. Each check has a room of its own, so a server may be
// checked twice. The contract is docs/PROTOCOL.md. `ws` is found here, above, or in NODE_PATH. Ends with 0 if the
// contract is kept; else says what was expected and what came.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";

const { WebSocket } = createRequire(import.meta.url)("ws");

// No single wait is longer than this; whatever is to come comes in milliseconds.
const WAIT_MS = 10_000;
// Names and rooms of this run, so that those of an earlier or a neighbouring run are others.
const RUN = randomBytes(3).toString("hex");
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
// The limit of a message in all, not of the text in it.
const MESSAGE_BYTES_MAX = 65_536;
// Every client of the check that is running, so that one which fails leaves nobody behind.
const opened = [];

const show = (came) => {
  const text = JSON.stringify(came) ?? String(came);
  return text.length <= 400 ? text : `${text.slice(0, 200)} … ${text.slice(-100)} (${text.length} characters)`;
};

function same(what, expected, came) {
  if (!isDeepStrictEqual(expected, came)) throw new Error(`${what}: expected ${show(expected)}, came ${show(came)}`);
}

function matches(what, pattern, came) {
  if (typeof came !== "string" || !pattern.test(came))
    throw new Error(`${what}: expected text like ${pattern}, came ${show(came)}`);
}

function within(awaited, doing) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`expected ${awaited}, came nothing within ${WAIT_MS} ms`)), WAIT_MS);
  });
  return Promise.race([doing, late]).finally(() => clearTimeout(timer));
}

// Things that happen, to be taken one by one.
class Queue {
  #things = [];
  #takers = [];

  put(thing) {
    const taker = this.#takers.shift();
    taker ? taker(thing) : this.#things.push(thing);
  }

  take(awaited) {
    const thing = this.#things.shift();
    return within(awaited, thing ? Promise.resolve(thing) : new Promise((taker) => this.#takers.push(taker)));
  }
}

// A connection in a room, through the library as anybody would use it.
class Client {
  inbox = new Queue();
  pings = new Queue();
  pongs = new Queue();

  constructor(url, options) {
    this.socket = new WebSocket(url, options);
    opened.push(this.socket);
    this.open = new Promise((resolve, reject) => this.socket.on("open", resolve).on("error", reject));
    this.ended = new Promise((resolve) => this.socket.on("close", (code, reason) => resolve({ code, reason })));
    this.ended.then(({ code, reason }) => this.inbox.put({ end: `${code} ${reason}` }));
    this.socket.on("message", (data, binary) => this.inbox.put(binary ? { data } : { text: data.toString() }));
    this.socket.on("ping", () => this.pings.put({}));
    this.socket.on("pong", (data) => this.pongs.put({ data }));
  }

  static async connect(url, options) {
    const client = new Client(url, options);
    await within(`a connection to ${url}`, client.open);
    return client;
  }

  // Connects and hears the welcome, which says how many are online if `online` is given.
  static async join(url, online, options) {
    const client = await Client.connect(url, options);
    const welcome = await client.expect("system");
    same("the welcome's fields", ["type", "message", "timestamp"], Object.keys(welcome));
    matches("the welcome", RegExp(`^Welcome to the chat room! ${online ?? "\\d+"} online$`), welcome.message);
    return client;
  }

  // The next message, which is text, of type `type`, and has these fields.
  async expect(type, fields = {}) {
    const awaited = `${type} with ${show(fields)}`;
    const came = await this.inbox.take(awaited);
    const frame = came.text === undefined ? came : JSON.parse(came.text);
    if (frame.type !== type || Object.keys(fields).some((name) => !isDeepStrictEqual(frame[name], fields[name])))
      throw new Error(`expected ${awaited}, came ${show(frame)}`);
    matches(`the timestamp of ${type}`, TIME, frame.timestamp);
    return frame;
  }

  say(data, options) {
    this.socket.send(data, options);
  }

  ask(command) {
    this.say(JSON.stringify(command));
  }

  // Sends one message in several frames.
  sayInFragments(parts) {
    parts.forEach((part, place) => this.say(part, { binary: false, fin: place === parts.length - 1 }));
  }

  // A Ping of the library's and the data in the Pong.
  async ping(data) {
    this.socket.ping(data);
    return (await this.pongs.take("a Pong")).data;
  }

  // The closing handshake, begun here. Returns the code that came back.
  async close(...codeAndReason) {
    this.socket.close(...codeAndReason);
    return (await within("the closing handshake", this.ended)).code;
  }

  // The closing handshake, begun there. Returns the code.
  async closed() {
    return (await within("the server to close", this.ended)).code;
  }
}

// Ann and Bob in a room.
async function two(url, room) {
  const ann = await Client.join(`${url}/rooms/${room}?name=Ann-${room}`, 1);
  const bob = await Client.join(`${url}/rooms/${room}?name=Bob-${room}`, 2);
  await ann.expect("user_join", { message: `Bob-${room} joined`, online_count: 2 });
  return [ann, bob];
}

async function closeAll(...clients) {
  for (const client of clients) same("the close code that comes back", 1000, await client.close(1000));
}

const checks = {
  async "coming and going"(url, room) {
    const stays = await Client.join(`${url}/rooms/${room}`, 1);
    for (const go of [(socket) => socket.close(), (socket) => socket.terminate()]) {
      const guest = await Client.join(`${url}/rooms/${room}`, 2);
      const { message } = await stays.expect("user_join", { online_count: 2 });
      matches("a guest's coming", /^guest-[0-9A-Za-z]{4,} joined$/, message);
      go(guest.socket);
      await stays.expect("user_leave", { message: message.replace("joined", "left"), online_count: 1 });
    }
    await closeAll(stays);
  },

  async "chat reaches everyone"(url, room) {
    const [ann, bob] = await two(url, room);
    const texts = ["Hello, Bob!", "", "Grüße, 你好, 👋🏽, \u202e\u0000", 'a "quoted" \\ line\nand one more'];
    for (const [place, message] of texts.entries()) {
      ann.ask({ type: "chat", message });
      const line = await ann.expect("chat", { from: `Ann-${room}`, message, room, seq: place + 1 });
      same("what the two of them get", line, await bob.expect("chat"));
    }
    await closeAll(ann, bob);
  },

  async "text that is no object is said as it is"(url, room) {
    const [ann, bob] = await two(url, room);
    for (const text of ["hi", "42", '"x"', "[1]", "{bro", "null", "", "two\nlines"]) {
      ann.say(text);
      await bob.expect("chat", { from: `Ann-${room}`, message: text });
      await ann.expect("chat", { from: `Ann-${room}`, message: text });
    }
    await closeAll(ann, bob);
  },

  async "faults go to their sender alone"(url, room) {
    const [ann, bob] = await two(url, room);
    for (const [text, code] of [
      ["{}", "unknown_type"],
      ['{"type":"dance"}', "unknown_type"],
      ['{"type":"chat","message":["hi"]}', "bad_request"],
    ]) {
      ann.say(text);
      await ann.expect("error", { code });
    }
    ann.say("done");
    await bob.expect("chat", { message: "done" });
    await closeAll(ann, bob);
  },

  async "ping is answered to its sender"(url, room) {
    const [ann, bob] = await two(url, room);
    ann.ask({ type: "ping" });
    same("the fields of a pong", ["type", "timestamp"], Object.keys(await ann.expect("pong")));
    ann.ask({ type: "ping", t: 1234.5 });
    await ann.expect("pong", { t: 1234.5 });
    ann.say("done");
    await bob.expect("chat", { message: "done" });
    await closeAll(ann, bob);
  },

  async "private reaches one"(url, room) {
    const [ann, bob] = await two(url, room);
    const eve = await Client.join(`${url}/rooms/${room}`, 3);
    ann.ask({ type: "private", to: `Bob-${room}`, message: "psst" });
    await ann.expect("user_join");
    await ann.expect("private", { room: "@me", from: `Ann-${room}`, to: `Bob-${room}`, message: "psst" });
    await bob.expect("user_join");
    await bob.expect("system", { message: `Ann-${room} (private): psst` });
    ann.ask({ type: "private", to: `nobody-${room}`, message: "psst" });
    await ann.expect("error", { code: "no_such_user" });
    ann.say("aloud");
    await eve.expect("chat", { message: "aloud" });
    await closeAll(ann, bob, eve);
  },

  async "names and rooms"(url, room) {
    const name = `Zoë ${room} 王`;
    const stays = await Client.join(`${url}/rooms/${room}`, 1);
    const zoe = await Client.join(`${url}/rooms/${room}?name=${encodeURIComponent(name)}`, 2);
    await stays.expect("user_join", { message: `${name} joined`, name });
    zoe.ask({ type: "name", name: `Zed-${room}` });
    await zoe.expect("user_rename", { from: name, to: `Zed-${room}` });
    await stays.expect("system", { message: `${name} is now known as Zed-${room}` });
    const elsewhere = await Client.join(`${url}/rooms/${room}.2`, 1);
    elsewhere.say("elsewhere");
    await elsewhere.expect("chat", { room: `${room}.2` });
    zoe.say("here");
    await stays.expect("chat", { room, message: "here" });
    await closeAll(stays, zoe, elsewhere);
    const refused = new Client(`${url}/rooms/a%20b`);
    const why = await within("a refusal", refused.open.then(() => "a connection", (error) => error.message));
    same("the answer for a room called a%20b", "Unexpected server response: 400", why);
  },

  async "fragments are one message"(url, room) {
    const [ann, bob] = await two(url, room);
    ann.sayInFragments(['{"type":"chat",', '"mess', "", 'age":"put together"}']);
    await bob.expect("chat", { message: "put together" });
    // Fragments end anywhere, in the middle of a character too (RFC 6455 section 5.6).
    ann.sayInFragments([...Buffer.from("半分 ½")].map((byte) => Buffer.of(byte)));
    await bob.expect("chat", { message: "半分 ½" });
    ann.say("before the ping, ", { fin: false });
    same("a Pong in the middle of a message", Buffer.from("now"), await ann.ping("now"));
    ann.say("after it", { fin: true });
    await bob.expect("chat", { message: "before the ping, after it" });
    ann.sayInFragments(Array(50).fill("x"));
    await bob.expect("chat", { message: "x".repeat(50) });
    await closeAll(ann, bob);
  },

  async "64 KiB pass and no more"(url, room) {
    const [ann, bob] = await two(url, room);
    const command = (message) => JSON.stringify({ type: "chat", message });
    const message = "y".repeat(MESSAGE_BYTES_MAX - command("").length);
    ann.say(command(message));
    await ann.expect("chat", { message });
    await bob.expect("chat", { message });
    for (const text of ["x".repeat(MESSAGE_BYTES_MAX), "語".repeat(21_845) + "."]) {
      same("the size of what is sent", MESSAGE_BYTES_MAX, Buffer.byteLength(text));
      ann.say(text);
      await bob.expect("chat", { message: text });
    }
    const half = "z".repeat(MESSAGE_BYTES_MAX / 2);
    ann.sayInFragments([half, half]);
    await bob.expect("chat", { message: half + half });
    ann.say("w".repeat(MESSAGE_BYTES_MAX + 1));
    same("the close code after a byte too many", 1009, await ann.closed());
    await bob.expect("user_leave", { message: `Ann-${room} left` });
    bob.sayInFragments([half, half, "!"]);
    same("the close code after a byte too many in fragments", 1009, await bob.closed());
  },

  async "close codes come back"(url, room) {
    const stays = await Client.join(`${url}/rooms/${room}`, 1);
    // No code at all is shown as 1005 (RFC 6455 section 7.1.5).
    for (const [expected, ...codeAndReason] of [[1005], [1000, 1000], [1001, 1001, "bye"], [4999, 4999, "bye"]]) {
      const goes = await Client.join(`${url}/rooms/${room}`, 2);
      await stays.expect("user_join", { online_count: 2 });
      same(`the close code after ${show(codeAndReason)}`, expected, await goes.close(...codeAndReason));
      await stays.expect("user_leave", { online_count: 1 });
    }
    await closeAll(stays);
  },

  async "pings of the library"(url, room) {
    const client = await Client.join(`${url}/rooms/${room}`, 1);
    for (const data of ["", "text", Buffer.alloc(125, 0xff)])
      same("the data in the Pong", Buffer.from(data), await client.ping(data));
    client.socket.pong("nobody asked");
    client.say("done");
    await client.expect("chat", { message: "done" });
    await closeAll(client);
  },

  async "compression is offered but not negotiated"(url, room) {
    const client = new Client(`${url}/rooms/${room}`, { perMessageDeflate: { threshold: 0 } });
    let headers;
    client.socket.on("upgrade", (answer) => ({ headers } = answer));
    await within("a connection", client.open);
    same("the extensions in the answer", undefined, headers["sec-websocket-extensions"]);
    same("the extensions in use", "", client.socket.extensions);
    await client.expect("system");
    client.say("compressible ".repeat(100));
    await client.expect("chat", { message: "compressible ".repeat(100) });
    await closeAll(client);
  },

  async "binary goes to those who send it"(url, room) {
    const [ann, bob] = await two(url, room);
    bob.say(Buffer.of(0, 255));
    bob.say("bob is ready");
    await ann.expect("chat", { message: "bob is ready" });
    await bob.expect("chat", { message: "bob is ready" });
    ann.say(Buffer.of(0, 255, 254));
    same("what Bob gets", { data: Buffer.of(0, 255, 254) }, await bob.inbox.take("a binary message"));
    await closeAll(ann, bob);
  },

  // As a tutorial teaches it: the browser's interface, the fields that the contract has always had, no options.
  async "a tutorial's client"(url, room) {
    const chat = (path) => {
      const shown = new Queue();
      const socket = new WebSocket(url + path);
      opened.push(socket);
      let online = 0;
      socket.onopen = () => socket.send(JSON.stringify({ type: "ping" }));
      socket.onmessage = (event) => {
        const data = JSON.parse(event.data);
        const time = new Date(data.timestamp).toISOString();
        switch (data.type) {
          case "system":
            shown.put(`* ${data.message}`);
            break;
          case "user_join":
          case "user_leave":
            online = data.online_count;
            shown.put(`* ${data.message} (${online} online)`);
            break;
          case "chat":
            shown.put(`${data.from}: ${data.message}`);
            break;
          case "pong":
            shown.put(`pong after ${time}`);
            break;
          default:
            shown.put(`what is ${event.data}?`);
        }
      };
      socket.onclose = (event) => shown.put(`closed ${event.code} ${event.wasClean}`);
      const send = (message) => socket.send(JSON.stringify({ type: "chat", message }));
      return { socket, send, next: () => shown.take("the next line of the tutorial's client") };
    };
    const first = chat(`/rooms/${room}`);
    same("the first line", "* Welcome to the chat room! 1 online", await first.next());
    matches("the answer to a ping", /^pong after /, await first.next());
    const second = chat(`/rooms/${room}?name=T-${room}`);
    same("a coming", `* T-${room} joined (2 online)`, await first.next());
    second.socket.onerror = (error) => second.socket.emit("message", error.message);
    same("the first line", "* Welcome to the chat room! 2 online", await second.next());
    matches("the answer to a ping", /^pong after /, await second.next());
    first.send("Hello!");
    matches("its own line", /^guest-[0-9A-Za-z]{4,}: Hello!$/, await first.next());
    matches("the other's line", /^guest-[0-9A-Za-z]{4,}: Hello!$/, await second.next());
    second.socket.close();
    same("a going", `* T-${room} left (1 online)`, await first.next());
    same("its own going", "closed 1005 true", await second.next());
    first.socket.close();
    same("its own going", "closed 1005 true", await first.next());
  },
};

const modes = {
  // Says nothing, ever: it is the library that answers Pings, and that is enough to stay.
  async quiet(url) {
    const client = await Client.join(`${url}/rooms/quiet-${RUN}`, 1);
    const deaf = await Client.join(`${url}/rooms/quiet-${RUN}`, 2, { autoPong: false });
    await client.expect("user_join", { online_count: 2 });
    same("the close code of one that answers nothing", 4003, await deaf.closed());
    await client.expect("user_leave", { online_count: 1 });
    for (let count = 1; count <= 5; count += 1) await client.pings.take(`Ping number ${count} of the server's`);
    const other = await Client.join(`${url}/rooms/quiet-${RUN}`, 2);
    await client.expect("user_join", { online_count: 2 });
    other.say("still there?");
    await client.expect("chat", { message: "still there?" });
    await closeAll(client, other);
  },

  // Two of this, in two languages, say hello and what they heard.
  async meet(url, room) {
    const me = `JavaScript-${RUN}`;
    const client = await Client.connect(`${url}/rooms/${room}?name=${me}`);
    const welcome = await client.expect("system");
    if (welcome.message.endsWith(" 1 online")) await client.expect("user_join", { online_count: 2 });
    const theirLine = async () => {
      for (;;) {
        const { from, message } = await client.expect("chat");
        if (from !== me) return message;
      }
    };
    client.ask({ type: "chat", message: "Hello from JavaScript" });
    const hello = await theirLine();
    client.say(`I heard: ${hello}`);
    same("what they heard", "I heard: Hello from JavaScript", await theirLine());
    await closeAll(client);
    console.log(`     they said: ${hello}`);
  },
};

// Runs one check and says how it went.
async function run(name, check) {
  const start = performance.now();
  let why = "";
  try {
    await check();
  } catch (error) {
    why = `: ${error.message}`;
  }
  for (const socket of opened) socket.on("error", () => {}).terminate();
  opened.length = 0;
  console.log(`${why ? "FAIL" : "ok  "} node ${name} (${(performance.now() - start).toFixed(0)} ms)${why}`);
  return !why;
}

const [url, mode = "all", ...rest] = process.argv.slice(2);
if (!url || (mode !== "all" && !modes[mode])) {
  console.error("usage: node plain.mjs URL [quiet | meet ROOM]");
  process.exit(2);
}
const base = url.replace(/\/$/, "");
const results = [];
if (mode === "all")
  for (const [place, [name, check]] of Object.entries(checks).entries())
    results.push(await run(name, () => check(base, `js-${RUN}-${place}`)));
else results.push(await run(mode, () => modes[mode](base, ...rest)));
const passed = results.filter(Boolean).length;
console.log(`node: ${passed} passed, ${results.length - passed} failed`);
process.exit(passed === results.length ? 0 : 1);

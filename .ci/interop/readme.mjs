// Is it true what README.md tells a newcomer about chatting? Runs its commands and programs word for word, and looks
// whether its links lead somewhere.
//
//     node readme.mjs README.md PYTHON
//
// PYTHON is an interpreter that has `websockets`; `ws` stands in for the browser. The server must be listening at the
// address in README.md, which is the default one. Ends with 0 if all went as README.md says.

import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { runInThisContext } from "node:vm";

const WAIT_MS = 10_000;
const [file, python] = process.argv.slice(2);
const text = readFileSync(file, "utf8");
const running = [];

// The code blocks of a language, in their order.
function blocks(language, count) {
  const found = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map((match) => match[1]);
  if (found.length !== count) throw new Error(`expected ${count} blocks of ${language}, came ${found.length}`);
  return found;
}

// Lines that come from somewhere and are waited for: each call takes up to the first that matches.
class Lines {
  constructor(who) {
    this.who = who;
    this.lines = [];
    this.wake = () => {};
  }

  put(line) {
    this.lines.push(line);
    this.wake();
  }

  async until(pattern) {
    const deadline = Date.now() + WAIT_MS;
    const passed = [];
    for (;;) {
      for (let line; (line = this.lines.shift()) !== undefined; passed.push(line)) if (pattern.test(line)) return line;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${this.who}: expected a line like ${pattern}, came ${JSON.stringify(passed)}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => (clearTimeout(timer), resolve());
      });
    }
  }
}

// A program with its lines, which one can type to.
function program(who, ...args) {
  const child = spawn(python, ["-u", ...args], { stdio: ["pipe", "pipe", "inherit"] });
  running.push(child);
  const lines = new Lines(who);
  createInterface({ input: child.stdout }).on("line", (line) => lines.put(line));
  child.on("exit", (code) => lines.put(`exit ${code}`));
  return {
    until: (pattern) => lines.until(pattern),
    type: (line) => child.stdin.write(`${line}\n`),
    end: () => (child.stdin.end(), lines.until(/^exit 0$/)),
  };
}

async function twoTerminals() {
  const [, , url] = text.match(/^(python3 -m websockets) (ws:\S+)$/m);
  const first = program("the first terminal", "-m", "websockets", url);
  await first.until(/"Welcome to the chat room! 1 online"/);
  const second = program("the second terminal", "-m", "websockets", `${url}/?name=alice`);
  await second.until(/"Welcome to the chat room! 2 online"/);
  await first.until(/"alice joined"/);
  first.type("Hello!");
  await second.until(/"type":"chat","from":"guest-[^"]+","message":"Hello!"/);
  second.type("Hello yourself!");
  await first.until(/"from":"alice","message":"Hello yourself!"/);
  first.type(text.match(/`(\{"type":"private"[^`]*\})`/)[1]);
  await second.until(/"guest-[^"]+ \(private\): psst"/);
  second.type(text.match(/`(\{"type":"who"\})`/)[1]);
  await second.until(/"type":"presence"/);
  await first.end();
  await second.until(/ left"/);
  await second.end();
}

async function wholeClient() {
  const [code] = blocks("python", 1);
  const ann = program("the client without a name", "-c", code);
  await ann.until(/^\* Welcome to the chat room! 1 online$/);
  const [, url] = text.match(/^`python3 client.py "(ws:[^"]+)"`/m);
  const bob = program("the client with a name", "-c", code, url);
  await bob.until(/^\* Welcome to the chat room! 2 online$/);
  await ann.until(/^\* bob joined, 2 online at \d{4}-/);
  bob.type("Hello!");
  await ann.until(/^bob: Hello!$/);
  await bob.until(/^bob: Hello!$/);
  ann.type("{not json");
  await bob.until(/^guest-\S+: \{not json$/);
  await bob.end();
  await ann.until(/^\* bob left, 1 online at \d{4}-/);
  await ann.end();
}

async function browserConsole() {
  const [connect, say] = blocks("js", 2);
  globalThis.WebSocket = createRequire(import.meta.url)("ws").WebSocket;
  const shown = new Lines("the browser's console");
  const log = console.log;
  console.log = (...words) => shown.put(words.join(" "));
  try {
    runInThisContext(connect);
    await shown.until(/^\* Welcome to the chat room! 1 online$/);
    runInThisContext(say);
    await shown.until(/^carol Hello from the browser!$/);
    runInThisContext("chat.onclose = ({ code }) => console.log('closed', code); chat.close(1000);");
    await shown.until(/^closed 1000$/);
  } finally {
    console.log = log;
  }
}

function links() {
  const targets = [...text.matchAll(/\]\(([^):]+)\)/g)].map((match) => match[1]);
  const missing = targets.filter((target) => !existsSync(join(dirname(file), target)));
  if (missing.length > 0) throw new Error(`expected files behind all links, came none for ${missing}`);
}

const checks = [links, twoTerminals, wholeClient, browserConsole];
let failed = 0;
for (const check of checks) {
  try {
    await check();
    console.log(`ok   readme ${check.name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL readme ${check.name}: ${error.message}`);
  }
  for (const child of running.splice(0)) child.kill("SIGKILL");
}
console.log(`readme: ${checks.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

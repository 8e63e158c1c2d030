"""Does `chinwag connect` get on with chat servers that nobody here wrote, and that know plain messages only?

    python run.py CHINWAG          the built program

Starts each server, pipes some lines through a client while another one listens, and compares what both show, what they say
about themselves, and how they end. Needs `websockets` here, and `node` with `ws` in NODE_PATH. Ends with 0 if all is as it
should be; else says what was expected and what came.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LINES = [f"line {number} 茶" for number in range(300)] + ["/quit", '{"type":"ping"}', "<b>&amp;</b>"]
# No single wait is longer than this.
WAIT_S = 30


def same(what, expected, came):
    if expected == came:
        return
    if isinstance(expected, list):
        # The first difference says enough.
        pairs = itertools.zip_longest(expected, came)
        place, (expected, came) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
        what = f"{what}, line {place}"
    sys.exit(f"{what}: expected {expected!r}, came {came!r}")


class Client:
    """A running `chinwag connect`, in a home of its own."""

    def __init__(self, program, home, url, *flags):
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [program, "connect", url, *flags], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True
        )

    def ended(self, text=""):
        """Exit code, the shown lines without their times, and standard error, after this last input."""
        output, errors = self.process.communicate(text, WAIT_S)
        lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in output.splitlines()]
        return self.process.returncode, lines, errors


def check(program, home, what, command, greeting, said, hellos_max=0):
    """`said` spells a line as the server sends it back and a client shows it."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        listener = Client(program, home, url, "--guest")
        # It has come when it shows the greeting.
        first = listener.process.stdout.readline()
        same(f"{what}: the greeting", True, first.rstrip().endswith(greeting))
        code, lines, errors = Client(program, home, url, "--guest").ended("\n".join(LINES) + "\n")
        same(f"{what}: the exit code and standard error", (0, ""), (code, errors))
        same(f"{what}: what is shown", [greeting, *(said(line, 2) for line in LINES)], lines)
        code, lines, errors = listener.ended()
        same(f"{what}: how the listener ends", (0, ""), (code, errors))
        # A server that agrees to whatever is offered may hand on what it does not understand, once.
        hellos = [line for line in lines if line.startswith('{"type":"hello"')]
        same(f"{what}: greetings that are none of its business", hellos_max, max(hellos_max, len(hellos)))
        lines = [line for line in lines if line not in hellos]
        same(f"{what}: what the listener shows", [said(line, 2) for line in LINES], lines)
        # The server is killed in the middle: it is said, and with --once that is the end.
        left = Client(program, home, url, "--guest", "--once")
        left.process.stdout.readline()
        server.kill()
        server.wait()
        code = left.process.wait(WAIT_S)
        errors = left.process.stderr.read()
        same(f"{what}: the exit code after the server's end", (1, 1), (code, len(errors.splitlines())))
        print(f"{what}: {errors.strip()}")
        code, lines, errors = Client(program, home, url, "--guest").ended("hi\n")
        same(f"{what}: nobody is there", (1, [], 1), (code, lines, len(errors.splitlines())))
    finally:
        server.kill()
        server.wait()


def main(program):
    program = str(Path(program).resolve())
    with tempfile.TemporaryDirectory() as home:
        python = [sys.executable, str(HERE / "tutorial.py")]
        check(program, home, "websockets", python, "* Welcome!", lambda line, number: f"user{number}: {line}")
        for mode, hellos_max in (("none", 0), ("strict", 0), ("any", 1)):
            node = ["node", str(HERE / "echo.mjs"), mode]
            check(program, home, f"ws, {mode}", node, "hello there", lambda line, number: line, hellos_max)


main(*sys.argv[1:])

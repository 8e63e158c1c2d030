"""Do the two clients in docs/CLIENTS.md keep the client rules of `chinwag.v1`, as they stand there?

    python run.py SERVER [FLAG...]

SERVER is the server's binary; the flags are given to it after those that the checks need. `node` is found in PATH, `ws` in
NODE_PATH; this Python must have `websockets`. The clients are taken out of the page into a temporary folder and talk to
the server through a proxy that breaks their connections at the worst moments. Then what each client showed is compared with
what the server has stored: no gap, no repeat, its own lines exactly once. Only the dice are loaded, so that delays can be
foreseen. Ends with 0 if all is well; else says which client, in which scene and step, what was expected and what came.
"""

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

from people import Broken, Server, expect  # noqa: E402
from scenes import LINES_KEPT, SCRIPTS, Scene, claims, restart  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "CLIENTS.md"
LINES_MAX = 60
# The whole run.
RUN_S = 29


def blocks():
    """The clients on the page, each in its one block."""
    page = PAGE.read_text()
    found = {}
    for language, fence in (("js", "js"), ("python", "python")):
        texts = re.findall(rf"^```{fence}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        expect(f"blocks of {fence} in {PAGE.name}", 1, len(texts))
        lines = sum(bool(line.strip()) for line in texts[0].splitlines())
        if lines > LINES_MAX:
            raise Broken(f"the client in {fence} has {lines} lines: {LINES_MAX} are allowed, blank ones not counted")
        found[language] = texts[0]
    return found


class Stage:
    """The clients as files, and how they are started: as on the page, but with loaded dice."""

    def __init__(self, folder):
        texts = blocks()
        for name, text in (("client.js", texts["js"]), ("client.py", texts["python"])):
            (folder / name).write_text(text)
        (folder / "dice.js").write_text("Math.random = () => Number(process.env.DICE);\n")
        (folder / "dice").mkdir()
        loaded = "import os, random\nrandom.random = lambda: float(os.environ['DICE'])\n"
        (folder / "dice" / "sitecustomize.py").write_text(loaded)
        self.commands = {
            "js": ["node", "--require", str(folder / "dice.js"), str(folder / "client.js")],
            "python": [sys.executable, "-u", str(folder / "client.py")],
        }
        self.environment = {"PYTHONPATH": str(folder / "dice"), "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1"}


async def play(scene, script, server):
    try:
        await scene.open(server)
        await script(scene)
    except Broken as broken:
        output = [line for client in scene.clients for line in client.lines][-20:]
        said = "\n".join(f"    {line[:200]}" for line in output)
        where = f"{scene.language}, {scene.title}, {scene.step!r}"
        raise Broken(f"{where}: {broken}\n  the client's last lines:\n{said}") from None
    finally:
        scene.close()
    scene.done = True
    print(f"{scene.language}: {scene.title}: as it should be, over {len(scene.proxy.links)} connections", flush=True)


async def main(command):
    servers, scenes = [], []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            async with asyncio.timeout(RUN_S):
                async with asyncio.TaskGroup() as tasks:
                    lasting = await Server(command).start()
                    servers.append(lasting)
                    tasks.create_task(claims(lasting))
                    for script in SCRIPTS:
                        for language in ("js", "python"):
                            server = lasting
                            if script is restart:
                                server = await Server(command).start("--recent-messages", str(LINES_KEPT))
                                servers.append(server)
                            scene = Scene(stage, language, script.__name__)
                            scenes.append(scene)
                            tasks.create_task(play(scene, script, server))
                for server in servers:
                    await server.stop()
        except TimeoutError:
            late = ", ".join(f"{scene.language} {scene.title} {scene.step!r}" for scene in scenes if not scene.done)
            raise Broken(f"not done within {RUN_S} s; where each scene was: {late}") from None
        except ExceptionGroup as group:
            # The first to fail; the others were stopped.
            raise group.exceptions[0] from None
        finally:
            for scene in scenes:
                scene.close()
            for server in servers:
                server.kill()
    print(f"both clients keep the rules: {len(scenes)} scenes in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        asyncio.run(main(sys.argv[1:]))
    except Broken as broken:
        sys.exit(f"run.py: {broken}")

"""A provider in a process of its own: `python -m tests.e2e.kill.sink JOURNAL`.

Speaks JSON lines over TCP. `{"send": [[key, address], …]}` takes a batch: whole or, because of an address
with an exclamation mark, not at all. `{"lookup": [key, …]}` says which of them it has. A batch is in the
journal before it is answered, so that the journal is what the recipients saw, whatever becomes of the sender.

Prints its port. A number on its standard input makes it hold its answer to the batch that it takes so many
batches from then (0: to none); it says `ready`, and `held` when it does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any


class Sink:
    """What it took, in the order it came."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal.open("a", buffering=1)
        self.taken: set[str] = set()
        self.until_held = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a sender, until that dies."""
        try:
            while line := await reader.readline():
                request = json.loads(line)
                is_batch = "send" in request
                answer = self.take(request["send"]) if is_batch else self.look_up(request["lookup"])
                if self.until_held and "taken" in answer:
                    self.until_held -= 1
                    if not self.until_held:
                        print("held", flush=True)
                        await reader.read()
                        return
                writer.write(json.dumps(answer).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            writer.close()

    def take(self, batch: list[list[str]]) -> dict[str, Any]:
        if any("!" in address for _, address in batch):
            return {"refused": True}
        for key, address in batch:
            self.journal.write(json.dumps([key, address]) + "\n")
            self.taken.add(key)
        return {"taken": len(batch)}

    def look_up(self, keys: list[str]) -> dict[str, Any]:
        return {"known": [key for key in keys if key in self.taken]}


async def main(journal: Path) -> None:
    sink = Sink(journal)
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=2**22)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        sink.until_held = int(line)
        print("ready", flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

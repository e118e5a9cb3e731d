"""Measures links between two processes: handshakes a second, and what an idle link takes.

    python bench/links.py [COUNT]

Each process holds one end of COUNT links and reports the growth of its own resident memory. The
limit of handshakes from one address is lifted here, as all of them come from one.
"""

import asyncio
import gc
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from netchat.identity.keys import Identity
from netchat.model import Address
from netchat.transport import crowd
from netchat.transport.link import Credentials, Link, dial_link
from netchat.transport.listener import Listener
from netchat.wire.frames import Frame, Hello

AT_ONCE = 12
TARGET_KIB = 64


class Ends:
    """Keeps the links that opened."""

    def __init__(self) -> None:
        self.links: list[Link] = []

    def link_opened(self, link: Link) -> None:
        self.links.append(link)

    def link_received(self, link: Link, frames: Sequence[Frame]) -> None: ...

    def link_lost(self, link: Link, reason: str) -> None:
        raise AssertionError(reason)

    def link_writable(self, link: Link) -> None: ...


def hello() -> Hello:
    """Return a HELLO of the size of a real one, with a prekey."""
    return Hello(bytes(1_900), bytes(8), bytes(8))


def resident_kib() -> int:
    gc.collect()
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def listening(pipe: Connection) -> None:
    async def run() -> None:
        ends, identity = Ends(), Identity.generate()
        listener = Listener(lambda *_: None, Credentials(identity), hello, ends)
        await listener.start(("127.0.0.1",), 0)
        pipe.send((listener.addresses[0], identity.peer_id))
        while await asyncio.to_thread(pipe.recv) == "state":
            pipe.send((resident_kib(), time.process_time(), len(ends.links)))

    allow_everybody()
    asyncio.run(run())


def allow_everybody() -> None:
    crowd.HANDSHAKES_PER_ADDRESS_S_MAX = 1e9  # type: ignore[misc]  # a bench may
    resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, 8_192))


async def measure(count: int, pipe: Connection) -> dict[str, object]:
    address, key = await asyncio.to_thread(pipe.recv)
    ends, credentials = Ends(), Credentials(Identity.generate())
    await dial_link(address, key, credentials, hello, ends)

    async def state() -> tuple[int, float, int]:
        pipe.send("state")
        found: tuple[int, float, int] = await asyncio.to_thread(pipe.recv)
        return found

    theirs, ours, cpu = await state(), resident_kib(), time.process_time()
    begun = time.perf_counter()
    turn = asyncio.Semaphore(AT_ONCE)

    async def dial(to: Address) -> None:
        async with turn:
            await dial_link(to, key, credentials, hello, ends)

    async with asyncio.TaskGroup() as dials:
        for _ in range(count):
            dials.create_task(dial(address))
    seconds, own_cpu = time.perf_counter() - begun, time.process_time() - cpu
    while (after := await state())[2] <= count:
        pass  # the last ones are still being opened there
    figures: dict[str, object] = {
        "links": count,
        "handshakes_per_s": round(count / seconds),
        "cpu_ms_per_handshake_dialler": round(own_cpu / count * 1_000, 2),
        "cpu_ms_per_handshake_listener": round((after[1] - theirs[1]) / count * 1_000, 2),
        "kib_per_idle_link_dialler": round((resident_kib() - ours) / count, 1),
        "kib_per_idle_link_listener": round((after[0] - theirs[0]) / count, 1),
        "target_kib": TARGET_KIB,
    }
    pipe.send("stop")
    return figures


def main(count: int) -> int:
    allow_everybody()
    multiprocessing.set_start_method("spawn")
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=listening, args=(theirs,))
    process.start()
    figures = asyncio.run(measure(count, ours))
    process.join()
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))

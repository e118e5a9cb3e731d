"""Measures send -> delivered between two real nodes in two processes, durable at both ends.

one at a time   each message waits for the one before; beside the floor, measured in this very
                run: two SQLite commits with synchronous=FULL and one TLS ping-pong
pipelined       many messages queued at once, until the last one is called delivered

python bench/delivery.py [--count N] [--singles N]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from netchat.api import MessageReceived, QueuedMessagesEnded, SendOutcome
from netchat.app import _host_meeting_point
from netchat.identity.keys import Identity
from netchat.model import Name
from netchat.node.config import NodeConfig
from netchat.node.node import ChatNode, running_node
from netchat.store.profile import Profile
from netchat.transport.link import Credentials, dial_link
from netchat.transport.listener import Listener
from netchat.wire.frames import Hello, Receipt

ALICE, BOB = Name("alice"), Name("bob")
TEXT = "see you at noon, and bring the book that I lent you"
BATCH = 256
WRITERS = 8
"""Batches that wait for the disk at once, as from a program that does not wait for each."""


@asynccontextmanager
async def node_of(name: Name, folder: Path, port: int) -> AsyncIterator[ChatNode]:
    with Profile(folder / name.key) as profile:
        config = NodeConfig(name=name, port=port)
        identity = Identity.generate()
        async with running_node(config, profile, identity, _host_meeting_point) as node:
            await node.register()
            yield node


def receiver(folder: str, port: int, pipe: Connection) -> None:
    async def run() -> None:
        async with node_of(BOB, Path(folder), port) as node:
            events = node.events()
            pipe.send("ready")
            count = await asyncio.to_thread(pipe.recv)
            got = 0
            async for event in events:
                got += isinstance(event, MessageReceived)
                if got >= count:
                    break
            pipe.send(got)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


async def singles(node: ChatNode, count: int) -> list[float]:
    """Return the times of sends that waited for each other, in ms."""
    times = []
    for number in range(count):
        begun = time.perf_counter()
        (sent,) = await node.send([BOB], f"{TEXT} {number}")
        assert sent.outcome is SendOutcome.DELIVERED, sent
        times.append((time.perf_counter() - begun) * 1_000)
    return times


async def pipelined(node: ChatNode, count: int) -> float:
    """Return the seconds until all of ``count`` messages are called delivered."""
    events = node.events()
    texts = [f"{TEXT} {number}" for number in range(count)]
    begun = time.perf_counter()

    async def queue() -> None:
        batches = iter(range(0, count, BATCH))

        async def some() -> None:
            for start in batches:
                await node.queue(BOB, texts[start : start + BATCH])

        async with asyncio.TaskGroup() as writers:
            for _ in range(WRITERS):
                writers.create_task(some())

    queueing = asyncio.get_running_loop().create_task(queue())
    delivered = 0
    async for event in events:
        if isinstance(event, QueuedMessagesEnded):
            assert event.outcome is SendOutcome.DELIVERED, event
            delivered += len(event.message_ids)
            if delivered == count:
                break
    seconds = time.perf_counter() - begun
    await queueing
    return seconds


# --- the floor -----------------------------------------------------------------------------------


def commit_ms(folder: Path, count: int) -> list[float]:
    """Return the times of commits of one row each, as the history makes them."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT)")
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO row (text) VALUES (?)", (TEXT,))
        connection.execute("COMMIT")
        times.append((time.perf_counter() - begun) * 1_000)
    connection.close()
    return times


class Echo:
    """Answers every frame with the same; both ends of the TLS ping-pong use it."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.came = asyncio.Event()

    def link_opened(self, link: object) -> None: ...

    def link_received(self, link: object, frames: object) -> None:
        if self.answers:
            for frame in frames:  # type: ignore[attr-defined]
                link.send(frame)  # type: ignore[attr-defined]
        else:
            self.came.set()

    def link_lost(self, link: object, reason: str) -> None: ...

    def link_writable(self, link: object) -> None: ...


def _hello() -> Hello:
    return Hello(b"{}", bytes(8), bytes(8))


def echo_server(pipe: Connection) -> None:
    async def run() -> None:
        identity = Identity.generate()
        listener = Listener(lambda *_: None, Credentials(identity), _hello, Echo(answers=True))
        await listener.start(("127.0.0.1",), 0)
        pipe.send((listener.addresses[0], identity.peer_id))
        await asyncio.to_thread(pipe.recv)
        await listener.stop()

    asyncio.run(run())


async def ping_pong_ms(count: int) -> list[float]:
    """Return the round trips of one small frame over a link between two processes."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=echo_server, args=(theirs,))
    process.start()
    address, key = await asyncio.to_thread(ours.recv)
    echo = Echo(answers=False)
    link = await dial_link(address, key, Credentials(Identity.generate()), _hello, echo)
    times = []
    for number in range(1, count + 1):
        echo.came.clear()
        begun = time.perf_counter()
        link.send(Receipt(((number, number),)))
        await echo.came.wait()
        times.append((time.perf_counter() - begun) * 1_000)
    link.close("done")
    ours.send("stop")
    process.join()
    return times


# --- the run -------------------------------------------------------------------------------------


async def measure(folder: Path, port: int, pipe: Connection, options: argparse.Namespace) -> dict:
    figures: dict[str, object] = {}
    async with node_of(ALICE, folder, port) as node:
        await singles(node, 5)
        rounds = []
        for _ in range(3):  # side by side, as the machine may get slower or faster meanwhile
            one = singles(node, options.singles // 3)
            sends = statistics.median(await one)
            commit = statistics.median(commit_ms(Path(tempfile.mkdtemp(dir=folder)), 200))
            trip = statistics.median(await ping_pong_ms(200))
            rounds.append((sends, 2 * commit + trip, commit, trip))
        ratio, chosen = sorted((sends / floor, i) for i, (sends, floor, *_) in enumerate(rounds))[1]
        sends, floor, commit, trip = rounds[chosen]
        figures["send_to_delivered_p50_ms"] = round(sends, 2)
        figures["floor_p50_ms"] = round(floor, 2)
        figures["commit_p50_ms"] = round(commit, 2)
        figures["tls_ping_pong_p50_ms"] = round(trip, 2)
        figures["ratio_to_floor"] = round(ratio, 2)
        before = 5 + 3 * (options.singles // 3)
        pipe.send(before + options.count)
        seconds = await pipelined(node, options.count)
        figures["pipelined"] = options.count
        figures["pipelined_delivered_per_s"] = round(options.count / seconds)
        got = await asyncio.to_thread(pipe.recv)
        assert got == before + options.count, got
        pipe.send("stop")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--singles", type=int, default=300)
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    port = 20_000 + os.getpid() % 10_000
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=receiver, args=(folder, port, theirs))
        process.start()
        assert ours.recv() == "ready"
        figures = asyncio.run(measure(Path(folder), port, ours, options))
        process.join()
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

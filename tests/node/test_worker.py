"""The thread that owns the history: what waits shares a commit, and order is kept."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from tests.node.fixtures import (
    BOB,
    CLASSIC,
    HERE,
    LIMIT_S,
    ME,
    NOW,
    OWN,
    an_id,
    classic_text,
    run,
    send,
)

from netchat.delivery.effects import Dial, Settle
from netchat.delivery.inputs import (
    ConfirmArrived,
    Input,
    ItemsArrived,
    MailArrived,
    ReceiptArrived,
    TextArrived,
    TimerFired,
)
from netchat.delivery.notices import MessagesAccepted, MessagesArrived
from netchat.errors import StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX
from netchat.model import DisplayText, Item, ItemKind, Name
from netchat.node import worker as worker_module
from netchat.node.pump import Batch, Owner, Pump
from netchat.node.worker import Worker
from netchat.store.database import MEMORY, open_database

OWNER = Owner(ME, OWN.peer_id, allow_classic=True)


def timer(number: int) -> TimerFired:
    return TimerFired(Name(f"p{number}"), 0)


class FakePump:
    """Remembers its batches; a step or a question may be held up until the test lets it go."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Input]] = []
        self.threads: set[str] = set()
        self.bug: Exception | None = None
        self.is_unsettled = False
        self.settled = threading.Event()

    def settle(self, now_ms: int) -> Batch:
        if self.is_unsettled:
            self.is_unsettled = False
            self.settled.set()
            return Batch([("settled", now_ms)])  # type: ignore[list-item]  # only passed through
        return Batch(())

    def start(self, now_ms: int) -> Sequence[Any]:
        return [("started", now_ms)]

    def step_batch(
        self, now_ms: int, events: Sequence[Input], early: Callable[[Batch], None]
    ) -> Batch:
        self.threads.add(threading.current_thread().name)
        if self.bug is not None:
            raise self.bug
        self.batches.append(events)
        return Batch([(now_ms, len(events))])  # type: ignore[list-item]  # only passed through


class Held:
    """A question that keeps the thread busy until it is let go."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._free = threading.Event()

    def __call__(self, pump: object) -> str:
        self._loop.call_soon_threadsafe(self._asked.set)
        assert self._free.wait(LIMIT_S)
        return "held"

    async def begun(self) -> None:
        await self._asked.wait()

    def let_go(self) -> None:
        self._free.set()


@asynccontextmanager
async def working(pump: Any, batches: list[Batch] | None = None) -> AsyncIterator[Worker]:
    worker = Worker(pump, lambda: NOW, [].append if batches is None else batches.append)
    worker.start()
    try:
        yield worker
    finally:
        await worker.close()


def test_what_waits_is_stepped_together_in_order() -> None:
    """Up to the size of a batch, whatever has come while the thread was busy."""
    pump = FakePump()
    events = [timer(number) for number in range(BATCH_INPUTS_MAX + 44)]

    async def main() -> None:
        async with working(pump) as worker, asyncio.TaskGroup() as tasks:
            held = Held()
            tasks.create_task(worker.ask(held))
            await held.begun()
            for event in events:
                worker.submit(event)
            held.let_go()

    run(main)
    assert pump.batches == [events[:BATCH_INPUTS_MAX], events[BATCH_INPUTS_MAX:]]
    assert pump.threads == {"netchat-pump"}


def test_batches_reach_the_loop_in_order() -> None:
    """What the last process left comes first, then each batch, with the time it was stepped at."""
    batches: list[Batch] = []

    async def main() -> None:
        loop_thread = threading.current_thread()

        def on_batch(batch: Batch) -> None:
            assert threading.current_thread() is loop_thread
            batches.append(batch)

        worker = Worker(FakePump(), lambda: NOW, on_batch)  # type: ignore[arg-type]
        worker.start()
        for number in range(2):
            worker.submit(timer(number))
            await worker.ask(lambda _: None)
        await worker.close()

    run(main)
    assert [batch.effects for batch in batches] == [[("started", NOW)], [(NOW, 1)], [(NOW, 1)]]


@pytest.mark.parametrize("then", ["nothing", "a question", "the end"])
def test_notes_of_receipts_are_settled_when_nothing_comes_to_do_so(then: str) -> None:
    """A little later by itself, and before anything that reads, or ends."""
    pump, batches = FakePump(), list[Batch]()

    async def main() -> None:
        async with working(pump, batches) as worker:
            pump.is_unsettled = True
            worker.submit(timer(1))
            if then == "nothing":
                assert await asyncio.to_thread(pump.settled.wait, LIMIT_S)
            if then == "a question":
                assert not await worker.ask(lambda one: one.is_unsettled)
        assert not pump.is_unsettled
        assert [*batches[-1].effects] == [("settled", NOW)]

    run(main)


def test_a_question_sees_everything_submitted_before_it_and_nothing_after() -> None:
    """Committed before the question, though it was waiting in the same moment."""
    pump = FakePump()

    async def main() -> None:
        async with working(pump) as worker, asyncio.TaskGroup() as tasks:
            held = Held()
            tasks.create_task(worker.ask(held))
            await held.begun()
            worker.submit(timer(1))
            worker.submit(timer(2))
            question = tasks.create_task(worker.ask(lambda pump: list(pump.batches)))  # type: ignore[attr-defined]
            await asyncio.sleep(0)  # the question has been asked
            worker.submit(timer(3))
            held.let_go()
            assert await question == [[timer(1), timer(2)]]

    run(main)
    assert pump.batches == [[timer(1), timer(2)], [timer(3)]]


def test_a_real_pump_answers_what_was_sent() -> None:
    """The history shows a message as soon as its sender can ask."""
    batches: list[Batch] = []

    async def main() -> None:
        with closing(open_database(MEMORY)) as connection:
            async with working(Pump(connection, OWNER), batches) as worker:
                worker.submit(send(1, found=CLASSIC))
                worker.submit(classic_text(2))
                page = await worker.ask(lambda pump: pump.page(BOB, None, 10))
                assert [str(message.text) for message in page] == ["text 1", "text 2"]

    run(main)
    effects = [effect for batch in batches for effect in batch.effects]
    assert effects == [
        MessagesAccepted((an_id(1),)),
        Dial(an_id(1), BOB, HERE),
        MessagesArrived(BOB, ((an_id(2), DisplayText("text 2")),), unverified=True),
        Settle(an_id(2)),
    ]


def test_a_question_that_fails_fails_for_the_one_who_asked() -> None:
    """The thread goes on."""

    def refuse(_: Pump) -> None:
        raise StoreUnavailable("no")

    async def main() -> None:
        async with working(FakePump()) as worker:
            with pytest.raises(StoreUnavailable, match="no"):
                await worker.ask(refuse)
            assert await worker.ask(lambda _: 7) == 7

    run(main)


@pytest.mark.parametrize("bad", [False, True])
def test_nobody_waits_for_the_answer_any_more(bad: bool) -> None:
    """A face that gave up must not break the thread or the loop."""

    async def main() -> None:
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
        async with working(FakePump()) as worker, asyncio.TaskGroup() as tasks:
            held = Held()
            tasks.create_task(worker.ask(held))
            await held.begun()
            impatient = tasks.create_task(worker.ask(lambda _: 1 / 0 if bad else 1))
            await asyncio.sleep(0)  # the question has been asked
            impatient.cancel()
            held.let_go()
            assert await worker.ask(lambda _: "next") == "next"
        assert problems == []

    run(main)


def test_a_bug_in_the_thread_ends_the_node() -> None:
    """Nothing is decided any more, so it must not look as if all were well."""
    pump = FakePump()
    pump.bug = AssertionError("a bug")

    async def main() -> None:
        async with working(pump) as worker:
            worker.submit(timer(1))
            with pytest.raises(AssertionError, match="a bug"):
                await worker.failure

    run(main)


def test_close_commits_what_was_submitted_before() -> None:
    """However much it is: what was accepted is on disk when the program ends."""
    pump = FakePump()
    events = [timer(number) for number in range(1_000)]

    async def main() -> None:
        async with working(pump) as worker:
            for event in events:
                worker.submit(event)
        assert worker.failure.cancelled()

    run(main)
    assert [event for batch in pump.batches for event in batch] == events


def test_close_does_not_wait_for_what_comes_again() -> None:
    """A flood of items or mail was confirmed to nobody. What a person asked for is committed, and a
    classic text, too: nobody brings it a second time."""
    pump = FakePump()
    items = ItemsArrived(1, 1, (Item(1, ItemKind.TEXT, an_id(1), 1, DisplayText("hi")),))
    letter = MailArrived(1, OWN.peer_id, BOB, b"", 1, (), (), None, b"")
    kept: list[Input] = [send(1), classic_text(2), ReceiptArrived(1, ((1, 1),)), timer(3)]

    async def main() -> None:
        async with working(pump) as worker, asyncio.TaskGroup() as tasks:
            worker.submit(items)
            held = Held()
            tasks.create_task(worker.ask(held))
            await held.begun()
            for event in kept:
                for one in (items, event, letter):
                    worker.submit(one)
            closing_up = tasks.create_task(worker.close())
            await asyncio.sleep(0)  # it has begun
            held.let_go()
            await closing_up

    run(main)
    assert pump.batches == [[items], kept]


def test_nobody_is_answered_after_the_end() -> None:
    """A question that no thread takes is refused; it does not wait for ever."""

    async def main() -> None:
        async with working(FakePump()) as worker:
            pass
        with pytest.raises(StoreUnavailable):
            await worker.ask(lambda _: None)

    run(main)


def test_a_worker_that_never_began_is_closed() -> None:
    """The disk refused at the start: the error is said, and closing does not wait for a thread."""

    async def main() -> None:
        with closing(open_database(MEMORY)) as connection:
            connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
            worker = Worker(Pump(connection, OWNER), lambda: NOW, pytest.fail)
            with pytest.raises(StoreUnavailable):
                worker.start()
            await worker.close()

    run(main)


def test_whoever_waits_for_room_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a batch that comes to nothing; and at the first word of one that comes to more."""
    monkeypatch.setattr(worker_module, "WORKER_BYTES_MAX", 100)
    full: list[bool] = []

    class Silent(FakePump):
        def step_batch(
            self, now_ms: int, events: Sequence[Input], early: Callable[[Batch], None]
        ) -> Batch:
            early(Batch(()))
            return Batch(())

    async def main() -> None:
        worker = Worker(Silent(), lambda: NOW, lambda _: full.append(worker.is_full))  # type: ignore[arg-type]  # a fake pump
        worker.start()
        full.clear()
        worker.submit(ConfirmArrived(1, tuple((an_id(n), "") for n in range(9))))
        await worker.ask(lambda _: None)
        await worker.close()

    run(main)
    assert full == [False, False]


LARGE = DisplayText("x" * 1_000)


@pytest.mark.parametrize(
    ("event", "size"),
    [
        (ItemsArrived(1, 1, (Item(1, ItemKind.TEXT, an_id(1), 1, LARGE),)), 1_000),
        (ItemsArrived(1, 1, tuple(Item(n, ItemKind.VOID, an_id(n), 1) for n in range(9))), 1_000),
        (ConfirmArrived(1, tuple((an_id(n), "") for n in range(9))), 1_000),
        (ReceiptArrived(1, tuple((n, n) for n in range(1, 10))), 1_000),
        (TextArrived(an_id(1), BOB, LARGE, "192.0.2.7"), 1_000),
        (MailArrived(1, OWN.peer_id, BOB, b"", 1, (), (), None, bytes(250)), 1_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_is_full_of_bytes_as_well(
    monkeypatch: pytest.MonkeyPatch, event: Input, size: int
) -> None:
    """A frame may have a mebibyte: ten thousand of them would be more than a machine has."""
    monkeypatch.setattr(worker_module, "WORKER_BYTES_MAX", 3 * size)

    async def main() -> None:
        async with working(FakePump()) as worker, asyncio.TaskGroup() as tasks:
            held = Held()
            tasks.create_task(worker.ask(held))
            await held.begun()
            worker.submit(event)
            assert not worker.is_full
            worker.submit(event)
            worker.submit(event)
            assert worker.is_full
            held.let_go()
            await worker.ask(lambda _: None)
            assert not worker.is_full

    run(main)


def test_it_says_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers are then turned away until the disk has caught up."""
    monkeypatch.setattr(worker_module, "WORKER_QUEUE_MAX", 3)

    async def main() -> None:
        async with working(FakePump()) as worker, asyncio.TaskGroup() as tasks:
            held = Held()
            tasks.create_task(worker.ask(held))
            await held.begun()
            for number in range(3):
                assert not worker.is_full
                worker.submit(timer(number))
            assert worker.is_full
            held.let_go()
            await worker.ask(lambda _: None)
            assert not worker.is_full

    run(main)

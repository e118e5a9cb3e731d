"""The thread that owns a profile's history: it steps the pump over whatever has come meanwhile.

Inputs that wait when the thread is free share one commit (group commit). Questions to the history
are answered between two batches, so they see everything that was committed before.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from netchat.delivery.inputs import (
    ConfirmArrived,
    Input,
    ItemsArrived,
    MailArrived,
    ReceiptArrived,
    TextArrived,
)
from netchat.errors import StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX, RECEIPTS_NOTED_S, WORKER_BYTES_MAX, WORKER_QUEUE_MAX
from netchat.node.pump import Batch, Pump

T = TypeVar("T")

_COMES_AGAIN = (ItemsArrived, MailArrived)
"""Nobody was told that these are here, so their authors send them again. A classic text is not one
of them: its sender takes silence for success."""


@dataclass(frozen=True, slots=True)
class _Question:
    ask: Callable[[Pump], Any]
    answer: "asyncio.Future[Any]"


class Worker:
    """Runs ``pump`` in its own thread and hands every ``Batch`` to ``on_batch`` on the loop."""

    def __init__(
        self, pump: Pump, now_ms: Callable[[], int], on_batch: Callable[[Batch], None]
    ) -> None:
        self._pump = pump
        self._now_ms = now_ms
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[Input | _Question | None] = queue.SimpleQueue()
        self._is_closed = False
        self._submitted_bytes = 0
        """Only ever grows, and only the loop writes it; so is ``_stepped_bytes`` the thread's."""
        self._stepped_bytes = 0
        self._thread = threading.Thread(target=self._main, name="netchat-pump", daemon=True)
        self.failure: asyncio.Future[None] = self._loop.create_future()
        """Fails when the thread died of a bug: nothing is decided then, so the node must end."""

    def start(self) -> None:
        """Take up what an earlier process left, and begin. Raises StoreUnavailable."""
        effects = self._pump.start(self._now_ms())
        self._thread.start()
        self._on_batch(Batch(effects))

    @property
    def is_full(self) -> bool:
        """Tell whether strangers have to be turned away until the disk has caught up."""
        waiting_bytes = self._submitted_bytes - self._stepped_bytes
        return self._waiting.qsize() >= WORKER_QUEUE_MAX or waiting_bytes >= WORKER_BYTES_MAX

    def submit(self, event: Input) -> None:
        """Queue an input; never waits. What follows from it comes through ``on_batch``."""
        self._submitted_bytes += _size_of(event)
        self._waiting.put(event)

    async def ask(self, question: Callable[[Pump], T]) -> T:
        """Run ``question`` on the thread, behind everything submitted before it.

        Raises StoreUnavailable: the thread has ended; and what ``question`` raises.
        """
        if self._is_closed:
            raise StoreUnavailable("the history is closed")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Question(question, answer))
        return await answer

    async def close(self) -> None:
        """Commit what was submitted before, and end the thread; nothing if it never began.

        What comes again is left to that: whoever leaves does not wait for a flood of it.
        """
        self._is_closed = True
        if self._thread.ident is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
        self.failure.cancel()

    # --- on the thread ---------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._loop.call_soon_threadsafe(_set_exception, self.failure, error)

    def _run(self) -> None:
        while True:
            events: list[Input] = []
            entry = self._next()
            while not isinstance(entry, _Question) and entry is not None:
                if not (self._is_closed and isinstance(entry, _COMES_AGAIN)):
                    events.append(entry)
                if len(events) >= BATCH_INPUTS_MAX or self._waiting.empty():
                    break
                entry = self._waiting.get()
            if events:
                self._step(events)
            if entry is None or isinstance(entry, _Question):
                self._settle()
            if entry is None:
                return
            if isinstance(entry, _Question):
                self._answer(entry)

    def _next(self) -> Input | _Question | None:
        """Wait for something to do; notes of receipts wait for company only so long."""
        if self._pump.is_unsettled:
            try:
                return self._waiting.get(timeout=RECEIPTS_NOTED_S)
            except queue.Empty:
                self._settle()
        return self._waiting.get()

    def _settle(self) -> None:
        batch = self._pump.settle(self._now_ms())
        if batch.effects or batch.links_lost:
            self._tell(batch)

    def _step(self, events: Sequence[Input]) -> None:
        was_full = self.is_full
        # Counted before anything is told, so that whoever waits for room finds it then.
        self._stepped_bytes += sum(map(_size_of, events))
        batch = self._pump.step_batch(self._now_ms(), events, self._tell)
        if batch.effects or batch.refused or batch.links_lost or was_full:
            self._tell(batch)

    def _tell(self, batch: Batch) -> None:
        self._loop.call_soon_threadsafe(self._on_batch, batch)

    def _answer(self, question: _Question) -> None:
        try:
            value = question.ask(self._pump)
        except Exception as error:
            self._loop.call_soon_threadsafe(_set_exception, question.answer, error)
        else:
            self._loop.call_soon_threadsafe(_set_result, question.answer, value)


def _size_of(event: Input) -> int:
    """Return about how much memory an input from the network holds; of others next to nothing."""
    match event:
        case ItemsArrived(items=items):
            return 64 + sum(128 if one.text is None else 128 + len(one.text.raw) for one in items)
        case MailArrived(body=body):
            return 4 * len(body)
        case ConfirmArrived(results=results):
            return 64 + 128 * len(results)
        case ReceiptArrived(ranges=confirmed, results=results):
            return 64 + 128 * (len(confirmed) + len(results))
        case TextArrived(text=text):
            return 64 + len(text.raw)
        case _:
            return 64


def _set_result(answer: "asyncio.Future[Any]", value: object) -> None:
    if not answer.done():
        answer.set_result(value)


def _set_exception(answer: "asyncio.Future[Any]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

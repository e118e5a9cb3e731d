"""What the node does when its disk refuses, and what it takes and tells at its door."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.node.fixtures import BOB, CAROL, ME, an_id, run
from tests.node.nodes import Directory, Running, directory, running

from netchat.api import (
    DirectoryLost,
    KeyRotated,
    MessageReceived,
    MessagesMissing,
    QueuedMessagesEnded,
    RecordSuspicious,
    Registered,
    SendOutcome,
    Sent,
    TrustDecision,
)
from netchat.delivery import notices
from netchat.delivery.inputs import Input, TextArrived, TimerFired
from netchat.errors import NoKey, StoreUnavailable, TextTooLong, TrustError
from netchat.limits import CLOSE_WAIT_S, TEXT_BYTES_MAX
from netchat.model import DeleteOutcome, DisplayText, Name, TrustState
from netchat.node import node as node_module
from netchat.node.node import ChatNode
from netchat.node.pump import Batch, Refused
from netchat.wire.classic import encode_text

ARRIVED = TextArrived(an_id(0), BOB, DisplayText("precious"), "loopback")


# --- a message that its disk refused -------------------------------------------------------------


class FakeArrival:
    def __init__(self) -> None:
        self.was_turned_away = False

    def turn_away(self) -> None:
        self.was_turned_away = True


class FakeWorker:
    def __init__(self) -> None:
        self.submitted: asyncio.Queue[Input] = asyncio.Queue()

    def submit(self, event: Input) -> None:
        self.submitted.put_nowait(event)


def refused(age_s: float) -> tuple[FakeArrival, ChatNode, FakeWorker]:
    """Refuse a message that came ``age_s`` ago; only what decides on it is really there."""
    arrival, worker = FakeArrival(), FakeWorker()
    node = ChatNode.__new__(ChatNode)
    node._arrivals = {an_id(0): arrival}  # type: ignore[dict-item]  # the part of it that is used
    node._arrived_s = {an_id(0): asyncio.get_running_loop().time() - age_s}
    node._worker = worker  # type: ignore[assignment]  # likewise
    node._arrival_refused(an_id(0), ARRIVED)
    return arrival, node, worker


def test_a_sender_that_still_looks_is_turned_away() -> None:
    """It learns by the reset that nothing was stored."""

    async def main() -> None:
        arrival, node, worker = refused(age_s=0)
        assert arrival.was_turned_away
        assert an_id(0) not in node._arrivals
        assert worker.submitted.empty()

    run(main)


def test_a_message_that_its_sender_takes_for_sent_is_offered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To drop it now would make ``sent`` a lie: the disk gets it again, under the same id."""
    monkeypatch.setattr(node_module, "STORE_RETRY_S", 0)

    async def main() -> None:
        arrival, node, worker = refused(age_s=CLOSE_WAIT_S)
        assert await worker.submitted.get() is ARRIVED
        assert not arrival.was_turned_away
        assert an_id(0) in node._arrivals

    run(main)


# --- a disk that refuses -------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("quick")


def alone(folder: Path, main: Callable[[Directory, Running], Awaitable[None]]) -> None:
    """Run a test with alice, and nobody else."""

    async def with_alice() -> None:
        async with directory(folder) as where, running(folder, "alice", where) as alice:
            await main(where, alice)

    run(with_alice)


class Disk:
    """Lets the disk of a node refuse everything until it is mended."""

    def __init__(self, one: Running) -> None:
        self._pump = one.node._worker._pump
        self._commit = self._pump._commit
        self.refusals = 0

    def breaks(self) -> None:
        def refuse(_: sqlite3.Connection) -> None:
            self.refusals += 1
            raise sqlite3.OperationalError("database or disk is full")

        self._pump._commit = refuse

    def is_mended(self) -> None:
        self._pump._commit = self._commit


def test_what_the_disk_does_not_take_is_told_to_who_asked(tmp_path: Path) -> None:
    """Nothing is kept of it; with room again everything goes on."""

    async def main(_: Directory, alice: Running) -> None:
        node = alice.node
        disk = Disk(alice)
        await node.send([ME], "before")
        disk.breaks()
        (sent,) = await node.send([ME], "refused")
        assert (sent.outcome, sent.reason) == (SendOutcome.FAILED, "store-unavailable")
        with pytest.raises(StoreUnavailable):
            await node.delete_newest(ME)
        with pytest.raises(StoreUnavailable):
            await node.trust(CAROL, TrustDecision.FORGET)
        with pytest.raises(StoreUnavailable):
            await node.queue(ME, ["one", "two"])
        disk.is_mended()
        assert set(await alice.texts(ME)) == {"before"}
        (sent,) = await node.send([ME], "after")
        assert sent.outcome is SendOutcome.DELIVERED
        assert len(await node.queue(ME, ["one", "two"])) == 2

    alone(tmp_path, main)


def test_a_disk_that_cannot_be_read_is_asked_by_one_nudge_at_a_time(tmp_path: Path) -> None:
    """However many batches find it so: else they would become more each time, without end."""

    async def main(_: Directory, alice: Running) -> None:
        node = alice.node
        node._on_batch(Batch((), is_unread=True))
        nudge = node._nudge
        assert nudge is not None
        again = Refused(TimerFired(ME, 0), StoreUnavailable("no"))
        node._on_batch(Batch((), [again], is_unread=True))
        assert node._nudge is nudge
        nudge.cancel()
        node._nudge_worker()
        assert node._nudge is None

    alone(tmp_path, main)


def test_what_nobody_can_seal_is_not_queued(tmp_path: Path) -> None:
    """No key is known, so nothing is kept, and no id stands for nothing."""

    async def main(_: Directory, alice: Running) -> None:
        assert await alice.node.queue(ME, []) == []
        with pytest.raises(NoKey):
            await alice.node.queue(CAROL, ["one", "two"])
        assert await alice.conversation(CAROL) == []
        assert alice.node._waiters.sends == {}

    alone(tmp_path, main)


def test_a_classic_sender_is_turned_away_by_a_disk_that_refuses(tmp_path: Path) -> None:
    """By a reset, and nothing was stored."""

    async def main(_: Directory, alice: Running) -> None:
        disk = Disk(alice)
        disk.breaks()
        where = alice.node._listener.addresses[0]
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(encode_text(BOB, "hello"))
        writer.write_eof()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        disk.is_mended()
        assert await alice.texts(BOB) == []

    alone(tmp_path, main)


def test_what_a_peer_sent_to_a_full_disk_comes_again(tmp_path: Path) -> None:
    """The link is closed without a receipt; the message is there once, when there is room."""

    async def main(where: Directory, alice: Running) -> None:
        async with running(tmp_path, "bob", where) as bob:
            await alice.node.send([BOB], "first")
            disk = Disk(bob)
            disk.breaks()
            (sent,) = await alice.node.send([BOB], "second")
            assert sent.outcome in (SendOutcome.QUEUED, SendOutcome.STORED)
            assert disk.refusals
            disk.is_mended()
            await bob.hear(MessageReceived, lambda event: str(event.text) == "second")
            await alice.hear(
                QueuedMessagesEnded, lambda event: event.outcome is SendOutcome.DELIVERED
            )
            assert await bob.texts(ME) == ["first", "second"]

    alone(tmp_path, main)


def test_a_report_that_the_disk_refused_is_offered_again(tmp_path: Path) -> None:
    """Nothing else would bring it again, and a lane would stand still for ever."""

    async def main(where: Directory, alice: Running) -> None:
        async with running(tmp_path, "bob", where):
            pass
        disk = Disk(alice)
        found = alice.node._rendezvous.locate

        async def locate(name: Name) -> object:
            disk.breaks()  # before its answer is stored
            return await found(name)

        alice.node._courier._locate = locate  # type: ignore[assignment]
        sending = asyncio.ensure_future(alice.node.send([BOB], "hello"))
        while disk.refusals < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        alice.node._courier._locate = found
        disk.is_mended()
        (sent,) = await sending
        assert sent.outcome in (SendOutcome.STORED, SendOutcome.QUEUED)
        assert (await alice.node.person(BOB)).state is TrustState.TOFU

    alone(tmp_path, main)


def test_a_bug_in_the_pump_ends_the_node(tmp_path: Path) -> None:
    """Nothing is decided any more, so it must not look as if all were well."""

    async def main() -> None:
        async with directory(tmp_path) as where, running(tmp_path, "alice", where) as alice:

            def bug(_: sqlite3.Connection) -> None:
                raise RuntimeError("a bug")

            alice.node._worker._pump._commit = bug
            alice.node._worker.submit(TimerFired(BOB, 0))
            await asyncio.get_running_loop().create_future()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(RuntimeError, match="a bug")


# --- the door ------------------------------------------------------------------------------------


def test_a_text_that_no_peer_can_take_is_refused_at_once(tmp_path: Path) -> None:
    """Before it is anywhere; the longest one goes."""

    async def main(_: Directory, alice: Running) -> None:
        with pytest.raises(TextTooLong):
            await alice.node.send([ME], "x" * (TEXT_BYTES_MAX + 1))
        with pytest.raises(TextTooLong):
            await alice.node.send([ME], "ü" * (TEXT_BYTES_MAX // 2 + 1))
        assert await alice.conversation(ME) == []
        (sent,) = await alice.node.send([ME], "x" * TEXT_BYTES_MAX)
        assert sent.outcome is SendOutcome.DELIVERED

    alone(tmp_path, main)


def test_half_a_character_does_not_break_the_store(tmp_path: Path) -> None:
    """A terminal may hand over a lone surrogate; it is replaced."""

    async def main(_: Directory, alice: Running) -> None:
        await alice.node.send([ME], "a\ud800b")
        assert await alice.texts(ME) == ["a?b", "a?b"]

    alone(tmp_path, main)


def test_what_happens_before_the_first_face_waits_for_it(tmp_path: Path) -> None:
    """A face that begins later hears of what comes then."""

    async def main() -> None:
        async with (
            directory(tmp_path) as where,
            running(tmp_path, "alice", where, registers=False) as alice,
        ):
            await alice.node.register()
            registered = await alice.hear(Registered)
            assert (registered.url, registered.hosted, registered.again) == (
                where.url,
                False,
                False,
            )
            later = alice.node.events()
            await where.stop()
            assert isinstance(await anext(later), DirectoryLost)
            await where.start()

    run(main)


def test_events_end_with_the_node(tmp_path: Path) -> None:
    """A face need not be told otherwise."""

    async def main() -> None:
        async with directory(tmp_path) as where:
            async with running(tmp_path, "alice", where) as alice:
                later = alice.node.events()
                waiting = asyncio.ensure_future(anext(later, None))
                await asyncio.sleep(0)
            assert await waiting is None

    run(main)


def test_notices_become_events(tmp_path: Path) -> None:
    """Those that no test brings about by itself."""
    told = [
        (notices.NumbersMissing(BOB, 3), MessagesMissing(BOB, 3)),
        (notices.KeyMoved(BOB), KeyRotated(BOB)),
        (notices.RecordRefused(BOB, "rollback"), RecordSuspicious(BOB, "rollback")),
    ]

    async def main(_: Directory, alice: Running) -> None:
        for notice, event in told:
            alice.node._notice(notice)
            assert await alice.hear(type(event)) == event

    alone(tmp_path, main)


def test_what_cannot_be_decided_is_an_error(tmp_path: Path) -> None:
    """No key waits; or the name has a key, so that plain text is no question."""

    async def main(where: Directory, alice: Running) -> None:
        with pytest.raises(NoKey):
            await alice.node.trust(BOB, TrustDecision.ACCEPT)
        async with running(tmp_path, "bob", where):
            await alice.node.send([BOB], "hello")
        with pytest.raises(TrustError):
            await alice.node.trust(BOB, TrustDecision.ALLOW_CLASSIC)
        person = await alice.node.trust(BOB, TrustDecision.FORGET)
        assert (person.state, person.key) == (TrustState.NONE, None)
        assert await alice.node.people() == [person]

    alone(tmp_path, main)


def test_there_may_be_nothing_to_delete(tmp_path: Path) -> None:
    """By name or by id."""

    async def main(_: Directory, alice: Running) -> None:
        assert await alice.node.delete_newest(BOB) is DeleteOutcome.NOTHING
        assert await alice.node.delete(an_id(1)) is DeleteOutcome.NOTHING
        assert await alice.node.waiting() == []

    alone(tmp_path, main)


def test_a_send_whose_end_nobody_reported_is_as_the_disk_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits longest is told what is known."""
    monkeypatch.setattr(node_module, "SEND_WAIT_S", 0.05)

    async def main(where: Directory, alice: Running) -> None:
        async with running(tmp_path, "bob", where):
            pass

        async def never(name: Name) -> object:
            return await asyncio.get_running_loop().create_future()

        alice.node._courier._locate = never  # type: ignore[assignment]
        (sent,) = await alice.node.send([BOB], "hello")
        assert sent == Sent(BOB, SendOutcome.QUEUED, sent.message_id)
        monkeypatch.setattr(node_module, "EXIT_WAIT_S", 0.05)

    alone(tmp_path, main)

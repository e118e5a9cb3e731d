"""Two nodes in one loop, with real disks, sockets and a directory: what people see of it all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.node.fixtures import BOB, BOBS, CAROL, ME, OTHER, OWN, run
from tests.node.nodes import Directory, Running, directory, running

from netchat.api import (
    DirectoryLost,
    KeyChanged,
    MessageDeleted,
    MessageReceived,
    MessagesHeld,
    QueuedMessagesEnded,
    Registered,
    SendOutcome,
    TrustDecision,
)
from netchat.delivery.policy import Deletes, Policy
from netchat.errors import KeyMismatch, NoKey
from netchat.identity.numbers import contact_text, safety_number
from netchat.model import (
    Address,
    ClaimedName,
    DeleteOutcome,
    MessageId,
    MessageState,
    Name,
    TrustState,
)
from netchat.wire.classic import encode_text

ALICE = ME


pytestmark = pytest.mark.usefixtures("quick")


def with_directory(folder: Path, main: Callable[[Directory], Awaitable[None]]) -> None:
    async def with_one() -> None:
        async with directory(folder) as where:
            await main(where)

    run(with_one)


def between(folder: Path, main: Callable[[Directory, Running, Running], Awaitable[None]]) -> None:
    """Run a test between alice and bob, who are both there."""

    async def both(where: Directory) -> None:
        async with (
            running(folder, "alice", where) as alice,
            running(folder, "bob", where) as bob,
        ):
            await main(where, alice, bob)

    with_directory(folder, both)


async def say(
    one: Running, to: Name, text: str, outcome: SendOutcome, reason: str | None = None
) -> MessageId:
    (sent,) = await one.node.send([to], text)
    assert (sent.outcome, sent.reason) == (outcome, reason)
    assert sent.message_id is not None
    return sent.message_id


def got(text: str) -> Callable[[MessageReceived], bool]:
    return lambda event: str(event.text) == text


# --- online --------------------------------------------------------------------------------------


def test_what_is_sent_is_on_the_disk_of_the_other(tmp_path: Path) -> None:
    """DELIVERED, both ways over one link, in one order on both sides."""

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        await say(alice, BOB, "hello", SendOutcome.DELIVERED)
        received = await bob.hear(MessageReceived)
        assert (received.peer, str(received.text)) == (ALICE, "hello")
        assert not received.unverified
        await say(bob, ALICE, "hi", SendOutcome.DELIVERED)
        assert await bob.texts(ALICE) == await alice.texts(BOB) == ["hello", "hi"]
        assert len(alice.node._links) == len(bob.node._links) == 1
        assert (await alice.node.person(BOB)).key == BOBS.peer_id
        assert (await bob.node.person(ALICE)).key == OWN.peer_id
        assert await alice.node.waiting() == []

    between(tmp_path, main)


def test_many_that_are_queued_arrive_once_and_in_order(tmp_path: Path) -> None:
    """While both send at once."""
    texts = [f"text {number}" for number in range(300)]

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        await say(alice, BOB, "first", SendOutcome.DELIVERED)
        ids, _ids = await asyncio.gather(alice.node.queue(BOB, texts), bob.node.queue(ALICE, texts))
        assert len(ids) == 300
        await bob.hear(MessageReceived, got("text 299"))
        await alice.hear(MessageReceived, got("text 299"))
        for one, peer in ((alice, BOB), (bob, ALICE)):
            incoming = [x for x in await one.conversation(peer) if not x.outgoing]
            assert [str(x.text) for x in incoming][-300:] == texts

    between(tmp_path, main)


def test_both_that_write_at_once_end_with_one_link(tmp_path: Path) -> None:
    """Each dials the other; whatever link stays, both messages arrive, once."""

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        await asyncio.gather(
            say(alice, BOB, "from alice", SendOutcome.DELIVERED),
            say(bob, ALICE, "from bob", SendOutcome.DELIVERED),
        )
        assert sorted(await alice.texts(BOB)) == ["from alice", "from bob"]
        assert sorted(await bob.texts(ALICE)) == ["from alice", "from bob"]

    between(tmp_path, main)


def test_a_message_to_ourselves_is_delivered(tmp_path: Path) -> None:
    """It is in the history twice: as sent and as received. One delete takes both."""

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        await say(alice, ALICE, "remember", SendOutcome.DELIVERED)
        await alice.hear(MessageReceived, got("remember"))
        assert await alice.texts(ALICE) == ["remember"] * 2
        assert await alice.node.delete_newest(ALICE) is DeleteOutcome.APPLIED
        assert [one.text for one in await alice.conversation(ALICE)] == [None, None]

    between(tmp_path, main)


def test_nobody_of_that_name_is_an_error(tmp_path: Path) -> None:
    """Nothing is kept of it."""

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        (sent,) = await alice.node.send([CAROL], "hello")
        assert (sent.outcome, sent.message_id) == (SendOutcome.NO_SUCH_PERSON, None)
        assert await alice.conversation(CAROL) == []

    between(tmp_path, main)


def test_several_people_at_once(tmp_path: Path) -> None:
    """Each with an outcome of its own; a name that stands twice is served once."""

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        sent = await alice.node.send([BOB, CAROL, Name("BOB"), ALICE], "hello")
        assert [(str(one.peer), one.outcome) for one in sent] == [
            ("bob", SendOutcome.DELIVERED),
            ("carol", SendOutcome.NO_SUCH_PERSON),
            ("alice", SendOutcome.DELIVERED),
        ]
        assert await bob.texts(ALICE) == ["hello"]

    between(tmp_path, main)


# --- deletes and reading -------------------------------------------------------------------------


def test_a_message_of_any_age_is_deleted_by_its_id(tmp_path: Path) -> None:
    """On both disks; the newer one stays."""

    async def main(_: Directory, alice: Running, bob: Running) -> None:
        first = await say(alice, BOB, "first", SendOutcome.DELIVERED)
        await say(alice, BOB, "second", SendOutcome.DELIVERED)
        assert await alice.node.delete(first) is DeleteOutcome.APPLIED
        assert (await bob.hear(MessageDeleted)).message_id == first
        for one, peer in ((alice, BOB), (bob, ALICE)):
            shown = [str(message.text) for message in await one.conversation(peer)]
            assert shown == ["None", "second"]
        assert await alice.node.delete(first) is DeleteOutcome.NOTHING

    between(tmp_path, main)


def test_a_peer_may_choose_to_keep_what_its_author_deletes(tmp_path: Path) -> None:
    """The author is told the truth."""

    async def main(where: Directory) -> None:
        keeps = Policy(Deletes.KEEP)
        async with (
            running(tmp_path, "alice", where) as alice,
            running(tmp_path, "bob", where, policy=keeps),
        ):
            await say(alice, BOB, "hello", SendOutcome.DELIVERED)
            assert await alice.node.delete_newest(BOB) is DeleteOutcome.KEPT

    with_directory(tmp_path, main)


def test_a_peer_may_choose_to_tell_what_it_has_read(tmp_path: Path) -> None:
    """By reading the conversation to its end."""

    async def main(where: Directory) -> None:
        tells = Policy(tells_reading=True)
        async with (
            running(tmp_path, "alice", where) as alice,
            running(tmp_path, "bob", where, policy=tells) as bob,
        ):
            await say(alice, BOB, "hello", SendOutcome.DELIVERED)
            (message,) = await bob.conversation(ALICE)
            assert await bob.node.conversation(ALICE, (message.hlc, message.message_id)) == []
            await alice.hear(QueuedMessagesEnded)
            (message,) = await alice.conversation(BOB)
            assert message.state is MessageState.READ
            assert message.read_ms is not None

    with_directory(tmp_path, main)


# --- away ----------------------------------------------------------------------------------------


async def met(folder: Path, where: Directory, alice: Running) -> None:
    """Bob was there, and has gone."""
    async with running(folder, "bob", where):
        await say(alice, BOB, "first", SendOutcome.DELIVERED)


def test_what_is_for_somebody_away_is_stored_and_then_delivered_once(tmp_path: Path) -> None:
    """Sealed in the mailbox; when bob is back it is on his disk, once, and alice learns it."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            await met(tmp_path, where, alice)
            sent = await say(alice, BOB, "second", SendOutcome.STORED)
            async with running(tmp_path, "bob", where) as bob:
                await bob.hear(MessageReceived, got("second"))
                ended = await alice.hear(
                    QueuedMessagesEnded,
                    lambda event: event.outcome is SendOutcome.DELIVERED,
                )
                assert ended.message_ids == (sent,)
                await say(alice, BOB, "third", SendOutcome.DELIVERED)
                assert await bob.texts(ALICE) == ["first", "second", "third"]
                told = [str(one.text) for one in bob.events if isinstance(one, MessageReceived)]
                assert told == ["second", "third"]
                assert await alice.node.waiting() == []

    with_directory(tmp_path, main)


def test_what_was_stored_is_delivered_while_its_sender_is_away(tmp_path: Path) -> None:
    """Who learns of it when both meet again."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            await met(tmp_path, where, alice)
            await say(alice, BOB, "second", SendOutcome.STORED)
        async with running(tmp_path, "bob", where) as bob:
            await bob.hear(MessageReceived, got("second"))
            async with running(tmp_path, "alice", where) as alice:
                await alice.hear(QueuedMessagesEnded)
                assert [one.state for one in await alice.conversation(BOB)] == [
                    MessageState.DELIVERED,
                    MessageState.DELIVERED,
                ]
            assert await bob.texts(ALICE) == ["first", "second"]

    with_directory(tmp_path, main)


def test_somebody_who_was_never_there_together_with_us_gets_mail(tmp_path: Path) -> None:
    """The record that the directory keeps is enough to seal for."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "bob", where):
            pass
        async with running(tmp_path, "alice", where) as alice:
            await say(alice, BOB, "hello", SendOutcome.STORED)
        async with running(tmp_path, "bob", where) as bob:
            received = await bob.hear(MessageReceived)
            assert (received.peer, received.unverified) == (ALICE, False)

    with_directory(tmp_path, main)


def test_what_is_deleted_before_it_left_never_does(tmp_path: Path) -> None:
    """And what lies in the mailbox is followed by its delete."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            await met(tmp_path, where, alice)
            await say(alice, BOB, "oops", SendOutcome.STORED)
            outcome = await alice.node.delete_newest(BOB)
            assert outcome in (DeleteOutcome.QUEUED, DeleteOutcome.CANCELLED)
            await say(alice, BOB, "last", SendOutcome.STORED)
            async with running(tmp_path, "bob", where) as bob:
                await bob.hear(MessageReceived, got("last"))
                await say(alice, BOB, "now", SendOutcome.DELIVERED)
                shown = [str(one.text) for one in await bob.conversation(ALICE)]
                assert [one for one in shown if one != "None"] == ["first", "last", "now"]

    with_directory(tmp_path, main)


# --- keys ----------------------------------------------------------------------------------------


@asynccontextmanager
async def another_bob(folder: Path, where: Directory) -> AsyncIterator[Running]:
    """The operator gave the name of bob to somebody with another key."""
    assert await where.server.release(BOB)
    async with running(folder / "another", "bob", where, identity=OTHER) as other:
        yield other


@pytest.mark.parametrize("decision", [TrustDecision.ACCEPT, TrustDecision.REFUSE])
def test_another_key_stops_a_conversation_until_a_person_decides(
    tmp_path: Path, decision: TrustDecision
) -> None:
    """What waited then goes to the new key, or waits for the old one."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            await met(tmp_path, where, alice)
            async with another_bob(tmp_path, where) as other:
                await say(alice, BOB, "who are you", SendOutcome.QUEUED, "key-changed")
                event = await alice.hear(KeyChanged)
                assert (event.peer, event.was_verified) == (BOB, False)
                assert event.old_number == safety_number(OWN.peer_id, BOBS.peer_id)
                assert event.new_number == safety_number(OWN.peer_id, OTHER.peer_id)
                person = await alice.node.person(BOB)
                assert (person.key, person.pending_key) == (BOBS.peer_id, OTHER.peer_id)
                assert await other.conversation(ALICE) == []
                person = await alice.node.trust(BOB, decision)
                assert person.pending_key is None
                if decision is TrustDecision.ACCEPT:
                    await other.hear(MessageReceived, got("who are you"))
                    assert person.key == OTHER.peer_id
                else:
                    (sent,) = await alice.node.send([BOB], "still there")
                    assert sent.outcome in (SendOutcome.QUEUED, SendOutcome.STORED)
                    assert await other.conversation(ALICE) == []
                    assert person.key == BOBS.peer_id

    with_directory(tmp_path, main)


def test_mail_of_another_key_is_held_until_a_person_decides(tmp_path: Path) -> None:
    """It stands in no conversation before."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            await met(tmp_path, where, alice)
        async with another_bob(tmp_path, where) as other:
            await say(other, ALICE, "it is me", SendOutcome.STORED)
        async with running(tmp_path, "alice", where) as alice:
            assert (await alice.hear(MessagesHeld)).count == 1
            await alice.hear(KeyChanged)
            assert await alice.texts(BOB) == ["first"]
            await alice.node.trust(BOB, TrustDecision.ACCEPT)
            await alice.hear(MessageReceived, got("it is me"))

    with_directory(tmp_path, main)


def test_a_key_is_verified_by_what_the_other_side_shows(tmp_path: Path) -> None:
    """And stays so for the next run; what proves another key is refused."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            with pytest.raises(NoKey):
                await alice.node.verify(BOB, "12345")
            await met(tmp_path, where, alice)
            with pytest.raises(KeyMismatch):
                await alice.node.verify(BOB, contact_text(BOB, OTHER.peer_id))
            with pytest.raises(NoKey):
                await alice.node.trust(BOB, TrustDecision.ACCEPT)
            person = await alice.node.verify(BOB, contact_text(BOB, BOBS.peer_id))
            assert person.state is TrustState.VERIFIED
        async with running(tmp_path, "alice", where) as alice:
            assert [one.state for one in await alice.node.people()] == [TrustState.VERIFIED]

    with_directory(tmp_path, main)


# --- classic people ------------------------------------------------------------------------------


@asynccontextmanager
async def classic_peer(where: Directory, name: Name) -> AsyncIterator["asyncio.Queue[bytes]"]:
    """Somebody with the classic client, registered; everything that it reads."""
    read: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.put_nowait(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, where.client() as client:
        await client.register(name, Address(*server.sockets[0].getsockname()))
        yield read


def test_plain_text_needs_a_yes(tmp_path: Path) -> None:
    """Of the person for this name, or for everybody with --classic; else nothing leaves."""

    async def main(where: Directory) -> None:
        async with classic_peer(where, CAROL) as read:
            async with running(tmp_path, "alice", where) as alice:
                (sent,) = await alice.node.send([CAROL], "hello")
                assert (sent.outcome, sent.reason) == (SendOutcome.FAILED, "classic-not-allowed")
                assert await alice.conversation(CAROL) == []
                assert read.empty()
                await alice.node.trust(CAROL, TrustDecision.ALLOW_CLASSIC)
                await say(alice, CAROL, "allowed", SendOutcome.SENT)
                assert b"allowed" in await read.get()
            async with running(tmp_path, "dave", where, allow_classic=True) as dave:
                await say(dave, CAROL, "for everybody", SendOutcome.SENT)
                assert b"for everybody" in await read.get()

    with_directory(tmp_path, main)


async def write_classic(one: Running, sender: Name, text: str) -> None:
    """Write to a node as a classic client does, and wait until it has taken it."""
    where = one.node._listener.addresses[0]
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(encode_text(sender, text))
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_plain_text_that_claims_the_name_of_a_key_stands_apart(tmp_path: Path) -> None:
    """Whether that key was ever met, or only the directory knows it."""

    async def main(where: Directory, alice: Running, bob: Running) -> None:
        await write_classic(alice, BOB, "from nobody knows whom")
        event = await alice.hear(MessageReceived)
        assert (event.peer, event.unverified) == (ClaimedName(BOB), True)
        await say(alice, BOB, "hello", SendOutcome.DELIVERED)
        await write_classic(alice, BOB, "again")
        await alice.hear(MessageReceived, got("again"))
        assert await alice.texts(BOB) == ["hello"]
        assert await alice.texts(ClaimedName(BOB)) == ["from nobody knows whom", "again"]
        await write_classic(alice, CAROL, "plain")
        event = await alice.hear(MessageReceived, got("plain"))
        assert (event.peer, event.unverified) == (CAROL, True)

    between(tmp_path, main)


# --- the directory goes and comes ----------------------------------------------------------------


def test_people_who_are_linked_go_on_without_a_directory(tmp_path: Path) -> None:
    """And are registered again when it is back."""

    async def main(where: Directory, alice: Running, bob: Running) -> None:
        await say(alice, BOB, "before", SendOutcome.DELIVERED)
        await where.stop()
        await alice.hear(DirectoryLost)
        await bob.hear(DirectoryLost)
        await say(alice, BOB, "meanwhile", SendOutcome.DELIVERED)
        await where.start()
        await alice.hear(Registered, lambda event: event.again)
        await bob.hear(Registered, lambda event: event.again)
        await say(bob, ALICE, "after", SendOutcome.DELIVERED)
        assert set(await alice.node.names()) == {ALICE, BOB}
        assert await bob.texts(ALICE) == ["before", "meanwhile", "after"]

    between(tmp_path, main)


def test_mail_waits_in_a_directory_that_starts_again(tmp_path: Path) -> None:
    """A mailbox is on its disk."""

    async def main(where: Directory) -> None:
        async with running(tmp_path, "alice", where) as alice:
            await met(tmp_path, where, alice)
            await say(alice, BOB, "second", SendOutcome.STORED)
            await where.stop()
            await where.start()
            async with running(tmp_path, "bob", where) as bob:
                await bob.hear(MessageReceived, got("second"))

    with_directory(tmp_path, main)


def test_a_message_is_kept_though_nobody_can_be_asked(tmp_path: Path) -> None:
    """It is not known whether there is such a person; it goes when the directory says so."""

    async def main(where: Directory) -> None:
        async with (
            running(tmp_path, "bob", where) as bob,
            running(tmp_path, "alice", where) as alice,
        ):
            await where.stop()
            await say(alice, BOB, "hello", SendOutcome.QUEUED, "directory-unreachable")
            assert await alice.node.waiting() == [BOB]
            await where.start()
            await bob.hear(MessageReceived, got("hello"))

    with_directory(tmp_path, main)

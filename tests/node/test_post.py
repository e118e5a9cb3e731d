"""Sealed mail between two people, with a directory that is a list: what is settled, and when."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from tests.node.fixtures import (
    BOB,
    BOBS,
    ME,
    NOW,
    OTHER,
    OWN,
    STREAM,
    an_id,
    record_of,
    run,
    text,
    until,
)

from netchat.delivery.effects import Deposit
from netchat.delivery.inputs import Deposited, DepositFailed, Input, MailArrived
from netchat.directory.client import Fetched
from netchat.errors import DirectoryError, DirectoryRefused, DirectoryUnreachable, StoreUnavailable
from netchat.identity.keys import Identity
from netchat.identity.seal import Prekey, make_prekey, seal, unseal
from netchat.limits import MAIL_FETCH_MAX
from netchat.model import Name, PeerId, SignedRecord
from netchat.node import post as post_module
from netchat.node.introduction import Introduction
from netchat.node.post import Post
from netchat.wire.mail import MailBody, decode_mail, encode_mail

PREKEY = make_prekey()
BOBS_PREKEY = make_prekey()


class Mailbox:
    """A directory as the post sees it; it remembers what was asked in which order."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[int, bytes]] = []
        self.deposited: list[tuple[PeerId, bytes]] = []
        self.asked: list[tuple[str, int]] = []
        self.error: DirectoryError | None = None
        self.is_busy = False
        self.page = MAIL_FETCH_MAX
        self._count = 0
        self._news = asyncio.Event()

    def put(self, envelope: bytes) -> int:
        self._count += 1
        self.envelopes.append((self._count, envelope))
        self._news.set()
        return self._count

    async def deposit(self, identity: Identity, recipient: PeerId, envelope: bytes) -> int:
        if self.error is not None:
            raise self.error
        self.deposited.append((recipient, envelope))
        return NOW + 7

    async def fetch(self, identity: Identity, after: int, limit: int) -> Fetched:
        assert limit == MAIL_FETCH_MAX
        self.asked.append(("fetch", after))
        if self.error is not None:
            raise self.error
        found = [one for one in self.envelopes if one[0] > after]
        return Fetched(tuple(found[: self.page]))

    async def acknowledge(self, identity: Identity, through: int) -> None:
        self.asked.append(("acknowledge", through))
        self.envelopes = [one for one in self.envelopes if one[0] > through]

    async def live(self, identity: Identity) -> AsyncGenerator[int, None]:
        self.asked.append(("live", 0))
        if self.is_busy:
            raise DirectoryRefused("http://x", "busy", 503, "busy")
        while True:
            if self.error is not None:
                raise self.error
            self._news.clear()
            yield self._count
            await self._news.wait()

    def fail(self, error: DirectoryError | None) -> None:
        self.error = error
        self._news.set()


class Office:
    """Alice's post; the test says when the disk has what was submitted."""

    def __init__(self) -> None:
        self.client: Mailbox | None = Mailbox()
        self.submitted: list[Input] = []
        self.secrets = {PREKEY.prekey_id: PREKEY.secret}
        self.on_submit: Callable[[Input], None] = lambda event: None
        self.is_broken = False
        introduction = Introduction(OWN, ME, lambda: NOW, bytes, None)  # type: ignore[arg-type]
        introduction.stream = STREAM
        self.post = Post(
            ME,
            introduction,
            lambda: self.client,  # type: ignore[arg-type, return-value]  # what it uses of one
            self.submit,
            lambda: 0.5,
            self.secret,
            self.elsewhere,
        )

    @property
    def box(self) -> Mailbox:
        assert self.client is not None
        return self.client

    def submit(self, event: Input) -> None:
        self.submitted.append(event)
        self.on_submit(event)

    def settle_at_once(self) -> None:
        def settle(event: Input) -> None:
            assert isinstance(event, MailArrived)
            self.post.settled(event.mail)

        self.on_submit = settle

    async def secret(self, prekey_id: bytes) -> bytes | None:
        if self.is_broken:
            raise StoreUnavailable("no")
        return self.secrets.get(prekey_id)

    async def elsewhere(self, name: Name, key: PeerId) -> SignedRecord | None:
        return record_of() if key == BOBS.peer_id else None

    @property
    def arrived(self) -> list[MailArrived]:
        return [event for event in self.submitted if isinstance(event, MailArrived)]


def watching(
    main: Callable[[Office], "asyncio._CoroutineLike[None]"], *, is_busy: bool = False
) -> None:
    """Run a test while the post watches the mailbox."""

    async def watched() -> None:
        office = Office()
        office.box.is_busy = is_busy
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(office.post.watch())
            try:
                await main(office)
            finally:
                watch.cancel()
        assert office.post._settled == {}

    run(watched)


def sealed(*numbers: int, sender: Identity = BOBS, prekey: Prekey = PREKEY) -> bytes:
    """An envelope of bob's to alice."""
    body = MailBody(BOB, b"stream-b", numbers[0], tuple(text(one) for one in numbers), ())
    return seal(sender, OWN.peer_id, prekey.public, encode_mail(body))


# --- out -----------------------------------------------------------------------------------------


def deposit() -> Deposit:
    items = (text(4), text(5), text(7))
    confirms = ((an_id(9), "kept"),)
    return Deposit(BOB, BOBS.peer_id, BOBS_PREKEY.public, 4, items, confirms)


def test_an_envelope_is_sealed_for_its_recipient_and_handed_in() -> None:
    """Only the holder of the prekey reads it, and learns from whom it is."""

    async def main() -> None:
        office = Office()
        await office.post.deposit(deposit())
        numbers = ((4, 5), (7, 7))
        until_ms = NOW + 7
        done = Deposited(BOB, numbers, (an_id(9),), until_ms, BOBS.peer_id, 0.5)
        assert office.submitted == [done]
        ((recipient, envelope),) = office.box.deposited
        assert recipient == BOBS.peer_id
        sender, body = unseal(BOBS.peer_id, BOBS_PREKEY.secret, envelope)
        assert sender == OWN.peer_id
        order = deposit()
        assert decode_mail(body) == MailBody(ME, STREAM, 4, order.items, order.confirms)
        assert b"text 4" not in envelope

    run(main)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DirectoryUnreachable("http://x", "timeout"), "directory-unreachable"),
        (DirectoryRefused("http://x", "No.", 409, "mailbox-full"), "mailbox-full"),
        (DirectoryRefused("http://x", "No.", 500), "directory-refused"),
    ],
)
def test_a_deposit_that_fails_says_why(error: DirectoryError, reason: str) -> None:
    """By the code of the directory, when it gave one."""

    async def main() -> None:
        office = Office()
        office.box.fail(error)
        await office.post.deposit(deposit())
        assert office.submitted == [DepositFailed(BOB, reason, 0.5)]

    run(main)


def test_without_mailboxes_nothing_is_deposited() -> None:
    """A meeting point keeps no mail."""

    async def main() -> None:
        office = Office()
        office.client = None
        await office.post.deposit(deposit())
        assert office.submitted == [DepositFailed(BOB, "no-mailboxes", 0.5)]

    run(main)


def test_a_prekey_that_is_none_is_told() -> None:
    """Its owner signed it, but nothing can be sealed for it."""

    async def main() -> None:
        office = Office()
        order = Deposit(BOB, BOBS.peer_id, b"no prekey", 1, (text(1),), ())
        await office.post.deposit(order)
        assert [type(event) for event in office.submitted] == [DepositFailed]
        assert office.box.deposited == []

    run(main)


# --- in ------------------------------------------------------------------------------------------


def test_an_envelope_is_opened_and_submitted() -> None:
    """With who signed it, what the directory holds of that name, and its bytes as they came."""

    async def main(office: Office) -> None:
        office.settle_at_once()
        office.box.put(sealed(1, 2))
        office.post.wake()
        await until(lambda: bool(office.arrived))
        (event,) = office.arrived
        assert (event.sender, event.name, event.stream) == (BOBS.peer_id, BOB, b"stream-b")
        assert (event.base, event.items) == (1, (text(1), text(2)))
        assert event.elsewhere == record_of()
        assert decode_mail(event.body).items == event.items

    watching(main)


def test_a_mailbox_forgets_only_what_is_settled() -> None:
    """The disk first: then it may."""

    async def main(office: Office) -> None:
        office.box.put(sealed(1))
        office.box.put(sealed(2))
        office.post.wake()
        await until(lambda: len(office.arrived) == 2)
        office.post.settled(office.arrived[0].mail)
        office.post.settled(office.arrived[0].mail)
        await asyncio.sleep(0)
        assert ("acknowledge", 2) not in office.box.asked
        assert len(office.box.envelopes) == 2
        office.post.settled(office.arrived[1].mail)
        await until(lambda: not office.box.envelopes)
        assert office.box.asked[-2:] == [("acknowledge", 2), ("fetch", 2)]

    watching(main)


def test_what_is_not_settled_in_time_stays_in_the_mailbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is looked at again a little later, without waiting for more mail."""
    monkeypatch.setattr(post_module, "MAIL_SETTLE_S", 0.01)
    monkeypatch.setattr(post_module, "HEARTBEAT_REMOTE_S", 0.01)

    async def main(office: Office) -> None:
        refused: list[bool] = [True]

        def settle(event: Input) -> None:
            assert isinstance(event, MailArrived)
            if event.items[0].seq != 2 or not refused:
                office.post.settled(event.mail)

        office.on_submit = settle
        for number in (1, 2, 3):
            office.box.put(sealed(number))
        office.post.wake()
        await until(lambda: len(office.arrived) >= 6)
        assert not any(one == "acknowledge" for one, _ in office.box.asked)
        refused.clear()
        await until(lambda: not office.box.envelopes)
        numbers = [event.items[0].seq for event in office.arrived]
        assert numbers == [1, 2, 3] * (len(numbers) // 3)

    watching(main)


def test_more_than_one_page_is_fetched() -> None:
    """Each is acknowledged before the next."""

    async def main(office: Office) -> None:
        office.settle_at_once()
        office.box.page = 2
        for number in range(1, 6):
            office.box.put(sealed(number))
        office.post.wake()
        await until(lambda: not office.box.envelopes)
        assert [event.items[0].seq for event in office.arrived] == [1, 2, 3, 4, 5]
        acknowledged = [through for what, through in office.box.asked if what == "acknowledge"]
        assert acknowledged == [2, 4, 5]

    watching(main)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"Dear diary",
        sealed(1, prekey=BOBS_PREKEY),
        sealed(1)[:-1],
        seal(BOBS, OTHER.peer_id, PREKEY.public, encode_mail(MailBody(BOB, STREAM, 1, (), ()))),
        seal(BOBS, OWN.peer_id, PREKEY.public, b"no body"),
    ],
    ids=["empty", "no envelope", "erased prekey", "cut", "for another", "no body"],
)
def test_what_cannot_be_opened_is_let_go(envelope: bytes) -> None:
    """Its sender keeps a copy until we confirm it; it must not hold up what is behind it."""

    async def main(office: Office) -> None:
        office.settle_at_once()
        office.box.put(envelope)
        office.box.put(sealed(2))
        office.post.wake()
        await until(lambda: not office.box.envelopes)
        assert [event.items for event in office.arrived] == [(text(2),)]

    watching(main)


def test_new_mail_is_fetched_when_the_directory_says_so() -> None:
    """From where the last fetch ended."""

    async def main(office: Office) -> None:
        office.settle_at_once()
        await until(lambda: ("live", 0) in office.box.asked)
        for number in (1, 2):
            office.box.put(sealed(number))
            await until(lambda: not office.box.envelopes)
        assert [entry for entry in office.box.asked if entry[0] == "live"] == [("live", 0)]
        assert len(office.arrived) == 2

    watching(main)


@pytest.mark.parametrize("is_disk", [False, True])
def test_what_breaks_is_looked_at_again(monkeypatch: pytest.MonkeyPatch, is_disk: bool) -> None:
    """A little later by ourselves: the directory may have restarted, the disk may have room."""
    monkeypatch.setattr(post_module, "HEARTBEAT_REMOTE_S", 0.01)

    async def main(office: Office) -> None:
        office.settle_at_once()
        if is_disk:
            office.is_broken = True
        else:
            office.box.fail(DirectoryUnreachable("http://x", "timeout"))
        office.box.put(sealed(1))
        await until(lambda: office.box.asked.count(("live", 0)) >= 3)
        assert office.arrived == []
        office.is_broken = False
        office.box.fail(None)
        await until(lambda: not office.box.envelopes)
        assert len(office.arrived) == 1

    watching(main)


def test_who_finds_no_place_to_wait_asks() -> None:
    """A stranger may have taken them all, which must not keep anybody from their mail."""

    async def main(office: Office) -> None:
        office.settle_at_once()
        office.box.put(sealed(1))
        await until(lambda: not office.box.envelopes)
        assert len(office.arrived) == 1

    watching(main, is_busy=True)


def test_another_directory_has_another_mailbox() -> None:
    """The node wakes the post when it is registered somewhere else."""

    async def main(office: Office) -> None:
        office.settle_at_once()
        first, second = office.box, Mailbox()
        await until(lambda: ("live", 0) in first.asked)
        second.put(sealed(1))
        office.client = second
        first.fail(DirectoryUnreachable("http://x", "no-connection"))
        office.post.wake()
        await until(lambda: not second.envelopes)
        assert len(office.arrived) == 1

    watching(main)


def test_without_a_mailbox_the_post_waits_to_be_woken() -> None:
    """As long as that takes."""

    async def main() -> None:
        office = Office()
        office.settle_at_once()
        box = office.box
        box.put(sealed(1))
        office.client = None
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(office.post.watch())
            for _ in range(10):
                await asyncio.sleep(0)
            assert box.asked == []
            office.client = box
            office.post.wake()
            await until(lambda: not box.envelopes)
            watch.cancel()

    run(main)

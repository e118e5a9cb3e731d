"""Mailboxes over HTTP: what is left for somebody, and what a stranger can do about it."""

import asyncio
import os
import subprocess
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest
from tests.directory.people import ALICE, BOB, MALLORY, person, signed
from tests.directory.site import START, Answer, Site, with_site

from netchat.directory import signed as signed_module
from netchat.directory.client import DirectoryClient
from netchat.directory.mailbox import Quota
from netchat.identity.keys import Identity
from netchat.limits import ENVELOPE_BYTES_MAX, MAIL_TTL_MS
from netchat.model import Name
from netchat.wire.directory_v2 import Kind, format_deposit

ROOT = Path(__file__).resolve().parents[2]
SMALL = Quota(envelopes_max=8, per_depositor_max=3)


async def mail(site: Site, who: Identity, after: int = 0, limit: int = 64) -> list[bytes]:
    answer = await site.fetch(who, after, limit)
    assert answer.status == 200
    return [b64decode(one["envelope"]) for one in answer.json["envelopes"]]


async def with_bob(site: Site) -> None:
    assert (await site.claim(BOB, signed(BOB, "bob"))).status == 200


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)


def test_mail_is_left_taken_and_removed() -> None:
    """In the order in which it came; it stays until it is acknowledged."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        for number in range(3):
            answer = await site.deposit(ALICE, BOB, b"sealed %d" % number)
            assert answer.json == {"until_ms": START + MAIL_TTL_MS}
        whole = [b"sealed 0", b"sealed 1", b"sealed 2"]
        for _ in range(2):
            assert await mail(site, BOB) == whole
        assert await mail(site, BOB, limit=2) == whole[:2]
        assert await mail(site, BOB, after=2) == whole[2:]
        assert await mail(site, BOB, limit=0) == []
        assert (await site.acknowledge(BOB, 2)).status == 200
        assert await mail(site, BOB) == whole[2:]
        assert (await site.acknowledge(BOB, 2)).status == 200

    with_site(deed)


def test_nobody_takes_or_removes_anothers_mail() -> None:
    """What a key asks for is of its own mailbox; there is no way to name another."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        await site.claim(MALLORY, signed(MALLORY, "mallory"))
        await site.deposit(ALICE, BOB, b"sealed")
        assert await mail(site, MALLORY) == []
        await site.acknowledge(MALLORY, 99)
        assert await mail(site, BOB) == [b"sealed"]
        fetch = await site.request(BOB, "fetch", after=0, limit=9)
        assert (await site.ask("POST", "/v2/mail/fetch", fetch)).status == 200
        assert_refused(await site.ask("POST", "/v2/mail/fetch", fetch), 401, "bad-nonce")

    with_site(deed)


def test_an_envelope_is_the_one_that_was_signed() -> None:
    """Who is in between cannot put another in its place; and not send it to somebody else."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        digest = sha256(b"sealed").hexdigest()
        request = await site.request(ALICE, "deposit", recipient=str(BOB.peer_id), sha256=digest)
        other = format_deposit(request, b"forged")
        assert_refused(await site.ask("POST", "/v2/mail/deposit", other), 400, "malformed")
        assert await mail(site, BOB) == []

    with_site(deed)


def test_who_holds_no_name_has_no_mailbox() -> None:
    """Invented keys fill no disk; a classic name is no key's."""

    async def deed(site: Site) -> None:
        await site.ask("POST", "/", b"UPDATE bob@192.0.2.7:5000")
        assert_refused(await site.deposit(ALICE, BOB, b"sealed"), 404, "no-such-recipient")
        await with_bob(site)
        assert (await site.deposit(ALICE, BOB, b"sealed")).status == 200
        await site.leave(BOB, "bob")  # being away is what a mailbox is for
        assert (await site.deposit(ALICE, BOB, b"sealed too")).status == 200

    with_site(deed)


def test_the_same_envelope_is_left_once() -> None:
    """Its sender may not have heard the answer."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        first = await site.deposit(ALICE, BOB, b"sealed")
        site.now_ms += 1_000
        assert (await site.deposit(ALICE, BOB, b"sealed")).json == first.json
        assert await mail(site, BOB) == [b"sealed"]

    with_site(deed)


def test_a_flood_is_bounded_and_a_friend_gets_through() -> None:
    """Nobody fills a mailbox alone; when several did, it says so."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        flood = [await site.deposit(MALLORY, BOB, b"%d" % n) for n in range(6)]
        assert [one.code for one in flood] == ["", "", ""] + ["too-many-from-you"] * 3
        assert flood[-1].status == 429
        assert (await site.deposit(ALICE, BOB, b"friend")).status == 200
        codes = [(await site.deposit(person(n), BOB, b"x%d" % n)).code for n in range(6)]
        assert codes == [""] * 4 + ["mailbox-full"] * 2
        assert b"friend" in await mail(site, BOB)

    with_site(deed, quota=SMALL)


def test_the_largest_envelope_is_taken_a_larger_one_is_not() -> None:
    """And an empty one is none."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        large = bytes(ENVELOPE_BYTES_MAX)
        assert (await site.deposit(ALICE, BOB, large)).status == 200
        assert await mail(site, BOB) == [large]
        assert_refused(await site.deposit(ALICE, BOB, large + b"x"), 413, "too-large")
        assert_refused(await site.deposit(ALICE, BOB, b""), 400, "malformed")

    with_site(deed)


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In envelopes and in bytes, whatever was asked for; the rest comes with the next."""
    monkeypatch.setattr(signed_module, "MAIL_FETCH_MAX", 3)
    monkeypatch.setattr(signed_module, "PAGE_BYTES_MAX", 1_000)

    async def deed(site: Site) -> None:
        await with_bob(site)
        for number in range(4):
            await site.deposit(ALICE, BOB, bytes([number]))
        for number in range(3):
            await site.deposit(ALICE, BOB, bytes([number]) * 600)
        assert len(await mail(site, BOB, limit=99)) == 3
        assert len(await mail(site, BOB, after=4)) == 1

    with_site(deed)


def test_mail_expires() -> None:
    """After a week, swept or not."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        await site.deposit(ALICE, BOB, b"sealed")
        site.now_ms += MAIL_TTL_MS - 1
        assert await mail(site, BOB) == [b"sealed"]
        site.now_ms += 1
        assert await mail(site, BOB) == []

    with_site(deed)


def test_a_meeting_point_keeps_no_mail() -> None:
    """It says so at once, before it reads a request."""

    async def deed(site: Site) -> None:
        await with_bob(site)
        assert_refused(await site.deposit(ALICE, BOB, b"sealed"), 404, "no-mailboxes")
        assert_refused(await site.fetch(BOB), 404, "no-mailboxes")
        assert_refused(await site.acknowledge(BOB, 1), 404, "no-mailboxes")
        assert_refused(await site.ask("GET", "/v2/live"), 404, "no-mailboxes")

    with_site(deed, kind=Kind.MEETING_POINT)


@pytest.mark.parametrize(
    ("path", "operation", "arguments"),
    [
        ("/v2/mail/fetch", "fetch", {"after": 0}),
        ("/v2/mail/fetch", "fetch", {"after": "0", "limit": 1}),
        ("/v2/mail/acknowledge", "acknowledge", {}),
    ],
)
def test_an_argument_that_is_missing(
    path: str, operation: str, arguments: dict[str, str | int]
) -> None:
    """Or of another kind."""

    async def deed(site: Site) -> None:
        assert_refused(await site.signed(BOB, path, operation, **arguments), 400, "malformed")

    with_site(deed)


# --- what was answered is on disk -----------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys, time
from pathlib import Path
from netchat.directory.server import DirectoryServer
from netchat.directory.store_sqlite import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    now_ms = lambda: time.time_ns() // 1_000_000
    server = DirectoryServer(store, now_ms, os.urandom, 86_400_000)
    print(await server.start(["127.0.0.1"], 0), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """A claim and a deposit that were answered are there in the next life, and each once.

    Eight senders deposit at the same time, so that the kill falls between commits, too.
    """
    path = str(tmp_path / "directory.db")
    answered: set[bytes] = set()

    async def one_life(life: int) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, path, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with DirectoryClient(f"http://127.0.0.1:{port}", 20) as client:
            if life == 0:
                await client.claim(BOB, signed(BOB, "bob"))
            else:
                found = await client.record(Name("bob"))
                assert found is not None
                assert found.record.key == BOB.peer_id
                await client.keep(BOB, Name("bob"))
            await client.claim(person(life), signed(person(life), f"p{life}"))
            killed = asyncio.Event()

            async def sender(number: int) -> None:
                for count in range(10_000):
                    envelope = b"%d/%d/%d" % (life, number, count)
                    try:
                        await client.deposit(person(number), BOB.peer_id, envelope)
                    except Exception:
                        if killed.is_set():
                            return
                        raise
                    answered.add(envelope)

            async with asyncio.TaskGroup() as tasks:
                for number in range(8):
                    tasks.create_task(sender(number))
                while len(answered) < 40 * (life + 1):  # noqa: ASYNC110 (a set tells nobody)
                    await asyncio.sleep(0.01)
                killed.set()
                process.kill()
                await process.wait()

    async def last_life() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, path, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        try:
            async with DirectoryClient(f"http://127.0.0.1:{port}", 20) as client:
                for life in range(3):
                    assert await client.record(Name(f"p{life}")) is not None
                kept: list[bytes] = []
                after = 0
                while envelopes := (await client.fetch(BOB, after, 64)).envelopes:
                    kept += [envelope for _, envelope in envelopes]
                    after = envelopes[-1][0]
                assert answered <= set(kept)
                assert len(kept) == len(set(kept))
                assert len(await client.log()) == 4
        finally:
            process.kill()
            await process.wait()

    async def main() -> None:
        async with asyncio.timeout(120):
            for life in range(3):
                await one_life(life)
            await last_life()

    assert os.name == "posix"
    asyncio.run(main())

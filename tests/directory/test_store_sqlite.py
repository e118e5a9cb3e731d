"""The embedded store: the contract in a file and in memory, and what is SQLite's own."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.directory.contract import (
    NOW,
    LastingStoreContract,
    OpenStore,
    StoreContract,
    claim,
    deposit,
    enter,
    lease,
    mail,
    opened,
    use,
)
from tests.directory.people import ALICE, BOB, CAROL, person, signed
from tests.interop.classic_client import ask_directory
from tests.interop.processes import Directory

from netchat.directory import sql_mail, sql_names, store_sqlite
from netchat.directory.registry import ClaimVerdict, Refusal, Refused
from netchat.directory.sql_schema import SCHEMAS
from netchat.directory.store import DirectoryStore
from netchat.directory.store_sqlite import APPLICATION_ID, EmbeddedStore
from netchat.errors import DirectoryInUse, StoreNewer, StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX, MAIL_TTL_MS
from netchat.model import Name

FROZEN = Path(__file__).with_name("frozen_0001.sql")
MEMORY = ":memory:"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory.db"


class TestInFile(LastingStoreContract):
    """``netchat serve``."""

    @pytest.fixture
    def open_store(self, path: Path) -> OpenStore:
        return opened(lambda: EmbeddedStore(path))


class TestInMemory(StoreContract):
    """A meeting point."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return opened(lambda: EmbeddedStore(MEMORY))


def open_and_close(path: Path | str) -> None:
    """Open the store, and close it if it opens."""

    async def main() -> None:
        await EmbeddedStore(path).close()

    asyncio.run(main())


def run(path: Path, *statements: str) -> None:
    """Change a file behind the program's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.executescript(statement)


def schema(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
        found: list[tuple[object, ...]] = rows.fetchall()
        for pragma in ("user_version", "application_id", "journal_mode"):
            found += connection.execute(f"PRAGMA {pragma}").fetchall()
        return found


# --- files ---------------------------------------------------------------------------------------


def test_the_first_schema_is_what_was_released() -> None:
    """Files in the field were made by it, so it is never edited."""
    heading, frozen = FROZEN.read_text(encoding="utf-8").split("\n", 1)
    assert "DO NOT EDIT" in heading
    assert SCHEMAS[0].strip() == frozen.strip()


def test_a_file_of_the_first_release_becomes_like_a_new_one(path: Path, tmp_path: Path) -> None:
    """And its people are still there."""
    run(
        path,
        FROZEN.read_text(encoding="utf-8"),
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1",
        "INSERT INTO claim VALUES ('alice', 'Alice', 'alice', x'')",
        "INSERT INTO lease VALUES ('alice', '192.0.2.7:5000', 1060000)",
    )

    async def deed(store: object) -> None:
        assert isinstance(store, EmbeddedStore)
        assert list(store.leases()) == [lease("Alice", expires_ms=1_060_000, durable=True)]
        assert await claim(store, signed(BOB, "bob")) is ClaimVerdict.FIRST

    use(opened(lambda: EmbeddedStore(path)), deed)
    new = tmp_path / "new.db"
    open_and_close(new)
    assert schema(path) == schema(new)


def test_scripts_that_the_file_has_not_seen_are_run_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From whatever version the file has, and not again at the next start."""
    open_and_close(path)
    monkeypatch.setattr(store_sqlite, "SCHEMAS", (*SCHEMAS, "CREATE TABLE box (name TEXT);"))
    for _ in range(2):
        open_and_close(path)
    names = [name for kind, name, *_ in schema(path)[:-3] if kind == "table"]
    assert names == [
        "box", "claim", "directory", "lease", "mail", "mailbox", "name_log", "record", "share"
    ]  # fmt: skip


def test_a_commit_is_on_disk_when_it_returns(path: Path) -> None:
    """WAL with a sync at each commit, and nobody else writes to the file meanwhile."""

    async def deed(store: object) -> None:
        assert isinstance(store, EmbeddedStore)
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 2),  # FULL
            ("locking_mode", "exclusive"),
        ):
            assert store._connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)

    use(opened(lambda: EmbeddedStore(path)), deed)


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    """A newer NetChat keeps in it what this one does not know."""
    open_and_close(path)
    run(path, f"PRAGMA user_version = {len(SCHEMAS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreNewer) as caught:
        open_and_close(path)
    assert (caught.value.found, caught.value.known) == (len(SCHEMAS) + 1, len(SCHEMAS))
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    """Not even its journal mode is changed."""
    run(path, "CREATE TABLE cookie (value TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="not a NetChat directory"):
        open_and_close(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    """A text file, or one that is damaged beyond recognition; the error names it."""
    path.write_bytes(b"Dear diary, " * 1_000)
    with pytest.raises(StoreUnavailable, match=str(path)):
        open_and_close(path)
    assert path.read_bytes() == b"Dear diary, " * 1_000


def test_only_the_owner_reads_the_file(path: Path) -> None:
    """In whatever folder it is, and also when it was there with another mode."""
    path.touch()
    path.chmod(0o644)

    async def deed(_: object) -> None:
        files = [path, *path.parent.glob(f"{path.name}-*")]
        assert len(files) > 1
        assert {oct(one.stat().st_mode & 0o777) for one in files} == {"0o600"}

    use(opened(lambda: EmbeddedStore(path)), deed)


def test_two_directories_do_not_share_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are in the memory of one process: another one would serve something else."""
    monkeypatch.setattr(store_sqlite, "BUSY_TIMEOUT_MS", 1)

    async def deed(_: object) -> None:
        with pytest.raises(DirectoryInUse):
            EmbeddedStore(path)

    use(opened(lambda: EmbeddedStore(path)), deed)


# --- the writer thread ---------------------------------------------------------------------------


def test_whatever_waits_shares_a_commit() -> None:
    """A classroom that registers at the same second costs a few syncs, not hundreds."""
    statements: list[str] = []
    free = threading.Event()

    def trace(statement: str) -> None:
        statements.append(statement)
        assert free.wait(30)

    async def main() -> None:
        store = EmbeddedStore(MEMORY)
        store._connection.set_trace_callback(trace)
        async with asyncio.TaskGroup() as tasks:
            for number in range(2 * BATCH_INPUTS_MAX):
                tasks.create_task(store.enter(Name(f"p{number}")))
            await asyncio.sleep(0)  # by now each of them has asked
            free.set()
        await store.close()

    asyncio.run(main())
    assert statements.count("COMMIT") in (2, 3)
    assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT")


def test_close_commits_what_was_asked_for_before(path: Path) -> None:
    """Nobody is answered that it was kept when it was not."""

    async def main() -> None:
        store = EmbeddedStore(path)
        async with asyncio.TaskGroup() as tasks:
            for number in range(100):
                tasks.create_task(enter(store, lease(f"p{number}", durable=True)))
        await store.close()
        again = EmbeddedStore(path)
        assert again.lease_count() == 100
        await again.close()

    asyncio.run(main())


def test_who_gave_up_waiting_breaks_nothing() -> None:
    """A client that hangs up is no reason to stop answering others."""

    async def main() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
        store = EmbeddedStore(MEMORY)
        async with asyncio.TaskGroup() as tasks:
            impatient = tasks.create_task(store.enter(Name("alice")))
            await asyncio.sleep(0)  # it has asked
            impatient.cancel()
            assert await store.enter(Name("bob")) == Name("bob")
        await store.close()
        assert problems == []

    asyncio.run(main())


# --- what is counted -----------------------------------------------------------------------------


def counts(store: EmbeddedStore) -> tuple[object, object]:
    """Return the counters of the store, and the same counted anew."""
    execute = store._connection.execute
    kept = (
        execute("SELECT claims, mail_bytes FROM directory").fetchone(),
        execute("SELECT * FROM mailbox WHERE envelopes > 0").fetchall(),
        execute("SELECT * FROM share").fetchall(),
    )
    counted = (
        execute(
            "SELECT (SELECT count(*) FROM claim WHERE holder != x''),"
            " (SELECT ifnull(sum(length(envelope)), 0) FROM mail)"
        ).fetchone(),
        execute(
            "SELECT recipient, count(*), sum(length(envelope)),"
            " (SELECT cursor FROM mailbox WHERE mailbox.recipient = mail.recipient)"
            " FROM mail GROUP BY recipient"
        ).fetchall(),
        execute(
            "SELECT recipient, depositor, count(*), sum(length(envelope))"
            " FROM mail GROUP BY recipient, depositor"
        ).fetchall(),
    )
    return kept, counted


deeds = st.lists(
    st.tuples(
        st.sampled_from(["claim", "rotate", "release", "deposit", "acknowledge", "sweep"]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(1, 6),
    ),
    max_size=30,
)


@given(deeds)
def test_the_counters_are_what_is_there(what: list[tuple[str, int, int, int]]) -> None:
    """After any number of changes: a quota that drifts would lock a mailbox for ever."""

    async def main() -> None:
        store = EmbeddedStore(MEMORY)
        for now, (deed, one, other, number) in enumerate(what, 1):
            alice, bob = person(one), person(other)
            match deed:
                case "claim":
                    await store.claim(signed(alice, f"p{one}", seq=now), NOW)
                case "rotate" if one != other:
                    await store.claim(signed(bob, f"p{one}", old=alice, seq=now), NOW)
                case "release":
                    await store.release(Name(f"p{one}"), NOW)
                case "deposit":
                    await deposit(store, b"x" * number, to=alice, of=bob, now_ms=now)
                case "acknowledge":
                    await store.acknowledge(alice.peer_id, number)
                case _:
                    await store.sweep(now + MAIL_TTL_MS - number)
        kept, counted = counts(store)
        assert kept == counted
        await store.close()

    asyncio.run(main())


def test_names_and_the_log_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in can renew; a key may still be changed when there are too many names."""
    monkeypatch.setattr(sql_names, "CLAIMS_MAX", 2)
    monkeypatch.setattr(sql_names, "LOG_ENTRIES_MAX", 4)

    async def deed(store: DirectoryStore) -> None:
        await claim(store, signed(ALICE, "alice"))
        await claim(store, signed(BOB, "bob"))
        assert await claim(store, signed(CAROL, "carol")) == Refused(Refusal.FULL)
        rotated = signed(CAROL, "alice", old=ALICE, seq=2)
        assert await claim(store, rotated) is ClaimVerdict.ROTATED
        assert await store.release(Name("bob"), NOW)
        assert await claim(store, signed(BOB, "bob")) == Refused(Refusal.FULL)
        assert await claim(store, signed(CAROL, "alice", seq=3)) is ClaimVerdict.NEWER
        assert await store.release(Name("alice"), NOW)  # the operator still can

    use(opened(lambda: EmbeddedStore(MEMORY)), deed)


def test_mail_is_swept_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much has expired, others get their turn between; in the end nothing is left."""
    monkeypatch.setattr(sql_mail, "SWEEP_ENVELOPES_MAX", 2)

    async def deed(store: DirectoryStore) -> None:
        await claim(store, signed(BOB, "bob"))
        for number in range(5):
            await deposit(store, bytes([number]), of=person(number))
        await store.sweep(NOW + MAIL_TTL_MS)
        assert await mail(store) == []

    use(opened(lambda: EmbeddedStore(MEMORY)), deed)


def test_the_file_does_not_name_who_wrote(path: Path) -> None:
    """Neither the key of a depositor nor its text form is in it."""

    async def deed(store: DirectoryStore) -> None:
        await claim(store, signed(BOB, "bob"))
        await deposit(store, b"sealed", of=ALICE)

    use(opened(lambda: EmbeddedStore(path)), deed)
    contents = path.read_bytes()
    assert BOB.peer_id.value in contents
    assert ALICE.peer_id.value not in contents
    assert str(ALICE.peer_id).encode() not in contents


# --- a disk that refuses -------------------------------------------------------------------------


WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}


@pytest.mark.parametrize("from_the_start", [True, False])
def test_what_the_disk_refuses_has_not_happened(from_the_start: bool) -> None:
    """Not in memory either, so that the list never shows more than the disk holds."""

    def refuse(action: int, *_: object) -> int:
        refused = from_the_start or action in WRITES
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    async def main() -> None:
        store = EmbeddedStore(MEMORY)
        await enter(store, lease("alice", "192.0.2.7", durable=True))
        await claim(store, signed(BOB, "bob"))
        before = list(store.leases())
        store._connection.set_authorizer(refuse)
        with pytest.raises(StoreUnavailable):
            await store.enter(Name("carol"))
        with pytest.raises(StoreUnavailable):
            await store.claim(signed(CAROL, "carol"), NOW)
        with pytest.raises(StoreUnavailable):
            await store.put_lease(lease("alice", "192.0.2.8", durable=True))
        with pytest.raises(StoreUnavailable):
            await store.put_lease(lease("carol", durable=True))
        with pytest.raises(StoreUnavailable):
            await store.release(Name("bob"), NOW)
        with pytest.raises(StoreUnavailable):
            await deposit(store, b"one")
        with pytest.raises(StoreUnavailable):
            await store.sweep(NOW)
        assert list(store.leases()) == before
        store._connection.set_authorizer(None)
        assert await store.release(Name("bob"), NOW)  # the same call, repeated
        await store.close()

    asyncio.run(main())


def test_a_refusal_does_not_undo_what_came_after() -> None:
    """While the disk was asked, the node registered again: the newer entry stays."""
    asked, free = threading.Event(), threading.Event()

    def refuse_the_first(*_: object) -> int:
        if asked.is_set():
            return sqlite3.SQLITE_OK
        asked.set()
        assert free.wait(30)
        return sqlite3.SQLITE_DENY

    async def refused(store: EmbeddedStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.put_lease(lease("alice", "192.0.2.8", durable=True))

    async def main() -> None:
        store = EmbeddedStore(MEMORY)
        await enter(store, lease("alice", "192.0.2.7", durable=True))
        store._connection.set_authorizer(refuse_the_first)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refused(store))
            assert await asyncio.to_thread(asked.wait, 30)
            newest = lease("alice", "192.0.2.9")
            tasks.create_task(store.put_lease(newest))
            await asyncio.sleep(0)  # it has been asked for
            free.set()
        assert list(store.leases()) == [newest]
        await store.close()

    asyncio.run(main())


def test_a_time_that_no_file_holds_fails_alone() -> None:
    """A bug of whoever asks must not end the thread that serves everybody else."""

    async def main() -> None:
        store = EmbeddedStore(MEMORY)
        with pytest.raises(OverflowError):
            await store.put_lease(lease("alice", expires_ms=2**63, durable=True))
        await enter(store, lease("bob", durable=True))
        await store.close()

    asyncio.run(main())


def test_a_full_disk_is_said_and_loses_nothing(path: Path) -> None:
    """With room again, the same call succeeds."""

    async def main() -> None:
        store = EmbeddedStore(path)
        await enter(store, lease("alice", durable=True))
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        claims = [signed(BOB, f"bob{number}") for number in range(10)]
        answers = await asyncio.gather(
            *(store.claim(one, NOW) for one in claims), return_exceptions=True
        )
        assert "full" in str([one for one in answers if isinstance(one, StoreUnavailable)])
        store._connection.execute("PRAGMA max_page_count = 1000")
        for one in claims:
            assert isinstance(await store.claim(one, NOW), ClaimVerdict)
        await store.close()
        again = EmbeddedStore(path)
        assert list(again.leases()) == [lease("alice", durable=True)]
        await again.close()

    asyncio.run(main())


# --- a real netchat serve -------------------------------------------------------------------------


@pytest.mark.slow
def test_an_answered_update_survives_kill_9(tmp_path: Path) -> None:
    """Whoever heard 200 is in the list of the next process, at the address it said last."""
    expected: dict[str, int] = {}
    for life in range(3):
        directory = Directory(tmp_path / "home", tmp_path / "data")
        try:
            body = ask_directory(directory.address, "GET", "/userlist.txt").body
            assert body.split() == [f"p{n}@127.0.0.1:{port}" for n, port in expected.items()]
            for number in range(5 * (life + 1)):
                port = 5_000 + 100 * life + number
                update = f"UPDATE p{number}@127.0.0.1:{port}"
                assert ask_directory(directory.address, "POST", "/", update).status == 200
                expected[str(number)] = port
            expected = dict(sorted(expected.items()))
        finally:
            directory.stop()  # it runs, so this kills it

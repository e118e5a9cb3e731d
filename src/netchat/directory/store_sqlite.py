"""The embedded store: leases in memory, everything else in a SQLite file.

One writer thread owns the file; whatever waits for it shares one commit (group commit), and a call
returns after that commit. With ``:memory:`` nothing outlives the process: a meeting point.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from netchat.directory import sql_mail, sql_names
from netchat.directory.mailbox import MailRefusal, Quota
from netchat.directory.registry import ClaimVerdict, Held, Lease, Refused
from netchat.directory.sql_schema import SCHEMAS
from netchat.directory.store import Deposited
from netchat.errors import DirectoryInUse, NetChatError, StoreNewer, StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX, BUSY_TIMEOUT_MS
from netchat.model import Address, Name, PeerId, SignedRecord
from netchat.wire.directory_v2 import LogEntry

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MEMORY: Final = ":memory:"
APPLICATION_ID: Final = 0x4E434431  # "NCD1" in the header of every directory file


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    answer: "asyncio.Future[Any]"


class EmbeddedStore:
    """``DirectoryStore`` over the file at ``path``.

    Raises:
        StoreNewer: a newer NetChat wrote the file.
        DirectoryInUse: another process serves from it.
        StoreUnavailable: it cannot be opened or is not a directory file.
    """

    def __init__(self, path: Path | str) -> None:
        self._leases: dict[str, Lease] = {}
        self._order: list[str] | None = None
        try:
            _make_private(path)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open(str(path))
            except BaseException:
                self._connection.close()
                raise
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
                raise DirectoryInUse(str(path)) from error
            raise StoreUnavailable(f"{path}: {error}") from error
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="netchat-directory", daemon=True)
        self._thread.start()

    def _open(self, path: str) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS // 5}")  # whoever serves keeps it for long
        version = execute("PRAGMA user_version").fetchone()[0]
        application_id = execute("PRAGMA application_id").fetchone()[0]
        tables = execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and application_id != APPLICATION_ID:
            raise StoreUnavailable(f"{path}: the file is not a NetChat directory")
        if version > len(SCHEMAS):
            raise StoreNewer(path, version, len(SCHEMAS))
        # Another process keeps the write lock for as long as it serves from this file.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        for number in range(version + 1, len(SCHEMAS) + 1):
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMAS[number - 1]};"
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
            )
        rows = execute(
            "SELECT shown, address, expires_ms FROM lease JOIN claim USING (name_key)"
            " WHERE holder = x''"
        )
        for shown, address, expires_ms in rows:
            name = Name(shown)
            self._leases[name.key] = Lease(name, Address.parse(address), expires_ms, durable=True)

    # --- DirectoryStore --------------------------------------------------------------------------

    async def directory_id(self, fresh: bytes) -> bytes:
        return await self._write(lambda connection: sql_names.directory_id(connection, fresh))

    async def enter(self, name: Name) -> Name | Refused:
        return await self._write(lambda connection: sql_names.enter(connection, name))

    async def claim(self, signed: SignedRecord, now_ms: int) -> ClaimVerdict | Refused:
        return await self._write(lambda connection: sql_names.claim(connection, signed, now_ms))

    async def release(self, name: Name, now_ms: int) -> bool:
        released = await self._write(lambda c: sql_names.release(c, name, now_ms))
        if released and name.key in self._leases:
            self._forget(name)
        return released

    async def held(self, name: Name) -> Held | None:
        return await self._write(lambda connection: sql_names.held(connection, name))

    async def page(self, after: Name | None, limit: int, bytes_max: int) -> Sequence[Held]:
        return await self._write(lambda c: sql_names.page(c, after, limit, bytes_max))

    async def log(self, after: int, limit: int, name: Name | None) -> Sequence[LogEntry]:
        return await self._write(lambda connection: sql_names.log(connection, after, limit, name))

    async def put_lease(self, lease: Lease) -> None:
        # In memory before the first await, so that a decision on what is there stays true.
        before = self._leases.get(lease.name.key)
        self._keep(lease)
        try:
            if lease.durable:
                await self._write(lambda connection: sql_names.put_lease(connection, lease))
            elif before is not None and before.durable:
                await self._write(lambda connection: sql_names.drop_lease(connection, lease.name))
        except StoreUnavailable:
            if self._leases.get(lease.name.key) is lease:
                self._forget(lease.name) if before is None else self._keep(before)
            raise

    async def drop_lease(self, name: Name, holder: PeerId) -> bool:
        present = self._leases.get(name.key)
        if present is None or present.holder != holder.value:
            return False
        self._forget(name)
        return True

    def lease(self, name: Name) -> Lease | None:
        return self._leases.get(name.key)

    def leases(self) -> Sequence[Lease]:
        if self._order is None:
            self._order = sorted(self._leases)
        return [self._leases[key] for key in self._order]

    def lease_count(self) -> int:
        return len(self._leases)

    def _keep(self, lease: Lease) -> None:
        if lease.name.key not in self._leases:
            self._order = None
        self._leases[lease.name.key] = lease

    def _forget(self, name: Name) -> None:
        del self._leases[name.key]
        self._order = None

    async def deposit(
        self, recipient: PeerId, depositor: PeerId, envelope: bytes, now_ms: int, quota: Quota
    ) -> Deposited | MailRefusal:
        return await self._write(
            lambda c: sql_mail.deposit(c, recipient, depositor, envelope, now_ms, quota)
        )

    async def fetch(
        self, recipient: PeerId, after: int, limit: int, bytes_max: int, now_ms: int
    ) -> Sequence[tuple[int, bytes]]:
        return await self._write(
            lambda c: sql_mail.fetch(c, recipient, after, limit, bytes_max, now_ms)
        )

    async def acknowledge(self, recipient: PeerId, through: int) -> int:
        return await self._write(lambda c: sql_mail.acknowledge(c, recipient, through))

    async def newest_cursor(self, recipient: PeerId) -> int | None:
        return await self._write(lambda c: sql_mail.newest_cursor(c, recipient))

    async def sweep(self, now_ms: int) -> int:
        ended = [lease for lease in self._leases.values() if not lease.is_live(now_ms)]
        for lease in ended:
            self._forget(lease.name)
        kept = frozenset(self._leases)
        await self._write(lambda connection: sql_names.sweep(connection, now_ms, kept))
        while await self._write(lambda connection: sql_mail.sweep(connection, now_ms)):
            pass  # a job at a time: others get their turn between
        return len(ended)

    async def close(self) -> None:
        """Commit what was asked for before, and let go of the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    # --- the writer thread -----------------------------------------------------------------------

    async def _write(self, work: Work[T]) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, answer))
        return await answer

    def _run(self) -> None:
        while True:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= BATCH_INPUTS_MAX or self._jobs.empty():
                    break
                job = self._jobs.get()
            if jobs:
                self._commit(jobs)
            if job is None:
                return

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Do all ``jobs`` in one transaction; one that is refused takes no other with it."""
        execute = self._connection.execute
        done: list[tuple[asyncio.Future[Any], Any, Exception | None]] = []
        try:
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                try:
                    done.append((job.answer, job.work(self._connection), None))
                except (NetChatError, OverflowError) as error:
                    done.append((job.answer, None, error))
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            refusal = StoreUnavailable(str(error))
            done = [(job.answer, None, refusal) for job in jobs]
        self._loop.call_soon_threadsafe(_settle, done)


def _make_private(path: Path | str) -> None:
    """Let only the owner read the file and its logs: who has names, and what sealed mail waits."""
    if path == MEMORY:
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(file, 0o600)
    os.close(file)
    for log in (f"{path}-wal", f"{path}-shm"):  # else SQLite makes them as the file itself is
        with contextlib.suppress(FileNotFoundError):
            os.chmod(log, 0o600)


def _settle(done: Sequence[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
    for answer, value, error in done:
        if answer.done():
            continue
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

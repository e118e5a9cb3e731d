"""The simulated directory: the real rules and the real SQL of names and mailboxes, without HTTP.

It can be down, forgets its leases when it restarts, and is not honest with mail: it withholds an
envelope for a while, loses one for ever, and delivers one again that was taken long ago.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from netchat.delivery.inputs import Found
from netchat.directory import records, sql_mail, sql_names
from netchat.directory.mailbox import MailRefusal, Quota, expiry_ms
from netchat.directory.registry import Lease, Refused, lease_of, register
from netchat.directory.sql_schema import SCHEMAS
from netchat.errors import DirectoryRefused, DirectoryUnreachable
from netchat.limits import CLASSIC_TTL_S, MAIL_FETCH_MAX, PAGE_BYTES_MAX
from netchat.model import Address, Name, PeerId, SignedRecord
from netchat.testing.world import World
from netchat.wire.directory import Registration, Verb

URL: Final = "http://directory.invalid"

open_record = lru_cache(maxsize=4_096)(records.open_record)
"""The real one; every machine of a run sees the same few records again and again."""


class SimulatedDirectory:
    """Names, leases and mail. Every call may raise DirectoryUnreachable."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_up = True
        self._leases: dict[Name, Lease] = {}
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for script in SCHEMAS:
            self._connection.executescript(script)
        self._waking: dict[PeerId, Callable[[], None]] = {}

    def close(self) -> None:
        self._connection.close()

    # --- life ------------------------------------------------------------------------------------

    def restart(self, after_ms: int) -> None:
        """Be down for a while; claims and mail are on disk, leases are not."""
        self._world.count("directory-restart")
        self._is_up = False
        self._leases = {name: one for name, one in self._leases.items() if one.durable}
        self._waking.clear()
        self._world.after(after_ms, self.come_back)

    def come_back(self) -> None:
        self._is_up = True

    def _reached(self) -> sqlite3.Connection:
        if not self._is_up:
            raise DirectoryUnreachable(URL, "no-connection")
        return self._connection

    # --- names -----------------------------------------------------------------------------------

    def claim(self, signed: SignedRecord) -> None:
        """As ``PUT /v2/records/NAME``. Raises DirectoryRefused."""
        signed = open_record(signed.envelope)
        now_ms = self._world.wall_ms
        verdict = sql_names.claim(self._reached(), signed, now_ms)
        if isinstance(verdict, Refused):
            raise DirectoryRefused(URL, verdict.name, 409, verdict.why.value)
        self._leases[signed.record.name] = lease_of(now_ms, signed.record)

    def keep(self, name: Name, key: PeerId) -> None:
        """As ``POST /v2/keep``. Raises DirectoryRefused."""
        held = sql_names.held(self._reached(), name)
        now_ms = self._world.wall_ms
        lease = self._leases.get(name)
        if lease is not None and lease.holder == key.value:
            self._leases[name] = replace(lease, expires_ms=now_ms + lease.length_ms)
        elif held is None:
            raise DirectoryRefused(URL, "", 404, "no-such-record")
        elif held.holder != key:
            raise DirectoryRefused(URL, "", 409, "name-held")
        else:
            self._leases[name] = lease_of(now_ms, open_record(held.envelope).record)

    def release(self, name: Name) -> None:
        """As ``netchat serve release NAME``: the operator lets a name go whose key is lost."""
        sql_names.release(self._connection, name, self._world.wall_ms)
        self._leases.pop(name, None)

    def register(self, name: Name, address: Address) -> None:
        """As the classic UPDATE. Raises DirectoryRefused."""
        entered = sql_names.enter(self._reached(), name)
        if isinstance(entered, Refused):
            raise DirectoryRefused(URL, entered.name, 409, entered.why.value)
        lease = register(
            self._world.wall_ms,
            Registration(Verb.UPDATE, entered, address),
            self._leases.get(name),
            len(self._leases),
            CLASSIC_TTL_S * 1_000,
        )
        assert isinstance(lease, Lease), "there is room for all"
        self._leases[name] = lease

    def find(self, name: Name) -> Found:
        """As ``Rendezvous.locate``: a signed record, or else a classic entry."""
        held = sql_names.held(self._reached(), name)
        if held is None:
            return Found(None, self.lookup(name))
        lease = self._leases.get(name)
        present = (
            lease is not None
            and lease.holder == held.holder.value
            and lease.is_live(self._world.wall_ms)
        )
        return Found(open_record(held.envelope), None, present)

    def lookup(self, name: Name) -> Address | None:
        """As the classic list."""
        self._reached()
        lease = self._leases.get(name)
        return lease.address if lease is not None and lease.is_live(self._world.wall_ms) else None

    def holder(self, name: Name) -> PeerId | None:
        """Return who holds a name, for the checkers."""
        held = sql_names.held(self._connection, name)
        return None if held is None else held.holder

    # --- mail ------------------------------------------------------------------------------------

    def wake(self, key: PeerId, woken: Callable[[], None]) -> None:
        """As ``/v2/live``: call ``woken`` when something is deposited for ``key``."""
        self._reached()
        self._waking[key] = woken

    def deposit(self, recipient: PeerId, depositor: PeerId, envelope: bytes) -> int:
        """Return until when it is kept. Raises DirectoryRefused."""
        if self._world.strikes("mail-lost", 0.05):
            self._reached()
            return expiry_ms(self._world.wall_ms)
        deposited = sql_mail.deposit(
            self._reached(), recipient, depositor, envelope, self._world.wall_ms, Quota()
        )
        if isinstance(deposited, MailRefusal):
            raise DirectoryRefused(URL, "", 409, deposited.value)
        if self._world.strikes("mail-late", 0.15):
            # Taken out again, and put in behind what comes meanwhile.
            self._connection.execute(
                "DELETE FROM mail WHERE recipient = ? AND cursor = ?",
                (recipient.value, deposited.cursor),
            )
            delay_ms = self._world.chance.randint(1_000, 60_000)
            self._world.after(delay_ms, self._again(recipient, depositor, envelope))
            return deposited.until_ms
        woken = self._waking.get(recipient)
        if woken is not None and not self._world.strikes("wake-lost", 0.1):
            self._world.after(1, woken)
        return deposited.until_ms

    def fetch(self, recipient: PeerId, after: int) -> Sequence[tuple[int, bytes]]:
        connection = self._reached()
        now_ms = self._world.wall_ms
        found = sql_mail.fetch(connection, recipient, after, MAIL_FETCH_MAX, PAGE_BYTES_MAX, now_ms)
        if found and self._world.strikes("mail-withheld", 0.1):
            return found[: self._world.chance.randrange(len(found))]
        return found

    def acknowledge(self, recipient: PeerId, through: int) -> None:
        connection = self._reached()
        gone = connection.execute(
            "SELECT envelope FROM mail WHERE recipient = ? AND cursor <= ?",
            (recipient.value, through),
        ).fetchall()
        sql_mail.acknowledge(connection, recipient, through)
        for (envelope,) in gone:
            if self._world.strikes("mail-twice", 0.1):
                delay_ms = self._world.chance.randint(1, 30_000)
                self._world.after(delay_ms, self._again(recipient, recipient, envelope))

    def _again(self, recipient: PeerId, depositor: PeerId, envelope: bytes) -> Callable[[], None]:
        """Return what puts an envelope in when it is not expected any more."""
        return lambda: _put(self._connection, recipient, depositor, envelope, self._world.wall_ms)


def _put(
    connection: sqlite3.Connection,
    recipient: PeerId,
    depositor: PeerId,
    envelope: bytes,
    now_ms: int,
) -> None:
    sql_mail.deposit(connection, recipient, depositor, envelope, now_ms, Quota())

"""What this node says about itself: its signed record, and the HELLO of its links.

A record is signed anew only when something in it changed. Its number is on disk before anybody sees
it, because a number that was used twice would look like two faces (equivocation). It follows the
clock, so that a key that moved to a new computer goes on above the numbers of the old one.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from netchat.directory.records import sign_record
from netchat.identity.keys import Identity
from netchat.identity.seal import make_prekey, prekey_from_secret
from netchat.limits import (
    LEASE_S,
    PREKEY_GRACE_MS,
    PREKEY_ROTATION_MS,
    PREKEY_UNTIL_MS,
    RECORD_ADDRESSES_MAX,
    RECORD_AHEAD_MS_MAX,
    SEQ_MAX,
)
from netchat.model import Address, Name, Record, SignedRecord
from netchat.store.secrets import Own
from netchat.wire.frames import Hello

Keep = Callable[[Callable[[Own], None]], Awaitable[None]]
"""Runs work on the own entries in one transaction, on the thread that owns the file."""

_SEQ: Final = "record-seq"
_STREAM: Final = "stream"
_NAME: Final = "name"


def last_name(own: Own) -> Name | None:
    """Return the name under which this profile was last used."""
    value = own.get(_NAME)
    return None if value is None else Name(value.decode())


class Introduction:
    """``now_ms`` and ``entropy`` are the clock's; ``keep`` reaches the disk."""

    def __init__(
        self,
        identity: Identity,
        name: Name,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        keep: Keep,
    ) -> None:
        self.identity = identity
        self._name = name
        self._now_ms = now_ms
        self._keep = keep
        self._fresh_stream = entropy(8)
        self.stream = b""
        self.instance = entropy(8)
        self._seq = 0
        self._signed: SignedRecord | None = None
        self._prekey: tuple[bytes, int] | None = None

    @property
    def record(self) -> SignedRecord:
        assert self._signed is not None, "renew() comes first"
        return self._signed

    def hello(self) -> Hello:
        """Return what each link begins with."""
        return Hello(self.record.envelope, self.stream, self.instance, ("mail",))

    async def start(self) -> None:
        """Read what this profile said before. Raises StoreUnavailable."""

        def work(own: Own) -> None:
            stream = own.get(_STREAM)
            if stream is None:
                stream = self._fresh_stream
                own.put(_STREAM, stream)
            self.stream = stream
            self._seq = int.from_bytes(own.get(_SEQ) or b"")
            own.put(_NAME, self._name.shown.encode())

        await self._keep(work)

    async def renew(
        self, addresses: tuple[Address, ...], *, mailboxes: bool, above: int = 0
    ) -> SignedRecord:
        """Return a record that says how things are now.

        ``mailboxes``: it offers a prekey. ``above``: its number has to be greater than this, as
        somebody has seen that one. Raises StoreUnavailable.
        """
        now_ms = self._now_ms()
        public = await self._public_prekey(now_ms) if mailboxes else b""
        addresses = addresses[:RECORD_ADDRESSES_MAX]
        if self._is_current(now_ms, addresses, public) and self._seq > above:
            return self.record
        seq = max(self._seq + 1, above + 1, now_ms)
        assert seq <= SEQ_MAX, "a number that no record may have would stay on disk for ever"
        self._seq = seq  # before the wait, in which another call must not take the same
        await self._keep(lambda own: own.put(_SEQ, seq.to_bytes(8)))
        record = Record(
            name=self._name,
            key=self.identity.peer_id,
            addresses=addresses,
            prekey=public,
            prekey_until_ms=now_ms + PREKEY_UNTIL_MS if public else 0,
            capabilities=(),
            seq=seq,
            issued_ms=now_ms,
            lease_s=LEASE_S,
        )
        self._signed = sign_record(self.identity, record)
        return self._signed

    def _is_current(self, now_ms: int, addresses: tuple[Address, ...], prekey: bytes) -> bool:
        if self._signed is None:
            return False
        record = self._signed.record
        is_in_date = not prekey or now_ms < record.prekey_until_ms - PREKEY_UNTIL_MS // 2
        # A directory refuses what was issued ahead, as by a clock that was set right meanwhile.
        is_from_now = record.issued_ms <= now_ms + RECORD_AHEAD_MS_MAX // 2
        is_same = record.addresses == addresses and record.prekey == prekey
        return is_same and is_in_date and is_from_now

    async def _public_prekey(self, now_ms: int) -> bytes:
        """Return the prekey in use; a new one when it is a day old, and erase those long unused."""
        prekey = self._prekey
        if prekey is None or not 0 <= now_ms - prekey[1] < PREKEY_ROTATION_MS:
            found: list[tuple[bytes, int]] = []
            await self._keep(lambda own: found.append(_rotated(own, now_ms)))
            # Only now: mail for a prekey whose secret is on no disk could never be opened.
            prekey = self._prekey = found[-1]
        return prekey[0]


def _rotated(own: Own, now_ms: int) -> tuple[bytes, int]:
    """Return the prekey in use and when it was made; a new one when that is a day ago."""
    newest = own.newest_prekey()
    if newest is not None and 0 <= now_ms - newest[1] < PREKEY_ROTATION_MS:
        return prekey_from_secret(newest[0]).public, newest[1]
    made = make_prekey()
    own.add_prekey(made.prekey_id, made.secret, now_ms)
    own.erase_prekeys(now_ms - PREKEY_GRACE_MS)
    return made.public, now_ms

"""People for the tests of the directory: keys that are the same each time, and their records."""

from functools import cache

from netchat.directory.records import sign_record
from netchat.identity.keys import Identity
from netchat.model import Address, Name, Record, SignedRecord

HERE = Address("127.0.0.1", 6_000)
LEASE_S = 60


@cache
def person(number: int | str) -> Identity:
    """Return the identity of that number, or of that name."""
    return Identity.from_seed(str(number).encode().ljust(32, b"."))


ALICE, BOB, CAROL, MALLORY = (person(name) for name in ("alice", "bob", "carol", "mallory"))


def record(
    identity: Identity,
    name: str,
    *,
    seq: int = 1,
    addresses: tuple[Address, ...] = (HERE,),
    issued_ms: int = 0,
    lease_s: int = LEASE_S,
    capabilities: tuple[str, ...] = (),
) -> Record:
    return Record(
        name=Name(name),
        key=identity.peer_id,
        addresses=addresses,
        prekey=b"",
        prekey_until_ms=0,
        capabilities=capabilities,
        seq=seq,
        issued_ms=issued_ms,
        lease_s=lease_s,
    )


def signed(
    identity: Identity,
    name: str,
    *,
    old: Identity | None = None,
    seq: int = 1,
    addresses: tuple[Address, ...] = (HERE,),
    issued_ms: int = 0,
    lease_s: int = LEASE_S,
    capabilities: tuple[str, ...] = (),
) -> SignedRecord:
    """Return a record of ``identity`` for ``name``; with ``old`` it is a rotation."""
    return sign_record(
        identity,
        record(
            identity,
            name,
            seq=seq,
            addresses=addresses,
            issued_ms=issued_ms,
            lease_s=lease_s,
            capabilities=capabilities,
        ),
        old=old,
    )

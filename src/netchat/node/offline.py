"""What can be done to a profile while no node runs over it: its identity, and trust in people.

The caller owns the profile (``store.profile``), so nothing here meets a running node. ``ask`` gets
a passphrase from a person: it is given the path and the reason; None means that there is none.
"""

import os
from collections.abc import Callable
from pathlib import Path

from netchat.api import Person, TrustDecision
from netchat.delivery.inputs import Decision, PersonDecided
from netchat.delivery.notices import DecisionDone
from netchat.errors import IdentityLocked, IdentityUnreadable, StoreUnavailable
from netchat.identity.keys import Identity
from netchat.limits import IDENTITY_FILE_BYTES_MAX
from netchat.model import Name, PeerId
from netchat.node.clock import Clock
from netchat.node.introduction import last_name
from netchat.node.people import person_of, proven_key, refusal_of
from netchat.node.pump import Owner, Pump
from netchat.store.database import open_database
from netchat.store.profile import Profile
from netchat.store.secrets import Own

Ask = Callable[[str, str], str | None]


# --- the identity --------------------------------------------------------------------------------


def open_identity(profile: Profile, ask: Ask, *, make: bool = False) -> Identity:
    """Return the identity of a profile; ``make`` one when it has none yet.

    Raises:
        IdentityUnreadable: ``missing``, or what is wrong with the file.
        IdentityLocked: nobody gave the right passphrase.
        StoreUnavailable: the disk refused.
    """
    data = profile.read_identity_file()
    if data is not None:
        return unlock(data, ask, str(profile.identity_path))[0]
    if not make:
        raise IdentityUnreadable(str(profile.identity_path), "missing")
    identity = Identity.generate()
    profile.write_identity_file(identity.to_openssh(None))
    return identity


def unlock(data: bytes, ask: Ask, path: str) -> tuple[Identity, str | None]:
    """Read an identity file, asking for its passphrase as often as ``ask`` has one to try."""
    passphrase: str | None = None
    while True:
        try:
            return Identity.from_openssh(data, passphrase, path), passphrase
        except IdentityLocked as error:
            passphrase = ask(error.path, error.reason)
            if passphrase is None:
                raise


def is_locked(profile: Profile) -> bool:
    """Tell whether the identity of a profile needs a passphrase."""
    data = profile.read_identity_file()
    if data is None:
        return False
    try:
        Identity.from_openssh(data, None, str(profile.identity_path))
    except IdentityLocked:
        return True
    return False


def export_identity(profile: Profile, target: Path) -> None:
    """Copy the identity file as it is, locked or not, to a new file for its owner only.

    Raises:
        IdentityUnreadable: ``missing`` in the profile; ``exists``: there is such a file already.
        StoreUnavailable: the disk refused.
    """
    data = profile.read_identity_file()
    if data is None:
        raise IdentityUnreadable(str(profile.identity_path), "missing")
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise IdentityUnreadable(str(target), "exists") from None
    except OSError as error:
        raise StoreUnavailable(f"{target}: {error.strerror}") from error


def import_identity(profile: Profile, source: Path, ask: Ask) -> Identity:
    """Make the identity in a file that of a profile which has none; its lock stays.

    Raises:
        IdentityUnreadable: ``in-use``: the profile has one; ``open-to-others``: others can read
            the file, which is as good as the key; or what is wrong with it.
        IdentityLocked: nobody gave the right passphrase.
        StoreUnavailable: the file cannot be read, or the profile not written.
    """
    try:
        with source.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise IdentityUnreadable(str(source), "open-to-others")
            data = file.read(IDENTITY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise StoreUnavailable(f"{source}: {error.strerror}") from error
    identity, _ = unlock(data, ask, str(source))
    profile.write_identity_file(data)
    return identity


def relock_identity(profile: Profile, ask: Ask, choose: Callable[[bool], str | None]) -> Identity:
    """Put another passphrase on the identity of a profile, or none; ``choose`` is told whether it
    has one now. Raises as ``open_identity``."""
    data = profile.read_identity_file()
    if data is None:
        raise IdentityUnreadable(str(profile.identity_path), "missing")
    identity, passphrase = unlock(data, ask, str(profile.identity_path))
    chosen = choose(passphrase is not None)
    profile.write_identity_file(identity.to_openssh(chosen), replace=True)
    return identity


# --- names and trust -----------------------------------------------------------------------------


def name_of(profile: Profile) -> Name | None:
    """Return the name under which a profile was last used. Raises StoreUnavailable."""
    connection = open_database(profile.history_path)
    try:
        return last_name(Own(connection))
    finally:
        connection.close()


def person(profile: Profile, identity: Identity, name: Name) -> Person:
    """Return what a profile holds of a name."""
    return _with_pump(profile, identity, lambda pump: person_of(pump.pin(name), identity.peer_id))


def verify(profile: Profile, identity: Identity, name: Name, proof: str) -> Person:
    """As ``api.Node.verify``."""

    def work(pump: Pump) -> Person:
        key = proven_key(pump.pin(name), identity.peer_id, proof)
        return _decided(pump, identity, name, Decision.VERIFIED, key)

    return _with_pump(profile, identity, work)


def trust(profile: Profile, identity: Identity, name: Name, decision: TrustDecision) -> Person:
    """As ``api.Node.trust``."""
    return _with_pump(
        profile,
        identity,
        lambda pump: _decided(pump, identity, name, Decision(decision.value), None),
    )


def _with_pump(profile: Profile, identity: Identity, work: Callable[[Pump], Person]) -> Person:
    connection = open_database(profile.history_path)
    try:
        own_name = last_name(Own(connection)) or Name("nobody")
        return work(Pump(connection, Owner(own_name, identity.peer_id)))
    finally:
        connection.close()


def _decided(
    pump: Pump, identity: Identity, name: Name, decision: Decision, key: PeerId | None
) -> Person:
    """The pump's effects beside the decision are left to the next node: it takes up what waits."""
    batch = pump.step_batch(Clock().now_ms(), [PersonDecided(0, name, decision, 0.0, key)])
    for refused in batch.refused:
        raise refused.error
    for effect in batch.effects:
        if isinstance(effect, DecisionDone) and effect.refused is not None:
            raise refusal_of(name, decision, effect.refused)
    return person_of(pump.pin(name), identity.peer_id)

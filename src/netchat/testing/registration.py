"""What ``node.rendezvous`` and ``node.introduction`` do at one directory, done in virtual time."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from netchat.directory.records import sign_record
from netchat.errors import DirectoryError, DirectoryRefused, StoreUnavailable
from netchat.identity.keys import Identity
from netchat.limits import HEARTBEAT_LOCAL_S, HEARTBEAT_REMOTE_S
from netchat.model import Address, Name, SignedRecord
from netchat.node.introduction import Introduction, Keep
from netchat.testing.host import Node

T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Run a coroutine that has nothing to wait for here."""
    assert isinstance(work, Coroutine)
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits for something")


class MovingIntroduction(Introduction):
    """The real one; after a key was changed, the ``old`` one vouches for the new."""

    def __init__(
        self,
        identity: Identity,
        old: Identity | None,
        name: Name,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        keep: Keep,
    ) -> None:
        super().__init__(identity, name, now_ms, entropy, keep)
        self._old = old

    async def renew(
        self, addresses: tuple[Address, ...], *, mailboxes: bool, above: int = 0
    ) -> SignedRecord:
        signed = await super().renew(addresses, mailboxes=mailboxes, above=above)
        if self._old is not None and signed.rotated_from is None:
            self._signed = sign_record(self.identity, signed.record, old=self._old)
        return self.record


class Registration:
    """Keeps one life of a machine in the directory; ``is_keyed`` with a signed record."""

    def __init__(
        self, node: Node, address: Address, *, is_keyed: bool, changed: Callable[[], None]
    ) -> None:
        self._node = node
        self._address = address
        self._is_keyed = is_keyed
        self._changed = changed
        self._claimed: SignedRecord | None = None
        self.is_registered = False
        node.soon(self._beat)

    def _beat(self) -> None:
        was_registered = self.is_registered
        try:
            self._enter()
            self.is_registered = True
        except (DirectoryError, StoreUnavailable) as error:
            why = getattr(error, "refusal", "") or error.code
            if was_registered:
                self._node.world.tell(f"{self._node.host.name} is not registered: {why}")
            self.is_registered = False
        if self.is_registered and not was_registered:
            self._changed()
        pause_s = HEARTBEAT_REMOTE_S if self.is_registered else HEARTBEAT_LOCAL_S
        self._node.later(pause_s * 1_000, self._beat)

    def _enter(self) -> None:
        node = self._node
        if not self._is_keyed:
            node.directory.register(node.host.name, self._address)
            return
        node.directory.lookup(node.host.name)  # it is asked first what it is
        signed = at_once(node.introduction.renew((self._address,), mailboxes=True))
        self._claim_or_keep(signed)

    def _claim_or_keep(self, signed: SignedRecord) -> None:
        node = self._node
        if self._claimed is signed:
            try:
                node.directory.keep(node.host.name, node.key)
            except DirectoryRefused as refusal:
                if refusal.refusal != "no-such-record":
                    raise
            else:
                return
        try:
            node.directory.claim(signed)
        except DirectoryRefused as refusal:
            if refusal.refusal != "stale":
                raise
            there = node.directory.find(node.host.name).record
            above = 0 if there is None else there.record.seq
            signed = at_once(node.introduction.renew((self._address,), mailboxes=True, above=above))
            node.directory.claim(signed)
        self._claimed = signed

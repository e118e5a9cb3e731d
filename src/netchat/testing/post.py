"""What ``node.post`` does with sealed mail, done in virtual time. Envelopes are not sealed here:
they say for which prekey they are, and who signed; all the rest of them is real."""

from netchat.delivery import ranges
from netchat.delivery.effects import Deposit
from netchat.delivery.inputs import Deposited, DepositFailed, MailArrived
from netchat.errors import DirectoryError, DirectoryRefused, RemoteError
from netchat.identity.seal import prekey_id
from netchat.limits import HEARTBEAT_REMOTE_S, MAIL_SETTLE_S
from netchat.model import PeerId, SignedRecord
from netchat.testing.host import Node
from netchat.wire.mail import MailBody, decode_mail, encode_mail

_PREKEY_ID_BYTES = 16
_KEY_BYTES = 32


class Post:
    """One life's mail. ``has_mailboxes`` once it is registered where there are some."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.has_mailboxes = False
        self._count = 0
        self._waiting: set[int] = set()
        self._is_fetching = False
        self._poll()

    # --- out -------------------------------------------------------------------------------------

    def deposit(self, order: Deposit) -> None:
        """Ends in ``Deposited`` or ``DepositFailed``."""
        self._node.soon(lambda: self._hand_in(order))

    def _hand_in(self, order: Deposit) -> None:
        node = self._node
        body = MailBody(
            node.host.name, node.introduction.stream, order.base, order.items, order.confirms
        )
        envelope = prekey_id(order.prekey) + node.key.value + encode_mail(body)
        try:
            if not self.has_mailboxes:
                raise DirectoryRefused("", "", 404, "no-mailboxes")
            until_ms = node.directory.deposit(order.key, node.key, envelope)
        except DirectoryError as error:
            reason = error.code
            if isinstance(error, DirectoryRefused):
                reason = error.refusal or reason
            self._failed(order, reason)
            return
        if node.world.strikes("deposit-answer-lost", 0.05):
            self._failed(order, "directory-unreachable")
            return
        numbers = ranges.of(item.seq for item in order.items)
        owed = tuple(item_id for item_id, _ in order.confirms)
        done = Deposited(order.peer, numbers, owed, until_ms, order.key, node.jitter())
        node.soon(lambda: node.submit(done))

    def _failed(self, order: Deposit, reason: str) -> None:
        node = self._node
        node.soon(lambda: node.submit(DepositFailed(order.peer, reason, node.jitter())))

    # --- in --------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Look by ourselves now and then: the stream may have ended without a word."""
        self.look()
        pause_s = HEARTBEAT_REMOTE_S * (0.1 + 0.4 * self._node.jitter())
        self._node.later(pause_s * 1_000, self._poll)

    def look(self) -> None:
        if self.has_mailboxes and not self._is_fetching:
            self._is_fetching = True
            self._node.later(1, lambda: self._fetch(0))

    def settled(self, mail: int) -> None:
        self._waiting.discard(mail)

    def _fetch(self, after: int) -> None:
        """Take everything behind ``after``."""
        node = self._node
        self._is_fetching = False
        try:
            node.directory.wake(node.key, lambda: node.later(0, self.look))
            found = node.directory.fetch(node.key, after)
        except DirectoryError:
            return
        if not found:
            return
        self._is_fetching = True
        mails = [mail for _, envelope in found if (mail := self._take(envelope)) is not None]
        deadline_ms = node.world.now_ms + MAIL_SETTLE_S * 1_000
        self._await(found[-1][0], mails, deadline_ms)

    def _await(self, through: int, mails: list[int], deadline_ms: float) -> None:
        """Acknowledge when all of it is on disk; else it comes again with the next look."""
        node = self._node
        if self._waiting.isdisjoint(mails):
            try:
                node.directory.acknowledge(node.key, through)
            except DirectoryError:
                self._is_fetching = False
                return
            self._fetch(through)
        elif node.world.now_ms < deadline_ms:
            node.later(50, lambda: self._await(through, mails, deadline_ms))
        else:
            self._waiting.difference_update(mails)
            self._is_fetching = False

    def _take(self, envelope: bytes) -> int | None:
        """Open an envelope and submit what is in it; None when it cannot be opened."""
        node = self._node
        wanted = envelope[:_PREKEY_ID_BYTES]
        if node.pump.own().prekey_secret(wanted) is None:
            node.world.faults["mail-not-opened"] += 1
            return None
        start = _PREKEY_ID_BYTES + _KEY_BYTES
        sender = PeerId(envelope[_PREKEY_ID_BYTES:start])
        data = envelope[start:]
        try:
            body = decode_mail(data)
        except RemoteError:
            return None
        self._count += 1
        number = self._count
        self._waiting.add(number)

        def known(elsewhere: SignedRecord | None) -> None:
            arrived = MailArrived(
                number,
                sender,
                body.name,
                body.stream,
                body.base,
                body.items,
                body.confirms,
                elsewhere,
                data,
            )
            node.submit(arrived)

        node.elsewhere(body.name, sender, known)
        return number

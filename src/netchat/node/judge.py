"""Makes of an input what the engine may hear: adds what trust says and what the store knows.

It runs inside the transaction of the step, so what it reads is what the step changes.
"""

from dataclasses import replace

from netchat.delivery import ranges
from netchat.delivery.checked import (
    Admitted,
    ArrivalChecked,
    Barred,
    Checked,
    ConfirmChecked,
    DeleteChecked,
    ItemsChecked,
    ReadChecked,
    Restored,
    Routed,
    SendChecked,
    Tally,
)
from netchat.delivery.inputs import (
    ConfirmArrived,
    Connected,
    DeleteArrived,
    DeleteRequested,
    Deposited,
    DepositFailed,
    ItemsArrived,
    LinkOpened,
    Located,
    LocateFailed,
    MailArrived,
    ReadNoted,
    Route,
    SendRequested,
    TextArrived,
)
from netchat.model import (
    Address,
    ClaimedName,
    Contact,
    Item,
    ItemKind,
    MessageId,
    Name,
    PeerId,
)
from netchat.node.trusted import Trusted
from netchat.store.arrivals import Arrivals
from netchat.store.history import History
from netchat.store.outbox import OutboxTable
from netchat.store.peers import Peers


class Judge:
    """One for each pump; ``links`` is who was admitted over which link."""

    def __init__(
        self,
        history: History,
        outbox: OutboxTable,
        peers: Peers,
        arrivals: Arrivals,
        trusted: Trusted,
    ) -> None:
        self._history = history
        self._outbox = outbox
        self._peers = peers
        self._arrivals = arrivals
        self._trusted = trusted
        self.links: dict[int, tuple[Name, PeerId, bytes]] = {}
        self._heard: set[int] = set()
        """Over which of them something came."""
        self.is_repeat = False
        """Whether inputs may have been offered before, so that new ids may be on disk already."""

    def tally(self, contact: Contact) -> Tally:
        last_seq, left_seq = self._peers.numbers(contact)
        return Tally(last_seq, left_seq, self._history.newest_hlc(contact))

    # --- from a person ---------------------------------------------------------------------------

    def send(self, event: SendRequested) -> SendChecked:
        seen: frozenset[MessageId] = frozenset()
        if self.is_repeat:
            ids = [message.message_id for message in event.messages]
            seen = frozenset(self._history.seen(None, ids))
        route = self._trusted.route(event.peer, event.found)
        address = None if event.found is None else event.found.address
        return SendChecked(event, seen, route, address, self.tally(event.peer))

    def delete(self, event: DeleteRequested) -> DeleteChecked:
        seen = bool(self._history.seen(None, [event.change_id]))
        if event.target is not None:
            message = self._history.own(event.target)
        else:
            assert event.peer is not None, "a delete means a message, or the newest to somebody"
            message = self._history.newest_own(event.peer)
        if message is None:
            return DeleteChecked(event, seen, None, Route.UNKNOWN, Tally(0, 0, 0))
        route = self._trusted.standing(message.peer)
        return DeleteChecked(event, seen, message, route, self.tally(message.peer))

    def read(self, event: ReadNoted) -> ReadChecked:
        seen = bool(self._history.seen(None, [event.change_id]))
        route = self._trusted.standing(event.peer)
        return ReadChecked(event, seen, route, self.tally(event.peer))

    # --- from the directory ----------------------------------------------------------------------

    def located(self, now_ms: int, event: Located | LocateFailed) -> Routed:
        """Say where to go: a key that is pinned is found by its pin, too, and only by TLS."""
        found = event.found if isinstance(event, Located) else None
        route = self._trusted.route(event.peer, found)
        pin = self._trusted.pin(event.peer)
        record = None if pin.record is None else pin.record.record
        addresses: tuple[Address, ...] = () if record is None else record.addresses
        if found is not None and found.address is not None:
            addresses = tuple(dict.fromkeys((found.address, *addresses)))
        can_mail = record is not None and bool(record.prekey) and now_ms < record.prekey_until_ms
        return Routed(
            event.peer,
            event.jitter,
            route,
            address=None if found is None else found.address,
            key=pin.key,
            addresses=addresses,
            can_mail=can_mail,
            present=found is None or found.present,
            answered=isinstance(event, Located),
            has_work=self._has_work(event.peer),
        )

    def deposited(self, event: Deposited) -> Deposited | DepositFailed:
        """An envelope for a key that the peer no longer has lies where nobody may look."""
        if event.key is None or self._trusted.pin(event.peer).key == event.key:
            return event
        return DepositFailed(event.peer, "key-changed", event.jitter)

    def connected(self, event: Connected) -> Connected | Barred:
        """Say whether plain text may still go: this is the last moment before it leaves."""
        if self._trusted.standing(event.peer) is Route.CLASSIC:
            return event
        return Barred(event.item_id, event.peer)

    # --- from classic connections ----------------------------------------------------------------

    def arrival(self, event: TextArrived | DeleteArrived) -> ArrivalChecked:
        """A classic text that claims the name of a key stands in a conversation of its own."""
        seen = bool(self._history.seen(None, [event.arrival_id]))
        pin = self._trusted.pin(event.sender)
        contact: Contact = event.sender
        is_held = event.is_held or self._trusted.is_own(event.sender)
        if is_held or pin.key is not None or pin.pending is not None:
            contact = ClaimedName(event.sender)
        newest = None
        if isinstance(event, DeleteArrived):
            newest = self._history.newest_classic(contact)
        return ArrivalChecked(event, seen, contact, self.tally(contact), newest)

    # --- from links and mail ---------------------------------------------------------------------

    def admitted(self, event: LinkOpened) -> Admitted:
        peer = event.record.record.name
        self.links[event.link] = (peer, event.record.record.key, event.stream)
        return Admitted(event.link, peer, self._peers.numbers(peer)[0], self._has_work(peer))

    def _has_work(self, peer: Name) -> bool:
        return self._outbox.base(peer) is not None or bool(self._outbox.owed(peer, 1))

    def items(self, event: ItemsArrived) -> ItemsChecked | None:
        admitted = self.links.get(event.link)
        if admitted is None:
            return None
        peer, sender, stream = admitted
        is_first = event.link not in self._heard
        if is_first:
            self._heard &= self.links.keys()  # numbers of links never come again
            self._heard.add(event.link)
        checked = self._checked(peer, sender, stream, event.base, event.items, event.link, None)
        return replace(checked, is_first=is_first)

    def mail(self, event: MailArrived) -> ItemsChecked:
        return self._checked(
            event.name, event.sender, event.stream, event.base, event.items, None, event.mail
        )

    def _checked(
        self,
        peer: Name,
        sender: PeerId,
        stream: bytes,
        base: int,
        items: tuple[Item, ...],
        link: int | None,
        mail: int | None,
    ) -> ItemsChecked:
        ids = [item.item_id for item in items]
        upto, ahead = self._arrivals.mark(sender, stream)
        deletes = [item.target for item in items if item.kind is ItemKind.DELETE and item.target]
        return ItemsChecked(
            peer=peer,
            sender=sender,
            stream=stream,
            base=base,
            items=items,
            link=link,
            mail=mail,
            seen=self._history.seen(sender, ids),
            orphans=self._history.deleted_before(sender, ids),
            targets=self._history.targets(sender, deletes) if deletes else {},
            upto=upto,
            ahead=ahead,
        )

    def confirm(self, peer: Name, results: tuple[tuple[MessageId, str], ...]) -> ConfirmChecked:
        """Find the numbers of what a peer confirms by id; what is not waiting for it is ignored."""
        answers = dict(results)
        numbers = self._outbox.numbers_of(peer, list(answers))
        said = tuple((seq, answers[item_id]) for seq, item_id in numbers if answers[item_id])
        return ConfirmChecked(peer, ranges.of(seq for seq, _ in numbers), said)

    def confirmed(self, event: ConfirmArrived) -> ConfirmChecked | None:
        admitted = self.links.get(event.link)
        return None if admitted is None else self.confirm(admitted[0], event.results)

    # --- from the store --------------------------------------------------------------------------

    def restored(self, *, restarted: bool) -> list[Checked]:
        """Return what the engine has to know to go on from what is on disk."""
        heads = {entry.peer: entry for entry in self._outbox.heads()}
        peers = dict.fromkeys((*heads, *self._outbox.debtors()))
        return [
            Restored(
                peer,
                heads.get(peer),
                self._peers.last_seen_at(peer),
                self._trusted.standing(peer),
                restarted,
            )
            for peer in peers
        ]

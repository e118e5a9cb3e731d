"""Applies what the engine wants stored, inside the transaction of the step.

Most effects are one statement. Some touch a whole range of the outbox at once; what was among it is
only known here, so these return the notices that tell of it.
"""

from typing import assert_never

from netchat.delivery.effects import (
    DropOwed,
    EraseMessage,
    ExpireItems,
    ForgetDeposits,
    MarkLeft,
    MarkRead,
    RemoveItem,
    SetItemState,
    SetMark,
    SetMessageState,
    SettleItems,
    StoreAddress,
    StoreChange,
    StoreChangeOf,
    StoreClassicReceived,
    StoreDeposit,
    StoreEffect,
    StoreItem,
    StoreOwed,
    StoreOwn,
    StoreReceived,
    VoidItem,
)
from netchat.delivery.notices import DeleteProgressed, MessagesProgressed, Notice
from netchat.model import DeleteOutcome, ItemKind, MessageId, MessageState, Name
from netchat.store.arrivals import Arrivals
from netchat.store.history import History
from netchat.store.outbox import OutboxTable
from netchat.store.peers import Peers

_DELETES = {
    "": DeleteOutcome.APPLIED,
    "kept": DeleteOutcome.KEPT,
    "refused": DeleteOutcome.REFUSED,
}


class Ledger:
    """The tables of one profile. The caller owns the transaction around ``apply``."""

    def __init__(
        self, history: History, outbox: OutboxTable, peers: Peers, arrivals: Arrivals
    ) -> None:
        self._history = history
        self._outbox = outbox
        self._peers = peers
        self._arrivals = arrivals

    def apply(self, now_ms: int, effect: StoreEffect) -> list[Notice]:
        """Write ``effect``; return what it turned out to mean for single messages and deletes."""
        match effect:
            case StoreOwn() | StoreItem() | StoreReceived() | StoreClassicReceived():
                self._add(now_ms, effect)
            case StoreChange():
                self._peers.add(effect.contact)
                self._history.add_change(
                    effect.change_id, None, effect.contact, effect.target, None, now_ms
                )
            case StoreChangeOf():
                self._history.add_change(
                    effect.change_id,
                    effect.sender,
                    effect.peer,
                    effect.target,
                    effect.result,
                    now_ms,
                )
            case SetMessageState(message_id, state, reason):
                self._history.set_states((message_id,), state, reason, now_ms)
            case EraseMessage(message_id, sender):
                self._history.erase(
                    message_id, sender, now_ms, keep_text=effect.keep_text, wipe=effect.wipe
                )
            case SetMark():
                self._arrivals.set_mark(effect.sender, effect.stream, effect.upto, effect.ahead)
            case StoreAddress(peer, address):
                self._peers.set_address(peer, address, now_ms)
            case MarkLeft(peer, seq):
                self._peers.mark_left(peer, seq)
            case StoreOwed(peer, results):
                self._outbox.owe(peer, results)
            case DropOwed(peer, item_ids):
                self._outbox.drop_owed(peer, item_ids)
            case VoidItem(peer, seq):
                self._outbox.void(peer, seq)
            case SetItemState(peer, seq, item_state):
                self._outbox.set_state(peer, seq, item_state)
            case RemoveItem(peer, seq):
                self._outbox.remove(peer, seq)
            case SettleItems() | StoreDeposit() | ForgetDeposits() | ExpireItems() | MarkRead():
                return self._settle(now_ms, effect)
            case _ as never:
                assert_never(never)
        return []

    def _add(
        self, now_ms: int, effect: StoreOwn | StoreItem | StoreReceived | StoreClassicReceived
    ) -> None:
        match effect:
            case StoreOwn(peer, rows, expires_ms, left):
                self._peers.add(peer)
                self._history.add_own(peer, rows, now_ms)
                self._outbox.add_own(peer, rows, expires_ms)
                self._peers.set_last(peer, rows[-1].seq, left=left)
            case StoreItem(peer, item, expires_ms, left):
                self._outbox.add(peer, item, expires_ms)
                self._peers.set_last(peer, item.seq, left=left)
            case StoreReceived(peer, sender, items, deleted):
                self._peers.add(peer)
                self._history.add_received(peer, sender, items, deleted, now_ms)
            case StoreClassicReceived():
                self._peers.add(effect.contact)
                self._history.add_classic(
                    effect.message_id,
                    effect.contact,
                    effect.text,
                    effect.source,
                    effect.hlc,
                    now_ms,
                )
            case _ as never:
                assert_never(never)

    def _settle(
        self,
        now_ms: int,
        effect: SettleItems | StoreDeposit | ForgetDeposits | ExpireItems | MarkRead,
    ) -> list[Notice]:
        match effect:
            case SettleItems():
                return self._settle_items(now_ms, effect)
            case StoreDeposit(peer, deposited, until_ms):
                stored: list[tuple[ItemKind, MessageId]] = []
                for first, last in deposited:
                    stored += self._outbox.store(peer, first, last, until_ms)
                ids = [item_id for kind, item_id in stored if kind is ItemKind.TEXT]
                # Whoever waits for a delete need not: it is as far as it comes for now.
                waits = [
                    DeleteProgressed(item_id, peer, DeleteOutcome.QUEUED)
                    for kind, item_id in stored
                    if kind is ItemKind.DELETE
                ]
                return [*self._progressed(now_ms, peer, ids, MessageState.STORED), *waits]
            case ForgetDeposits(peer):
                taken = self._outbox.unstore(peer)
                self._history.set_queued(taken)
                queued = MessageState.QUEUED
                return [MessagesProgressed(peer, taken, queued, "sealed-anew")] if taken else []
            case MarkRead(peer, hlc):
                read = self._history.mark_read(peer, hlc, now_ms)
                if not read:
                    return []
                return [MessagesProgressed(peer, tuple(read), MessageState.READ)]
            case ExpireItems(peer):
                return self._expire(now_ms, peer)
            case _ as never:
                assert_never(never)

    def _progressed(
        self,
        now_ms: int,
        peer: Name,
        ids: list[MessageId],
        state: MessageState,
        reason: str | None = None,
    ) -> list[Notice]:
        if not ids:
            return []
        self._history.set_states(ids, state, reason, now_ms)
        return [MessagesProgressed(peer, tuple(ids), state, reason)]

    def _settle_items(self, now_ms: int, effect: SettleItems) -> list[Notice]:
        results = dict(effect.results)
        texts: list[MessageId] = []
        notices: list[Notice] = []
        for first, last in effect.ranges:
            self._history.set_delivered(effect.peer, first, last, now_ms)
            for seq, kind, item_id in self._outbox.take(effect.peer, first, last):
                if kind is ItemKind.TEXT:
                    texts.append(item_id)
                elif kind is ItemKind.DELETE:
                    result = results.get(seq, "")
                    outcome = _DELETES.get(result, DeleteOutcome.REFUSED)
                    self._history.set_result(item_id, outcome.value)
                    notices.append(DeleteProgressed(item_id, effect.peer, outcome))
        if texts:
            delivered = MessageState.DELIVERED
            notices.insert(0, MessagesProgressed(effect.peer, tuple(texts), delivered))
        return notices

    def _expire(self, now_ms: int, peer: Name) -> list[Notice]:
        texts: list[MessageId] = []
        notices: list[Notice] = []
        for _, kind, item_id in self._outbox.take_expired(peer, now_ms):
            if kind is ItemKind.TEXT:
                texts.append(item_id)
            elif kind is ItemKind.DELETE:
                notices.append(DeleteProgressed(item_id, peer, DeleteOutcome.EXPIRED))
        expired = self._progressed(now_ms, peer, texts, MessageState.EXPIRED, "expired")
        return [*expired, *notices]

    def fail_all(self, now_ms: int, peer: Name) -> list[Notice]:
        """Nothing that waits for ``peer`` goes any more: a person forgot who that is."""
        self._outbox.forgive(peer)
        left_seq = self._peers.numbers(peer)[1]
        left: list[MessageId] = []
        kept: list[MessageId] = []
        for seq, kind, item_id in sorted(self._outbox.take_waiting(peer)):
            if kind is ItemKind.TEXT:
                (left if seq <= left_seq else kept).append(item_id)
        return [
            *self._progressed(now_ms, peer, left, MessageState.FAILED, "forgotten"),
            *self._progressed(now_ms, peer, kept, MessageState.CANCELLED, "forgotten"),
        ]

"""The effects of the engine are values: equal when their fields are, and never changed."""

from dataclasses import FrozenInstanceError, fields

import pytest

from netchat.delivery import effects
from netchat.delivery.inputs import Item, ItemKind, ItemState, SendRequested
from netchat.model import Address, DeleteOutcome, DisplayText, MessageId, MessageState, Name

BOB = Name("bob")
ID = MessageId(bytes(15) + b"\x01")
ADDRESS = Address("192.0.2.7", 54321)
ITEM = Item(ID, BOB, ItemKind.TEXT, ItemState.QUEUED, 1_000)

ALL = [
    effects.StoreOwnMessage(ID, BOB, "hi"),
    effects.StoreReceivedMessage(ID, BOB, DisplayText("hi"), "192.0.2.7"),
    effects.SetMessageState(ID, MessageState.SENT, None),
    effects.EraseMessage(ID),
    effects.StoreChange(ID, BOB, None),
    effects.StoreItem(ITEM, "hi"),
    effects.SetItemState(ID, ItemState.HANDING),
    effects.RemoveItem(ID),
    effects.StoreAddress(BOB, ADDRESS),
    effects.AskChecked(SendRequested(ID, BOB, "hi", None)),
    effects.AskHead(BOB),
    effects.Locate(BOB),
    effects.Dial(ID, BOB, ADDRESS),
    effects.HandOver(ID, BOB, ItemKind.DELETE),
    effects.Abandon(ID),
    effects.SetTimer(BOB, 1_000),
    effects.Settle(ID),
    effects.MessageArrived(ID, BOB, DisplayText("hi")),
    effects.MessageAccepted(ID),
    effects.PeerPostponed(BOB, "refused"),
    effects.MessageProgressed(ID, BOB, MessageState.SENT),
    effects.DeleteProgressed(ID, BOB, DeleteOutcome.SENT),
    effects.PeerDeleted(ID, BOB),
    effects.DeleteIgnored(BOB, "192.0.2.7", "other-source"),
]


@pytest.mark.parametrize("value", ALL, ids=lambda value: type(value).__name__)
def test_effects_are_frozen(value: object) -> None:
    """Nobody changes an effect on its way, and none grows a field that nobody declared."""
    first = fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, None)
    with pytest.raises((AttributeError, TypeError)):
        value.unheard_of = 1  # type: ignore[attr-defined]


def test_every_effect_is_of_exactly_one_kind() -> None:
    """Stored in the transaction, asked in it, or done after it; none is left out of this test."""
    kinds = [effects.StoreEffect, effects.Question, effects.Outward]
    for value in ALL:
        assert sum(isinstance(value, kind) for kind in kinds) == 1
    named = {cls for kind in kinds for cls in kind.__args__}
    assert named == {type(value) for value in ALL}


def test_a_hand_over_has_no_text_until_the_pump_reads_it() -> None:
    """The engine never holds a body: the text of a HandOver comes from the store."""
    assert effects.HandOver(ID, BOB, ItemKind.TEXT).text is None

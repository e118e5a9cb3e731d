"""The inputs of the engine are values: equal when their fields are, and never changed."""

from dataclasses import FrozenInstanceError, fields

import pytest

from netchat.delivery import inputs
from netchat.delivery.inputs import Item, ItemKind, ItemState
from netchat.model import Address, DisplayText, MessageId, MessageState, Name

BOB = Name("bob")
ID = MessageId(bytes(15) + b"\x01")
ADDRESS = Address("192.0.2.7", 54321)
ITEM = Item(ID, BOB, ItemKind.TEXT, ItemState.QUEUED, 1_000)
LAST = inputs.Whereabouts(ADDRESS, 1_000)
SEND = inputs.SendRequested(ID, BOB, "hi", ADDRESS)

ALL = [
    ITEM,
    LAST,
    SEND,
    inputs.DeleteRequested(ID, BOB),
    inputs.Located(BOB, ADDRESS, 0.5),
    inputs.LocateFailed(BOB, 0.5),
    inputs.Connected(ID, BOB),
    inputs.DialFailed(ID, BOB, "refused", 0.5),
    inputs.Handed(ID, BOB),
    inputs.HandOverBroke(ID, BOB, "reset"),
    inputs.TimerFired(BOB, 0.5),
    inputs.TextArrived(ID, BOB, DisplayText("hi"), "192.0.2.7"),
    inputs.DeleteArrived(ID, BOB, "192.0.2.7"),
    inputs.NewestMessage(ID, MessageState.SENT, None),
    inputs.Checked(SEND, seen=False),
    inputs.HeadLoaded(BOB, ITEM, LAST),
    inputs.Restored(BOB, ITEM, LAST, restarted=True),
]


@pytest.mark.parametrize("value", ALL, ids=lambda value: type(value).__name__)
def test_inputs_are_frozen(value: object) -> None:
    """Nobody changes an input on its way, and none grows a field that nobody declared."""
    first = fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, None)
    with pytest.raises((AttributeError, TypeError)):
        value.unheard_of = 1  # type: ignore[attr-defined]


def test_answers_say_nothing_that_was_not_asked() -> None:
    """What only a delete needs is absent unless it is given."""
    assert inputs.Checked(SEND, seen=True).newest is None
    assert ITEM.target_state is None
    assert not ITEM.is_erased


def test_names_are_compared_without_regard_to_case() -> None:
    """A report about `BOB` is one about `bob`."""
    assert inputs.Handed(ID, Name("BOB")) == inputs.Handed(ID, BOB)

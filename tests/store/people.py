"""Who and what stands in the tables of these tests."""

from netchat.delivery.effects import OwnRow
from netchat.model import ClaimedName, DisplayText, Item, ItemKind, MessageId, Name, PeerId

BOB, CAROL = Name("Bob"), Name("carol")
CLAIMED = ClaimedName(BOB)
BOBS, CAROLS = PeerId(b"b" * 32), PeerId(b"c" * 32)


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def own(number: int, text: str = "hi", *, seq: int | None = None, hlc: int | None = None) -> OwnRow:
    """A message of ours; by default its number and its timestamp are those of its id."""
    return OwnRow(an_id(number), text, seq or number, number if hlc is None else hlc)


def text(number: int, words: str = "hello", *, hlc: int | None = None) -> Item:
    """A text as it comes from a peer."""
    hlc = number if hlc is None else hlc
    return Item(number, ItemKind.TEXT, an_id(number), hlc, DisplayText(words))


def delete(number: int, target: int) -> Item:
    return Item(number, ItemKind.DELETE, an_id(number), number, target=an_id(target))

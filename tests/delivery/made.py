"""The people, ids and items that the tests of this room speak of."""

from netchat.model import Address, DisplayText, Item, ItemKind, MessageId, Name, PeerId

ALICE, BOB, CAROL = Name("alice"), Name("bob"), Name("carol")
ALICES_KEY, BOBS_KEY = PeerId(b"a" * 32), PeerId(b"b" * 32)
HERE, THERE = Address("192.0.2.7", 54321), Address("192.0.2.8", 54321)
NOW = 1_700_000_000_000
STREAM = b"streamed"


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


ONE, TWO, THREE, FOUR = (an_id(number) for number in (1, 2, 3, 4))


def a_text(seq: int, item_id: MessageId | None = None, text: str = "hi") -> Item:
    """A message under number ``seq``; its id is that number, too, unless another is given."""
    return Item(seq, ItemKind.TEXT, item_id or an_id(seq), seq, DisplayText(text))


def a_delete(seq: int, target: MessageId, change_id: MessageId | None = None) -> Item:
    return Item(seq, ItemKind.DELETE, change_id or an_id(1_000 + seq), seq, target=target)


def a_read(seq: int, hlc: int) -> Item:
    return Item(seq, ItemKind.READ, an_id(2_000 + seq), hlc)


def a_void(seq: int, item_id: MessageId | None = None) -> Item:
    return Item(seq, ItemKind.VOID, item_id or an_id(seq), 0)

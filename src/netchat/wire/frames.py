"""Frames: what two nodes say to each other inside a link.

    length   u32, big endian: how many bytes follow
    type     u8
    body     one MessagePack array, whose fields the type fixes

Specification: docs/spec/frames.md; vectors: vectors/frames.json. What MessagePack can check by
type it checks in C while it reads, so a body never makes more objects than its limits allow; what
is left is one lean pass over the items.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Annotated, Any, Final, assert_never

import msgspec
from msgspec import Meta

from netchat.errors import MalformedFrame
from netchat.limits import (
    CODE_CHARS_MAX,
    FRAME_BYTES_BEFORE_HELLO_MAX,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    HLC_MAX,
    RANGES_MAX,
    RECORD_BYTES_MAX,
    RECORD_CAPABILITIES_MAX,
    SEQ_MAX,
    TEXT_BYTES_MAX,
)
from netchat.model import DisplayText, Item, ItemKind, MessageId, Ranges

# --- frames --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of each side. ``record`` is its signed record, as its key signed it.

    ``stream`` names the outbox that its items come from: another one numbers anew. ``instance``
    names the running program. ``capabilities`` are what it can do beyond this specification.
    """

    record: bytes
    stream: bytes
    instance: bytes
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """Items, by ascending number. ``base`` is the lowest number the sender holds unconfirmed."""

    base: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """These numbers are committed here.

    ``results`` by number, ascending: what became of each delete that was not simply applied.
    """

    ranges: Ranges
    results: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Confirm:
    """What came by mail is committed here, by id; the result is "" when it was simply done."""

    results: tuple[tuple[MessageId, str], ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the other end lives."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers the Ping of the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The last frame of a side; ``code`` says why."""

    code: str


Frame = Hello | Items | Receipt | Confirm | Ping | Pong | Bye

# --- bodies, as MessagePack types ----------------------------------------------------------------

_Seq = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
_Hlc = Annotated[int, Meta(ge=0, le=HLC_MAX)]
_Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Eight = Annotated[bytes, Meta(min_length=8, max_length=8)]
_Text = Annotated[str, Meta(max_length=TEXT_BYTES_MAX)]  # in characters; bytes are counted below
_Code = Annotated[str, Meta(pattern=rf"^[a-z-]{{1,{CODE_CHARS_MAX}}}\Z")]  # $ would take "x\n"
_Result = Annotated[str, Meta(pattern=rf"^[a-z-]{{0,{CODE_CHARS_MAX}}}\Z")]
_Capability = Annotated[str, Meta(pattern=rf"^[a-z0-9-]{{1,{CODE_CHARS_MAX}}}\Z")]


class _WireItem(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What every item has; on the wire its kind stands in front of it."""

    seq: _Seq
    item_id: _Id
    hlc: _Hlc


class _TextItem(_WireItem, frozen=True, tag="text"):
    text: _Text


class _DeleteItem(_WireItem, frozen=True, tag="delete"):
    target: _Id


class _ReadItem(_WireItem, frozen=True, tag="read"):
    pass


class _VoidItem(_WireItem, frozen=True, tag="void"):
    pass


WireItem = _TextItem | _DeleteItem | _ReadItem | _VoidItem
"""An item as MessagePack brings it: checked but for the bytes of its text and its order."""

_WireItems = Annotated[list[WireItem], Meta(max_length=FRAME_ITEMS_MAX)]
_Ranges = Annotated[list[tuple[_Seq, _Seq]], Meta(max_length=RANGES_MAX)]
_Results = Annotated[list[tuple[_Seq, _Code]], Meta(max_length=FRAME_ITEMS_MAX)]
WireConfirms = Annotated[list[tuple[_Id, _Result]], Meta(max_length=FRAME_ITEMS_MAX)]
"""Results by id, as MessagePack brings them."""
_Record = Annotated[bytes, Meta(min_length=1, max_length=RECORD_BYTES_MAX)]
_Capabilities = Annotated[tuple[_Capability, ...], Meta(max_length=RECORD_CAPABILITIES_MAX)]
_Number = Annotated[int, Meta(ge=0, le=SEQ_MAX)]

_DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not of the type that is asked for."""


def decode_body(decoder: msgspec.msgpack.Decoder[Any], body: bytes | bytearray) -> Any:
    """Return what ``decoder`` reads. Raises MalformedFrame (``malformed``)."""
    try:
        return decoder.decode(body)
    except _DECODE_ERRORS:
        raise MalformedFrame("malformed") from None


# --- items ---------------------------------------------------------------------------------------


def unpack_items(base: int, packed: Sequence[WireItem]) -> tuple[Item, ...]:
    """Return the items of a frame or of a mail.

    Raises:
        MalformedFrame: numbers do not ascend from ``base`` on, or a text is too long.
    """
    items = []
    before = base - 1
    for one in packed:
        seq = one.seq
        if seq <= before:
            raise MalformedFrame("malformed")
        before = seq
        items.append(_unpack_item(one))
    return tuple(items)


def _unpack_item(one: WireItem) -> Item:
    item_id = MessageId(one.item_id)
    if type(one) is _TextItem:
        text = one.text
        if len(text) > TEXT_BYTES_MAX // 4 and len(text.encode()) > TEXT_BYTES_MAX:
            raise MalformedFrame("malformed")
        return Item(one.seq, ItemKind.TEXT, item_id, one.hlc, DisplayText(text))
    if type(one) is _DeleteItem:
        return Item(one.seq, ItemKind.DELETE, item_id, one.hlc, None, MessageId(one.target))
    kind = ItemKind.READ if type(one) is _ReadItem else ItemKind.VOID
    return Item(one.seq, kind, item_id, one.hlc)


def pack_items(items: Iterable[Item]) -> list[WireItem]:
    """Return ``items`` as MessagePack takes them.

    A text may hold halves of surrogate pairs, which UTF-8 does not: they become question marks.
    """
    return [_pack_item(item) for item in items]


def _pack_item(item: Item) -> WireItem:
    item_id = item.item_id.value
    match item.kind:
        case ItemKind.TEXT:
            assert item.text is not None, "a text has a text"
            return _TextItem(item.seq, item_id, item.hlc, _sendable(item.text.raw))
        case ItemKind.DELETE:
            assert item.target is not None, "a delete has a target"
            return _DeleteItem(item.seq, item_id, item.hlc, item.target.value)
        case ItemKind.READ:
            return _ReadItem(item.seq, item_id, item.hlc)
        case ItemKind.VOID:
            return _VoidItem(item.seq, item_id, item.hlc)
        case _ as never:
            assert_never(never)


def _sendable(text: str) -> str:
    if text.isascii():
        return text
    return text.encode(errors="replace").decode()


_ITEM_BYTES: Final = 64
"""More than an item takes without its text: head 1, kind 7, number 9, ids 18 each, hlc 9, 5."""
_ITEMS_BYTES: Final = 32
"""More than an Items frame takes without its items."""


def split_items(base: int, items: Iterable[Item]) -> list[Items]:
    """Put ``items``, which ascend, into as few frames as the limits allow; none gives none."""
    frames: list[Items] = []
    batch: list[Item] = []
    size = _ITEMS_BYTES
    for item in items:
        text = b"" if item.text is None else item.text.raw.encode(errors="replace")
        item_size = _ITEM_BYTES + len(text)
        if len(batch) == FRAME_ITEMS_MAX or size + item_size > FRAME_BYTES_MAX:
            frames.append(Items(base, tuple(batch)))
            batch, size = [], _ITEMS_BYTES
        batch.append(item)
        size += item_size
    if batch:
        frames.append(Items(base, tuple(batch)))
    return frames


# --- results by id -------------------------------------------------------------------------------


def pack_confirms(results: Iterable[tuple[MessageId, str]]) -> list[tuple[bytes, str]]:
    """Return results by id as MessagePack takes them."""
    return [(item_id.value, code) for item_id, code in results]


def unpack_confirms(packed: Iterable[tuple[bytes, str]]) -> tuple[tuple[MessageId, str], ...]:
    """Return results by id of a frame or of a mail."""
    return tuple((MessageId(item_id), code) for item_id, code in packed)


# --- frames to bytes -----------------------------------------------------------------------------

HEAD: Final = Struct(">IB")
_LENGTH_BYTES: Final = 4

_HELLO: Final = 1
_ITEMS: Final = 2
_RECEIPT: Final = 3
_CONFIRM: Final = 4
_PING: Final = 5
_PONG: Final = 6
_BYE: Final = 7


def encode(frame: Frame) -> bytes:
    """Return ``frame`` whole, with its length; its values are within the limits."""
    kind, fields = _fields(frame)
    body = msgspec.msgpack.encode(fields)
    assert len(body) < FRAME_BYTES_MAX, "split_items keeps a frame below its limit"
    return HEAD.pack(1 + len(body), kind) + body


def _fields(frame: Frame) -> tuple[int, tuple[Any, ...]]:
    match frame:
        case Hello(record, stream, instance, capabilities):
            return _HELLO, (record, stream, instance, capabilities)
        case Items(base, items):
            return _ITEMS, (base, pack_items(items))
        case Receipt(ranges, results):
            return _RECEIPT, (ranges, results)
        case Confirm(confirmed):
            return _CONFIRM, (pack_confirms(confirmed),)
        case Ping(number):
            return _PING, (number,)
        case Pong(number):
            return _PONG, (number,)
        case Bye(code):
            return _BYE, (code,)
        case _ as never:
            assert_never(never)


# --- bytes to frames -----------------------------------------------------------------------------


def _items(base: int, packed: list[WireItem]) -> Items:
    return Items(base, unpack_items(base, packed))


def _receipt(ranges: list[tuple[int, int]], results: list[tuple[int, str]]) -> Receipt:
    before = -1
    for first, last in ranges:
        # Ranges that touch would be one: each set of numbers has one way to be written.
        if not before + 1 < first <= last:
            raise MalformedFrame("malformed")
        before = last
    number = 0
    for seq, _ in results:
        if seq <= number:
            raise MalformedFrame("malformed")
        number = seq
    return Receipt(tuple(ranges), tuple(results))


def _confirm(packed: list[tuple[bytes, str]]) -> Confirm:
    return Confirm(unpack_confirms(packed))


_READERS: Final[dict[int, tuple[msgspec.msgpack.Decoder[Any], Callable[..., Frame]]]] = {
    _HELLO: (msgspec.msgpack.Decoder(tuple[_Record, _Eight, _Eight, _Capabilities]), Hello),
    _ITEMS: (msgspec.msgpack.Decoder(tuple[_Seq, _WireItems]), _items),
    _RECEIPT: (msgspec.msgpack.Decoder(tuple[_Ranges, _Results]), _receipt),
    _CONFIRM: (msgspec.msgpack.Decoder(tuple[WireConfirms]), _confirm),
    _PING: (msgspec.msgpack.Decoder(tuple[_Number]), Ping),
    _PONG: (msgspec.msgpack.Decoder(tuple[_Number]), Pong),
    _BYE: (msgspec.msgpack.Decoder(tuple[_Code]), Bye),
}
"""How the body of each type is read: the MessagePack of it, and what is made of its fields."""


class FrameReader:
    """Cuts a stream into frames. It never holds more than one frame that is not whole.

    ``frame_bytes_max`` bounds what a length may say: small until the caller has seen a HELLO.
    """

    def __init__(self) -> None:
        self.frame_bytes_max = FRAME_BYTES_BEFORE_HELLO_MAX
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that are whole now.

        Raises:
            MalformedFrame: ``empty``, ``too-large`` (as soon as the length says so),
                ``unknown-type`` or ``malformed``. Feed no more after it.
        """
        self.add(data)
        frames = []
        while (frame := self.next_frame()) is not None:
            frames.append(frame)
        return frames

    def add(self, data: bytes) -> None:
        """Take the next bytes; ``next_frame`` must then be called until it returns None."""
        self._data += data

    def next_frame(self) -> Frame | None:
        """Return the next frame if it is whole. Raises as ``feed`` does."""
        data = self._data
        if len(data) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(data[:_LENGTH_BYTES])
        if length == 0:
            raise MalformedFrame("empty")
        if length > self.frame_bytes_max:
            raise MalformedFrame("too-large")
        if len(data) < HEAD.size:
            return None
        reader = _READERS.get(data[_LENGTH_BYTES])
        if reader is None:
            raise MalformedFrame("unknown-type")
        end = _LENGTH_BYTES + length
        if len(data) < end:
            return None
        body = data[HEAD.size : end]
        del data[:end]
        decoder, make = reader
        return make(*decode_body(decoder, body))

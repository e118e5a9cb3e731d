"""The body inside a sealed envelope: items, and what became of items that came by mail.

    version  u8, 1
    body     one MessagePack array: name, stream, base, items, confirms

Items and confirms are written as in frames. Specification: docs/spec/frames.md.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from netchat.errors import InvalidName, MalformedFrame
from netchat.limits import ENVELOPE_BYTES_MAX, ENVELOPE_ITEMS_MAX, NAME_CHARS_MAX, SEQ_MAX
from netchat.model import Item, MessageId, Name
from netchat.wire.frames import (
    WireConfirms,
    WireItem,
    decode_body,
    pack_confirms,
    pack_items,
    unpack_confirms,
    unpack_items,
)

MAIL_VERSION: Final = 1

_BODY: Final = msgspec.msgpack.Decoder(
    tuple[
        Annotated[str, Meta(max_length=NAME_CHARS_MAX)],
        Annotated[bytes, Meta(min_length=8, max_length=8)],
        Annotated[int, Meta(ge=1, le=SEQ_MAX)],
        Annotated[list[WireItem], Meta(max_length=ENVELOPE_ITEMS_MAX)],
        WireConfirms,
    ]
)


@dataclass(frozen=True, slots=True)
class MailBody:
    """What the holder of a key, who calls itself ``name``, left for us in a mailbox.

    ``stream``, ``base`` and ``items`` mean what they mean in Hello and Items, ``confirms`` what it
    means in Confirm.
    """

    name: Name
    stream: bytes
    base: int
    items: tuple[Item, ...]
    confirms: tuple[tuple[MessageId, str], ...] = ()


def encode_mail(body: MailBody) -> bytes:
    """Return the bytes to seal; no more than ``ENVELOPE_ITEMS_MAX`` items go into one mail."""
    assert len(body.items) <= ENVELOPE_ITEMS_MAX, "the caller splits"
    fields = (
        str(body.name),
        body.stream,
        body.base,
        pack_items(body.items),
        pack_confirms(body.confirms),
    )
    return bytes([MAIL_VERSION]) + msgspec.msgpack.encode(fields)


def decode_mail(data: bytes) -> MailBody:
    """Read what was sealed.

    Raises:
        MalformedFrame: ``empty``, ``too-large``, ``unknown-version`` or ``malformed``.
    """
    if not data:
        raise MalformedFrame("empty")
    if len(data) > ENVELOPE_BYTES_MAX:
        raise MalformedFrame("too-large")
    if data[0] != MAIL_VERSION:
        raise MalformedFrame("unknown-version")
    shown, stream, base, items, confirms = decode_body(_BODY, data[1:])
    try:
        name = Name(shown)
    except InvalidName:
        raise MalformedFrame("malformed") from None
    return MailBody(name, stream, base, unpack_items(base, items), unpack_confirms(confirms))

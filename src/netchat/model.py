"""The values that every room speaks of: frozen, checked once when they are made.

A string that somebody else chose is only ever held as ``Name``, ``Address``, ``DisplayText`` or
``FileName``, so that no room has to remember to clean it. Nothing here knows a clock or a disk.
"""

import re
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import total_ordering
from ipaddress import AddressValueError, IPv4Address, ip_address, ip_network
from typing import Final

import msgspec

from netchat.errors import InvalidAddress, InvalidKey, InvalidName
from netchat.limits import FILE_NAME_BYTES_MAX, NAME_CHARS_MAX

RESERVED_NAMES: Final = frozenset(
    {"user", "deleted", "delete_message", "netchat", "all", "everyone", "here"}
)
"""Names that the prompt or the wire gives a meaning of their own (classic.md, "Names")."""

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARS_MAX - 1}}}", re.ASCII)


@total_ordering
@dataclass(frozen=True, slots=True)
class Name:
    """A registered name: compared without regard to case, shown as it was written.

    Raises:
        InvalidName: ``shown`` is not of the grammar in classic.md, or is reserved.
    """

    shown: str = field(compare=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.shown) is None:
            raise InvalidName(self.shown)
        key = self.shown.lower()
        if key in RESERVED_NAMES:
            raise InvalidName(self.shown, reserved=True)
        object.__setattr__(self, "key", key)

    def __str__(self) -> str:
        return self.shown

    def __lt__(self, other: "Name") -> bool:
        return self.key < other.key


@dataclass(frozen=True, slots=True)
class ClaimedName:
    """Who a classic text says it is from, when a key holds that name: shown and typed as ``~bob``.

    What arrives in plain text under such a name has a conversation of its own, and never stands
    among the messages of the one who holds the key (docs/spec/delivery.md).
    """

    name: Name

    @property
    def key(self) -> str:
        return f"~{self.name.key}"

    @property
    def shown(self) -> str:
        return f"~{self.name.shown}"

    def __str__(self) -> str:
        return self.shown


Contact = Name | ClaimedName
"""Whom a conversation is with."""


def parse_contact(text: str) -> Contact:
    """Read ``bob`` or ``~bob``. Raises InvalidName."""
    return ClaimedName(Name(text[1:])) if text.startswith("~") else Name(text)


PEER_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True, order=True)
class PeerId:
    """Who somebody is: the bytes of an Ed25519 public key (RFC 8032); ``str()`` is base64url.

    Raises:
        InvalidKey: not 32 bytes.
    """

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != PEER_ID_BYTES:
            raise InvalidKey(self.value.hex())

    def __str__(self) -> str:
        return urlsafe_b64encode(self.value).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "PeerId":
        """Read what ``str()`` gives, and nothing else: one key has one text. Raises InvalidKey."""
        try:
            peer_id = cls(urlsafe_b64decode(text + "="))
        except ValueError:  # binascii.Error, and what is not ASCII
            raise InvalidKey(text) from None
        if str(peer_id) != text:
            raise InvalidKey(text)
        return peer_id


_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_ZONE: Final = re.compile(r"(?=.{1,15}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)
"""What may stand behind the % of an IPv6 address, an interface of Linux; ``ip_address`` takes
anything there, and ``getaddrinfo`` fails in its own ways on what is no host name."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a program listens: an IP address (never a host name) and a TCP port.

    Raises:
        InvalidAddress: not an IP address, or no port of 1 to 65,535.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        try:
            ip_address(self.host)
        except ValueError:
            raise InvalidAddress(self.host, "not-an-ip-address") from None
        _, percent, zone = self.host.partition("%")
        if percent and _ZONE.fullmatch(zone) is None:
            raise InvalidAddress(self.host, "not-an-ip-address")
        if not 1 <= self.port <= 65_535:
            raise InvalidAddress(str(self.port), "no-such-port")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``192.0.2.7:54321`` or ``[2001:db8::1]:54321``."""
        host, colon, port = text.rpartition(":")
        if not colon or _PORT.fullmatch(port) is None:
            raise InvalidAddress(text, "not-host-port")
        if ":" in host:
            if not (host.startswith("[") and host.endswith("]")):
                raise InvalidAddress(text, "not-host-port")
            host = host[1:-1]
        return cls(host, int(port))

    @classmethod
    def parse_reachable(cls, text: str) -> "Address":
        """Read the address that a classic entry holds: an IPv4 that somebody can be reached at."""
        address = cls.parse(text)
        try:
            host = IPv4Address(address.host)
        except AddressValueError:
            raise InvalidAddress(text, "not-ipv4") from None
        if host.is_unspecified or host.is_multicast or host == IPv4Address("255.255.255.255"):
            raise InvalidAddress(text, "not-reachable")
        return address


def origin_of(host: str) -> str:
    """Return what counts as one place: an IPv4 address, or the /64 that one IPv6 machine has."""
    address = ip_address(host.partition("%")[0])
    return host if address.version == 4 else str(ip_network((address, 64), strict=False)[0])


@dataclass(frozen=True, slots=True, order=True)
class MessageId:
    """Sixteen bytes that name a message or a change for ever; the maker of it chooses them."""

    value: bytes

    def __post_init__(self) -> None:
        assert len(self.value) == 16, "a message id has 16 bytes"

    def __hash__(self) -> int:
        return hash(self.value)  # that of a dataclass makes a tuple first, ten times a message

    def __str__(self) -> str:
        return self.value.hex()


# --- text of strangers ---------------------------------------------------------------------------

COMBINING_MAX: Final = 4
"""Marks shown on one base character; Vietnamese needs two, Hebrew with cantillation four."""

_ZWJ: Final = "\u200d"
_EMOJI_STYLE: Final = "\ufe0f"
_KEYCAP: Final = "\u20e3"
_KEYCAP_BASES: Final = frozenset("0123456789#*")
_EMOJI: Final = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
"""Where Unicode keeps what an emoji is made of (emoji-data.txt), skin tones and flags included."""
_HIDDEN_LETTERS: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U00013441\U00013442\U00016fe4\U0001d159"
)
"""Letters, marks and symbols of ordinary categories that show as nothing at all."""
_VARIATION_SELECTORS: Final = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_STACKING_LETTERS: Final = re.compile("[\u1160-\u11ff\ud7b0-\ud7c6\ud7cb-\ud7fb]")
"""Vowels and finals of Hangul syllables: letters that stand on the one before, as marks do."""
_INVISIBLE: Final = frozenset({"Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Format characters (bidi, zero width, tags), halves of pairs, private, unassigned, separators."""


def _token(char: str) -> str:
    """Write ``char`` as something that can be seen: caret notation for C0, ``<202E>`` otherwise."""
    code = ord(char)
    if code < 0x20:
        return "^" + chr(code + 0x40)
    if code == 0x7F:
        return "^?"
    return f"<{code:02X}>" if code < 0x100 else f"<{code:04X}>"


def _is_emoji(char: str) -> bool:
    if _EMOJI.match(char) is None:
        return False
    return unicodedata.category(char) not in ("Cn", "No", "Ps", "Pe")


def _stacks(char: str) -> bool:
    """Tell whether ``char`` takes no place of its own, but stands on the one before it."""
    return unicodedata.category(char) in ("Mn", "Me") or _STACKING_LETTERS.match(char) is not None


def _is_harmless(char: str, before: str, after: str, marks: int) -> bool:
    """Tell whether ``char`` may reach a screen as it is.

    ``before`` is what is shown in front of it ("" for a token), ``after`` what comes behind it, and
    ``marks`` how many stand on the same letter already. A joiner stays between two emoji only, and
    U+FE0F on an emoji or inside a keycap only: elsewhere they could carry a hidden text.
    """
    if char == _ZWJ:
        return (before == _EMOJI_STYLE or _is_emoji(before)) and _is_emoji(after)
    if char == _EMOJI_STYLE:
        return _is_emoji(before) or (before in _KEYCAP_BASES and after == _KEYCAP)
    if char in _HIDDEN_LETTERS or _VARIATION_SELECTORS.match(char):
        return False
    if _stacks(char):
        return marks < COMBINING_MAX
    category = unicodedata.category(char)
    return category != "Cc" and category not in _INVISIBLE


@dataclass(frozen=True, slots=True)
class Span:
    """A run of shown text; ``marked`` when the filter wrote it in place of something else."""

    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class DisplayText:
    """Text that somebody else wrote. ``str()`` of it is safe to print on one line of any screen.

    ``raw`` keeps what came; every face shows ``str(text)`` or ``spans()``, in which nothing can
    move the cursor, recolour, reorder or hide anything: control characters stand in caret notation,
    everything invisible as ``<202E>``, at most four combining marks stay on a letter, and spaces of
    odd widths are plain spaces. The choice was measured on terminals.
    """

    raw: str

    def __str__(self) -> str:
        if self.raw.isascii() and self.raw.isprintable():
            return self.raw
        return "".join(span.text for span in self.spans())

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return f"DisplayText({str(self)!r})"

    def spans(self) -> Iterator[Span]:
        """Yield the shown text in runs, so that a face with colours can set the tokens apart."""
        run: list[str] = []
        before = ""
        marks = 0
        for index, char in enumerate(self.raw):
            after = self.raw[index + 1 : index + 2]
            harmless = _is_harmless(char, before, after, marks)
            before = char if harmless else ""
            marks = marks + 1 if _stacks(char) else 0
            if harmless:
                run.append(" " if unicodedata.category(char) == "Zs" else char)
                continue
            if run:
                yield Span("".join(run), marked=False)
                run.clear()
            yield Span(_token(char), marked=True)
        if run:
            yield Span("".join(run), marked=False)


_FORBIDDEN_IN_FILE_NAMES: Final = frozenset('<>:"/\\|?*')
_DEVICE_NAMES: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE
)
"""What Windows opens as a device, whatever extension stands behind it (``ntpath.isreserved``)."""
FILE_NAME_UNNAMED: Final = "unnamed"


@dataclass(frozen=True, slots=True)
class FileName:
    """The name a stranger gave a file, made safe to create in a directory of ours.

    ``value`` is one path component: no directory of the sender survives, nothing invisible, nothing
    that Windows or a hidden-file rule would treat specially, no dash or tilde in front, at most 255
    bytes of UTF-8. To quote it for a shell stays the caller's duty. Whatever is left when that is
    done is used; when nothing is, the file is called ``unnamed``.
    """

    raw: str
    value: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _safe_file_name(self.raw))

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"FileName({self.value!r})"


def _safe_file_name(raw: str) -> str:
    last = re.split(r"[/\\]", raw)[-1]
    # Cleaned before, because composing a long run of marks takes quadratic time; and after, because
    # a few characters compose to two, and because a keycap may have lost the star below it.
    composed = unicodedata.normalize("NFC", _cleaned_file_name(last))
    return _cleaned_file_name(composed) or FILE_NAME_UNNAMED


def _cleaned_file_name(name: str) -> str:
    shown = str(DisplayText(name))
    kept = "".join("_" if char in _FORBIDDEN_IN_FILE_NAMES else char for char in shown)
    kept = kept.lstrip(". -~").rstrip(". ")
    if _DEVICE_NAMES.fullmatch(kept):
        kept = "_" + kept
    return _cut_file_name(kept)


def _cut_file_name(name: str) -> str:
    """Cut the stem, not the extension, to what a file system takes, never inside a character."""
    if len(name.encode()) <= FILE_NAME_BYTES_MAX:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension
    if not stem or len(tail.encode()) > FILE_NAME_BYTES_MAX // 4:
        stem, tail = name, ""
    room = FILE_NAME_BYTES_MAX - len(tail.encode())
    kept = stem.encode()[:room].decode(errors="ignore")
    # Half an emoji must not leave its joiner behind, which would be invisible there.
    return (kept.rstrip(_ZWJ + _EMOJI_STYLE) + tail).rstrip(". ")


# --- messages ------------------------------------------------------------------------------------


class MessageState(Enum):
    """What we know of a message of our own; docs/spec/delivery.md has the words.

    QUEUED on this disk; STORED sealed in the peer's mailbox as well; DELIVERED on the peer's disk;
    READ the peer chose to tell that it was read. A classic peer gives no receipt, so SENT is the
    best state towards it: every byte went to the peer's socket. Ends: FAILED, EXPIRED, CANCELLED.
    A received message is RECEIVED.
    """

    QUEUED = "queued"
    STORED = "stored"
    DELIVERED = "delivered"
    READ = "read"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    RECEIVED = "received"


class DeleteOutcome(Enum):
    """What became of a delete: first where it stands here, then what the peer answered.

    NOTHING there was nothing to delete; CANCELLED the message had not left, so nobody need be told;
    QUEUED gone here, the peer is told next (D7 ``pending``); EXPIRED it could not be told in time.
    From a peer with a key: APPLIED gone there too; KEPT marked as deleted there, its policy keeps
    the text; REFUSED it did not obey. Towards a classic peer, which answers nothing (D7
    ``unsupported``): SENT it was told; UNKNOWN the connection broke while it was told; LOCAL it is
    not told, because it may not have the message and a classic delete would then hit an older one.
    """

    NOTHING = "nothing"
    CANCELLED = "cancelled"
    QUEUED = "queued"
    APPLIED = "applied"
    KEPT = "kept"
    REFUSED = "refused"
    EXPIRED = "expired"
    SENT = "sent"
    UNKNOWN = "unknown"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One row of a conversation. ``text`` is None once it is deleted.

    ``hlc`` and then ``message_id`` order a conversation, alike on both sides. ``at_ms`` is when
    this machine stored it, ``stored_ms``, ``delivered_ms``, ``read_ms`` and ``ended_ms`` are when a
    message of our own came to those states, all in milliseconds since 1970. ``reason`` is the code
    of a failure.
    """

    message_id: MessageId
    peer: Contact
    outgoing: bool
    text: DisplayText | None
    state: MessageState
    hlc: int
    at_ms: int
    reason: str | None = None
    stored_ms: int | None = None
    delivered_ms: int | None = None
    read_ms: int | None = None
    ended_ms: int | None = None
    deleted_ms: int | None = None


# --- what travels between two nodes --------------------------------------------------------------


class ItemKind(Enum):
    """What an item asks of the peer: take a text, delete a message, know that messages were read.

    VOID asks nothing: its number belonged to a message that was cancelled before it left.
    """

    TEXT = "text"
    DELETE = "delete"
    READ = "read"
    VOID = "void"


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing for one peer, as it travels in a frame or an envelope.

    ``seq`` numbers what one outbox has for this peer, from 1, without holes. ``item_id`` is the id
    of the message, or of the change. ``hlc`` is the sender's hybrid logical clock. ``text`` belongs
    to TEXT, ``target`` to DELETE (the message it means); READ means everything up to ``hlc``.
    """

    seq: int
    kind: ItemKind
    item_id: MessageId
    hlc: int
    text: DisplayText | None = None
    target: MessageId | None = None


Ranges = tuple[tuple[int, int], ...]
"""Numbers as ascending ranges that do not touch, both ends included: ((1, 5120), (5122, 5122))."""


# --- who is who ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What somebody says about itself, under its own signature (docs/spec/records.md).

    ``prekey`` opens sealed mail until ``prekey_until_ms``; empty when no mail is wanted. ``seq``
    grows with every record of this key. ``lease_s`` is how long the addresses hold.
    """

    name: Name
    key: PeerId
    addresses: tuple[Address, ...]
    prekey: bytes
    prekey_until_ms: int
    capabilities: tuple[str, ...]
    seq: int
    issued_ms: int
    lease_s: int


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record whose signature was checked, with the bytes that were signed, as they came.

    ``rotated_from`` is the key that held the name before, when that key signed the record too.
    """

    record: Record
    envelope: bytes
    rotated_from: PeerId | None = None


class TrustState(Enum):
    """What we hold of a name. NONE nothing; CLASSIC only plain text is known; TOFU its first key
    is pinned (trust on first use); VERIFIED a person compared that key."""

    NONE = "none"
    CLASSIC = "classic"
    TOFU = "tofu"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What this profile remembers of a name; the directory never sets it.

    ``pending`` is another key that came under this name: nothing is sent to the name and nothing
    taken from it until a person decides; ``refused`` is one that a person decided against.
    ``record`` is the newest record of ``key``.
    """

    name: Name
    state: TrustState = TrustState.NONE
    key: PeerId | None = None
    record: SignedRecord | None = None
    pending: SignedRecord | None = None
    refused: PeerId | None = None
    classic_allowed: bool = False

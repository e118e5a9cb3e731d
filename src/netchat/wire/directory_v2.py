"""The JSON bodies of ``/v2/``, for both sides of the directory; signed ones are in ``records``.

Binary values are base64, keys as in records, times milliseconds since 1970. What is not asked for
in a body is ignored, so that later versions may say more. Specification: docs/spec/directory.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Final, TypeVar

import msgspec

from netchat.errors import InvalidKey, InvalidName, MalformedBody
from netchat.limits import (
    ENVELOPE_BYTES_MAX,
    LIST_PAGE_MAX,
    LOG_PAGE_MAX,
    MAIL_FETCH_MAX,
    RECORD_BYTES_MAX,
    SEQ_MAX,
    SIGNED_BODY_BYTES_MAX,
)
from netchat.model import Name, PeerId
from netchat.wire.records import DIRECTORY_ID_BYTES, Request

NONCE_HEADER: Final = "NetChat-Nonce"
"""In every answer of ``/v2/``: a nonce for one signed request."""
PRESENT_HEADER: Final = "NetChat-Present"
"""Beside a record: ``yes`` while the lease of its name lives, else ``no``."""
OPERATOR_HEADER: Final = "NetChat-Operator"
"""The token of operator.json, in a request of whoever runs the directory."""
DIGEST_BYTES: Final = 32

T = TypeVar("T")

_Number = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]
_Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,39}\Z")]


class Kind(Enum):
    """Whether a directory lasts (claims and mail on disk) or is a meeting point, in memory."""

    LASTING = "lasting"
    MEETING_POINT = "meeting-point"


class LogEvent(Enum):
    """What may happen to a name: a first key, another one by the old one's signature, the end."""

    CLAIM = "claim"
    ROTATE = "rotate"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class About:
    """What a directory says of itself; ``directory_id`` is what requests to it are signed over."""

    directory_id: bytes
    kind: Kind
    mailboxes: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Entry ``n`` of the name log, from 1: at ``at_ms``, ``key`` got ``name``, or lost it.

    ``previous`` is the digest of the entry before, zeros in front of the first.
    """

    n: int
    at_ms: int
    event: LogEvent
    name: Name
    key: PeerId
    previous: bytes
    digest: bytes


def log_digest(
    n: int, at_ms: int, event: LogEvent, name: Name, key: PeerId, previous: bytes
) -> bytes:
    """Return what an entry is chained by: SHA-256 over its lines."""
    lines = ("netchat-log-v1", n, at_ms, event.value, name.shown, key, previous.hex())
    return sha256("".join(f"{line}\n" for line in lines).encode()).digest()


# --- bodies that say one thing -------------------------------------------------------------------


class _About(msgspec.Struct):
    id: bytes
    kind: Kind
    mailboxes: bool
    now_ms: _Number


def format_about(about: About) -> bytes:
    """Return the answer to ``GET /v2/directory``."""
    return msgspec.json.encode(
        _About(about.directory_id, about.kind, about.mailboxes, about.now_ms)
    )


def parse_about(body: bytes) -> About:
    """Read it. Raises MalformedBody."""
    read = _decode(body, _About)
    _check(len(read.id) == DIRECTORY_ID_BYTES)
    return About(read.id, read.kind, read.mailboxes, read.now_ms)


class _Refused(msgspec.Struct):
    error: _Code
    message: str


def format_refused(code: str, message: str) -> bytes:
    """Return the body of a refusal: a code for programs, a sentence for people."""
    return msgspec.json.encode(_Refused(code, message))


def parse_refused(body: bytes) -> tuple[str, str]:
    """Read it. Raises MalformedBody."""
    read = _decode(body, _Refused)
    return read.error, read.message


class _Until(msgspec.Struct):
    until_ms: _Number


def format_until(until_ms: int) -> bytes:
    """Return how long what was asked for holds: a lease, or an envelope in a mailbox."""
    return msgspec.json.encode(_Until(until_ms))


def parse_until(body: bytes) -> int:
    """Read it. Raises MalformedBody."""
    return _decode(body, _Until).until_ms


class _Mail(msgspec.Struct):
    mail: _Number


def format_mail(cursor: int) -> bytes:
    """Return what is pushed to who waits: the newest cursor of its mailbox."""
    return msgspec.json.encode(_Mail(cursor))


def parse_mail(body: bytes) -> int:
    """Read it. Raises MalformedBody."""
    return _decode(body, _Mail).mail


class _Named(msgspec.Struct):
    name: str


def format_name(name: Name) -> bytes:
    """Return the body of an operator's release."""
    return msgspec.json.encode(_Named(name.shown))


def parse_name(body: bytes) -> Name:
    """Read it. Raises MalformedBody."""
    return _name(_decode(body, _Named).name)


# --- pages ---------------------------------------------------------------------------------------


class _Listed(msgspec.Struct):
    envelope: str
    present: bool


class _RecordPage(msgspec.Struct):
    records: Annotated[list[_Listed], msgspec.Meta(max_length=LIST_PAGE_MAX)]
    next: str | None = None


def format_records(listed: Sequence[tuple[bytes, bool]], following: Name | None) -> bytes:
    """Return a page of records, each with whether it is present; ``following`` asks on."""
    records = [_Listed(envelope.decode(), present) for envelope, present in listed]
    after = None if following is None else following.shown
    return msgspec.json.encode(_RecordPage(records, after))


def parse_records(body: bytes) -> tuple[tuple[tuple[bytes, bool], ...], Name | None]:
    """Read it; the records are not opened. Raises MalformedBody."""
    page = _decode(body, _RecordPage)
    records = tuple((_encoded(one.envelope), one.present) for one in page.records)
    return records, None if page.next is None else _name(page.next)


class _LogEntry(msgspec.Struct):
    n: _Number
    at_ms: _Number
    event: LogEvent
    name: str
    key: str
    previous: bytes
    hash: bytes


class _LogPage(msgspec.Struct):
    entries: Annotated[list[_LogEntry], msgspec.Meta(max_length=LOG_PAGE_MAX)]


def format_log(entries: Sequence[LogEntry]) -> bytes:
    """Return a page of the name log."""
    return msgspec.json.encode(
        _LogPage(
            [
                _LogEntry(x.n, x.at_ms, x.event, x.name.shown, str(x.key), x.previous, x.digest)
                for x in entries
            ]
        )
    )


def parse_log(body: bytes) -> tuple[LogEntry, ...]:
    """Read it; each entry fits its own digest, and those that follow each other fit together.

    Raises:
        MalformedBody: ``malformed``, or ``broken-chain``.
    """
    entries = tuple(_entry(one) for one in _decode(body, _LogPage).entries)
    for before, entry in pairwise(entries):
        _check(before.n < entry.n, "broken-chain")
        _check(entry.n != before.n + 1 or entry.previous == before.digest, "broken-chain")
    return entries


def _entry(read: _LogEntry) -> LogEntry:
    name, key = _name(read.name), _key(read.key)
    digest = log_digest(read.n, read.at_ms, read.event, name, key, read.previous)
    _check(digest == read.hash, "broken-chain")
    return LogEntry(read.n, read.at_ms, read.event, name, key, read.previous, digest)


class _Envelope(msgspec.Struct):
    cursor: _Number
    envelope: bytes


class _Fetched(msgspec.Struct):
    envelopes: Annotated[list[_Envelope], msgspec.Meta(max_length=MAIL_FETCH_MAX)]


def format_fetched(envelopes: Sequence[tuple[int, bytes]]) -> bytes:
    """Return envelopes of a mailbox, each with its cursor."""
    return msgspec.json.encode(_Fetched([_Envelope(*one) for one in envelopes]))


def parse_fetched(body: bytes) -> tuple[tuple[int, bytes], ...]:
    """Read them: cursors ascend. Raises MalformedBody."""
    read = _decode(body, _Fetched).envelopes
    for before, after in pairwise(read):
        _check(before.cursor < after.cursor)
    _check(all(len(one.envelope) <= ENVELOPE_BYTES_MAX for one in read))
    return tuple((one.cursor, one.envelope) for one in read)


# --- what goes with a deposit --------------------------------------------------------------------


class _Deposit(msgspec.Struct):
    request: str
    envelope: bytes


def format_deposit(request: bytes, envelope: bytes) -> bytes:
    """Return the body of a deposit: the signed request, and the envelope whose hash it signs."""
    return msgspec.json.encode(_Deposit(request.decode(), envelope))


def parse_deposit(body: bytes) -> tuple[bytes, bytes]:
    """Read it. Raises MalformedBody (``too-large``: an envelope above ENVELOPE_BYTES_MAX)."""
    read = _decode(body, _Deposit)
    _check(len(read.envelope) > 0)
    _check(len(read.envelope) <= ENVELOPE_BYTES_MAX, "too-large")
    return _encoded(read.request), read.envelope


# --- arguments of signed requests ----------------------------------------------------------------


def name_argument(request: Request) -> Name:
    """Return the name that is asked about. Raises MalformedBody."""
    return _name(_text_argument(request, "name"))


def seq_argument(request: Request) -> int | None:
    """Return the number of the record that is meant, None for whichever is the newest.

    Raises MalformedBody.
    """
    seq = request.arguments.get("seq")
    _check(seq is None or isinstance(seq, int))
    return seq if isinstance(seq, int) else None


def record_argument(request: Request) -> bytes:
    """Return the envelope of the record that is claimed with. Raises MalformedBody."""
    envelope = _encoded(_text_argument(request, "record"))
    _check(len(envelope) <= RECORD_BYTES_MAX, "too-large")
    return envelope


def deposit_arguments(request: Request) -> tuple[PeerId, bytes]:
    """Return recipient and hash of a deposit. Raises MalformedBody."""
    text = _text_argument(request, "sha256")
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        raise MalformedBody("malformed") from None
    _check(digest.hex() == text and len(digest) == DIGEST_BYTES)
    return _key(_text_argument(request, "recipient")), digest


def number_argument(request: Request, argument: str) -> int:
    """Return a number, which ``parse_request`` found to be one from 0 on. Raises MalformedBody."""
    value = request.arguments.get(argument)
    if not isinstance(value, int):
        raise MalformedBody("malformed")
    return value


def _text_argument(request: Request, argument: str) -> str:
    value = request.arguments.get(argument)
    if not isinstance(value, str):
        raise MalformedBody("malformed")
    return value


# --- reading -------------------------------------------------------------------------------------


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedBody("malformed") from None


def _encoded(text: str) -> bytes:
    """Return the bytes of an envelope, which is JSON in ASCII."""
    _check(text.isascii() and len(text) <= SIGNED_BODY_BYTES_MAX)
    return text.encode()


def _name(text: str) -> Name:
    try:
        return Name(text)
    except InvalidName:
        raise MalformedBody("malformed") from None


def _key(text: str) -> PeerId:
    try:
        return PeerId.parse(text)
    except InvalidKey:
        raise MalformedBody("malformed") from None


def _check(true: bool, reason: str = "malformed") -> None:
    if not true:
        raise MalformedBody(reason)

"""Records and signed requests: JSON payloads, and the DSSE envelope around them.

    {"payload": BASE64, "payloadType": KIND, "signatures": [{"keyid": KEY, "sig": BASE64}]}

DSSE: https://github.com/secure-systems-lab/dsse. What was signed are the bytes of the payload, so
they are kept as they came. Nothing here verifies a signature. Reading is strict where two readers
could otherwise differ: no key of an object twice, no fractions, one way to write bytes.
Specification: docs/spec/records.md; vectors: vectors/records.json.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from netchat.errors import InvalidAddress, InvalidKey, InvalidName, MalformedRecord
from netchat.limits import (
    CODE_CHARS_MAX,
    LEASE_S_MAX,
    NONCE_BYTES_MAX,
    RECORD_ADDRESSES_MAX,
    RECORD_BYTES_MAX,
    RECORD_CAPABILITIES_MAX,
    REQUEST_ARGUMENTS_MAX,
    SEQ_MAX,
    SIGNED_BODY_BYTES_MAX,
)
from netchat.model import Address, Name, PeerId, Record

RECORD_KIND: Final = "application/vnd.netchat.record.v1+json"
REQUEST_KIND: Final = "application/vnd.netchat.request.v1+json"
RECORD_VERSION: Final = 1
REQUEST_VERSION: Final = 1
PREKEY_BYTES: Final = 1_216
"""A public key of X-Wing: ML-KEM-768 and X25519 (draft-connolly-cfrg-xwing-kem)."""
SIGNATURE_BYTES: Final = 64
"""Ed25519 (RFC 8032)."""
DIRECTORY_ID_BYTES: Final = 16

T = TypeVar("T")

_Text = Annotated[str, Meta(pattern=r"^[^\ud800-\udfff]*\Z")]  # JSON can escape half a pair
_Capability = Annotated[str, Meta(pattern=rf"^[a-z0-9-]{{1,{CODE_CHARS_MAX}}}\Z")]
_Operation = Annotated[str, Meta(pattern=rf"^[a-z-]{{1,{CODE_CHARS_MAX}}}\Z")]
_Argument = Annotated[str, Meta(pattern=rf"^[a-z0-9_]{{1,{CODE_CHARS_MAX}}}\Z")]
_Number = Annotated[int, Meta(ge=0, le=SEQ_MAX)]


# --- the envelope --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """``payload`` is what one key signed, or two when a name moves from one key to another."""

    kind: str
    payload: bytes
    signatures: tuple[tuple[PeerId, bytes], ...]


class _Signature(msgspec.Struct):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct):
    payload: str
    kind: Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")] = msgspec.field(name="payloadType")
    signatures: Annotated[list[_Signature], Meta(min_length=1, max_length=2)]


def format_envelope(envelope: Envelope) -> bytes:
    """Return the JSON of ``envelope``, in ASCII and without white space."""
    assert 1 <= len(envelope.signatures) <= 2, "one key signs, or two"
    signatures = [
        {"keyid": str(key), "sig": _base64(signature)} for key, signature in envelope.signatures
    ]
    data = _json(
        {
            "payload": _base64(envelope.payload),
            "payloadType": envelope.kind,
            "signatures": signatures,
        }
    )
    assert len(data) <= _bytes_max(envelope.kind), "what we sign is within the limits"
    return data


def parse_envelope(data: bytes) -> Envelope:
    """Read an envelope; its signatures are not verified, and its payload is not opened.

    Raises:
        MalformedRecord: ``too-large`` for its kind, ``bad-key`` or ``malformed``.
    """
    if len(data) > SIGNED_BODY_BYTES_MAX:
        raise MalformedRecord("too-large")
    read = _converted(_parsed(data), _Envelope)
    if len(data) > _bytes_max(read.kind):
        raise MalformedRecord("too-large")
    signatures = tuple(
        (_key(one.keyid), _bytes(one.sig, SIGNATURE_BYTES, SIGNATURE_BYTES))
        for one in read.signatures
    )
    return Envelope(read.kind, _bytes(read.payload), signatures)


def _bytes_max(kind: str) -> int:
    return RECORD_BYTES_MAX if kind == RECORD_KIND else SIGNED_BODY_BYTES_MAX


# --- records -------------------------------------------------------------------------------------


class _Record(msgspec.Struct):
    name: str
    key: str
    addrs: Annotated[list[str], Meta(max_length=RECORD_ADDRESSES_MAX)]
    prekey: str
    prekey_until: _Number
    caps: Annotated[tuple[_Capability, ...], Meta(max_length=RECORD_CAPABILITIES_MAX)]
    seq: Annotated[int, Meta(ge=1, le=SEQ_MAX)]
    issued: _Number
    lease: Annotated[int, Meta(ge=0, le=LEASE_S_MAX)]


def format_record(record: Record) -> bytes:
    """Return the payload that says what ``record`` says."""
    return _json(
        {
            "v": RECORD_VERSION,
            "name": str(record.name),
            "key": str(record.key),
            "addrs": [str(address) for address in record.addresses],
            "prekey": _base64(record.prekey),
            "prekey_until": record.prekey_until_ms,
            "caps": list(record.capabilities),
            "seq": record.seq,
            "issued": record.issued_ms,
            "lease": record.lease_s,
        }
    )


def parse_record(payload: bytes) -> Record:
    """Read a record. What it says of a name is a claim, until the signature was verified.

    Members that are not known are ignored, so that later programs may say more.

    Raises:
        MalformedRecord: ``too-large``, ``unknown-version``, ``bad-name``, ``bad-key``,
            ``bad-address``, ``bad-prekey`` or ``malformed``.
    """
    if len(payload) > RECORD_BYTES_MAX:
        raise MalformedRecord("too-large")
    read = _converted(_versioned(payload, RECORD_VERSION), _Record)
    prekey = _bytes(read.prekey)
    if len(prekey) not in (0, PREKEY_BYTES):
        raise MalformedRecord("bad-prekey")
    return Record(
        name=_name(read.name),
        key=_key(read.key),
        addresses=tuple(_address(text) for text in read.addrs),
        prekey=prekey,
        prekey_until_ms=read.prekey_until,
        capabilities=read.caps,
        seq=read.seq,
        issued_ms=read.issued,
        lease_s=read.lease,
    )


# --- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What a key asks of a directory, once: ``nonce`` is of that directory, and so is its id."""

    operation: str
    directory: bytes
    nonce: bytes
    arguments: dict[str, str | int]


class _Request(msgspec.Struct):
    operation: _Operation
    directory: str
    nonce: str
    arguments: Annotated[dict[_Argument, _Text | _Number], Meta(max_length=REQUEST_ARGUMENTS_MAX)]


def format_request(request: Request) -> bytes:
    """Return the payload that asks for ``request``."""
    return _json(
        {
            "v": REQUEST_VERSION,
            "operation": request.operation,
            "directory": _base64(request.directory),
            "nonce": _base64(request.nonce),
            "arguments": request.arguments,
        }
    )


def parse_request(payload: bytes) -> Request:
    """Read a request; whose it is, and whether its nonce is good, is for the caller to find out.

    Raises:
        MalformedRecord: ``too-large``, ``unknown-version`` or ``malformed``.
    """
    if len(payload) > SIGNED_BODY_BYTES_MAX:
        raise MalformedRecord("too-large")
    read = _converted(_versioned(payload, REQUEST_VERSION), _Request)
    return Request(
        read.operation,
        _bytes(read.directory, DIRECTORY_ID_BYTES, DIRECTORY_ID_BYTES),
        _bytes(read.nonce, 1, NONCE_BYTES_MAX),
        read.arguments,
    )


# --- JSON ----------------------------------------------------------------------------------------


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _Refused(Exception):
    """Something in the JSON that the ``json`` module would let through."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: one reader would take the first value, another the last."""
    read = dict(members)
    if len(read) != len(members):
        raise _Refused
    return read


def _refuse(_text: str) -> Any:
    raise _Refused


def _parsed(data: bytes) -> Any:
    """Return the JSON in ``data``, which has no fraction, no NaN and no member twice."""
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_object, parse_float=_refuse, parse_constant=_refuse
        )
    except (ValueError, RecursionError, _Refused):  # ValueError: no UTF-8, no JSON, a huge number
        raise MalformedRecord("malformed") from None


def _versioned(data: bytes, version: int) -> Any:
    """Return the object in ``data``, which says that it is of ``version``."""
    read = _parsed(data)
    found = read.get("v") if isinstance(read, dict) else None
    if type(found) is not int:  # True is 1, too
        raise MalformedRecord("malformed")
    if found != version:
        raise MalformedRecord("unknown-version")
    return read


def _converted(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeError):
        raise MalformedRecord("malformed") from None


# --- values --------------------------------------------------------------------------------------


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str, size_min: int = 0, size_max: int = SIGNED_BODY_BYTES_MAX) -> bytes:
    """Read base64 (RFC 4648 section 4), written in the one way in which those bytes are."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise MalformedRecord("malformed") from None
    if _base64(data) != text or not size_min <= len(data) <= size_max:
        raise MalformedRecord("malformed")
    return data


def _name(text: str) -> Name:
    try:
        return Name(text)
    except InvalidName:
        raise MalformedRecord("bad-name") from None


def _key(text: str) -> PeerId:
    try:
        return PeerId.parse(text)
    except InvalidKey:
        raise MalformedRecord("bad-key") from None


def _address(text: str) -> Address:
    """Read an address at which somebody can be: not everybody's, not nobody's, and none with a
    zone, which names a network card of the machine that wrote it."""
    try:
        address = Address.parse(text)
    except InvalidAddress:
        raise MalformedRecord("bad-address") from None
    host = ip_address(address.host)
    if "%" in address.host:
        raise MalformedRecord("bad-address")
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    if host.is_unspecified or host.is_multicast or host == IPv4Address("255.255.255.255"):
        raise MalformedRecord("bad-address")
    return address

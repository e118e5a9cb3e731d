"""Signed records and requests: the bytes of ``wire.records``, with the keys of ``identity.keys``.

What is opened here was verified: a value that comes out is what the key in it said. Nothing here
reads a clock or a disk. Specification: docs/spec/records.md, docs/spec/directory.md.
"""

from collections.abc import Mapping

from netchat.errors import MalformedRecord
from netchat.identity.keys import Identity, verify
from netchat.model import PeerId, Record, SignedRecord
from netchat.wire.records import (
    RECORD_KIND,
    REQUEST_KIND,
    Envelope,
    Request,
    format_envelope,
    format_record,
    format_request,
    parse_envelope,
    parse_record,
    parse_request,
)


def sign_record(identity: Identity, record: Record, *, old: Identity | None = None) -> SignedRecord:
    """Sign ``record`` with its own key, and with the key that held the name before (a rotation)."""
    assert record.key == identity.peer_id, "a record is signed by its own key"
    assert old is None or old.peer_id != record.key, "a rotation is to another key"
    payload = format_record(record)
    signers = [identity] if old is None else [identity, old]
    signatures = tuple((one.peer_id, one.sign(RECORD_KIND, payload)) for one in signers)
    envelope = format_envelope(Envelope(RECORD_KIND, payload, signatures))
    return SignedRecord(record, envelope, None if old is None else old.peer_id)


def open_record(envelope: bytes) -> SignedRecord:
    """Read a record and verify every signature on it; its own key must be among them.

    Raises:
        MalformedRecord: no record; ``unsigned`` when its own key did not sign it; ``same-signer``.
        BadSignature: one of the signatures does not fit.
    """
    opened = parse_envelope(envelope)
    if opened.kind != RECORD_KIND:
        raise MalformedRecord("another-kind")
    record = parse_record(opened.payload)
    signers = _verified(opened)
    if record.key not in signers:
        raise MalformedRecord("unsigned")
    others = [key for key in signers if key != record.key]
    return SignedRecord(record, envelope, others[0] if others else None)


def sign_request(
    identity: Identity,
    operation: str,
    directory_id: bytes,
    nonce: bytes,
    arguments: Mapping[str, str | int],
) -> bytes:
    """Return a request that counts once, and at the directory of that id only."""
    payload = format_request(Request(operation, directory_id, nonce, dict(arguments)))
    signature = identity.sign(REQUEST_KIND, payload)
    return format_envelope(Envelope(REQUEST_KIND, payload, ((identity.peer_id, signature),)))


def open_request(body: bytes, operation: str, directory_id: bytes) -> tuple[PeerId, Request]:
    """Read a request and verify it; return who signed it. Its nonce is for the caller to judge.

    Raises:
        MalformedRecord: no request; ``one-signer``, ``another-operation`` or ``wrong-directory``.
        BadSignature: the signature does not fit.
    """
    opened = parse_envelope(body)
    if opened.kind != REQUEST_KIND:
        raise MalformedRecord("another-kind")
    request = parse_request(opened.payload)
    if len(opened.signatures) != 1:
        raise MalformedRecord("one-signer")
    if request.operation != operation:
        raise MalformedRecord("another-operation")
    if request.directory != directory_id:
        raise MalformedRecord("wrong-directory")
    (signer,) = _verified(opened)
    return signer, request


def _verified(envelope: Envelope) -> list[PeerId]:
    """Return who signed; each key once, and each signature verified."""
    signers = [key for key, _ in envelope.signatures]
    if len(set(signers)) != len(signers):
        raise MalformedRecord("same-signer")
    for key, signature in envelope.signatures:
        verify(key, envelope.kind, envelope.payload, signature)
    return signers

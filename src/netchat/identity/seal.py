"""Sealed mail, format NCM1: one message for one prekey, signed inside, padded, sealed by HPKE.

A pure room: prekeys are kept by the store, and envelopes travel elsewhere. Specification, with
vectors: docs/spec/mail.md. Source: RFC 9180 with the KEM X-Wing (MLKEM768-X25519, 0x647A).
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from netchat.errors import BadEnvelope, BadSignature
from netchat.identity.keys import Identity, verify
from netchat.limits import ENVELOPE_BYTES_MAX
from netchat.model import PEER_ID_BYTES, PeerId

MAIL_KIND: Final = "application/vnd.netchat.mail.v1"
MAGIC: Final = b"NCM1"
"""Stands for the format and for the suite: another suite gets another magic, nothing is chosen."""
PREKEY_SECRET_BYTES: Final = 96
PREKEY_ID_BYTES: Final = 16
SEALED_BODY_BYTES_MIN: Final = 256
"""Floor of the padded length: receipts and most messages look alike."""

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_LABEL: Final = b"netchat mail v1\0"
_KEM_PUBLIC_BYTES: Final = 1_184
_KEM_SEED_BYTES: Final = 64
_HEAD_BYTES: Final = len(MAGIC) + PREKEY_ID_BYTES
_SEAL_BYTES: Final = 1_120 + 16
"""The encapsulated key, and the tag of ChaCha20-Poly1305."""
_SIGNATURE_BYTES: Final = 64
_BODY_AT: Final = PEER_ID_BYTES + _SIGNATURE_BYTES + 4


@dataclass(frozen=True, slots=True)
class Prekey:
    """A key pair that mail is sealed to; ``secret`` opens it, until it is erased."""

    secret: bytes = field(repr=False)
    public: bytes = field(repr=False)
    prekey_id: bytes


def make_prekey() -> Prekey:
    """Make a new one."""
    return _prekey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())


def prekey_from_secret(secret: bytes) -> Prekey:
    """Return the pair of a ``Prekey.secret``: the seed of ML-KEM-768, then the X25519 secret."""
    return _prekey(*_split_secret(secret))


def prekey_id(public: bytes) -> bytes:
    """Return the 16 bytes that name a public prekey in an envelope."""
    return sha256(public).digest()[:PREKEY_ID_BYTES]


def padded_length(size: int) -> int:
    """Return to what length ``size`` bytes are padded: Padme, and never below 256.

    Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
    PURBs" (PoPETs 2019), section 4.4: O(log log size) bits are told, for at most 12 % more bytes.
    """
    size = max(size, SEALED_BODY_BYTES_MIN)
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def sealed_length(size: int) -> int:
    """Return how many bytes the envelope of a body of ``size`` bytes has."""
    return _HEAD_BYTES + _SEAL_BYTES + padded_length(_BODY_AT + size)


def seal(identity: Identity, recipient: PeerId, prekey_public: bytes, body: bytes) -> bytes:
    """Sign ``body`` for ``recipient`` and seal it to that one's prekey.

    The caller keeps ``sealed_length(len(body))`` within ENVELOPE_BYTES_MAX.

    Raises:
        BadEnvelope: ``bad-prekey``; a record may hold one that no mail can be sealed to.
    """
    assert sealed_length(len(body)) <= ENVELOPE_BYTES_MAX, "the body fits in an envelope"
    key_id = prekey_id(prekey_public)
    context = _context(recipient, key_id)
    sender = identity.peer_id.value
    signature = identity.sign(MAIL_KIND, context + sender + body)
    inner = sender + signature + len(body).to_bytes(4) + body
    inner = inner.ljust(padded_length(len(inner)), b"\0")
    try:
        public = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(prekey_public[:_KEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(prekey_public[_KEM_PUBLIC_BYTES:]),
        )
        return MAGIC + key_id + _SUITE.encrypt(inner, public, context)
    except ValueError:  # of another length, out of range, or a point of low order
        raise BadEnvelope("bad-prekey") from None


def prekey_id_of(envelope: bytes) -> bytes:
    """Return which prekey opens ``envelope``.

    Raises:
        BadEnvelope: ``too-large``, ``wrong-magic`` or ``truncated``.
    """
    if len(envelope) > ENVELOPE_BYTES_MAX:
        raise BadEnvelope("too-large")
    if not envelope.startswith(MAGIC):
        raise BadEnvelope("wrong-magic")
    if len(envelope) < sealed_length(0):
        raise BadEnvelope("truncated")
    return envelope[len(MAGIC) : _HEAD_BYTES]


def unseal(recipient: PeerId, prekey_secret: bytes, envelope: bytes) -> tuple[PeerId, bytes]:
    """Open what was sealed for ``recipient``, and return who signed it and the body.

    Whether it was opened before is not known here: the body names what it is.

    Raises:
        BadEnvelope: as ``prekey_id_of``; ``another-prekey``; ``cannot-open`` when it was changed,
            or is not for us; ``bad-length``, ``bad-padding`` or ``bad-signature`` when who sealed
            it broke the rules.
    """
    key_id = prekey_id_of(envelope)
    kem, dh = _split_secret(prekey_secret)
    if _prekey(kem, dh).prekey_id != key_id:
        raise BadEnvelope("another-prekey")
    context = _context(recipient, key_id)
    try:
        inner = _SUITE.decrypt(envelope[_HEAD_BYTES:], MLKEM768X25519PrivateKey(kem, dh), context)
    except InvalidTag:
        raise BadEnvelope("cannot-open") from None
    return _read_inner(inner, context)


def _read_inner(inner: bytes, context: bytes) -> tuple[PeerId, bytes]:
    sender = PeerId(inner[:PEER_ID_BYTES])
    signature = inner[PEER_ID_BYTES : _BODY_AT - 4]
    end = _BODY_AT + int.from_bytes(inner[_BODY_AT - 4 : _BODY_AT])
    # One body has one length: else the padding could carry something that nobody signed.
    if len(inner) != padded_length(end):
        raise BadEnvelope("bad-length")
    if inner[end:].strip(b"\0"):
        raise BadEnvelope("bad-padding")
    body = inner[_BODY_AT:end]
    try:
        verify(sender, MAIL_KIND, context + sender.value + body, signature)
    except BadSignature:
        raise BadEnvelope("bad-signature") from None
    return sender, body


def _context(recipient: PeerId, key_id: bytes) -> bytes:
    """Return what seal and signature are bound to: nobody can open it, and seal it for another."""
    return _LABEL + recipient.value + key_id


def _split_secret(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    assert len(secret) == PREKEY_SECRET_BYTES, "the secret of a prekey has 96 bytes"
    return (
        MLKEM768PrivateKey.from_seed_bytes(secret[:_KEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(secret[_KEM_SEED_BYTES:]),
    )


def _prekey(kem: MLKEM768PrivateKey, dh: X25519PrivateKey) -> Prekey:
    public = kem.public_key().public_bytes_raw() + dh.public_key().public_bytes_raw()
    secret = kem.private_bytes_raw() + dh.private_bytes_raw()
    return Prekey(secret, public, prekey_id(public))

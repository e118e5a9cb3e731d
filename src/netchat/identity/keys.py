"""The Ed25519 key that a person is, and everything that it signs.

``Identity.sign`` is the one place that signs, and it signs nothing but DSSE PAE of a type of its
own; the only others who use the key are TLS 1.3 and the builder of our certificate, whose inputs
begin with other bytes. So no signature made for one purpose can pass for another. A pure room: the
file that holds the key is read and written by ``store.profile``.
"""

import re
from binascii import a2b_base64
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)
from cryptography.x509.oid import NameOID

from netchat.errors import BadSignature, IdentityLocked, IdentityUnreadable
from netchat.limits import IDENTITY_FILE_BYTES_MAX, PASSPHRASE_ROUNDS, PASSPHRASE_ROUNDS_MAX
from netchat.model import PeerId

SEED_BYTES: Final = 32

_COMMON_NAME: Final = "netchat"
"""Of every certificate alike: nothing but the key is read from one."""
_NOT_BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The date that RFC 5280 section 4.1.2.5 has for certificates without an end."""

_FILE: Final = re.compile(
    rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END OPENSSH PRIVATE KEY-----", re.DOTALL
)
_MAGIC: Final = b"openssh-key-v1\0"
_TYPE: Final = b"ssh-ed25519"


class Identity:
    """Who a profile is. It shows nothing of itself but the public key."""

    __slots__ = ("_key", "_peer_id")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._peer_id = PeerId(key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Identity({self._peer_id})"

    @classmethod
    def generate(cls) -> "Identity":
        """Make somebody new."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """Return the identity of a secret of 32 bytes (RFC 8032 section 5.1.5): for vectors."""
        assert len(seed) == SEED_BYTES, "a seed has 32 bytes"
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_openssh(cls, data: bytes, passphrase: str | None, path: str = "") -> "Identity":
        """Read the OpenSSH private key file ``data``, which came from ``path``.

        A passphrase for a file that is not locked is not used.

        Raises:
            IdentityLocked: ``passphrase-needed`` or ``wrong-passphrase``.
            IdentityUnreadable: ``damaged``, ``not-ed25519`` or ``too-many-rounds``.
        """
        if len(data) > IDENTITY_FILE_BYTES_MAX:
            raise IdentityUnreadable(path, "damaged")
        try:
            key_type, public, rounds = _read_open_part(data)
        except ValueError:
            raise IdentityUnreadable(path, "damaged") from None
        if key_type not in (_TYPE, b""):
            raise IdentityUnreadable(path, "not-ed25519")
        if rounds > PASSPHRASE_ROUNDS_MAX:
            raise IdentityUnreadable(path, "too-many-rounds")
        if rounds and not passphrase:
            raise IdentityLocked(path, "passphrase-needed")
        try:
            key = load_ssh_private_key(
                data, _encoded(passphrase) if passphrase and rounds else None
            )
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidTag) as error:
            # The format has two equal numbers that only the right passphrase brings out; ciphers
            # with a tag of their own use that.
            if rounds and (isinstance(error, InvalidTag) or "checksum" in str(error)):
                raise IdentityLocked(path, "wrong-passphrase") from None
            raise IdentityUnreadable(path, "damaged") from None
        # A bit that flipped in the secret would else make us somebody else without a word.
        if not isinstance(key, Ed25519PrivateKey) or key.public_key().public_bytes_raw() != public:
            raise IdentityUnreadable(path, "damaged")
        return cls(key)

    def to_openssh(self, passphrase: str | None) -> bytes:
        """Return the file that ``from_openssh`` and OpenSSH read; None leaves it unlocked."""
        assert passphrase != "", "an empty passphrase locks nothing"
        lock: KeySerializationEncryption = NoEncryption()
        if passphrase is not None:
            builder = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(PASSPHRASE_ROUNDS)
            lock = builder.build(_encoded(passphrase))
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, lock)

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    def sign(self, kind: str, body: bytes) -> bytes:
        """Return the signature over ``body`` as a thing of the type ``kind``: THE signing call.

        A type is used for one purpose only, and has the form ``application/vnd.netchat.*``.
        """
        return self._key.sign(pae(kind, body))

    def tls_credentials(self) -> tuple[Ed25519PrivateKey, x509.Certificate]:
        """Return key and certificate for TLS; the same bytes each time, so they tell no time."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(int.from_bytes(b"\1" + self._peer_id.value[:16]))
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
        )
        return self._key, builder.sign(self._key, None)


def pae(kind: str, body: bytes) -> bytes:
    """Return the bytes that are signed for ``body``: the pre-authentication encoding of DSSE 1.0.

    Source: https://github.com/secure-systems-lab/dsse, protocol.md.
    """
    type_ = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(type_), type_, len(body), body)


def verify(key: PeerId, kind: str, body: bytes, signature: bytes) -> None:
    """Make sure that ``key`` signed ``body`` as a thing of the type ``kind``. Raises BadSignature.

    Any 32 bytes are a key here; bytes that are no point of the curve verify nothing.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key.value).verify(signature, pae(kind, body))
    except InvalidSignature:
        raise BadSignature from None


def key_of_certificate(certificate: x509.Certificate) -> PeerId | None:
    """Return the key that a certificate carries, or None when it is not an Ed25519 key.

    Nothing else is read from it. That the other end has the key is for TLS to prove.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return PeerId(key.public_bytes_raw()) if isinstance(key, Ed25519PublicKey) else None


def _encoded(passphrase: str) -> bytes:
    """Return the bytes that were typed, so that OpenSSH takes the same passphrase."""
    return passphrase.encode("utf-8", "surrogateescape")


def _read_open_part(data: bytes) -> tuple[bytes, bytes, int]:
    """Return type and bytes of the public key in a file, and the rounds of bcrypt, 0 for no lock.

    What is not there is empty: the library reads the file again, and refuses it. Raises ValueError
    when it is not base64. Source: PROTOCOL.key of OpenSSH.
    """
    match = _FILE.search(data)
    rest = a2b_base64(match[1]).removeprefix(_MAGIC) if match else b""
    _, rest = _split_string(rest)  # cipher
    _, rest = _split_string(rest)  # key derivation
    options, rest = _split_string(rest)
    public, _ = _split_string(rest[4:])  # behind the number of keys
    key_type, public = _split_string(public)
    return key_type, public[4:], int.from_bytes(options[-4:])


def _split_string(data: bytes) -> tuple[bytes, bytes]:
    """Return the string in front of ``data`` (RFC 4251 section 5), and what stands behind it."""
    end = 4 + int.from_bytes(data[:4])
    return data[4:end], data[end:]

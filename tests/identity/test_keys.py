"""Keys and what they sign: the vectors of docs/spec/identity.md, files of OpenSSH, and hygiene."""

import re
import shutil
import subprocess
import traceback
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors import Vector, many_examples, vectors

from netchat.errors import BadSignature, IdentityError, IdentityLocked
from netchat.identity import keys
from netchat.identity.keys import Identity, key_of_certificate, pae, verify
from netchat.limits import IDENTITY_FILE_BYTES_MAX, PASSPHRASE_ROUNDS, PASSPHRASE_ROUNDS_MAX
from netchat.model import PeerId

FILE = "identity.json"
SOURCE = Path(keys.__file__).resolve().parents[1]
KIND = "application/vnd.netchat.test"
SEED = bytes(range(32))
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the base point of Ed25519 (RFC 8032 section 5.1)."""


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of bcrypt, so that a lock takes milliseconds."""
    monkeypatch.setattr(keys, "PASSPHRASE_ROUNDS", 1)


def unarmoured(file: bytes) -> bytes:
    return b64decode(b"".join(file.split(b"\n")[1:-2]))


def armoured(data: bytes) -> bytes:
    begin, end = (b"-----%s OPENSSH PRIVATE KEY-----\n" % word for word in (b"BEGIN", b"END"))
    return begin + b64encode(data) + b"\n" + end


def refusal(file: bytes, passphrase: str | None = None) -> str | PeerId:
    """Return why a file is refused, or whose it is. Any other exception is a bug."""
    try:
        return Identity.from_openssh(file, passphrase, "/p/identity").peer_id
    except IdentityError as error:
        return error.reason


# --- signatures ----------------------------------------------------------------------------------


@vectors(FILE, "ed25519")
def test_ed25519_of_the_rfc(vector: Vector) -> None:
    """A seed gives the key, and key and message the signature, as RFC 8032 has them."""
    seed, message = bytes.fromhex(vector["seed"]), bytes.fromhex(vector["message"])
    assert Identity.from_seed(seed).peer_id.value.hex() == vector["public"]
    assert Ed25519PrivateKey.from_private_bytes(seed).sign(message).hex() == vector["signature"]


@vectors(FILE, "pae")
def test_what_is_signed(vector: Vector) -> None:
    """Lengths count bytes, in decimal digits, and nothing is escaped."""
    assert pae(vector["kind"], vector["body"].encode()) == vector["encoded"].encode()


@given(st.text(), st.binary(), st.text(), st.binary())
@many_examples
def test_two_things_are_never_signed_alike(a: str, body_a: bytes, b: str, body_b: bytes) -> None:
    """Type and body can be told apart, whatever is in them."""
    assert (pae(a, body_a) == pae(b, body_b)) == ((a, body_a) == (b, body_b))


@vectors(FILE, "netchat_signature")
def test_signatures_of_netchat(vector: Vector) -> None:
    """The same bytes under another type have another signature."""
    identity = Identity.from_seed(bytes.fromhex(vector["seed"]))
    signature = identity.sign(vector["kind"], vector["body"].encode())
    assert signature.hex() == vector["signature"]
    verify(identity.peer_id, vector["kind"], vector["body"].encode(), signature)


def test_a_signature_that_does_not_fit() -> None:
    """Another key, type or body, a flipped bit, another length, and the second form of S."""
    identity, other = Identity.from_seed(SEED), Identity.generate()
    good = identity.sign(KIND, b"body")
    verify(identity.peer_id, KIND, b"body", good)
    s = int.from_bytes(good[32:], "little") + ORDER
    malleable = good[:32] + s.to_bytes(32, "little")
    flipped = [bytes([*good[:at], good[at] ^ 1, *good[at + 1 :]]) for at in range(len(good))]
    for key, kind, body, signature in [
        (other.peer_id, KIND, b"body", good),
        (identity.peer_id, KIND + "2", b"body", good),
        (identity.peer_id, KIND, b"Body", good),
        (PeerId(b"\xff" * 32), KIND, b"body", good),
        *((identity.peer_id, KIND, b"body", bad) for bad in (*flipped, malleable)),
        *((identity.peer_id, KIND, b"body", bad) for bad in (b"", good[:-1], good + b"\0")),
    ]:
        with pytest.raises(BadSignature):
            verify(key, kind, body, signature)


def test_everybody_is_somebody_else() -> None:
    assert Identity.generate().peer_id != Identity.generate().peer_id


# --- the file ------------------------------------------------------------------------------------


@vectors(FILE, "key_file")
def test_files_of_openssh(vector: Vector) -> None:
    """They hold what they always held."""
    outcome = refusal(vector["file"].encode(), vector.get("passphrase"))
    expected = vector.get("error") or PeerId(bytes.fromhex(vector["public"]))
    assert outcome == expected


def test_an_unlocked_file_comes_back() -> None:
    """Also for who has a passphrase in the environment that it does not need."""
    identity = Identity.generate()
    file = identity.to_openssh(None)
    assert len(file) < IDENTITY_FILE_BYTES_MAX // 10
    for passphrase in (None, "", "not needed"):
        assert Identity.from_openssh(file, passphrase).sign("k", b"") == identity.sign("k", b"")


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("passphrase", ["x", "grün \u2615", "\udcff", "p" * 200, " "])
def test_a_locked_file_comes_back(passphrase: str) -> None:
    """With this passphrase only."""
    identity = Identity.generate()
    file = identity.to_openssh(passphrase)
    assert refusal(file, passphrase) == identity.peer_id
    assert refusal(file, passphrase + "x") == "wrong-passphrase"
    for nothing in (None, ""):
        with pytest.raises(IdentityLocked, match="passphrase-needed"):
            Identity.from_openssh(file, nothing)


def test_a_lock_is_slow_on_purpose() -> None:
    """The file says how many rounds of bcrypt stand before each guess."""
    file = unarmoured(Identity.from_seed(SEED).to_openssh("x"))
    assert PASSPHRASE_ROUNDS.to_bytes(4) + (1).to_bytes(4) in file[:100]


@pytest.mark.usefixtures("few_rounds")
def test_a_file_cannot_keep_us_busy_for_days() -> None:
    """Guards the check of the rounds in ``from_openssh``: without it this takes a year."""
    file = unarmoured(Identity.from_seed(SEED).to_openssh("x"))
    at = file.index((1).to_bytes(4) + (1).to_bytes(4) + (51).to_bytes(4))
    for rounds in (PASSPHRASE_ROUNDS_MAX + 1, 2**32 - 1):
        slow = file[:at] + rounds.to_bytes(4) + file[at + 4 :]
        assert refusal(armoured(slow), "x") == "too-many-rounds"


def test_a_damaged_file_makes_nobody_else_of_us() -> None:
    """Guards the comparison with the public key in the file: the library does not make it, so a bit
    that flips in the secret would give another person. Every bit, and every place to cut at."""
    identity = Identity.from_seed(SEED)
    file = unarmoured(identity.to_openssh(None))
    for at in range(len(file)):
        assert refusal(armoured(file[:at])) in ("damaged", "not-ed25519")
        for bit in range(8):
            changed = file[:at] + bytes([file[at] ^ 1 << bit]) + file[at + 1 :]
            assert refusal(armoured(changed)) in (
                *("damaged", "not-ed25519", "too-many-rounds", "passphrase-needed"),
                identity.peer_id,
            )


@pytest.mark.usefixtures("few_rounds")
def test_a_damaged_locked_file_makes_nobody_else_of_us() -> None:
    """The same where the secret is locked: one bit of each byte."""
    identity = Identity.from_seed(SEED)
    file = unarmoured(identity.to_openssh("x"))
    for at in range(len(file)):
        changed = file[:at] + bytes([file[at] ^ 0x40]) + file[at + 1 :]
        assert isinstance(refusal(armoured(changed), "x"), str)


@given(st.binary(max_size=600))
@many_examples
def test_bytes_that_are_no_file(data: bytes) -> None:
    """Whatever stands there, it is refused by one of our errors."""
    assert refusal(data) == "damaged"
    assert refusal(armoured(data)) in ("damaged", "not-ed25519", "too-many-rounds")
    assert refusal(armoured(b"openssh-key-v1\0" + data), "x") in (
        *("damaged", "not-ed25519", "too-many-rounds"),
    )


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"-----BEGIN OPENSSH PRIVATE KEY-----",
        armoured(b"")[:-9],
        armoured(b"openssh-key-v1\0").replace(b"b3", b"b", 1),  # no base64
    ],
)
def test_a_file_without_a_key(file: bytes) -> None:
    assert refusal(file) == "damaged"


def test_a_file_that_is_too_long() -> None:
    """What stands around the key does not count, but it is bounded."""
    identity = Identity.from_seed(SEED)
    file = identity.to_openssh(None)
    assert refusal(file.ljust(IDENTITY_FILE_BYTES_MAX, b"\n")) == identity.peer_id
    assert refusal(file.ljust(IDENTITY_FILE_BYTES_MAX + 1, b"\n")) == "damaged"


def test_an_empty_passphrase_is_a_bug() -> None:
    """A file that was to be locked must not be left open."""
    with pytest.raises(AssertionError):
        Identity.from_seed(SEED).to_openssh("")
    with pytest.raises(AssertionError):
        Identity.from_seed(SEED[1:])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
@pytest.mark.parametrize("passphrase", [None, "grün \u2615"])
def test_openssh_reads_our_file(tmp_path: Path, passphrase: str | None) -> None:
    """And gives the same public key; and we read the one it makes."""
    identity = Identity.generate()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.touch(mode=0o600)
    ours.write_bytes(identity.to_openssh(passphrase))
    assert openssh("-y", "-P", passphrase or "", "-f", str(ours)) == identity.peer_id
    make = ("-q", "-t", "ed25519", "-C", "a comment", "-N", passphrase or "", "-f", str(theirs))
    openssh(*make)
    expected = openssh("-y", "-P", passphrase or "", "-f", str(theirs))
    assert Identity.from_openssh(theirs.read_bytes(), passphrase).peer_id == expected


def openssh(*words: str) -> PeerId | None:
    """Run ``ssh-keygen`` and return the public key that it prints."""
    done = subprocess.run(["ssh-keygen", *words], capture_output=True, timeout=60, check=True)
    return PeerId(b64decode(done.stdout.split()[1])[-32:]) if done.stdout else None


# --- TLS -----------------------------------------------------------------------------------------


def test_the_certificate() -> None:
    """It carries the key, says nothing else, and is the same at every start."""
    identity = Identity.from_seed(SEED)
    key, certificate = identity.tls_credentials()
    assert key.public_key() == certificate.public_key()
    assert key_of_certificate(certificate) == identity.peer_id
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject.rfc4514_string() == "CN=netchat"
    assert certificate.not_valid_before_utc == datetime(2020, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert len(certificate.extensions) == 0
    assert identity.tls_credentials()[1] == certificate
    assert Identity.generate().tls_credentials()[1].serial_number != certificate.serial_number


def test_a_certificate_with_another_kind_of_key() -> None:
    """It is nobody's, and so is one whose key cannot be read."""
    _, certificate = Identity.from_seed(SEED).tls_credentials()
    der = certificate.public_bytes(Encoding.DER)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    unknown = key.replace(bytes.fromhex("2b6570"), bytes.fromhex("2b657f"))
    x25519 = key.replace(bytes.fromhex("2b6570"), bytes.fromhex("2b656e"))
    for other in (unknown, x25519):
        changed = x509.load_der_x509_certificate(der.replace(key, other))
        assert key_of_certificate(changed) is None
    p256 = ec.derive_private_key(7, ec.SECP256R1())
    assert key_of_certificate(certificate_of(p256)) is None
    point = p256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    off_curve = certificate_of(p256).public_bytes(Encoding.DER).replace(point, point[:-1] + b"\0")
    assert key_of_certificate(x509.load_der_x509_certificate(off_curve)) is None


def certificate_of(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    day = datetime(2020, 1, 1, tzinfo=UTC)
    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    return builder.not_valid_before(day).not_valid_after(day).sign(signer, None)


# --- hygiene -------------------------------------------------------------------------------------


def test_an_identity_shows_its_public_key_only() -> None:
    """Neither a log nor a traceback tells the secret, and nothing can be looked into by chance."""
    identity = Identity.from_seed(SEED)
    shown = f"{identity!r} {identity} {identity!s:>100} {[identity]}"
    assert str(identity.peer_id) in shown
    assert not hasattr(identity, "__dict__")
    try:
        raise ValueError(identity)
    except ValueError as error:
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        shown += "".join(lines)
    for secret in (SEED.hex(), repr(SEED), b64encode(SEED).decode(), str(list(SEED))):
        assert secret not in shown


@pytest.mark.usefixtures("few_rounds")
def test_a_refusal_tells_no_secret() -> None:
    """Neither the passphrase nor what the file holds is in the error, or in what led to it."""
    file = Identity.from_seed(SEED).to_openssh("the right one")
    guess = SEED.hex()
    for damaged, reason in ((file, "wrong-passphrase"), (file[:-40], "damaged")):
        with pytest.raises(IdentityError) as caught:
            Identity.from_openssh(damaged, guess, "/p")
        assert (caught.value.path, caught.value.reason) == ("/p", reason)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert guess not in shown


def test_nothing_else_signs() -> None:
    """One call in the whole program, and the builder of the certificate: a second one might sign
    bytes that mean something else elsewhere. ``.sign(kind, ...)`` of an Identity is that one."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        found += [
            f"{path.relative_to(SOURCE)}: {call}"
            for call in re.findall(r"[\w.]+\.sign\(\s*[^\n]*", text)
            if re.search(r"\.sign\(\s*(\w+\.)?[A-Z_]+_KIND,\s", call + "\n") is None
        ]
    assert found == [
        "identity/keys.py: self._key.sign(pae(kind, body))",
        "identity/keys.py: builder.sign(self._key, None)",
    ]

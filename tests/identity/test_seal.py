"""Sealed mail: the vectors of docs/spec/mail.md, HPKE recomputed by hand, and attacks."""

import hmac
from collections.abc import Callable
from hashlib import sha3_256, sha256, shake_256

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors import Vector, load, many_examples, vectors

from netchat.errors import BadEnvelope
from netchat.identity import seal as seal_module
from netchat.identity.keys import Identity
from netchat.identity.seal import (
    MAIL_KIND,
    make_prekey,
    padded_length,
    prekey_from_secret,
    prekey_id,
    prekey_id_of,
    seal,
    sealed_length,
    unseal,
)
from netchat.limits import ENVELOPE_BYTES_MAX, TEXT_BYTES_MAX

FILE = "mail.json"
HEAD_BYTES = 20
ENC_BYTES = 1_120

ALICE = Identity.from_seed(b"a" * 32)
BOB = Identity.from_seed(b"b" * 32)
CAROL = Identity.from_seed(b"c" * 32)
PREKEY = prekey_from_secret(bytes(range(96)))
CAROLS_PREKEY = prekey_from_secret(bytes(range(100, 196)))
BODY = b"see you at noon"


def refusal(envelope: bytes, recipient: Identity = BOB, secret: bytes = PREKEY.secret) -> str:
    """Return why an envelope is refused. Any other exception, and none, is a failure."""
    with pytest.raises(BadEnvelope) as caught:
        unseal(recipient.peer_id, secret, envelope)
    return caught.value.reason


# --- HPKE, put together by hand from RFC 9180 and X-Wing -----------------------------------------

SUITE_ID = b"HPKE" + bytes.fromhex("647a00010003")


def x_wing(secret: bytes, enc: bytes) -> bytes:
    """Return the shared secret of X-Wing (draft-connolly-cfrg-xwing-kem-08, section 5.5)."""
    dh = X25519PrivateKey.from_private_bytes(secret[64:])
    return sha3_256(
        MLKEM768PrivateKey.from_seed_bytes(secret[:64]).decapsulate(enc[:1_088])
        + dh.exchange(X25519PublicKey.from_public_bytes(enc[1_088:]))
        + enc[1_088:]
        + dh.public_key().public_bytes_raw()
        + rb"\.//^"
        + b"\\"
    ).digest()


def labeled_extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE_ID + label + ikm, sha256)


def labeled_expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """Return one block of HKDF, which is all that is needed here."""
    labeled = length.to_bytes(2) + b"HPKE-v1" + SUITE_ID + label + info
    return hmac.digest(prk, labeled + b"\1", sha256)[:length]


def cipher(secret: bytes, enc: bytes, info: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    """Return what the key schedule of HPKE in base mode gives (RFC 9180 section 5.1)."""
    hashes = labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
    prk = labeled_extract(x_wing(secret, enc), b"secret", b"")
    key = labeled_expand(prk, b"key", b"\0" + hashes, 32)
    return ChaCha20Poly1305(key), labeled_expand(prk, b"base_nonce", b"\0" + hashes, 12)


def info_of(recipient: Identity, key_id: bytes) -> bytes:
    return b"netchat mail v1\0" + recipient.peer_id.value + key_id


def opened(envelope: bytes, recipient: Identity, secret: bytes) -> bytes:
    """Return what is inside, signature and padding and all."""
    info = info_of(recipient, envelope[4:HEAD_BYTES])
    enc = envelope[HEAD_BYTES : HEAD_BYTES + ENC_BYTES]
    aead, nonce = cipher(secret, enc, info)
    return aead.decrypt(nonce, envelope[HEAD_BYTES + ENC_BYTES :], b"")


def resealed(envelope: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return an envelope for bob with another inside, as somebody who knows his prekey can make."""
    info = info_of(BOB, envelope[4:HEAD_BYTES])
    enc = envelope[HEAD_BYTES : HEAD_BYTES + ENC_BYTES]
    aead, nonce = cipher(PREKEY.secret, enc, info)
    inner = change(opened(envelope, BOB, PREKEY.secret))
    return envelope[: HEAD_BYTES + ENC_BYTES] + aead.encrypt(nonce, inner, b"")


@vectors(FILE, "x_wing")
def test_x_wing_of_the_draft(vector: Vector) -> None:
    """Our prekeys are its keys, and the recomputation here is the one of the draft."""
    prekey = prekey_from_secret(shake_256(bytes.fromhex(vector["seed"])).digest(96))
    assert prekey.public.hex() == vector["public"]
    shared = x_wing(prekey.secret, bytes.fromhex(vector["ciphertext"]))
    assert shared.hex() == vector["shared_secret"]


def test_the_library_speaks_the_standard() -> None:
    """An envelope opens by hand: KEM 0x647A, HKDF-SHA256, ChaCha20-Poly1305, base mode, no aad."""
    inner = opened(seal(ALICE, BOB.peer_id, PREKEY.public, BODY), BOB, PREKEY.secret)
    signed = info_of(BOB, PREKEY.prekey_id) + ALICE.peer_id.value + BODY
    assert inner[:32] == ALICE.peer_id.value
    assert inner[32:96] == ALICE.sign(MAIL_KIND, signed)
    assert inner[96:] == len(BODY).to_bytes(4) + BODY + bytes(256 - 100 - len(BODY))
    assert unseal(BOB.peer_id, PREKEY.secret, resealed_unchanged()) == (ALICE.peer_id, BODY)


def resealed_unchanged() -> bytes:
    return resealed(seal(ALICE, BOB.peer_id, PREKEY.public, BODY), lambda inner: inner)


# --- vectors -------------------------------------------------------------------------------------


@vectors(FILE, "envelope")
def test_an_envelope_opens_for_ever(vector: Vector) -> None:
    """It was sealed once. If this fails, mail in mailboxes is lost: a new magic is due."""
    sender = Identity.from_seed(bytes.fromhex(vector["sender_seed"]))
    recipient = Identity.from_seed(bytes.fromhex(vector["recipient_seed"]))
    envelope, secret = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["prekey_secret"])
    expected = (sender.peer_id, vector["body"].encode())
    assert unseal(recipient.peer_id, secret, envelope) == expected
    assert prekey_id_of(envelope) == prekey_from_secret(secret).prekey_id


@vectors(FILE, "prekey")
def test_a_prekey_follows_from_its_secret(vector: Vector) -> None:
    prekey = prekey_from_secret(bytes.fromhex(vector["secret"]))
    assert prekey.secret.hex() == vector["secret"]
    assert prekey.public.hex() == vector["public"]
    assert prekey.prekey_id.hex() == vector["id"] == prekey_id(prekey.public).hex()


@vectors(FILE, "padding")
def test_padding(vector: Vector) -> None:
    assert padded_length(int(vector["name"].replace(",", ""))) == vector["padded"]


@given(st.integers(0, 2**20), st.integers(0, 2**20))
@many_examples
def test_padding_grows_slowly(one: int, other: int) -> None:
    """Never shorter, never 12 % longer, in order, and padding what is padded changes nothing."""
    padded = padded_length(one)
    assert max(one, 256) <= padded < max(one, 256) * 1.12
    assert padded_length(padded) == padded
    assert (one <= other) <= (padded <= padded_length(other))


def test_padding_tells_little() -> None:
    """All lengths of an envelope together are so few that a length says little of a text."""
    assert len({padded_length(size) for size in range(ENVELOPE_BYTES_MAX)}) < 200


# --- what works ----------------------------------------------------------------------------------


@given(st.binary(max_size=4_096))
def test_what_is_sealed_comes_out(body: bytes) -> None:
    """Also an empty body, and one that ends in zeros."""
    for tried in (body, body + b"\0"):
        envelope = seal(ALICE, BOB.peer_id, PREKEY.public, tried)
        assert len(envelope) == sealed_length(len(tried))
        assert unseal(BOB.peer_id, PREKEY.secret, envelope) == (ALICE.peer_id, tried)


def test_the_longest_text_fits() -> None:
    """With a kilobyte for what stands around it."""
    assert sealed_length(TEXT_BYTES_MAX + 1_024) <= ENVELOPE_BYTES_MAX
    size = max(
        size for size in range(ENVELOPE_BYTES_MAX) if sealed_length(size) <= ENVELOPE_BYTES_MAX
    )
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, bytes(size))
    assert unseal(BOB.peer_id, PREKEY.secret, envelope) == (ALICE.peer_id, bytes(size))
    with pytest.raises(AssertionError):
        seal(ALICE, BOB.peer_id, PREKEY.public, bytes(size + 1))


def test_two_envelopes_of_one_message_look_unlike() -> None:
    """Behind the head nothing tells that they are alike, and nothing tells who sent them."""
    one, other = (seal(ALICE, BOB.peer_id, PREKEY.public, BODY) for _ in range(2))
    assert one[:HEAD_BYTES] == other[:HEAD_BYTES]
    assert all(one[at : at + 16] not in other for at in range(HEAD_BYTES, len(one) - 16))
    assert ALICE.peer_id.value not in one


def test_prekeys_are_all_different() -> None:
    one, other = make_prekey(), make_prekey()
    assert (len(one.secret), len(one.public), len(one.prekey_id)) == (96, 1_216, 16)
    assert one.secret[:64] != other.secret[:64]
    assert one.secret[64:] != other.secret[64:]
    assert prekey_from_secret(one.secret) == one


# --- attacks -------------------------------------------------------------------------------------


def test_a_flip_anywhere() -> None:
    """Every byte of the head and of the tail, and every ninth between: nothing of it opens."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    tail = range(HEAD_BYTES + ENC_BYTES, len(envelope))
    places = [*range(HEAD_BYTES + 12), *range(HEAD_BYTES + 12, tail.start, 9), *tail]
    for at in places:
        changed = envelope[:at] + bytes([envelope[at] ^ 1 << at % 8]) + envelope[at + 1 :]
        expected = "wrong-magic" if at < 4 else "another-prekey" if at < 20 else "cannot-open"
        assert refusal(changed) == expected


def test_for_somebody_else() -> None:
    """The key of the recipient is bound to the seal, even when the prekey is the same."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    assert refusal(envelope, CAROL) == "cannot-open"


def test_an_erased_prekey() -> None:
    """With another secret it does not open, even if the head names that one."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    assert refusal(envelope, BOB, CAROLS_PREKEY.secret) == "another-prekey"
    renamed = envelope[:4] + CAROLS_PREKEY.prekey_id + envelope[HEAD_BYTES:]
    assert refusal(renamed, BOB, CAROLS_PREKEY.secret) == "cannot-open"


def test_forwarding_behind_the_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob opens alice's mail and seals it for carol, as if alice had written to her.

    Guards the recipient in the signed bytes of ``_read_inner``.
    """
    inner = opened(seal(ALICE, BOB.peer_id, PREKEY.public, BODY), BOB, PREKEY.secret)
    forwarded = sealed_by_hand(CAROL, CAROLS_PREKEY.public, inner, monkeypatch)
    assert refusal(forwarded, CAROL, CAROLS_PREKEY.secret) == "bad-signature"


def sealed_by_hand(
    recipient: Identity, public: bytes, inner: bytes, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    """Return ``inner`` sealed as ``seal`` would: the real code, with another inside."""

    class Suite:
        @staticmethod
        def encrypt(_: bytes, key: object, info: bytes) -> bytes:
            return real.encrypt(inner, key, info)

    real = seal_module._SUITE
    with monkeypatch.context() as patched:
        patched.setattr(seal_module, "_SUITE", Suite)
        return seal(CAROL, recipient.peer_id, public, b"")


def test_to_another_prekey_of_the_same_person() -> None:
    """The signature names the prekey: old mail cannot be sealed anew after its prekey is gone."""
    signed = info_of(BOB, CAROLS_PREKEY.prekey_id) + ALICE.peer_id.value + BODY
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    other = ALICE.sign(MAIL_KIND, signed)
    assert refusal(resealed(envelope, lambda x: x[:32] + other + x[96:])) == "bad-signature"


def test_a_swapped_sender() -> None:
    """Whoever knows the prekey can put a name in front, but not sign for it."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    carol = CAROL.peer_id.value
    assert refusal(resealed(envelope, lambda x: carol + x[32:])) == "bad-signature"
    nobody = b"\xff" * 32
    assert refusal(resealed(envelope, lambda x: nobody + x[32:])) == "bad-signature"


def test_a_signature_for_another_purpose() -> None:
    """What alice signed as a record is no mail."""
    signed = info_of(BOB, PREKEY.prekey_id) + ALICE.peer_id.value + BODY
    other = ALICE.sign("application/vnd.netchat.record.v1+json", signed)
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    assert refusal(resealed(envelope, lambda x: x[:32] + other + x[96:])) == "bad-signature"


def test_a_changed_body() -> None:
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    changed = resealed(envelope, lambda x: x[:100] + b"S" + x[101:])
    assert refusal(changed) == "bad-signature"


@pytest.mark.parametrize("at", [100 + len(BODY), 200, 255])
def test_padding_that_is_not_zero(at: int) -> None:
    """Guards the check of the padding: nobody signed it, so nothing may ride there."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    changed = resealed(envelope, lambda x: x[:at] + b"\1" + x[at + 1 :])
    assert refusal(changed) == "bad-padding"


@pytest.mark.parametrize("size", [0, len(BODY) - 1, len(BODY) + 1])
def test_a_length_that_moves_the_end(size: int) -> None:
    """Within the padding, so that only zeros or the signature can tell."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    changed = resealed(envelope, lambda x: x[:96] + size.to_bytes(4) + x[100:])
    assert refusal(changed) in ("bad-padding", "bad-signature")


@pytest.mark.parametrize("size", [157, 256, 2**31, 2**32 - 1])
def test_a_length_that_points_outside(size: int) -> None:
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    changed = resealed(envelope, lambda x: x[:96] + size.to_bytes(4) + x[100:])
    assert refusal(changed) == "bad-length"


def test_more_or_less_padding_than_belongs_there() -> None:
    """Guards the check of the length: one body has one length."""
    long = seal(ALICE, BOB.peer_id, PREKEY.public, bytes(1_000))
    short = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    for envelope, change in (
        (short, lambda x: x + b"\0"),
        (short, lambda x: x + bytes(padded_length(257) - 256)),
        (long, lambda x: x[:-1]),
    ):
        assert refusal(resealed(envelope, change)) == "bad-length"


def test_cut_or_prolonged() -> None:
    """At each place near an end, and with anything behind."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    for size in (0, 3, 4, 19, 20, 21, 1_139, 1_140, 1_155, 1_156, len(envelope) - 1):
        expected = "wrong-magic" if size < 4 else "truncated"
        assert refusal(envelope[:size]) == expected
        with pytest.raises(BadEnvelope, match=expected):
            prekey_id_of(envelope[:size])
    long = seal(ALICE, BOB.peer_id, PREKEY.public, bytes(1_000))
    assert refusal(long[:-1]) == "cannot-open"
    assert refusal(envelope + b"\0") == "cannot-open"
    assert refusal(envelope.ljust(ENVELOPE_BYTES_MAX, b"\0")) == "cannot-open"
    assert refusal(envelope.ljust(ENVELOPE_BYTES_MAX + 1, b"\0")) == "too-large"


@pytest.mark.parametrize("magic", [b"NCM0", b"NCM2", b"ncm1", b"\0\0\0\0"])
def test_another_magic(magic: bytes) -> None:
    """There is no other format, and none is guessed."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    assert refusal(magic + envelope[4:]) == "wrong-magic"


def test_keys_that_no_mail_can_be_encapsulated_with() -> None:
    """A point of low order as the sender's X25519 key is refused, not opened with zeros."""
    envelope = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)
    at = HEAD_BYTES + 1_088
    for point in (bytes(32), (1).to_bytes(32, "little")):
        assert refusal(envelope[:at] + point + envelope[at + 32 :]) == "cannot-open"


@pytest.mark.parametrize(
    "public",
    [
        b"",
        PREKEY.public[:-1],
        PREKEY.public + b"\0",
        PREKEY.public[:1_184],
        b"\xff" * 1_184 + PREKEY.public[1_184:],  # numbers that are out of range (FIPS 203, 7.2)
        PREKEY.public[:1_184] + bytes(32),  # a point of low order (RFC 7748 section 6.1)
    ],
)
def test_a_prekey_that_is_none(public: bytes) -> None:
    """A record may hold any bytes there; they are refused when mail is to be sealed."""
    with pytest.raises(BadEnvelope, match="bad-prekey"):
        seal(ALICE, BOB.peer_id, public, BODY)


@given(st.binary(max_size=3_000))
@many_examples
def test_bytes_that_are_no_envelope(data: bytes) -> None:
    assert refusal(data) in ("wrong-magic", "truncated")
    head = b"NCM1" + PREKEY.prekey_id
    assert refusal(head + data) in ("truncated", "cannot-open")


# --- hygiene -------------------------------------------------------------------------------------


def test_a_prekey_shows_no_secret() -> None:
    prekey = prekey_from_secret(bytes(range(96)))
    shown = f"{prekey!r} {prekey} {[prekey]}"
    assert repr(prekey.prekey_id) in shown
    for piece in (prekey.secret, prekey.secret[:64], prekey.secret[64:]):
        assert repr(piece)[2:-1] not in shown
        assert piece.hex() not in shown
    with pytest.raises(AssertionError) as caught:
        prekey_from_secret(prekey.secret[:-1])
    assert repr(prekey.secret[:-1]) not in str(caught.value)


def test_a_refusal_shows_no_secret() -> None:
    """The reason is a word; what the library said of it is not shown behind it."""
    with pytest.raises(BadEnvelope) as caught:
        unseal(BOB.peer_id, PREKEY.secret, bytes(2_000))
    assert caught.value.args == ("wrong-magic",)
    changed = seal(ALICE, BOB.peer_id, PREKEY.public, BODY)[:-1] + b"\0\0"
    with pytest.raises(BadEnvelope) as caught:
        unseal(BOB.peer_id, PREKEY.secret, changed)
    assert caught.value.__suppress_context__


def test_no_vector_is_a_key_of_anybody() -> None:
    """Every seed of the vectors is one of RFC 8032, so that nobody takes one of ours for secret."""
    rfc = {item["seed"] for item in load("identity.json")["ed25519"]}
    for item in load(FILE)["envelope"]:
        assert {item["sender_seed"], item["recipient_seed"]} <= rfc

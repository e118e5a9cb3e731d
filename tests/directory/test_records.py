"""Signed records and requests: who signed is known, and nothing else opens."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.directory.people import ALICE, BOB, MALLORY, record, signed
from tests.vectors import many_examples, outcome

from netchat.directory.records import open_record, open_request, sign_record, sign_request
from netchat.identity.keys import Identity
from netchat.model import PeerId, SignedRecord
from netchat.wire.records import (
    RECORD_KIND,
    REQUEST_KIND,
    Envelope,
    Request,
    format_envelope,
    format_record,
    format_request,
)

ID, OTHER_ID = bytes(16), bytes([1]) * 16
NONCE = b"once"
RECORD = record(ALICE, "alice")
ROTATION = sign_record(BOB, record(BOB, "alice"), old=ALICE)
REQUEST = sign_request(ALICE, "keep", ID, NONCE, {"name": "alice", "n": 1})


def envelope_of(payload: bytes, kind: str, *signers: Identity) -> bytes:
    """Return an envelope that each of ``signers`` signed."""
    signatures = tuple((one.peer_id, one.sign(kind, payload)) for one in signers)
    return format_envelope(Envelope(kind, payload, signatures))


def changed(envelope: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(envelope)
    change(value)
    return json.dumps(value).encode()


# --- records -------------------------------------------------------------------------------------


def test_a_record_comes_back() -> None:
    """With the bytes that were signed, as they came."""
    one = sign_record(ALICE, RECORD)
    assert one == SignedRecord(RECORD, one.envelope, None)
    assert open_record(one.envelope) == one


def test_a_rotation_tells_the_key_before() -> None:
    """In whichever order the two signatures stand."""
    assert ROTATION.rotated_from == ALICE.peer_id
    assert open_record(ROTATION.envelope) == ROTATION
    turned = changed(ROTATION.envelope, lambda value: value["signatures"].reverse())
    assert open_record(turned) == SignedRecord(ROTATION.record, turned, ALICE.peer_id)


def test_one_signature_on_a_rotation_missing() -> None:
    """Without that of the new key nobody proved to have it; without the old one it is a claim."""
    without_old = changed(ROTATION.envelope, lambda value: value["signatures"].pop(1))
    assert open_record(without_old).rotated_from is None
    without_new = changed(ROTATION.envelope, lambda value: value["signatures"].pop(0))
    assert outcome(lambda: open_record(without_new)) == "unsigned"


PAYLOAD = format_record(RECORD)
BAD_RECORDS = {
    "signed by another key only": (envelope_of(PAYLOAD, RECORD_KIND, MALLORY), "unsigned"),
    "signed twice by one key": (envelope_of(PAYLOAD, RECORD_KIND, ALICE, ALICE), "same-signer"),
    "signed as something else": (envelope_of(PAYLOAD, REQUEST_KIND, ALICE), "another-kind"),
    "a signature for another kind": (
        format_envelope(
            Envelope(RECORD_KIND, PAYLOAD, ((ALICE.peer_id, ALICE.sign(REQUEST_KIND, PAYLOAD)),))
        ),
        "bad-signature",
    ),
    "another's signature under this key": (
        format_envelope(
            Envelope(RECORD_KIND, PAYLOAD, ((ALICE.peer_id, BOB.sign(RECORD_KIND, PAYLOAD)),))
        ),
        "bad-signature",
    ),
    "a bad second signature": (
        format_envelope(
            Envelope(
                RECORD_KIND,
                PAYLOAD,
                (
                    (ALICE.peer_id, ALICE.sign(RECORD_KIND, PAYLOAD)),
                    (BOB.peer_id, bytes(64)),
                ),
            )
        ),
        "bad-signature",
    ),
    "no record inside": (envelope_of(b"{}", RECORD_KIND, ALICE), "malformed"),
    "no envelope": (b"{}", "malformed"),
}


@pytest.mark.parametrize(("envelope", "code"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_what_is_no_record_does_not_open(envelope: bytes, code: str) -> None:
    """Every signature counts, and each for what it was made."""
    assert outcome(lambda: open_record(envelope)) == code


ENVELOPE = sign_record(ALICE, RECORD).envelope


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
@many_examples
def test_no_byte_of_a_record_can_be_changed(at: int, by: int) -> None:
    """What still opens says the same, signed by the same key: the key ids are in its JSON."""
    data = bytearray(ENVELOPE)
    data[at] ^= by
    opened = outcome(lambda: open_record(bytes(data)))
    assert isinstance(opened, str)


def test_what_was_signed_cannot_be_changed() -> None:
    """A payload that says something else does not fit the signature."""

    def move(value: dict[str, Any]) -> None:
        payload = b64decode(value["payload"]).replace(b'"seq":1', b'"seq":2')
        value["payload"] = b64encode(payload).decode()

    assert outcome(lambda: open_record(changed(ENVELOPE, move))) == "bad-signature"


# --- requests ------------------------------------------------------------------------------------


def test_a_request_comes_back() -> None:
    """With who signed it."""
    assert open_request(REQUEST, "keep", ID) == (
        ALICE.peer_id,
        Request("keep", ID, NONCE, {"name": "alice", "n": 1}),
    )


ASKED = format_request(Request("keep", ID, NONCE, {}))
BAD_REQUESTS = {
    "for another directory": (sign_request(ALICE, "keep", OTHER_ID, NONCE, {}), "wrong-directory"),
    "of another operation": (sign_request(ALICE, "leave", ID, NONCE, {}), "another-operation"),
    "signed twice": (envelope_of(ASKED, REQUEST_KIND, ALICE, BOB), "one-signer"),
    "a record": (signed(ALICE, "alice").envelope, "another-kind"),
    "a record as a request": (envelope_of(PAYLOAD, REQUEST_KIND, ALICE), "malformed"),
    "a request signed as a record": (
        format_envelope(
            Envelope(REQUEST_KIND, ASKED, ((ALICE.peer_id, ALICE.sign(RECORD_KIND, ASKED)),))
        ),
        "bad-signature",
    ),
    "in another's name": (
        format_envelope(
            Envelope(REQUEST_KIND, ASKED, ((ALICE.peer_id, MALLORY.sign(REQUEST_KIND, ASKED)),))
        ),
        "bad-signature",
    ),
    "of a key that is none": (
        format_envelope(Envelope(REQUEST_KIND, ASKED, ((PeerId(b"\xff" * 32), bytes(64)),))),
        "bad-signature",
    ),
    "nothing": (b"", "malformed"),
}


@pytest.mark.parametrize(("body", "code"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_what_is_no_request_does_not_open(body: bytes, code: str) -> None:
    """It counts for one operation of one key at one directory."""
    assert outcome(lambda: open_request(body, "keep", ID)) == code

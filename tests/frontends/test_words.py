"""Every error, outcome and event has a sentence for people, and none of them passes on poison."""

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.frontends.hostile import HOSTILE, assert_harmless

import netchat
from netchat import api, errors
from netchat.errors import (
    AddressInUse,
    BadSignature,
    DirectoryInUse,
    DirectoryRefused,
    DirectoryUnreachable,
    IdentityLocked,
    IdentityUnreadable,
    InvalidAddress,
    InvalidKey,
    InvalidName,
    InvalidUrl,
    KeyMismatch,
    NetChatError,
    NoDirectoryHere,
    NoKey,
    ProfileInUse,
    RemoteError,
    StoreNewer,
    StoreUnavailable,
    TextTooLong,
    TrustError,
)
from netchat.frontends import words, words_trust
from netchat.identity import numbers
from netchat.limits import CLASSIC_SEND_BYTES_MAX, TEXT_BYTES_MAX
from netchat.model import (
    ClaimedName,
    DeleteOutcome,
    DisplayText,
    MessageId,
    Name,
    PeerId,
    TrustState,
)

SOURCE = Path(netchat.__file__).parent
URL = "http://192.0.2.7:7800"
BOB = Name("bob")


def classes_below(root: type[NetChatError]) -> Iterator[type[NetChatError]]:
    """Yield the classes that are really raised: those that have no class below them."""
    for cls in root.__subclasses__():
        if cls.__subclasses__():
            yield from classes_below(cls)
        else:
            yield cls


def reasons_given_to(*classes: str) -> list[str]:
    """Return the reason codes that the program makes such errors with, read from its source."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in classes:
                constants = [one for one in ast.walk(node) if isinstance(one, ast.Constant)]
                found |= {one.value for one in constants if is_code(one.value)}
    return sorted(found)


def is_code(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) > 2
        and set(value) <= set(string.ascii_lowercase + "-")
    )


# What happened, why, and what to do next: words of each part that have to be there.
SENTENCES: dict[str, tuple[NetChatError, list[str]]] = {
    "no name": (InvalidName("b@b"), ["b@b", "is not a name", "letters, digits"]),
    "reserved": (InvalidName("user", reserved=True), ["user", "is reserved", "choose another"]),
    "address": (
        InvalidAddress("bob:1", "not-an-ip-address"),
        ["bob:1", "must be an IP address", "like 192.0.2.7"],
    ),
    "url": (InvalidUrl("ftp://x"), ["ftp://x", "is not the address", "write http://HOST:PORT"]),
    "key": (InvalidKey("k?y"), ["k?y", "is not a key", "copy it whole"]),
    "too long": (
        TextTooLong(1_030, CLASSIC_SEND_BYTES_MAX),
        ["too long", "with your name", "1,030 bytes", "a classic client reads 1,024", "in parts"],
    ),
    "too long for all": (
        TextTooLong(65_537, TEXT_BYTES_MAX),
        ["too long", "65,537 bytes", "NetChat reads 65,536", "in parts"],
    ),
    "directory in use": (
        DirectoryInUse("/home/a/directory.db"),
        ["Another netchat serve uses /home/a/directory.db", "stop that one", "--data"],
    ),
    "plain text": (
        TrustError("bob"),
        ["bob has a key", "nothing goes in plain text", 'TRUST bob "forget"'],
    ),
    "no new key": (NoKey("bob", is_new=True), ["No new key", "bob", "nothing to decide"]),
    "no key": (NoKey("bob"), ["no key of bob", "none has come", "TRUST bob"]),
    "mismatch": (
        KeyMismatch("bob"),
        ["key of bob", "somebody else", "copy it again", "send nothing"],
    ),
    "locked": (
        IdentityLocked("/home/a/id", "passphrase-needed"),
        ["/home/a/id", "stays locked", "has a passphrase", "NETCHAT_PASSPHRASE"],
    ),
    "identity": (
        IdentityUnreadable("/home/a/id", "open-to-others"),
        ["/home/a/id", "cannot be used", "others may read", "chmod 600"],
    ),
    "signature": (BadSignature(), ["signature does not fit", "not used", "damaged", "forged"]),
    "in use": (
        AddressInUse("127.0.0.1:80", "in-use"),
        ["Cannot listen on 127.0.0.1:80", "another program", "choose another port"],
    ),
    "profile": (
        ProfileInUse("/home/a/profile", 4711),
        ["/home/a/profile", "in use", "process 4711", "leave that one first"],
    ),
    "no directory": (
        NoDirectoryHere("/home/a/directory"),
        ["no directory in /home/a/directory", "--data", "netchat serve"],
    ),
    "unreachable": (
        DirectoryUnreachable(URL, "no-connection"),
        [URL, "nothing listens there", "netchat serve"],
    ),
    "refused": (DirectoryRefused(URL, "Go away.", 409), [URL, "refused", "409", "Go away."]),
    "name refused": (
        DirectoryRefused(URL, "Another key holds the name bob.", 409, "name-held"),
        [URL, "holds the name bob. Choose another name", "netchat serve release"],
    ),
    "disk": (
        StoreUnavailable("disk I/O error"),
        ["The disk does not take it", "disk I/O error", "check free space"],
    ),
    "newer": (
        StoreNewer("/home/a/history.db", 3, 1),
        ["/home/a/history.db", "newer NetChat", "schema 3", "update NetChat"],
    ),
}


@pytest.mark.parametrize(("error", "parts"), SENTENCES.values(), ids=SENTENCES)
def test_a_sentence_says_what_why_and_what_next(error: NetChatError, parts: list[str]) -> None:
    sentence = words.sentence(error)
    assert [part for part in parts if part not in sentence] == []
    assert "\n" not in sentence
    assert error.code not in sentence


def test_every_error_has_a_sentence() -> None:
    """Those of strangers share one, which tells the reason."""
    strangers = {one for one in classes_below(RemoteError) if one is not BadSignature}
    with_sentence = {type(error) for error, _ in SENTENCES.values()}
    raised = {*classes_below(NetChatError), TrustError}  # this one by itself, too
    assert raised - strangers == with_sentence
    for cls in strangers:
        assert words.sentence(cls("no-colon")) == (
            "What came over the network is not what it has to be (no-colon) and was not used; ask"
            " who sent it to update NetChat."
        )


# The codes are looked for in the source, so that a new one without a sentence is noticed.
ADDRESS_REASONS = reasons_given_to("InvalidAddress")
DIRECTORY_REASONS = reasons_given_to("DirectoryUnreachable")
IN_USE_REASONS = ["in-use", "not-permitted", "not-here", "failed"]
SEND_REASONS = [
    *reasons_given_to("HandOverError"),
    *("interrupted", "expired", "store-unavailable", "cancelled", "classic-not-allowed"),
    *("key-changed", "too-long", "deleted", "withdrawn", "forgotten"),
]
LOCKED_REASONS = ["passphrase-needed", "wrong-passphrase", "no-terminal"]
IDENTITY_REASONS = [
    *("damaged", "not-ed25519", "too-many-rounds", "open-to-others", "in-use", "exists"),
    "missing",
]


def test_the_reasons_were_found() -> None:
    assert {"not-host-port", "no-such-port"} <= set(ADDRESS_REASONS)
    assert {"timeout", "port-taken", "no-connection"} <= set(DIRECTORY_REASONS)
    assert {"reset", "timeout", "broken"} <= set(SEND_REASONS)
    assert set(reasons_given_to("IdentityLocked")) <= set(LOCKED_REASONS)
    assert set(reasons_given_to("IdentityUnreadable")) <= set(IDENTITY_REASONS)


@pytest.mark.parametrize(
    "error",
    [
        *(InvalidAddress("192.0.2.7:1", reason) for reason in ADDRESS_REASONS),
        *(AddressInUse("192.0.2.7:1", reason) for reason in IN_USE_REASONS),
        *(DirectoryUnreachable(URL, reason) for reason in DIRECTORY_REASONS),
        *(IdentityLocked("/p", reason) for reason in LOCKED_REASONS),
        *(IdentityUnreadable("/p", reason) for reason in IDENTITY_REASONS),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.reason}",
)
def test_every_reason_is_explained(
    error: InvalidAddress | AddressInUse | DirectoryUnreachable | errors.IdentityError,
) -> None:
    sentence = words.sentence(error)
    _, _, why = sentence.partition(": ")
    assert why.endswith(".")
    assert error.reason + "." != why
    assert ";" in why or ", like " in why or "number from" in why  # what to do next


@pytest.mark.parametrize("reason", SEND_REASONS)
def test_every_reason_of_a_failed_send_is_explained(reason: str) -> None:
    assert words.send_reason(BOB, reason) != words.send_reason(BOB, None)


@pytest.mark.parametrize("reason", ["", None, "no-such-code"])
def test_a_reason_without_words_still_makes_a_sentence(reason: str | None) -> None:
    assert words.send_reason(BOB, reason) == "the message could not be sent"


def test_what_may_or_may_not_have_happened_is_said_so() -> None:
    """After the first byte nobody knows, so no sentence may promise either (classic.md)."""
    for reason in ("timeout", "broken", "interrupted"):
        assert "may or may not" in words.send_reason(BOB, reason)
    note = words.delete_note(BOB, DeleteOutcome.UNKNOWN)
    assert note is not None
    assert "may or may not" in note


@pytest.mark.parametrize("outcome", DeleteOutcome)
def test_every_outcome_of_a_delete(outcome: DeleteOutcome) -> None:
    note = words.delete_note(BOB, outcome)
    silent = (
        DeleteOutcome.NOTHING,
        DeleteOutcome.CANCELLED,
        DeleteOutcome.APPLIED,
        DeleteOutcome.SENT,
    )
    assert (note is None) is (outcome in silent)
    if note is not None:
        assert note.startswith("netchat: ")
        assert note.endswith(".")


@pytest.mark.parametrize(
    ("outcome", "note"),
    [
        (
            DeleteOutcome.QUEUED,
            "netchat: deleted here; bob is not reachable and is told as soon as possible.",
        ),
        (
            DeleteOutcome.KEPT,
            "netchat: deleted here; there it is marked as deleted, but bob keeps the text of such"
            " messages.",
        ),
        (
            DeleteOutcome.REFUSED,
            "netchat: deleted here; bob does not delete it, so there it stays as it was.",
        ),
        (
            DeleteOutcome.EXPIRED,
            "netchat: deleted here; bob was not reachable in time, so it is not deleted there.",
        ),
        (
            DeleteOutcome.LOCAL,
            "netchat: deleted here; bob was not told, because it is not known whether the message"
            " arrived.",
        ),
    ],
)
def test_what_is_added_to_a_delete(outcome: DeleteOutcome, note: str) -> None:
    assert words.delete_note(BOB, outcome) == note


def test_the_text_of_a_key_is_the_one_that_is_read() -> None:
    """The faces write it and ``identity`` reads it; this test keeps the two together."""
    key = PeerId(bytes(range(32)))
    assert words_trust.contact_text(BOB, key) == numbers.contact_text(BOB, key)


@pytest.mark.parametrize("state", TrustState)
def test_every_state_of_trust_has_words(state: TrustState) -> None:
    (line,) = words_trust.held_of(api.Person(name=BOB, state=state))
    assert line.startswith("Trust in bob: ")
    assert not line.endswith(state.value) or state is TrustState.VERIFIED


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("0.0.0.0", "listening on http://0.0.0.0:7800"),
        ("::", "listening on http://[::]:7800"),
    ],
)
def test_where_the_directory_listens(host: str, line: str) -> None:
    assert words.listening(host, 7800) == line


# --- poison --------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", HOSTILE)
def test_no_sentence_passes_poison_on(raw: str) -> None:
    found: list[NetChatError] = [
        InvalidName(raw),
        InvalidName(raw, reserved=True),
        InvalidAddress(raw, "not-host-port"),
        InvalidAddress(raw, raw),
        InvalidUrl(raw),
        AddressInUse(raw, "in-use"),
        AddressInUse(raw, raw),
        ProfileInUse(raw, 4711),
        DirectoryUnreachable(raw, "timeout"),
        DirectoryUnreachable(raw, raw),
        DirectoryRefused(raw, raw, 500),
        StoreUnavailable(raw),
        StoreNewer(raw, 2, 1),
        InvalidKey(raw),
        NoKey(raw),
        KeyMismatch(raw),
        IdentityLocked(raw, "wrong-passphrase"),
        IdentityLocked(raw, raw),
        IdentityUnreadable(raw, "damaged"),
        IdentityUnreadable(raw, raw),
        errors.MalformedFrame(raw),
        errors.MalformedRecord(raw),
        errors.BadEnvelope(raw),
        errors.MalformedMessage(raw),
        errors.MalformedBody(raw),
    ]
    for error in found:
        assert_harmless(words.sentence(error))
    assert_harmless(words.send_reason(BOB, raw))
    assert_harmless(words.usage(raw, "netchat"))
    assert_harmless(words.system_failed(OSError(28, raw)))
    assert_harmless(words_trust.released(raw))
    assert_harmless(words_trust.nothing_to_release(raw))
    assert_harmless(words_trust.exported(Path(raw), is_locked=True))
    assert_harmless(words_trust.ask_for_passphrase(raw, "passphrase-needed"))
    assert_harmless(words_trust.ask_for_passphrase(raw, raw))
    assert_harmless(words_trust.ask_for_new_passphrase(raw))


@pytest.mark.parametrize(
    ("count", "words_of_it"),
    [
        (1, "a message of bob"),
        (10_000, "10000 messages of bob"),
        (10_001, "many messages of bob"),
        (2**53, "many messages of bob"),
    ],
)
def test_how_many_messages_never_came_is_said_up_to_a_bound(count: int, words_of_it: str) -> None:
    """Their author says so, and may say anything."""
    assert f"netchat: {words_of_it} never came" in str(
        words.event_note(api.MessagesMissing(BOB, count))
    )


@pytest.mark.parametrize("raw", HOSTILE)
def test_no_note_passes_poison_on(raw: str) -> None:
    events: list[api.Event] = [
        api.Registered(raw, raw, hosted=True, again=False),
        api.Registered(raw, raw, hosted=False, again=True),
        api.DirectoryLost(raw),
        api.NameMoved(raw),
        api.DeleteIgnored(BOB, raw, "other-source"),
        api.DeleteIgnored(BOB, raw, raw),
        api.MessageDeleted(MessageId(bytes(16)), BOB),
        api.QueuedMessagesEnded(BOB, (MessageId(bytes(16)),), api.SendOutcome.FAILED, raw),
        api.QueuedMessagesEnded(BOB, (MessageId(bytes(16)),), api.SendOutcome.QUEUED, raw),
        api.MessagesMissing(BOB, 2),
        api.MessagesHeld(BOB, 2),
        api.KeyChanged(BOB, True, "1", "2"),
        api.KeyRotated(BOB),
        api.RecordSuspicious(BOB, raw),
        api.DeleteIgnored(ClaimedName(BOB), raw, "other-source"),
        api.MessageReceived(MessageId(bytes(16)), ClaimedName(BOB), DisplayText(raw), True),
        api.EventsMissed(1),
    ]
    for event in events:
        for line in (words.event_note(event) or "").split("\n"):  # of our own making
            assert_harmless(line)


@pytest.mark.parametrize(
    ("count", "outcome", "words_of_it"),
    [
        (1, api.SendOutcome.DELIVERED, "the message to bob that waited here was delivered."),
        (51, api.SendOutcome.DELIVERED, "51 messages to bob that waited here were delivered."),
        (2, api.SendOutcome.STORED, "lie sealed in the mailbox of bob now."),
        (2, api.SendOutcome.QUEUED, "2 messages to bob that waited here still wait: "),
        (2, api.SendOutcome.FAILED, "2 messages to bob that waited here were not sent: "),
    ],
)
def test_many_messages_are_one_sentence(
    count: int, outcome: api.SendOutcome, words_of_it: str
) -> None:
    event = api.QueuedMessagesEnded(BOB, (MessageId(bytes(16)),) * count, outcome, "key-changed")
    assert words_of_it in str(words.event_note(event))

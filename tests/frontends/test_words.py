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
    DirectoryRefused,
    DirectoryUnreachable,
    InvalidAddress,
    InvalidName,
    InvalidUrl,
    NameHeld,
    NetChatError,
    ProfileInUse,
    StoreNewer,
    StoreUnavailable,
    TextTooLong,
)
from netchat.frontends import words
from netchat.model import DeleteOutcome, MessageId, Name

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
    "too long": (TextTooLong(1_030, 1_024), ["too long", "1,030 bytes", "1,024", "in parts"]),
    "in use": (
        AddressInUse("127.0.0.1:80", "in-use"),
        ["Cannot listen on 127.0.0.1:80", "another program", "choose another port"],
    ),
    "profile": (
        ProfileInUse("/home/a/profile", 4711),
        ["/home/a/profile", "in use", "process 4711", "leave that one first"],
    ),
    "unreachable": (
        DirectoryUnreachable(URL, "no-connection"),
        [URL, "nothing listens there", "netchat serve"],
    ),
    "refused": (DirectoryRefused(URL, "Go away.", 409), [URL, "refused", "409", "Go away."]),
    "disk": (
        StoreUnavailable("disk I/O error"),
        ["The disk does not take it", "disk I/O error", "check free space"],
    ),
    "newer": (
        StoreNewer("/home/a/history.db", 3, 1),
        ["/home/a/history.db", "newer NetChat", "schema 3", "update NetChat"],
    ),
    "held": (NameHeld("bob"), ["name bob", "key", "choose another"]),
}


@pytest.mark.parametrize(("error", "parts"), SENTENCES.values(), ids=SENTENCES)
def test_a_sentence_says_what_why_and_what_next(error: NetChatError, parts: list[str]) -> None:
    sentence = words.sentence(error)
    assert [part for part in parts if part not in sentence] == []
    assert "\n" not in sentence
    assert error.code not in sentence


def test_every_error_has_a_sentence() -> None:
    """Those of strangers stay below: a face is told that a message arrived, or nothing."""
    with_sentence = {type(error) for error, _ in SENTENCES.values()}
    strangers = {errors.MalformedMessage, errors.MalformedBody}
    assert set(classes_below(NetChatError)) - strangers == with_sentence


# The codes are looked for in the source, so that a new one without a sentence is noticed.
ADDRESS_REASONS = reasons_given_to("InvalidAddress")
DIRECTORY_REASONS = reasons_given_to("DirectoryUnreachable")
IN_USE_REASONS = ["in-use", "not-permitted", "not-here", "failed"]
SEND_REASONS = [*reasons_given_to("HandOverError"), "interrupted", "expired", "store-unavailable"]


def test_the_reasons_were_found() -> None:
    assert {"not-host-port", "no-such-port"} <= set(ADDRESS_REASONS)
    assert {"timeout", "port-taken", "no-connection"} <= set(DIRECTORY_REASONS)
    assert {"reset", "timeout", "broken"} <= set(SEND_REASONS)


@pytest.mark.parametrize(
    "error",
    [
        *(InvalidAddress("192.0.2.7:1", reason) for reason in ADDRESS_REASONS),
        *(AddressInUse("192.0.2.7:1", reason) for reason in IN_USE_REASONS),
        *(DirectoryUnreachable(URL, reason) for reason in DIRECTORY_REASONS),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.reason}",
)
def test_every_reason_is_explained(
    error: InvalidAddress | AddressInUse | DirectoryUnreachable,
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
    silent = (DeleteOutcome.NOTHING, DeleteOutcome.CANCELLED, DeleteOutcome.SENT)
    assert (note is None) is (outcome in silent)
    if note is not None:
        assert note.startswith("netchat: ")
        assert note.endswith(".")


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
        NameHeld(raw),
        errors.MalformedMessage(raw),
        errors.MalformedBody(raw),
    ]
    for error in found:
        assert_harmless(words.sentence(error))
    assert_harmless(words.send_reason(BOB, raw))
    assert_harmless(words.usage(raw, "netchat"))
    assert_harmless(words.system_failed(OSError(28, raw)))


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
        api.QueuedMessageEnded(api.Sent(BOB, api.SendOutcome.FAILED, None, raw)),
        api.EventsMissed(1),
    ]
    for event in events:
        assert_harmless(words.event_note(event) or "")

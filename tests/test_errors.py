"""The exception tree: that it is the one its docstring draws, and that codes tell errors apart."""

import inspect
import re

import pytest

from netchat import errors
from netchat.errors import (
    AddressInUse,
    BadEnvelope,
    BadSignature,
    DirectoryError,
    DirectoryInUse,
    DirectoryRefused,
    DirectoryUnreachable,
    IdentityError,
    IdentityLocked,
    IdentityUnreadable,
    InvalidAddress,
    InvalidKey,
    InvalidName,
    InvalidUrl,
    KeyMismatch,
    LocalError,
    MalformedBody,
    MalformedFrame,
    MalformedMessage,
    MalformedRecord,
    NetChatError,
    NoDirectoryHere,
    NoKey,
    ProfileInUse,
    RemoteError,
    StoreError,
    StoreNewer,
    StoreUnavailable,
    TextTooLong,
    TrustError,
)

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
]

SHARED_ON_PURPOSE: dict[type[NetChatError], type[NetChatError]] = {
    MalformedMessage: RemoteError,  # the reason, which the vectors list, tells more
    MalformedBody: RemoteError,
    MalformedFrame: RemoteError,
    MalformedRecord: RemoteError,
    BadSignature: RemoteError,
    BadEnvelope: RemoteError,
}
"""Classes without a code of their own, and whose they take."""

EXAMPLES: list[tuple[NetChatError, dict[str, object]]] = [
    (NetChatError("why"), {}),
    (LocalError("why"), {}),
    (InvalidName("b/b"), {"text": "b/b", "reserved": False}),
    (InvalidName("user", reserved=True), {"text": "user", "reserved": True}),
    (InvalidAddress("x:1", "not-ipv4"), {"text": "x:1", "reason": "not-ipv4"}),
    (InvalidKey("x"), {"text": "x"}),
    (InvalidUrl("ftp://x"), {"url": "ftp://x"}),
    (TextTooLong(1_025, 1_024), {"size": 1_025, "size_max": 1_024}),
    (AddressInUse("[::]:80", "in-use"), {"address": "[::]:80", "reason": "in-use"}),
    (ProfileInUse("/p", 7), {"path": "/p", "pid": 7}),
    (RemoteError("malformed"), {"reason": "malformed"}),
    (MalformedMessage("empty"), {"reason": "empty"}),
    (MalformedBody("bad-name"), {"reason": "bad-name"}),
    (MalformedFrame("too-large"), {"reason": "too-large"}),
    (MalformedRecord("bad-key"), {"reason": "bad-key"}),
    (BadSignature(), {"reason": "bad-signature"}),
    (BadEnvelope("cannot-open"), {"reason": "cannot-open"}),
    (DirectoryInUse("/p"), {"path": "/p"}),
    (NoDirectoryHere("/p"), {"path": "/p"}),
    (TrustError("bob"), {"name": "bob"}),
    (NoKey("bob"), {"name": "bob", "is_new": False}),
    (KeyMismatch("bob"), {"name": "bob"}),
    (IdentityError("/p", "why"), {"path": "/p", "reason": "why"}),
    (IdentityLocked("/p", "no-terminal"), {"path": "/p", "reason": "no-terminal"}),
    (IdentityUnreadable("/p", "damaged"), {"path": "/p", "reason": "damaged"}),
    (DirectoryError("http://x", "why"), {"url": "http://x", "reason": "why"}),
    (DirectoryUnreachable("http://x", "timeout"), {"url": "http://x", "reason": "timeout"}),
    (
        DirectoryRefused("http://x", "no", 409),
        {"url": "http://x", "reason": "no", "status": 409, "refusal": ""},
    ),
    (StoreError("why"), {}),
    (StoreUnavailable("disk full"), {}),
    (StoreNewer("/p", 3, 2), {"path": "/p", "found": 3, "known": 2}),
]


def drawn_tree() -> dict[str, str | None]:
    """Return the classes that the docstring draws, each with the one it hangs from."""
    assert errors.__doc__ is not None
    parents: dict[str, str | None] = {}
    branch: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ((?:│   |    )*(?:├── |└── )?)([A-Z]\w+)(?:  |$)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        branch[depth:] = [match[2]]
        parents[match[2]] = branch[depth - 1] if depth else None
    return parents


def test_the_tree_is_the_one_in_the_docstring() -> None:
    """Who reads the docstring knows every error there is, and what catches it."""
    real = {
        kind.__name__: None if kind is NetChatError else kind.__bases__[0].__name__
        for kind in CLASSES
    }
    assert drawn_tree() == real
    assert all(len(kind.__bases__) == 1 for kind in CLASSES)


def test_each_code_belongs_to_one_class() -> None:
    """A script can tell errors apart by their codes; where two share one, that is on purpose."""
    owners: dict[str, type[NetChatError]] = {}
    for kind in CLASSES:
        if "code" not in vars(kind):
            assert kind.code == SHARED_ON_PURPOSE[kind].code
            continue
        assert kind not in SHARED_ON_PURPOSE
        assert kind.code not in owners, (kind, owners)
        owners[kind.code] = kind
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in owners)


def test_every_class_says_what_it_means() -> None:
    """Each class has a docstring of its own."""
    assert all(vars(kind)["__doc__"] for kind in CLASSES)


@pytest.mark.parametrize(("error", "fields"), EXAMPLES, ids=[repr(error) for error, _ in EXAMPLES])
def test_an_error_carries_its_fields(error: NetChatError, fields: dict[str, object]) -> None:
    """What a sentence for people needs is in fields, and in the plain text for a log."""
    assert vars(error) == fields
    assert str(error) != ""


def test_every_class_has_an_example() -> None:
    """The table above leaves no class out."""
    assert {type(error) for error, _ in EXAMPLES} == set(CLASSES)

"""Every word of the classic prompt, byte for byte, on a node that does what it is told."""

import asyncio
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.frontends.faces import Face, seen, typed
from tests.frontends.fake_node import FakeNode

from netchat import api
from netchat.api import MessageReceived, Registered, SendOutcome
from netchat.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    InvalidAddress,
    NetChatError,
    StoreUnavailable,
    TextTooLong,
)
from netchat.frontends import commands, words, words_trust
from netchat.frontends.prompt import LineSplitter
from netchat.limits import (
    CLASSIC_SEND_BYTES_MAX,
    LINE_BYTES_MAX,
    RECIPIENTS_MAX,
    TEXT_BYTES_MAX,
)
from netchat.model import (
    ClaimedName,
    Contact,
    DeleteOutcome,
    DisplayText,
    MessageId,
    MessageState,
    Name,
)

URL = "http://192.0.2.7:7800"
UNREACHABLE = DirectoryUnreachable(URL, "timeout")
NOT_REACHED = words.sentence(UNREACHABLE)
DISK = StoreUnavailable("disk I/O error")
AN_ID = MessageId(bytes(16))
HI = DisplayText("hi")


# --- the start -----------------------------------------------------------------------------------


def test_the_start_registers_and_fetches_the_list() -> None:
    face = Face(FakeNode(people=["alice", "bob"]))
    assert asyncio.run(face.session.start())
    assert face.facts == [">>User registered in server!"]
    assert face.notes == []
    assert face.session.known_names == ("alice", "bob")
    assert not face.session.failed
    assert face.session.not_registered is None


def test_leave_to_send_plain_text_is_told_at_the_start() -> None:
    face = Face(FakeNode(), allow_classic=True)
    assert asyncio.run(face.session.start())
    assert face.facts == [">>User registered in server!"]
    assert face.notes == [
        "netchat: plain text is allowed: what goes to classic clients can be read by anybody on the"
        " network."
    ]


def test_a_list_that_fails_at_the_start_is_no_matter() -> None:
    face = Face(FakeNode(errors={"names": UNREACHABLE}))
    assert asyncio.run(face.session.start())
    assert face.facts == [">>User registered in server!"]
    assert not face.session.failed


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (UNREACHABLE, True),
        (DirectoryRefused(URL, "This name is registered already.", 409), False),
        (InvalidAddress("[::1]:4000", "not-ipv4"), False),
    ],
)
def test_a_registration_that_fails_says_why(error: NetChatError, goes_on: bool) -> None:
    face = Face(FakeNode(errors={"register": error}))
    assert asyncio.run(face.session.start()) is goes_on
    assert face.facts == [f">>Registration failed! {words.sentence(error)}"]
    assert face.session.failed
    assert face.session.not_registered is error


def test_a_registration_may_succeed_later() -> None:
    async def be_registered_later(face: Face) -> None:
        assert await face.session.start()
        assert face.session.not_registered is UNREACHABLE
        for again in (False, True):
            node.tell(Registered(URL, "192.0.2.8:4000", hosted=False, again=again))

    node = FakeNode(errors={"register": UNREACHABLE})
    face = seen(node, be_registered_later)
    assert face.facts == [f">>Registration failed! {NOT_REACHED}", ">>User registered in server!"]
    assert face.notes[0] == words.KEEPS_TRYING
    assert len(face.notes) == 2
    assert face.session.not_registered is None
    assert face.session.failed


def test_what_waits_is_told_at_the_start() -> None:
    """A message that has not left is still here, and it is said for whom."""

    async def begin(face: Face) -> None:
        assert await face.session.start()

    node = FakeNode()
    node.waits_for = (Name("bob"), Name("Carol"))
    face = seen(node, begin)
    assert face.notes == [words.still_waiting([Name("bob"), Name("Carol")])]


# --- events --------------------------------------------------------------------------------------


def test_arrivals_are_facts_in_their_order() -> None:
    async def receive(_face: Face) -> None:
        for name in ("bob", "Carol", "bob"):
            node.tell(MessageReceived(AN_ID, Name(name), HI))

    node = FakeNode()
    face = seen(node, receive)
    assert face.facts == [f">>You have a message from {name}" for name in ("bob", "Carol", "bob")]
    assert face.notes == []


def test_a_message_under_a_claimed_name() -> None:
    async def receive(_face: Face) -> None:
        node.tell(MessageReceived(AN_ID, ClaimedName(Name("bob")), HI, unverified=True))

    node = FakeNode()
    face = seen(node, receive)
    assert face.facts == [">>You have a message from ~bob"]
    assert face.notes == [
        "netchat: ~bob is whoever wrote in plain text under the name bob, without the key of bob:"
        " anybody could have written it; ask bob by SEND."
    ]


def test_plain_text_is_marked_once_for_each_sender() -> None:
    bob, carol = Name("bob"), Name("carol")
    senders: list[Contact] = [bob, bob, Name("BOB"), ClaimedName(bob), carol, ClaimedName(bob), bob]

    async def receive(_face: Face) -> None:
        for sender in senders:
            node.tell(MessageReceived(AN_ID, sender, HI, unverified=True))
        node.tell(MessageReceived(AN_ID, Name("dave"), HI))

    node = FakeNode()
    face = seen(node, receive)
    assert len(face.facts) == len(senders) + 1
    assert face.notes == [
        "netchat: what comes from bob comes in plain text: anybody could have written it, and"
        " anybody on the network can read it.",
        words_trust.unverified(ClaimedName(bob)),
        words_trust.unverified(carol),
    ]


# One line for each number, so that they can be compared at a glance.
CHANGED_NOTE = """\
netchat: WARNING: another key came under the name bob{}. A new device, or somebody else; nothing \
is sent there or taken from there until you decide.
netchat: safety number of the known key: 11111 22222
netchat: safety number of the new key:   33333 44444
netchat: compare the new number with bob, in person or by phone. If it is the same there: \
TRUST bob "accept"; if not: TRUST bob "refuse"."""


@pytest.mark.parametrize(
    ("was_verified", "known"), [(True, ", which you had verified"), (False, "")]
)
def test_a_changed_key(was_verified: bool, known: str) -> None:
    async def change(_face: Face) -> None:
        node.tell(api.KeyChanged(Name("bob"), was_verified, "11111 22222", "33333 44444"))

    node = FakeNode()
    face = seen(node, change)
    assert face.facts == []
    assert face.notes == [CHANGED_NOTE.format(known)]


NOTES = {
    "hosts": (Registered(URL, "127.0.0.1:4000", hosted=True, again=False), ["hosts", URL]),
    "hosts now": (Registered(URL, "127.0.0.1:4000", hosted=True, again=True), ["hosts", URL]),
    "again": (Registered(URL, "192.0.2.8:4000", hosted=False, again=True), ["again", URL]),
    "lost": (api.DirectoryLost(URL), ["does not answer", URL]),
    "moved": (api.NameMoved(URL), ["your name", "another address", "back"]),
    "ignored": (
        api.DeleteIgnored(Name("bob"), "192.0.2.9", "other-source"),
        ["from bob", "192.0.2.9", "stays"],
    ),
    "sent late": (
        api.QueuedMessagesEnded(Name("bob"), (AN_ID,), SendOutcome.SENT),
        ["bob", "was sent"],
    ),
    "delivered late": (
        api.QueuedMessagesEnded(Name("bob"), (AN_ID,), SendOutcome.DELIVERED),
        ["to bob", "was delivered"],
    ),
    "stored late": (
        api.QueuedMessagesEnded(Name("bob"), (AN_ID,), SendOutcome.STORED),
        ["to bob", "lies sealed in the mailbox of bob"],
    ),
    "held up": (
        api.QueuedMessagesEnded(Name("bob"), (AN_ID,), SendOutcome.QUEUED, "key-changed"),
        ["to bob", "still waits: another key", "TRUST bob"],
    ),
    "not allowed late": (
        api.QueuedMessagesEnded(Name("bob"), (AN_ID,), SendOutcome.FAILED, "classic-not-allowed"),
        ["to bob", "was not sent", "--classic"],
    ),
    "failed late": (
        api.QueuedMessagesEnded(Name("bob"), (AN_ID,), SendOutcome.FAILED, "expired"),
        ["bob", "was not sent", "30 days"],
    ),
    "deleted late": (
        api.QueuedDeleteEnded(Name("bob"), DeleteOutcome.EXPIRED),
        ["bob", "not deleted there"],
    ),
    "kept late": (
        api.QueuedDeleteEnded(Name("bob"), DeleteOutcome.KEPT),
        ["bob", "keeps the text"],
    ),
    "refused late": (
        api.QueuedDeleteEnded(Name("bob"), DeleteOutcome.REFUSED),
        ["bob", "does not delete it"],
    ),
    "one missing": (api.MessagesMissing(Name("bob"), 1), ["a message of bob never came", "again"]),
    "missing": (api.MessagesMissing(Name("bob"), 3), ["3 messages of bob never came", "ask bob"]),
    "key changed": (
        api.KeyChanged(Name("bob"), True, "11111", "22222"),
        ["bob", "verified", "11111", "22222", 'TRUST bob "accept"'],
    ),
    "rotated": (api.KeyRotated(Name("bob")), ["bob has a new key", "signed", "VERIFY bob"]),
    "rollback": (
        api.RecordSuspicious(Name("bob"), "rollback"),
        ["record of bob", "older", "not used", "ask"],
    ),
    "equivocation": (
        api.RecordSuspicious(Name("bob"), "equivocation"),
        ["record of bob", "same number", "not used", "ask"],
    ),
    "suspicious": (api.RecordSuspicious(Name("bob"), "odd"), ["record of bob", "odd", "not used"]),
    "one held": (api.MessagesHeld(Name("bob"), 1), ["a message", "bob waits", "TRUST bob"]),
    "held": (api.MessagesHeld(Name("bob"), 2), ["2 messages", "bob wait ", "TRUST bob"]),
    "missed": (api.EventsMissed(12), ["12 ", "READ"]),
}


@pytest.mark.parametrize(("event", "parts"), NOTES.values(), ids=NOTES)
def test_what_else_happens_is_a_note(event: api.Event, parts: list[str]) -> None:
    async def happen(_face: Face) -> None:
        node.tell(event)

    node = FakeNode()
    face = seen(node, happen)
    assert face.facts == []
    assert len(face.notes) == 1
    assert face.notes[0].startswith("netchat: ")
    assert [part for part in parts if part not in face.notes[0]] == []


def test_every_kind_of_event_is_tried() -> None:
    tried = {type(event) for event, _ in NOTES.values()} | {MessageReceived, api.MessageDeleted}
    assert tried == set(get_args(api.Event))


@pytest.mark.parametrize(
    "event",
    [
        Registered(URL, "192.0.2.8:4000", hosted=False, again=False),
        api.MessageDeleted(AN_ID, Name("bob")),
        api.DeleteIgnored(Name("bob"), "192.0.2.9", "nothing-to-delete"),
    ],
)
def test_what_is_as_expected_is_not_mentioned(event: api.Event) -> None:
    async def happen(_face: Face) -> None:
        node.tell(event)

    node = FakeNode()
    face = seen(node, happen)
    assert face.facts == face.notes == []


# --- LIST ----------------------------------------------------------------------------------------


def test_list() -> None:
    face = typed(FakeNode(people=["alice", "bob", "carol"]), "LIST", "  LIST  ")
    assert face.facts == [">>[alice, bob, carol]"] * 2
    assert face.session.known_names == ("alice", "bob", "carol")
    assert not face.session.failed


def test_an_empty_list() -> None:
    assert typed(FakeNode(), "LIST").facts == [">>[]"]


def test_list_fails() -> None:
    face = typed(FakeNode(errors={"names": UNREACHABLE}), "LIST")
    assert face.facts == [f">>Failed to get user list! {NOT_REACHED}"]
    assert face.session.failed


# --- SEND ----------------------------------------------------------------------------------------

BOB = "bob"
SENDS = {
    "delivered": (SendOutcome.DELIVERED, ">>Message sent!", True),
    "stored": (SendOutcome.STORED, ">>Message sent!", True),
    "sent": (SendOutcome.SENT, ">>Message sent!", True),
    "queued": (SendOutcome.QUEUED, ">>Message queued: bob is not reachable", True),
    "nobody": (SendOutcome.NO_SUCH_PERSON, ">>User not found!", False),
    "reset": (
        (SendOutcome.FAILED, "reset"),
        f">>Failed to send message: {words.send_reason(Name(BOB), 'reset')}",
        False,
    ),
    "broken": (
        (SendOutcome.FAILED, "broken"),
        f">>Failed to send message: {words.send_reason(Name(BOB), 'broken')}",
        False,
    ),
    "classic": (
        (SendOutcome.FAILED, "classic-not-allowed"),
        ">>Failed to send message: bob uses classic NetChat, which is not encrypted;"
        ' to allow it: TRUST bob "classic", or start with --classic for everybody',
        False,
    ),
}


@pytest.mark.parametrize(("outcome", "line", "succeeds"), SENDS.values(), ids=SENDS)
def test_send(outcome: SendOutcome, line: str, succeeds: bool) -> None:
    node = FakeNode(outcomes={BOB: outcome})
    face = typed(node, 'SEND bob "hello there"')
    assert face.facts == [line]
    assert face.notes == []
    assert face.session.failed is not succeeds
    assert node.sends == [(("bob",), "hello there")]


@pytest.mark.parametrize(
    ("reason", "notes"),
    [
        (
            "key-changed",
            [
                "netchat: another key came under the name bob, so nothing is sent there until you"
                " decide; see both with: TRUST bob"
            ],
        ),
        (
            "classic-not-allowed",
            [
                "netchat: bob uses classic NetChat now, which is not encrypted, so nothing is sent"
                ' there; to allow it: TRUST bob "classic"'
            ],
        ),
        ("not-registered", []),
    ],
)
@pytest.mark.parametrize("line", ['SEND bob "x"', 'SEND_MULTI [bob] "x"'])
def test_a_send_that_waits_for_a_decision(line: str, reason: str, notes: list[str]) -> None:
    node = FakeNode(outcomes={BOB: (SendOutcome.QUEUED, reason)})
    face = typed(node, line)
    assert face.facts == [">>Message queued: bob is not reachable"]
    assert face.notes == notes
    assert not face.session.failed


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('SEND bob "he said "no" twice"', 'he said "no" twice'),
        ('SEND bob """', '"'),
        ('SEND bob " "', " "),
        ('  SEND   bob    "x"  ', "x"),
        ('SEND bob "größe ☕ 你好"', "größe ☕ 你好"),
        ('SEND bob "SEND carol "y""', 'SEND carol "y"'),
        ('SEND bob "two\nlines"', "two\nlines"),
    ],
)
def test_the_text_is_between_the_first_and_the_last_quote(line: str, text: str) -> None:
    node = FakeNode()
    assert typed(node, line).facts == [">>Message sent!"]
    assert node.sends == [(("bob",), text)]


def test_a_send_to_what_is_no_name_finds_nobody() -> None:
    node = FakeNode()
    assert typed(node, 'SEND b@b "x"', 'SEND user "x"').facts == [">>User not found!"] * 2
    assert node.sends == []


@pytest.mark.parametrize(
    "error",
    [TextTooLong(1_030, CLASSIC_SEND_BYTES_MAX), TextTooLong(65_537, TEXT_BYTES_MAX), DISK],
)
@pytest.mark.parametrize("line", ['SEND bob "x"', 'SEND_MULTI [bob, carol] "x"'])
def test_a_send_that_cannot_begin_says_why(error: NetChatError, line: str) -> None:
    face = typed(FakeNode(errors={"send": error}), line)
    assert face.facts == [f">>Failed to send message: {words.sentence(error)}"]
    assert face.notes == []
    assert face.session.failed


# --- SEND_MULTI ----------------------------------------------------------------------------------

QUEUED, NOBODY = SendOutcome.QUEUED, SendOutcome.NO_SUCH_PERSON
RESET = (SendOutcome.FAILED, "reset")
MISSING = ">> Error: Message cannot be sent to {}, user does not exist"
MIXES = {
    "all sent": ("bob,carol", {}, [">>Message sent!"]),
    "spaces": ("  bob ,  carol ", {}, [">>Message sent!"]),
    "one": ("bob", {}, [">>Message sent!"]),
    "one unknown": ("bob, dave", {"dave": NOBODY}, [">>Message sent!", MISSING.format("dave")]),
    "all unknown": (
        "dave, erin",
        {"dave": NOBODY, "erin": NOBODY},
        [MISSING.format("dave, erin")],
    ),
    "no names": ("d@ve, er in, user", {}, [MISSING.format("d@ve, er in, user")]),
    "unknown and no name": (
        "d@ve, erin, bob, d@ve",
        {"erin": NOBODY},
        [">>Message sent!", MISSING.format("erin, d@ve")],
    ),
    "each in its way": (
        "bob, carol, dave",
        {"bob": SendOutcome.STORED, "carol": SendOutcome.SENT},
        [">>Message sent!"],
    ),
    "classic not allowed": (
        "bob, carol",
        {"carol": (SendOutcome.FAILED, "classic-not-allowed")},
        [
            ">>Message sent!",
            ">>Failed to send message: carol uses classic NetChat, which is not encrypted;"
            ' to allow it: TRUST carol "classic", or start with --classic for everybody',
        ],
    ),
    "one queued": ("bob", {"bob": QUEUED}, [">>Message queued: bob is not reachable"]),
    "two queued": (
        "bob, carol",
        {"bob": QUEUED, "carol": QUEUED},
        [">>Message queued: bob, carol are not reachable"],
    ),
    "everything": (
        "bob, carol, dave, erin, frank",
        {"carol": QUEUED, "dave": NOBODY, "erin": RESET, "frank": RESET},
        [
            ">>Message sent!",
            ">>Message queued: carol is not reachable",
            f">>Failed to send message: {words.send_reason(Name('erin'), 'reset')}",
            f">>Failed to send message: {words.send_reason(Name('frank'), 'reset')}",
            MISSING.format("dave"),
        ],
    ),
}


@pytest.mark.parametrize(("to", "outcomes", "lines"), MIXES.values(), ids=MIXES)
def test_send_multi(to: str, outcomes: dict[str, SendOutcome], lines: list[str]) -> None:
    face = typed(FakeNode(outcomes=outcomes), f'SEND_MULTI [{to}] "hello both"')
    assert face.facts == lines
    assert face.session.failed is any("Error" in line or "Failed" in line for line in lines)


def test_send_multi_asks_once_for_all() -> None:
    node = FakeNode()
    typed(node, 'SEND_MULTI [bob, d@ve, Carol, BOB] "x"', 'SEND_MULTI [d@ve] "x"')
    assert node.sends == [(("bob", "Carol"), "x")]


def test_send_multi_has_a_limit() -> None:
    node = FakeNode()
    names = [f"n{number}" for number in range(RECIPIENTS_MAX)]
    line = 'SEND_MULTI [{}] "x"'
    face = typed(node, line.format(",".join(names)), line.format(",".join([*names, "one-more"])))
    assert face.facts == [">>Message sent!", ">>Invalid SEND_MULTI command!"]
    assert len(node.sends[0][0]) == RECIPIENTS_MAX


# --- READ ----------------------------------------------------------------------------------------


def test_read() -> None:
    node = FakeNode()
    node.add("bob", "hi alice")
    node.add("bob", "hello there", own=True)
    node.add("carol", "elsewhere")
    node.add("bob", None)
    node.add("bob", None, own=True)
    face = typed(node, "READ bob", "READ BOB", "READ carol")
    conversation = [">>hi alice - bob", ">>hello there - user", ">>Deleted - bob"]
    conversation.append(">>Deleted - user")
    assert face.facts == [*conversation, *conversation, ">>elsewhere - carol"]
    assert not face.session.failed


def test_read_tells_what_the_other_side_does_not_have() -> None:
    """The lines are the classic ones, so it is said behind them; what was deleted is no matter."""
    node = FakeNode()
    for state in MessageState:
        if state is not MessageState.RECEIVED:
            node.add("bob", state.value, own=True, state=state)
    node.add("bob", None, own=True, state=MessageState.QUEUED)
    node.add("bob", "hi alice")
    face = typed(node, "READ bob")
    assert face.notes == [
        "netchat: not confirmed of what you wrote: 1 waiting here, 1 sealed in the mailbox of bob,"
        " 1 failed, and may or may not have arrived, 2 that will not go."
    ]


def test_read_of_who_only_claims_a_name() -> None:
    node = FakeNode()
    node.add("bob", "hi alice")
    node.add("~bob", "hi")
    node.add("~bob", None)
    face = typed(node, "READ ~bob", "READ ~BOB", "READ bob")
    assert face.facts == [*[">>hi - ~bob", ">>Deleted - ~bob"] * 2, ">>hi alice - bob"]


@pytest.mark.parametrize("line", ["READ bob", "READ ~bob", "READ b@b", "READ user"])
def test_read_of_nothing(line: str) -> None:
    face = typed(FakeNode(), line)
    assert face.facts == [">>No messages found!"]
    assert not face.session.failed


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_read_goes_through_the_pages(count: int) -> None:
    node = FakeNode(page_size=2)
    for number in range(count):
        node.add("bob", f"{number}")
        node.add("carol", "between")
    face = typed(node, "READ bob")
    assert face.facts == [f">>{number} - bob" for number in range(count)]
    marks = [(one.hlc, one.message_id) for one in node.conversations[Name("bob")]]
    last_of_pages = [*marks[1::2], *marks[-1:]] if count % 2 else marks[1::2]
    assert node.reads == [("bob", after) for after in [None, *last_of_pages]]


# --- DELETE --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [one for one in DeleteOutcome if one.value != "nothing"])
def test_delete_shows_the_conversation(outcome: DeleteOutcome) -> None:
    node = FakeNode(deletes=outcome)
    node.add("bob", None, own=True)
    node.add("bob", "hi alice")
    face = typed(node, "DELETE bob")
    assert face.facts == [">>Deleted - user", ">>hi alice - bob"]
    done_on_both_sides = outcome in (
        DeleteOutcome.APPLIED,
        DeleteOutcome.SENT,
        DeleteOutcome.CANCELLED,
    )
    assert len(face.notes) == (0 if done_on_both_sides else 1)
    assert all(note.startswith("netchat: ") and "bob" in note for note in face.notes)
    assert node.deletes == ["bob"]
    assert not face.session.failed


@pytest.mark.parametrize("line", ["DELETE bob", "DELETE b@b"])
def test_delete_of_nothing(line: str) -> None:
    face = typed(FakeNode(deletes=DeleteOutcome.NOTHING), line)
    assert face.facts == [">>No messages to delete!"]
    assert not face.session.failed


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("conversation", "READ bob"),
        ("delete_newest", "DELETE bob"),
        ("person", "VERIFY bob"),
        ("verify", 'VERIFY bob "1"'),
        ("person", "TRUST bob"),
        ("trust", 'TRUST bob "accept"'),
    ],
)
def test_a_disk_that_fails_is_not_called_a_failed_send(method: str, line: str) -> None:
    face = typed(FakeNode(errors={method: DISK}), line)
    assert face.facts == []
    assert face.notes == [f"netchat: {words.sentence(DISK)}"]
    assert face.session.failed


# --- whatever else is typed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("SEND", "SEND"),
        ("SEND bob", "SEND"),
        ("SEND bob hello", "SEND"),
        ('SEND bob ""', "SEND"),
        ('SEND bob "hello', "SEND"),
        ('SEND "hello"', "SEND"),
        ('SEND bob "hello" there', "SEND"),
        ("SEND_MULTI", "SEND_MULTI"),
        ("SEND_MULTI [bob]", "SEND_MULTI"),
        ('SEND_MULTI [] "x"', "SEND_MULTI"),
        ('SEND_MULTI [bob,,carol] "x"', "SEND_MULTI"),
        ('SEND_MULTI [bob,] "x"', "SEND_MULTI"),
        ('SEND_MULTI bob "x"', "SEND_MULTI"),
        ('SEND_MULTI [bob "x"', "SEND_MULTI"),
        ('SEND_MULTI [bob] ""', "SEND_MULTI"),
        ("LIST now", "LIST"),
        ("READ", "READ"),
        ("READ bob carol", "READ"),
        ("DELETE", "DELETE"),
        ("DELETE bob 2", "DELETE"),
        ("VERIFY", "VERIFY"),
        ("VERIFY bob 12345", "VERIFY"),
        ("TRUST bob accept", "TRUST"),
        ('TRUST bob "perhaps"', "TRUST"),
        ("WHOAMI now", "WHOAMI"),
        ("HELP me", "HELP"),
        ("EXIT now", "EXIT"),
    ],
)
def test_a_command_that_is_not_as_it_should_be(line: str, verb: str) -> None:
    node = FakeNode()
    face = typed(node, line)
    assert face.facts == [f">>Invalid {verb} command!"]
    assert face.session.failed
    assert node.sends == node.reads == node.deletes == []
    assert node.proofs == node.decisions == []


@pytest.mark.parametrize("line", ["FOO", "list", "LISTS", '"hello"', "LIST\nLIST", "~!\x00"])
def test_an_unknown_command(line: str) -> None:
    face = typed(FakeNode(), line)
    assert face.facts == [">>Unknown command!"]
    assert face.session.failed


@pytest.mark.parametrize("line", ["", "   ", "\r", "\t"])
def test_an_empty_line_is_nothing(line: str) -> None:
    face = typed(FakeNode(), line)
    assert face.facts == face.notes == []
    assert not face.session.failed


def test_help_names_every_command() -> None:
    face = typed(FakeNode(), "HELP")
    lines = face.facts[0].split("\n")
    assert list(dict.fromkeys(line.split(" ")[0] for line in lines)) == list(commands.VERBS)
    assert not face.session.failed


@pytest.mark.parametrize("line", ["EXIT", "  EXIT  ", "EXIT\r"])
def test_exit_ends_the_session_without_a_word(line: str) -> None:
    face = Face(FakeNode())
    assert not asyncio.run(face.session.execute(line))
    assert face.facts == face.notes == []
    assert not face.session.failed


def test_a_line_that_is_too_long_is_no_command() -> None:
    node = FakeNode()
    most = LINE_BYTES_MAX - len('SEND bob ""')
    face = typed(node, f'SEND bob "{"x" * most}"', f'SEND bob "{"x" * (most + 1)}"')
    assert face.facts == [">>Message sent!", ">>Unknown command!"]
    assert len(node.sends) == 1


def test_one_failure_is_enough_for_the_exit_status() -> None:
    face = typed(FakeNode(people=["alice"]), "LIST", "FOO", "LIST")
    assert face.session.failed
    assert face.session.not_registered is None


@given(st.text() | st.from_regex(r"(SEND|SEND_MULTI|READ|VERIFY|TRUST) [\[\]\" ,~a-z]*\"?"))
def test_no_line_stops_a_session(line: str) -> None:
    face = Face(FakeNode(outcomes={"a": SendOutcome.QUEUED}))
    asyncio.run(face.session.execute(line))
    assert all(fact.startswith(">>") or fact == words.HELP for fact in face.facts)


# --- Tab -----------------------------------------------------------------------------------------

PEOPLE = ("alice", "bob", "Bonnie", "carol")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", (0, commands.VERBS)),
        ("S", (1, ("SEND", "SEND_MULTI"))),
        ("re", (2, ("READ",))),
        ("X", (1, ())),
        ("SEND ", (0, PEOPLE)),
        ("SEND bo", (2, ("bob", "Bonnie"))),
        ("READ BO", (2, ("bob", "Bonnie"))),
        ("DELETE c", (1, ("carol",))),
        ("SEND bob ", (0, ())),
        ('SEND bob "a', (0, ())),
        ("SEND_MULTI ", (0, ("[",))),
        ("SEND_MULTI [", (0, PEOPLE)),
        ("SEND_MULTI [a", (1, ("alice",))),
        ("SEND_MULTI [alice, b", (1, ("bob", "Bonnie"))),
        ("SEND_MULTI [alice,b", (1, ("bob", "Bonnie"))),
        ("SEND_MULTI [alice, bob] ", (0, ())),
        ("LIST ", (0, ())),
        ("FOO b", (0, ())),
    ],
)
def test_completions(line: str, found: tuple[int, tuple[str, ...]]) -> None:
    assert commands.completions(line, PEOPLE) == found


def test_names_for_tab_stay_when_the_directory_goes() -> None:
    node = FakeNode(people=["alice", "bob"])
    face = typed(node, "LIST")
    node.errors["names"] = UNREACHABLE
    assert asyncio.run(face.session.fetch_names()) == ("alice", "bob")


# --- lines out of bytes --------------------------------------------------------------------------


def split(pieces: list[bytes]) -> list[bytes]:
    """Feed ``pieces`` to a splitter, and return every line, the one without an end last."""
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return [*lines, splitter.rest()]


@given(st.lists(st.binary(max_size=30)), st.data())
def test_lines_do_not_depend_on_how_they_come(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert split(pieces) == whole.split(b"\n")


def test_lines_one_byte_at_a_time() -> None:
    whole = 'LIST\nSEND bob "größe ☕"\n\nEXIT'.encode()
    assert split([bytes([byte]) for byte in whole]) == whole.split(b"\n")


def test_a_line_without_an_end_is_kept_for_the_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"LI") == []
    assert splitter.feed(b"ST") == []
    assert splitter.rest() == b"LIST"
    assert splitter.rest() == b""


@pytest.mark.parametrize("piece", [1_000, 65_536, 3 * LINE_BYTES_MAX])
def test_of_an_endless_line_only_so_much_is_kept_as_to_refuse_it(piece: int) -> None:
    data = b"SEND bob " + b"x" * (3 * LINE_BYTES_MAX) + b"\nLIST\n"
    lines = split([data[start : start + piece] for start in range(0, len(data), piece)])
    assert [len(line) for line in lines] == [LINE_BYTES_MAX + 1, len("LIST"), 0]
    assert commands.parse(lines[0].decode()) == commands.Unknown()
    assert lines[1] == b"LIST"

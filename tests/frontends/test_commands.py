"""The grammar of the prompt: classic.md, "The prompt", line by line, and any line at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import many_examples

from netchat.api import TrustDecision
from netchat.frontends.commands import (
    VERBS,
    Command,
    Delete,
    Exit,
    Help,
    Invalid,
    List,
    Nothing,
    Read,
    Send,
    SendMulti,
    Trust,
    Unknown,
    Verify,
    WhoAmI,
    completions,
    parse,
)
from netchat.limits import LINE_BYTES_MAX, RECIPIENTS_MAX
from netchat.model import ClaimedName, Name

ALICE, BOB, CAROL = Name("alice"), Name("bob"), Name("carol")

CASES: list[tuple[str, Command]] = [
    # nothing, and what is no command
    ("", Nothing()),
    ("   \t ", Nothing()),
    ("\n", Nothing()),
    ("HELLO", Unknown()),
    ("list", Unknown()),
    ("SENDbob", Unknown()),
    ('SEND\tbob "hi"', Unknown()),
    ('SEND_MULTI[bob] "hi"', Unknown()),
    # commands that stand alone
    ("LIST", List()),
    ("  LIST  \r\n", List()),
    ("LIST all", Invalid("LIST")),
    ("HELP", Help()),
    ("HELP me", Invalid("HELP")),
    ("EXIT", Exit()),
    ("EXIT now", Invalid("EXIT")),
    # SEND
    ('SEND bob "hello there"', Send(BOB, "hello there")),
    ('SEND   bob   "hello"', Send(BOB, "hello")),
    ('SEND bob\t"hello"\n', Send(BOB, "hello")),
    ('SEND BOB "hello"', Send(Name("BOB"), "hello")),
    ('SEND bob "he said "no" twice"', Send(BOB, 'he said "no" twice')),
    ('SEND bob """', Send(BOB, '"')),
    ('SEND bob " "', Send(BOB, " ")),
    ('SEND bob "  kept  "', Send(BOB, "  kept  ")),
    ('SEND bob "one\ntwo"', Send(BOB, "one\ntwo")),
    ('SEND bob "größe ☕"', Send(BOB, "größe ☕")),
    ('SEND b/b "hello"', Send(None, "hello")),
    ('SEND user "hello"', Send(None, "hello")),
    ('SEND [bob,carol] "hello"', Send(None, "hello")),
    ('SEND "bob" "hello"', Send(None, "hello")),
    ("SEND", Invalid("SEND")),
    ("SEND bob", Invalid("SEND")),
    ("SEND bob hello", Invalid("SEND")),
    ('SEND bob ""', Invalid("SEND")),
    ('SEND bob "', Invalid("SEND")),
    ('SEND bob "hello', Invalid("SEND")),
    ('SEND bob hello"', Invalid("SEND")),
    ('SEND bob "hello" there', Invalid("SEND")),
    ('SEND bob carol "hello"', Invalid("SEND")),
    ('SEND bob"hello"', Invalid("SEND")),
    ('SEND "hello"', Invalid("SEND")),
    ("SEND bob 'hello'", Invalid("SEND")),
    # SEND_MULTI
    ('SEND_MULTI [bob,carol] "hello both"', SendMulti((BOB, CAROL), (), "hello both")),
    ('SEND_MULTI [ bob , carol ] "hello"', SendMulti((BOB, CAROL), (), "hello")),
    ('SEND_MULTI [bob]"hello"', SendMulti((BOB,), (), "hello")),
    ('SEND_MULTI [bob,BOB,carol,bob] "hello"', SendMulti((BOB, CAROL), (), "hello")),
    ('SEND_MULTI [b/b,bob,b/b,user] "hello"', SendMulti((BOB,), ("b/b", "user"), "hello")),
    ('SEND_MULTI [a b] "hello"', SendMulti((), ("a b",), "hello")),
    ('SEND_MULTI [bob] "a "b" ] c"', SendMulti((BOB,), (), 'a "b" ] c')),
    ("SEND_MULTI", Invalid("SEND_MULTI")),
    ('SEND_MULTI bob "hello"', Invalid("SEND_MULTI")),
    ('SEND_MULTI [] "hello"', Invalid("SEND_MULTI")),
    ('SEND_MULTI [bob,] "hello"', Invalid("SEND_MULTI")),
    ('SEND_MULTI [bob,,carol] "hello"', Invalid("SEND_MULTI")),
    ('SEND_MULTI [b"b] "hello"', Invalid("SEND_MULTI")),
    ('SEND_MULTI [bob "hello"', Invalid("SEND_MULTI")),
    ('SEND_MULTI [bob] ""', Invalid("SEND_MULTI")),
    ("SEND_MULTI [bob] hello", Invalid("SEND_MULTI")),
    ("SEND_MULTI [bob]", Invalid("SEND_MULTI")),
    # READ and DELETE
    ("READ bob", Read(BOB)),
    ("READ   bob  ", Read(BOB)),
    ("READ b/b", Read(None)),
    ("READ user", Read(None)),
    ("READ", Invalid("READ")),
    ("READ bob carol", Invalid("READ")),
    ("DELETE bob", Delete(BOB)),
    ("DELETE b/b", Delete(None)),
    ("DELETE", Invalid("DELETE")),
    ("DELETE bob carol", Invalid("DELETE")),
    # who only claims a name has a conversation, and nothing else
    ("READ ~bob", Read(ClaimedName(BOB))),
    ("READ ~b/b", Read(None)),
    ("READ ~~bob", Read(None)),
    ("READ ~", Read(None)),
    ("READ ~ bob", Invalid("READ")),
    ('SEND ~bob "hi"', Send(None, "hi")),
    ("DELETE ~bob", Delete(None)),
    ("VERIFY ~bob", Verify(None, None)),
    ("TRUST ~bob", Trust(None, None)),
    # VERIFY, TRUST and WHOAMI
    ("VERIFY bob", Verify(BOB, None)),
    ("VERIFY  bob \n", Verify(BOB, None)),
    ('VERIFY bob "12345 67890"', Verify(BOB, "12345 67890")),
    ('VERIFY bob\t"netchat:1:bob:KEY"', Verify(BOB, "netchat:1:bob:KEY")),
    ('VERIFY bob "a "b" c"', Verify(BOB, 'a "b" c')),
    ("VERIFY b/b", Verify(None, None)),
    ('VERIFY b/b "1"', Verify(None, "1")),
    ('VERIFY "bob"', Verify(None, None)),
    ("VERIFY", Invalid("VERIFY")),
    ('VERIFY bob ""', Invalid("VERIFY")),
    ('VERIFY bob "', Invalid("VERIFY")),
    ("VERIFY bob 12345", Invalid("VERIFY")),
    ('VERIFY bob "12345" 67890', Invalid("VERIFY")),
    ("TRUST bob", Trust(BOB, None)),
    ('TRUST bob "accept"', Trust(BOB, TrustDecision.ACCEPT)),
    ('TRUST bob "refuse"', Trust(BOB, TrustDecision.REFUSE)),
    ('TRUST bob "classic"', Trust(BOB, TrustDecision.ALLOW_CLASSIC)),
    ('  TRUST   bob   "forget"  ', Trust(BOB, TrustDecision.FORGET)),
    ('TRUST b/b "accept"', Trust(None, TrustDecision.ACCEPT)),
    ("TRUST b/b", Trust(None, None)),
    ("TRUST", Invalid("TRUST")),
    ("TRUST bob accept", Invalid("TRUST")),
    ('TRUST bob "ACCEPT"', Invalid("TRUST")),
    ('TRUST bob "accept "', Invalid("TRUST")),
    ('TRUST bob "accepted"', Invalid("TRUST")),
    ('TRUST bob ""', Invalid("TRUST")),
    ('TRUST bob "accept" "refuse"', Invalid("TRUST")),
    ("WHOAMI", WhoAmI()),
    ("WHOAMI now", Invalid("WHOAMI")),
]


@pytest.mark.parametrize(("line", "command"), CASES, ids=[repr(line) for line, _ in CASES])
def test_line(line: str, command: Command) -> None:
    """A line means what the table says."""
    assert parse(line) == command


def test_names_keep_their_letters() -> None:
    """A name goes to the directory as it was typed; only comparing ignores case."""
    command = parse('SEND BoB "hi"')
    assert isinstance(command, Send)
    assert str(command.to) == "BoB"


def test_as_many_recipients_as_a_lecture_hall() -> None:
    """A list of the longest kind is taken, and one more is not."""
    names = [f"user-{number}" for number in range(RECIPIENTS_MAX + 1)]
    command = parse(f'SEND_MULTI [{",".join(names[:-1])}] "hi"')
    assert isinstance(command, SendMulti)
    assert [str(name) for name in command.to] == names[:-1]
    assert parse(f'SEND_MULTI [{",".join(names)}] "hi"') == Invalid("SEND_MULTI")


@pytest.mark.parametrize(("char", "size"), [("x", 1), ("é", 2), ("\ud800", 1)])
def test_the_longest_line(char: str, size: int) -> None:
    """The limit counts bytes; a longer line is no command, whatever it begins with."""
    head, tail = 'SEND bob "', '"'
    room = LINE_BYTES_MAX - len(head) - len(tail)
    text = char * (room // size) + "x" * (room % size)
    assert parse(f"{head}{text}{tail}") == Send(BOB, text)
    assert parse(f"{head}{text}x{tail}") == Unknown()


# --- any line ------------------------------------------------------------------------------------

PARTS = [
    *VERBS,
    " ",
    "  ",
    "\t",
    '"',
    '""',
    "[",
    "]",
    ",",
    "bob",
    "carol",
    "user",
    "~bob",
    "b/b",
    "accept",
    "12345 67890",
    "hi",
    "é",
]
near_lines = st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=10).map("".join)


@given(near_lines | st.text(max_size=60))
@many_examples
def test_any_line_is_a_command(line: str) -> None:
    """A line never raises, names its own command when that is invalid, and sends no empty text."""
    command = parse(line)
    match command:
        case Invalid(verb):
            assert verb in VERBS
            assert line.strip().startswith(verb)
        case Send(_, text):
            assert text
            assert f'"{text}"' in line
        case SendMulti(to, unknown, text):
            assert text
            assert len(set(to)) == len(to)
            assert len(set(unknown)) == len(unknown)
            assert to or unknown
        case Verify(_, proof) if proof is not None:
            assert proof
            assert f'"{proof}"' in line
        case Trust(_, decision) if decision is not None:
            assert f'"{decision.value}"' in line
        case Nothing():
            assert not line.strip()
        case _:
            assert isinstance(command, Command)


@given(vectors.names, st.text(min_size=1, max_size=100))
@many_examples
def test_a_text_is_sent_as_it_was_typed(name: Name, text: str) -> None:
    """Whatever stands between the first and the last quote reaches the peer unchanged."""
    assert parse(f'SEND {name} "{text}"\n') == Send(name, text)


@given(st.lists(vectors.names, min_size=1, max_size=5), st.text(min_size=1, max_size=100))
@many_examples
def test_a_text_to_several_is_sent_as_it_was_typed(names: list[Name], text: str) -> None:
    """The order of the recipients stays, and each is named once."""
    typed = " , ".join(map(str, names))
    assert parse(f'SEND_MULTI [{typed}] "{text}"') == SendMulti(
        tuple(dict.fromkeys(names)), (), text
    )


@given(vectors.names, st.text(min_size=1, max_size=100))
@many_examples
def test_a_proof_is_handed_on_as_it_was_typed(name: Name, proof: str) -> None:
    """What was compared is judged by the node, not by the grammar: nothing is cut or mended."""
    assert parse(f'VERIFY {name} "{proof}"\n') == Verify(name, proof)


@given(vectors.names, st.text(max_size=20) | st.sampled_from([one.value for one in TrustDecision]))
@many_examples
def test_only_a_decision_decides(name: Name, typed: str) -> None:
    """A misspelt decision is none: what was meant is not guessed."""
    known = {one.value: one for one in TrustDecision}
    decided = Trust(name, known[typed]) if typed in known else Invalid("TRUST")
    assert parse(f'TRUST {name} "{typed}"') == decided


@given(vectors.names)
@many_examples
def test_whoever_claims_a_name_is_read_apart(name: Name) -> None:
    """``~bob`` is never bob."""
    assert parse(f"READ ~{name}") == Read(ClaimedName(name))
    assert parse(f"READ {name}") == Read(name)


# --- Tab -----------------------------------------------------------------------------------------

NAMES = ("alice", "Bob", "bea", "carol")


@pytest.mark.parametrize(
    ("line", "replaced", "found"),
    [
        ("", 0, VERBS),
        ("S", 1, ("SEND", "SEND_MULTI")),
        ("  se", 2, ("SEND", "SEND_MULTI")),
        ("SEND", 4, ("SEND", "SEND_MULTI")),
        ("x", 1, ()),
        ("SEND ", 0, NAMES),
        ("SEND b", 1, ("Bob", "bea")),
        ("READ  BE", 2, ("bea",)),
        ("DELETE zz", 2, ()),
        ("SEND bob ", 0, ()),
        ('SEND bob "b', 0, ()),
        ("LIST ", 0, ()),
        ("EXIT b", 0, ()),
        ("SEND_MULTI ", 0, ("[",)),
        ("SEND_MULTI b", 0, ()),
        ("SEND_MULTI [", 0, NAMES),
        ("SEND_MULTI [ b", 1, ("Bob", "bea")),
        ("SEND_MULTI [bob,", 0, NAMES),
        ("SEND_MULTI [bob,  c", 1, ("carol",)),
        ("SEND_MULTI [bob] ", 0, ()),
        ('SEND_MULTI [bob] "[c', 0, ()),
        ("VERIFY b", 1, ("Bob", "bea")),
        ("TRUST car", 3, ("carol",)),
        ("READ ~", 1, ("~alice", "~Bob", "~bea", "~carol")),
        ("READ ~bo", 3, ("~Bob",)),
        ("VERIFY ~bo", 3, ()),
        ("VERIFY bob ", 0, ()),
        ("TRUST bob ", 0, ('"accept"', '"refuse"', '"classic"', '"forget"')),
        ('TRUST  bob  "', 1, ('"accept"', '"refuse"', '"classic"', '"forget"')),
        ('TRUST bob "f', 2, ('"forget"',)),
        ('TRUST bob "x', 2, ()),
        ('TRUST bob "forget" ', 0, ()),
        ("WHOAMI ", 0, ()),
    ],
)
def test_tab(line: str, replaced: int, found: tuple[str, ...]) -> None:
    """Tab offers the commands first, then names where a name belongs."""
    assert completions(line, NAMES) == (replaced, found)


@given(near_lines)
@many_examples
def test_tab_on_any_line(line: str) -> None:
    """Tab never raises and never reaches in front of the line; what it gives begins as typed."""
    replaced, found = completions(line, NAMES)
    assert 0 <= replaced <= len(line)
    begun = line[len(line) - replaced :]
    if begun.isascii():
        assert all(one.lower().startswith(begun.lower()) for one in found)

"""The real `netchat chat` against classic clients, classic directories, and itself.

Every line on stdout is accounted for: `expect` and `ask` take lines one after another, and
`leave` fails when anything was printed besides them.
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT, read_to_end, wait_until_closed, write
from tests.interop.classic_server import ClassicServer, Request
from tests.interop.people import AnyDirectory, StartChat, StartClassic
from tests.interop.processes import (
    ALLOW_CLASSIC,
    REGISTERED,
    Directory,
    Program,
    has_ipv6_loopback,
    start_chat,
)

pytestmark = pytest.mark.slow

FROM_ALICE = ">>You have a message from alice"
FROM_BOB = ">>You have a message from bob"
FROM_CAROL = ">>You have a message from carol"
PROMPT = "Waiting for a command (to exit write EXIT): "
SENT = ">>Message sent!"
NEEDS_CLASSIC = (
    ">>Failed to send message: bob uses classic NetChat, which is not encrypted;"
    ' to allow it: TRUST bob "classic", or start with --classic for everybody'
)
TEXTS = [
    'he said "no" twice',
    '"all of it"',
    '"',
    "größe ☕ 你好",
    "alice: [bob, carol] - user",
    "back\\slash 'single' $HOME `x` %s {}",
]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses, and that nobody else can take meanwhile: bound, never listening."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def carol_is_away(netchat_directory: Directory, closed_port: int) -> None:
    """Carol stands in the directory, at an address that refuses."""
    register_at(netchat_directory, "carol", closed_port)


def register_at(directory: AnyDirectory, name: str, port: int) -> None:
    """Enter `name` by hand."""
    body = f"UPDATE {name}@127.0.0.1:{port}".encode()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(directory.address, LIMIT) as connection:
        connection.sendall(head.encode() + body)
        assert read_to_end(connection).split()[1] == b"200"


def assert_sent_to_the_rest(program: Program, *lines: str) -> None:
    """SEND_MULTI answered with `lines`, which `Message sent!` may precede and nothing follow."""
    first = program.next_line()
    if first == SENT:
        first = program.next_line()
    assert first == lines[0]
    program.expect(*lines[1:])


# Through every directory


def test_a_conversation_with_a_classic_client(
    any_directory: AnyDirectory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", any_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", any_directory.address)
    alice.ask("LIST", ">>[alice, bob]")
    alice.ask('SEND bob "hello there"', SENT)
    bob.wait_for_conversation("alice", ["hello there - alice"])
    bob.send("alice", "hi alice")
    alice.expect(FROM_BOB)
    alice.ask("READ bob", ">>hello there - user", ">>hi alice - bob")
    alice.ask("DELETE bob", ">>Deleted - user", ">>hi alice - bob")
    bob.wait_for_conversation("alice", ["Deleted - alice", "hi alice - user"])
    bob.delete("alice")
    alice.ask_until("READ bob", ">>Deleted - user", ">>Deleted - bob")
    alice.leave()
    assert bob.received == [b'alice: "hello there"', b"DELETE_MESSAGE:alice"]


def test_a_classic_client_speaks_first(
    any_directory: AnyDirectory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", any_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", any_directory.address)
    bob.send("alice", "one")
    alice.expect(FROM_BOB)
    bob.send("alice", "two")
    alice.expect(FROM_BOB)
    alice.ask('SEND bob "three"', SENT)
    bob.wait_for_conversation("alice", ["one - user", "two - user", "three - alice"])
    alice.ask("READ bob", ">>one - bob", ">>two - bob", ">>three - user")
    alice.leave()
    assert bob.received == [b'alice: "three"']


def test_a_whole_script_at_once_has_this_transcript(
    any_directory: AnyDirectory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", any_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", any_directory.address)
    carol = classic("carol", any_directory.address)
    alice.type(
        "LIST",
        'SEND bob "hello there"',
        'SEND_MULTI [bob,carol] "hello both"',
        "READ bob",
        "DELETE bob",
        "READ carol",
        "EXIT",
    )
    assert alice.wait() == 0
    assert alice.transcript == (
        ">>User registered in server!\n"
        ">>[alice, bob, carol]\n"
        ">>Message sent!\n"
        ">>Message sent!\n"
        ">>hello there - user\n"
        ">>hello both - user\n"
        ">>hello there - user\n"
        ">>Deleted - user\n"
        ">>hello both - user\n"
    )
    bob.wait_for_conversation("alice", ["hello there - alice", "Deleted - alice"])
    carol.wait_for_conversation("alice", ["hello both - alice"])


def test_send_multi_reaches_everybody(
    any_directory: AnyDirectory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", any_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", any_directory.address)
    carol = classic("carol", any_directory.address)
    alice.ask('SEND_MULTI [bob,carol] "hello both"', SENT)
    alice.ask('SEND_MULTI [ carol , bob ] "and "again""', SENT)
    for person in (bob, carol):
        person.wait_for_received([b'alice: "hello both"', b'alice: "and "again""'])
    alice.ask("READ carol", ">>hello both - user", '>>and "again" - user')
    alice.leave()


def test_two_chats_with_each_other(any_directory: AnyDirectory, chat: StartChat) -> None:
    alice = chat("alice", any_directory.url, *ALLOW_CLASSIC)
    bob = chat("bob", any_directory.url, *ALLOW_CLASSIC)
    alice.ask("LIST", ">>[alice, bob]")
    bob.ask("LIST", ">>[alice, bob]")
    alice.ask('SEND bob "hello "there""', SENT)
    bob.expect(FROM_ALICE)
    bob.ask('SEND alice "hi alice"', SENT)
    alice.expect(FROM_BOB)
    alice.ask("READ bob", '>>hello "there" - user', ">>hi alice - bob")
    alice.ask("DELETE bob", ">>Deleted - user", ">>hi alice - bob")
    bob.ask_until("READ alice", ">>Deleted - alice", ">>hi alice - user")
    bob.ask("DELETE alice", ">>Deleted - alice", ">>Deleted - user")
    alice.ask_until("READ bob", ">>Deleted - user", ">>Deleted - bob")
    alice.leave()
    bob.leave()


def test_nobody_of_that_name(any_directory: AnyDirectory, chat: StartChat) -> None:
    alice = chat("alice", any_directory.url, *ALLOW_CLASSIC)
    alice.ask('SEND bob "hello"', ">>User not found!")
    alice.leave(1)


# The directory


def test_registration_on_the_wire_is_the_classic_one(chat: StartChat) -> None:
    with ClassicServer(single_recv=True) as server:
        alice = chat("alice", server.url)
        register_at(server, "bob", 4000)
        alice.ask("LIST", ">>[alice, bob]")
        alice.leave()
    registrations = [request for request in server.requests if "alice@" in request.body]
    assert registrations
    port = registrations[0].body.rpartition(":")[2]
    assert registrations[0] == Request("POST", "/", f"UPDATE alice@127.0.0.1:{port}")
    assert Request("GET", "/userlist.txt", "") in server.requests


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        pytest.param(
            "[::1]",
            marks=pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1"),
        ),
    ],
)
def test_the_directory_by_another_name(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, host: str
) -> None:
    alice = chat("alice", f"http://{host}:{netchat_directory.port}", *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    bob.send("alice", "hi")
    alice.expect(FROM_BOB)
    alice.ask('SEND bob "hello"', SENT)
    alice.leave()


def test_a_directory_that_refuses_is_a_failed_registration(
    tmp_path: Path, closed_port: int
) -> None:
    alice = start_chat("alice", f"http://127.0.0.1:{closed_port}", tmp_path / "home")
    try:
        alice.expect_beginning(">>Registration failed!")
        alice.leave(None)
        alice.assert_no_traceback()
    finally:
        alice.stop()


def test_a_name_with_another_key_is_a_failed_registration(
    netchat_directory: Directory, chat: StartChat, tmp_path: Path
) -> None:
    alice = chat("alice", netchat_directory.url)
    second = start_chat("alice", netchat_directory.url, tmp_path / "home-of-another")
    try:
        second.expect_beginning(">>Registration failed!")
        second.leave(None)
        second.assert_no_traceback()
    finally:
        second.stop()
    alice.leave()


def test_list_fails_without_a_directory(netchat_directory: Directory, chat: StartChat) -> None:
    alice = chat("alice", netchat_directory.url)
    alice.ask("LIST", ">>[alice]")  # the list of the start has been fetched as well
    netchat_directory.stop_cleanly()
    alice.type("LIST")
    alice.expect_beginning(">>Failed to get user list!")
    alice.leave(1)


@pytest.mark.parametrize("by_exit", [True, False], ids=["EXIT", "end-of-input"])
def test_leaving_ends_the_registration(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, by_exit: bool
) -> None:
    bob = classic("bob", netchat_directory.address)
    alice = chat("alice", netchat_directory.url)
    assert sorted(bob.list_names()) == ["alice", "bob"]
    if by_exit:
        alice.leave()
    else:
        alice.end_input()
        assert alice.wait() == 0
        assert alice.transcript == f"{REGISTERED}\n"
    assert bob.list_names() == ["bob"]
    assert bob.received == []


def test_the_prompt_appears_when_asked_for(netchat_directory: Directory, chat: StartChat) -> None:
    alice = chat("alice", netchat_directory.url, "--prompt")
    alice.type("LIST", "EXIT")
    assert alice.wait() == 0
    assert alice.transcript.startswith(f"{REGISTERED}\n{PROMPT}")
    assert alice.transcript.count(PROMPT) == 2
    assert ">>[alice]\n" in alice.transcript


# Sending


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_goes_both_ways(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, text: str
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    alice.ask(f'SEND bob "{text}"', SENT)
    bob.wait_for_conversation("alice", [f"{text} - alice"])
    bob.send("alice", text)
    alice.expect(FROM_BOB)
    alice.ask("READ bob", f">>{text} - user", f">>{text} - bob")
    alice.leave()
    assert bob.received == [f'alice: "{text}"'.encode()]


def test_the_first_generation_cuts_at_the_second_quote(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    """It gets the whole text on the wire all the same: what it cuts is its own doing."""
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address, cuts_at_second_quote=True)
    alice.ask('SEND bob "the "word" itself"', SENT)
    bob.wait_for_conversation("alice", ["the  - alice"])
    alice.leave()
    assert bob.received == [b'alice: "the "word" itself"']


def test_a_name_in_other_letters_is_the_same_person(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    alice.ask('SEND BOB "hello"', SENT)
    bob.wait_for_conversation("alice", ["hello - alice"])
    alice.ask("READ bob", ">>hello - user")
    alice.leave()


def test_plain_text_has_to_be_allowed(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    bob.send("alice", "hi alice")
    alice.expect(FROM_BOB)
    alice.ask('SEND bob "hello there"', NEEDS_CLASSIC)
    alice.leave(1)
    assert bob.received == []


def test_two_chats_of_a_netchat_directory_need_no_plain_text(
    netchat_directory: Directory, chat: StartChat
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = chat("bob", netchat_directory.url)
    alice.ask('SEND bob "hello"', SENT)
    bob.expect(FROM_ALICE)
    bob.ask("READ alice", ">>hello - alice")
    alice.leave()
    bob.leave()


def test_two_chats_of_a_classic_directory_need_plain_text(chat: StartChat) -> None:
    with ClassicServer() as server:
        alice = chat("alice", server.url)
        bob = chat("bob", server.url)
        alice.ask('SEND bob "hello"', NEEDS_CLASSIC)
        alice.leave(1)
        bob.leave()


def test_a_text_that_fills_a_classic_message_is_sent(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    text = "x" * (1024 - len('alice: ""'))
    alice.ask(f'SEND bob "{text}"', SENT)
    bob.wait_for_conversation("alice", [f"{text} - alice"])
    alice.leave()


@pytest.mark.parametrize(
    "text",
    ["x" * (1025 - len('alice: ""')), "x" * 1025, "é" * 600, "x" * 20_000],
    ids=["one byte more", "text alone too long", "few characters, many bytes", "far too long"],
)
def test_a_longer_text_is_refused_instead_of_cut(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, text: str
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    alice.type(f'SEND bob "{text}"')
    alice.expect_beginning(">>Failed to send message: ")
    alice.ask('SEND bob "short"', SENT)
    bob.wait_for_received([b'alice: "short"'])
    alice.leave(1)


@pytest.mark.usefixtures("carol_is_away")
def test_an_address_that_refuses_means_queued(
    netchat_directory: Directory, chat: StartChat
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    alice.ask('SEND carol "hello"', ">>Message queued: carol is not reachable")
    alice.leave(None)


@pytest.mark.parametrize("names", ["bob,dave,erin", "dave , bob , erin"])
def test_send_multi_names_the_unknown_in_one_line(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, names: str
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    alice.type(f'SEND_MULTI [{names}] "hello"')
    assert_sent_to_the_rest(
        alice, ">> Error: Message cannot be sent to dave, erin, user does not exist"
    )
    bob.wait_for_received([b'alice: "hello"'])
    alice.leave(1)


def test_send_multi_to_nobody_known_is_never_sent(
    netchat_directory: Directory, chat: StartChat
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    alice.ask(
        'SEND_MULTI [dave, erin] "hello"',
        ">> Error: Message cannot be sent to dave, erin, user does not exist",
    )
    alice.leave(1)


@pytest.mark.usefixtures("carol_is_away")
def test_send_multi_queues_for_those_away(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    alice.type('SEND_MULTI [bob, carol] "hello"')
    assert_sent_to_the_rest(alice, ">>Message queued: carol is not reachable")
    bob.wait_for_received([b'alice: "hello"'])
    alice.leave(None)


# Receiving


def test_a_sender_that_dribbles(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    bob.send("alice", 'a "slow" größe', one_byte_at_a_time=True)
    alice.expect(FROM_BOB)
    alice.ask("READ bob", '>>a "slow" größe - bob')
    alice.leave()


def test_open_connections_hold_nobody_up(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    carol = classic("carol", netchat_directory.address)
    with (
        bob.connection_to("alice"),
        bob.connection_to("alice") as unfinished,
        bob.connection_to("alice") as held,
    ):
        write(unfinished, b'bob: "never ')
        write(held, b'bob: "held"')
        carol.send("alice", "meanwhile")
        alice.wait_for(FROM_CAROL)
        wait_until_closed(held)
        alice.wait_for(FROM_BOB)
    alice.expect_in_any_order(FROM_CAROL, FROM_BOB)
    alice.ask("READ bob", ">>held - bob")
    alice.ask("READ carol", ">>meanwhile - carol")
    alice.leave()


def test_a_sender_that_never_closes_is_heard_all_the_same(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    with bob.connection_to("alice") as connection:
        write(connection, b'bob: "still here"')
        alice.expect(FROM_BOB)
        assert read_to_end(connection) == b""
    alice.ask("READ bob", ">>still here - bob")
    alice.leave()


def test_many_senders_at_once(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    """All connections are open and half written before the first of them is complete."""
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    people = [f"person{number}" for number in range(20)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(bob.connection_to("alice")) for _ in people]
        for person, connection in zip(people, connections, strict=True):
            write(connection, f'{person}: "I am'.encode())
        for person, connection in reversed(list(zip(people, connections, strict=True))):
            write(connection, f' {person}"'.encode())
    alice.expect_in_any_order(*[f">>You have a message from {person}" for person in people])
    for person in people:
        alice.ask(f"READ {person}", f">>I am {person} - {person}")
    alice.leave()


@pytest.mark.parametrize(
    "data",
    [
        b'bob:"hello"',
        b'bob: "hello"',
        b'bob:    "hello"',
        b'bob: "hello"\n',
        b'bob: "hello"\r\n',
        b'bob: "hello" \t\r\n\r\n',
    ],
)
def test_spaces_that_belong_to_nothing(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, data: bytes
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    bob.send_bytes("alice", data)
    alice.expect(FROM_BOB)
    alice.ask("READ bob", ">>hello - bob")
    alice.leave()


def test_what_is_no_whole_message_is_dropped(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    for data in (
        b"",
        b"\n",
        b"bob",
        b"bob:",
        b"bob: hello",
        b'bob: "cut off here',
        b'bob: "',
        b'bob: "one" two',
        b'"hello"',
        b': "hello"',
        b"\xff\xfe\x00\x01",
        b"DELETE_MESSAGE:",
        b"DELETE_MESSAGE:bob",
        b"DELETE_MESSAGE:nobody",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        bob.send_bytes("alice", data, until_dropped=True)
    bob.send("alice", "whole")
    alice.expect(FROM_BOB)
    alice.ask("READ bob", ">>whole - bob")
    alice.leave()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"caf\xe9 noir", "caf\ufffd noir"),
        (b"\x1b[31mred\x1b[0m", "^[[31mred^[[0m"),
        (b"\x1b]0;title\x07", "^[]0;title^G"),
        (b"one\ntwo", "one^Jtwo"),
        (b"one\r\ntwo", "one^M^Jtwo"),
        (b"a\tb\x00c\x7fd\x08", "a^Ib^@c^?d^H"),
    ],
)
def test_nothing_reaches_a_terminal_unescaped(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic, sent: bytes, shown: str
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    bob.send_bytes("alice", b'bob: "' + sent + b'"')
    alice.expect(FROM_BOB)
    alice.ask("READ bob", f">>{shown} - bob")
    alice.leave()


def test_eight_bit_control_characters_are_escaped_too(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    bob.send("alice", "\x9b31mred\x9d0;title\x9c")
    alice.expect(FROM_BOB)
    alice.type("READ bob")
    line = alice.next_line()
    assert line.startswith(">>")
    assert line.endswith(" - bob")
    assert not any("\x80" <= character <= "\x9f" for character in line)
    alice.leave()


def test_the_size_limit_is_65536_bytes(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    largest = "x" * (65_536 - len('bob: ""'))
    for too_large in (f'bob: "{largest}y"', f'bob: "{"z" * 200_000}"'):
        with contextlib.suppress(ConnectionError):  # cutting the sender off is allowed
            bob.send_bytes("alice", too_large.encode(), until_closed=True)
    bob.send("alice", largest)
    alice.expect(FROM_BOB)
    alice.ask("READ bob", f">>{largest} - bob")
    alice.leave()


def test_a_name_without_a_key_is_shown_as_claimed(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    mallory = classic("mallory", netchat_directory.address)
    mallory.send_bytes("alice", b'dave: "I hold no key"')
    alice.expect(">>You have a message from dave")
    alice.ask("READ dave", ">>I hold no key - dave")
    alice.leave()


def test_plain_text_that_claims_a_key_has_a_lane_of_its_own(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    bob = chat("bob", netchat_directory.url)
    alice = chat("alice", netchat_directory.url)
    mallory = classic("mallory", netchat_directory.address)
    mallory.send_bytes("alice", b'bob: "I am not he"')
    alice.expect(">>You have a message from ~bob")
    bob.ask('SEND alice "I am he"', SENT)
    alice.expect(FROM_BOB)
    alice.ask("READ ~bob", ">>I am not he - ~bob")
    alice.ask("READ bob", ">>I am he - bob")
    alice.leave()
    bob.leave()


# Deleting


def test_deletions_go_from_the_newest_back(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    answers = []
    for text in ("one", "two"):
        bob.send("alice", text)
        alice.expect(FROM_BOB)
        alice.ask(f'SEND bob "re {text}"', SENT)
        answers.append(f'alice: "re {text}"'.encode())
        bob.wait_for_received(answers)  # `sent` is said before a classic client has stored
    bob.delete("alice")
    alice.ask_until(
        "READ bob", ">>one - bob", ">>re one - user", ">>Deleted - bob", ">>re two - user"
    )
    bob.delete("alice")
    alice.ask_until(
        "READ bob", ">>Deleted - bob", ">>re one - user", ">>Deleted - bob", ">>re two - user"
    )
    alice.ask(
        "DELETE bob", ">>Deleted - bob", ">>re one - user", ">>Deleted - bob", ">>Deleted - user"
    )
    alice.ask(
        "DELETE bob", ">>Deleted - bob", ">>Deleted - user", ">>Deleted - bob", ">>Deleted - user"
    )
    bob.wait_for_conversation(
        "alice", ["Deleted - user", "Deleted - alice", "Deleted - user", "Deleted - alice"]
    )
    alice.ask("DELETE bob", ">>No messages to delete!")
    alice.leave(None)
    assert bob.received == [*answers, b"DELETE_MESSAGE:alice", b"DELETE_MESSAGE:alice"]


def test_a_deletion_touches_its_sender_only(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    carol = classic("carol", netchat_directory.address)
    bob.send("alice", "from bob")
    alice.expect(FROM_BOB)
    carol.send("alice", "from carol")
    alice.expect(FROM_CAROL)
    carol.delete("alice")
    alice.ask_until("READ carol", ">>Deleted - carol")
    alice.ask("READ bob", ">>from bob - bob")
    alice.leave()


def test_every_loopback_address_is_the_same_source(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url)
    bob = classic("bob", netchat_directory.address)
    bob.send("alice", "hello")
    alice.expect(FROM_BOB)
    bob.send_bytes("alice", b"DELETE_MESSAGE:bob", source_host="127.0.0.2")
    alice.ask_until("READ bob", ">>Deleted - bob")
    alice.leave()


def test_nothing_to_read_or_to_delete(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    alice.ask("READ bob", ">>No messages found!")
    alice.ask("DELETE bob", ">>No messages to delete!")
    bob.send("alice", "his, not mine")
    alice.expect(FROM_BOB)
    alice.ask("DELETE bob", ">>No messages to delete!")
    alice.ask("READ bob", ">>his, not mine - bob")
    alice.leave(None)
    assert bob.received == []


# Commands that are wrong


def test_wrong_commands(
    netchat_directory: Directory, chat: StartChat, classic: StartClassic
) -> None:
    alice = chat("alice", netchat_directory.url, *ALLOW_CLASSIC)
    bob = classic("bob", netchat_directory.address)
    wrong = {
        "SEND": [
            "SEND",
            "SEND bob",
            "SEND bob hello",
            'SEND bob "hello',
            'SEND bob hello"',
            'SEND bob ""',
            'SEND "hello"',
        ],
        "SEND_MULTI": [
            "SEND_MULTI",
            "SEND_MULTI [bob]",
            "SEND_MULTI [bob] hello",
            'SEND_MULTI [bob] ""',
            'SEND_MULTI [] "hello"',
            'SEND_MULTI [bob "hello"',
        ],
        "READ": ["READ", "READ bob carol"],
        "DELETE": ["DELETE", "DELETE bob carol"],
        "LIST": ["LIST bob"],
    }
    for command, lines in wrong.items():
        for line in lines:
            alice.ask(line, f">>Invalid {command} command!")
    for line in ("HELLO", "SENDER bob", '"SEND" bob "hello"'):
        alice.ask(line, ">>Unknown command!")
    alice.leave(1)
    assert bob.received == []

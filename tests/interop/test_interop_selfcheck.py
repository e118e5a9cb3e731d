"""The tools of the interop tests against each other, so that a failure elsewhere means NetChat."""

import socket
from collections.abc import Iterator

import pytest
from tests.interop import classic_client
from tests.interop.classic_client import (
    LIMIT,
    ClassicClient,
    Style,
    ask_directory,
    build_request,
    parse_answer,
    read_to_end,
)
from tests.interop.classic_server import MODES, ClassicServer
from tests.interop.people import StartClassic

STYLES = {
    "plain": classic_client.PLAIN,
    "http-1.0": classic_client.HTTP_1_0,
    "http-1.0-close": classic_client.HTTP_1_0_CLOSE,
    "lower-case": classic_client.LOWER_CASE,
    "counted-line-end": classic_client.COUNTED_LINE_END,
    "uncounted-line-end": classic_client.UNCOUNTED_LINE_END,
    "one-byte-at-a-time": classic_client.ONE_BYTE_AT_A_TIME,
}


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest) -> Iterator[ClassicServer]:
    with ClassicServer(**MODES[request.param]) as running:
        yield running


@pytest.fixture
def tolerant_server() -> Iterator[ClassicServer]:
    with ClassicServer() as running:
        yield running


def raw_exchange(server: ClassicServer, request: bytes) -> bytes:
    with socket.create_connection(server.address, timeout=LIMIT) as connection:
        connection.sendall(request)
        return read_to_end(connection)


def test_register_list_and_look_up_in_every_mode(
    server: ClassicServer, classic: StartClassic
) -> None:
    alice = classic("alice", server.address)
    bob = classic("bob", server.address)
    assert alice.list_lines() == [alice.registration, bob.registration]
    assert alice.list_names() == ["alice", "bob"]
    assert alice.lookup("bob") == ("127.0.0.1", bob.port)
    assert alice.lookup("BOB") == ("127.0.0.1", bob.port)
    assert alice.lookup("carol") is None


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_every_style_is_understood(
    tolerant_server: ClassicServer, classic: StartClassic, style: Style
) -> None:
    alice = classic("alice", tolerant_server.address, style)
    assert alice.list_lines() == [alice.registration]
    assert alice.lookup("alice") == ("127.0.0.1", alice.port)


def test_update_moves_and_keeps_the_first_spelling(tolerant_server: ClassicServer) -> None:
    address = tolerant_server.address
    for body in ("UPDATE Alice@192.0.2.7:1", "UPDATE ALICE@192.0.2.8:2"):
        assert ask_directory(address, "POST", "/", body).status == 200
    assert ask_directory(address, "GET", "/userlist.txt").body == "Alice@192.0.2.8:2"


def test_register_refuses_a_taken_name(tolerant_server: ClassicServer) -> None:
    with (
        ClassicClient("alice", tolerant_server.address) as first,
        ClassicClient("ALICE", tolerant_server.address) as second,
    ):
        assert first.register() == 200
        assert first.register() == 409
        assert second.register() == 409
        assert first.lookup("alice") == ("127.0.0.1", first.port)


@pytest.mark.parametrize(
    "body", ["", "UPDATE", "HELLO alice@192.0.2.7:1", "UPDATE alice", "UPDATE a@b:c", "UPDATE a@b"]
)
def test_nonsense_is_refused(tolerant_server: ClassicServer, body: str) -> None:
    assert ask_directory(tolerant_server.address, "POST", "/", body).status == 400


def test_characters_counted_as_bytes_cut_the_body() -> None:
    body = "UPDATE josé@192.0.2.7:54321"
    request = build_request("POST", "/", body, classic_client.COUNTS_CHARACTERS)
    assert f"Content-Length: {len(body.encode()) - 1}\r\n".encode() in request
    assert request.endswith(body.encode())


def test_single_recv_does_not_wait_for_a_second_segment() -> None:
    request = build_request("POST", "/", "UPDATE alice@192.0.2.7:1", classic_client.PLAIN)
    head, _, _ = request.partition(b"UPDATE")
    with ClassicServer(single_recv=True) as server:
        assert parse_answer(raw_exchange(server, head)).status == 400
        assert parse_answer(raw_exchange(server, request)).status == 200


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("classic", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"),
        ("classic-no-length", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"),
        (
            "classic-http-1.0",
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n",
        ),
    ],
)
def test_answers_in_each_mode(mode: str, expected: str) -> None:
    with ClassicServer(**MODES[mode]) as server:
        ask_directory(server.address, "POST", "/", "UPDATE a@1.2.3.4:5")
        request = b"GET /userlist.txt?username=a HTTP/1.1\r\n\r\n"
        assert raw_exchange(server, request).decode() == f"{expected}1.2.3.4:5"


def test_conversation_both_ways_with_deletions(
    server: ClassicServer, classic: StartClassic
) -> None:
    alice = classic("alice", server.address)
    bob = classic("bob", server.address)
    alice.send("bob", "see you at noon")
    bob.wait_for_conversation("alice", ["see you at noon - alice"])
    bob.send("alice", 'he said "no" twice')
    alice.wait_for_conversation("bob", ["see you at noon - user", 'he said "no" twice - bob'])
    alice.delete("bob")
    bob.wait_for_conversation("alice", ["Deleted - alice", 'he said "no" twice - user'])
    assert alice.read("bob") == ["Deleted - user", 'he said "no" twice - bob']
    bob.delete("alice")
    alice.wait_for_conversation("bob", ["Deleted - user", "Deleted - bob"])
    assert alice.received == [b'bob: "he said "no" twice"', b"DELETE_MESSAGE:bob"]


def test_first_generation_cuts_at_the_second_quote(
    tolerant_server: ClassicServer, classic: StartClassic
) -> None:
    alice = classic("alice", tolerant_server.address)
    bob = classic("bob", tolerant_server.address, cuts_at_second_quote=True)
    alice.send("bob", 'the "word" itself')
    bob.wait_for_conversation("alice", ["the  - alice"])


def test_surprises_are_noticed(tolerant_server: ClassicServer) -> None:
    address = tolerant_server.address
    with ClassicClient("alice", address) as alice, ClassicClient("bob", address) as bob:
        assert bob.update() == 200
        for data in (b"", b"\xff", b"alice: no quotes"):
            alice.send_bytes("bob", data, until_closed=True)
        bob.wait_for_received([b"", b"\xff", b"alice: no quotes"])
        assert len(bob.surprises) == 3


def test_directory_keeps_those_who_left(tolerant_server: ClassicServer) -> None:
    with ClassicClient("alice", tolerant_server.address) as alice:
        assert alice.update() == 200
    assert ask_directory(tolerant_server.address, "GET", "/userlist.txt").body == alice.registration

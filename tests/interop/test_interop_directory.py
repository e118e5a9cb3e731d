"""Classic clients in all their habits against the real `netchat serve`."""

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop import classic_client
from tests.interop.classic_client import (
    LIMIT,
    Answer,
    ClassicClient,
    Style,
    ask_directory,
    build_request,
    parse_answer,
    read_to_end,
)
from tests.interop.people import StartChat, StartClassic
from tests.interop.processes import REGISTERED, Directory, has_ipv6_loopback, serving, start_chat

pytestmark = pytest.mark.slow

STYLES = {
    "plain": classic_client.PLAIN,
    "http-1.0": classic_client.HTTP_1_0,
    "http-1.0-close": classic_client.HTTP_1_0_CLOSE,
    "lower-case": classic_client.LOWER_CASE,
    "counted-line-end": classic_client.COUNTED_LINE_END,
    "uncounted-line-end": classic_client.UNCOUNTED_LINE_END,
    "one-byte-at-a-time": classic_client.ONE_BYTE_AT_A_TIME,
}
every_style = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1")

RESERVED = ["user", "deleted", "delete_message", "netchat", "all", "everyone", "here"]
BAD_NAMES = [
    "",
    "-alice",
    ".alice",
    "_alice",
    "al ice",
    "al/ice",
    "al:ice",
    "al@ice",
    'al"ice',
    "al,ice",
    "al\tice",
    "al\0ice",
    "a" * 33,
]
GOOD_NAMES = ["a", "7", "A.b_c-9", "a.", "a" * 32, "users", "all-of-us"]
BAD_ADDRESSES = [
    "",
    "127.0.0.1",
    "127.0.0.1:",
    ":5000",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:-5",
    "127.0.0.1:+5",
    "127.0.0.1:5_000",
    "127.0.0.1:5000:6000",
    "127.0.0.1:port",
    "127.0.0.1: 5000",
    "127.0.0.1 5000",
    "127.1:5000",
    "256.0.0.1:5000",
    "1.2.3.4.5:5000",
    "example.org:5000",
]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    """One `netchat serve` for the tests that use a name of their own and never the whole list."""
    place = tmp_path_factory.mktemp("directory")
    with serving(place / "home", place / "data") as directory:
        yield directory


@pytest.fixture
def name() -> str:
    """A name that no other test of this process uses."""
    return f"person{next(_numbers)}"


def post(directory: Directory, body: str, target: str = "/") -> int:
    return ask_directory(directory.address, "POST", target, body).status


def userlist(directory: Directory) -> str:
    answer = ask_directory(directory.address, "GET", "/userlist.txt")
    assert answer.status == 200
    return answer.body


def lookup(directory: Directory, name: str) -> Answer:
    return ask_directory(directory.address, "GET", f"/userlist.txt?username={name}")


# Register, move, list, look up


def test_register_and_look_up_gives_the_bare_address(
    shared_directory: Directory, name: str
) -> None:
    assert post(shared_directory, f"UPDATE {name}@127.0.0.1:54321") == 200
    answer = lookup(shared_directory, name)
    assert (answer.status, answer.body) == (200, "127.0.0.1:54321")


def test_second_update_moves(netchat_directory: Directory) -> None:
    assert post(netchat_directory, "UPDATE alice@127.0.0.1:54321") == 200
    assert post(netchat_directory, "UPDATE alice@192.0.2.7:65535") == 200
    assert lookup(netchat_directory, "alice").body == "192.0.2.7:65535"
    assert userlist(netchat_directory) == "alice@192.0.2.7:65535"


def test_an_unknown_name_is_404(shared_directory: Directory, name: str) -> None:
    assert lookup(shared_directory, name).status == 404


def test_an_empty_list_is_an_empty_body(netchat_directory: Directory) -> None:
    assert userlist(netchat_directory) == ""


def test_the_list_has_line_ends_only_between_its_lines(netchat_directory: Directory) -> None:
    for number, person in enumerate(("alice", "bob", "carol"), 1):
        assert post(netchat_directory, f"UPDATE {person}@127.0.0.1:{number}") == 200
    assert userlist(netchat_directory) == "alice@127.0.0.1:1\nbob@127.0.0.1:2\ncarol@127.0.0.1:3"


@pytest.mark.parametrize("address", ["[::1]:5000", "::1:5000", "[2001:db8::7]:5000"])
def test_the_list_never_holds_ipv6(netchat_directory: Directory, address: str) -> None:
    assert post(netchat_directory, "UPDATE alice@127.0.0.1:54321") == 200
    post(netchat_directory, f"UPDATE bob@{address}")
    assert userlist(netchat_directory) == "alice@127.0.0.1:54321"


@needs_ipv6
def test_a_chat_on_ipv6_only_is_left_out_of_the_list(
    netchat_directory: Directory, tmp_path: Path
) -> None:
    """It may be refused with a word about it, or known to others than classic clients."""
    assert post(netchat_directory, "UPDATE alice@127.0.0.1:54321") == 200
    options = ("--listen", "[::1]:0", "--advertise", "[2001:db8::7]:5000")
    bob = start_chat("bob", netchat_directory.url, tmp_path / "home", *options)
    try:
        assert bob.next_line().startswith((REGISTERED, ">>Registration failed!"))
        assert userlist(netchat_directory) == "alice@127.0.0.1:54321"
        bob.leave(None)
        bob.assert_no_traceback()
    finally:
        bob.stop()


def test_an_advertised_address_is_what_the_directory_gives_out(
    netchat_directory: Directory, chat: StartChat
) -> None:
    alice = chat("alice", netchat_directory.url, "--advertise", "192.0.2.7:4000")
    assert userlist(netchat_directory) == "alice@192.0.2.7:4000"
    alice.leave()


@pytest.mark.parametrize("good_name", GOOD_NAMES)
def test_every_good_name_is_taken_as_it_is(shared_directory: Directory, good_name: str) -> None:
    assert post(shared_directory, f"UPDATE {good_name}@127.0.0.1:54321") == 200
    assert lookup(shared_directory, good_name).body == "127.0.0.1:54321"
    assert f"{good_name}@127.0.0.1:54321" in userlist(shared_directory).split("\n")


def test_names_are_one_in_any_letter_case_and_shown_as_first_claimed(
    netchat_directory: Directory,
) -> None:
    assert post(netchat_directory, "UPDATE Alice@127.0.0.1:1") == 200
    assert post(netchat_directory, "UPDATE aLICE@127.0.0.1:2") == 200
    assert lookup(netchat_directory, "ALICE").body == "127.0.0.1:2"
    assert userlist(netchat_directory) == "Alice@127.0.0.1:2"


# Refusals


@pytest.mark.parametrize("reserved", [*RESERVED, "NetChat", "DELETE_MESSAGE"])
@pytest.mark.parametrize(("command", "target"), [("UPDATE", "/"), ("REGISTER", "/userlist.txt")])
def test_reserved_names_are_refused(
    shared_directory: Directory, command: str, target: str, reserved: str
) -> None:
    assert post(shared_directory, f"{command} {reserved}@127.0.0.1:54321", target) != 200
    assert lookup(shared_directory, reserved).status != 200


@pytest.mark.parametrize("bad_name", BAD_NAMES)
def test_bad_names_are_refused(shared_directory: Directory, bad_name: str) -> None:
    before = userlist(shared_directory)
    assert post(shared_directory, f"UPDATE {bad_name}@127.0.0.1:54321") != 200
    assert userlist(shared_directory) == before


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_bad_addresses_are_refused(shared_directory: Directory, name: str, address: str) -> None:
    assert post(shared_directory, f"UPDATE {name}@{address}") != 200
    assert lookup(shared_directory, name).status == 404


def test_a_refused_update_leaves_the_entry_where_it_was(
    shared_directory: Directory, name: str
) -> None:
    assert post(shared_directory, f"UPDATE {name}@127.0.0.1:54321") == 200
    assert post(shared_directory, f"UPDATE {name}@127.0.0.1:65536") != 200
    assert lookup(shared_directory, name).body == "127.0.0.1:54321"


@pytest.mark.parametrize("body", ["", "UPDATE", "UPDATE ", "{}@127.0.0.1:1", "MOVE {}@127.0.0.1:1"])
def test_other_bodies_are_refused(shared_directory: Directory, name: str, body: str) -> None:
    assert post(shared_directory, body.format(name)) != 200
    assert lookup(shared_directory, name).status == 404


@pytest.mark.parametrize("style", [Style(), classic_client.COUNTS_CHARACTERS])
@pytest.mark.parametrize(
    "registration", ["josé@127.0.0.1:54321", "алиса@127.0.0.1:54321", "alice@127.0.0.1:5432\uff11"]
)
def test_a_body_that_is_not_ascii_is_400(
    netchat_directory: Directory, style: Style, registration: str
) -> None:
    """Whether cut by a client that counts characters or whole; half of it is never an address."""
    body = f"UPDATE {registration}"
    answer = ask_directory(netchat_directory.address, "POST", "/", body, style)
    assert answer.status == 400
    assert userlist(netchat_directory) == ""


# The older generation


def test_register_is_200_the_first_time_only(netchat_directory: Directory) -> None:
    body = "REGISTER alice@127.0.0.1:54321"
    assert post(netchat_directory, body, "/userlist.txt") == 200
    assert post(netchat_directory, body, "/userlist.txt") != 200
    assert post(netchat_directory, "REGISTER ALICE@127.0.0.1:1", "/userlist.txt") != 200
    assert userlist(netchat_directory) == "alice@127.0.0.1:54321"


def test_register_does_not_take_an_updated_name(shared_directory: Directory, name: str) -> None:
    assert post(shared_directory, f"UPDATE {name}@127.0.0.1:1") == 200
    assert post(shared_directory, f"REGISTER {name}@127.0.0.1:2", "/userlist.txt") != 200
    assert lookup(shared_directory, name).body == "127.0.0.1:1"


def test_update_moves_a_registered_name(shared_directory: Directory, name: str) -> None:
    assert post(shared_directory, f"REGISTER {name}@127.0.0.1:1", "/userlist.txt") == 200
    assert post(shared_directory, f"UPDATE {name}@127.0.0.1:2") == 200
    assert lookup(shared_directory, name).body == "127.0.0.1:2"


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1", "example.org:5000"])
def test_register_refuses_bad_addresses(
    shared_directory: Directory, name: str, address: str
) -> None:
    assert post(shared_directory, f"REGISTER {name}@{address}", "/userlist.txt") != 200
    assert lookup(shared_directory, name).status == 404


# Habits of clients


@every_style
def test_every_style_updates_lists_and_looks_up(
    netchat_directory: Directory, classic: StartClassic, style: Style
) -> None:
    alice = classic("alice", netchat_directory.address, style)
    assert alice.list_lines() == [alice.registration]
    assert alice.lookup("alice") == ("127.0.0.1", alice.port)
    assert alice.lookup("bob") is None


@every_style
def test_every_style_registers_the_older_way(
    shared_directory: Directory, name: str, style: Style
) -> None:
    with ClassicClient(name, shared_directory.address, style) as client:
        assert client.register() == 200
        assert client.register() != 200
        assert client.lookup(name) == ("127.0.0.1", client.port)


@every_style
def test_every_style_hears_of_a_refusal(shared_directory: Directory, style: Style) -> None:
    answer = ask_directory(
        shared_directory.address, "POST", "/", "UPDATE netchat@127.0.0.1:1", style
    )
    assert answer.status != 200


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6), "localhost"])
def test_each_loopback_answers(
    shared_directory: Directory, classic: StartClassic, name: str, host: str
) -> None:
    client = classic(name, (host, shared_directory.port))
    assert client.registration in client.list_lines()
    assert client.lookup(name) == ("127.0.0.1", client.port)
    assert lookup(shared_directory, name).body == f"127.0.0.1:{client.port}"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/", "UPDATE {}@127.0.0.1:54321"),
        ("POST", "/", "UPDATE netchat@127.0.0.1:54321"),
        ("POST", "/userlist.txt", "REGISTER {}@127.0.0.1:54321"),
        ("GET", "/userlist.txt", None),
        ("GET", "/userlist.txt?username=nobody-at-all", None),
    ],
)
def test_the_server_closes_and_answers_in_four_parts(
    shared_directory: Directory, name: str, method: str, target: str, body: str | None
) -> None:
    """Our half stays open, so the end that `read_to_end` waits for is the server's doing."""
    request = build_request(method, target, body and body.format(name), classic_client.PLAIN)
    with socket.create_connection(shared_directory.address, timeout=LIMIT) as connection:
        connection.sendall(request)
        answer = parse_answer(read_to_end(connection))
    lines = answer.head.split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {answer.status} ")
    assert len(lines) > 1
    assert all(": " in line for line in lines[1:])
    assert "transfer-encoding" not in answer.head.lower()


# What stays


def test_an_entry_stays_after_its_client_left(netchat_directory: Directory) -> None:
    with ClassicClient("alice", netchat_directory.address) as alice:
        assert alice.update() == 200
    assert userlist(netchat_directory) == alice.registration


def test_a_restart_keeps_classic_entries(tmp_path: Path) -> None:
    home, data = tmp_path / "home", tmp_path / "data"
    with serving(home, data) as directory:
        assert post(directory, "UPDATE Alice@127.0.0.1:54321") == 200
        assert post(directory, "REGISTER bob@192.0.2.7:4000", "/userlist.txt") == 200
    with serving(home, data) as directory:
        assert userlist(directory) == "Alice@127.0.0.1:54321\nbob@192.0.2.7:4000"
        assert lookup(directory, "bob").body == "192.0.2.7:4000"
        assert post(directory, "REGISTER alice@127.0.0.1:1", "/userlist.txt") != 200


def test_a_chat_that_leaves_is_gone(netchat_directory: Directory, chat: StartChat) -> None:
    alice = chat("alice", netchat_directory.url)
    assert userlist(netchat_directory).startswith("alice@127.0.0.1:")
    alice.leave()
    assert userlist(netchat_directory) == ""
    assert lookup(netchat_directory, "alice").status == 404


def test_the_name_of_a_chat_that_left_stays_claimed(
    netchat_directory: Directory, chat: StartChat
) -> None:
    alice = chat("alice", netchat_directory.url)
    alice.leave()
    assert post(netchat_directory, "UPDATE alice@127.0.0.1:54321") != 200
    assert post(netchat_directory, "REGISTER alice@127.0.0.1:54321", "/userlist.txt") != 200


def test_the_directory_never_connects_to_a_registered_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with serving(tmp_path / "home", tmp_path / "data") as directory:
            assert post(directory, f"UPDATE alice@127.0.0.1:{port}") == 200
            assert lookup(directory, "alice").body == f"127.0.0.1:{port}"
            assert userlist(directory) == f"alice@127.0.0.1:{port}"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()

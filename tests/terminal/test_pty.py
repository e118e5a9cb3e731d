"""The prompt as a person sees it: on a real pty, read off an emulated screen."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import Address
from tests.interop.processes import environment
from tests.system.processes import address_of, bring, register, unused_port
from tests.terminal.screen import (
    CTRL_C,
    CTRL_D,
    CTRL_R,
    ENTER,
    LEFT,
    PROMPT,
    TAB,
    UP,
    Terminal,
)

pytestmark = pytest.mark.slow

PASTE = "\x1b[200~{}\x1b[201~"


@pytest.fixture
def port() -> Iterator[int]:
    with unused_port() as found:
        yield found


@pytest.fixture
def directory(port: int) -> Address:
    """The meeting point that the first chat of a test hosts."""
    return "127.0.0.1", port


StartChat = Callable[..., Terminal]


@pytest.fixture
def chat(tmp_path: Path, port: int) -> Iterator[StartChat]:
    """Start a chat on a terminal of its own, and see its prompt."""
    terminals: list[Terminal] = []

    def start(name: str = "alice", *options: str, **settings: str) -> Terminal:
        home = tmp_path / f"home-of-{name}"
        given = {"NETCHAT_PORT": str(port)} | settings
        terminals.append(Terminal(["chat", name, *options], home, given))
        terminals[-1].wait_for_prompt()
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def leave(terminal: Terminal, status: int = 0) -> None:
    """Press Ctrl-D at the prompt; the program ends, and the terminal is as it was found."""
    terminal.wait_for_prompt()
    terminal.type(CTRL_D)
    assert terminal.wait_for_end() == status
    assert terminal.modes == terminal.modes_before
    assert "Traceback" not in "\n".join(terminal.lines)


# --- arrivals ------------------------------------------------------------------------------------


def test_what_is_being_typed_survives_forty_arrivals(chat: StartChat, directory: Address) -> None:
    alice = chat()
    alice.wait_for_line(">>User registered in server!")
    address = address_of(directory, "alice")
    alice.type('SEND bob "half a line' + 4 * LEFT)
    alice.wait_for_prompt('SEND bob "half a line')
    column = len(PROMPT) + len('SEND bob "half a ')
    alice.wait_until(lambda: alice.cursor_column == column, "the cursor four to the left")

    arrivals = [f">>You have a message from bob{number:02}" for number in range(1, 41)]
    for number in range(1, 41):
        bring(address, f'bob{number:02}: "hello"'.encode())
    alice.wait_for_line(arrivals[-1])
    alice.wait_for_prompt('SEND bob "half a line')
    alice.wait_until(lambda: alice.cursor_column == column, "the cursor where it was")
    assert [line for line in alice.facts if "You have" in line] == arrivals
    assert alice.lines.index(arrivals[-1]) < alice.lines.index(f'{PROMPT}SEND bob "half a line')
    assert "\n".join(alice.lines).count("half a line") == 1

    alice.type(CTRL_C)
    alice.wait_for_prompt()
    for number in (1, 40):
        alice.enter(f"READ bob{number:02}")
        alice.wait_for_line(f">>hello - bob{number:02}")
    leave(alice)


def test_arrivals_and_typing_at_once(chat: StartChat, directory: Address) -> None:
    """A sender and a typist side by side: no key and no line is lost."""
    alice = chat()
    address = address_of(directory, "alice")

    def send() -> None:
        for number in range(1, 41):
            bring(address, f'bob{number:02}: "hello"'.encode())

    sender = threading.Thread(target=send)
    sender.start()
    line = 'SEND nobody "typing slowly while forty people write"'
    for begun in range(1, len(line) + 1):
        alice.type(line[begun - 1])
        alice.wait_for_prompt(line[:begun].rstrip())
    sender.join()
    arrivals = [f">>You have a message from bob{number:02}" for number in range(1, 41)]
    alice.wait_for_line(arrivals[-1])
    assert [one for one in alice.facts if "You have" in one] == arrivals
    alice.wait_for_prompt(line)
    alice.type(ENTER)
    alice.wait_for_line(">>User not found!")
    leave(alice, 1)


def test_two_people_talk(chat: StartChat) -> None:
    alice, bob = chat("alice"), chat("bob")
    alice.enter('SEND bob "hello there"')
    alice.wait_for_line(">>Message sent!")
    bob.wait_for_line(">>You have a message from alice")
    bob.wait_for_prompt()
    bob.enter("READ alice")
    bob.wait_for_line(">>hello there - alice")
    bob.enter("LIST")
    bob.wait_until(lambda: bob.facts[-1] in (">>[alice, bob]", ">>[bob, alice]"), "the list")
    leave(bob)
    leave(alice)


# --- Tab -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("LI", "LIST"),
        ("re", "READ"),
        ("SEND_", "SEND_MULTI"),
        ("READ bo", "READ bob"),
        ("DELETE CA", "DELETE carol"),
        ("SEND_MULTI [bo", "SEND_MULTI [bob"),
        ("SEND_MULTI [bob, ca", "SEND_MULTI [bob, carol"),
        ("SEND_MULTI [bob,ca", "SEND_MULTI [bob,carol"),
    ],
)
def test_tab_completes_what_there_is_one_of(
    chat: StartChat, directory: Address, typed: str, completed: str
) -> None:
    alice = chat()
    for name in ("bob", "carol"):
        register(directory, name, 1)
    alice.type(typed + TAB)
    alice.wait_for_line(PROMPT + completed)
    assert alice.cursor_line == PROMPT + completed
    alice.type(CTRL_C)
    leave(alice)


def test_tab_offers_what_there_are_several_of(chat: StartChat, directory: Address) -> None:
    alice = chat()
    register(directory, "albert", 1)
    alice.type("READ a" + TAB)
    alice.wait_until(
        lambda: {"alice", "albert"} <= {line.strip() for line in alice.lines}, "both names"
    )
    alice.type(CTRL_C)
    leave(alice)


# --- keys ----------------------------------------------------------------------------------------


def test_ctrl_c_clears_the_line(chat: StartChat) -> None:
    alice = chat()
    alice.type('SEND bob "never sent"')
    alice.wait_for_prompt('SEND bob "never sent"')
    alice.type(CTRL_C)
    alice.wait_for_prompt()
    alice.enter("LIST")
    alice.wait_for_line(">>[alice]")
    leave(alice)


def test_ctrl_c_during_a_send_loses_no_session(chat: StartChat, directory: Address) -> None:
    alice = chat("alice", "--classic")
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # never accepts; with its queue full, connecting to it hangs
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        register(directory, "bob", full.getsockname()[1])
        alice.enter('SEND bob "hello"')
        alice.wait_for_line(f'{PROMPT}SEND bob "hello"')
        alice.wait_until(lambda: alice.modes == alice.modes_before, "the line being carried out")
        alice.type(CTRL_C)
        alice.wait_for_line("netchat: still busy; a command takes 10 seconds at most.")
        alice.wait_for_line(">>Message queued: bob is not reachable")
    leave(alice)


def test_ctrl_d_leaves_with_1_after_a_failure(chat: StartChat) -> None:
    alice = chat()
    alice.enter("FOO")
    alice.wait_for_line(">>Unknown command!")
    leave(alice, 1)


def test_ctrl_d_does_not_leave_in_the_middle_of_a_line(chat: StartChat) -> None:
    alice = chat()
    alice.type("LIST" + CTRL_D)
    alice.type(ENTER)
    alice.wait_for_line(">>[alice]")
    leave(alice)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 130), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_the_terminal_sane(
    chat: StartChat, number: signal.Signals, status: int
) -> None:
    alice = chat()
    alice.type("half")
    alice.wait_for_prompt("half")
    assert alice.modes != alice.modes_before
    alice.signal(number)
    assert alice.wait_for_end() == status
    assert alice.modes == alice.modes_before
    assert "Traceback" not in "\n".join(alice.lines)
    assert alice.cursor_column == 0


# --- history of what was typed -------------------------------------------------------------------


def test_what_was_typed_is_there_after_a_restart(chat: StartChat, tmp_path: Path) -> None:
    alice = chat()
    for line in ("READ bob", "  READ secret", "LIST"):
        alice.enter(line)
        alice.wait_for_line(PROMPT + line)
        alice.wait_for_prompt()
    leave(alice)
    typed_lines = tmp_path / "home-of-alice/data/netchat/profiles/alice/typed-lines"
    assert typed_lines.stat().st_mode & 0o777 == 0o600
    assert "secret" not in typed_lines.read_text()

    alice = chat()
    alice.type(UP)
    alice.wait_for_prompt("LIST")
    alice.type(UP)
    alice.wait_for_prompt("READ bob")
    alice.type(ENTER)
    alice.wait_for_line(">>No messages found!")
    alice.wait_for_prompt()
    alice.type(f"{CTRL_R}LIS")
    alice.wait_until(lambda: "LIS': LIST" in alice.cursor_line, "the line that was looked for")
    alice.type(ENTER)
    alice.wait_for_prompt("LIST")
    alice.type(ENTER)
    alice.wait_for_line(">>[alice]")
    leave(alice)


# --- pasting -------------------------------------------------------------------------------------


def test_pasted_lines_are_not_carried_out(chat: StartChat) -> None:
    alice = chat()
    alice.type(PASTE.format("LIST\nREAD bob\nEXIT\n"))
    alice.wait_until(lambda: alice.lines.count("EXIT") == 1, "what was pasted")
    assert alice.facts == [">>User registered in server!"]
    alice.type(ENTER)
    alice.wait_for_line(">>Unknown command!")
    leave(alice, 1)


def test_a_pasted_text_of_two_lines_is_one_message(chat: StartChat) -> None:
    alice = chat()
    alice.type(PASTE.format('SEND alice "two\nlines"') + ENTER)
    alice.wait_for_line(">>You have a message from alice")
    alice.wait_for_prompt()
    alice.enter("READ alice")
    alice.wait_for_line(">>two^Jlines - user")
    alice.wait_for_line(">>two^Jlines - alice")
    leave(alice)


def test_pasted_colours_without_brackets_do_no_harm(chat: StartChat) -> None:
    """ESC [ 31 m reads like a mouse click; a terminal without bracketed paste may send it."""
    alice = chat()
    alice.type("LI\x1b[31mST" + ENTER)
    alice.wait_for_line(">>[alice]")
    leave(alice)


# --- lesser terminals ----------------------------------------------------------------------------


def test_a_dumb_terminal_gets_plain_lines(chat: StartChat, directory: Address) -> None:
    alice = chat(TERM="dumb")
    bring(address_of(directory, "alice"), b'bob: "hello"')
    alice.wait_for_line(">>You have a message from bob")
    alice.wait_for_prompt()
    alice.enter("READ bob")
    alice.wait_for_line(">>hello - bob")
    alice.wait_for_prompt()
    alice.enter("LIST")
    alice.wait_for_line(">>[alice]")
    alice.wait_for_prompt()
    assert b"\x1b" not in alice.seen
    assert f"{PROMPT}READ bob" in alice.lines
    leave(alice)
    assert alice.cursor_column == 0


def test_the_prompt_goes_to_stderr_when_stdout_is_a_pipe(
    tmp_path: Path, port: int, directory: Address
) -> None:
    reading, writing = os.pipe()
    settings = {"NETCHAT_PORT": str(port)}
    with Terminal(["chat", "alice"], tmp_path / "home", settings, stdout=writing) as alice:
        os.close(writing)
        alice.wait_for_prompt()
        bring(address_of(directory, "alice"), b'bob: "hello"')
        alice.wait_until(lambda: "\n".join(alice.lines).count(PROMPT.rstrip()) >= 2, "it again")
        alice.enter("READ bob")
        alice.wait_for_line(f"{PROMPT}READ bob")
        alice.wait_for_prompt()
        leave(alice)
        assert alice.facts == []
        assert b"\x1b" not in alice.seen
        assert alice.cursor_column == 0
    with open(reading, "rb") as pipe:
        assert pipe.read().decode().splitlines() == [
            ">>User registered in server!",
            ">>You have a message from bob",
            ">>hello - bob",
        ]


def test_a_terminal_at_the_output_alone_gets_no_prompt(tmp_path: Path, port: int) -> None:
    """Commands from a file: the facts are seen, and nothing is asked."""
    master, slave = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "netchat", "chat", "alice"],
            input=b"LIST\n",
            stdout=slave,
            stderr=subprocess.DEVNULL,
            env=environment(tmp_path) | {"NETCHAT_PORT": str(port), "TERM": "xterm"},
            timeout=15,
            check=False,
        )
        assert done.returncode == 0
        assert os.read(master, 4_096) == b">>User registered in server!\r\n>>[alice]\r\n"
    finally:
        os.close(master)
        os.close(slave)


def test_failures_before_the_prompt_leave_the_terminal_alone(tmp_path: Path, port: int) -> None:
    settings = {"NETCHAT_PORT": str(port)}
    with Terminal(["chat", "b@b"], tmp_path / "home", settings) as terminal:
        assert terminal.wait_for_end() == 2
        assert terminal.modes == terminal.modes_before
        assert b"\x1b" not in terminal.seen

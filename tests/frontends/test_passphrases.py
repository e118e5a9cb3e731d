"""Where passphrases come from, and that nobody but who types one sees it."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.interop.processes import environment

from netchat.errors import IdentityLocked
from netchat.frontends import passphrases
from netchat.frontends.passphrases import ask_passphrase, choose_passphrase

PATH = "/home/a/identity"
NEEDED, WRONG = "passphrase-needed", "wrong-passphrase"


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETCHAT_PASSPHRASE", raising=False)


class Person:
    """Somebody at the terminal who types one answer after the other; "" is only Enter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[str] = []
        self.questions: list[str] = []
        monkeypatch.setattr(passphrases, "can_ask", lambda: True)
        monkeypatch.setattr(click.termui, "hidden_prompt_func", self._answer)

    def _answer(self, question: str) -> str:
        self.questions.append(question)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    return Person(monkeypatch)


def test_the_setting_is_taken_first(monkeypatch: pytest.MonkeyPatch, person: Person) -> None:
    monkeypatch.setenv("NETCHAT_PASSPHRASE", "secret")
    assert ask_passphrase(PATH, NEEDED) == "secret"
    assert person.questions == []


def test_a_wrong_setting_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETCHAT_PASSPHRASE", "secret")
    assert ask_passphrase(PATH, WRONG) is None


@pytest.mark.parametrize("setting", [None, ""])
def test_where_nobody_can_be_asked_there_is_none(
    monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    monkeypatch.setattr(passphrases, "can_ask", lambda: False)
    if setting is not None:
        monkeypatch.setenv("NETCHAT_PASSPHRASE", setting)
    assert ask_passphrase(PATH, NEEDED) is None
    with pytest.raises(IdentityLocked) as raised:
        choose_passphrase(PATH, is_locked=False)
    assert (raised.value.path, raised.value.reason) == (PATH, "no-terminal")


def test_a_person_is_asked(person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    person.answers = ["secret"]
    assert ask_passphrase(PATH, NEEDED) == "secret"
    out, err = capfd.readouterr()
    assert out == ""
    assert err + "".join(person.questions) == f"Passphrase for {PATH}: "


def test_a_person_who_mistyped_is_asked_again(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    person.answers = ["", "secret"]  # only Enter is no passphrase
    assert ask_passphrase(PATH, WRONG) == "secret"
    err = capfd.readouterr().err + "".join(person.questions)
    assert err.count(f"Wrong passphrase; again for {PATH}: "[:-1]) == 2


@pytest.mark.parametrize("answers", [[], [""]])
def test_ctrl_d_gives_up(person: Person, answers: list[str]) -> None:
    person.answers = answers
    with pytest.raises(click.Abort):
        ask_passphrase(PATH, NEEDED)


def test_a_new_one_is_typed_twice(person: Person) -> None:
    person.answers = ["one", "other", "secret", "secret"]
    assert choose_passphrase(PATH, is_locked=True) == "secret"
    assert len(person.questions) == 4


def test_nothing_typed_takes_the_lock_away(person: Person) -> None:
    person.answers = ["", ""]
    assert choose_passphrase(PATH, is_locked=True) is None


def test_a_new_one_that_is_not_repeated_is_not_taken(person: Person) -> None:
    person.answers = ["secret", ""]
    with pytest.raises(click.Abort):
        choose_passphrase(PATH, is_locked=True)


def test_the_setting_locks_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETCHAT_PASSPHRASE", "secret")
    assert choose_passphrase(PATH, is_locked=False) == "secret"


def test_the_setting_that_opens_is_not_what_comes_after(
    monkeypatch: pytest.MonkeyPatch, person: Person
) -> None:
    monkeypatch.setenv("NETCHAT_PASSPHRASE", "old")
    person.answers = ["new", "new"]
    assert choose_passphrase(PATH, is_locked=True) == "new"


# --- a real terminal -----------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.slow
def test_nothing_of_it_is_seen_on_a_terminal(tmp_path: Path, terminal: tuple[int, int]) -> None:
    """What is typed is not echoed, and the terminal is as it was afterwards."""
    ours, theirs = terminal
    modes = termios.tcgetattr(theirs)
    code = (
        "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        " from netchat.frontends.passphrases import ask_passphrase;"
        f" sys.exit(0 if ask_passphrase({PATH!r}, {NEEDED!r}) == 'secret' else 'another one')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(tmp_path),
        start_new_session=True,
    ) as process:
        seen = b""
        while not seen.rstrip().endswith(b"identity:"):
            seen += os.read(ours, 1_000)
        # getpass flushes what came before the echo was off, so it is off when this is typed.
        while termios.tcgetattr(theirs)[3] & termios.ECHO:
            assert process.poll() is None
        os.write(ours, b"secret\n")
        assert process.wait(15) == 0, seen
    os.write(theirs, b"END")
    while not seen.endswith(b"END"):
        seen += os.read(ours, 1_000)
    assert b"secret" not in seen
    assert termios.tcgetattr(theirs) == modes

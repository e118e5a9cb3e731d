"""The command line: what it takes, what it says when that is wrong, and with which status."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.frontends.recorder import Recorder, options_of
from tests.frontends.running import assert_one_sentence, netchat
from tests.interop.processes import environment, serving
from tests.system.processes import Chat, unused_port

from netchat import __version__, errors
from netchat.frontends import cli, words
from netchat.frontends.program import (
    ChatOptions,
    ReleaseOptions,
    ServeOptions,
    SimOptions,
    TrustOptions,
)
from netchat.limits import (
    CLASSIC_TTL_S,
    MAILBOX_ENVELOPES_MAX,
    MAILBOX_PER_DEPOSITOR_MAX,
    PORT_DEFAULT,
)

SETTINGS = (
    "NETCHAT_DIRECTORY",
    "NETCHAT_PORT",
    "NETCHAT_PROFILE",
    "NETCHAT_CLASSIC",
    "NETCHAT_PASSPHRASE",
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting, raising=False)


# --- options and the environment -----------------------------------------------------------------

PLAIN = ChatOptions(
    name="alice",
    directory=None,
    port=PORT_DEFAULT,
    listen=None,
    advertise=None,
    profile=None,
    prompt=False,
    classic=False,
    read_receipts=False,
    deletes="honour",
)


def test_chat_needs_only_a_name() -> None:
    assert options_of("chat", "alice") == PLAIN


def test_chat_takes_everything() -> None:
    assert options_of(
        *("chat", "alice", "--directory", "http://a:1", "--listen", "192.0.2.1:2", "--prompt"),
        *("--advertise", "192.0.2.1:3", "--profile", "work", "--port", "7801"),
        *("--classic", "--read-receipts", "--deletes", "wipe"),
    ) == ChatOptions(
        name="alice",
        directory="http://a:1",
        port=7_801,
        listen="192.0.2.1:2",
        advertise="192.0.2.1:3",
        profile="work",
        prompt=True,
        classic=True,
        read_receipts=True,
        deletes="wipe",
    )


def test_serve_serves_everybody_unless_told() -> None:
    assert options_of("serve") == ServeOptions(
        hosts=("0.0.0.0", "::"),
        port=PORT_DEFAULT,
        data=None,
        classic_ttl_s=CLASSIC_TTL_S,
        mailbox_max=MAILBOX_ENVELOPES_MAX,
        depositor_max=MAILBOX_PER_DEPOSITOR_MAX,
    )
    assert options_of(
        *("serve", "--host", "127.0.0.1", "--host", "::1", "--port", "0", "--data", "/d"),
        *("--classic-ttl", "60", "--mailbox-max", "5", "--depositor-max", "2"),
    ) == ServeOptions(
        hosts=("127.0.0.1", "::1"),
        port=0,
        data=Path("/d"),
        classic_ttl_s=60,
        mailbox_max=5,
        depositor_max=2,
    )


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (["serve", "release", "bob"], None),
        (["serve", "release", "bob", "--data", "/d"], Path("/d")),
        (["serve", "--data", "/d", "release", "bob"], Path("/d")),
        (["serve", "--data", "/e", "release", "--data", "/d", "bob"], Path("/d")),
    ],
)
def test_release_serves_nobody(arguments: list[str], data: Path | None) -> None:
    assert options_of(*arguments) == ReleaseOptions(name="bob", data=data)


def test_sim() -> None:
    assert options_of("sim", "--seed", "7", "--trace") == SimOptions(
        seeds=200, first=0, seed=7, trace=True, json=False, plant=None
    )


@pytest.mark.parametrize("fault", ["no-dedupe", "dedupe-not-persisted", "receipt-before-commit"])
def test_a_planted_fault(fault: str) -> None:
    options = options_of("sim", "--plant", fault)
    assert isinstance(options, SimOptions)
    assert options.plant == fault


def test_no_option_takes_a_passphrase() -> None:
    """Every process of a machine may read a command line."""
    for command in (["chat", "alice"], ["identity", "passphrase"]):
        assert cli.run([*command, "--passphrase", "secret"], Recorder()) == 2


def test_the_environment_stands_in_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETCHAT_DIRECTORY", "http://env:1")
    monkeypatch.setenv("NETCHAT_PORT", "7802")
    monkeypatch.setenv("NETCHAT_PROFILE", "env")
    monkeypatch.setenv("NETCHAT_CLASSIC", "1")
    from_environment = options_of("chat", "alice")
    assert isinstance(from_environment, ChatOptions)
    assert from_environment.directory == "http://env:1"
    assert from_environment.port == 7_802
    assert from_environment.profile == "env"
    assert from_environment.classic
    assert options_of("trust", "bob") == TrustOptions(name="bob", decision=None, profile="env")
    told = options_of(
        "chat", "alice", "--directory", "http://a:1", "--port", "7801", "--profile", "work"
    )
    assert isinstance(told, ChatOptions)
    assert (told.directory, told.port, told.profile) == ("http://a:1", 7_801, "work")
    served = options_of("serve")
    assert isinstance(served, ServeOptions)
    assert served.port == 7_802


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(setting, "")
    assert options_of("chat", "alice") == PLAIN


# --- wrong usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem", "command"),
    [
        (["chat"], "NAME", "netchat chat"),
        (["chat", "alice", "bob"], "bob", "netchat chat"),
        (["chat", "alice", "--colour"], "--colour", "netchat chat"),
        (["chat", "alice", "--port", "http"], "http", "netchat chat"),
        (["chat", "alice", "--port", "65536"], "65536", "netchat chat"),
        (["chat", "alice", "--port", "0"], "0", "netchat chat"),
        (["chat", "alice", "--directory"], "--directory", "netchat"),
        (["serve", "--port", "-1"], "-1", "netchat serve"),
        (["serve", "--classic-ttl", "0"], "0", "netchat serve"),
        (["serve", "--mailbox-max", "0"], "0", "netchat serve"),
        (["serve", "--depositor-max", "x"], "x", "netchat serve"),
        (["serve", "dance"], "dance", "netchat serve"),
        (["serve", "release"], "NAME", "netchat serve release"),
        (["sim", "--seeds", "0"], "0", "netchat sim"),
        (["sim", "--plant", "rose"], "rose", "netchat sim"),
        (["identity", "steal"], "steal", "netchat identity"),
        (["identity", "show"], "--profile", "netchat identity show"),
        (["identity", "export", "--profile", "a"], "FILE", "netchat identity export"),
        (["identity", "import", "--profile", "a"], "FILE", "netchat identity import"),
        (["verify", "--profile", "a"], "NAME", "netchat verify"),
        (["verify", "bob"], "--profile", "netchat verify"),
        (["verify", "bob", "123", "456", "--profile", "a"], "456", "netchat verify"),
        (["trust", "bob", "perhaps", "--profile", "a"], "perhaps", "netchat trust"),
        (["dance"], "dance", "netchat"),
        (["--dance"], "--dance", "netchat"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str, command: str
) -> None:
    recorder = Recorder()
    assert cli.run(arguments, recorder) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("netchat: ")
    assert problem in err
    assert err.endswith(f"; see: {command} --help\n")
    assert recorder.options is None


def test_without_a_command_it_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([], Recorder()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "  chat " in err
    assert "  serve " in err


COMMANDS = [
    [],
    ["chat"],
    ["identity"],
    ["identity", "show"],
    ["identity", "export"],
    ["identity", "import"],
    ["identity", "passphrase"],
    ["verify"],
    ["trust"],
    ["serve"],
    ["serve", "release"],
    ["sim"],
]


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help(capsys: pytest.CaptureFixture[str], command: list[str], option: str) -> None:
    assert cli.run([*command, option], Recorder()) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(['netchat', *command])} ")
    assert "..." not in out.partition("\n")[2]  # no description is cut
    assert err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"], Recorder()) == 0
    assert capsys.readouterr() == (f"netchat, version {__version__}\n", "")


# --- status --------------------------------------------------------------------------------------

STATUS = {
    "no name": (errors.InvalidName("b@b"), 2),
    "no address": (errors.InvalidAddress("x", "not-host-port"), 2),
    "no url": (errors.InvalidUrl("ftp://x"), 2),
    "no directory": (errors.DirectoryUnreachable("http://a:1", "timeout"), 6),
    "refused": (errors.DirectoryRefused("http://a:1", "no", 403), 6),
    "no key text": (errors.InvalidKey("x"), 2),
    "no key": (errors.NoKey("bob"), 3),
    "another key": (errors.KeyMismatch("bob"), 5),
    "locked": (errors.IdentityLocked("/p", "wrong-passphrase"), 7),
    "unreadable": (errors.IdentityUnreadable("/p", "damaged"), 7),
    "profile in use": (errors.ProfileInUse("/p", 1), 7),
    "address in use": (errors.AddressInUse("127.0.0.1:1", "in-use"), 1),
    "disk": (errors.StoreUnavailable("full"), 1),
    "newer": (errors.StoreNewer("/p", 2, 1), 1),
}


@pytest.mark.parametrize(("error", "status"), STATUS.values(), ids=STATUS)
def test_an_error_is_one_sentence_and_a_status(
    capsys: pytest.CaptureFixture[str], error: errors.NetChatError, status: int
) -> None:
    assert cli.run(["chat", "alice"], Recorder(error)) == status
    assert capsys.readouterr() == ("", f"netchat: {words.sentence(error)}\n")


@pytest.mark.parametrize("status", [0, 1, 6, 130])
def test_the_status_of_the_program_is_passed_on(status: int) -> None:
    assert cli.run(["chat", "alice"], Recorder(status=status)) == status


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.run(["chat", "alice"], Recorder(ZeroDivisionError()))


# --- real processes ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["chat", "--help"], ["serve", "--help"], ["--version"], ["chat"]]
)
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: Sequence[str]) -> None:
    code = (
        "import sys; from netchat.app import run; run(sys.argv[1:]);"
        " heavy = {'aiohttp', 'prompt_toolkit', 'sqlite3', 'asyncio.sslproto'} & set(sys.modules);"
        " sys.exit(f'loaded: {heavy}' if heavy - {'asyncio.sslproto'} else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=15,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_profile_in_use(tmp_path: Path) -> None:
    with serving(tmp_path / "directory", tmp_path / "data") as directory:
        first = Chat("alice", tmp_path / "home", "--directory", directory.url)
        try:
            first.expect(words.REGISTERED)
            second = netchat(tmp_path / "home", "chat", "Alice", "--directory", directory.url)
            assert_one_sentence(second, 7)
            assert f"process {first.pid}" in second.stderr
        finally:
            first.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["chat", "b@b"],
        ["chat", "user"],
        ["chat", "alice", "--directory", "ftp://127.0.0.1"],
        ["chat", "alice", "--directory", ""],
        ["chat", "alice", "--listen", "localhost:4000"],
        ["chat", "alice", "--advertise", "192.0.2.7"],
        ["chat", "alice", "--profile", "a b"],
    ],
)
def test_what_cannot_be_is_refused_at_once(tmp_path: Path, arguments: list[str]) -> None:
    assert_one_sentence(netchat(tmp_path, *arguments), 2)
    assert not (tmp_path / "data" / "netchat" / "profiles" / "alice" / "typed-lines").exists()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["chat", "alice", "--profile"], ["serve", "--data"]])
def test_a_place_that_cannot_be_written(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").touch()
    done = netchat(tmp_path, *arguments, str(tmp_path / "file" / "below"))
    assert_one_sentence(done, 1)
    assert str(tmp_path / "file" / "below") in done.stderr


@pytest.mark.slow
def test_an_unreachable_directory(tmp_path: Path) -> None:
    with unused_port() as port:
        url = f"http://127.0.0.1:{port}"
        done = netchat(tmp_path, "chat", "alice", typed="READ bob\n", NETCHAT_DIRECTORY=url)
    assert done.returncode == 6
    lines = done.stdout.split("\n")
    assert lines[0].startswith(f">>Registration failed! No directory at {url}: ")
    assert lines[1:] == [">>No messages found!", ""]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "status"),
    [
        ("LIST\n", 0),
        ("LIST\nEXIT\n", 0),
        ("LIST\nEXIT\nLIST\nFOO\n" + "x" * 100_000, 0),
        ("LIST", 0),
        ("LIST\nFOO\nLIST\nEXIT\n", 1),
        ('SEND nobody "x"\n', 1),
        ("READ nobody\nDELETE nobody\nHELP\n\n", 0),
    ],
)
def test_the_status_of_a_session(tmp_path: Path, typed: str, status: int) -> None:
    with unused_port() as port:
        done = netchat(tmp_path, "chat", "alice", typed=typed, NETCHAT_PORT=str(port))
    assert done.returncode == status
    assert done.stdout.startswith(">>User registered in server!\n")
    assert done.stdout.count(">>[alice]\n") == typed.partition("EXIT")[0].count("LIST")
    assert all(line.startswith("netchat: ") for line in done.stderr.splitlines())


@pytest.mark.slow
def test_settings_reach_the_program(tmp_path: Path) -> None:
    with serving(tmp_path / "directory", tmp_path / "data") as directory:
        done = netchat(
            tmp_path,
            *("chat", "alice"),
            typed="LIST\n",
            NETCHAT_DIRECTORY=directory.url,
            NETCHAT_PROFILE=str(tmp_path / "elsewhere"),
        )
    assert done.returncode == 0
    assert done.stdout == ">>User registered in server!\n>>[alice]\n"
    assert (tmp_path / "elsewhere" / "history.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_what_a_locale_cannot_write_is_written_as_a_number(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    utf8 = "PYTHONIOENCODING" not in settings
    with unused_port() as port:
        done = netchat(
            tmp_path,
            *("chat", "alice"),
            typed='SEND_MULTI [☕] "x"\nLIST\n',
            NETCHAT_PORT=str(port),
            **settings,
        )
    shown = "☕" if utf8 else "\\u2615"
    assert done.stdout.splitlines()[1:] == [
        f">> Error: Message cannot be sent to {shown}, user does not exist",
        ">>[alice]",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_accident(tmp_path: Path, closed: int) -> None:
    """Its number must not go to a file of ours: what is in there would be read as commands."""
    with unused_port() as port:
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" -m netchat chat alice {closed}<&-', sys.executable],
            input=b"LIST\n",
            capture_output=True,
            cwd=tmp_path,
            env=environment(tmp_path) | {"NETCHAT_PORT": str(port)},
            timeout=15,
            check=False,
        )
    assert done.returncode == 0
    lists = b">>[alice]\n" if closed == 2 else b""
    expected = b"" if closed == 1 else b">>User registered in server!\n" + lists
    assert done.stdout == expected
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["chat", "alice"]])
def test_an_output_that_cannot_be_written(tmp_path: Path, arguments: list[str]) -> None:
    with unused_port() as port, open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "netchat", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path) | {"NETCHAT_PORT": str(port)},
            timeout=15,
            check=False,
        )
    assert done.returncode == 1
    assert all(line.startswith("netchat: ") for line in done.stderr.splitlines())
    assert "No space left on device" in done.stderr


@pytest.mark.slow
def test_a_reader_that_goes_ends_the_chat(tmp_path: Path) -> None:
    with (
        unused_port() as port,
        subprocess.Popen(
            [sys.executable, "-m", "netchat", "chat", "alice", "--port", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(tmp_path),
        ) as alice,
    ):
        assert alice.stdin is not None
        assert alice.stdout is not None
        assert alice.stderr is not None
        assert alice.stdout.readline() == b">>User registered in server!\n"
        alice.stdout.close()
        alice.stdin.write(b"LIST\n")
        assert alice.wait(15) == 1
        assert b"Traceback" not in alice.stderr.read()

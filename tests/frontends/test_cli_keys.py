"""``netchat identity``, ``verify``, ``trust`` and ``serve release``: what they take and print."""

from pathlib import Path

import pytest
from tests.frontends.recorder import KEY, NEW_KEY, Options, Recorder, options_of
from tests.frontends.running import assert_one_sentence, netchat
from tests.interop.processes import serving
from tests.system.processes import Chat, unused_port

from netchat import errors
from netchat.api import Person, TrustDecision
from netchat.frontends import cli, cli_keys, qr, words
from netchat.frontends.program import (
    IdentityAction,
    IdentityOptions,
    TrustOptions,
    VerifyOptions,
    Whoami,
)
from netchat.model import Name, PeerId, TrustState


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETCHAT_PROFILE", raising=False)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (
            ["identity", "show", "--profile", "alice"],
            IdentityOptions(action=IdentityAction.SHOW, profile="alice"),
        ),
        (
            ["identity", "export", "/f", "--profile", "alice"],
            IdentityOptions(action=IdentityAction.EXPORT, file=Path("/f"), profile="alice"),
        ),
        (
            ["identity", "import", "--profile", "./p/q", "f"],
            IdentityOptions(action=IdentityAction.IMPORT, file=Path("f"), profile="./p/q"),
        ),
        (
            ["identity", "passphrase", "--profile", "alice"],
            IdentityOptions(action=IdentityAction.PASSPHRASE, profile="alice"),
        ),
        (
            ["verify", "bob", "--profile", "alice"],
            VerifyOptions(name="bob", proof=None, profile="alice"),
        ),
        (
            ["verify", "bob", "12345 67890", "--profile", "alice"],
            VerifyOptions(name="bob", proof="12345 67890", profile="alice"),
        ),
        (
            ["trust", "--profile", "alice", "bob"],
            TrustOptions(name="bob", decision=None, profile="alice"),
        ),
        *(
            (
                ["trust", "bob", decision.value, "--profile", "alice"],
                TrustOptions(name="bob", decision=decision, profile="alice"),
            )
            for decision in TrustDecision
        ),
    ],
)
def test_the_commands_about_keys(arguments: list[str], options: Options) -> None:
    assert options_of(*arguments) == options


@pytest.mark.parametrize(
    "arguments",
    [
        ["identity", "show", "--profile", "a"],
        ["verify", "bob", "--profile", "a"],
        ["trust", "bob", "--profile", "a"],
    ],
)
def test_a_profile_that_a_chat_uses(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    error = errors.ProfileInUse("/p", 4711)
    assert cli.run(arguments, Recorder(error)) == 7
    assert capsys.readouterr() == ("", f"netchat: {words.sentence(error)}\n")


# --- what the commands about keys print ----------------------------------------------------------

KEY_TEXT = "netchat:1:bob:" + "A" * 43
NEW_KEY_TEXT = "netchat:1:bob:" + "_" * 42 + "8"
HELD = f"""\
Trust in bob: first key, not verified
Key of bob: {KEY_TEXT}
Safety number with bob: 11111 22222
"""
CHANGED = Person(
    name=Name("bob"),
    state=TrustState.TOFU,
    key=KEY,
    number="11111 22222",
    pending_key=NEW_KEY,
    pending_number="33333 44444",
)
HELD_CHANGED = f"""\
Trust in bob: first key, not verified; stopped, because another key came
Key of bob: {KEY_TEXT}
Safety number with bob: 11111 22222
New key of bob: {NEW_KEY_TEXT}
Safety number with the new key of bob: 33333 44444
"""
COMPARE = (
    "netchat: bob is shown the same safety number under your name; compare them in person or by"
    ' phone. If they are equal: netchat verify bob "THE NUMBER"; if not, somebody is between you.\n'
)
DECIDE = (
    "netchat: compare the new number with bob, in person or by phone. If it is the same there:"
    ' netchat trust bob "accept"; if not: netchat trust bob "refuse".\n'
)
OPEN = (
    "netchat: The identity has no passphrase: who reads its file can be you; to lock it:"
    " netchat identity passphrase\n"
)
LOCKED = "netchat: The identity is locked with a passphrase.\n"
NOBODY = Person(name=Name("bob"), state=TrustState.NONE)
ALICE_LOCKED = Whoami(Name("alice"), KEY, is_locked=True)
ALICE_TEXT = "netchat:1:alice:" + "A" * 43
Printed = tuple[list[str], Recorder, int, str, str]
PRINTS: dict[str, Printed] = {
    "who": (["identity", "show"], Recorder(), 0, f"{ALICE_TEXT}\n", OPEN),
    "who, locked": (["identity", "show"], Recorder(who=ALICE_LOCKED), 0, f"{ALICE_TEXT}\n", LOCKED),
    "who without a name": (
        ["identity", "show"],
        Recorder(who=Whoami(None, KEY, is_locked=True)),
        0,
        "A" * 43 + "\n",
        LOCKED,
    ),
    "export": (
        ["identity", "export", "/f"],
        Recorder(),
        0,
        "",
        "netchat: Exported to /f; whoever has it can be you, so keep it where nobody else reads.\n",
    ),
    "export, locked": (
        ["identity", "export", "/f"],
        Recorder(who=ALICE_LOCKED),
        0,
        "",
        "netchat: Exported to /f; whoever has it and its passphrase can be you, so keep it where"
        " nobody else reads.\n",
    ),
    "import": (
        ["identity", "import", "/f"],
        Recorder(),
        0,
        "",
        "netchat: Imported; use an identity in one place only.\n",
    ),
    "lock": (["identity", "passphrase"], Recorder(who=ALICE_LOCKED), 0, "", LOCKED),
    "unlock": (["identity", "passphrase"], Recorder(), 0, "", OPEN),
    "verify": (["verify", "bob"], Recorder(), 0, HELD, COMPARE),
    "verify a changed one": (
        ["verify", "bob"],
        Recorder(person=CHANGED),
        0,
        HELD_CHANGED,
        DECIDE,
    ),
    "verify nobody": (
        ["verify", "bob"],
        Recorder(person=NOBODY),
        3,
        "",
        f"netchat: {words.sentence(errors.NoKey('bob'))}\n",
    ),
    "verified": (["verify", "bob", "11111 22222"], Recorder(), 0, "Key of bob verified!\n", ""),
    "trust": (["trust", "bob"], Recorder(), 0, HELD, ""),
    "trust a changed one": (["trust", "bob"], Recorder(person=CHANGED), 0, HELD_CHANGED, DECIDE),
    "trust nobody": (
        ["trust", "bob"],
        Recorder(person=NOBODY),
        3,
        "Trust in bob: nothing is known yet\n",
        "",
    ),
    "accept": (
        ["trust", "bob", "accept"],
        Recorder(),
        0,
        "New key of bob accepted!\n",
        "netchat: what waited for bob goes on; this key is not verified yet.\n",
    ),
    "forget": (
        ["trust", "bob", "forget"],
        Recorder(person=NOBODY),
        0,
        "Key of bob forgotten!\n",
        "netchat: the next key that comes under this name is taken for the one of bob, also one"
        " that you refused before.\n",
    ),
    "release": (
        ["serve", "release", "bob"],
        Recorder(),
        0,
        "bob is free: the next key that claims the name keeps it.\n",
        "",
    ),
    "release nothing": (
        ["serve", "release", "bob"],
        Recorder(held=False),
        3,
        "",
        "netchat: No key holds the name bob here; check it, and --data.\n",
    ),
}


@pytest.mark.parametrize("printed", PRINTS.values(), ids=PRINTS)
def test_what_the_commands_about_keys_print(
    capsys: pytest.CaptureFixture[str], printed: Printed
) -> None:
    arguments, recorder, status, out, err = printed
    profile = [] if arguments[0] == "serve" else ["--profile", "alice"]
    assert cli.run([*arguments, *profile], recorder) == status
    assert capsys.readouterr() == (out, err)


def test_who_we_are_is_drawn_where_it_can_be_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_keys, "shows_pictures", lambda: True)
    assert cli.run(["identity", "show", "--profile", "alice"], Recorder()) == 0
    assert capsys.readouterr().out == f"{ALICE_TEXT}\n{qr.picture(ALICE_TEXT)}\n"


# --- real processes ------------------------------------------------------------------------------


SECRET, ANOTHER = {"NETCHAT_PASSPHRASE": "secret"}, {"NETCHAT_PASSPHRASE": "another"}


def chat_once(home: Path, name: str, **settings: str) -> int:
    """Start a chat, which makes an identity where there is none, and leave it at once."""
    with unused_port() as port:
        return netchat(home, "chat", name, NETCHAT_PORT=str(port), **settings).returncode


def key_of(home: Path, profile: str) -> str:
    shown = netchat(home, "identity", "show", "--profile", profile)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.strip().rpartition(":")[2]


@pytest.mark.slow
def test_a_profile_is_who_its_first_chat_made_it(tmp_path: Path) -> None:
    assert_one_sentence(netchat(tmp_path, "identity", "show", "--profile", "alice"), 7)
    assert chat_once(tmp_path, "alice") == 0
    shown = netchat(tmp_path, "identity", "show", "--profile", "alice")
    assert (shown.returncode, shown.stderr) == (0, OPEN)
    assert shown.stdout.startswith("netchat:1:alice:")
    key = key_of(tmp_path, "alice")
    assert PeerId.parse(key)
    assert chat_once(tmp_path, "alice") == 0
    assert key_of(tmp_path, "alice") == key


@pytest.mark.slow
def test_a_passphrase(tmp_path: Path) -> None:
    assert chat_once(tmp_path, "alice") == 0
    command = ["identity", "passphrase", "--profile", "alice"]
    assert_one_sentence(netchat(tmp_path, *command), 7)  # nobody can be asked
    locked = netchat(tmp_path, *command, **SECRET)
    assert (locked.returncode, locked.stdout, locked.stderr) == (0, "", LOCKED)
    assert chat_once(tmp_path, "alice") == 7
    assert chat_once(tmp_path, "alice", **ANOTHER) == 7
    assert chat_once(tmp_path, "alice", **SECRET) == 0


@pytest.mark.slow
def test_an_identity_that_moves_house(tmp_path: Path) -> None:
    assert chat_once(tmp_path, "alice") == 0
    file = tmp_path / "exported"
    export = ["identity", "export", str(file), "--profile", "alice"]
    assert netchat(tmp_path, *export).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert_one_sentence(netchat(tmp_path, *export), 7)
    assert file.read_bytes() == before

    bring = ["identity", "import", str(file), "--profile", str(tmp_path / "elsewhere")]
    assert netchat(tmp_path, *bring).returncode == 0
    assert key_of(tmp_path, str(tmp_path / "elsewhere")) == key_of(tmp_path, "alice")
    assert_one_sentence(netchat(tmp_path, *bring), 7)
    file.chmod(0o644)
    other = ["identity", "import", str(file), "--profile", "other"]
    assert_one_sentence(netchat(tmp_path, *other), 7)


@pytest.mark.slow
def test_keys_while_a_chat_runs(tmp_path: Path) -> None:
    with serving(tmp_path / "directory", tmp_path / "data") as directory:
        alice = Chat("alice", tmp_path, "--directory", directory.url)
        try:
            alice.expect(words.REGISTERED)
            for arguments in (
                ["identity", "show"],
                ["identity", "passphrase"],
                ["verify", "bob"],
                ["trust", "bob", "forget"],
            ):
                done = netchat(tmp_path, *arguments, "--profile", "alice")
                assert_one_sentence(done, 7)
                assert f"process {alice.pid}" in done.stderr
        finally:
            alice.stop()


@pytest.mark.slow
def test_what_is_decided_is_kept(tmp_path: Path) -> None:
    assert chat_once(tmp_path, "alice") == 0

    def run(*arguments: str) -> tuple[int, str]:
        done = netchat(tmp_path, *arguments, "--profile", "alice")
        return done.returncode, done.stdout

    assert run("trust", "bob") == (3, "Trust in bob: nothing is known yet\n")
    assert run("verify", "bob") == (3, "")
    assert run("verify", "bob", "11111 22222") == (3, "")
    assert run("trust", "bob", "accept") == (3, "")
    assert run("trust", "b@b") == (2, "")
    assert run("trust", "bob", "classic") == (0, "Plain text to bob allowed!\n")
    allowed = "Trust in bob: nothing is known yet; plain text is allowed\n"
    assert run("trust", "bob")[1] == allowed
    assert run("trust", "bob", "forget") == (0, "Key of bob forgotten!\n")
    assert run("trust", "bob") == (3, "Trust in bob: nothing is known yet\n")


@pytest.mark.slow
def test_a_name_that_nobody_holds_cannot_be_released(tmp_path: Path) -> None:
    done = netchat(tmp_path, "serve", "release", "bob", "--data", str(tmp_path / "d"))
    assert_one_sentence(done, 6)  # there is no directory at all

"""A profile on disk: private, and owned by one living process."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from netchat.errors import IdentityUnreadable, ProfileInUse, StoreUnavailable
from netchat.limits import IDENTITY_FILE_BYTES_MAX
from netchat.store import profile as profile_module
from netchat.store.database import open_database
from netchat.store.profile import LOCK_FILE, Profile

LIMIT_S = 30
OWNER = """\
import sys
from pathlib import Path
from netchat.store.profile import Profile
profile = Profile(Path(sys.argv[1]))
print("owned", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people" / "alice"


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that takes nothing away, so that every mode is the program's own choice."""
    before = os.umask(0)
    yield
    os.umask(before)


@contextmanager
def another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that owns the profile; it is killed at the end if it has not gone before."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "owned\n"
            yield owner
        finally:
            owner.kill()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# --- privacy -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("open_umask")
def test_nobody_else_may_read_a_profile(path: Path) -> None:
    """0700 and 0600 whatever the umask says, the files that SQLite adds included."""
    with Profile(path) as profile, closing(open_database(profile.history_path)) as connection:
        connection.execute("INSERT INTO peer (name_key, shown) VALUES ('bob', 'Bob')")
        names = {profile.typed_lines_path.name, *(file.name for file in path.iterdir())}
        assert names == {"lock", "typed-lines", "history.db", "history.db-wal", "history.db-shm"}
        assert {name: oct(mode(path / name)) for name in names} == dict.fromkeys(names, "0o600")
    assert oct(mode(path)) == "0o700"


def test_what_came_back_from_a_backup_is_private_again(tmp_path: Path) -> None:
    """Whatever its modes were there, and those of SQLite's own files beside it."""
    names = ["history.db", "history.db-wal", "history.db-shm"]
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    with Profile(tmp_path) as profile:
        assert profile.history_path == tmp_path / "history.db"
        assert {oct(mode(tmp_path / name)) for name in names} == {"0o600"}


def test_what_is_there_already_is_kept(path: Path) -> None:
    """Asking for a path makes the file when it is missing, and never empties it."""
    with Profile(path) as profile:
        profile.history_path.write_bytes(b"history")
        profile.typed_lines_path.write_bytes(b"lines")
        assert profile.history_path.read_bytes() == b"history"
        assert profile.typed_lines_path.read_bytes() == b"lines"


def test_typed_lines_begin_anew_when_they_are_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read whole at every start."""
    monkeypatch.setattr(profile_module, "TYPED_LINES_BYTES_MAX", 10)
    with Profile(path) as profile:
        profile.typed_lines_path.write_bytes(b"x" * 10)
        assert profile.typed_lines_path.read_bytes() == b"x" * 10
        profile.typed_lines_path.write_bytes(b"x" * 11)
        assert profile.typed_lines_path.read_bytes() == b""


# --- one owner -----------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_who_has_it(path: Path) -> None:
    """The person can go and end that one."""
    with another_process(path) as owner:
        with pytest.raises(ProfileInUse) as caught:
            Profile(path)
        assert (caught.value.path, caught.value.pid) == (str(path), owner.pid)


def test_a_process_that_is_killed_leaves_nothing_to_clean_up(path: Path) -> None:
    """The kernel lets go of the lock, so the next start simply works."""
    with another_process(path) as owner:
        owner.kill()
        owner.wait(LIMIT_S)
        with Profile(path):
            assert (path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_a_child_does_not_inherit_the_lock(path: Path) -> None:
    """A program that was started from here may outlive us; it must not keep the profile."""
    profile = Profile(path)
    with subprocess.Popen(["sleep", str(LIMIT_S)], close_fds=False) as child:
        profile.close()
        Profile(path).close()
        child.kill()


def test_a_profile_is_free_after_close(path: Path) -> None:
    """Within one process too; while it is owned, its own process is told its own number."""
    with Profile(path):
        with pytest.raises(ProfileInUse) as caught:
            Profile(path)
        assert caught.value.pid == os.getpid()
    Profile(path).close()


def test_an_owner_that_did_not_say_who_it_is(path: Path) -> None:
    """The lock counts, not what the file says."""
    path.mkdir(parents=True)
    with (path / LOCK_FILE).open("w") as lock:
        lock.write("somebody\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ProfileInUse) as caught:
            Profile(path)
    assert caught.value.pid == 0


# --- the identity file ---------------------------------------------------------------------------


def why_unreadable(profile: Profile) -> str:
    with pytest.raises(IdentityUnreadable) as caught:
        profile.read_identity_file()
    assert caught.value.path == str(profile.identity_path)
    return caught.value.reason


@pytest.fixture
def profile(path: Path) -> Iterator[Profile]:
    with Profile(path) as profile:
        yield profile


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_identity_file_is_for_its_owner(profile: Profile, umask: int) -> None:
    """0600 whatever the umask says, and nothing else is left behind."""
    assert profile.read_identity_file() is None
    before = os.umask(umask)
    try:
        profile.write_identity_file(b"one")
        assert profile.read_identity_file() == b"one"
        profile.write_identity_file(b"two", replace=True)
    finally:
        os.umask(before)
    assert profile.read_identity_file() == b"two"
    assert oct(mode(profile.identity_path)) == "0o600"
    assert {file.name for file in profile.path.iterdir()} == {"lock", "identity"}


def test_an_identity_is_never_overwritten_by_chance(profile: Profile) -> None:
    """Whoever loses it is nobody any more. A link that leads nowhere counts as one, too."""
    profile.write_identity_file(b"one")
    with pytest.raises(IdentityUnreadable) as caught:
        profile.write_identity_file(b"two")
    assert (caught.value.path, caught.value.reason) == (str(profile.identity_path), "in-use")
    assert profile.read_identity_file() == b"one"
    profile.identity_path.unlink()
    profile.identity_path.symlink_to("nowhere")
    with pytest.raises(IdentityUnreadable, match="in-use"):
        profile.write_identity_file(b"two")


def test_an_identity_can_be_the_first_one_with_replace(profile: Profile) -> None:
    profile.write_identity_file(b"one", replace=True)
    assert profile.read_identity_file() == b"one"


@pytest.mark.parametrize("bits", [0o004, 0o040, 0o020, 0o002, 0o010, 0o001])
def test_an_identity_that_others_reach(profile: Profile, bits: int) -> None:
    """Guards the check of the mode: each bit of group and others alone is too much."""
    profile.write_identity_file(b"one")
    profile.identity_path.chmod(0o600 | bits)
    assert why_unreadable(profile) == "open-to-others"
    profile.identity_path.chmod(0o400)
    assert profile.read_identity_file() == b"one"


def test_an_identity_of_another_user(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns a file may change it."""
    profile.write_identity_file(b"one")
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert why_unreadable(profile) == "open-to-others"


def test_an_identity_that_is_somewhere_else(profile: Profile, tmp_path: Path) -> None:
    """Guards O_NOFOLLOW: where a link leads, other rules may hold."""
    (tmp_path / "elsewhere").touch(mode=0o600)
    profile.identity_path.symlink_to(tmp_path / "elsewhere")
    assert why_unreadable(profile) == "open-to-others"


def test_an_identity_that_is_no_file(profile: Profile) -> None:
    """A pipe is not waited for (this guards O_NONBLOCK), and a directory is none."""
    os.mkfifo(profile.identity_path, 0o600)
    assert why_unreadable(profile) == "damaged"
    profile.identity_path.unlink()
    profile.identity_path.mkdir(mode=0o700)
    assert why_unreadable(profile) == "damaged"


def test_an_identity_file_that_is_too_long(profile: Profile) -> None:
    """One byte more than may be is read, so that whoever reads it notices."""
    profile.write_identity_file(bytes(IDENTITY_FILE_BYTES_MAX))
    with profile.identity_path.open("ab") as file:
        file.write(bytes(1_000_000))
    assert profile.read_identity_file() == bytes(IDENTITY_FILE_BYTES_MAX + 1)
    with pytest.raises(AssertionError):
        profile.write_identity_file(bytes(IDENTITY_FILE_BYTES_MAX + 1), replace=True)


def test_a_process_that_was_killed_while_it_wrote(profile: Profile) -> None:
    """What it left does not count, and is not in the way."""
    (profile.path / "identity.new").write_bytes(b"ha")
    assert profile.read_identity_file() is None
    profile.write_identity_file(b"one")
    assert profile.read_identity_file() == b"one"
    assert not (profile.path / "identity.new").exists()


@pytest.mark.parametrize("function", ["open", "fchmod", "fsync", "replace"])
def test_an_identity_that_the_disk_does_not_take(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """What was there is there still, and half a file is not."""
    profile.write_identity_file(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(os, function, refusing(errno.ENOSPC))
        with pytest.raises(StoreUnavailable, match=f"identity: {os.strerror(errno.ENOSPC)}"):
            profile.write_identity_file(b"two", replace=True)
    assert profile.read_identity_file() == b"one"
    assert {file.name for file in profile.path.iterdir()} == {"lock", "identity"}


@pytest.mark.parametrize(("function", "number"), [("open", errno.EIO), ("read", errno.EIO)])
def test_an_identity_that_the_disk_does_not_give(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    """It is not taken for missing: a new one would be made in its place."""
    profile.write_identity_file(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(os, function, refusing(number))
        with pytest.raises(StoreUnavailable, match=os.strerror(number)):
            profile.read_identity_file()


def refusing(number: int) -> Callable[..., object]:
    def refuse(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return refuse


# --- disks that refuse ---------------------------------------------------------------------------


def test_a_place_that_cannot_be_a_directory(tmp_path: Path) -> None:
    """The reason names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file/alice"):
        Profile(tmp_path / "file" / "alice")


@pytest.mark.parametrize("name", ["history.db", "typed-lines"])
def test_a_file_that_cannot_be_made(path: Path, name: str) -> None:
    """Somebody made a directory of that name."""
    with Profile(path) as profile:
        (path / name).mkdir()
        with pytest.raises(StoreUnavailable, match=name):
            _ = profile.history_path, profile.typed_lines_path


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [(fcntl, "flock", errno.ENOLCK), (os, "pwrite", errno.ENOSPC), (os, "ftruncate", errno.EIO)],
)
def test_a_disk_that_refuses_is_not_another_owner(
    path: Path, monkeypatch: pytest.MonkeyPatch, module: object, function: str, number: int
) -> None:
    """The reason is said as it is, and the profile is not held by the attempt."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(module, function, refuse)
        with pytest.raises(StoreUnavailable, match=os.strerror(number)):
            Profile(path)
    Profile(path).close()

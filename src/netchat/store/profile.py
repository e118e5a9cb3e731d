"""A profile on disk: its directory (0700), the lock that makes one process its owner, and the file
that holds who it is."""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from netchat.errors import IdentityUnreadable, ProfileInUse, StoreUnavailable
from netchat.limits import IDENTITY_FILE_BYTES_MAX, TYPED_LINES_BYTES_MAX

HISTORY_FILE = "history.db"
IDENTITY_FILE = "identity"
LOCK_FILE = "lock"
TYPED_LINES_FILE = "typed-lines"


class Profile:
    """The directory ``path``, owned by this process until ``close``.

    The lock is held by the kernel (flock), so a process that is killed leaves nothing to clean up.

    Raises:
        ProfileInUse: another process owns it.
        StoreUnavailable: the directory cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            pid = _read_pid(self._lock)
            os.close(self._lock)
            raise ProfileInUse(str(path), pid) from error
        except OSError as error:
            os.close(self._lock)
            raise StoreUnavailable(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process own the profile. The lock file stays: removing it would race."""
        os.close(self._lock)

    @property
    def history_path(self) -> Path:
        """Where the history is; the file is made 0600 before SQLite first writes to it."""
        return _private_file(self.path / HISTORY_FILE)

    @property
    def typed_lines_path(self) -> Path:
        """Where the prompt keeps what was typed, for the arrow keys; begun anew when large."""
        path = _private_file(self.path / TYPED_LINES_FILE)
        if path.stat().st_size > TYPED_LINES_BYTES_MAX:
            path.write_bytes(b"")
        return path

    @property
    def identity_path(self) -> Path:
        """Where the private key is; asking for it makes no file."""
        return self.path / IDENTITY_FILE

    def read_identity_file(self) -> bytes | None:
        """Return what the identity file holds, or None when there is none.

        What it means, and whether it is too long, is for ``identity.keys`` to say: at most one
        byte more than may be is read.

        Raises:
            IdentityUnreadable: ``open-to-others`` when somebody else may read or replace it, or it
                is a symbolic link; ``damaged`` when it is no file.
            StoreUnavailable: the disk refused.
        """
        path = self.identity_path
        # O_NONBLOCK: a pipe of that name would else be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise IdentityUnreadable(str(path), "open-to-others") from None
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        try:
            _refuse_what_others_reach(os.fstat(descriptor), path)
            return os.read(descriptor, IDENTITY_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def write_identity_file(self, data: bytes, *, replace: bool = False) -> None:
        """Put ``data`` on the disk as the identity file, for its owner only (0600), whole or not at
        all. Only ``replace`` lets it take the place of another.

        Raises:
            IdentityUnreadable: ``in-use``: there is one.
            StoreUnavailable: the disk refused; what was there is there still, or all of ``data``.
        """
        assert len(data) <= IDENTITY_FILE_BYTES_MAX, "an identity file is short"
        path = self.identity_path
        new = path.with_suffix(".new")
        try:
            # The lock of the profile keeps other processes from making one between these lines.
            if not replace and os.path.lexists(path):
                raise IdentityUnreadable(str(path), "in-use")
            new.unlink(missing_ok=True)  # of a process that was killed in here
            try:
                _write_private_file(new, data)
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
            _sync_directory(self.path)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error


def _private_file(path: Path) -> Path:
    """Make sure that ``path`` exists, and that only its owner can read it and its logs."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(file, 0o600)  # it may have come back from a backup with another mode
        os.close(file)
        for log in (f"{path}-wal", f"{path}-shm"):  # else SQLite makes them as the file itself is
            with contextlib.suppress(FileNotFoundError):
                os.chmod(log, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    return path


def _refuse_what_others_reach(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityUnreadable(str(path), "damaged")
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise IdentityUnreadable(str(path), "open-to-others")


def _write_private_file(path: Path, data: bytes) -> None:
    """Make a new file of mode 0600, whatever the umask says, and wait until the disk has it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Wait until the disk has the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0

"""A profile on disk: its directory (0700) and the lock that makes one process its owner."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from netchat.errors import ProfileInUse, StoreUnavailable
from netchat.limits import TYPED_LINES_BYTES_MAX

HISTORY_FILE = "history.db"
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


def _private_file(path: Path) -> Path:
    """Make sure that ``path`` exists and that only its owner can read it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    return path


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0

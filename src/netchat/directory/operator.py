"""The operator's door: how ``netchat serve release`` reaches the directory that runs.

A running directory leaves ``operator.json`` in its data folder, readable by its owner only, with
where it listens and a token that is new at each start. Whoever can read that may release names.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from netchat.directory.client import DirectoryClient
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import DirectoryError, InvalidUrl, NoDirectoryHere, StoreUnavailable
from netchat.model import Name

DATABASE: Final = "directory.db"
DOOR: Final = "operator.json"
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (read, not bound)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the directory listens, and what proves that a request is its operator's."""

    host: str
    port: int
    token: str

    @classmethod
    def at(cls, hosts: Sequence[str], port: int, token: str) -> "Door":
        """Return the door of a directory that listens on ``hosts``."""
        return cls(_ANY_HOST.get(hosts[0], hosts[0]), port, token)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def release_name(folder: Path, name: Name, now_ms: int) -> bool:
    """Take ``name`` from the key that holds it in the directory whose data is in ``folder``.

    By the directory if it runs, in its file if it does not. Tells whether a key held the name.

    Raises:
        NoDirectoryHere: there never was one.
        DirectoryInUse: it runs, and does not let us in.
        StoreUnavailable: its file cannot be used.
        StoreNewer: a newer NetChat wrote its file.
    """
    door = _read_door(folder)
    if door is not None:
        # A door that was left by one that was killed leads nowhere, or to somebody else.
        with contextlib.suppress(DirectoryError, InvalidUrl):
            async with DirectoryClient(door.url) as client:
                return await client.release(name, door.token)
    path = folder / DATABASE
    if not path.exists():
        raise NoDirectoryHere(str(folder))
    store = EmbeddedStore(path)
    try:
        return await store.release(name, now_ms)
    finally:
        await store.close()


def open_door(folder: Path, door: Door) -> None:
    """Write ``operator.json``; nobody else may read it at any moment.

    Raises:
        StoreUnavailable: the folder does not take it.
    """
    path, new = folder / DOOR, folder / f"{DOOR}.new"
    try:
        new.unlink(missing_ok=True)
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            json.dump(asdict(door), file)
        new.replace(path)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def close_door(folder: Path, token: str) -> None:
    """Remove ``operator.json`` if it is the one of that token."""
    door = _read_door(folder)
    if door is not None and door.token == token:
        with contextlib.suppress(OSError):
            (folder / DOOR).unlink()


def _read_door(folder: Path) -> Door | None:
    try:
        read = json.loads((folder / DOOR).read_text("utf-8"))
        door = Door(str(read["host"]), int(read["port"]), str(read["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return door

"""What the owner of a profile chose about messages that others change or read."""

from dataclasses import dataclass
from enum import Enum


class Deletes(Enum):
    """What becomes of a message here when its author deletes it (docs/spec/delivery.md, D3).

    HONOUR the text goes and a tombstone stays; KEEP it is marked as deleted, and its text stays on
    this disk; WIPE nothing is left to be seen of it.
    """

    HONOUR = "honour"
    KEEP = "keep"
    WIPE = "wipe"


@dataclass(frozen=True, slots=True)
class Policy:
    """``delete_window_ms``: older messages may not be deleted by their author (D2); None: any age,
    counted from when they arrived here. ``tells_reading``: authors learn what was read."""

    deletes: Deletes = Deletes.HONOUR
    delete_window_ms: int | None = None
    tells_reading: bool = False

"""What is one person's on one computer: a key, a disk, and what the person there was told.

It outlives every life of the program. A machine that gets a new key without its old disk gets
another profile; the old one stays, as evidence.
"""

from collections import Counter
from functools import lru_cache
from hashlib import sha256

from netchat.identity.keys import Identity
from netchat.model import DeleteOutcome, MessageId, MessageState, Name
from netchat.testing.disk import Disk


@lru_cache(maxsize=256)
def identity_of(name: Name, number: int) -> Identity:
    """Return the key that ``name`` has on its computer of that number, alike in every run."""
    return Identity.from_seed(sha256(f"{name.key} {number}".encode()).digest())


class Profile:
    """``number`` counts the computers of one person.

    ``asked`` is what the person wanted sent, whatever came of it. ``accepted``, ``refused``,
    ``states``, ``received``, ``unverified`` and ``missing`` are what the person was told since.
    ``handed`` is what went to classic peers.
    """

    def __init__(self, name: Name, number: int, disk: Disk) -> None:
        self.name = name
        self.number = number
        self.identity = identity_of(name, number)
        self.disk = disk
        self.disk.watch.owner = name.key
        self.asked: dict[MessageId, tuple[Name, str]] = {}
        self.accepted: set[MessageId] = set()
        self.refused: set[MessageId] = set()
        self.states: dict[MessageId, MessageState] = {}
        self.told_now: set[MessageId] = set()
        """Of which messages the person heard in this life of the program."""
        self.rows_before = 0
        """How many messages were there when this life began."""
        self.received: Counter[MessageId] = Counter()
        self.missing: Counter[Name] = Counter()
        self.deletes: dict[MessageId, DeleteOutcome] = {}
        self.handed: list[tuple[Name, bytes]] = []
        self.has_jumped = False
        """Whether its clock was ever wrong: then things may expire."""
        self.has_forgotten: set[Name] = set()

    def begin_life(self) -> None:
        """What was said in the life before may have been lost with it."""
        self.told_now.clear()
        self.disk.has_lied = False
        self.rows_before = self.disk.count()

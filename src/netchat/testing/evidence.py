"""What the disks of a run say in the end: every history and outbox, read back as rows."""

from dataclasses import dataclass

from netchat.limits import PAGE_MESSAGES_MAX
from netchat.model import Message, MessageId, MessageState, Name, PeerId, TrustState
from netchat.store.history import History
from netchat.testing.machine import Machine
from netchat.testing.profile import Profile
from netchat.testing.workload import Run


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a history. ``sender`` is None for our own messages and for classic ones."""

    message_id: MessageId
    sender: PeerId | None
    peer: str
    outgoing: bool
    text: str | None
    state: MessageState
    reason: str | None
    is_deleted: bool


class Disk:
    """What one profile has."""

    def __init__(self, machine: Machine, profile: Profile) -> None:
        self.machine = machine
        self.profile = profile
        self.owner = profile.name
        self.is_present = profile is machine.profile
        """Whether it is in use; else it was lost, with its computer."""
        self.has_lied = profile.disk.has_lied
        connection = profile.disk.connection
        self.rows = [
            Row(
                MessageId(message_id),
                PeerId(sender) if sender else None,
                peer,
                bool(outgoing),
                text,
                MessageState(state),
                reason,
                deleted_ms is not None,
            )
            for message_id, sender, peer, outgoing, text, state, reason, deleted_ms in (
                connection.execute(
                    "SELECT message_id, sender, peer, outgoing, text, state, reason, deleted_ms"
                    " FROM message ORDER BY position"
                )
            )
        ]
        self.own = {row.message_id: row for row in self.rows if row.outgoing}
        self.outbox = {
            MessageId(item_id): (peer, kind)
            for item_id, peer, kind in connection.execute("SELECT item_id, peer, kind FROM outbox")
        }
        self.owed = [peer for (peer,) in connection.execute("SELECT peer FROM owed")]
        self.held = {peer for (peer,) in connection.execute("SELECT peer FROM held")}
        self.holders = {
            name: PeerId(holder)
            for name, holder, pending in connection.execute(
                "SELECT name_key, holder, pending FROM pin"
            )
            if holder is not None and pending is None
        }
        self.has_classic = {
            name
            for (name,) in connection.execute(
                "SELECT name_key FROM pin WHERE state = ?", (TrustState.CLASSIC.value,)
            )
        }

    @property
    def key(self) -> PeerId:
        return self.profile.identity.peer_id

    def conversation(self, peer: Name) -> list[Message]:
        """Return a conversation as a face shows it."""
        history = History(self.profile.disk.connection)
        messages: list[Message] = []
        after: tuple[int, MessageId] | None = None
        while page := history.page(peer, after, PAGE_MESSAGES_MAX):
            messages += page
            after = (page[-1].hlc, page[-1].message_id)
        return messages


class Evidence:
    """All disks of a run, present and lost."""

    def __init__(self, run: Run) -> None:
        self.disks = [
            Disk(machine, profile) for machine in run.machines for profile in machine.profiles
        ]
        self.forged = run.stranger.handed
        """What somebody wrote in plain text under the names of others, and to whom."""

    def of(self, name: Name) -> list[Disk]:
        """Return every disk that ``name`` ever had."""
        return [disk for disk in self.disks if disk.owner == name]

    def present(self, name: Name) -> Disk:
        return next(disk for disk in self.disks if disk.owner == name and disk.is_present)

    def trust_each_other(self, one: Disk, other: Disk) -> bool:
        """Tell whether both hold the key of the other for accepted."""
        return (
            one.is_present
            and other.is_present
            and one.machine.is_keyed
            and other.machine.is_keyed
            and one.holders.get(other.owner.key) == other.key
            and other.holders.get(one.owner.key) == one.key
        )

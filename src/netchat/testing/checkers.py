"""What must hold at the end of a run between people with keys, whatever happened in it.

Every message that was accepted is in the sender's history, and either waits in its outbox or has
ended; DELIVERED means once in the receiver's history, and nothing is there that was not sent. The
first word of a violation is its kind: ``lost`` and ``doubled`` are counted on their own.
"""

from collections import Counter
from collections.abc import Iterator

from netchat.model import MessageId, MessageState, Name, PeerId
from netchat.testing.checkers_classic import classic_violations
from netchat.testing.evidence import Disk, Evidence, Row
from netchat.testing.workload import Run

WAITING = (MessageState.QUEUED, MessageState.STORED)
ARRIVED = (MessageState.DELIVERED, MessageState.READ)


def number(message_id: MessageId) -> int:
    """Return what ``--trace`` calls a message."""
    return int.from_bytes(message_id.value)


def violations(run: Run) -> list[str]:
    """Return what is wrong, one sentence each; an empty list is a good run."""
    evidence = Evidence(run)
    found: list[str] = []
    for disk in evidence.disks:
        found += (f"written: {disk.owner}: {one}" for one in disk.profile.disk.watch.wrong)
        found += _kept_what_was_accepted(disk)
        found += _said_what_is_true(evidence, disk)
        found += _missing_is_missing(evidence, disk)
        found += _received_what_was_sent(evidence, disk)
        if disk.machine.is_keyed:
            found += _came_to_an_end(evidence, disk)
        for row in disk.own.values():
            found += _sent_once(evidence, disk, row)
    for one in evidence.disks:
        for other in evidence.disks:
            if one.owner < other.owner and one.is_present and other.is_present:
                found += _same_order(one, other)
    return [*found, *classic_violations(evidence)]


def _kept_what_was_accepted(disk: Disk) -> Iterator[str]:
    """Accepted is on disk; refused is not; and what still waits is in the outbox."""
    profile = disk.profile
    for message_id in profile.accepted:
        if message_id not in disk.own:
            yield f"lost: {number(message_id)} was accepted, and {disk.owner} does not have it"
    for message_id in profile.refused - profile.accepted:
        if message_id in disk.own:
            yield f"lie: {number(message_id)} was refused, and {disk.owner} has it"
    for message_id, row in disk.own.items():
        waits = row.state in WAITING
        in_outbox = disk.outbox.get(message_id, ("", ""))[1] == "text"
        if message_id not in profile.asked:
            yield f"unsent: {number(message_id)} is {disk.owner}'s, and nobody wrote it"
        if waits and not in_outbox:
            yield f"lost: {number(message_id)} is {row.state.value}, and not in the outbox"
        if in_outbox and not waits:
            yield f"lie: {number(message_id)} is {row.state.value}, and still in the outbox"


def _said_what_is_true(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """What the person was told last is what the disk says."""
    profile = disk.profile
    heard_all = disk.is_present and not disk.has_lied
    for message_id, told in profile.states.items():
        row = disk.own.get(message_id)
        if row is None:
            yield f"lost: {disk.owner} heard of {number(message_id)}, which the disk does not have"
        elif told is MessageState.DELIVERED and row.state in WAITING:
            yield from _forgotten_receipt(evidence, disk, row)
        elif row.state is not told and not _came_further(told, row.state):
            yield f"lie: {number(message_id)} was told {told.value}, disk says {row.state.value}"
        elif row.state is not told and message_id in profile.told_now and heard_all:
            yield f"unsaid: {number(message_id)} is {row.state.value}, told was {told.value}"
    if heard_all:
        for row in disk.rows[profile.rows_before :]:
            if not row.outgoing and not row.is_deleted and row.message_id not in profile.received:
                yield f"unsaid: {disk.owner} has {number(row.message_id)}, and was not told"
    for message_id, count in profile.received.items():
        if count > 1:
            yield f"doubled: {disk.owner} was told {count} times of {number(message_id)}"


def _forgotten_receipt(evidence: Evidence, disk: Disk, row: Row) -> Iterator[str]:
    """A receipt is told before it is noted (decision 0012), so a crash may come between.

    It was true all the same; and it is noted when it is repeated, if both are still there for that.
    """
    mark = number(row.message_id)
    if not _copies(evidence, disk, row):
        yield f"lost: {mark} was told delivered, and {row.peer} does not have it"
    if evidence.trust_each_other(disk, evidence.present(Name(row.peer))):
        yield f"lie: {mark} was told delivered, disk says {row.state.value}"


def _came_further(told: MessageState, state: MessageState) -> bool:
    """Tell whether the last word may have been lost in a crash."""
    return told in WAITING or (told is MessageState.DELIVERED and state is MessageState.READ)


def _missing_is_missing(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """Numbers are missed only when their sender gave them up, or an older disk here took them."""
    if disk.profile.number:
        return
    for name, count in disk.profile.missing.items():
        gave_up = any(
            row.state is MessageState.EXPIRED for one in evidence.of(name) for row in one.rows
        ) or any(one.profile.has_jumped or one.profile.has_forgotten for one in evidence.of(name))
        if not gave_up:
            yield f"missing: {disk.owner} misses {count} of {name}, who gave none up"


def _received_what_was_sent(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """Nothing that its key did not write to this person, and each text once."""
    texts: Counter[tuple[str, str]] = Counter()
    for row in disk.rows:
        if row.outgoing or row.sender is None:
            continue
        if row.text is not None:
            texts[row.peer, row.text] += 1
        asked = _asked(evidence, row.peer, row.sender, row.message_id)
        if asked is None:
            yield f"unsent: {disk.owner} has {number(row.message_id)}, which nobody sent"
        elif asked[0] != disk.owner or row.text not in (None, asked[1]):
            yield f"unsent: {disk.owner} has {number(row.message_id)} as it was not sent"
    for (peer, text), count in texts.items():
        if count > 1:
            yield f"doubled: {disk.owner} has {text[:30]!r} of {peer} {count} times"


def _asked(
    evidence: Evidence, peer: str, sender: PeerId, message_id: MessageId
) -> tuple[Name, str] | None:
    for one in evidence.of(Name(peer)):
        if one.key == sender and message_id in one.profile.asked:
            return one.profile.asked[message_id]
    return None


def _sent_once(evidence: Evidence, disk: Disk, row: Row) -> Iterator[str]:
    """DELIVERED is in the receiver's history, once; CANCELLED never was; deleted is deleted."""
    copies = _copies(evidence, disk, row)
    mark = number(row.message_id)
    for there in evidence.of(Name(row.peer)):
        if sum(one is there for one, _ in copies) > 1:
            yield f"doubled: {there.owner} has {mark} more than once"
    if row.state in ARRIVED and not copies:
        yield f"lost: {mark} is {row.state.value}, and {row.peer} does not have it"
    if row.state is MessageState.CANCELLED and copies:
        yield f"lie: {mark} is cancelled, and {row.peer} has it"
    if not row.is_deleted or disk.profile.has_jumped:
        return  # a delete that waited for a year by a wrong clock has expired
    for there, copy in copies:
        if evidence.trust_each_other(disk, there) and not copy.is_deleted:
            yield f"undeleted: {mark} is gone at {disk.owner}, and not at {row.peer}"


def _copies(evidence: Evidence, disk: Disk, row: Row) -> list[tuple[Disk, Row]]:
    """Return where the receiver has a message, on every disk that it ever had."""
    return [
        (there, copy)
        for there in evidence.of(Name(row.peer))
        for copy in there.rows
        if copy.message_id == row.message_id and copy.sender == disk.key
    ]


def _came_to_an_end(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """In peace nothing waits, and nothing is owed, between those who accept each other's keys."""
    if not disk.is_present:
        return
    names = {one.owner.key for one in evidence.disks}
    for item_id, (peer, kind) in disk.outbox.items():
        if peer in names and evidence.trust_each_other(disk, evidence.present(Name(peer))):
            yield f"stuck: {kind} {number(item_id)} of {disk.owner} to {peer} waits in peace"
        if peer == disk.owner.key:
            yield f"stuck: {kind} {number(item_id)} of {disk.owner} to itself"
    for peer in set(disk.owed):
        if peer in names and evidence.trust_each_other(disk, evidence.present(Name(peer))):
            yield f"stuck: {disk.owner} owes {peer} {disk.owed.count(peer)} answers in peace"
    for peer in disk.held & disk.holders.keys():
        yield f"stuck: mail of {peer} is held at {disk.owner}, and no key waits"


def _same_order(one: Disk, other: Disk) -> Iterator[str]:
    """Both sides of a conversation show what they both have in the same order."""
    here = [message.message_id for message in one.conversation(other.owner)]
    there = [message.message_id for message in other.conversation(one.owner)]
    both = set(here) & set(there)
    if [each for each in here if each in both] != [each for each in there if each in both]:
        yield f"order: {one.owner} and {other.owner} show their messages in another order"

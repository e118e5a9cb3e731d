"""What must hold at the end of a run where classic traffic is concerned.

A classic peer confirms nothing, so a message that was sent may be lost; what may never happen is
that a history shows what nobody sent, or shows it twice, or that a state lies.
"""

from collections import Counter
from collections.abc import Iterator

from netchat.model import MessageState, Name
from netchat.testing.evidence import Disk, Evidence
from netchat.wire.classic import encode_delete, encode_text


def classic_violations(evidence: Evidence) -> Iterator[str]:
    """Yield what is wrong, one sentence each."""
    for disk in evidence.disks:
        yield from _received_what_was_handed(evidence, disk)
        yield from _states_are_true(evidence, disk)
        yield from _handed_what_it_has(disk)
        yield from _deleted_no_more_than_asked(evidence, disk)


def _contact(name: Name) -> tuple[str, str]:
    """Return where what came in plain text under a name may stand."""
    return name.key, f"~{name.key}"


def _received_what_was_handed(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """Nothing in a history that was not handed to it, and nothing twice."""
    texts = Counter(
        (row.peer.removeprefix("~"), row.text)
        for row in disk.rows
        if not row.outgoing and row.sender is None and row.text is not None
    )
    for (peer, text), count in texts.items():
        sender = Name(peer)
        data = encode_text(sender, text or "")
        handed = sum(one.profile.handed.count((disk.owner, data)) for one in evidence.of(sender))
        handed += evidence.forged.count((disk.owner, data))
        if handed == 0:
            yield f"unsent: {disk.owner} has {data[:40]!r}, which {sender} never sent"
        elif count > 1:
            yield f"doubled: {disk.owner} has {data[:40]!r} {count} times"


def _states_are_true(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """SENT was handed over, CANCELLED never was, and nothing is stuck."""
    for row in disk.own.values():
        text = disk.profile.asked[row.message_id][1]
        receiver = Name(row.peer)
        handed = (receiver, encode_text(disk.owner, text)) in disk.profile.handed
        match row.state:
            case MessageState.SENT if not handed:
                yield f"lost: {disk.owner} shows {text[:30]!r} as sent, and never handed it over"
            case MessageState.CANCELLED if handed:
                yield f"lie: {disk.owner} shows {text[:30]!r} as cancelled, and handed it over"
            case MessageState.QUEUED if _could_go(evidence, disk, receiver):
                yield f"stuck: {text[:30]!r} from {disk.owner} to {receiver} still waits in peace"
            case _:
                pass


def _could_go(evidence: Evidence, disk: Disk, receiver: Name) -> bool:
    """Tell whether plain text from here to there is allowed and possible."""
    there = [one for one in evidence.of(receiver) if one.is_present]
    return (
        disk.is_present
        and disk.machine.allow_classic
        and bool(there)
        and not there[0].machine.is_keyed
        and receiver.key not in disk.holders
    )


def _handed_what_it_has(disk: Disk) -> Iterator[str]:
    """Whatever left the machine in plain text is in the sender's own history."""
    texts = {encode_text(disk.owner, disk.profile.asked[message_id][1]) for message_id in disk.own}
    for peer, data in disk.profile.handed:
        if data != encode_delete(disk.owner) and data not in texts:
            yield f"lost: {disk.owner} handed {data[:40]!r} to {peer} and does not have it"


def _deleted_no_more_than_asked(evidence: Evidence, disk: Disk) -> Iterator[str]:
    """Each delete that was handed over removes one message at most."""
    for sender in {one.owner for one in evidence.disks}:
        asked = sum(
            one.profile.handed.count((disk.owner, encode_delete(sender)))
            for one in evidence.of(sender)
        )
        gone = sum(
            not row.outgoing and row.sender is None and row.is_deleted
            for row in disk.rows
            if row.peer in _contact(sender)
        )
        if gone > asked:
            yield f"deleted: {gone} of {sender} gone at {disk.owner}, {asked} asked"

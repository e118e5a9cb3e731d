"""What a person at a simulated machine hears, and remembers for the checkers."""

from typing import assert_never

from netchat.delivery import notices
from netchat.model import DeleteOutcome, MessageState
from netchat.testing.profile import Profile
from netchat.testing.world import World


def hear(world: World, profile: Profile, notice: notices.Notice) -> None:
    """Take in what a face would show."""
    if world.tracing:
        world.tell(f"{profile.name}: {_said(notice)}")
    match notice:
        case notices.MessagesArrived(_, messages):
            profile.received.update(message_id for message_id, _ in messages)
        case notices.MessagesAccepted(message_ids):
            profile.accepted.update(message_ids)
            for message_id in message_ids:
                profile.states.setdefault(message_id, MessageState.QUEUED)
            profile.told_now.update(message_ids)
        case notices.SendRefused(_, message_ids):
            profile.refused.update(message_ids)
        case notices.MessagesProgressed(_, message_ids, state):
            for message_id in message_ids:
                profile.states[message_id] = state
            profile.told_now.update(message_ids)
        case notices.DeleteProgressed(change_id, _, outcome):
            if outcome is not DeleteOutcome.NOTHING:
                profile.deletes[change_id] = outcome
        case notices.NumbersMissing(peer, count):
            profile.missing[peer] += count
        case (
            notices.PeerPostponed()
            | notices.PeerDeleted()
            | notices.DeleteIgnored()
            | notices.KeyStopped()
            | notices.KeyMoved()
            | notices.RecordRefused()
            | notices.MailHeld()
            | notices.DecisionDone()
        ):
            pass
        case _ as never:
            assert_never(never)


def _said(notice: notices.Notice) -> str:
    match notice:
        case notices.MessagesArrived(contact, messages):
            numbers = [int.from_bytes(message_id.value) for message_id, _ in messages]
            return f"received {numbers} from {contact}"
        case notices.MessagesAccepted(ids):
            return f"accepted {[int.from_bytes(one.value) for one in ids]}"
        case notices.MessagesProgressed(_, ids, state, reason):
            numbers = [int.from_bytes(one.value) for one in ids]
            return f"{numbers} {state.value}" + (f" ({reason})" if reason else "")
        case notices.DeleteProgressed(_, peer, outcome):
            return f"a delete to {peer} is {outcome.value}"
        case notices.PeerPostponed(peer, reason) | notices.RecordRefused(peer, reason):
            return f"{type(notice).__name__} {peer} {reason}"
        case notices.NumbersMissing(peer, count):
            return f"{count} numbers of {peer} are missing"
        case _:
            return type(notice).__name__

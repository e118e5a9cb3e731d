"""What must hold at the end of a run with classic traffic, whatever happened in it.

A classic peer confirms nothing, so a message that was sent may be lost; what may never happen is
that a history shows what nobody sent, or shows it twice, or that a state lies.
"""

from collections import Counter
from collections.abc import Iterator

from netchat.limits import PAGE_MESSAGES_MAX
from netchat.model import Message, MessageState, Name
from netchat.store.history import History
from netchat.testing.machine import Machine
from netchat.testing.workload import Run
from netchat.wire.classic import encode_delete, encode_text


class Evidence:
    """What the disks of a run say, and what its people were told."""

    def __init__(self, run: Run) -> None:
        self.machines = {machine.name: machine for machine in run.machines}
        self.histories = {
            (machine.name, peer): _conversation(machine, peer)
            for machine in run.machines
            for peer in self.machines
        }

    def own(self, machine: Machine) -> Iterator[tuple[Name, Message]]:
        """Yield what ``machine`` wrote, with whom to."""
        for (owner, peer), messages in self.histories.items():
            if owner == machine.name:
                yield from ((peer, message) for message in messages if message.outgoing)

    def violations(self) -> list[str]:
        """Return what is wrong, one sentence each; an empty list is a good run."""
        found: list[str] = []
        for machine in self.machines.values():
            found += self._received_what_was_handed(machine)
            found += self._states_are_true(machine)
            found += self._kept_what_was_accepted(machine)
            found += self._deleted_no_more_than_asked(machine)
        return found

    def _received_what_was_handed(self, receiver: Machine) -> Iterator[str]:
        """Nothing in a history that was not sent to it, and nothing twice."""
        for sender in self.machines.values():
            handed = Counter(data for peer, data in sender.handed if peer == receiver.name)
            shown = Counter(
                encode_text(sender.name, message.text.raw)
                for message in self.histories[receiver.name, sender.name]
                if not message.outgoing and message.text is not None
            )
            for data, count in shown.items():
                if handed[data] == 0:
                    yield f"unsent: {receiver.name} has {data!r}, which {sender.name} never sent"
                elif count > 1:
                    yield f"doubled: {receiver.name} has {data!r} {count} times"
        for text, count in Counter(receiver.told_received).items():
            if count > 1:
                yield f"doubled: {receiver.name} was told {count} times of {text!r}"

    def _states_are_true(self, sender: Machine) -> Iterator[str]:
        """SENT was handed over, CANCELLED never was, nothing is stuck, and the person knows."""
        for peer, message in self.own(sender):
            text = sender.told_accepted.get(message.message_id)
            handed = text is not None and (peer, encode_text(sender.name, text)) in sender.handed
            told = sender.told_states.get(message.message_id)
            match message.state:
                case MessageState.SENT if not handed:
                    yield f"lost: {sender.name} shows {text!r} as sent, and never handed it over"
                case MessageState.CANCELLED if handed:
                    yield f"lie: {sender.name} shows {text!r} as cancelled, and handed it over"
                case MessageState.QUEUED:
                    yield f"stuck: {text!r} from {sender.name} to {peer} still waits in peace"
                case _:
                    pass
            if told is not None and told is not message.state:
                yield f"lie: {sender.name} was told {told.value}, disk says {message.state.value}"

    def _kept_what_was_accepted(self, sender: Machine) -> Iterator[str]:
        """Whatever left the machine or was reported on is in the sender's own history."""
        on_disk = {message.message_id for _, message in self.own(sender)}
        for message_id in sender.told_states:
            if message_id not in on_disk:
                yield f"lost: {sender.name} was told about a message that its disk does not have"
        texts = {
            encode_text(sender.name, text)
            for message_id, text in sender.told_accepted.items()
            if message_id in on_disk
        }
        for peer, data in sender.handed:
            if data != encode_delete(sender.name) and data not in texts:
                yield f"lost: {sender.name} handed {data!r} to {peer} and does not have it"

    def _deleted_no_more_than_asked(self, receiver: Machine) -> Iterator[str]:
        """Each delete that was handed over removes one message at most."""
        for sender in self.machines.values():
            asked = sender.handed.count((receiver.name, encode_delete(sender.name)))
            gone = sum(
                not message.outgoing and message.text is None
                for message in self.histories[receiver.name, sender.name]
            )
            if gone > asked:
                yield f"deleted: {gone} of {sender.name} gone at {receiver.name}, {asked} asked"


def _conversation(machine: Machine, peer: Name) -> list[Message]:
    history = History(machine.disk.connection)
    messages: list[Message] = []
    while page := history.page(peer, messages[-1].position if messages else 0, PAGE_MESSAGES_MAX):
        messages += page
    return messages

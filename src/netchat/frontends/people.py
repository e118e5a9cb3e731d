"""The commands of the prompt about who is who: VERIFY, TRUST, WHOAMI.

They print what a node holds and hand it what a person decided. Nothing is decided here.
"""

from netchat.api import Node, Person, TrustDecision
from netchat.errors import NoKey, TrustError
from netchat.frontends import qr, words, words_trust
from netchat.frontends.console import Printer
from netchat.model import Name, TrustState


class People:
    """Part of a session at ``node``; the printers are those of ``prompt.Session``."""

    def __init__(self, node: Node, out: Printer, note: Printer, draw: Printer | None) -> None:
        self._node = node
        self._out = out
        self._note = note
        self._draw = draw

    def show_self(self) -> None:
        """Say who we are, and draw it where it can be seen."""
        name, key = self._node.name, self._node.key
        for line in words_trust.whoami(name, key):
            self._say(line)
        if self._draw is not None:
            self._draw(qr.picture(words_trust.contact_text(name, key)))

    async def verify(self, peer: Name | None, proof: str | None) -> bool:
        """Show what to compare, or take what was compared; tell whether it succeeded."""
        if peer is None:
            self._out(words.NO_USER)
            return False
        try:
            if proof is not None:
                await self._node.verify(peer, proof)
                self._say(words_trust.verified(peer))
                return True
            person = await self._node.person(peer)
            if person.key is None:
                raise NoKey(str(peer))
        except TrustError as error:
            self._say(words_trust.verify_failed(peer, words.sentence(error)))
            return False
        self._show(person)
        if person.pending_key is None and person.state is not TrustState.VERIFIED:
            self._note(words_trust.how_to_verify(peer, "VERIFY"))
        return True

    async def trust(self, peer: Name | None, decision: TrustDecision | None) -> bool:
        """Show what is held of ``peer``, or take a decision; tell whether it succeeded."""
        if peer is None:
            self._out(words.NO_USER)
            return False
        if decision is None:
            self._show(await self._node.person(peer))
            return True
        try:
            person = await self._node.trust(peer, decision)
        except TrustError as error:
            self._say(words_trust.decision_failed(peer, words.sentence(error)))
            return False
        self._say(words_trust.decided(peer, decision))
        self._note(words_trust.decision_note(person, decision))
        return True

    def _show(self, person: Person) -> None:
        for line in words_trust.held_of(person):
            self._say(line)
        if person.pending_key is not None:
            self._note(words_trust.how_to_decide(person.name, "TRUST"))

    def _say(self, line: str) -> None:
        self._out(words_trust.fact(line))

"""What a face sees of pins: people, with safety numbers; and what a person's proof means."""

from netchat.api import Person
from netchat.delivery.inputs import Decision
from netchat.errors import InvalidKey, KeyMismatch, NoKey, TrustError
from netchat.identity.numbers import parse_contact_text, safety_number
from netchat.model import Name, PeerId, Pin


def person_of(pin: Pin, own: PeerId) -> Person:
    """Return a pin as a face may see it."""
    pending = None if pin.pending is None else pin.pending.record.key
    return Person(
        name=pin.name,
        state=pin.state,
        key=pin.key,
        number=None if pin.key is None else safety_number(own, pin.key),
        pending_key=pending,
        pending_number=None if pending is None else safety_number(own, pending),
        classic_allowed=pin.classic_allowed,
    )


def refusal_of(name: Name, decision: Decision, code: str) -> TrustError:
    """Return why ``decision`` could not be put into effect, as an error for whoever decided."""
    if code != NoKey.code:
        return TrustError(str(name))
    return NoKey(str(name), is_new=decision in (Decision.ACCEPT, Decision.REFUSE))


def proven_key(pin: Pin, own: PeerId, proof: str) -> PeerId:
    """Return the key of ``pin``, when ``proof`` (a safety number, or a contact text) is of it.

    Raises:
        NoKey: nothing is pinned.
        KeyMismatch: the proof belongs to another key, or is none.
    """
    if pin.key is None:
        raise NoKey(str(pin.name))
    if proof.strip().startswith("netchat:"):
        try:
            name, key = parse_contact_text(proof.strip())
        except InvalidKey:
            raise KeyMismatch(str(pin.name)) from None
        if name == pin.name and key == pin.key:
            return key
        raise KeyMismatch(str(pin.name))
    digits = "".join(proof.split())
    if digits == safety_number(own, pin.key).replace(" ", ""):
        return pin.key
    raise KeyMismatch(str(pin.name))

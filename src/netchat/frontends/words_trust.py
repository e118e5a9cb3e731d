"""What people are told about keys: who is who, what to compare, and what a changed key means.

Part of ``words``, apart because it answers one question: may I believe that this is bob? Facts have
no mark here: the prompt puts ``>>`` before them, the command line prints them as they are.
"""

from pathlib import Path
from typing import Final

from netchat.api import (
    KeyChanged,
    KeyRotated,
    MessagesHeld,
    Person,
    RecordSuspicious,
    TrustDecision,
)
from netchat.model import ClaimedName, Contact, DisplayText, Name, PeerId, TrustState

CLASSIC_ALLOWED: Final = (
    "netchat: plain text is allowed: what goes to classic clients can be read by anybody on the"
    " network."
)


def contact_text(name: Name, key: PeerId) -> str:
    """Return what somebody gives away to be verified by, and what the QR code holds."""
    return f"netchat:1:{name}:{key}"


def fact(line: str) -> str:
    """Return a fact as the prompt prints it."""
    return f">>{line}"


def whoami(name: Name, key: PeerId) -> tuple[str, str]:
    return f"You are {name}", f"Your key: {contact_text(name, key)}"


# --- what is held of a name ----------------------------------------------------------------------

_STATES: Final = {
    TrustState.NONE: "nothing is known yet",
    TrustState.CLASSIC: "classic NetChat, not encrypted",
    TrustState.TOFU: "first key, not verified",
    TrustState.VERIFIED: "verified",
}


def held_of(person: Person) -> tuple[str, ...]:
    """Say what this profile holds of a name, a line for each thing."""
    name = person.name
    state = _STATES[person.state]
    if person.pending_key is not None:
        state += "; stopped, because another key came"
    if person.classic_allowed and person.key is None:
        state += "; plain text is allowed"
    lines = [f"Trust in {name}: {state}"]
    if person.key is not None:
        lines.append(f"Key of {name}: {contact_text(name, person.key)}")
    if person.number is not None:
        lines.append(f"Safety number with {name}: {person.number}")
    if person.pending_key is not None:
        lines.append(f"New key of {name}: {contact_text(name, person.pending_key)}")
    if person.pending_number is not None:
        lines.append(f"Safety number with the new key of {name}: {person.pending_number}")
    return tuple(lines)


def how_to_verify(name: Name, command: str) -> str:
    """Say on stderr how two people compare; ``command`` is what marks the key as compared."""
    return (
        f"netchat: {name} is shown the same safety number under your name; compare them in person"
        f' or by phone. If they are equal: {command} {name} "THE NUMBER"; if not, somebody is'
        " between you."
    )


def how_to_decide(name: Name, command: str) -> str:
    """Say on stderr what can be decided about a key that waits."""
    return (
        f"netchat: compare the new number with {name}, in person or by phone. If it is the same"
        f' there: {command} {name} "accept"; if not: {command} {name} "refuse".'
    )


# --- what a person decided -----------------------------------------------------------------------


def verified(name: Name) -> str:
    return f"Key of {name} verified!"


def verify_failed(name: Name, why: str) -> str:
    return f"Failed to verify {name}: {why}"


def decision_failed(name: Name, why: str) -> str:
    return f"Failed to decide on {name}: {why}"


_DECIDED: Final = {
    TrustDecision.ACCEPT: "New key of {name} accepted!",
    TrustDecision.REFUSE: "New key of {name} refused!",
    TrustDecision.ALLOW_CLASSIC: "Plain text to {name} allowed!",
    TrustDecision.FORGET: "Key of {name} forgotten!",
}
_DECISION_NOTES: Final = {
    TrustDecision.ACCEPT: "what waited for {name} goes on; this key is not verified yet",
    TrustDecision.REFUSE: (
        "the key you know stays, and what came from the other one is dropped; you are not asked"
        " about that one again unless yet another key comes"
    ),
    TrustDecision.ALLOW_CLASSIC: "anybody on the network can read what you send to {name}",
    TrustDecision.FORGET: (
        "the next key that comes under this name is taken for the one of {name}, also one that you"
        " refused before"
    ),
}


def decided(name: Name, decision: TrustDecision) -> str:
    return _DECIDED[decision].format(name=name)


def decision_note(person: Person, decision: TrustDecision) -> str:
    """Say on stderr what follows from a decision."""
    note = _DECISION_NOTES[decision]
    if decision is TrustDecision.ALLOW_CLASSIC and person.key is not None:
        note = "{name} has a key, so what you send to {name} is encrypted all the same"
    return f"netchat: {note.format(name=person.name)}."


def released(name: str) -> str:
    return f"{DisplayText(name)} is free: the next key that claims the name keeps it."


def nothing_to_release(name: str) -> str:
    return f"netchat: No key holds the name {DisplayText(name)} here; check it, and --data."


# --- messages in plain text ----------------------------------------------------------------------


def unverified(peer: Contact) -> str:
    """Say on stderr, once for a sender, what its messages are worth."""
    if isinstance(peer, ClaimedName):
        return (
            f"netchat: {peer} is whoever wrote in plain text under the name {peer.name}, without"
            f" the key of {peer.name}: anybody could have written it; ask {peer.name} by SEND."
        )
    return (
        f"netchat: what comes from {peer} comes in plain text: anybody could have written it, and"
        " anybody on the network can read it."
    )


# --- events --------------------------------------------------------------------------------------


_WAITS: Final = {
    "key-changed": (
        "another key came under the name {name}, so nothing is sent there until you decide; see"
        " both with: TRUST {name}"
    ),
    "classic-not-allowed": (
        "{name} uses classic NetChat now, which is not encrypted, so nothing is sent there; to"
        ' allow it: TRUST {name} "classic"'
    ),
}


def waits_for_decision(name: Name, reason: str | None) -> str | None:
    """Say on stderr what a person could do about a queued message, if anything."""
    why = _WAITS.get(reason or "")
    return None if why is None else f"netchat: {why.format(name=name)}"


def key_changed(event: KeyChanged) -> str:
    """Say it on four lines, so that the two numbers stand one below the other."""
    known = ", which you had verified" if event.was_verified else ""
    return "\n".join(
        (
            f"netchat: WARNING: another key came under the name {event.peer}{known}. A new device,"
            " or somebody else; nothing is sent there or taken from there until you decide.",
            f"netchat: safety number of the known key: {event.old_number}",
            f"netchat: safety number of the new key:   {event.new_number}",
            how_to_decide(event.peer, "TRUST"),
        )
    )


def key_rotated(event: KeyRotated) -> str:
    return (
        f"netchat: {event.peer} has a new key, and the old key signed for it, so you go on as"
        f" before; VERIFY {event.peer} shows the new number."
    )


_SUSPICIONS: Final = {
    "rollback": "an older one than it gave before",
    "equivocation": "another one than it gave before under the same number",
}


def record_suspicious(event: RecordSuspicious) -> str:
    what = _SUSPICIONS.get(event.reason, str(DisplayText(event.reason)))
    return (
        f"netchat: WARNING: the record of {event.peer} that the directory gives cannot be right:"
        f" {what}. It was not used; ask who runs the directory what happened."
    )


def messages_held(event: MessagesHeld) -> str:
    messages = "a message" if event.count == 1 else f"{event.count} messages"
    verb = "waits" if event.count == 1 else "wait"
    return (
        f"netchat: {messages} from another key under the name {event.peer} {verb} here, unread,"
        f" until you decide on that key; see it with: TRUST {event.peer}"
    )


# --- the identity file ---------------------------------------------------------------------------

LOCKED: Final = "netchat: The identity is locked with a passphrase."
NOT_LOCKED: Final = (
    "netchat: The identity has no passphrase: who reads its file can be you; to lock it:"
    " netchat identity passphrase"
)
IMPORTED: Final = "netchat: Imported; use an identity in one place only."


def exported(file: Path | None, *, is_locked: bool) -> str:
    """Say what the new file is worth."""
    needs = " and its passphrase" if is_locked else ""
    return (
        f"netchat: Exported to {DisplayText(str(file))}; whoever has it{needs} can be you, so keep"
        " it where nobody else reads."
    )


def ask_for_passphrase(path: str, reason: str) -> str:
    """Return what stands before the cursor where a passphrase is typed."""
    again = "Wrong passphrase; again" if reason == "wrong-passphrase" else "Passphrase"
    return f"{again} for {DisplayText(path)}"


def ask_for_new_passphrase(path: str) -> str:
    return f"New passphrase for {DisplayText(path)} (empty for none)"


ASK_AGAIN: Final = "The same again"

"""Every sentence that people are shown, in one place.

The lines that begin with ``>>`` are the classic prompt's, exactly (classic.md); tests compare them
byte for byte. What NetChat adds goes to stderr and says what happened, why, and what to do next.
What is said about keys, and about what came without one, is in ``words_trust``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from netchat import errors
from netchat.api import (
    DeleteIgnored,
    DirectoryLost,
    Event,
    EventsMissed,
    KeyChanged,
    KeyRotated,
    MessageDeleted,
    MessageReceived,
    MessagesHeld,
    MessagesMissing,
    NameMoved,
    QueuedDeleteEnded,
    QueuedMessagesEnded,
    RecordSuspicious,
    Registered,
    SendOutcome,
)
from netchat.frontends import words_trust
from netchat.limits import CLASSIC_SEND_BYTES_MAX, MISSING_SHOWN_MAX, SEND_WAIT_S
from netchat.model import Contact, DeleteOutcome, DisplayText, Message, MessageState, Name

PROMPT: Final = "Waiting for a command (to exit write EXIT): "
REGISTERED: Final = ">>User registered in server!"
SENT: Final = ">>Message sent!"
NO_USER: Final = ">>User not found!"
NO_MESSAGES: Final = ">>No messages found!"
NOTHING_TO_DELETE: Final = ">>No messages to delete!"
UNKNOWN_COMMAND: Final = ">>Unknown command!"

HELP: Final = """\
LIST                              who is here
SEND bob "hello there"            send a message
SEND_MULTI [bob,carol] "hello"    send one message to several people
READ bob                          the conversation with bob
DELETE bob                        delete your newest message to bob, on both sides
VERIFY bob                        the safety number, to be compared with bob
VERIFY bob "12345 67890 ..."      say that you compared it, and it was equal
TRUST bob                         what is known of bob
TRUST bob "accept"                take the new key of bob; or "refuse" it
TRUST bob "classic"               allow plain text to bob; "forget" undoes all
WHOAMI                            your name and key, for others to verify
HELP                              this list
EXIT                              leave"""

STILL_BUSY: Final = f"netchat: still busy; a command takes {SEND_WAIT_S:.0f} seconds at most."


KEEPS_TRYING: Final = "netchat: you can read and write meanwhile; NetChat keeps trying to register."


def still_waiting(peers: Sequence[Name]) -> str:
    return f"netchat: what you sent to {_joined(peers)} still waits here, to be sent when possible."


def listening(host: str, port: int) -> str:
    return f"listening on http://{f'[{host}]' if ':' in host else host}:{port}"


def registration_failed(error: errors.NetChatError) -> str:
    return f">>Registration failed! {sentence(error)}"


def list_failed(error: errors.NetChatError) -> str:
    return f">>Failed to get user list! {sentence(error)}"


def names(found: Sequence[Name]) -> str:
    return f">>[{_joined(found)}]"


def send_failed(why: str) -> str:
    return f">>Failed to send message: {why}"


def program_failed(error: errors.NetChatError) -> str:
    return f"netchat: {sentence(error)}"


def usage(problem: str, command: str) -> str:
    """Say on stderr that a command line is wrong, in the words of whoever read it."""
    return f"netchat: {DisplayText(problem.rstrip('.'))}; see: {command} --help"


def system_failed(error: OSError) -> str:
    """Say on stderr that the system refused what nothing nearer to it could explain."""
    return f"netchat: The system refused: {DisplayText(str(error.strerror or error))}."


def queued(waiting: Sequence[Name]) -> str:
    verb = "is" if len(waiting) == 1 else "are"
    return f">>Message queued: {_joined(waiting)} {verb} not reachable"


def no_such_people(unknown: Sequence[Name | DisplayText]) -> str:
    return f">> Error: Message cannot be sent to {_joined(unknown)}, user does not exist"


def invalid_command(verb: str) -> str:
    return f">>Invalid {verb} command!"


def arrived(peer: Contact) -> str:
    return f">>You have a message from {peer}"


def conversation_line(message: Message) -> str:
    who = "user" if message.outgoing else str(message.peer)
    return f">>{'Deleted' if message.text is None else message.text} - {who}"


_UNDELIVERED: Final = (
    ((MessageState.QUEUED,), "waiting here"),
    ((MessageState.STORED,), "sealed in the mailbox of {peer}"),
    ((MessageState.FAILED,), "failed, and may or may not have arrived"),
    ((MessageState.EXPIRED, MessageState.CANCELLED), "that will not go"),
)


def undelivered(peer: Contact, shown: Mapping[MessageState, int]) -> str | None:
    """Say on stderr which of our messages in a conversation nobody has said to have.

    What went to a classic client is not counted: nobody can know.
    """
    parts = [
        f"{count} {where.format(peer=peer)}"
        for states, where in _UNDELIVERED
        if (count := sum(shown.get(state, 0) for state in states))
    ]
    return f"netchat: not confirmed of what you wrote: {', '.join(parts)}." if parts else None


def _joined(parts: Sequence[Name | DisplayText]) -> str:
    return ", ".join(str(part) for part in parts)


_SEND_REASONS: Final = {
    "reset": "{peer} broke the connection off; it may or may not have arrived",
    "timeout": "the connection to {peer} broke on the way; it may or may not have arrived",
    "broken": "the connection to {peer} broke on the way; it may or may not have arrived",
    "deleted": "it was deleted before it left",
    "withdrawn": "it was deleted before it was known whether it had arrived",
    "forgotten": "it was told to forget who {peer} is",
    "too-long": "with your name it is longer than a classic client can read",
    "interrupted": "NetChat was stopped on the way; it may or may not have arrived",
    "expired": "{peer} was not reachable for 30 days",
    "cancelled": "it was deleted before it left",
    "key-changed": "another key came under the name {peer}; see both with: TRUST {peer}",
    "sealed-anew": "the old key of {peer} can open it no more, so it is sealed to the new one",
    "classic-not-allowed": (
        '{peer} uses classic NetChat, which is not encrypted; to allow it: TRUST {peer} "classic",'
        " or start with --classic for everybody"
    ),
    "store-unavailable": "the history on this machine could not be written; check its disk",
}


def send_reason(peer: Name, reason: str | None) -> str:
    return _SEND_REASONS.get(reason or "", "the message could not be sent").format(peer=peer)


_DELETE_NOTES: Final = {
    DeleteOutcome.QUEUED: "{peer} is not reachable and is told as soon as possible",
    DeleteOutcome.KEPT: "there it is marked as deleted, but {peer} keeps the text of such messages",
    DeleteOutcome.REFUSED: "{peer} does not delete it, so there it stays as it was",
    DeleteOutcome.EXPIRED: "{peer} was not reachable in time, so it is not deleted there",
    DeleteOutcome.UNKNOWN: "the connection to {peer} broke, so it may or may not be deleted there",
    DeleteOutcome.LOCAL: "{peer} was not told, because it is not known whether the message arrived",
}


def delete_note(peer: Name, outcome: DeleteOutcome) -> str | None:
    """What to add on stderr to a delete that is not simply done on both sides."""
    note = _DELETE_NOTES.get(outcome)
    return None if note is None else f"netchat: deleted here; {note.format(peer=peer)}."


def event_note(event: Event) -> str | None:
    """What to say on stderr about an event, if anything."""
    match event:
        case Registered(url=url, hosted=True):
            return f"netchat: no directory here, so this chat hosts one at {DisplayText(url)}."
        case Registered(url=url, again=True):
            return f"netchat: registered again at {DisplayText(url)}."
        case DirectoryLost(url=url):
            at = DisplayText(url)
            return f"netchat: the directory at {at} does not answer; NetChat keeps trying."
        case NameMoved():
            return (
                "netchat: your name was registered from another address, so others do not reach you"
                " here now; you get it back when that NetChat leaves."
            )
        case DeleteIgnored(peer=peer, source=source, reason="other-source"):
            return (
                f"netchat: a delete that claims to be from {peer} came from {DisplayText(source)},"
                " not from where the message came from, so the message stays."
            )
        case QueuedMessagesEnded():
            return _queued_ended(event)
        case QueuedDeleteEnded(peer=peer, outcome=outcome):
            return delete_note(peer, outcome)
        case MessagesMissing(peer=peer, count=count):
            return _messages_missing(peer, count)
        case KeyChanged():
            return words_trust.key_changed(event)
        case KeyRotated():
            return words_trust.key_rotated(event)
        case RecordSuspicious():
            return words_trust.record_suspicious(event)
        case MessagesHeld():
            return words_trust.messages_held(event)
        case EventsMissed(count=count):
            return f"netchat: {count} events were not shown; READ shows every message."
        case Registered() | DeleteIgnored() | MessageReceived() | MessageDeleted():
            return None


_ENDED_WELL: Final = {
    SendOutcome.DELIVERED: ("was delivered", "were delivered"),
    SendOutcome.STORED: (
        "lies sealed in the mailbox of {peer} now",
        "lie sealed in the mailbox of {peer} now",
    ),
    SendOutcome.SENT: ("was sent", "were sent"),
}


def _queued_ended(event: QueuedMessagesEnded) -> str:
    count, peer = len(event.message_ids), event.peer
    one = count == 1
    what = "the message" if one else f"{count} messages"
    messages = f"netchat: {what} to {peer} that waited here"
    if event.outcome in _ENDED_WELL:
        return f"{messages} {_ENDED_WELL[event.outcome][not one].format(peer=peer)}."
    why = send_reason(peer, event.reason)
    if event.outcome is SendOutcome.QUEUED:
        return f"{messages} still {'waits' if one else 'wait'}: {why}."
    return f"{messages} {'was' if one else 'were'} not sent: {why}."


def _messages_missing(peer: Name, count: int) -> str:
    several = f"{count} messages" if count <= MISSING_SHOWN_MAX else "many messages"
    came = "a message" if count == 1 else several
    return (
        f"netchat: {came} of {peer} never came here and will not: the time for it ran out there, or"
        f" one of you went back to an older state of its disk; ask {peer} to send them again."
    )


_ADDRESS_REASONS: Final = {
    "not-host-port": "write HOST:PORT, like 192.0.2.7:54321",
    "not-an-ip-address": "the host must be an IP address, like 192.0.2.7",
    "no-such-port": "a port is a number from 1 to 65535",
    "not-ipv4": "the classic list holds only IPv4 addresses; give one with --advertise",
    "not-reachable": "nobody can be reached there; give one of this machine",
}
_IN_USE_REASONS: Final = {
    "in-use": "another program listens there; stop it or choose another port",
    "not-permitted": "you may not listen there; choose a port above 1023 or run it as root",
    "not-here": "this machine has no such address; give one of its own",
    "failed": "the system refuses it; choose another address",
}
_DIRECTORY_REASONS: Final = {
    "no-connection": "nothing listens there; check the address, or start one with: netchat serve",
    "timeout": "it does not answer; check the network",
    "no-network": "this machine has no address on a network; check its connection",
    "not-a-directory": "what answers there is not a directory; check the address and port",
    "port-taken": (
        "another program uses this port; stop it, or set NETCHAT_PORT to another port"
        " for everybody on this machine"
    ),
}


_REFUSED_NEXT: Final = {
    "name-held": " Choose another name, or have it released there: netchat serve release NAME",
}
_LOCKED_REASONS: Final = {
    "passphrase-needed": "it has a passphrase; type it at a terminal, or set NETCHAT_PASSPHRASE",
    "wrong-passphrase": "the passphrase is another one; try again",
    "no-terminal": "a new passphrase is typed at a terminal; do it on one",
}
_IDENTITY_REASONS: Final = {
    "damaged": "it is damaged; bring a copy back with: netchat identity import",
    "not-ed25519": "it holds no Ed25519 key, and NetChat uses no other; give another file",
    "open-to-others": "others may read or replace it; take that from them with chmod 600",
    "too-many-rounds": "its lock takes too long to open; lock it anew with: ssh-keygen -p -a 64",
    "in-use": "this profile is somebody already; move that file away, or choose another profile",
    "exists": "a file of that name is there already; choose another name",
    "missing": "it is not there; a first chat makes it, or bring one with: netchat identity import",
}


def sentence(error: errors.NetChatError) -> str:
    """Say what happened, why, and what to do next."""
    match error:
        case errors.InvalidName(reserved=True):
            return f"The name {DisplayText(error.text)} is reserved; choose another one."
        case errors.InvalidName():
            return (
                f"{DisplayText(error.text)} is not a name: use 1 to 32 letters, digits, dots,"
                " dashes or underscores, beginning with a letter or digit."
            )
        case errors.InvalidAddress():
            why = _why(_ADDRESS_REASONS, error)
            return f"The address {DisplayText(error.text)} does not do: {why}."
        case errors.InvalidUrl():
            return (
                f"{DisplayText(error.url)} is not the address of a directory;"
                " write http://HOST:PORT."
            )
        case errors.AddressInUse():
            why = _why(_IN_USE_REASONS, error)
            return f"Cannot listen on {DisplayText(error.address)}: {why}."
        case errors.TextTooLong():
            return _too_long(error)
        case errors.InvalidKey():
            return (
                f"{DisplayText(error.text)} is not a key; copy it whole, as WHOAMI shows it there."
            )
        case errors.DirectoryInUse():
            return (
                f"Another netchat serve uses {DisplayText(error.path)}; stop that one, or give this"
                " one a folder of its own with --data."
            )
        case errors.NoDirectoryHere():
            return (
                f"There is no directory in {DisplayText(error.path)}; say where its data is with"
                " --data, or begin one here with: netchat serve"
            )
        case errors.ProfileInUse():
            return _profile_in_use(error)
        case errors.DirectoryRefused():
            said = f": {DisplayText(error.reason)}" if error.reason else ""
            return (
                f"The directory at {DisplayText(error.url)} refused with status"
                f" {error.status}{said}{_REFUSED_NEXT.get(error.refusal, '')}"
            )
        case errors.DirectoryUnreachable():
            why = _why(_DIRECTORY_REASONS, error)
            return f"No directory at {DisplayText(error.url)}: {why}."
        case errors.StoreNewer():
            return (
                f"{DisplayText(error.path)} was written by a newer NetChat (schema {error.found},"
                f" this one knows {error.known}); update NetChat."
            )
        case errors.StoreUnavailable():
            return (
                f"The disk does not take it: {DisplayText(str(error))};"
                " check free space and permissions."
            )
        case errors.NoKey(is_new=True):
            name = DisplayText(error.name)
            return f"No new key came under the name {name}; there is nothing to decide."
        case errors.NoKey():
            name = DisplayText(error.name)
            return (
                f"There is no key of {name} for this, because none has come; exchange a message"
                f" first, or see what is known with: TRUST {name}"
            )
        case errors.KeyMismatch():
            name = DisplayText(error.name)
            return (
                f"This is not the number or key of {name}: it belongs to somebody else, or was cut;"
                " copy it again. If it stays so, somebody is between you: send nothing secret."
            )
        case errors.TrustError():
            name = DisplayText(error.name)
            return (
                f"{name} has a key, and nothing goes in plain text to a name with a key; if {name}"
                f' uses classic NetChat now, forget the key first: TRUST {name} "forget"'
            )
        case errors.IdentityLocked():
            why = _why(_LOCKED_REASONS, error)
            return f"The identity file {DisplayText(error.path)} stays locked: {why}."
        case errors.IdentityUnreadable():
            why = _why(_IDENTITY_REASONS, error)
            return f"The identity file {DisplayText(error.path)} cannot be used: {why}."
        case errors.BadSignature():
            return (
                "A signature does not fit the key that it claims, so what it stands under was not"
                " used; it was damaged on the way, or forged."
            )
        case errors.RemoteError():
            return (
                f"What came over the network is not what it has to be ({DisplayText(error.reason)})"
                " and was not used; ask who sent it to update NetChat."
            )
        case _:
            return f"Failed: {error.code}."


def _too_long(error: errors.TextTooLong) -> str:
    if error.size_max == CLASSIC_SEND_BYTES_MAX:
        return (
            f"the text is too long: with your name it has {error.size:,} bytes, and a classic"
            f" client reads {error.size_max:,}; send it in parts"
        )
    return (
        f"the text is too long: it has {error.size:,} bytes, and NetChat reads"
        f" {error.size_max:,}; send it in parts"
    )


def _profile_in_use(error: errors.ProfileInUse) -> str:
    who = f" (process {error.pid})" if error.pid else ""
    return (
        f"The profile {DisplayText(error.path)} is in use by another NetChat{who};"
        " leave that one first, or choose another name."
    )


def _why(
    reasons: dict[str, str],
    error: errors.InvalidAddress
    | errors.AddressInUse
    | errors.DirectoryUnreachable
    | errors.IdentityError,
) -> str:
    return reasons.get(error.reason, str(DisplayText(error.reason)))

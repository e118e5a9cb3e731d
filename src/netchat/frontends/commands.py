"""The grammar of the prompt: a typed line to a command. Shared by every face that has a line.

    LIST
    SEND bob "hello there"
    SEND_MULTI [bob,carol] "hello both"
    READ bob
    DELETE bob
    VERIFY bob "12345 67890 ..."
    TRUST bob "accept"
    WHOAMI
    HELP
    EXIT

The text of a message is between the first and the last double quote of the line. VERIFY and TRUST
without one only show what is known.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netchat.api import TrustDecision
from netchat.errors import InvalidName
from netchat.limits import LINE_BYTES_MAX, RECIPIENTS_MAX
from netchat.model import Contact, Name, parse_contact


@dataclass(frozen=True, slots=True)
class List:
    pass


@dataclass(frozen=True, slots=True)
class Send:
    """``to`` has one recipient; an ill-formed name is kept as None: nobody can be called that."""

    to: Name | None
    text: str


@dataclass(frozen=True, slots=True)
class SendMulti:
    """``unknown`` are the recipients that are no names at all, as they were typed."""

    to: tuple[Name, ...]
    unknown: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Read:
    peer: Contact | None


@dataclass(frozen=True, slots=True)
class Delete:
    peer: Name | None


@dataclass(frozen=True, slots=True)
class Verify:
    """``proof`` is the number or the key that was compared; None to be shown what to compare."""

    peer: Name | None
    proof: str | None


@dataclass(frozen=True, slots=True)
class Trust:
    """``decision`` is None to be shown what there is to decide on."""

    peer: Name | None
    decision: TrustDecision | None


@dataclass(frozen=True, slots=True)
class WhoAmI:
    pass


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Exit:
    pass


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty line."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """The command is one, but what follows it is not what it takes."""

    verb: str


@dataclass(frozen=True, slots=True)
class Unknown:
    pass


Command = (
    List
    | Send
    | SendMulti
    | Read
    | Delete
    | Verify
    | Trust
    | WhoAmI
    | Help
    | Exit
    | Nothing
    | Invalid
    | Unknown
)

_SEND: Final = re.compile(r'(\S+)\s+"(.+)"', re.DOTALL)
_SEND_MULTI: Final = re.compile(r'\[([^\]"]*)\]\s*"(.+)"', re.DOTALL)
_ABOUT: Final = re.compile(r'(\S+)(?:\s+"(.+)")?', re.DOTALL)


def parse(line: str) -> Command:
    """Read one line, its end included or not. Never raises."""
    if len(line.encode(errors="replace")) > LINE_BYTES_MAX:
        return Unknown()
    verb, _, rest = line.strip().partition(" ")
    if not verb:
        return Nothing()
    if verb not in _PARSERS:
        return Unknown()
    return _PARSERS[verb](rest.strip()) or Invalid(verb)


def _name(text: str) -> Name | None:
    try:
        return Name(text)
    except InvalidName:
        return None


def _send(rest: str) -> Command | None:
    match = _SEND.fullmatch(rest)
    return Send(_name(match[1]), match[2]) if match else None


def _send_multi(rest: str) -> Command | None:
    match = _SEND_MULTI.fullmatch(rest)
    if match is None:
        return None
    typed = [name.strip() for name in match[1].split(",")]
    if not all(typed) or len(typed) > RECIPIENTS_MAX:
        return None
    names = dict.fromkeys(name for one in typed if (name := _name(one)) is not None)
    unknown = dict.fromkeys(one for one in typed if _name(one) is None)
    return SendMulti(tuple(names), tuple(unknown), match[2])


def _read(rest: str) -> Command | None:
    if len(rest.split()) != 1:
        return None
    try:
        return Read(parse_contact(rest))
    except InvalidName:
        return Read(None)


def _delete(rest: str) -> Command | None:
    return Delete(_name(rest)) if len(rest.split()) == 1 else None


def _verify(rest: str) -> Command | None:
    match = _ABOUT.fullmatch(rest)
    return Verify(_name(match[1]), match[2]) if match else None


def _trust(rest: str) -> Command | None:
    match = _ABOUT.fullmatch(rest)
    if match is None:
        return None
    try:
        return Trust(_name(match[1]), None if match[2] is None else TrustDecision(match[2]))
    except ValueError:
        return None


_PARSERS: Final[dict[str, Callable[[str], Command | None]]] = {
    "LIST": lambda rest: None if rest else List(),
    "SEND": _send,
    "SEND_MULTI": _send_multi,
    "READ": _read,
    "DELETE": _delete,
    "VERIFY": _verify,
    "TRUST": _trust,
    "WHOAMI": lambda rest: None if rest else WhoAmI(),
    "HELP": lambda rest: None if rest else Help(),
    "EXIT": lambda rest: None if rest else Exit(),
}
VERBS: Final = tuple(_PARSERS)


_TAKE_ONE_NAME: Final = ("SEND", "READ", "DELETE", "VERIFY", "TRUST")
_DECISION_BEGUN: Final = re.compile(r'\S+ +("[a-z]*)?')


def completions(line: str, names: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Return what Tab offers at the end of ``line``, and how many characters of it they replace.

    First the commands, then names: inside ``[`` several, else one; behind that of TRUST what there
    is to decide.
    """
    verb, space, rest = line.lstrip().partition(" ")
    rest = rest.lstrip()
    if not space:
        return len(verb), tuple(one for one in VERBS if one.startswith(verb.upper()))
    if verb == "SEND_MULTI":
        if not rest.startswith("[") or "]" in rest:
            return 0, ("[",) if not rest else ()
        return _starting_with(re.split(r"[\[,]\s*", rest)[-1], names)
    if verb == "TRUST" and (begun := _DECISION_BEGUN.fullmatch(rest)):
        return _starting_with(begun[1] or "", tuple(f'"{one.value}"' for one in TrustDecision))
    if verb not in _TAKE_ONE_NAME or " " in rest:
        return 0, ()
    if verb == "READ" and rest.startswith("~"):
        names = tuple(f"~{name}" for name in names)
    return _starting_with(rest, names)


def _starting_with(begun: str, offered: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    found = tuple(one for one in offered if one.lower().startswith(begun.lower()))
    return len(begun), found

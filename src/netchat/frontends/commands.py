"""The grammar of the prompt: a typed line to a command. Shared by every face that has a line.

    LIST
    SEND bob "hello there"
    SEND_MULTI [bob,carol] "hello both"
    READ bob
    DELETE bob
    HELP
    EXIT

The text of a message is between the first and the last double quote of the line.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netchat.errors import InvalidName
from netchat.limits import LINE_BYTES_MAX, RECIPIENTS_MAX
from netchat.model import Name


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
    peer: Name | None


@dataclass(frozen=True, slots=True)
class Delete:
    peer: Name | None


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


Command = List | Send | SendMulti | Read | Delete | Help | Exit | Nothing | Invalid | Unknown

_SEND: Final = re.compile(r'(\S+)\s+"(.+)"', re.DOTALL)
_SEND_MULTI: Final = re.compile(r'\[([^\]"]*)\]\s*"(.+)"', re.DOTALL)


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
    return Read(_name(rest)) if len(rest.split()) == 1 else None


def _delete(rest: str) -> Command | None:
    return Delete(_name(rest)) if len(rest.split()) == 1 else None


_PARSERS: Final[dict[str, Callable[[str], Command | None]]] = {
    "LIST": lambda rest: None if rest else List(),
    "SEND": _send,
    "SEND_MULTI": _send_multi,
    "READ": _read,
    "DELETE": _delete,
    "HELP": lambda rest: None if rest else Help(),
    "EXIT": lambda rest: None if rest else Exit(),
}
VERBS: Final = tuple(_PARSERS)


def completions(line: str, names: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Return what Tab offers at the end of ``line``, and how many characters of it they replace.

    First the commands, then names: after SEND, READ and DELETE one, inside ``[`` several.
    """
    verb, space, rest = line.lstrip().partition(" ")
    if not space:
        return len(verb), tuple(one for one in VERBS if one.startswith(verb.upper()))
    if verb == "SEND_MULTI":
        if not rest.lstrip().startswith("[") or "]" in rest:
            return 0, ("[",) if not rest.strip() else ()
        begun = re.split(r"[\[,]\s*", rest)[-1]
    elif verb in ("SEND", "READ", "DELETE") and " " not in rest.lstrip():
        begun = rest.lstrip()
    else:
        return 0, ()
    found = tuple(name for name in names if name.lower().startswith(begun.lower()))
    return len(begun), found

"""What the command line asks of the program behind it, and what it hears from it.

``app`` implements ``Program``; the commands that call it are in ``cli`` and ``cli_keys``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import click

from netchat.api import Person, TrustDecision
from netchat.model import Name, PeerId

NO_SUCH_PERSON = 3
"""The exit status of an answer that there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    name: str
    directory: str | None
    port: int
    listen: str | None
    advertise: str | None
    profile: str | None
    prompt: bool
    classic: bool
    """Plain text to peers without a key is allowed."""
    read_receipts: bool
    """Authors are told what was read."""
    deletes: str
    """What is done about a message that its author deletes: ``honour``, ``keep`` or ``wipe``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    hosts: Sequence[str]
    port: int
    data: Path | None
    classic_ttl_s: int
    mailbox_max: int
    """Envelopes of one recipient."""
    depositor_max: int
    """Envelopes of one depositor to one recipient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimOptions:
    seeds: int
    first: int
    seed: int | None
    trace: bool
    json: bool
    plant: str | None
    """A fault to build into the nodes, so that the scorecard has to turn red."""


class IdentityAction(Enum):
    """SHOW who the profile is; EXPORT its identity to a file, as it is, locked or not; IMPORT one
    from a file; PASSPHRASE another one for it, or none."""

    SHOW = "show"
    EXPORT = "export"
    IMPORT = "import"
    PASSPHRASE = "passphrase"  # noqa: S105 (the word, not a secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityOptions:
    """``file`` belongs to EXPORT and IMPORT; ``profile`` is a name or a path, as for a chat."""

    action: IdentityAction
    file: Path | None = None
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """``proof`` is the safety number or the key that was compared; None to be shown it."""

    name: str
    proof: str | None
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOptions:
    """``decision`` is None to be shown what is held."""

    name: str
    decision: TrustDecision | None
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOptions:
    name: str
    data: Path | None


@dataclass(frozen=True, slots=True)
class Whoami:
    """Who a profile is; ``name`` is None when it never was in a directory."""

    name: Name | None
    key: PeerId
    is_locked: bool


class Program(Protocol):
    """What the commands do. Those that run return the exit status, the others what is to be said.

    Each may raise NetChatError, which becomes a sentence and a status.
    """

    def chat(self, options: ChatOptions) -> int: ...

    def serve(self, options: ServeOptions) -> int: ...

    def sim(self, options: SimOptions) -> int: ...

    def identity(self, options: IdentityOptions) -> Whoami:
        """Do what is asked, in a profile that no process uses, and return who it is then.

        Passphrases come from ``frontends.passphrases``.

        Raises:
            ProfileInUse: a process uses it.
            IdentityLocked: no passphrase, or a wrong one.
            IdentityUnreadable: ``missing`` in the profile; ``in-use`` for an IMPORT into a profile
                that has one; ``exists`` for an EXPORT to a file that is there; or what the file is.
        """
        ...

    def verify(self, options: VerifyOptions) -> Person:
        """As ``api.Node.verify``, or ``person`` without a proof, for a profile no process uses."""
        ...

    def trust(self, options: TrustOptions) -> Person:
        """As ``api.Node.trust``, or ``person`` without a decision, for a profile no process
        uses."""
        ...

    def release(self, options: ReleaseOptions) -> bool:
        """Take a name from its key in the directory of this machine; tell whether one held it."""
        ...


class Invocation:
    """One command line being carried out: by which program, and the status it came to."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.status = 0


pass_invocation = click.make_pass_decorator(Invocation)

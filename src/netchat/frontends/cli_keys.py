"""The commands about keys: ``netchat identity``, ``netchat verify``, ``netchat trust``.

Part of ``cli``, and put into it there. All of them need a profile that no chat uses just now.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from netchat.api import Person, TrustDecision
from netchat.errors import NoKey
from netchat.frontends import words_trust
from netchat.frontends.console import note, say, shows_pictures
from netchat.frontends.program import (
    NO_SUCH_PERSON,
    IdentityAction,
    IdentityOptions,
    Invocation,
    TrustOptions,
    VerifyOptions,
    Whoami,
    pass_invocation,
)
from netchat.model import TrustState

F = TypeVar("F", bound=Callable[..., Any])


def _profile() -> Callable[[F], F]:
    return click.option(
        "--profile",
        metavar="NAME|PATH",
        required=True,
        envvar="NETCHAT_PROFILE",
        show_envvar=True,
        help="Whose keys: what the chat was started with.",
    )


@click.group(short_help="Show, copy or lock the key that makes you who you are.")
def identity() -> None:
    """Show, copy or lock the key of a profile that no chat uses just now.

    A passphrase is typed at the terminal, or taken from NETCHAT_PASSPHRASE.
    """


_file = click.argument("file", type=click.Path(path_type=Path))


@identity.command("show", short_help="Print the key that others verify you by.")
@_profile()
@pass_invocation
def identity_show(context: Invocation, /, profile: str) -> None:
    """Print the key that others verify you by, on a terminal as a QR code too."""
    options = IdentityOptions(action=IdentityAction.SHOW, profile=profile)
    who = context.program.identity(options)
    text = str(who.key) if who.name is None else words_trust.contact_text(who.name, who.key)
    say(text)
    if shows_pictures():
        from netchat.frontends import qr

        say(qr.picture(text))
    note(_lock_of(who))


@identity.command("export", short_help="Copy the identity to FILE.")
@_file
@_profile()
@pass_invocation
def identity_export(context: Invocation, /, file: Path, profile: str) -> None:
    """Copy the identity to FILE, which must not be there yet; a locked one stays locked."""
    options = IdentityOptions(action=IdentityAction.EXPORT, file=file, profile=profile)
    who = context.program.identity(options)
    note(words_trust.exported(file, is_locked=who.is_locked))


@identity.command("import", short_help="Take the identity in FILE.")
@_file
@_profile()
@pass_invocation
def identity_import(context: Invocation, /, file: Path, profile: str) -> None:
    """Take the identity in FILE into a profile that has none: an export, or an Ed25519 key of
    ssh-keygen."""
    context.program.identity(
        IdentityOptions(action=IdentityAction.IMPORT, file=file, profile=profile)
    )
    note(words_trust.IMPORTED)


@identity.command("passphrase", short_help="Lock the identity with a passphrase.")
@_profile()
@pass_invocation
def identity_passphrase(context: Invocation, /, profile: str) -> None:
    """Lock the identity with a passphrase, with another one, or with none."""
    options = IdentityOptions(action=IdentityAction.PASSPHRASE, profile=profile)
    note(_lock_of(context.program.identity(options)))


def _lock_of(who: Whoami) -> str:
    return words_trust.LOCKED if who.is_locked else words_trust.NOT_LOCKED


@click.command(short_help="Compare the key of somebody.")
@click.argument("name")
@click.argument("proof", required=False)
@_profile()
@pass_invocation
def verify(context: Invocation, /, name: str, proof: str | None, profile: str) -> None:
    """Show the safety number with NAME; with PROOF, mark the key of NAME as compared.

    PROOF is the number, in quotes, or the key as netchat:1:NAME:KEY, once you compared it with
    NAME in person or by phone. For a profile that no chat uses just now.
    """
    person = context.program.verify(VerifyOptions(name=name, proof=proof, profile=profile))
    if proof is not None:
        say(words_trust.verified(person.name))
        return
    if person.key is None:
        raise NoKey(str(person.name))
    _say_held(person)
    if person.pending_key is None and person.state is not TrustState.VERIFIED:
        note(words_trust.how_to_verify(person.name, "netchat verify"))


@click.command(short_help="Decide on the key of somebody.")
@click.argument("name")
@click.argument(
    "decision", required=False, type=click.Choice([decision.value for decision in TrustDecision])
)
@_profile()
@pass_invocation
def trust(context: Invocation, /, name: str, decision: str | None, profile: str) -> None:
    """Show what is known of NAME, or decide: accept or refuse a new key, allow classic plain text,
    forget everything.

    For a profile that no chat uses just now.
    """
    wanted = None if decision is None else TrustDecision(decision)
    person = context.program.trust(TrustOptions(name=name, decision=wanted, profile=profile))
    if wanted is not None:
        say(words_trust.decided(person.name, wanted))
        note(words_trust.decision_note(person, wanted))
        return
    _say_held(person)
    if person.state is TrustState.NONE:
        context.status = NO_SUCH_PERSON


def _say_held(person: Person) -> None:
    for line in words_trust.held_of(person):
        say(line)
    if person.pending_key is not None:
        note(words_trust.how_to_decide(person.name, "netchat trust"))

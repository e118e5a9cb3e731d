"""Passphrases of the identity file: from a terminal without an echo, or from the environment.

Never from the command line, which every process of a machine may read. Nothing of this may run
while a prompt stands: the program asks before it starts.
"""

import os
from typing import Final

import click

from netchat.errors import IdentityLocked
from netchat.frontends import words_trust
from netchat.frontends.console import can_ask

PASSPHRASE_SETTING: Final = "NETCHAT_PASSPHRASE"  # noqa: S105 (its name)


def ask_passphrase(path: str, reason: str) -> str | None:
    """Return the passphrase for the file at ``path``, or None when there is none to be had.

    ``reason`` is that of ``IdentityLocked``: after ``wrong-passphrase`` a person is asked again,
    and the setting, which would be as wrong again, is given up. Raises click.Abort on Ctrl-C.
    """
    if setting := os.environ.get(PASSPHRASE_SETTING):
        return None if reason == "wrong-passphrase" else setting
    if not can_ask():
        return None
    return _typed(words_trust.ask_for_passphrase(path, reason))


def choose_passphrase(path: str, *, is_locked: bool) -> str | None:
    """Return what the file at ``path`` is to be locked with from now on, or None for no lock.

    The setting opens a locked file, and so cannot be what comes after; it locks an open one.

    Raises:
        IdentityLocked: nobody can be asked.
        click.Abort: Ctrl-C or Ctrl-D.
    """
    if (setting := os.environ.get(PASSPHRASE_SETTING)) and not is_locked:
        return setting
    if not can_ask():
        raise IdentityLocked(path, "no-terminal")
    return _typed(words_trust.ask_for_new_passphrase(path), again=words_trust.ASK_AGAIN) or None


def _typed(question: str, *, again: str | None = None) -> str:
    """Return what a person types unseen; ``again`` asks for it twice, and takes nothing as well."""
    typed: str = click.prompt(
        question,
        default=None if again is None else "",
        show_default=False,
        hide_input=True,
        confirmation_prompt=again or False,
        err=True,
    )
    return typed

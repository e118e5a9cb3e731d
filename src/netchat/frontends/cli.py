"""The command line: ``netchat chat``, ``netchat serve``, ``netchat sim``, and the exit codes.

``netchat identity``, ``verify`` and ``trust`` are in ``cli_keys``. All of it reads words and calls
a ``Program``; what that does is put together in ``app``, so that reading ``--help`` loads neither a
server nor a terminal.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from netchat import __version__
from netchat.errors import NetChatError
from netchat.frontends import words, words_trust
from netchat.frontends.cli_keys import identity, trust, verify
from netchat.frontends.console import note, say
from netchat.frontends.program import (
    NO_SUCH_PERSON,
    ChatOptions,
    Invocation,
    Program,
    ReleaseOptions,
    ServeOptions,
    SimOptions,
    pass_invocation,
)
from netchat.limits import (
    CLASSIC_TTL_S,
    CLASSIC_TTL_S_MAX,
    MAILBOX_ENVELOPES_MAX,
    MAILBOX_PER_DEPOSITOR_MAX,
    PORT_DEFAULT,
)

PLANTS = ("no-dedupe", "dedupe-not-persisted", "receipt-before-commit")

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = {
    "invalid-name": 2,
    "invalid-address": 2,
    "invalid-key": 2,
    "invalid-url": 2,
    "no-key": NO_SUCH_PERSON,
    "classic-not-allowed": 5,
    "identity-refused": 5,
    "key-mismatch": 5,
    "directory": 6,
    "directory-unreachable": 6,
    "directory-refused": 6,
    "no-directory-here": 6,
    "directory-in-use": 6,
    "identity": 7,
    "identity-locked": 7,
    "identity-unreadable": 7,
    "profile-in-use": 7,
}
"""By the code of an error or the reason of a send; every other one is 1."""


def exit_status(error: NetChatError) -> int:
    return EXIT_CODES.get(error.code, 1)


def _port(lowest: int) -> Callable[[F], F]:
    return click.option(
        "--port",
        type=click.IntRange(lowest, 65_535),
        metavar="PORT",
        default=PORT_DEFAULT,
        show_default=True,
        envvar="NETCHAT_PORT",
        show_envvar=True,
        help="Port of the directory on this machine.",
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="netchat")
def _netchat() -> None:
    """Direct messaging for networks that people own."""


@_netchat.command(short_help="Chat: send messages to people, and receive theirs.")
@click.argument("name")
@click.option(
    "--directory",
    metavar="URL",
    envvar="NETCHAT_DIRECTORY",
    show_envvar=True,
    help="The directory to use. Without it: the one on this machine, or one hosted by this chat.",
)
@click.option("--listen", metavar="HOST:PORT", help="Where to listen for messages.")
@click.option("--advertise", metavar="HOST:PORT", help="The address that others are told.")
@click.option(
    "--profile",
    metavar="NAME|PATH",
    envvar="NETCHAT_PROFILE",
    show_envvar=True,
    help="Where the history is kept; the profile of NAME unless told.",
)
@click.option(
    "--classic",
    is_flag=True,
    envvar="NETCHAT_CLASSIC",
    show_envvar=True,
    help="Allow plain text to classic clients, which anybody on the network can read.",
)
@click.option(
    "--read-receipts",
    is_flag=True,
    envvar="NETCHAT_READ_RECEIPTS",
    show_envvar=True,
    help="Let people know when you have read what they wrote.",
)
@click.option(
    "--deletes",
    type=click.Choice(["honour", "keep", "wipe"]),
    default="honour",
    show_default=True,
    envvar="NETCHAT_DELETES",
    show_envvar=True,
    help="When somebody deletes a message: erase its text, only mark it, or leave no trace.",
)
@click.option("--prompt", is_flag=True, help="Print the prompt even when stdin is a pipe.")
@_port(1)
@pass_invocation
def chat(context: Invocation, /, **given: object) -> None:
    """Chat as NAME: register, listen, and take commands.

    They are LIST, SEND, SEND_MULTI, READ, DELETE, VERIFY, TRUST, WHOAMI, HELP and EXIT.
    NETCHAT_PASSPHRASE may hold the passphrase of the identity.
    """
    context.status = context.program.chat(ChatOptions(**given))  # type: ignore[arg-type]  # click checked them


# --- the directory and the proof -----------------------------------------------------------------


@_netchat.group(invoke_without_command=True, short_help="Run a directory.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="ADDRESS",
    default=("0.0.0.0", "::"),  # noqa: S104 (a directory is there for the whole network)
    show_default=True,
    help="Address to listen on; may be given several times.",
)
@_port(0)
@click.option("--data", type=click.Path(path_type=Path), help="Where registrations are kept.")
@click.option(
    "--classic-ttl",
    "classic_ttl_s",
    type=click.IntRange(1, CLASSIC_TTL_S_MAX),
    default=CLASSIC_TTL_S,
    show_default=True,
    metavar="SECONDS",
    help="How long the entry of a classic client lasts.",
)
@click.option(
    "--mailbox-max",
    type=click.IntRange(1),
    default=MAILBOX_ENVELOPES_MAX,
    show_default=True,
    metavar="N",
    help="Sealed messages kept for one person.",
)
@click.option(
    "--depositor-max",
    type=click.IntRange(1),
    default=MAILBOX_PER_DEPOSITOR_MAX,
    show_default=True,
    metavar="N",
    help="Sealed messages kept for one person from one sender.",
)
@pass_invocation
@click.pass_context
def serve(command: click.Context, context: Invocation, /, **given: object) -> None:
    """Run a directory, through which people find each other, with their mailboxes."""
    if command.invoked_subcommand is None:
        context.status = context.program.serve(ServeOptions(**given))  # type: ignore[arg-type]  # click checked them


@serve.command(short_help="Take a name from the key that holds it.")
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path), help="Where registrations are kept.")
@pass_invocation
@click.pass_context
def release(command: click.Context, context: Invocation, /, name: str, data: Path | None) -> None:
    """Take NAME from the key that holds it, for somebody who lost that key.

    Whoever has pinned the old key is warned all the same. The directory may run meanwhile.
    """
    assert command.parent is not None  # it stands below serve
    wanted = ReleaseOptions(name=name, data=data or command.parent.params["data"])
    if context.program.release(wanted):
        say(words_trust.released(name))
    else:
        note(words_trust.nothing_to_release(name))
        context.status = NO_SUCH_PERSON


@_netchat.command(short_help="Prove delivery over a simulated bad network.")
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Replay one seed.")
@click.option("--trace", is_flag=True, help="With --seed: print every step.")
@click.option("--json", is_flag=True, help="Print the scorecard as one JSON object.")
@click.option(
    "--plant",
    type=click.Choice(PLANTS),
    help="Build a fault into the nodes; the proof has to find it.",
)
@pass_invocation
def sim(context: Invocation, /, **given: object) -> None:
    """Prove delivery: run real nodes over a simulated bad network, under seeds."""
    context.status = context.program.sim(SimOptions(**given))  # type: ignore[arg-type]  # click checked them


for _command in (identity, verify, trust):
    _netchat.add_command(_command)


def run(arguments: Sequence[str], program: Program) -> int:
    """Carry out one command line and return the exit status; errors end as one sentence."""
    context = Invocation(program)
    try:
        _netchat.main(list(arguments), prog_name="netchat", obj=context, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as usage:
        note(usage.ctx.get_help())
        return 2
    except click.ClickException as usage:
        context_of_usage = usage.ctx if isinstance(usage, click.UsageError) else None
        command = context_of_usage.command_path if context_of_usage is not None else "netchat"
        note(words.usage(usage.format_message(), command))
        return usage.exit_code
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.Abort:
        return 130
    except NetChatError as error:
        note(words.program_failed(error))
        return exit_status(error)
    return context.status

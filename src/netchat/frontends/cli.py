"""The command line: ``netchat chat``, ``netchat serve``, ``netchat sim``.

It reads words and calls a ``Program``; what these do is put together in ``app``, so that reading
``--help`` loads neither a server nor a terminal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from netchat import __version__
from netchat.errors import NetChatError
from netchat.frontends import words
from netchat.frontends.console import note
from netchat.limits import CLASSIC_TTL_S, CLASSIC_TTL_S_MAX, PORT_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    name: str
    directory: str | None
    port: int
    listen: str | None
    advertise: str | None
    profile: str | None
    prompt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    hosts: Sequence[str]
    port: int
    data: Path | None
    classic_ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimOptions:
    seeds: int
    first: int
    seed: int | None
    trace: bool
    json: bool


class Program(Protocol):
    """What the commands do; each returns the exit status and may raise NetChatError."""

    def chat(self, options: ChatOptions) -> int: ...

    def serve(self, options: ServeOptions) -> int: ...

    def sim(self, options: SimOptions) -> int: ...


F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = {
    "directory": 6,
    "directory-unreachable": 6,
    "directory-refused": 6,
    "profile-in-use": 7,
    "invalid-name": 2,
    "invalid-address": 2,
    "invalid-url": 2,
}
"""design.md section 7; every other error is 1."""


def exit_status(error: NetChatError) -> int:
    return EXIT_CODES.get(error.code, 1)


class _Context:
    """What click hands to the commands: the program, and the status it returned."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.status = 0


_pass = click.make_pass_decorator(_Context)


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
@click.option("--prompt", is_flag=True, help="Print the prompt even when stdin is a pipe.")
@_port(1)
@_pass
def chat(context: _Context, /, **given: object) -> None:
    """Chat as NAME: register, listen, and take LIST, SEND, SEND_MULTI, READ, DELETE, EXIT."""
    context.status = context.program.chat(ChatOptions(**given))  # type: ignore[arg-type]  # click checked them


@_netchat.command()
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
@_pass
def serve(context: _Context, /, **given: object) -> None:
    """Run a directory, through which people find each other."""
    context.status = context.program.serve(ServeOptions(**given))  # type: ignore[arg-type]  # click checked them


@_netchat.command(short_help="Prove delivery over a simulated bad network.")
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Replay one seed.")
@click.option("--trace", is_flag=True, help="With --seed: print every step.")
@click.option("--json", is_flag=True, help="Print the scorecard as one JSON object.")
@_pass
def sim(context: _Context, /, **given: object) -> None:
    """Prove delivery: run real nodes over a simulated bad network, under seeds."""
    context.status = context.program.sim(SimOptions(**given))  # type: ignore[arg-type]  # click checked them


def run(arguments: Sequence[str], program: Program) -> int:
    """Carry out one command line and return the exit status; errors end as one sentence."""
    context = _Context(program)
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

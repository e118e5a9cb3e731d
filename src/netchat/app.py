"""The composition root: which node, which face, and whether to host a meeting point.

The only place that knows all rooms. Each is imported when it is needed: a chat that finds a
directory never loads a server, and ``--help`` loads neither.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netchat.errors import NetChatError, StoreUnavailable
from netchat.frontends import cli, words
from netchat.frontends.console import note, prepare_streams
from netchat.frontends.passphrases import ask_passphrase, choose_passphrase
from netchat.frontends.program import (
    ChatOptions,
    IdentityAction,
    IdentityOptions,
    ReleaseOptions,
    ServeOptions,
    SimOptions,
    TrustOptions,
    VerifyOptions,
    Whoami,
)
from netchat.limits import OPEN_FILES_WANTED
from netchat.model import Address, Name

if TYPE_CHECKING:
    from netchat.api import Person
    from netchat.identity.keys import Identity
    from netchat.node.config import NodeConfig
    from netchat.node.rendezvous import MeetingPoint
    from netchat.store.profile import Profile

EXIT_INTERRUPTED = 130
LOOPBACK = ("127.0.0.1", "::1")


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; return the exit status."""
    prepare_streams()
    _allow_open_files()
    try:
        return cli.run(arguments, _Program())
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        # Whoever read our output has gone, or its disk is full; say nothing more on stdout, not
        # even at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            note(words.system_failed(error))
        return 1


def _allow_open_files() -> None:
    """Raise this process's soft limit of open files, so that a burst does not run into it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Program:
    """``frontends.cli.Program`` with everything behind it."""

    def chat(self, options: ChatOptions) -> int:
        from netchat.delivery.policy import Deletes, Policy
        from netchat.node.config import ListenAt, NodeConfig
        from netchat.node.offline import open_identity
        from netchat.store.profile import Profile

        name = Name(options.name)
        config = NodeConfig(
            name=name,
            directory=options.directory,
            port=options.port,
            listen=None if options.listen is None else ListenAt.parse(options.listen),
            advertise=None if options.advertise is None else Address.parse(options.advertise),
            allow_classic=options.classic,
            policy=Policy(Deletes(options.deletes), tells_reading=options.read_receipts),
        )
        with Profile(_profile_path(options.profile or name.key)) as profile:
            identity = open_identity(profile, ask_passphrase, make=True)
            return _run_until_told(_chat(config, profile, identity, prompt=options.prompt))

    def serve(self, options: ServeOptions) -> int:
        logging.basicConfig(format="netchat: %(message)s", level=logging.WARNING)
        return _run_until_told(_serve(options))

    def sim(self, options: SimOptions) -> int:
        from netchat.testing.scorecard import run_sim

        return run_sim(
            seeds=range(options.first, options.first + options.seeds)
            if options.seed is None
            else range(options.seed, options.seed + 1),
            trace=options.trace,
            as_json=options.json,
            plant=options.plant,
        )

    def identity(self, options: IdentityOptions) -> Whoami:
        from netchat.node import offline
        from netchat.store.profile import Profile

        with Profile(_profile_path(options.profile)) as profile:
            match options.action:
                case IdentityAction.SHOW:
                    identity = offline.open_identity(profile, ask_passphrase)
                case IdentityAction.EXPORT:
                    assert options.file is not None
                    offline.export_identity(profile, options.file)
                    identity = offline.open_identity(profile, ask_passphrase)
                case IdentityAction.IMPORT:
                    assert options.file is not None
                    identity = offline.import_identity(profile, options.file, ask_passphrase)
                case IdentityAction.PASSPHRASE:
                    path = str(profile.identity_path)
                    identity = offline.relock_identity(
                        profile,
                        ask_passphrase,
                        lambda is_locked: choose_passphrase(path, is_locked=is_locked),
                    )
            return Whoami(offline.name_of(profile), identity.peer_id, offline.is_locked(profile))

    def verify(self, options: VerifyOptions) -> "Person":
        from netchat.node import offline
        from netchat.store.profile import Profile

        name = Name(options.name)
        with Profile(_profile_path(options.profile)) as profile:
            identity = offline.open_identity(profile, ask_passphrase)
            if options.proof is None:
                return offline.person(profile, identity, name)
            return offline.verify(profile, identity, name, options.proof)

    def trust(self, options: TrustOptions) -> "Person":
        from netchat.node import offline
        from netchat.store.profile import Profile

        name = Name(options.name)
        with Profile(_profile_path(options.profile)) as profile:
            identity = offline.open_identity(profile, ask_passphrase)
            if options.decision is None:
                return offline.person(profile, identity, name)
            return offline.trust(profile, identity, name, options.decision)

    def release(self, options: ReleaseOptions) -> bool:
        from netchat.directory.operator import release_name
        from netchat.node.clock import Clock

        folder = options.data or data_path() / "directory"
        return asyncio.run(release_name(folder, Name(options.name), Clock().now_ms()))


def data_path() -> Path:
    """Return where NetChat keeps what lasts (``XDG_DATA_HOME`` on Linux)."""
    import platformdirs

    return platformdirs.user_data_path("netchat", appauthor=False)


def _profile_path(profile: str) -> Path:
    """Return the directory of a profile: a name below the data directory, or a path as it is."""
    if os.sep in profile:
        return Path(profile).expanduser().absolute()
    return data_path() / "profiles" / Name(profile).key


# --- running -------------------------------------------------------------------------------------


def _run_until_told(main: Coroutine[Any, Any, int]) -> int:
    """Run ``main``; SIGTERM and SIGHUP end it as Ctrl-C does, with everything closed properly."""
    try:
        return asyncio.run(_with_signals(main))
    except BaseExceptionGroup as group:
        raise _single(group) from group


async def _with_signals(main: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not told:  # told once is enough: a second one must not cut the leaving short
            task.cancel()
        told.append(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            loop.add_signal_handler(number, stop, number)
    try:
        return await main
    except asyncio.CancelledError:
        if not told:
            raise
        return 0 if told[0] is signal.SIGTERM else EXIT_INTERRUPTED


def _single(error: BaseException) -> BaseException:
    """Return the error that a task group wrapped; of several, one of ours if there is one."""
    while isinstance(error, BaseExceptionGroup):
        ours = [one for one in error.exceptions if isinstance(one, NetChatError)]
        error = (ours or error.exceptions)[0]
    return error


# --- netchat serve -------------------------------------------------------------------------------


async def _serve(options: ServeOptions) -> int:
    from netchat.directory.mailbox import Quota
    from netchat.directory.server import DirectoryServer
    from netchat.directory.store_sqlite import EmbeddedStore
    from netchat.frontends.console import say
    from netchat.node.clock import Clock

    folder = options.data or data_path() / "directory"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{folder}: {error.strerror}") from error
    store = EmbeddedStore(folder / "directory.db")
    clock = Clock()
    server = DirectoryServer(
        store,
        clock.now_ms,
        clock.entropy,
        options.classic_ttl_s * 1_000,
        quota=Quota(envelopes_max=options.mailbox_max, per_depositor_max=options.depositor_max),
        folder=folder,
    )
    try:
        port = await server.start(options.hosts, options.port)
        for host in options.hosts:
            say(words.listening(host, port))
        await asyncio.get_running_loop().create_future()  # until it is told to stop
    finally:
        await server.stop()
    return 0


async def _host_meeting_point(port: int) -> "MeetingPoint":
    """Start a directory in this process, on loopback only, that keeps nothing on disk."""
    from netchat.directory.server import DirectoryServer
    from netchat.directory.store_sqlite import EmbeddedStore
    from netchat.limits import CLASSIC_TTL_S
    from netchat.node.clock import Clock
    from netchat.wire.directory_v2 import Kind

    store = EmbeddedStore(":memory:")
    clock = Clock()
    server = DirectoryServer(
        store, clock.now_ms, clock.entropy, CLASSIC_TTL_S * 1_000, kind=Kind.MEETING_POINT
    )
    try:
        await server.start([host for host in LOOPBACK if _is_here(host)], port)
    except BaseException:
        await server.stop()
        raise
    return server


def _is_here(host: str) -> bool:
    """Tell whether this machine has the address ``host``; without IPv6 it has no ``::1``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


# --- netchat chat --------------------------------------------------------------------------------


async def _chat(
    config: "NodeConfig", profile: "Profile", identity: "Identity", *, prompt: bool
) -> int:
    from netchat.frontends.console import Plain, is_terminal, say, shows_pictures
    from netchat.frontends.prompt import Session, run_plain
    from netchat.node.node import running_node

    async with running_node(config, profile, identity, _host_meeting_point) as node:
        if is_terminal():
            from netchat.frontends.terminal import run_terminal

            session = Session(
                node,
                say,
                note,
                allow_classic=config.allow_classic,
                draw=say if shows_pictures() else None,
            )
            if await session.start():
                await run_terminal(session, profile.typed_lines_path)
                await session.tell_what_waits()
        else:
            plain = Plain(forced=prompt)
            session = Session(
                node,
                plain.say,
                plain.note,
                allow_classic=config.allow_classic,
                draw=plain.say if shows_pictures() else None,
            )
            if await session.start():
                await run_plain(session, plain)
                await session.tell_what_waits()
    if session.not_registered is not None:
        return cli.exit_status(session.not_registered)
    return 1 if session.failed else 0

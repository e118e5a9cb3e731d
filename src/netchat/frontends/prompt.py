"""The classic prompt: carries out typed lines and prints facts, one line each.

``Session`` is what every prompt shares; ``run_plain`` reads from a pipe or a file, exactly, without
an echo. The prompt on a terminal is ``frontends.terminal``.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Final, assert_never

from netchat.api import Event, MessageReceived, Node, Registered, SendOutcome, Sent
from netchat.errors import DirectoryError, DirectoryUnreachable, NetChatError
from netchat.frontends import commands, words
from netchat.limits import LINE_BYTES_MAX
from netchat.model import DeleteOutcome, DisplayText, Name

Printer = Callable[[str], None]

_READ_BYTES: Final = 65_536


class Session:
    """One face at ``node``: ``out`` prints facts, ``note`` whatever else there is to say.

    ``failed`` tells whether a command failed, for the exit status.
    """

    def __init__(self, node: Node, out: Printer, note: Printer) -> None:
        self._node = node
        self._out = out
        self._note = note
        self._events = node.events()
        self._registration_failed = False
        self.failed = False
        self.known_names: tuple[str, ...] = ()

    async def start(self) -> bool:
        """Register and fetch the list; tell whether there is any use in going on."""
        self._note(words.PLAIN_TEXT)
        try:
            await self._node.register()
        except DirectoryUnreachable as error:
            self._out(words.registration_failed(error))
            self._registration_failed = self.failed = True
            return True
        except NetChatError as error:
            self._out(words.registration_failed(error))
            self.failed = True
            return False
        self._out(words.REGISTERED)
        await self.fetch_names()
        return True

    async def fetch_names(self) -> tuple[str, ...]:
        """Return who is present, as far as is known; for Tab."""
        with contextlib.suppress(DirectoryError):  # Tab offers what was known; LIST says why
            self.known_names = tuple(str(name) for name in await self._node.names())
        return self.known_names

    async def show_events(self, shown: Callable[[], None] = lambda: None) -> None:
        """Print what happens, for ever; ``shown`` is called behind each printed fact."""
        async for event in self._events:
            self._show(event)
            if isinstance(event, MessageReceived):
                shown()

    def _show(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self._out(words.arrived(event.peer))
        elif isinstance(event, Registered) and self._registration_failed:
            self._registration_failed = False
            self._out(words.REGISTERED)
        if (note := words.event_note(event)) is not None:
            self._note(note)

    # --- commands --------------------------------------------------------------------------------

    async def execute(self, line: str) -> bool:
        """Carry out one line; tell whether to go on."""
        command = commands.parse(line)
        if isinstance(command, commands.Exit):
            return False
        try:
            await self._carry_out(command)
        except NetChatError as error:
            self._fail(words.send_failed(words.sentence(error)))
        return True

    def _fail(self, line: str) -> None:
        self.failed = True
        self._out(line)

    async def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.List():
                await self._list()
            case commands.Send(to, text):
                await self._send(to, text)
            case commands.SendMulti():
                await self._send_multi(command)
            case commands.Read(peer):
                await self._read(peer)
            case commands.Delete(peer):
                await self._delete(peer)
            case commands.Help():
                self._out(words.HELP)
            case commands.Invalid(verb):
                self._fail(words.invalid_command(verb))
            case commands.Unknown():
                self._fail(words.UNKNOWN_COMMAND)
            case commands.Nothing() | commands.Exit():
                pass
            case _ as never:
                assert_never(never)

    async def _list(self) -> None:
        try:
            found = await self._node.names()
        except DirectoryError as error:
            self._fail(words.list_failed(error))
            return
        self.known_names = tuple(str(name) for name in found)
        self._out(words.names(found))

    async def _send(self, to: Name | None, text: str) -> None:
        if to is None:
            self._fail(words.NO_USER)
            return
        (sent,) = await self._node.send([to], text)
        match sent.outcome:
            case SendOutcome.SENT:
                self._out(words.SENT)
            case SendOutcome.QUEUED:
                self._out(words.queued([sent.peer]))
            case SendOutcome.NO_SUCH_PERSON:
                self._fail(words.NO_USER)
            case SendOutcome.FAILED:
                self._fail(words.send_failed(words.send_reason(sent.peer, sent.reason)))

    async def _send_multi(self, command: commands.SendMulti) -> None:
        outcomes = await self._node.send(command.to, command.text) if command.to else ()

        def of(outcome: SendOutcome) -> list[Sent]:
            return [sent for sent in outcomes if sent.outcome is outcome]

        if of(SendOutcome.SENT):
            self._out(words.SENT)
        if waiting := of(SendOutcome.QUEUED):
            self._out(words.queued([sent.peer for sent in waiting]))
        for sent in of(SendOutcome.FAILED):
            self._fail(words.send_failed(words.send_reason(sent.peer, sent.reason)))
        missing: list[Name | DisplayText] = [sent.peer for sent in of(SendOutcome.NO_SUCH_PERSON)]
        missing += [DisplayText(typed) for typed in command.unknown]
        if missing:
            self._fail(words.no_such_people(missing))

    async def _read(self, peer: Name | None) -> None:
        if peer is None or not await self._print_conversation(peer):
            self._out(words.NO_MESSAGES)

    async def _print_conversation(self, peer: Name) -> bool:
        """Print every message with ``peer``; tell whether there was one."""
        after = 0
        while page := await self._node.conversation(peer, after):
            for message in page:
                self._out(words.conversation_line(message))
            after = page[-1].position
        return after > 0

    async def _delete(self, peer: Name | None) -> None:
        outcome = DeleteOutcome.NOTHING if peer is None else await self._node.delete_newest(peer)
        if peer is None or outcome is DeleteOutcome.NOTHING:
            self._out(words.NOTHING_TO_DELETE)
            return
        await self._print_conversation(peer)
        if (note := words.delete_note(peer, outcome)) is not None:
            self._note(note)


# --- the plain reader ----------------------------------------------------------------------------


async def run_plain(session: Session, ask: Callable[[], None]) -> None:
    """Carry out the lines of stdin until EXIT or its end; ``ask`` prints the prompt, if wanted."""
    async with asyncio.TaskGroup() as tasks:
        events = tasks.create_task(session.show_events(ask))
        ask()
        async for line in _lines_of_stdin():
            if not await session.execute(line):
                break
            ask()
        events.cancel()


async def _lines_of_stdin() -> AsyncIterator[str]:
    """Yield the lines of descriptor 0, one at a time; a thread reads, because files never block."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)

    def read() -> None:
        splitter = LineSplitter()
        while data := os.read(0, _READ_BYTES):
            for line in splitter.feed(data):
                asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
        if rest := splitter.rest():
            asyncio.run_coroutine_threadsafe(lines.put(rest), loop).result()
        asyncio.run_coroutine_threadsafe(lines.put(None), loop).result()

    threading.Thread(target=read, name="netchat-stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line.decode(errors="replace")


class LineSplitter:
    """Cuts bytes into lines; of a line without an end no more than ``LINE_BYTES_MAX`` is kept."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` ends."""
        *ended, begun = data.split(b"\n")
        lines = []
        for part in ended:
            self._extend(part)
            lines.append(self.rest())
        self._extend(begun)
        return lines

    def _extend(self, part: bytes) -> None:
        # One byte above the limit is kept, so that the line is refused and not taken as cut.
        self._begun += part[: LINE_BYTES_MAX + 1 - len(self._begun)]

    def rest(self) -> bytes:
        """Return what came behind the last end of a line, and begin anew."""
        line = bytes(self._begun)
        self._begun.clear()
        return line

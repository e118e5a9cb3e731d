"""The classic prompt: carries out typed lines and prints facts, one line each.

``Session`` is what every prompt shares; ``run_plain`` reads from a pipe or a file, exactly, without
an echo. The prompt on a terminal is ``frontends.terminal``.
"""

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final, assert_never

from netchat.api import Event, MessageReceived, Node, Registered, SendOutcome, Sent
from netchat.errors import DirectoryError, DirectoryUnreachable, NetChatError, StoreUnavailable
from netchat.frontends import commands, words, words_trust
from netchat.frontends.console import Plain, Printer
from netchat.frontends.people import People
from netchat.limits import LINE_BYTES_MAX
from netchat.model import Contact, DeleteOutcome, DisplayText, MessageId, MessageState, Name

_READ_BYTES: Final = 65_536


class Session:
    """One face at ``node``: ``out`` prints facts, ``note`` whatever else there is to say.

    ``draw`` prints a picture, and is None where none can be seen. ``allow_classic`` tells that the
    node was started with leave to send plain text, of which people are reminded.

    For the exit status, ``failed`` tells whether a command failed, and ``not_registered`` why
    the registration did, until it succeeds.
    """

    def __init__(
        self,
        node: Node,
        out: Printer,
        note: Printer,
        *,
        draw: Printer | None = None,
        allow_classic: bool = False,
    ) -> None:
        self._node = node
        self._out = out
        self._note = note
        self._people = People(node, out, note, draw)
        self._allow_classic = allow_classic
        self._warned_of: set[Contact] = set()
        self._events = node.events()
        self.not_registered: NetChatError | None = None
        self.failed = False
        self.known_names: tuple[str, ...] = ()

    async def start(self) -> bool:
        """Register and fetch the list; tell whether there is any use in going on."""
        if self._allow_classic:
            self._note(words_trust.CLASSIC_ALLOWED)
        try:
            await self._node.register()
        except NetChatError as error:
            self._fail(words.registration_failed(error))
            self.not_registered = error
            if not isinstance(error, DirectoryUnreachable):
                return False
            self._note(words.KEEPS_TRYING)
        else:
            self._out(words.REGISTERED)
            await self.fetch_names()
        await self.tell_what_waits()
        return True

    async def tell_what_waits(self) -> None:
        """Say for whom something waits here, when somebody comes and when somebody goes."""
        with contextlib.suppress(StoreUnavailable):  # READ says what is wrong with the disk
            if waiting := await self._node.waiting():
                self._note(words.still_waiting(waiting))

    async def fetch_names(self) -> tuple[str, ...]:
        """Return who is present, as far as is known; for Tab."""
        with contextlib.suppress(DirectoryError):  # Tab offers what was known; LIST says why
            self.known_names = tuple(str(name) for name in await self._node.names())
        return self.known_names

    async def show_events(self) -> None:
        """Print what happens, for ever."""
        async for event in self._events:
            self._show(event)

    def _show(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self._out(words.arrived(event.peer))
            if event.unverified and event.peer not in self._warned_of:
                self._warned_of.add(event.peer)  # said at every message, nobody would read it
                self._note(words_trust.unverified(event.peer))
        elif isinstance(event, Registered) and self.not_registered is not None:
            self.not_registered = None
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
            self.failed = True
            if isinstance(command, commands.Send | commands.SendMulti):
                self._out(words.send_failed(words.sentence(error)))
            else:
                self._note(words.program_failed(error))
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
            case commands.Verify(peer, proof):
                self.failed |= not await self._people.verify(peer, proof)
            case commands.Trust(peer, decision):
                self.failed |= not await self._people.trust(peer, decision)
            case commands.WhoAmI():
                self._people.show_self()
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
            case SendOutcome.DELIVERED | SendOutcome.STORED | SendOutcome.SENT:
                self._out(words.SENT)
            case SendOutcome.QUEUED:
                self._queued([sent])
            case SendOutcome.NO_SUCH_PERSON:
                self._fail(words.NO_USER)
            case SendOutcome.FAILED:
                self._fail(words.send_failed(words.send_reason(sent.peer, sent.reason)))

    def _queued(self, waiting: list[Sent]) -> None:
        self._out(words.queued([sent.peer for sent in waiting]))
        for sent in waiting:
            if (note := words_trust.waits_for_decision(sent.peer, sent.reason)) is not None:
                self._note(note)

    async def _send_multi(self, command: commands.SendMulti) -> None:
        outcomes = await self._node.send(command.to, command.text) if command.to else ()

        def of(*wanted: SendOutcome) -> list[Sent]:
            return [sent for sent in outcomes if sent.outcome in wanted]

        if of(SendOutcome.DELIVERED, SendOutcome.STORED, SendOutcome.SENT):
            self._out(words.SENT)
        if waiting := of(SendOutcome.QUEUED):
            self._queued(waiting)
        for sent in of(SendOutcome.FAILED):
            self._fail(words.send_failed(words.send_reason(sent.peer, sent.reason)))
        missing: list[Name | DisplayText] = [sent.peer for sent in of(SendOutcome.NO_SUCH_PERSON)]
        missing += [DisplayText(typed) for typed in command.unknown]
        if missing:
            self._fail(words.no_such_people(missing))

    async def _read(self, peer: Contact | None) -> None:
        shown = Counter[MessageState]()
        if peer is None or not await self._print_conversation(peer, shown):
            self._out(words.NO_MESSAGES)
        elif (note := words.undelivered(peer, shown)) is not None:
            self._note(note)

    async def _print_conversation(self, peer: Contact, shown: Counter[MessageState]) -> bool:
        """Print every message with ``peer``; tell whether there was one.

        ``shown`` counts the states of what is still there to be read.
        """
        after: tuple[int, MessageId] | None = None
        while page := await self._node.conversation(peer, after):
            for message in page:
                self._out(words.conversation_line(message))
                shown[message.state] += message.text is not None
                await asyncio.sleep(0)  # a long conversation must not hold up what arrives
            after = (page[-1].hlc, page[-1].message_id)
        return after is not None

    async def _delete(self, peer: Name | None) -> None:
        outcome = DeleteOutcome.NOTHING if peer is None else await self._node.delete_newest(peer)
        if peer is None or outcome is DeleteOutcome.NOTHING:
            self._out(words.NOTHING_TO_DELETE)
            return
        await self._print_conversation(peer, Counter())
        if (note := words.delete_note(peer, outcome)) is not None:
            self._note(note)


# --- the plain reader ----------------------------------------------------------------------------


async def run_plain(session: Session, console: Plain) -> None:
    """Carry out the lines of stdin until EXIT or its end; ``console`` asks for them."""
    async with asyncio.TaskGroup() as tasks:
        events = tasks.create_task(session.show_events())
        console.ask()
        async for line in _lines_of_stdin():
            console.answered(typed=True)
            if not await session.execute(line):
                break
            console.ask()
        console.answered(typed=False)
        events.cancel()


async def _lines_of_stdin() -> AsyncIterator[str]:
    """Yield the lines of descriptor 0; a thread reads them, because reading a file never waits."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    taken = threading.Semaphore()  # one line waits at a time: a large file is not read at once

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody takes lines any more
            for line in _read_lines():
                taken.acquire()
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="netchat-stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        taken.release()
        yield line.decode(errors="replace")


def _read_lines() -> Iterator[bytes]:
    """Yield lines until the input ends or cannot be read, as that of a terminal that is gone."""
    splitter = LineSplitter()
    with contextlib.suppress(OSError):
        while data := os.read(0, _READ_BYTES):
            yield from splitter.feed(data)
    if rest := splitter.rest():
        yield rest


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

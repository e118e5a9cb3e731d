"""The prompt on a real terminal: editing, history, Tab, and a line that survives arrivals."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.patch_stdout import patch_stdout

from netchat.frontends import commands, words
from netchat.frontends.console import note
from netchat.frontends.prompt import Session
from netchat.limits import TAB_WAIT_S


async def run_terminal(session: Session, typed_lines: Path) -> None:
    """Carry out typed lines until EXIT or Ctrl-D; ``typed_lines`` keeps them for the arrow keys."""
    prompt: PromptSession[str] = PromptSession(
        words.PROMPT,
        completer=_Completer(session),
        complete_while_typing=False,
        history=_History(str(typed_lines)),
        auto_suggest=AutoSuggestFromHistory(),
        enable_history_search=True,
        key_bindings=_keys(),
    )
    # Everything printed meanwhile appears above the line being typed, which is drawn again.
    with patch_stdout():
        async with asyncio.TaskGroup() as tasks:
            events = tasks.create_task(session.show_events())
            try:
                while await _execute(session, await prompt.prompt_async()):
                    pass
            except EOFError:
                pass
            events.cancel()


async def _execute(session: Session, line: str) -> bool:
    """Carry out a line. Ctrl-C meanwhile ends nothing: no command takes longer than a send."""
    loop = asyncio.get_running_loop()
    otherwise = signal.getsignal(signal.SIGINT)
    # The terminal has written ^C where the cursor stood; what follows begins below it.
    loop.add_signal_handler(signal.SIGINT, note, f"\n{words.STILL_BUSY}")
    try:
        return await session.execute(line)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, otherwise)


class _History(FileHistory):
    """Lines that begin with a space are not kept, as in a shell."""

    def append_string(self, string: str) -> None:
        if string and not string.startswith(" "):
            with contextlib.suppress(OSError):  # a full disk must not end the session
                super().append_string(string)


class _Completer(Completer):
    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(self, document: Document, _event: CompleteEvent) -> list[Completion]:
        length, found = commands.completions(document.text_before_cursor, self._session.known_names)
        return [Completion(one, start_position=-length) for one in found]

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        try:
            async with asyncio.timeout(TAB_WAIT_S):
                await self._session.fetch_names()
        except TimeoutError:
            pass
        for completion in self.get_completions(document, complete_event):
            yield completion


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-c")
    def _clear(event: KeyPressEvent) -> None:
        """Ctrl-C clears the line; leaving is Ctrl-D or EXIT, so a slip loses no session."""
        event.current_buffer.reset()

    @keys.add(Keys.Vt100MouseEvent)
    def _ignore(_event: KeyPressEvent) -> None:
        """Pasted colours (``ESC [ 31 m``) look like a click, which prompt_toolkit dies of."""

    return keys

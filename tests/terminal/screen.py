"""A person at a terminal: a real pty, an emulated screen, and a program that believes both.

No wait here is a hopeful pause: the screen is read until a condition holds, for at most ``LIMIT_S``
seconds, and a failure shows the screen as it stood.
"""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, cast

import pyte
import pytest
from tests.interop.processes import environment

LIMIT_S = 15.0
COLUMNS = 100
LINES = 24
SCROLLBACK_LINES = 20_000

PROMPT = "Waiting for a command (to exit write EXIT): "

ENTER = "\r"
TAB = "\t"
UP = "\x1b[A"
LEFT = "\x1b[D"
CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_R = "\x12"

_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.executable, [sys.executable, '-m', 'netchat', *sys.argv[1:]])"
)
"""Makes the pty the controlling terminal, so that Ctrl-C is a signal, and becomes NetChat."""


class _Screen(pyte.HistoryScreen):
    """A screen that answers what a program asks a terminal: where the cursor is."""

    def __init__(self, answer: Callable[[str], None]) -> None:
        super().__init__(COLUMNS, LINES, history=SCROLLBACK_LINES)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """``netchat`` with ``arguments`` on a terminal of its own; stdout may be a pipe instead."""

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path,
        settings: dict[str, str],
        *,
        stdout: int | None = None,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._arguments = arguments
        self._stdout_is_pipe = stdout is not None
        self._master, self._slave = os.openpty()
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, size)
        self.modes_before = termios.tcgetattr(self._slave)
        self.seen = bytearray()
        """Every byte that reached the terminal."""
        self._screen = _Screen(self.type)
        self._stream = pyte.ByteStream(self._screen)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *arguments],
            stdin=self._slave,
            stdout=self._slave if stdout is None else stdout,
            stderr=self._slave,
            cwd=home,
            env=environment(home) | {"TERM": "xterm-256color"} | settings,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program, if it still runs, and take the terminal away."""
        if self._is_running:
            self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self._slave)

    # --- typing ----------------------------------------------------------------------------------

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line and press Enter."""
        self.type(line + ENTER)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    # --- looking ---------------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """What was ever on the screen and was not erased: the scrollback, then the screen."""
        columns = range(COLUMNS)
        above = cast("list[Any]", list(self._screen.history.top))
        rolled = ["".join(row[column].data for column in columns).rstrip() for row in above]
        return rolled + [line.rstrip() for line in self._screen.display]

    @property
    def facts(self) -> list[str]:
        """The lines of the classic prompt that were printed, oldest first."""
        return [line for line in self.lines if line.startswith(">>")]

    @property
    def cursor_line(self) -> str:
        """The line that the cursor stands on; a space that was typed at its end may be missing."""
        return str(self._screen.display[self._screen.cursor.y]).rstrip()

    @property
    def cursor_column(self) -> int:
        return int(self._screen.cursor.x)

    @property
    def typed(self) -> str | None:
        """What stands behind the newest prompt, if the cursor is behind it; else None."""
        text = "\n".join(str(line).rstrip() for line in self._screen.display).rstrip()
        _, prompt, typed = text.rpartition(PROMPT.rstrip())
        return typed.removeprefix(" ").replace("\n", "") if prompt else None

    @property
    def title(self) -> str:
        """What a program has called the window."""
        return str(self._screen.title)

    @property
    def modes(self) -> list[Any]:
        """What ``tcgetattr`` says of the terminal now."""
        return termios.tcgetattr(self._slave)

    # --- waiting ---------------------------------------------------------------------------------

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Read what the program draws until ``condition`` holds.

        It is asked now and then even if nothing is drawn: the modes of a terminal change silently.
        """
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            left_s = deadline - time.monotonic()
            may_change = self._is_running and left_s > 0
            if not self._read(0.05) and not may_change:
                self.fail(f"never came: {what}")

    def wait_for_prompt(self, typed: str = "") -> None:
        """Wait until the prompt stands there with ``typed`` behind it."""
        self.wait_until(lambda: self.typed == typed, f"the prompt with {typed!r}")

    def wait_for_line(self, line: str, times: int = 1) -> None:
        self.wait_until(lambda: self.lines.count(line) >= times, line)

    def wait_for_end(self) -> int:
        """Return the exit status, once the program has ended and everything it drew is read."""
        self.wait_until(lambda: not self._is_running, "the end of the program")
        while self._read(0):
            pass
        return self._process.returncode

    @property
    def _is_running(self) -> bool:
        return self._process.poll() is None

    def _read(self, timeout_s: float) -> bool:
        """Draw what has come; tell whether there was anything."""
        ready, _, _ = select.select([self._master], [], [], timeout_s)
        if ready:
            data = os.read(self._master, 65_536)
            self.seen += data
            self._stream.feed(data)
        return bool(ready)

    def fail(self, problem: str) -> NoReturn:
        """Fail the test and show what a person would see."""
        screen = "\n".join(f"| {line}" for line in self.lines[-2 * LINES :])
        pytest.fail(
            f"{problem}\nprogram: netchat {' '.join(self._arguments)}\n"
            f"exit status: {self._process.poll()}, cursor column {self.cursor_column}\n{screen}"
        )

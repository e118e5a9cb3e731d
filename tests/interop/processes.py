"""Start the real NetChat programs, talk to them through pipes, and see that they end.

No wait here is a hopeful pause: each blocks on what the process says, for at most `LIMIT`
seconds, and fails with everything that was printed so far.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import pytest
from tests.interop.classic_client import LIMIT, Address

REPOSITORY = Path(__file__).resolve().parents[2]
REGISTERED = ">>User registered in server!"

ALLOW_CLASSIC = ("--classic",)
"""What `netchat chat` needs besides to send plain text to a classic peer.

The protocol sheet names `--classic`; the commands agreed for the first release have no such
option, so there is nothing to give. Whoever adds it puts it here.
"""


def has_ipv6_loopback() -> bool:
    """Whether this machine can listen on ::1 at all."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def environment(home: Path) -> dict[str, str]:
    """An environment of the process's own: its home, and no proxy, setting or forced flush."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")
        and not name.startswith(("NETCHAT", "XDG_"))
        and name != "PYTHONUNBUFFERED"
    }
    paths = [str(REPOSITORY / "src"), inherited.get("PYTHONPATH", "")]
    return inherited | {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "LC_ALL": "C.UTF-8",
    }


class Output:
    """What one pipe of a process has brought so far, collected by a thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._data = b""
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _collect(self) -> None:
        while piece := self._pipe.read(4096):
            with self._changed:
                self._data += piece
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def data(self) -> bytes:
        """Every byte so far."""
        with self._changed:
            return self._data

    def wait(self, condition: Callable[[bytes], bool]) -> bool:
        """Whether the bytes so far come to fulfil `condition` before the end or the limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or condition(self._data), LIMIT)
            return condition(self._data)

    def close(self) -> None:
        """Collect the rest of a process that has ended, and close the pipe."""
        self._thread.join()
        self._pipe.close()


class Program:
    """One NetChat process on three pipes.

    ``module`` is what runs, and ``settings`` are added to its environment.
    """

    module = "netchat"

    def __init__(
        self, arguments: list[str], home: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._arguments = arguments
        self._taken = 0
        self._stopped = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=home,
            env=environment(home) | (settings or {}),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._input = self._process.stdin
        self._output = Output(self._process.stdout)
        self._errors = Output(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.status is None

    @property
    def transcript(self) -> str:
        """All of stdout so far; bytes that are not UTF-8 are a failure."""
        return self._output.data().decode()

    def fail(self, problem: str) -> NoReturn:
        """Fail the test and show everything the process has said."""
        pytest.fail(f"{problem}\n{self.story}")

    @property
    def story(self) -> str:
        """Everything the process has said so far."""
        return (
            f"program: netchat {' '.join(self._arguments)}\n"
            f"exit status: {self._process.poll()}\n"
            f"stdout: {self._output.data()!r}\n"
            f"stderr:\n{self._errors.data().decode(errors='replace')}"
        )

    # Reading

    def next_line(self) -> str:
        """The next line of stdout that no earlier call has returned."""
        if not self._output.wait(lambda data: data.count(b"\n") > self._taken):
            self.fail(f"line {self._taken + 1} did not come")
        line = self._output.data().split(b"\n")[self._taken]
        self._taken += 1
        return line.decode()

    def next_lines(self, count: int) -> list[str]:
        """The next `count` lines."""
        return [self.next_line() for _ in range(count)]

    def expect(self, *lines: str) -> None:
        """Take as many lines as are given, which have to be exactly these."""
        for number, line in enumerate(lines, 1):
            found = self.next_line()
            if found != line:
                self.fail(f"line {number} of {len(lines)} is {found!r} instead of {line!r}")

    def expect_in_any_order(self, *lines: str) -> None:
        """Take as many lines as are given, for facts that come about side by side."""
        found = self.next_lines(len(lines))
        if sorted(found) != sorted(lines):
            self.fail(f"{found} instead of {list(lines)}")

    def expect_beginning(self, beginning: str) -> None:
        """Take one line of which the end is in words of the program's own choice."""
        found = self.next_line()
        if not found.startswith(beginning):
            self.fail(f"{found!r} does not begin with {beginning!r}")

    def wait_for(self, line: str) -> None:
        """Return once `line` is among those to come, and leave it there to be taken."""
        wanted = line.encode()
        if not self._output.wait(lambda data: wanted in data.split(b"\n")[self._taken : -1]):
            self.fail(f"{line!r} did not come")

    def unread(self) -> str:
        """What stdout brought beyond the lines that were taken."""
        return b"\n".join(self._output.data().split(b"\n")[self._taken :]).decode()

    # Typing

    def type(self, *commands: str) -> None:
        """Write lines to stdin. A process that has gone shows when its answer is awaited."""
        try:
            for command in commands:
                self._input.write(f"{command}\n".encode())
        except BrokenPipeError:
            return

    def ask(self, command: str, *lines: str) -> None:
        """Type a command, whose answer has to be exactly these lines."""
        self.type(command)
        self.expect(*lines)

    def ask_until(self, command: str, *lines: str) -> None:
        """Repeat a harmless command until its answer is these lines.

        For what another process brings about without a word here, such as a deletion. The
        answers before must have as many lines as the awaited one.
        """
        expired = threading.Event()
        timer = threading.Timer(LIMIT, expired.set)
        timer.start()
        try:
            while not expired.is_set():
                self.type(command)
                if self.next_lines(len(lines)) == list(lines):
                    return
                expired.wait(0.02)
            self.fail(f"{command} never answered {list(lines)}")
        finally:
            timer.cancel()
            timer.join()

    # Ending

    def end_input(self) -> None:
        """Close stdin, which is end of input for the program."""
        self._input.close()

    def terminate(self) -> None:
        """Ask the process to stop, as a service manager does."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit status, once the process has ended by itself."""
        try:
            status = self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.fail("the process did not end")
        self._close_pipes()
        return status

    def leave(self, status: int | None = 0) -> None:
        """Type EXIT; the process has to end, with this status, and to have no more to say.

        `None` stands for a status on which the protocol sheet is silent.
        """
        self.type("EXIT")
        found = self.wait()
        if self.unread():
            self.fail(f"unexpected output {self.unread()!r}")
        if status not in (None, found):
            self.fail(f"exit status {found} instead of {status}")

    def stop(self) -> None:
        """Make sure that the process is gone, whatever became of the test; never fails."""
        if self._stopped:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._input.close()
        self._output.close()
        self._errors.close()

    def assert_no_traceback(self) -> None:
        """A failure may be reported, never as a traceback."""
        if b"Traceback" in self._errors.data():
            self.fail("there is a traceback on stderr")


class Directory(Program):
    """A running `netchat serve` on a port of its own, on every loopback there is."""

    def __init__(self, home: Path, data: Path, *options: str) -> None:
        hosts = ["127.0.0.1", "::1"] if has_ipv6_loopback() else ["127.0.0.1"]
        arguments = ["serve"]
        for host in hosts:
            arguments += ["--host", host]
        super().__init__([*arguments, "--port", "0", "--data", str(data), *options], home)
        try:
            self.port = self._read_port()
            if len(hosts) > 1:
                self.expect(f"listening on http://[::1]:{self.port}")
        except BaseException:
            self.stop()
            raise
        self.address: Address = ("127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self.port}"

    def _read_port(self) -> int:
        line = self.next_line()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            self.fail(f"{line!r} does not tell where the directory listens")
        return int(found[1])

    def stop_cleanly(self) -> None:
        """SIGTERM ends it with status 0 and without a traceback."""
        self.terminate()
        status = self.wait()
        if status != 0:
            self.fail(f"exit status {status} after SIGTERM")
        self.assert_no_traceback()


@contextmanager
def serving(home: Path, data: Path, *options: str) -> Iterator[Directory]:
    """A directory for the length of a block, stopped cleanly at its end."""
    directory = Directory(home, data, *options)
    try:
        yield directory
        directory.stop_cleanly()
    finally:
        directory.stop()


def start_chat(name: str, directory_url: str, home: Path, *options: str) -> Program:
    """A `netchat chat` whose lines from the very first are still to be read."""
    return Program(["chat", name, "--directory", directory_url, *options], home)

"""Real NetChat processes for the system tests: killed, silenced, and left without a directory.

Built on the programs of the interop tests. A wait here is for a thing that is said or done, for at
most ``LIMIT`` seconds; a failure shows everything that the process printed.
"""

import contextlib
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT, Address, ask_directory, read_to_end
from tests.interop.processes import Program

_PORTS_FROM = 20_000
"""Below the range from which the kernel takes ports by itself (32,768 and up)."""


class Chat(Program):
    """``netchat chat NAME``, with what the system tests do to it besides typing."""

    def __init__(
        self,
        name: str,
        home: Path,
        *options: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(["chat", name, *options], home, settings)
        self.name = name
        self.history = home / "data" / "netchat" / "profiles" / name.lower() / "history.db"

    @property
    def notes(self) -> str:
        """All of stderr so far."""
        return self._errors.data().decode()

    def wait_for_note(self, *parts: str) -> str:
        """Return the first line of stderr that holds each of ``parts``, once it is there."""
        found: list[str] = []

        def comes(data: bytes) -> bool:
            lines = data.decode().split("\n")[:-1]
            found[:] = [line for line in lines if all(part in line for part in parts)]
            return bool(found)

        if not self._errors.wait(comes):
            self.fail(f"no note with {parts} came")
        return found[0]

    def wait_for_lines(self, count: int) -> list[str]:
        """Return the lines of stdout so far, of which there have to be ``count`` at least."""
        if not self._output.wait(lambda data: data.count(b"\n") >= count):
            self.fail(f"line {count} did not come")
        return self.transcript.split("\n")[:-1]

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def names(self) -> list[str]:
        """Type LIST; return who is there, in alphabetical order."""
        self.type("LIST")
        line = self.next_line()
        if not (line.startswith(">>[") and line.endswith("]")):
            self.fail(f"{line!r} is no list")
        return sorted(name for name in line[3:-1].split(", ") if name)

    def conversation(self, peer: str) -> list[str]:
        """Type READ and an unknown command; return what was printed up to the answer to that."""
        self.type(f"READ {peer}", "THAT-IS-ALL")
        lines = []
        while (line := self.next_line()) != ">>Unknown command!":
            lines.append(line)
        return lines

    def messages(self) -> list[tuple[str, int, str, str, str | None]]:
        """Read (peer, outgoing, text, state, reason) from the file itself, oldest first."""
        return rows(
            self.history,
            "SELECT peer, outgoing, text, state, reason FROM message ORDER BY position",
        )


class Serve(Program):
    """``netchat serve`` at a port that is told, so that another can come after it."""

    def __init__(
        self,
        port: int,
        data: Path,
        *options: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(port), "--data", str(data)]
        super().__init__([*arguments, *options], data.parent / "directory-home", settings)
        self.address: Address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"
        self.database = data / "directory.db"

    def wait_until_up(self) -> None:
        self.expect(f"listening on {self.url}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()


def rows(database: Path, query: str) -> list[tuple]:  # type: ignore[type-arg]
    """Ask a database that another process may be writing."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT) -> None:
    """Ask again and again, for what no process tells of; fail after the limit."""
    expired = threading.Event()
    timer = threading.Timer(limit_s, expired.set)
    timer.start()
    try:
        while not condition():
            if expired.wait(0.01):
                pytest.fail(f"never came: {what}")
    finally:
        timer.cancel()
        timer.join()


# --- ports ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def unused_port() -> Iterator[int]:
    """A port on loopback that no other test and no ordinary connection gets meanwhile."""
    for port in range(_PORTS_FROM, _PORTS_FROM + 10_000):
        with contextlib.ExitStack() as claims:
            try:
                # An abstract Unix address is the claim: it is gone with this process at the latest.
                claim = claims.enter_context(socket.socket(socket.AF_UNIX))
                claim.bind(f"\0netchat-test-port-{port}")
                socket.create_server(("127.0.0.1", port)).close()
            except OSError:
                continue
            yield port
            return
    pytest.fail("no port is free")


def address_of(directory: Address, name: str) -> Address:
    """Where ``name`` listens, as the directory has it."""
    answer = ask_directory(directory, "GET", f"/userlist.txt?username={name}")
    assert answer.status == 200, answer
    host, _, port = answer.body.rpartition(":")
    return host, int(port)


def registered(directory: Address) -> list[str]:
    """Who stands in the directory, in alphabetical order."""
    lines = ask_directory(directory, "GET", "/userlist.txt").body.split("\n")
    return sorted(line.partition("@")[0] for line in lines if line)


def register(directory: Address, name: str, port: int) -> None:
    """Enter ``name`` by hand, as a classic client does."""
    body = f"UPDATE {name}@127.0.0.1:{port}"
    assert ask_directory(directory, "POST", "/", body).status == 200


def bring(address: Address, data: bytes) -> None:
    """Send one classic message; return once the receiver has closed, which says it has it."""
    with socket.create_connection(address, timeout=LIMIT) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == b""


def stop_all(programs: Sequence[Program]) -> None:
    """End whatever still runs; then nothing may have died of a bug."""
    for program in programs:
        program.stop()
    for program in programs:
        program.assert_no_traceback()

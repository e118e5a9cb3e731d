"""A classic NetChat client, written from the protocol sheet alone.

It shares no code with NetChat on purpose: when the two agree, they agree on the protocol and
not on a common mistake. It does what the course's clients do, with raw sockets and threads, and
its `Style` holds the habits in which those clients differ.
"""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

LIMIT = 10.0
"""Seconds after which any wait has failed."""

Address = tuple[str, int]


@dataclass(frozen=True)
class Style:
    """How one classic client writes its HTTP."""

    version: str = "HTTP/1.1"
    host_header: bool = True
    connection_close: bool = True
    lower_case_headers: bool = False
    body_end: Literal["nothing", "counted line end", "uncounted line end"] = "nothing"
    counts_characters: bool = False
    one_byte_at_a_time: bool = False


PLAIN = Style()
HTTP_1_0 = Style(version="HTTP/1.0", host_header=False, connection_close=False)
HTTP_1_0_CLOSE = Style(version="HTTP/1.0", host_header=False)
LOWER_CASE = Style(lower_case_headers=True)
COUNTED_LINE_END = Style(body_end="counted line end")
UNCOUNTED_LINE_END = Style(body_end="uncounted line end")
ONE_BYTE_AT_A_TIME = Style(one_byte_at_a_time=True)
COUNTS_CHARACTERS = Style(counts_characters=True)


@dataclass(frozen=True)
class Answer:
    """The parts of an HTTP answer that a classic client looks at."""

    status: int
    head: str
    body: str


@dataclass
class Entry:
    """One message of a conversation."""

    text: str
    mine: bool
    deleted: bool = False


def write(connection: socket.socket, data: bytes, *, one_byte_at_a_time: bool = False) -> None:
    """Send all of `data`, in one piece or in as many pieces as it has bytes."""
    if not one_byte_at_a_time:
        connection.sendall(data)
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for position in range(len(data)):
        connection.sendall(data[position : position + 1])


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the other side closes, which is how classic clients find the end."""
    received = b""
    while piece := connection.recv(4096):
        received += piece
    return received


def build_request(method: str, target: str, body: str | None, style: Style) -> bytes:
    """Put a request together the way a client of this style does."""
    after_body = ""
    if body is not None and style.body_end == "counted line end":
        body += "\r\n"
    elif body is not None and style.body_end == "uncounted line end":
        after_body = "\r\n"
    headers = []
    if style.host_header:
        headers.append("Host: directory")
    if body is not None:
        length = len(body) if style.counts_characters else len(body.encode())
        headers.append(f"Content-Length: {length}")
    if style.connection_close:
        headers.append("Connection: close")
    if style.lower_case_headers:
        headers = [header.lower() for header in headers]
    lines = [f"{method} {target} {style.version}", *headers, "", ""]
    return ("\r\n".join(lines) + (body or "") + after_body).encode()


def parse_answer(data: bytes) -> Answer:
    """Take the second word as status and what follows the first empty line as body."""
    head, empty_line, body = data.partition(b"\r\n\r\n")
    assert empty_line, f"no empty line after the headers: {data!r}"
    return Answer(int(head.split()[1]), head.decode("ascii"), body.decode("ascii"))


def ask_directory(
    directory: Address, method: str, target: str, body: str | None = None, style: Style = PLAIN
) -> Answer:
    """Make one request on a connection of its own and read until the server closes it."""
    with socket.create_connection(directory, timeout=LIMIT) as connection:
        request = build_request(method, target, body, style)
        write(connection, request, one_byte_at_a_time=style.one_byte_at_a_time)
        return parse_answer(read_to_end(connection))


def wait_until_closed(connection: socket.socket) -> None:
    """End our half, then wait for the receiver to close in peace, once it has stored."""
    connection.shutdown(socket.SHUT_WR)
    answer = read_to_end(connection)
    assert answer == b"", f"a classic message has no answer, yet came {answer!r}"


def wait_until_dropped(connection: socket.socket) -> None:
    """Like `wait_until_closed`, for what is no message: a reset says that nothing was stored."""
    try:
        wait_until_closed(connection)
    except OSError as error:
        if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            raise


class ClassicClient:
    """One person on a classic client: registered, listening, with a history of its own.

    `received` keeps the bytes of every connection, and `surprises` what would have killed a
    client in the field: a connection without text, bytes that are not UTF-8, no quotes.
    """

    def __init__(
        self,
        name: str,
        directory: Address,
        style: Style = PLAIN,
        *,
        cuts_at_second_quote: bool = False,
    ) -> None:
        self.name = name
        self.directory = directory
        self.style = style
        self.cuts_at_second_quote = cuts_at_second_quote
        self.received: list[bytes] = []
        self.surprises: list[str] = []
        self._history: dict[str, list[Entry]] = {}
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

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
        """Stop listening. A classic client says nothing to the directory when it leaves."""
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
        self._listener.close()

    # The directory

    @property
    def registration(self) -> str:
        """What this client puts behind UPDATE or REGISTER."""
        return f"{self.name}@127.0.0.1:{self.port}"

    def update(self) -> int:
        """Register, or move, the way of the newer generation; the status of the answer."""
        return self._ask("POST", "/", f"UPDATE {self.registration}").status

    def register(self) -> int:
        """Register the way of the older generation; anything but 200 says the name is taken."""
        return self._ask("POST", "/userlist.txt", f"REGISTER {self.registration}").status

    def list_lines(self) -> list[str]:
        """Everybody the directory knows, as `name@ip:port`."""
        answer = self._ask("GET", "/userlist.txt")
        assert answer.status == 200, answer
        return answer.body.split("\n") if answer.body else []

    def list_names(self) -> list[str]:
        """Everybody the directory knows, by name."""
        return [line.split("@")[0] for line in self.list_lines()]

    def lookup(self, name: str) -> Address | None:
        """Where `name` listens, or None when nobody has that name."""
        answer = self._ask("GET", f"/userlist.txt?username={name}")
        if answer.status != 200:
            return None
        host, port = answer.body.split(":")
        return host, int(port)

    def _ask(self, method: str, target: str, body: str | None = None) -> Answer:
        return ask_directory(self.directory, method, target, body, self.style)

    # Sending

    def send(self, name: str, text: str, *, one_byte_at_a_time: bool = False) -> None:
        """Look `name` up, send one message on a connection of its own, close it.

        It enters the history first, so that a quick answer cannot come to stand before it.
        """
        self._add(name, Entry(text, mine=True))
        message = f'{self.name}: "{text}"'.encode()
        self.send_bytes(name, message, one_byte_at_a_time=one_byte_at_a_time)

    def delete(self, name: str) -> None:
        """Delete the newest own message that is not deleted yet, there and here."""
        self.send_bytes(name, f"DELETE_MESSAGE:{self.name}".encode())
        with self._changed:
            self._delete_newest(name, mine=True)

    def send_bytes(
        self,
        name: str,
        data: bytes,
        *,
        one_byte_at_a_time: bool = False,
        until_closed: bool = False,
        until_dropped: bool = False,
        source_host: str = "127.0.0.1",
    ) -> None:
        """Send exactly these bytes to `name`; with `until_closed`, return once they are stored.

        With `until_dropped`, for what is no message, return once the receiver is done with it.
        """
        with self.connection_to(name, source_host) as connection:
            write(connection, data, one_byte_at_a_time=one_byte_at_a_time)
            if until_closed:
                wait_until_closed(connection)
            if until_dropped:
                wait_until_dropped(connection)

    @contextmanager
    def connection_to(self, name: str, source_host: str = "127.0.0.1") -> Iterator[socket.socket]:
        """An open connection to `name`, for a sender that takes its time."""
        address = self.lookup(name)
        assert address is not None, f"the directory does not know {name}"
        source = (source_host, 0)
        with socket.create_connection(address, LIMIT, source_address=source) as connection:
            yield connection

    # Listening

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # `close` has shut the listener down
                return
            with connection:
                connection.settimeout(LIMIT)
                self._receive_once(connection)

    def _receive_once(self, connection: socket.socket) -> None:
        """Take what one `recv` gives, as classic receivers do, and drop the rest."""
        try:
            data = connection.recv(1024)
        except OSError as error:
            self.surprises.append(repr(error))
            return
        with self._changed:
            self.received.append(data)
            self._understand(data)
            self._changed.notify_all()

    def _understand(self, data: bytes) -> None:
        try:
            message = data.decode()
        except UnicodeDecodeError:
            self.surprises.append(f"not UTF-8: {data!r}")
            return
        if message.startswith("DELETE_MESSAGE:"):
            self._delete_newest(message.removeprefix("DELETE_MESSAGE:"), mine=False)
        elif message.count('"') < 2 or ":" not in message:
            self.surprises.append(f"no whole message: {data!r}")
        else:
            self._take_message(message)

    def _take_message(self, message: str) -> None:
        start = message.index('"') + 1
        find_end = message.index if self.cuts_at_second_quote else message.rindex
        end = find_end('"', start)
        self._conversation(message.split(":")[0]).append(Entry(message[start:end], mine=False))

    # History

    def read(self, name: str) -> list[str]:
        """The conversation with `name` as a classic prompt prints it, without the `>>`."""
        with self._changed:
            return self._lines(name)

    def wait_for_conversation(self, name: str, lines: list[str]) -> None:
        """Return as soon as the conversation with `name` reads exactly so."""
        self._wait(lambda: self._lines(name) == lines, f"{lines} from {name}")

    def wait_for_received(self, messages: list[bytes]) -> None:
        """Return as soon as the connections so far brought exactly these bytes."""
        self._wait(lambda: self.received == messages, f"{messages}")

    def _wait(self, condition: Callable[[], bool], wanted: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, LIMIT):
                raise AssertionError(
                    f"{self.name} waited for {wanted}, received {self.received},"
                    f" surprises {self.surprises}, history {self._history}"
                )

    def _conversation(self, name: str) -> list[Entry]:
        return self._history.setdefault(name.lower(), [])

    def _lines(self, name: str) -> list[str]:
        return [
            f"{'Deleted' if entry.deleted else entry.text} - {'user' if entry.mine else name}"
            for entry in self._conversation(name)
        ]

    def _add(self, name: str, entry: Entry) -> None:
        with self._changed:
            self._conversation(name).append(entry)
            self._changed.notify_all()

    def _delete_newest(self, name: str, *, mine: bool) -> None:
        for entry in reversed(self._conversation(name)):
            if entry.mine == mine and not entry.deleted:
                entry.deleted = True
                return

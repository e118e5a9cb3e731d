"""A classic directory server, written from the protocol sheet alone.

It stands for the servers that people already run, so it is as plain as theirs: raw sockets, one
thread a connection, one request a connection. It never announces that it closes; it closes.
"""

import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.interop.classic_client import LIMIT, Address

MODES: dict[str, dict[str, bool | str]] = {
    "classic": {},
    "classic-single-recv": {"single_recv": True},
    "classic-no-length": {"with_content_length": False},
    "classic-http-1.0": {"version": "HTTP/1.0"},
}
"""The makes of course server that NetChat has to get along with, as options of `ClassicServer`."""

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 409: "Conflict"}


@dataclass(frozen=True)
class Request:
    """What the server made of the bytes it got."""

    method: str
    target: str
    body: str


@dataclass(frozen=True)
class Registered:
    """One line of the list."""

    name: str
    address: str


def is_complete(data: bytes) -> bool:
    """Whether the head, and as much body as Content-Length promises, have arrived."""
    head, empty_line, body = data.partition(b"\r\n\r\n")
    return bool(empty_line) and len(body) >= content_length(head)


def content_length(head: bytes) -> int:
    """The promised length of the body; header names come in any letter case."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def parse_request(data: bytes) -> Request:
    """Split the request as a course server does; raises ValueError when that fails."""
    head, _, body = data.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode("ascii").split(" ")
    return Request(method, target, body.decode("ascii").strip())


def parse_registration(text: str) -> Registered:
    """Split `name@ip:port`; raises ValueError when it is something else."""
    name, address = text.split("@")
    _, port = address.split(":")
    if not name or not 0 < int(port) < 65536:
        raise ValueError(text)
    return Registered(name, address)


class ClassicServer:
    """A directory on a loopback port, an ephemeral one unless it is told.

    `single_recv` reads every request with one `recv(4096)` and never looks further: a client
    that sends head and body apart is refused. `with_content_length=False` lets the body end where
    the stream ends. `version` is what the status line says.
    """

    def __init__(
        self,
        *,
        single_recv: bool = False,
        with_content_length: bool = True,
        version: str = "HTTP/1.1",
        port: int = 0,
    ) -> None:
        self.requests: list[Request] = []
        self._single_recv = single_recv
        self._with_content_length = with_content_length
        self._version = version
        self._entries: dict[str, Registered] = {}
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address: Address = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse new connections and wait for those that are being served."""
        if self._acceptor.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
        self._listener.close()
        for worker in self._workers:
            worker.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # `stop` has shut the listener down
                return
            worker = threading.Thread(target=self._serve, args=(connection,))
            self._workers.append(worker)
            worker.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(LIMIT)
            try:
                data = self._receive(connection)
                if data:
                    connection.sendall(self._answer(data))
            except OSError:  # the client has gone; the next one is another connection
                return

    def _receive(self, connection: socket.socket) -> bytes:
        data = connection.recv(4096)
        while data and not self._single_recv and not is_complete(data):
            piece = connection.recv(4096)
            if not piece:
                break
            data += piece
        return data

    def _answer(self, data: bytes) -> bytes:
        try:
            request = parse_request(data)
            with self._lock:
                self.requests.append(request)
                status, body = self._decide(request)
        except ValueError:
            status, body = 400, ""
        head = f"{self._version} {status} {REASONS[status]}\r\nContent-Type: text/plain\r\n"
        if self._with_content_length:
            head += f"Content-Length: {len(body)}\r\n"
        return f"{head}\r\n{body}".encode("ascii")

    def _decide(self, request: Request) -> tuple[int, str]:
        path, _, query = request.target.partition("?")
        match request.method, path:
            case "POST", "/":
                return self._update(request.body), ""
            case "POST", "/userlist.txt":
                return self._register(request.body), ""
            case "GET", "/userlist.txt":
                return self._lookup(query) if query else (200, self._list())
            case _:
                return 404, ""

    def _update(self, body: str) -> int:
        command, registration = body.split(" ")
        if command != "UPDATE":
            return 400
        self._enter(parse_registration(registration))
        return 200

    def _register(self, body: str) -> int:
        command, registration = body.split(" ")
        if command != "REGISTER":
            return 400
        newcomer = parse_registration(registration)
        if newcomer.name.lower() in self._entries:
            return 409
        self._enter(newcomer)
        return 200

    def _enter(self, newcomer: Registered) -> None:
        key = newcomer.name.lower()
        first = self._entries.get(key, newcomer)
        self._entries[key] = Registered(first.name, newcomer.address)

    def _lookup(self, query: str) -> tuple[int, str]:
        field, _, name = query.partition("=")
        entry = self._entries.get(name.lower())
        if field != "username" or entry is None:
            return 404, ""
        return 200, entry.address

    def _list(self) -> str:
        return "\n".join(f"{entry.name}@{entry.address}" for entry in self._entries.values())

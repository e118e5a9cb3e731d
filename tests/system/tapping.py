"""Taps on TCP connections: a proxy that keeps every byte, and what text may look like in bytes."""

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self
from urllib.parse import quote

from tests.interop.classic_client import LIMIT, Address


class Tap:
    """A proxy at a port of its own; ``aim`` says where it leads to.

    ``ways`` holds a pair for each connection: what its opener sent, and what came back.
    """

    def __init__(self, aim: Callable[[], Address], port: int = 0) -> None:
        self._aim = aim
        self._server = socket.create_server(("127.0.0.1", port))
        self.address: Address = self._server.getsockname()
        self.ways: list[tuple[bytearray, bytearray]] = []
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def data(self) -> bytes:
        """Every byte so far, each way of each connection in one piece."""
        return b"".join(bytes(way) for both in list(self.ways) for way in both)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(self._aim(), LIMIT)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                both = bytearray(), bytearray()
                self.ways.append(both)
                self._open |= {near, far}
                for source, sink, way in ((near, far, both[0]), (far, near, both[1])):
                    self._threads.append(
                        threading.Thread(target=self._carry, args=(source, sink, way))
                    )
                    self._threads[-1].start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, way: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                way += data  # before it arrives, so that nothing is ever missed
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._server.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()


# --- looking at bytes -----------------------------------------------------------------------------


def records_of(way: bytes) -> list[int]:
    """The kinds of the TLS records that ``way`` consists of, and of nothing else."""
    kinds = []
    while way:
        assert way[1:3] in (b"\x03\x01", b"\x03\x03"), f"no TLS record: {way[:16]!r}"
        kinds.append(way[0])
        way = way[5 + int.from_bytes(way[3:5]) :]
    return kinds


def traces_of(text: str, data: bytes) -> list[str]:
    """In which forms ``text`` is found in ``data``."""
    folded = data.lower()
    return [form for form, wanted in forms_of(text) if wanted in data or wanted in folded]


def forms_of(text: str) -> Iterator[tuple[str, bytes]]:
    raw = text.encode()
    yield "utf-8", raw
    yield "utf-8, reversed", raw[::-1]
    yield "characters, reversed", text[::-1].encode()
    yield "utf-16-le", text.encode("utf-16-le")
    yield "utf-16-be", text.encode("utf-16-be")
    yield "utf-32-le", text.encode("utf-32-le")
    yield "hex", raw.hex().encode()
    yield "hex, reversed", raw[::-1].hex().encode()
    yield "quoted", quote(text).encode()
    yield "JSON", text.encode("ascii", "backslashreplace")
    yield "upper case", text.upper().encode()
    yield "lower case", text.lower().encode()
    for form, whole in (("base64", raw), ("base64, reversed", raw[::-1])):
        for shift in range(3):
            # Only characters that depend on the text alone, wherever it begins.
            encoded = base64.b64encode(bytes(shift) + whole)[-(-shift * 8 // 6) :]
            kept = encoded[: len(whole) * 8 // 6 - 1]
            yield f"{form} at {shift}", kept
            yield f"{form} at {shift}, for addresses", kept.translate(bytes.maketrans(b"+/", b"-_"))

"""Connections that a node opens: how each begins, and how one classic message is brought over it.

Connecting and writing are two steps, because the node says on its disk that bytes may leave before
the first one does. Nothing but the whole message is ever written: classic clients die of surprises.
"""

import asyncio
import errno
import socket
from typing import Final

from netchat.limits import ANSWER_BYTES_MAX, CLOSE_WAIT_S, DIAL_TIMEOUT_S, HAND_OVER_TIMEOUT_S
from netchat.model import Address

_ANYWHERE: Final = "192.0.2.1"
"""An address of nobody (RFC 5737): the way towards it is the default route."""


class DialError(Exception):
    """No connection; ``reason`` is a code: ``refused``, ``timeout``, ``unreachable``.

    A link has more of them: ``dial_link``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HandOverError(Exception):
    """The connection broke after a byte may have left: ``reset``, ``timeout``, ``broken``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Connection:
    """An open connection over which nothing has gone yet."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def hand_over(self, data: bytes) -> None:
        """Write ``data``, end our half, and look for a moment whether it was thrown away.

        A peer that closes has read (a NetChat peer: stored) everything. One that keeps silent for
        ``CLOSE_WAIT_S`` is taken to have it. A reset means that it has not.

        Raises:
            HandOverError: the outcome is bad or unknown; do not send it again.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
                await loop.sock_sendall(self._socket, data)
            self._socket.shutdown(socket.SHUT_WR)
            await self._watch_for_reset(loop)
        except TimeoutError as error:
            raise HandOverError("timeout") from error
        except OSError as error:
            reset = error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
            raise HandOverError("reset" if reset else "broken") from error
        finally:
            self.close()

    async def _watch_for_reset(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return at the end of the peer's half, or after a while; what it says is ignored."""
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                left = ANSWER_BYTES_MAX
                while left > 0 and (answer := await loop.sock_recv(self._socket, 1024)):
                    left -= len(answer)
                    await asyncio.sleep(0)  # who talks without end must not keep the loop
        except TimeoutError:
            return

    def close(self) -> None:
        self._socket.close()


async def dial(address: Address) -> Connection:
    """Open a connection to ``address`` for one classic message.

    Raises:
        DialError: nobody accepted within ``DIAL_TIMEOUT_S``.
    """
    return Connection(await connect(address))


async def connect(address: Address) -> socket.socket:
    """Return a socket that is connected to ``address``; nothing has gone over it.

    Raises:
        DialError: nobody accepted within ``DIAL_TIMEOUT_S``.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        connecting = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # no IPv6 here, or too many open files
        raise DialError("unreachable") from error
    try:
        connecting.setblocking(False)
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(connecting, (address.host, address.port))
        if connecting.getsockname() == connecting.getpeername():
            # Nobody listens there, and TCP connected this socket to itself (RFC 9293 section 3.5,
            # simultaneous open); it happens when the kernel picks the dialled port as our own.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    except TimeoutError as error:
        connecting.close()
        raise DialError("timeout") from error
    except (OSError, UnicodeError) as error:  # the latter from a zone that is no host name
        connecting.close()
        refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
        raise DialError("refused" if refused else "unreachable") from error
    except BaseException:
        connecting.close()
        raise
    return connecting


def address_towards(host: str, port: int) -> str | None:
    """Return the IPv4 address of this machine that packets to ``host`` would leave from.

    No packet is sent, but a host name is looked up, which may take a while. An IPv6 host gives the
    address of the default route; None when there is no way to it.
    """
    own = "127.0.0.1" if host == "::1" else _own_address(host, port)
    own = own or _own_address(_ANYWHERE, port)
    return "127.0.0.1" if own is not None and own.startswith("127.") else own


def _own_address(host: str, port: int) -> str | None:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect((host, port))
        return str(probe.getsockname()[0])
    except OSError:
        return None
    finally:
        probe.close()

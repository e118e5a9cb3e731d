"""Every error that NetChat raises on purpose.

    NetChatError
    ├── LocalError                you asked for something that cannot be
    │   ├── InvalidName           not a name of the grammar, or a reserved one
    │   ├── InvalidAddress        not HOST:PORT, or an address nobody can be reached at
    │   ├── InvalidKey            not the text or the bytes of a key
    │   ├── InvalidUrl            not the http:// address of a directory
    │   ├── TextTooLong           longer than the peer can receive
    │   ├── AddressInUse          somebody else listens there already
    │   ├── DirectoryInUse        another process serves from this file
    │   ├── NoDirectoryHere       no directory keeps its data in this folder
    │   └── ProfileInUse          another process owns this profile
    ├── RemoteError               a peer or a directory sent something that breaks the rules
    │   ├── MalformedMessage      not a whole classic message
    │   ├── MalformedBody         not a body that the directory protocol knows
    │   ├── MalformedFrame        not a frame of the link
    │   ├── MalformedRecord       not a record, or not one that may stand
    │   ├── BadSignature          not signed by the key that it claims
    │   └── BadEnvelope           not a sealed message that we can open
    ├── TrustError                a key is not what it has to be for what was asked
    │   ├── NoKey                 no key is pinned for this name
    │   └── KeyMismatch           the key or number given is not the one that is pinned
    ├── IdentityError
    │   ├── IdentityLocked        the identity file needs a passphrase, or another one
    │   └── IdentityUnreadable    the identity file is damaged, no key of ours, or open to others
    ├── DirectoryError
    │   ├── DirectoryUnreachable  no answer, or an answer that no directory gives
    │   └── DirectoryRefused      it answered, and said no
    └── StoreError
        ├── StoreUnavailable      the disk refused; the operation may be repeated
        └── StoreNewer            the file was written by a newer NetChat

Each class has a ``code`` for scripts; the sentences for people are in ``frontends/words.py``.
A parser in ``wire`` raises only ``RemoteError``: any other exception from there is a bug.
"""

from typing import ClassVar


class NetChatError(Exception):
    """The root of everything below; catch it at the doors of the program."""

    code: ClassVar[str] = "failed"


class LocalError(NetChatError):
    """The caller asked for something that cannot be."""

    code = "refused"


class InvalidName(LocalError):
    """``text`` is no name; ``reserved`` tells whether the grammar would have allowed it."""

    code = "invalid-name"

    def __init__(self, text: str, *, reserved: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.reserved = reserved


class InvalidAddress(LocalError):
    """``text`` is no address that a peer could be reached at, because of ``reason``."""

    code = "invalid-address"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.reason = reason


class InvalidKey(LocalError):
    """``text`` is not the key of anybody."""

    code = "invalid-key"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class InvalidUrl(LocalError):
    """``url`` is not the ``http://HOST:PORT`` of a directory."""

    code = "invalid-url"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class TextTooLong(LocalError):
    """The whole message would have ``size`` bytes; the peer reads ``size_max``."""

    code = "too-long"

    def __init__(self, size: int, size_max: int) -> None:
        super().__init__(size, size_max)
        self.size = size
        self.size_max = size_max


class AddressInUse(LocalError):
    """The program cannot listen on ``address``, because of ``reason``."""

    code = "address-in-use"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason


class NoDirectoryHere(LocalError):
    """No directory has ever kept anything in the folder ``path``."""

    code = "no-directory-here"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class DirectoryInUse(LocalError):
    """Another process serves from the directory file at ``path``."""

    code = "directory-in-use"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class ProfileInUse(LocalError):
    """The profile at ``path`` is owned by the running process ``pid`` (0 when it did not say)."""

    code = "profile-in-use"

    def __init__(self, path: str, pid: int) -> None:
        super().__init__(path, pid)
        self.path = path
        self.pid = pid


class RemoteError(NetChatError):
    """Somebody else broke the rules; ``reason`` is one of the codes that the vectors list."""

    code = "malformed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedMessage(RemoteError):
    """What a peer sent is not a whole classic message."""


class MalformedBody(RemoteError):
    """What came over HTTP is not a body of the directory protocol."""


class MalformedFrame(RemoteError):
    """What came over a link is not a frame that may come there."""


class MalformedRecord(RemoteError):
    """What should be a signed record or request is none, or says what may not stand."""


class BadSignature(RemoteError):
    """The signature does not fit the key that it claims to be from."""

    def __init__(self) -> None:
        super().__init__("bad-signature")


class BadEnvelope(RemoteError):
    """A sealed message cannot be opened, or what is inside is not what it claims to be."""


class TrustError(NetChatError):
    """What was asked of ``name`` does not fit the key that is pinned for it."""

    code = "identity-refused"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class NoKey(TrustError):
    """No key is pinned for ``name``; or, with ``is_new``, none waits to be decided on."""

    code = "no-key"

    def __init__(self, name: str, *, is_new: bool = False) -> None:
        super().__init__(name)
        self.is_new = is_new


class KeyMismatch(TrustError):
    """The key or the safety number given is not that of ``name``."""

    code = "key-mismatch"


class IdentityError(NetChatError):
    """Something about the file at ``path`` that holds who we are."""

    code = "identity"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class IdentityLocked(IdentityError):
    """It is locked: ``passphrase-needed``, ``wrong-passphrase``, or ``no-terminal`` to ask at."""

    code = "identity-locked"


class IdentityUnreadable(IdentityError):
    """It cannot be used: ``damaged``, ``not-ed25519``, ``too-many-rounds``, ``open-to-others`` or
    ``in-use``."""

    code = "identity-unreadable"


class DirectoryError(NetChatError):
    """The directory at ``url`` could not do what was asked, because of ``reason``."""

    code = "directory"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason


class DirectoryUnreachable(DirectoryError):
    """No answer, or an answer that no directory gives. Whether it took effect is not known."""

    code = "directory-unreachable"


class DirectoryRefused(DirectoryError):
    """It answered with ``status``, which is not 200.

    ``reason`` is its sentence for people; ``refusal`` its code (docs/spec/directory.md), empty
    from a classic directory.
    """

    code = "directory-refused"

    def __init__(self, url: str, reason: str, status: int, refusal: str = "") -> None:
        super().__init__(url, reason)
        self.status = status
        self.refusal = refusal


class StoreError(NetChatError):
    """Something between us and our own disk."""

    code = "store"


class StoreUnavailable(StoreError):
    """The disk refused (full, read-only, damaged). Nothing was lost; the call may be repeated."""

    code = "store-unavailable"


class StoreNewer(StoreError):
    """``path`` has schema ``found`` and this program knows schemas up to ``known``."""

    code = "store-newer"

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(path, found, known)
        self.path = path
        self.found = found
        self.known = known

"""What a person chose for one run of a node, checked."""

from dataclasses import dataclass, field

from netchat.delivery.policy import Policy
from netchat.errors import InvalidAddress
from netchat.limits import PORT_DEFAULT
from netchat.model import Address, Name


@dataclass(frozen=True, slots=True)
class ListenAt:
    """A host address to listen on; port 0 takes any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "ListenAt":
        """Read ``HOST:PORT``; HOST is an IP address of this machine. Raises InvalidAddress."""
        try:
            if text.endswith(":0"):
                return cls(Address.parse(text[:-1] + "1").host, 0)
            address = Address.parse(text)
        except InvalidAddress as error:
            raise InvalidAddress(text, error.reason) from None
        return cls(address.host, address.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """``directory`` None: the one on this machine's ``port``, or host a meeting point there.

    ``allow_classic``: plain text may go to peers that have no key.
    """

    name: Name
    directory: str | None = None
    port: int = PORT_DEFAULT
    listen: ListenAt | None = None
    advertise: Address | None = None
    allow_classic: bool = False
    policy: Policy = field(default_factory=Policy)

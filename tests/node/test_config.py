"""What a person chose for one run, checked before anything is opened."""

import pytest

from netchat.delivery.policy import Deletes, Policy
from netchat.errors import InvalidAddress
from netchat.limits import PORT_DEFAULT
from netchat.model import Name
from netchat.node.config import ListenAt, NodeConfig


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:5000", "127.0.0.1", 5_000),
        ("0.0.0.0:65535", "0.0.0.0", 65_535),
        ("[::1]:5000", "::1", 5_000),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::]:0", "::", 0),
        ("127.0.0.1:10", "127.0.0.1", 10),
    ],
)
def test_an_address_to_listen_at(text: str, host: str, port: int) -> None:
    """An IP address of this machine and a port; port 0 takes any free one."""
    assert ListenAt.parse(text) == ListenAt(host, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5000", "not-host-port"),
        ("127.0.0.1", "not-host-port"),
        ("127.0.0.1:", "not-host-port"),
        (":0", "not-an-ip-address"),
        (":5000", "not-an-ip-address"),
        ("localhost:5000", "not-an-ip-address"),
        ("localhost:0", "not-an-ip-address"),
        ("::1:0", "not-host-port"),
        ("127.0.0.1:00", "no-such-port"),
        ("127.0.0.1:65536", "no-such-port"),
        ("127.0.0.1:-1", "not-host-port"),
        ("", "not-host-port"),
    ],
)
def test_what_is_no_address_is_refused_as_it_was_typed(text: str, reason: str) -> None:
    """The sentence shows the person what was typed, not what we made of it."""
    with pytest.raises(InvalidAddress) as caught:
        ListenAt.parse(text)
    assert (caught.value.text, caught.value.reason) == (text, reason)


def test_a_name_is_all_that_has_to_be_chosen() -> None:
    """Everything else is found."""
    config = NodeConfig(name=Name("alice"))
    assert (config.directory, config.listen, config.advertise) == (None, None, None)
    assert config.port == PORT_DEFAULT
    assert not config.allow_classic
    assert config.policy == Policy(Deletes.HONOUR, None, tells_reading=False)

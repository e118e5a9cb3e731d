"""The first byte of a connection, all 256 of them."""

import pytest
from tests.vectors import outcome

from netchat.wire.classic import ClassicReader
from netchat.wire.sniff import Protocol, sniff


@pytest.mark.parametrize("first", range(256))
def test_every_first_byte(first: int) -> None:
    """TLS is 0x16; classic is exactly what the classic reader would go on reading."""
    refused = outcome(lambda: ClassicReader().feed(bytes([first]))) == "not-classic"
    if first == 0x16:
        assert refused
        assert sniff(first) is Protocol.TLS
    else:
        assert sniff(first) is (Protocol.NEITHER if refused else Protocol.CLASSIC)

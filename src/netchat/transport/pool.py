"""Which of two links with one peer stays: a rule that both ends apply alike, without a word.

It knows no sockets; the node asks it when a second link with the same key opens.
"""

from dataclasses import dataclass

from netchat.model import PeerId


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the rule looks at: whose link, which run of the peer's program, who dialled.

    ``instance`` is the one in the peer's HELLO; ``is_dialler`` tells whether we dialled.
    """

    peer: PeerId
    instance: bytes
    is_dialler: bool


def keeps(old: LinkFacts, new: LinkFacts, own: PeerId) -> bool:
    """Tell whether ``old`` stays, so that ``new`` has to be closed; else the other way round.

    A peer that started again has another instance, and its old link is a dead one. When both
    dialled at once, the link stays that the smaller key dialled. When the same end dialled twice,
    it has lost the old link, and we have not noticed yet.
    """
    assert old.peer == new.peer, "two links with one peer"
    if old.instance != new.instance or old.is_dialler == new.is_dialler:
        return False
    we_are_smaller = own.value < old.peer.value
    return old.is_dialler == we_are_smaller

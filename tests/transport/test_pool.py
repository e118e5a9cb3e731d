"""Which of two links stays: each case, from both ends, and once over real connections."""

import asyncio

import pytest
from tests.transport.ends import Person, people, run, until

from netchat.model import PeerId
from netchat.transport.link import Link
from netchat.transport.pool import LinkFacts, keeps

SMALL, LARGE = PeerId(b"\x01" * 32), PeerId(b"\x02" * 32)


@pytest.mark.parametrize("own_is_small", [True, False])
@pytest.mark.parametrize("same_instance", [True, False])
@pytest.mark.parametrize("old_is_ours", [True, False])
@pytest.mark.parametrize("new_is_ours", [True, False])
def test_the_rule(
    own_is_small: bool, same_instance: bool, old_is_ours: bool, new_is_ours: bool
) -> None:
    """The old one stays only when both dialled at once, and the smaller key dialled the old one."""
    own, peer = (SMALL, LARGE) if own_is_small else (LARGE, SMALL)
    old = LinkFacts(peer, b"instance", old_is_ours)
    new = LinkFacts(peer, b"instance" if same_instance else b"restart!", new_is_ours)
    dialled_by_small = old_is_ours == own_is_small
    crossed = old_is_ours != new_is_ours
    assert keeps(old, new, own) == (same_instance and crossed and dialled_by_small)


@pytest.mark.parametrize("small_dialled_first", [True, False])
def test_both_ends_keep_the_same_link(small_dialled_first: bool) -> None:
    """Whichever opened first at either end: the one that the smaller key dialled stays."""
    at_small = [LinkFacts(LARGE, b"instance", is_dialler) for is_dialler in (True, False)]
    at_large = [LinkFacts(SMALL, b"instance", is_dialler) for is_dialler in (False, True)]
    order = (0, 1) if small_dialled_first else (1, 0)
    for facts, own in ((at_small, SMALL), (at_large, LARGE)):
        old, new = (facts[index] for index in order)
        assert (old if keeps(old, new, own) else new) == facts[0]


def test_two_links_with_two_peers_are_no_case_of_it() -> None:
    """The node asks about one peer only."""
    with pytest.raises(AssertionError):
        keeps(LinkFacts(SMALL, b"instance", True), LinkFacts(LARGE, b"instance", True), LARGE)


def test_who_dial_each_other_at_once_keep_one_link() -> None:
    """Over real connections, many times: the one that the smaller key dialled, at both ends."""

    async def main() -> None:
        async with people(2) as (alice, bob):
            for _ in range(20):
                pools: dict[Person, Link] = {}
                for person in (alice, bob):
                    person.on_opened = pooling(person, pools)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(alice.dial(bob))
                    tasks.create_task(bob.dial(alice))
                smaller = min((alice, bob), key=lambda person: person.peer_id.value)
                await until(lambda: all(len(one.opened) == 2 for one in (alice, bob)))
                await until(lambda: all(len(one.lost) == 1 for one in (alice, bob)))
                for person in (alice, bob):
                    assert pools[person].is_dialler == (person is smaller)
                    assert pools[person] not in dict(person.lost)
                pools[alice].close("exit")
                await until(lambda: all(len(one.lost) == 2 for one in (alice, bob)))
                for person in (alice, bob):
                    person.opened.clear()
                    person.lost.clear()

    run(main)


def pooling(person: Person, pools: dict[Person, Link]):  # type: ignore[no-untyped-def]
    """Keep one link, as a node does."""

    def on_opened(link: Link) -> None:
        old = pools.setdefault(person, link)
        if old is link:
            return
        facts = [LinkFacts(one.key, one.hello.instance, one.is_dialler) for one in (old, link)]
        leaving = link if keeps(facts[0], facts[1], person.peer_id) else old
        pools[person] = old if leaving is link else link
        leaving.close("duplicate")

    return on_opened

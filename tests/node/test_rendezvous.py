"""Claiming a name at a directory, whatever it answers; how one is found is in tests/system."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.node.fixtures import HERE, ME, OTHER, OWN, record_of, run
from tests.node.nodes import no_meeting_point

from netchat.errors import DirectoryRefused
from netchat.identity.keys import Identity
from netchat.limits import SEQ_MAX
from netchat.model import Address, Name, SignedRecord
from netchat.node.introduction import Introduction
from netchat.node.rendezvous import Rendezvous
from netchat.store.database import open_database
from netchat.store.secrets import Own
from netchat.wire.directory_v2 import About, Kind

NOW = 1_800_000_000_000


class StaleDirectory:
    """Says that it has a newer record than what is claimed, until a claim is above ``there``."""

    url = "http://192.0.2.1:7800"
    host = "192.0.2.1"

    def __init__(self, there: SignedRecord | None) -> None:
        self._there = there
        self.claimed: list[int] = []

    async def about(self) -> About:
        return About(bytes(16), Kind.MEETING_POINT, mailboxes=False, now_ms=NOW)

    async def claim(self, identity: Identity, signed: SignedRecord) -> None:
        self.claimed.append(signed.record.seq)
        if self._there is None or signed.record.seq <= self._there.record.seq:
            raise DirectoryRefused(self.url, "it is stale", 409, "stale")

    async def record(self, name: Name) -> SignedRecord | None:
        return self._there


def claim(path: Path, directory: StaleDirectory) -> int:
    """Register there with a fresh profile; return the number that it would go on from."""

    async def main() -> int:
        with closing(open_database(path)) as connection:
            own = Own(connection)

            async def keep(work: Callable[[Own], None]) -> None:
                work(own)

            introduction = Introduction(OWN, ME, lambda: NOW, bytes, keep)
            await introduction.start()
            rendezvous = Rendezvous(
                ME,
                directory.url,
                7_800,
                no_meeting_point,
                introduction,
                advertised,
                lambda _: None,
                lambda: 0.0,
                lambda: None,
            )
            await rendezvous.find()
            await rendezvous.register()
            return introduction.record.record.seq

    return run(main)


async def advertised() -> Address:
    return HERE


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> Callable[[SignedRecord | None], StaleDirectory]:
    def made(there: SignedRecord | None) -> StaleDirectory:
        directory = StaleDirectory(there)
        monkeypatch.setattr("netchat.node.rendezvous.DirectoryClient", lambda *_: directory)
        return directory

    return made


Stale = Callable[[SignedRecord | None], StaleDirectory]


def test_a_number_of_our_own_from_elsewhere_is_passed(tmp_path: Path, stale: Stale) -> None:
    """From another computer, or before the clock went back: the record there is signed by us."""
    directory = stale(record_of(OWN, ME, seq=NOW + 500))
    assert claim(tmp_path / "history.db", directory) == NOW + 501
    assert directory.claimed == [NOW, NOW + 501]


@pytest.mark.parametrize(
    "there",
    [
        None,
        record_of(OTHER, ME, seq=SEQ_MAX),
        record_of(OTHER, ME, seq=NOW + 500),
        record_of(OWN, ME, seq=SEQ_MAX),
    ],
    ids=["nothing", "foreign-last", "foreign", "our-last"],
)
def test_a_number_of_nobody_s_is_not_followed(
    tmp_path: Path, stale: Stale, there: SignedRecord | None
) -> None:
    """A directory says ``stale`` and shows what it likes. Were any number followed, one lie would
    leave a profile with no higher number to sign under, everywhere and for ever."""
    directory = stale(there)
    path = tmp_path / "history.db"
    with pytest.raises(DirectoryRefused, match="it is stale"):
        claim(path, directory)
    assert directory.claimed == [NOW]
    assert claim(path, stale(record_of(OWN, ME, seq=NOW))) == NOW + 1

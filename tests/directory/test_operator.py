"""The operator's release: with the directory running, and without."""

import json
import os
import stat
from pathlib import Path

import pytest
from tests.directory.people import ALICE, BOB, signed
from tests.directory.site import START, Site, run, serving

from netchat.directory import store_sqlite
from netchat.directory.operator import DATABASE, DOOR, Door, release_name
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import DirectoryInUse, NoDirectoryHere, StoreUnavailable
from netchat.model import Name

ALICES = Name("alice")


def store_in(folder: Path) -> EmbeddedStore:
    return EmbeddedStore(folder / DATABASE)


async def claim_in(folder: Path) -> None:
    store = store_in(folder)
    await store.claim(signed(ALICE, "alice"), START)
    await store.close()


def test_a_name_is_released_while_the_directory_runs(tmp_path: Path) -> None:
    """It is nobody's at once; the log says so; the second time there is nothing to release."""

    async def main() -> None:
        async with serving(store=store_in(tmp_path), folder=tmp_path) as site:
            await site.claim(ALICE, signed(ALICE, "alice"))
            assert await release_name(tmp_path, Name("ALICE"), START)
            assert not await release_name(tmp_path, ALICES, START)
            assert await site.list() == []
            assert (await site.keep(ALICE, "alice")).code == "no-such-record"
            assert (await site.claim(BOB, signed(BOB, "alice"))).status == 200
            events = [one["event"] for one in (await site.ask("GET", "/v2/log")).json["entries"]]
            assert events == ["claim", "release", "claim"]

    run(main)


def test_a_name_is_released_while_it_does_not_run(tmp_path: Path) -> None:
    """In the file itself."""

    async def main() -> None:
        await claim_in(tmp_path)
        assert await release_name(tmp_path, ALICES, START + 5)
        assert not await release_name(tmp_path, ALICES, START + 5)
        store = store_in(tmp_path)
        log = await store.log(0, 9, None)
        assert [(one.event.value, one.at_ms) for one in log] == [
            ("claim", START),
            ("release", START + 5),
        ]
        await store.close()

    run(main)


def test_the_server_releases_by_itself_too(tmp_path: Path) -> None:
    """For who has it in the same process."""

    async def main() -> None:
        async with serving() as site:
            await site.claim(ALICE, signed(ALICE, "alice"))
            assert await site.server.release(ALICES)
            assert not await site.server.release(ALICES)

    run(main)


def test_the_door_is_the_owners_only(tmp_path: Path) -> None:
    """Even over one that was there with other modes; it is gone when the directory is."""
    door = tmp_path / DOOR
    door.write_text("{}")
    door.chmod(0o666)

    async def main() -> None:
        async with serving(folder=tmp_path) as site:
            assert stat.S_IMODE(door.stat().st_mode) == 0o600
            read = json.loads(door.read_text())
            assert (read["host"], read["port"]) == ("127.0.0.1", site.port)
            assert len(read["token"]) == 64

    run(main)
    assert list(tmp_path.iterdir()) == []


def test_each_start_has_another_token(tmp_path: Path) -> None:
    """So that one that was read once is worth nothing later."""

    async def main() -> None:
        tokens = set()
        for _ in range(2):
            async with serving(folder=tmp_path):
                tokens.add(json.loads((tmp_path / DOOR).read_text())["token"])
        assert len(tokens) == 2

    run(main)


@pytest.mark.parametrize("token", ["", "x", "0" * 64, "é"])
def test_without_the_token_nothing_is_released(tmp_path: Path, token: str) -> None:
    """From this machine neither. Guards ``compare_digest`` in ``_release``."""

    async def main() -> None:
        async with serving(folder=tmp_path) as site:
            await site.claim(ALICE, signed(ALICE, "alice"))
            answer = await site.ask(
                "POST",
                "/v2/operator/release",
                b'{"name": "alice"}',
                {"NetChat-Operator": token},
            )
            assert (answer.status, answer.code) == (403, "not-the-operator")
            assert await site.list() == ["alice@127.0.0.1:6000"]

    run(main)


def test_with_the_token_the_body_is_checked(tmp_path: Path) -> None:
    """As every body."""

    async def main() -> None:
        async with serving(folder=tmp_path) as site:
            token = json.loads((tmp_path / DOOR).read_text())["token"]
            for body in (b"", b"{}", b'{"name": "-"}'):
                answer = await site.ask(
                    "POST", "/v2/operator/release", body, {"NetChat-Operator": token}
                )
                assert (answer.status, answer.code) == (400, "malformed")

    run(main)


async def a_stale_door(folder: Path, site: Site) -> None:
    """Leave the door of a directory that was killed; its port has somebody else now."""
    door = {"host": "127.0.0.1", "port": site.port, "token": "of another life"}
    (folder / DOOR).write_text(json.dumps(door))


def test_a_door_that_leads_elsewhere_is_passed_by(tmp_path: Path) -> None:
    """The file is there, and nobody holds it: so it is opened."""

    async def main() -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        await claim_in(folder)
        async with serving() as other:
            await other.claim(ALICE, signed(ALICE, "alice"))
            await a_stale_door(folder, other)
            assert await release_name(folder, ALICES, START)
            assert await other.list() == ["alice@127.0.0.1:6000"]

    run(main)


@pytest.mark.parametrize(
    "door",
    ["", "[]", "{}", '{"host": "127.0.0.1", "port": "x", "token": ""}',
     '{"host": "127.0.0.1", "port": 1, "token": ""}', '{"host": "a/b", "port": 1, "token": ""}',
     '{"host": "", "port": 99999, "token": ""}', "\udcff"],
)  # fmt: skip
def test_a_door_that_is_none_is_passed_by(tmp_path: Path, door: str) -> None:
    """Whatever stands in the file."""

    async def main() -> None:
        await claim_in(tmp_path)
        (tmp_path / DOOR).write_bytes(os.fsencode(door))
        assert await release_name(tmp_path, ALICES, START)

    run(main)


def test_without_a_directory_there_is_nothing_to_release(tmp_path: Path) -> None:
    """And none is made by asking."""

    async def main() -> None:
        with pytest.raises(NoDirectoryHere):
            await release_name(tmp_path, ALICES, START)

    run(main)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_does_not_let_us_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs, but left no door: its file is its own."""
    monkeypatch.setattr(store_sqlite, "BUSY_TIMEOUT_MS", 1)

    async def main() -> None:
        async with serving(store=store_in(tmp_path)):
            with pytest.raises(DirectoryInUse):
                await release_name(tmp_path, ALICES, START)

    run(main)


def test_a_folder_that_takes_no_door(tmp_path: Path) -> None:
    """The directory does not start: nobody could release a name."""

    async def main() -> None:
        with pytest.raises(StoreUnavailable, match=DOOR):
            async with serving(folder=tmp_path / "nothing"):
                pass

    run(main)


def test_a_door_of_a_newer_life_is_left(tmp_path: Path) -> None:
    """Who ends late does not close the door of who came after it."""

    async def main() -> None:
        async with serving(folder=tmp_path):
            (tmp_path / DOOR).write_text('{"host": "127.0.0.1", "port": 1, "token": "newer"}')
        assert (tmp_path / DOOR).exists()

    run(main)


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        (["0.0.0.0", "::"], "http://127.0.0.1:7800"),
        (["::"], "http://[::1]:7800"),
        (["192.0.2.7"], "http://192.0.2.7:7800"),
        (["2001:db8::7", "0.0.0.0"], "http://[2001:db8::7]:7800"),
    ],
)
def test_where_the_door_is(hosts: list[str], url: str) -> None:
    """An address at which the directory listens, and that can be connected to."""
    assert Door.at(hosts, 7_800, "token").url == url

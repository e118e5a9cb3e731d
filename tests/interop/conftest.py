"""What the interop tests share: directories of every make, and people on either program."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import Address, ClassicClient, Style
from tests.interop.classic_server import MODES, ClassicServer
from tests.interop.people import AnyDirectory, StartChat, StartClassic
from tests.interop.processes import REGISTERED, Directory, Program, serving, start_chat


@pytest.fixture
def netchat_directory(tmp_path: Path) -> Iterator[Directory]:
    """A fresh `netchat serve`."""
    with serving(tmp_path / "directory-home", tmp_path / "directory-data") as directory:
        yield directory


@pytest.fixture(params=["netchat", *MODES])
def any_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyDirectory]:
    """Each directory that a person can meet: NetChat's own and every classic one."""
    if request.param == "netchat":
        with serving(tmp_path / "directory-home", tmp_path / "directory-data") as directory:
            yield directory
    else:
        with ClassicServer(**MODES[request.param]) as server:
            yield server


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[StartChat]:
    """Start a registered `netchat chat`, each with a home of its own."""
    programs: list[Program] = []

    def start(name: str, directory_url: str, *options: str) -> Program:
        program = start_chat(name, directory_url, tmp_path / f"home-of-{name}", *options)
        programs.append(program)
        program.expect(REGISTERED)
        return program

    yield start
    for program in programs:
        program.stop()
    for program in programs:
        program.assert_no_traceback()


@pytest.fixture
def classic() -> Iterator[StartClassic]:
    """Start a registered classic client; it must live to the end without a surprise."""
    clients: list[ClassicClient] = []

    def start(name: str, directory: Address, *style: Style, **options: bool) -> ClassicClient:
        client = ClassicClient(name, directory, *style, **options)
        clients.append(client)
        assert client.update() == 200
        return client

    yield start
    for client in clients:
        client.close()
    for client in clients:
        assert client.surprises == []

"""kill -9 of real processes at each labelled point: nothing is lost, doubled or wrongly told.

Each test kills one process at one point, at several of its passes, in one world. ``crashing`` is
what kills, ``crash_world`` says what must hold. The first of the passes has to kill; a later one
may not come about, because how much shares a commit or a frame is a matter of speed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.system.crash_world import World
from tests.system.processes import unused_port

pytestmark = pytest.mark.slow

Record = Callable[[str, object], None]

STARTS = ("introduction-before-sign", "rendezvous-before-claim", "rendezvous-after-claim")


def pump(kind: str, *passes: int) -> dict[str, tuple[int, ...]]:
    """The points of a step with inputs of this kind among others."""
    moments = ("before-begin", "before-commit", "after-commit")
    return {f"pump-{moment}-of-{kind}": passes for moment in moments}


SENDER_LINKED = {
    **pump("own", 1, 4),
    **pump("receipts", 1, 3),
    "links-before-transmit": (1, 4),
    "links-after-transmit": (1, 4),
    "links-before-submit": (1, 4),
    "links-after-write": (1, 4, 7),
}
RECEIVER_LINKED = {
    **pump("items", 1, 3),
    "links-before-transmit": (1, 3),
    "links-after-transmit": (1, 3),
    "links-before-submit": (1, 4),
    "links-after-write": (1, 4, 7),
    "links-before-receipt": (1, 4),
    "links-after-receipt": (1, 4),
}
SENDER_MAILBOX = {
    **pump("own", 1, 6),
    **pump("deposits", 1, 3),
    "post-before-seal": (1, 3),
    "post-before-deposit": (1, 3),
    "post-after-deposit": (1, 3),
}
RECEIVER_MAILBOX = {
    **pump("items", 1, 2),
    **pump("deposits", 1),
    "post-before-fetch": (1, 2),
    "post-after-fetch": (1, 2),
    "post-after-open": (1, 3),
    "post-before-acknowledge": (1,),
    "post-after-acknowledge": (1,),
    "post-before-seal": (1,),
    "post-before-deposit": (1,),
    "post-after-deposit": (1,),
}
DIRECTORY_DEPOSITING = {
    "directory-before-commit": (1, 3),
    "directory-after-commit": (1, 3),
    "directory-before-claim-answer": (1,),
    "directory-before-deposit-answer": (1, 3),
}
DIRECTORY_FETCHING = {
    "directory-before-commit": (1, 2),
    "directory-after-commit": (1, 2),
    "directory-before-fetch-answer": (1,),
    "directory-before-acknowledge-answer": (1,),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with unused_port() as port:
        made = World(tmp_path, port)
        made.serve()
        try:
            yield made
        finally:
            made.stop()


def points(table: dict[str, tuple[int, ...]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("label", "passes"), table.items(), ids=table)


HOLD_MS = 300
"""Longer than any answer that could leave before the commit that it speaks of."""


def point(label: str, number: int) -> str:
    """How ``crashing`` is told. Before a commit the disk is slow first, and the rest goes on."""
    return f"{label}:{number}:{HOLD_MS}" if "before-commit" in label else f"{label}:{number}"


Note = Callable[..., None]


@pytest.fixture
def note(record_property: Record, request: pytest.FixtureRequest) -> Note:
    """Note a crash, for the table at the end of the run."""
    what = request.function.__name__.removeprefix("test_").replace("_", " ")

    def noted(label: str, number: int, *, killed: bool) -> None:
        said = "killed" if killed else "did not come about"
        record_property("figure", f"crash point {label:36} {what:36} pass {number}: {said}")

    return noted


def crash(world: World, doomed: str, point: str, *working: str, sure: bool) -> bool:
    """Start ``doomed`` so that it dies at ``point``, let it work beside others, start it again.

    What is asked of the files right after its death is what holds at any moment.
    """
    before = world.count_own(doomed)
    chat = world.start(doomed, point)
    for name in working:
        world.batch(name)
    killed = world.wait_for_death(chat, sure=sure)
    world.check_delivered()
    if doomed in working:
        world.check_accepted(doomed, chat, before)
    world.kill(doomed)
    world.up(doomed)
    world.wait_until_quiet()
    return killed


@pytest.mark.parametrize("label", STARTS)
def test_a_first_start(world: World, label: str, note: Note) -> None:
    """Nobody knows alice yet; the second time she is killed she is known."""
    world.up("bob")
    for number in (1, 1):
        note(label, number, killed=crash(world, "alice", point(label, number), "alice", sure=True))
        world.check_all()
        world.kill("alice")


def crash_linked(
    world: World, doomed: str, label: str, passes: tuple[int, ...], note: Note
) -> None:
    """Both are there and write to each other."""
    world.up("alice", "bob")
    for number in passes:
        world.kill(doomed)
        sure = number == passes[0]
        killed = crash(world, doomed, point(label, number), "alice", "bob", sure=sure)
        note(label, number, killed=killed)
        world.check_all()
    world.check_shown()


@points(SENDER_LINKED)
def test_alice_linked(world: World, label: str, passes: tuple[int, ...], note: Note) -> None:
    crash_linked(world, "alice", label, passes, note)


@points(RECEIVER_LINKED)
def test_bob_linked(world: World, label: str, passes: tuple[int, ...], note: Note) -> None:
    crash_linked(world, "bob", label, passes, note)


@points(SENDER_MAILBOX)
def test_a_sender_to_the_mailbox(
    world: World, label: str, passes: tuple[int, ...], note: Note
) -> None:
    world.up("alice", "bob")
    for number in passes:
        world.kill("alice", "bob")
        sure = number == passes[0]
        note(label, number, killed=crash(world, "alice", point(label, number), "alice", sure=sure))
        world.check_delivered()
        world.up("bob")
        world.wait_until_quiet()
        world.check_all()


@points(RECEIVER_MAILBOX)
def test_a_receiver_from_the_mailbox(
    world: World, label: str, passes: tuple[int, ...], note: Note
) -> None:
    """Alice has gone when bob comes, so his confirmation goes by mail, too."""
    world.up("alice", "bob")
    for number in passes:
        world.kill("bob")
        world.batch("alice")
        world.wait_until_quiet()
        world.kill("alice")
        sure = number == passes[0]
        note(label, number, killed=crash(world, "bob", point(label, number), sure=sure))
        world.up("alice")
        world.wait_until_quiet()
        world.check_all()


@points(DIRECTORY_DEPOSITING)
def test_a_directory_that_is_given_mail(
    world: World, label: str, passes: tuple[int, ...], note: Note
) -> None:
    world.up("alice", "bob")
    for number in passes:
        world.kill("alice", "bob")
        world.kill_directory()
        doomed = world.serve(point(label, number))
        world.start("alice")
        world.batch("alice")
        note(label, number, killed=world.wait_for_death(doomed, sure=number == passes[0]))
        world.check_delivered()
        world.kill_directory()
        world.serve()
        world.wait_until_quiet()
        world.up("bob")
        world.wait_until_quiet()
        world.check_all()


@points(DIRECTORY_FETCHING)
def test_a_directory_that_gives_mail(
    world: World, label: str, passes: tuple[int, ...], note: Note
) -> None:
    world.up("alice", "bob")
    for number in passes:
        world.kill("bob")
        world.batch("alice")
        world.wait_until_quiet()
        world.kill("alice")
        world.kill_directory()
        doomed = world.serve(point(label, number))
        world.start("bob")
        note(label, number, killed=world.wait_for_death(doomed, sure=number == passes[0]))
        world.check_delivered()
        world.kill_directory()
        world.serve()
        world.wait_until_quiet()
        world.up("alice")
        world.wait_until_quiet()
        world.check_all()

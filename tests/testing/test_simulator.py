"""The simulator repeats itself, keeps its failing seeds green, and finds planted faults."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from netchat.delivery import inbox, outbox
from netchat.delivery.effects import Effect
from netchat.delivery.inputs import ItemState, TextArrived
from netchat.delivery.outbox import ItemEvent
from netchat.testing import disk
from netchat.testing.disk import SimulatedCrash
from netchat.testing.scorecard import Scorecard, run_seed, run_sim
from netchat.testing.world import World

KEPT = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SEEDS_TO_FIND_A_PLANT = 50


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed_stays_green(seed: int) -> None:
    """A failure that was mended does not come back."""
    assert run_seed(seed).violations == []


@pytest.mark.parametrize("seed", [0, 7, 4242])
def test_the_same_seed_gives_the_same_story(seed: int) -> None:
    """Nothing in a run depends on the clock, the hash seed or the machine."""
    first = run_seed(seed, tracing=True)
    second = run_seed(seed, tracing=True)
    assert first.trace == second.trace
    assert first.trace_hash == second.trace_hash
    assert len(first.trace) > 50


def test_every_kind_of_fault_strikes() -> None:
    """A simulator whose faults do not happen proves nothing."""
    card = Scorecard([run_seed(seed) for seed in range(20)])
    faults = card.as_dict()["faults"]
    assert isinstance(faults, dict)
    assert set(faults) == {
        "commit-answer-lost",
        "crash",
        "crash-after-commit",
        "crash-before-commit",
        "cut",
        "delay",
        "directory-restart",
        "disk-full",
        "drop",
        "partition",
        "silence",
    }


def violations_of(seeds: int) -> list[str]:
    return [violation for seed in range(seeds) for violation in run_seed(seed).violations]


def test_without_a_repeat_rule_messages_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox that sends again what may have left is found out."""
    table = {
        **outbox.TRANSITIONS,
        (ItemState.HANDING, ItemEvent.RESTARTED): ItemState.QUEUED,
    }
    monkeypatch.setattr(outbox, "TRANSITIONS", table)
    monkeypatch.setattr(outbox.Outbox, "restored", _restored_as_if_nothing_had_left)
    assert any(text.startswith("doubled") for text in violations_of(SEEDS_TO_FIND_A_PLANT))


def _restored_as_if_nothing_had_left(
    self: outbox.Outbox, now_ms: int, event: outbox.Restored
) -> list[Effect]:
    item = outbox.replace(event.item, state=ItemState.QUEUED)
    self._lanes[event.peer] = outbox._Lane(item, event.last)
    return [outbox.SetTimer(event.peer, now_ms)]


@pytest.fixture
def lying_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox that says SENT when the dial failed."""
    honest = outbox.Outbox.dial_failed

    def lying(self: outbox.Outbox, now_ms: int, event: outbox.DialFailed) -> list[Effect]:
        lane = self._lanes.get(event.peer)
        if lane is None or lane.item.item_id != event.item_id:
            return honest(self, now_ms, event)
        lane.item = outbox.replace(lane.item, state=ItemState.HANDING)
        return self._end(lane, ItemEvent.HANDED)

    monkeypatch.setattr(outbox.Outbox, "dial_failed", lying)


@pytest.mark.usefixtures("lying_outbox")
def test_a_lie_about_sent_is_found() -> None:
    """What is shown as sent was handed over, or the seed fails."""
    assert any(text.startswith("lost") for text in violations_of(SEEDS_TO_FIND_A_PLANT))


def test_a_broken_dedupe_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inbox that takes what it has seen again runs into the store's own UNIQUE."""
    honest = inbox.text_arrived

    def forgetful(event: TextArrived, *, seen: bool) -> list[Effect]:
        return honest(event, seen=False)

    monkeypatch.setattr(inbox, "text_arrived", forgetful)
    with pytest.raises(sqlite3.IntegrityError):
        violations_of(SEEDS_TO_FIND_A_PLANT)


def test_a_store_that_forgets_its_commits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acting on what never reached the disk: the text to hand over is not there."""
    monkeypatch.setattr(disk.Disk, "commit", lambda _self, connection: connection.rollback())
    with pytest.raises(AssertionError):
        violations_of(3)


@pytest.mark.usefixtures("lying_outbox")
def test_run_sim_prints_seed_and_replay(capsys: pytest.CaptureFixture[str]) -> None:
    """A failing seed ends with status 1, its number and the command that replays it."""
    assert run_sim(range(10), trace=False, as_json=True) == 1
    printed = capsys.readouterr().out.splitlines()
    failed = json.loads(printed[0])["failed_seeds"]
    assert failed
    assert f"replay with: netchat sim --seed {failed[0]} --trace" in printed


def test_a_crash_is_not_swallowed() -> None:
    """Neither ``except Exception`` nor the translation of SQLite's errors may catch a crash."""
    assert not issubclass(SimulatedCrash, Exception)


def test_the_virtual_clock_keeps_the_order_of_what_is_due_together() -> None:
    """Things due at the same time happen in the order in which they were planned."""
    world = World(1)
    done: list[str] = []

    def plan(name: str) -> Callable[[], None]:
        return lambda: done.append(f"{name}@{world.now_ms}")

    world.after(10, plan("b"))
    world.after(5, plan("a"))
    world.after(10, plan("c"))
    world.run_until(7)
    assert done == ["a@5"]
    world.run_until(20)
    assert done == ["a@5", "b@10", "c@10"]
    assert world.now_ms == 20

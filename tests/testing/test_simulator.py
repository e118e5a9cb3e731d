"""The simulator repeats itself, keeps its failing seeds green, and finds planted faults."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from netchat.delivery import inbox, lanes, own
from netchat.delivery.checked import ArrivalChecked, DeleteChecked, ItemsChecked, Restored
from netchat.delivery.effects import Acknowledge, Effect, SettleItems, StoreDeposit
from netchat.delivery.hlc import following
from netchat.delivery.inputs import (
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    ItemState,
    LinkOpened,
    TextArrived,
)
from netchat.delivery.lanes import Lanes
from netchat.delivery.outbox import ItemEvent, Outbox
from netchat.delivery.policy import Policy
from netchat.limits import HLC_BITS_COUNTER
from netchat.model import Address, Item, MessageId, MessageState, Name, PeerId
from netchat.node import pump
from netchat.node.judge import Judge
from netchat.node.ledger import Ledger
from netchat.node.trusted import Admission, Entrance, Trusted
from netchat.store.history import History
from netchat.testing import life
from netchat.testing.disk import Disk, SimulatedCrash
from netchat.testing.network import Network
from netchat.testing.plants import plant
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
    """Nothing in a run depends on the clock, the hash seed, the entropy of keys or the machine."""
    first = run_seed(seed, tracing=True)
    second = run_seed(seed, tracing=True)
    assert first.trace == second.trace
    assert first.trace_hash == second.trace_hash
    assert len(first.trace) > 50


def test_a_trace_changes_nothing() -> None:
    """A seed that fails also fails while it is watched."""
    assert run_seed(5).states == run_seed(5, tracing=True).states


def test_every_kind_of_fault_strikes() -> None:
    """A simulator whose faults do not happen proves nothing."""
    card = Scorecard([run_seed(seed) for seed in range(60)])
    faults = card.as_dict()["faults"]
    assert isinstance(faults, dict)
    assert set(faults) >= {
        "clock-jump",
        "commit-answer-lost",
        "crash",
        "crash-after-commit",
        "crash-before-commit",
        "cut",
        "delay",
        "deposit-answer-lost",
        "directory-restart",
        "disk-full",
        "drop",
        "forgery",
        "key-loss",
        "key-rotation",
        "link-cut",
        "link-silence",
        "mail-late",
        "mail-lost",
        "mail-twice",
        "mail-withheld",
        "partition",
        "silence",
        "sleep",
        "upgrade",
        "wake-lost",
    }
    assert set(card.as_dict()["states"]) >= {  # type: ignore[call-overload]  # a dict of counts
        state.value for state in MessageState if state is not MessageState.RECEIVED
    }


# --- planted faults ------------------------------------------------------------------------------


def found(name: str) -> Counter[str]:
    """Return the kinds of violations that ``--plant NAME`` shows."""
    kinds: Counter[str] = Counter()
    for seed in range(SEEDS_TO_FIND_A_PLANT):
        kinds.update(one.split(":")[0] for one in run_seed(seed, plant=name).violations)
        if kinds:
            break
    return kinds


@pytest.mark.parametrize("name", ["no-dedupe", "dedupe-not-persisted"])
def test_a_broken_dedupe_doubles(name: str) -> None:
    """An inbox that forgets what it has taken is found, at once or after a restart."""
    assert found(name)["doubled"]


def test_acting_before_the_commit_loses() -> None:
    """A node that acts although its commit failed says things that no disk has."""
    assert found("receipt-before-commit")["lost"]


def test_a_plant_that_is_none_is_refused() -> None:
    """A typing error must not pass for a green run."""
    with pytest.raises(ValueError, match="no-such-plant"):
        plant("no-such-plant")


def finds(kind: str, seeds: int = SEEDS_TO_FIND_A_PLANT) -> bool:
    """Tell whether one of the first seeds shows a violation of that kind."""
    return any(one.startswith(kind) for seed in range(seeds) for one in run_seed(seed).violations)


def test_a_lane_that_is_not_restored_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits on disk is taken up by the next life."""

    def forgetful(_self: Lanes, _now_ms: int, _event: Restored) -> list[Effect]:
        return []

    monkeypatch.setattr(Lanes, "restored", forgetful)
    assert finds("stuck")


def test_delivered_for_what_is_only_stored_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """DELIVERED means the peer's disk, not a mailbox."""
    honest = Ledger.apply

    def hasty(self: Ledger, now_ms: int, effect: object) -> object:
        if isinstance(effect, StoreDeposit):
            effect = SettleItems(effect.peer, effect.ranges)
        return honest(self, now_ms, effect)  # type: ignore[arg-type]  # what it was

    monkeypatch.setattr(Ledger, "apply", hasty)
    assert finds("lost")


def test_cancelling_what_has_left_is_a_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that may have left is not called cancelled."""
    honest = Judge.delete

    def careless(self: Judge, event: DeleteRequested) -> DeleteChecked:
        checked = honest(self, event)
        return replace(checked, tally=replace(checked.tally, left_seq=0))

    monkeypatch.setattr(Judge, "delete", careless)
    assert finds("lie")


def test_a_key_that_nobody_accepted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of another key stands in a conversation before a person decided."""
    honest = Trusted.admit

    def hospitable(self: Trusted, event: LinkOpened) -> Admission:
        admission = honest(self, event)
        is_held = admission.entrance is Entrance.HELD
        return Admission(Entrance.OPEN) if is_held else admission

    monkeypatch.setattr(Trusted, "admit", hospitable)
    assert finds("written")


def test_a_delete_that_is_not_applied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its author deleted is deleted at the receiver."""

    def lazy(
        _now_ms: int, _event: ItemsChecked, _policy: Policy, _target: MessageId, _taken: object
    ) -> str:
        return inbox.APPLIED

    monkeypatch.setattr(inbox, "_delete", lazy)
    assert finds("undeleted")


def test_a_delete_that_came_first_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that comes behind its delete does not stand up again."""

    def forgetful(_self: History, _sender: PeerId, _ids: object) -> frozenset[MessageId]:
        return frozenset()

    monkeypatch.setattr(History, "deleted_before", forgetful)
    assert finds("undeleted", 200)


def test_a_clock_that_follows_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer stands below what it answers, whatever the clocks say."""
    assert following(5, 1 << 60) > 5 << HLC_BITS_COUNTER
    monkeypatch.setattr(own, "following", lambda now_ms, _newest: now_ms << HLC_BITS_COUNTER)
    assert finds("written")


def test_an_item_that_is_forgotten_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that says more than came loses nothing, but a receipt of it does."""
    honest = inbox.items_arrived

    def dropping(now_ms: int, event: ItemsChecked, policy: Policy) -> list[Effect]:
        kept: tuple[Item, ...] = event.items[1:] if len(event.items) > 3 else event.items
        effects = honest(now_ms, replace(event, items=kept), policy)
        return effects if kept is event.items else [*effects, *_receipt_for(event)]

    def _receipt_for(event: ItemsChecked) -> list[Effect]:
        if event.link is None:
            return []
        return [Acknowledge(event.link, ((event.items[0].seq, event.items[-1].seq),))]

    monkeypatch.setattr(inbox, "items_arrived", dropping)
    assert finds("lost")


def test_a_lie_about_sent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown as sent to a classic peer was handed over."""
    monkeypatch.setattr(Outbox, "dial_failed", _sent_without_a_byte)
    assert finds("lost")


def _sent_without_a_byte(self: Outbox, _now_ms: int, event: DialFailed) -> list[Effect]:
    lane = self._lanes.get(event.peer)
    if lane is None or lane.item.item_id != event.item_id:
        return []
    lane.item = replace(lane.item, state=ItemState.HANDING)
    return self._end(lane, ItemEvent.HANDED)


def test_windows_and_envelopes_that_are_nearly_always_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is full in the field after thousands of messages is full here after a handful."""
    monkeypatch.setattr(lanes, "WINDOW_ITEMS_MAX", 8)
    monkeypatch.setattr(lanes, "WINDOW_BYTES_MAX", 1_500)
    monkeypatch.setattr(pump, "ENVELOPE_ITEMS_MAX", 6)
    monkeypatch.setattr(life, "BATCH_INPUTS_MAX", 4)
    assert [one for seed in range(30) for one in run_seed(seed).violations] == []


def test_plain_text_under_the_name_of_a_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What claims a name in plain text never stands among the messages of its key."""
    honest = Judge.arrival

    def credulous(self: Judge, event: TextArrived | DeleteArrived) -> ArrivalChecked:
        return replace(honest(self, event), contact=event.sender)

    monkeypatch.setattr(Judge, "arrival", credulous)
    assert finds("written")


# --- the scorecard -------------------------------------------------------------------------------


def test_run_sim_prints_seed_and_replay(capsys: pytest.CaptureFixture[str]) -> None:
    """A failing seed ends with status 1, its number and the command that replays it."""
    assert run_sim(range(5), trace=False, as_json=True, plant="no-dedupe") == 1
    printed = capsys.readouterr().out.splitlines()
    failed = json.loads(printed[0])["failed_seeds"]
    assert failed
    assert f"replay with: netchat sim --seed {failed[0]} --trace --plant no-dedupe" in printed


def test_run_sim_is_green_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A good run ends with status 0, and its lines are those that the issue names."""
    assert run_sim(range(2), trace=True, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "alice starts" in printed
    words = [line.split()[0] for line in printed.splitlines()[-10:]]
    assert words == [
        "seeds", "sent", "delivered", "lost", "doubled", "other_violations", "failed_seeds",
        "states", "faults", "seeds_per_s",
    ]  # fmt: skip


def test_an_error_of_our_own_is_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A seed that ends in a traceback is red, and the seeds behind it are still played."""

    def broken(*_: object) -> list[Effect]:
        raise AssertionError("so not")

    monkeypatch.setattr(inbox, "items_arrived", broken)
    assert run_sim(range(3), trace=False, as_json=True) == 1
    assert "broken: AssertionError: so not" in capsys.readouterr().out


# --- its parts -----------------------------------------------------------------------------------


def test_a_crash_is_not_swallowed() -> None:
    """Neither ``except Exception`` nor the translation of SQLite's errors may catch a crash."""
    assert not issubclass(SimulatedCrash, Exception)


def test_the_database_itself_sees_a_state_that_moves_back() -> None:
    """A wrong write is found although a later one covers it up."""
    disk = Disk(World(1))
    execute = disk.connection.execute
    execute("INSERT INTO peer (name_key, shown) VALUES ('bob', 'bob')")
    execute(
        "INSERT INTO message (sender, message_id, peer, outgoing, text, state, hlc, at_ms)"
        " VALUES (x'', zeroblob(16), 'bob', 1, 'hi', 'delivered', 5, 5)"
    )
    execute("UPDATE message SET state = 'queued'")
    execute("UPDATE message SET state = 'delivered'")
    assert disk.watch.wrong == ["delivered became queued: 0"]
    with pytest.raises(sqlite3.IntegrityError):
        execute("UPDATE message SET text = NULL")
    execute("UPDATE message SET text = NULL, deleted_ms = 6")
    execute("UPDATE message SET text = 'hi'")
    assert disk.watch.wrong[1:] == ["revived: 0"]
    disk.close()


class Host:
    """A machine as the network knows it."""

    def __init__(self, name: str) -> None:
        self.name = Name(name)
        self.life = 0
        self.is_up = True


def test_an_address_belongs_to_one_life() -> None:
    """Who dials a port of an older life finds nobody there."""
    network = Network(World(1))
    host, here = Host("alice"), Address("10.0.0.1", 1_024)
    network.listen(here, host)
    assert network.host_at(here) is host
    host.life += 1
    assert network.host_at(here) is None
    assert network.host_at(Address("10.0.0.2", 1_024)) is None


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

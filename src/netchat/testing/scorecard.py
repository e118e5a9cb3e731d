"""Runs seeds and counts: the scorecard that ``netchat sim`` prints.

The exit status is 1 when any seed broke a promise; its number is printed and replays the run.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from netchat.testing.checkers import ARRIVED, violations
from netchat.testing.evidence import Evidence
from netchat.testing.plants import plant as plant_of
from netchat.testing.workload import Run

VIOLATIONS_SHOWN_MAX = 10


@dataclass(slots=True)
class Result:
    """One seed: what was sent and what became of it, what was broken on the way, what is wrong."""

    seed: int
    sent: int
    delivered: int
    violations: Sequence[str]
    faults: Counter[str]
    states: Counter[str]
    trace: Sequence[str]
    trace_hash: str


@dataclass(slots=True)
class Scorecard:
    """All seeds together."""

    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.violations]

    def count(self, kind: str) -> int:
        """Count the violations whose first word is ``kind``."""
        return sum(
            violation.startswith(kind) for result in self.results for violation in result.violations
        )

    def as_dict(self) -> dict[str, object]:
        faults: Counter[str] = Counter()
        states: Counter[str] = Counter()
        for result in self.results:
            faults += result.faults
            states += result.states
        return {
            "seeds": len(self.results),
            "sent": sum(result.sent for result in self.results),
            "delivered": sum(result.delivered for result in self.results),
            "lost": self.count("lost"),
            "doubled": self.count("doubled"),
            "other_violations": sum(len(result.violations) for result in self.results)
            - self.count("lost")
            - self.count("doubled"),
            "failed_seeds": [result.seed for result in self.failed],
            "states": dict(sorted(states.items())),
            "faults": dict(sorted(faults.items())),
            "seeds_per_s": round(len(self.results) / self.seconds, 1) if self.seconds else None,
        }


def run_seed(seed: int, *, plant: str | None = None, tracing: bool = False) -> Result:
    """Play one seed and check it.

    ``sent`` counts what people were told is kept; ``delivered`` what its sender calls delivered,
    and what lies, sent in plain text, with its receiver.
    """
    run = Run(seed, plant=plant_of(plant), tracing=tracing)
    try:
        run.play()
        wrong = violations(run)
        disks = Evidence(run).disks
        states = Counter(row.state.value for disk in disks for row in disk.own.values())
        delivered = sum(row.state in ARRIVED for disk in disks for row in disk.own.values())
        plain = sum(not row.outgoing and row.sender is None for disk in disks for row in disk.rows)
        return Result(
            seed,
            sum(len(disk.profile.accepted) for disk in disks),
            delivered + plain,
            wrong,
            run.world.faults,
            states,
            run.world.trace,
            run.world.trace_hash(),
        )
    finally:
        run.close()


def _played(seed: int, plant: str | None, *, trace: bool) -> Result:
    """Play one seed; a program that ends in an error of its own is a violation, too."""
    try:
        return run_seed(seed, plant=plant, tracing=trace)
    except Exception as error:
        if trace:
            raise
        wrong = f"broken: {type(error).__name__}: {error}"
        return Result(seed, 0, 0, [wrong], Counter(), Counter(), [], "")


def run_sim(seeds: Sequence[int], *, trace: bool, as_json: bool, plant: str | None = None) -> int:
    """Play ``seeds``, print the scorecard, and return the exit status."""
    card = Scorecard()
    begun = time.perf_counter()
    for seed in seeds:
        result = _played(seed, plant, trace=trace)
        card.results.append(result)
        if trace:
            _say("\n".join(result.trace))
    card.seconds = time.perf_counter() - begun
    _print_card(card, as_json=as_json)
    planted = "" if plant is None else f" --plant {plant}"
    for result in card.failed:
        for violation in result.violations[:VIOLATIONS_SHOWN_MAX]:
            _say(f"seed {result.seed}: {violation}")
        _say(f"replay with: netchat sim --seed {result.seed} --trace{planted}")
    return 1 if card.failed else 0


def _print_card(card: Scorecard, *, as_json: bool) -> None:
    figures = card.as_dict()
    if as_json:
        _say(json.dumps(figures))
        return
    for key, value in figures.items():
        if isinstance(value, dict):
            value = " ".join(f"{kind}={count}" for kind, count in value.items())
        _say(f"{key:<17} {value}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")

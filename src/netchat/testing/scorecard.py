"""Runs seeds and counts: the scorecard that ``netchat sim`` prints.

The exit status is 1 when any seed broke a promise; its number is printed and replays the run.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from netchat.model import MessageState
from netchat.testing.checkers import Evidence
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


def run_seed(seed: int, *, tracing: bool = False) -> Result:
    """Play one seed and check it."""
    run = Run(seed, tracing=tracing)
    try:
        run.play()
        evidence = Evidence(run)
        own = [message for machine in run.machines for _, message in evidence.own(machine)]
        received = [m for ms in evidence.histories.values() for m in ms if not m.outgoing]
        return Result(
            seed=seed,
            sent=sum(message.state is MessageState.SENT for message in own),
            delivered=len(received),
            violations=evidence.violations(),
            faults=run.world.faults,
            states=Counter(message.state.value for message in own),
            trace=run.world.trace,
            trace_hash=run.world.trace_hash(),
        )
    finally:
        run.close()


def run_sim(seeds: Sequence[int], *, trace: bool, as_json: bool) -> int:
    """Play ``seeds``, print the scorecard, and return the exit status."""
    card = Scorecard()
    begun = time.perf_counter()
    for seed in seeds:
        result = run_seed(seed, tracing=trace)
        card.results.append(result)
        if trace:
            _say("\n".join(result.trace))
    card.seconds = time.perf_counter() - begun
    _print_card(card, as_json=as_json)
    for result in card.failed:
        for violation in result.violations[:VIOLATIONS_SHOWN_MAX]:
            _say(f"seed {result.seed}: {violation}")
        _say(f"replay with: netchat sim --seed {result.seed} --trace")
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

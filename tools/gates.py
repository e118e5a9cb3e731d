"""Shows that each gate bites: plants a fault in a copy of the tree and expects ./check to turn red.

    python tools/gates.py            plant all of them
    python tools/gates.py NAME ...   plant some

Exit status 1 when a fault went through, or when the place to plant it is gone.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (".git", ".venv", "__pycache__", ".hypothesis", "*_cache", ".coverage*", "*.egg-info")


@dataclass(frozen=True)
class Plant:
    """Replace ``old`` by ``new`` in ``path``; then ``step`` of ./check must fail."""

    name: str
    step: str
    path: str
    old: str
    new: str


PLANTS = (
    Plant(
        "a socket in the model",
        "contracts",
        "src/netchat/model.py",
        "import re\n",
        "import re\nimport socket\n",
    ),
    Plant(
        "a face that reads the store",
        "contracts",
        "src/netchat/frontends/prompt.py",
        "from netchat.frontends import commands, words\n",
        "from netchat.frontends import commands, words\nfrom netchat.store import history\n",
    ),
    Plant(
        "a room nobody decided on",
        "contracts",
        "src/netchat/utils.py",
        "",
        '"""Odds and ends."""\n',
    ),
    Plant(
        "a broken dedupe, under seeds",
        "sim",
        "src/netchat/delivery/inbox.py",
        "    if seen:\n        return told\n",
        "",
    ),
    Plant(
        "a broken dedupe, in the tests",
        "tests",
        "src/netchat/delivery/inbox.py",
        "    if seen:\n        return told\n",
        "",
    ),
    Plant(
        "acting without a commit",
        "sim",
        "src/netchat/node/pump.py",
        "                self._commit(self._connection)\n",
        "                self._connection.rollback()\n",
    ),
    Plant(
        "a classic message sent again after a byte may have left",
        "sim",
        "src/netchat/delivery/outbox.py",
        '                return self._end(lane, ItemEvent.RESTARTED, "interrupted")\n',
        "                lane.item = replace(lane.item, state=ItemState.QUEUED)\n",
    ),
    Plant(
        "a vector that says something else than the code",
        "tests",
        "vectors/classic.json",
        "see you at noon",
        "see you at one",
    ),
    Plant(
        "a document that says something else than the vectors",
        "docs",
        "docs/spec/classic.md",
        "see you at noon",
        "see you at one",
    ),
    Plant(
        "an escape that reaches the terminal",
        "tests",
        "src/netchat/model.py",
        '    return category != "Cc" and category not in _INVISIBLE\n',
        "    return category not in _INVISIBLE\n",
    ),
    Plant(
        "a clock read where time is passed in",
        "lint",
        "src/netchat/node/node.py",
        "    async def stop(self) -> None:\n",
        "    async def stop(self) -> None:\n        import time\n        time.time()\n",
    ),
    Plant(
        "a type that does not fit",
        "types",
        "src/netchat/wire/classic.py",
        "    return data\n",
        "    return str(data)\n",
    ),
)


def main(wanted: list[str]) -> int:
    plants = [plant for plant in PLANTS if not wanted or plant.name in wanted]
    if not plants:
        print(f"No such plant; there are: {', '.join(plant.name for plant in PLANTS)}")
        return 2
    red = [step for step in sorted({plant.step for plant in plants}) if not is_green(step)]
    if red:
        print(f"{', '.join(red)}: red without any plant, so nothing can be shown")
        return 1
    went_through = [plant.name for plant in plants if not bites(plant)]
    for name in went_through:
        print(f"NOT CAUGHT: {name}")
    print(f"{len(plants) - len(went_through)} of {len(plants)} planted faults were caught")
    return 1 if went_through else 0


def is_green(step: str) -> bool:
    """Tell whether a step passes in a copy in which nothing is planted: the control."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        return run(step, copy) == 0


def run(step: str, copy: Path) -> int:
    """Run one step of ./check over ``copy`` and return its exit status."""
    return subprocess.run(
        [sys.executable, "tools/check.py", step],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    ).returncode


def bites(plant: Plant) -> bool:
    """Plant the fault in a copy, run the step there, and tell whether it failed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if not put(plant, copy / plant.path):
            print(f"{plant.name}: its place in {plant.path} is gone, so nothing was planted")
            return False
        caught = run(plant.step, copy) == 1
    print(
        f"{'caught' if caught else 'NOT CAUGHT':<10} by {plant.step:<10} {plant.name}", flush=True
    )
    return caught


def put(plant: Plant, path: Path) -> bool:
    """Change the file, or make it when there is nothing to replace; False if the place is gone."""
    if not plant.old:
        path.write_text(plant.new, encoding="utf-8")
        return True
    text = path.read_text(encoding="utf-8")
    if plant.old not in text:
        return False
    path.write_text(text.replace(plant.old, plant.new, 1), encoding="utf-8")
    return True


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

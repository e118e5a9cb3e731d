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
    """Replace ``old`` by ``new`` in ``path``; then ``step`` of ./check must fail.

    For the step ``tests``, ``only`` names the files of tests that are run: all of them would take
    minutes a plant.
    """

    name: str
    step: str
    path: str
    old: str
    new: str
    only: tuple[str, ...] = ()


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
        "from netchat.frontends import commands, words, words_trust\n",
        "from netchat.frontends import commands, words, words_trust\n"
        "from netchat.store import history\n",
    ),
    Plant(
        "a room nobody decided on",
        "contracts",
        "src/netchat/utils.py",
        "",
        '"""Odds and ends."""\n',
    ),
    Plant(
        "a dedupe that looks at nothing, in the tests",
        "tests",
        "src/netchat/delivery/inbox.py",
        "        answer = event.seen.get(item.item_id, taken.answers.get(item.item_id))\n",
        "        answer = None\n",
        ("tests/delivery/test_inbox.py",),
    ),
    Plant(
        "a receipt that counts for what another link carried",
        "tests",
        "src/netchat/delivery/lanes.py",
        "        confirmed = ranges.common(lane.open, event.ranges)\n",
        "        confirmed = event.ranges\n",
        ("tests/delivery/test_lanes.py",),
    ),
    Plant(
        "a pin that nobody compares with the key of the link",
        "tests",
        "src/netchat/transport/link.py",
        '        return "wrong-key" if pin is not None and key != pin else None\n',
        "        return None\n",
        ("tests/transport/test_link.py",),
    ),
    Plant(
        "plain text to a name that a key holds",
        "tests",
        "src/netchat/identity/trust.py",
        "    if pin.key is not None:\n        return Way.KEYED\n",
        "    if pin.key is not None and not classic_entry:\n        return Way.KEYED\n",
        ("tests/identity/test_trust.py",),
    ),
    Plant(
        "a nonce that counts twice",
        "tests",
        "src/netchat/directory/nonces.py",
        "        if now_ms >= made_ms + NONCE_LIFE_MS or nonce in self._spent:\n",
        "        if now_ms >= made_ms + NONCE_LIFE_MS:\n",
        ("tests/directory/test_nonces.py",),
    ),
    Plant(
        "mail whose signature nobody checks",
        "tests",
        "src/netchat/identity/seal.py",
        '        raise BadEnvelope("bad-signature") from None\n',
        "        pass\n",
        ("tests/identity/test_seal.py",),
    ),
    Plant(
        "acting without a commit",
        "sim",
        "src/netchat/node/pump.py",
        "            self._commit(self._connection)\n",
        "            self._connection.rollback()\n",
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
        ("tests/wire/test_classic.py",),
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
        ("tests/test_model.py",),
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
    controls = sorted({(plant.step, plant.only) for plant in plants})
    red = [f"{step} {' '.join(only)}" for step, only in controls if not is_green(step, only)]
    if red:
        print(f"{', '.join(red)}: red without any plant, so nothing can be shown")
        return 1
    went_through = [plant.name for plant in plants if not bites(plant)]
    for name in went_through:
        print(f"NOT CAUGHT: {name}")
    print(f"{len(plants) - len(went_through)} of {len(plants)} planted faults were caught")
    return 1 if went_through else 0


def is_green(step: str, only: tuple[str, ...]) -> bool:
    """Tell whether a step passes in a copy in which nothing is planted: the control."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        return run(step, only, copy) == 0


def run(step: str, only: tuple[str, ...], copy: Path) -> int:
    """Run one step of ./check, or ``only`` some tests, over ``copy``; return the exit status."""
    words = ["-m", "pytest", "-q", "-m", "not slow", *only] if only else ["tools/check.py", step]
    return subprocess.run(
        [sys.executable, *words],
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
        caught = run(plant.step, plant.only, copy) == 1
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

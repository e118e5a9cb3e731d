"""The checks of NetChat: a table of steps, and what runs and reports them.

Run by ./check, in the development environment. A step that fails does not stop the others;
what could not run on this machine is told at the end, with the reason.
"""

import argparse
import ast
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
TIME_LIMIT_S = 1200  # for one command; CI's own limit would tell less about what hung


@dataclass(frozen=True)
class Outcome:
    passed: bool
    output: str = ""
    unable: tuple[str, ...] = ()  # what could not run here, each with the reason


Work = Callable[[frozenset[str]], Outcome]  # is told which steps were done before it


@dataclass(frozen=True)
class Step:
    name: str
    what: str
    work: Work
    fast: bool = True  # part of ./check --fast
    beside: bool = False  # may run beside those of its neighbours that may, too
    show: bool = False  # its output is of interest when it passes, too


# --- Running commands -------------------------------------------------------------------


def run(words: Sequence[str], cwd: Path = ROOT, environment: Mapping[str, str] = {}) -> Outcome:
    """Runs one command to its end; a file takes its output, as a pipe could outlive it."""
    with tempfile.TemporaryFile() as output:
        try:
            status = subprocess.run(
                words,
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIME_LIMIT_S,
                check=False,
            ).returncode
            remark = f"(exit status {status})\n" if status else ""
        except subprocess.TimeoutExpired:
            status, remark = 1, f"(stopped: not done after {TIME_LIMIT_S} s)\n"
        except OSError as error:
            status, remark = 1, f"{words[0]} does not start: {error}\n"
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    skips = tuple(line.strip() for line in text.splitlines() if line.startswith("SKIPPED ["))
    return Outcome(status == 0, text + remark, skips)


def run_all(commands: Iterable[Sequence[str]], environment: Mapping[str, str] = {}) -> Outcome:
    """Runs commands one after another, up to the first that fails."""
    output = ""
    unable: tuple[str, ...] = ()
    for words in commands:
        outcome = run(words, environment=environment)
        output, unable = output + outcome.output, unable + outcome.unable
        if not outcome.passed:
            return Outcome(False, output, unable)
    return Outcome(True, output, unable)


def module(*words: str) -> Work:
    return lambda _done: run([PYTHON, "-m", *words])


def script(path: str, *words: str) -> Work:
    def work(_done: frozenset[str]) -> Outcome:
        if not (ROOT / path).is_file():
            return Outcome(False, f"{path} does not exist, so this step checks nothing.\n")
        return run([PYTHON, path, *words])

    return work


# --- Steps that are more than one command -----------------------------------------------

# Debian package, which is also the command's name -> what does not run without it.
SYSTEM_PACKAGES = {
    "tmux": "the tests in real terminals",
    "shellcheck": "the check of the shell scripts",
}


def system(_done: frozenset[str]) -> Outcome:
    missing = [name for name in SYSTEM_PACKAGES if not shutil.which(name)]
    log = ""
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        log = run_all([["apt-get", "-q", "update"], install], quiet).output
        missing = [name for name in missing if not shutil.which(name)]
    unable = [
        f"{SYSTEM_PACKAGES[name]}: {name} is missing and could not be installed from here"
        for name in missing
    ]
    return Outcome(True, log if unable else "", tuple(unable))


def shell(_done: frozenset[str]) -> Outcome:
    if not shutil.which("shellcheck"):
        return Outcome(True, unable=(f"{SYSTEM_PACKAGES['shellcheck']}: shellcheck is missing",))
    return run(["shellcheck", "netchat", "check", ".ci/run"])


def lint_imports(_done: frozenset[str]) -> Outcome:
    # Through Python: the command's own file names the folder that .venv was made in.
    return run([PYTHON, "-c", "from importlinter.cli import lint_imports_command as m; m()"])


PYTEST = ("-m", "pytest", "-n", "2", "-rs")
MEASURE = ("--cov", "--cov-context=test", "--cov-report=")
# Python 3.14's faster way of measuring does not tell which test ran a line.
MEASURED = {"COVERAGE_CORE": "ctrace"}


def tests(_done: frozenset[str]) -> Outcome:
    return run([PYTHON, *PYTEST, *MEASURE, "-m", "not slow"], environment=MEASURED)


PURE = (
    *("errors.py", "limits.py", "model.py", "wire/*.py", "delivery/*.py", "identity/*.py"),
    *(f"directory/{name}.py" for name in ("mailbox", "nonces", "records", "registry")),
    "transport/pool.py",
)
RUNS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.If,
    ast.Try,
    ast.For,
    ast.While,
    ast.Match,
)


SCORE = ("seeds ", "sent", "delivered", "lost", "doubled", "other_violations")


def pure_modules() -> dict[Path, Path]:
    """Each module of the pure rooms and the one test file that has to cover all of it."""
    package = ROOT / "src" / "netchat"
    pairs = {}
    for path in sorted(path for pattern in PURE for path in package.glob(pattern)):
        inside = path.relative_to(package)
        test = Path("tests") / inside.with_name(f"test_{path.stem.strip('_')}.py")
        # Mere names, constants and docstrings have nothing to test.
        runs = any(isinstance(node, RUNS) for node in ast.walk(ast.parse(path.read_bytes())))
        if runs or (ROOT / test).exists():
            pairs[path] = test
    return pairs


def coverage(done: frozenset[str]) -> Outcome:
    """All lines and branches of a pure module are run by its own test file, on its own."""
    pairs = pure_modules()
    lacking = [(path, test) for path, test in pairs.items() if not (ROOT / test).exists()]
    output = "".join(f"{path} has no test file {test}.\n" for path, test in lacking)
    own = {path: test for path, test in pairs.items() if (path, test) not in lacking}
    if not own:
        return Outcome(False, output + "There is no pure module with a test file.\n")
    with tempfile.TemporaryDirectory() as scratch:
        data = ROOT / ".coverage"
        if "tests" not in done:
            data = Path(scratch, "coverage")
            words = [PYTHON, *PYTEST, *MEASURE, "-m", "not slow", *map(str, own.values())]
            outcome = run(words, environment={**MEASURED, "COVERAGE_FILE": str(data)})
            if not outcome.passed:
                return outcome
        output += report_gaps(data, own)
    return Outcome(not output, output or f"All of {len(own)} modules, each by its own tests.\n")


def report_gaps(data: Path, own: Mapping[Path, Path]) -> str:
    from coverage import Coverage, CoverageException  # slow to import, and for this step only

    measured = Coverage(data_file=str(data), config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    gaps = ""
    for path, test in own.items():
        # The nameless context is what runs at import, before any test.
        contexts = ["^$", f"^{re.escape(test.as_posix())}::"]
        table = io.StringIO()
        try:
            share = measured.report([str(path)], contexts=contexts, show_missing=True, file=table)
        except CoverageException as error:
            share = 0.0
            table.write(f"{error}\n")
        if share < 100:
            gaps += f"By {test} alone:\n{table.getvalue()}\n"
    return gaps


# pip reads one or the other for what builds NetChat; relative, as spaces would end the name.
PINNED = {"PIP_CONSTRAINT": "constraints.txt", "PIP_BUILD_CONSTRAINT": "constraints.txt"}
IN_WHEEL = ("netchat/py.typed", "netchat/*.sql")


def wheel(_done: frozenset[str]) -> Outcome:
    with tempfile.TemporaryDirectory() as scratch:
        words = [PYTHON, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", scratch, "."]
        built = run(words, environment=PINNED)
        files = list(Path(scratch).glob("*.whl"))
        if not built.passed or not files:
            return Outcome(False, built.output)
        with zipfile.ZipFile(files[0]) as archive:
            names = archive.namelist()
        lacking = [what for what in IN_WHEEL if not any(fnmatch(name, what) for name in names)]
        if lacking:
            return Outcome(False, f"{files[0].name} lacks {', '.join(lacking)}.\n")
        python = f"{scratch}/venv/bin/python"
        new = [PYTHON, "-m", "venv", f"{scratch}/venv"]
        installed = run_all([new, [python, "-m", "pip", "install", str(files[0])]], PINNED)
        if not installed.passed:
            return installed
        return run([python, "-I", "-m", "netchat", "--version"], cwd=Path(scratch))


def supported_versions() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = [re.search(r"Python :: (3\.\d+)$", text) for text in project["classifiers"]]
    return [match[1] for match in found if match]


def find_python(version: str) -> str | None:
    """An interpreter of that version that starts; pyenv's shims on PATH may well not."""
    name = f"python{version}"
    paths = [Path(folder, name) for folder in os.get_exec_path()]
    if shutil.which("pyenv"):
        folder = Path(run(["pyenv", "root"]).output.strip(), "versions")
        paths += sorted(folder.glob(f"{version}.*/bin/{name}"))
    for path in paths:
        if path.exists() and run([str(path), "-c", "import ensurepip"]).passed:
            return str(path)
    return None


def pythons(_done: frozenset[str]) -> Outcome:
    passed, output = True, ""
    unable: tuple[str, ...] = ()
    this = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in supported_versions():
        if version == this:
            continue
        found = find_python(version)
        if found is None:
            unable += (f"the tests on Python {version}: none is installed here",)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            python = f"{scratch}/bin/python"
            install = [python, "-m", "pip", "install", ".[dev]"]
            outcome = run_all([[found, "-m", "venv", scratch], install], PINNED)
            if outcome.passed:
                words = [python, *PYTEST, "-q", "-m", "not slow", "-p", "no:cacheprovider"]
                outcome = run(words)
        passed = passed and outcome.passed
        output += f"Python {version} ({found}):\n{outcome.output}\n"
        unable += tuple(f"on Python {version}: {reason}" for reason in outcome.unable)
    return Outcome(passed, output, unable)


def simulate(_done: frozenset[str]) -> Outcome:
    """200 seeds; the README quotes what they come to, so it has to be that."""
    outcome = run([PYTHON, "-m", "netchat", "sim", "--seeds", "200"])
    quoted = set((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    counts = [line for line in outcome.output.splitlines() if line.startswith(SCORE)]
    stale = [line for line in counts if line not in quoted]
    if stale or not counts:
        return Outcome(False, f"{outcome.output}The README quotes another run: {stale}\n")
    return outcome


def slow_tests(_done: frozenset[str]) -> Outcome:
    return run([PYTHON, *PYTEST, "-m", "slow"])


# --- The table ---------------------------------------------------------------------------

STEPS = (
    Step("system", "Debian packages that the checks need", system, fast=False),
    Step("format", "ruff format", module("ruff", "format", "--check", "."), beside=True),
    Step("lint", "ruff check", module("ruff", "check", "."), beside=True),
    Step("shell", "shellcheck on the shell scripts", shell, beside=True),
    Step("contracts", "who may import whom (.importlinter)", lint_imports, beside=True),
    Step("types", "mypy, strict", module("mypy"), beside=True),
    Step("tests", "all tests but the slow ones", tests, show=True),
    Step("tests-slow", "the slow tests", slow_tests, fast=False, show=True),
    Step("coverage", "pure modules, each by its own test file alone", coverage, beside=True),
    Step(
        "sim",
        "simulated networks with 200 seeds, as the README quotes them",
        simulate,
        beside=True,
        show=True,
    ),
    Step(
        "docs",
        "the docs show the vectors as they are",
        script("tools/docs.py", "--check"),
        beside=True,
    ),
    Step(
        "sim-long",
        "simulated networks with 2,000 other seeds",
        module("netchat", "sim", "--seeds", "2000", "--first", "1000"),
        fast=False,
        show=True,
    ),
    Step("gates", "planted faults turn their step red", script("tools/gates.py"), fast=False),
    Step("wheel", "the built wheel is whole and starts", wheel, fast=False),
    Step("pythons", "the tests on other Pythons", pythons, fast=False, show=True),
    Step("bench-start", "figures of the start", script("bench/start.py"), fast=False, show=True),
    Step("bench-links", "figures of links", script("bench/links.py"), fast=False, show=True),
    Step(
        "bench-delivery",
        "figures of delivery",
        script("bench/delivery.py"),
        fast=False,
        show=True,
    ),
)


# --- Running and reporting the steps -------------------------------------------------------


def say(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def timed(step: Step, done: frozenset[str]) -> tuple[Outcome, float]:
    start = time.perf_counter()
    try:
        outcome = step.work(done)
    except Exception as error:  # a step that breaks has failed; the others still run
        outcome = Outcome(False, f"The step itself broke: {error!r}\n")
    return outcome, time.perf_counter() - start


def run_steps(steps: Sequence[Step]) -> Iterator[tuple[Step, Outcome, float]]:
    """Runs the steps and yields them in the table's order, neighbours beside one another."""
    done: frozenset[str] = frozenset()
    for _, group in itertools.groupby(steps, lambda step: step.beside or step.name):
        batch = tuple(group)
        with ThreadPoolExecutor(os.cpu_count() if len(batch) > 1 else 1) as pool:
            results = pool.map(timed, batch, itertools.repeat(done))
            for step, (outcome, seconds) in zip(batch, results, strict=False):
                yield step, outcome, seconds
        done |= {step.name for step in batch}


def label(outcome: Outcome) -> str:
    if not outcome.passed:
        word, colour = "FAILED", 31
    elif outcome.unable and not outcome.output:
        word, colour = "not run", 33
    else:
        word, colour = "ok", 32
    plain = os.environ.get("NO_COLOR") or not sys.stdout.isatty()
    return f"{word:<8}" if plain else f"\033[{colour}m{word:<8}\033[0m"


def report(steps: Sequence[Step]) -> int:
    failed: list[str] = []
    unable: list[str] = []
    for step, outcome, seconds in run_steps(steps):
        say(f"{step.name:<12} {label(outcome)} {seconds:6.1f} s")
        if outcome.output and (step.show or not outcome.passed):
            say(outcome.output)
        failed += [] if outcome.passed else [step.name]
        unable += [f"  {step.name}: {reason}" for reason in outcome.unable]
    if unable:
        say("\n".join(["Could not run here:", *unable]))
    if failed:
        say(f"Failed: {', '.join(failed)} (of {len(steps)} steps)")
    else:
        say(f"No step failed, of {len(steps)}.")
    return 1 if failed else 0


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"check: {message}: './check --list' names the steps.\n")


def choose(arguments: Sequence[str] | None, steps: Sequence[Step]) -> tuple[bool, list[Step]]:
    parser = Parser(prog="./check", description="Runs NetChat's checks.")
    parser.add_argument("--fast", action="store_true", help="leave out what takes long")
    parser.add_argument("--list", action="store_true", help="list the steps and run none")
    parser.add_argument("steps", metavar="STEP", nargs="*", help="run these steps alone")
    wanted = parser.parse_args(arguments)
    unknown = set(wanted.steps) - {step.name for step in steps}
    if unknown:
        parser.error(f"there is no step {', '.join(sorted(unknown))}")
    if wanted.steps:  # asked for by name, be they fast or not
        return wanted.list, [step for step in steps if step.name in wanted.steps]
    return wanted.list, [step for step in steps if step.fast or not wanted.fast]


def main(arguments: Sequence[str] | None = None, steps: Sequence[Step] = STEPS) -> int:
    only_list, chosen = choose(arguments, steps)
    if only_list:
        say("\n".join(f"{s.name:<12} {'fast' if s.fast else 'full'}  {s.what}" for s in chosen))
        return 0
    try:
        return report(chosen)
    except KeyboardInterrupt:
        say("check: interrupted.")
        return 130


if __name__ == "__main__":
    sys.exit(main())

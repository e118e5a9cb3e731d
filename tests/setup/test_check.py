"""./check and tools/check.py: that a fault anywhere ends in exit status 1 and its step's name."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tools import check
from tools.check import Outcome, Step

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120


def step(name: str, outcome: Outcome, *, fast: bool = True, show: bool = False) -> Step:
    return Step(name, f"what {name} checks", lambda _done: outcome, fast=fast, show=show)


GOOD = step("good", Outcome(True, "all is well\n"))
BAD = step("bad", Outcome(False, "a planted fault\n"))
LONG = step("long", Outcome(True, "took its time\n"), fast=False, show=True)


def words_of(text: str, count: int) -> list[list[str]]:
    return [line.split()[:count] for line in text.splitlines()]


# --- Running and reporting ----------------------------------------------------------------


def test_a_failing_step_is_named_and_the_rest_still_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check.main([], (BAD, GOOD, LONG)) == 1
    output = capsys.readouterr().out
    assert words_of(output, 2) == [
        ["bad", "FAILED"],
        ["a", "planted"],
        ["good", "ok"],
        ["long", "ok"],
        ["took", "its"],
        ["Failed:", "bad"],
    ]


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([], (GOOD, LONG)) == 0
    assert capsys.readouterr().out.endswith("No step failed, of 2.\n")


def test_a_step_that_breaks_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(_done: frozenset[str]) -> Outcome:
        raise ValueError("unforeseen")

    assert check.main([], (Step("odd", "", breaks), GOOD)) == 1
    output = capsys.readouterr().out
    assert "unforeseen" in output
    assert output.endswith("Failed: odd (of 2 steps)\n")


def test_what_could_not_run_is_listed_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    skipping = check.run([sys.executable, "-c", "print('SKIPPED [2] a.py:3: no tmux')"])
    assert check.main([], (step("tests", skipping), GOOD)) == 0
    output = capsys.readouterr().out
    assert "Could not run here:\n  tests: SKIPPED [2] a.py:3: no tmux\n" in output


def test_fast_leaves_out_the_long_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--fast"], (GOOD, LONG)) == 0
    assert "long" not in capsys.readouterr().out


def test_named_steps_run_alone_even_long_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["long", "--fast"], (BAD, GOOD, LONG)) == 0
    assert words_of(capsys.readouterr().out, 2)[0] == ["long", "ok"]


def test_steps_beside_one_another_keep_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    both = threading.Barrier(2, timeout=LIMIT_S)

    def meets(_done: frozenset[str]) -> Outcome:
        both.wait()
        return Outcome(True)

    first, second = (Step(name, "", meets, beside=True) for name in ("first", "second"))
    assert check.main([], (first, second, GOOD)) == 0
    assert words_of(capsys.readouterr().out, 1)[:3] == [["first"], ["second"], ["good"]]


def test_a_step_is_told_what_was_done_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[frozenset[str]] = []

    def asks(done: frozenset[str]) -> Outcome:
        told.append(done)
        return Outcome(True)

    assert check.main([], (GOOD, LONG, Step("asks", "", asks))) == 0
    assert told == [frozenset({"good", "long"})]


def test_list_names_every_step_and_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--list"]) == 0
    listed = words_of(capsys.readouterr().out, 2)
    assert listed == [[s.name, "fast" if s.fast else "full"] for s in check.STEPS]


@pytest.mark.parametrize(
    ("arguments", "part"), [(["nonsense"], "no step nonsense"), (["--quick"], "--quick")]
)
def test_a_wrong_use_is_told_in_a_sentence(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        check.main(arguments)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert part in told
    assert told.count("\n") == 1


# --- Steps ----------------------------------------------------------------------------------


def test_a_script_that_does_not_exist_fails_its_step() -> None:
    outcome = check.script("tools/absent.py")(frozenset())
    assert not outcome.passed
    assert "tools/absent.py does not exist" in outcome.output


def test_a_command_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TIME_LIMIT_S", 0.1)
    outcome = check.run([sys.executable, "-c", "import signal; signal.pause()"])
    assert not outcome.passed
    assert "not done after" in outcome.output


def test_the_shell_step_without_shellcheck_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = check.shell(frozenset())
    assert outcome.passed
    assert outcome.unable == ("the check of the shell scripts: shellcheck is missing",)


def test_missing_packages_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = check.system(frozenset())
    assert outcome.passed
    assert len(outcome.unable) == len(check.SYSTEM_PACKAGES)


def plant(root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """A small tree in place of the checkout."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(check, "ROOT", root)


MODEL = "def sign(n: int) -> int:\n    if n < 0:\n        return -1\n    return 1\n"


def test_a_pure_module_needs_its_own_test_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "model.py": MODEL,
        "errors.py": "class Wrong(Exception): ...\n",
        "wire/__init__.py": "",
    }
    plant(tmp_path, monkeypatch, {f"src/netchat/{name}": text for name, text in files.items()})
    outcome = check.coverage(frozenset({"tests"}))
    assert not outcome.passed
    assert "src/netchat/model.py has no test file tests/test_model.py" in outcome.output
    assert "errors.py" not in outcome.output
    assert "wire" not in outcome.output


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False])
def test_coverage_counts_a_modules_own_tests_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    minus = "\ndef test_minus():\n    assert sign(-1) == -1\n"
    test = "from netchat.model import sign\n\ndef test_plus():\n    assert sign(1) == 1\n"
    files = {
        "pyproject.toml": '[tool.coverage.run]\nbranch = true\nsource_pkgs = ["netchat"]\n'
        '[tool.pytest.ini_options]\nmarkers = ["slow: x"]\n',
        "src/netchat/__init__.py": "",
        "src/netchat/model.py": MODEL,
        "tests/test_model.py": test + (minus if own else ""),
        "tests/test_other.py": test + minus,
    }
    plant(tmp_path, monkeypatch, files)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    words = [sys.executable, *check.PYTEST, *check.MEASURE]
    assert check.run(words, cwd=tmp_path, environment=check.MEASURED).passed
    outcome = check.coverage(frozenset({"tests"}))
    assert outcome.passed is own, outcome.output
    if not own:
        assert "By tests/test_model.py alone" in outcome.output
        assert " 3\n" in outcome.output  # the line that is missing


# --- The commands themselves ------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The real commands, with a .venv that is ready and runs this very Python."""
    for name in ("netchat", "check", ".ci/run", "tools/check.py", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "constraints.txt").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".netchat-dev-ready").write_text(f"{tmp_path}\n{os.__file__}\n")
    return tmp_path


def call(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=checkout.parent,
        env={**os.environ, "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_a_planted_fault_turns_the_command_red(checkout: Path) -> None:
    (checkout / "tools" / "ugly.py").write_text("x   =  1\n")
    result = call(checkout, str(checkout / "check"), "format")
    assert result.returncode == 1
    assert result.stderr == ""
    assert "ugly.py" in result.stdout
    assert words_of(result.stdout, 2)[-1] == ["Failed:", "format"]


def test_the_command_lists_and_refuses(checkout: Path) -> None:
    listed = call(checkout, str(checkout / "check"), "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert len(listed.stdout.splitlines()) == len(check.STEPS)
    refused = call(checkout, str(checkout / "check"), "nonsense")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("check: there is no step nonsense")


def test_ci_runs_every_check(checkout: Path) -> None:
    (checkout / "tools" / "check.py").write_text("import os, sys\nprint(sys.argv, os.getcwd())\n")
    result = call(checkout, "bash", str(checkout / ".ci" / "run"))
    assert result.stdout == f"['tools/check.py'] {os.path.realpath(checkout)}\n"

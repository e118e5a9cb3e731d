"""One command of the real program, run to its end."""

import subprocess
import sys
from pathlib import Path

from tests.interop.processes import environment


def netchat(
    tmp_path: Path, *arguments: str, typed: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "netchat", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path) | settings,
        timeout=15,
        check=False,
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], status: int) -> None:
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("netchat: ")
    assert done.stderr.count("\n") == 1

"""./netchat and tools/bootstrap.py in each state that a machine may be in.

A small stand-in project with its own build backend is set up for real, so nothing is
downloaded; PATH holds only the Pythons that a test is about.
"""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REAL_PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
SETTING_UP = "netchat: Setting up NetChat in .venv (first start only)...\n"
LIMIT_S = 120

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "netchat"
version = "0.1.0"
dependencies = []
optional-dependencies = { dev = [] }
"""

# Notes each build in the file `builds`; where there is a file `gate` with a port in it, says
# hello there and goes on once the other side has hung up.
BACKEND = """\
import os, socket, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with open("builds", "a") as builds:
        builds.write("built\\n")
    if os.path.exists("gate"):
        with socket.create_connection(("127.0.0.1", int(open("gate").read()))) as gate:
            gate.recv(1)
    name = "netchat-0.1.0-py3-none-any.whl"
    info = "netchat-0.1.0.dist-info"
    requires = "".join(f"Requires-Dist: {line}\\n" for line in open("requires").read().split())
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("_netchat.pth", os.path.abspath("src") + "\\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: netchat\\n"
            f"Version: 0.1.0\\n{requires}Provides-Extra: dev\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\n"
            "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""

MAIN = """\
import sys

if sys.argv[1:] == ["echo"]:
    print("up", flush=True)
    print(sys.stdin.readline().strip())
    from netchat import later
    print(later.__file__)
else:
    print(sys.argv[1:])
"""

# Runs what it is given as the real Python would, were it such a Python.
FAKE = """\
import runpy, sys
{pretence}
arguments = [word for word in sys.argv[1:] if word != "-E"]
if arguments[0] == "-c":
    exec(arguments[1])
else:
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
"""
OLD = "sys.version_info = (3, 9, 18, 'final', 0)"
NO_ENSUREPIP = "sys.modules['ensurepip'] = None"


def lay_out(root: Path) -> Path:
    """The stand-in project: the real scripts around a package of a few lines."""
    package = root / "src" / "netchat"
    package.mkdir(parents=True)
    (root / "tools").mkdir()
    for name in ("netchat", "tools/bootstrap.py"):
        shutil.copy(ROOT / name, root / name)
    texts = {
        root / "pyproject.toml": PYPROJECT,
        root / "constraints.txt": "# none\n",
        root / "backend.py": BACKEND,
        root / "requires": "",
        package / "__init__.py": "",
        package / "later.py": "",
        package / "__main__.py": MAIN,
    }
    for path, text in texts.items():
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))  # older than any change by a test
    return root


def good_python(folder: Path, name: str = "python3") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).symlink_to(REAL_PYTHON)
    return folder


def fake_python(folder: Path, pretence: str, name: str = "python3") -> Path:
    folder.mkdir(exist_ok=True)
    inside = folder / f"{name}.py"
    inside.write_text(FAKE.format(pretence=pretence))
    (folder / name).write_text(f'#!/bin/sh\nexec "{REAL_PYTHON}" "{inside}" "$@"\n')
    (folder / name).chmod(0o755)
    return folder


def settings(path: str, extra: dict[str, str]) -> dict[str, str]:
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C.UTF-8"}
    return {"PATH": path, "HOME": "/nonexistent", **offline, **extra}


def start(
    root: Path,
    *arguments: str,
    path: Path | str = "",
    command: tuple[str | Path, ...] = (),
    stdin: str = "",
    cwd: Path | None = None,
    **extra: str,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(command or (root / "netchat",)), *arguments],
        env=settings(str(path), extra),
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@contextmanager
def started(root: Path, *arguments: str, path: Path | str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [root / "netchat", *arguments],
        env=settings(str(path), {}),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def gate(root: Path) -> Iterator[socket.socket]:
    """Where the build backend stops and waits, until the connection is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        (root / "gate").write_text(str(server.getsockname()[1]))
        yield server
        (root / "gate").unlink()


def assert_told(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit status 1, nothing on stdout, and one sentence as the last line on stderr."""
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    told = [line for line in result.stderr.splitlines() if not line.endswith("...")]
    assert len(told) == 1, result.stderr
    for part in ("netchat: ", *parts, "start NetChat again"):
        assert part in told[0]


def builds(root: Path) -> int:
    return len((root / "builds").read_text().splitlines())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "net chat")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was set up; nobody but `ready` touches it."""
    folder = tmp_path_factory.mktemp("made")
    root = lay_out(folder / "project")
    result = start(root, path=good_python(folder / "bin"))
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture
def ready(made: Path, tmp_path: Path) -> Path:
    """A copy of a project that was set up, itself ready."""
    root = tmp_path / "net chat"
    shutil.copytree(made, root, symlinks=True)
    result = start(root, path=good_python(tmp_path / "bin"))
    assert result.returncode == 0, result.stderr
    (root / ".venv" / "kept").touch()
    return root


# --- No set-up possible: told in one sentence ---------------------------------------------


def test_no_python_at_all(project: Path) -> None:
    assert_told(start(project), "needs Python 3.11 or newer and found no Python", "install it")


def test_only_an_old_python(project: Path, tmp_path: Path) -> None:
    path = fake_python(tmp_path / "bin", OLD)
    assert_told(start(project, path=path), "3.11 or newer", f"Python 3.9.18 ({path}/python3)")


def test_only_a_python_without_ensurepip(project: Path, tmp_path: Path) -> None:
    path = fake_python(tmp_path / "bin", NO_ENSUREPIP)
    assert_told(start(project, path=path), "without ensurepip", "'apt install python3-venv'")


def test_a_python_that_does_not_start_is_none(project: Path, tmp_path: Path) -> None:
    path = fake_python(tmp_path / "bin", "sys.exit('not installed')")
    assert_told(start(project, path=path), "found no Python on PATH")


@pytest.mark.parametrize(
    ("pretence", "part"),
    [
        (OLD, "which is Python 3.9.18"),
        (NO_ENSUREPIP, "which has no ensurepip"),
        ("sys.exit(1)", "which is no Python that starts"),
    ],
)
def test_the_python_asked_for_will_not_do(
    project: Path, tmp_path: Path, pretence: str, part: str
) -> None:
    asked = fake_python(tmp_path / "asked", pretence) / "python3"
    result = start(project, path=good_python(tmp_path / "bin"), NETCHAT_PYTHON=str(asked))
    assert_told(result, f"NETCHAT_PYTHON is set to {asked}", part)


@pytest.mark.parametrize(
    ("pretence", "part"), [(OLD, "this is Python 3.9.18"), (NO_ENSUREPIP, "without ensurepip")]
)
def test_bootstrap_run_by_hand(project: Path, tmp_path: Path, pretence: str, part: str) -> None:
    python = fake_python(tmp_path / "bin", pretence) / "python3"
    result = start(project, command=(python, project / "tools" / "bootstrap.py"))
    assert result.returncode == 1
    assert result.stderr.startswith("netchat: NetChat ")
    assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_bootstrap_parses_on_old_pythons() -> None:
    ast.parse((ROOT / "tools" / "bootstrap.py").read_text(), feature_version=(3, 6))


def mounted(how: str) -> tuple[str | Path, ...]:
    """For root, whom no permission stops: a mount that only the command itself sees."""
    if not shutil.which("unshare"):
        pytest.skip("running as root, and unshare is missing")
    return (shutil.which("unshare") or "", "-m", "sh", "-c", how)


def test_a_read_only_checkout(project: Path, tmp_path: Path) -> None:
    path = good_python(tmp_path / "bin")
    if os.geteuid() == 0:
        how = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && PATH=$1 "$0/netchat"'
        result = start(project, path=os.environ["PATH"], command=(*mounted(how), project, path))
    else:
        project.chmod(0o555)
        result = start(project, path=path)
        project.chmod(0o755)
    assert_told(result, ".venv.lock", "make that place writable")


@pytest.mark.slow
def test_a_full_disk(project: Path, tmp_path: Path) -> None:
    path = good_python(tmp_path / "bin")
    if os.geteuid() == 0:
        (tmp_path / "disk").mkdir()
        how = 'mount -t tmpfs -o size=3m none "$0" && cp -R "$1/." "$0" && PATH=$2 "$0/netchat"'
        command = (*mounted(how), tmp_path / "disk", project, path)
        result = start(project, path=os.environ["PATH"], command=command)
        assert_told(result, "No space left on device", "free some disk space")
    else:  # as near as it gets: no file may grow past a few kilobytes
        command = ("/bin/sh", "-c", 'ulimit -f 4 && exec "$0"', project / "netchat")
        result = start(project, path=path, command=command)
        assert_told(result, "File too large")


@pytest.mark.slow
def test_a_dependency_that_cannot_be_had(project: Path, tmp_path: Path) -> None:
    (project / "requires").write_text("no-such-thing==1")
    result = start(project, path=good_python(tmp_path / "bin"))
    log = project / ".venv" / "netchat-setup.log"
    assert_told(result, "No matching distribution found for no-such-thing==1", str(log))
    assert "No matching distribution" in log.read_text()
    assert not (project / ".venv" / ".netchat-ready").exists()


@pytest.mark.slow
def test_no_network(ready: Path) -> None:
    (ready / "requires").write_text("no-such-thing==1")
    (ready / "constraints.txt").write_text("# changed\n")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen: every connection is refused
        index = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        result = start(ready, PIP_NO_INDEX="0", PIP_INDEX_URL=index, PIP_RETRIES="1")
    assert_told(result, "pip failed", "check that this machine reaches a Python package index")
    assert (ready / ".venv" / "kept").exists()


# --- The set-up itself ----------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_start_and_the_second(project: Path, tmp_path: Path) -> None:
    old = fake_python(tmp_path / "old", OLD)
    bare = fake_python(tmp_path / "bare", NO_ENSUREPIP)
    good = good_python(tmp_path / "good", "python")  # the last one that is tried
    first = start(project, "--version", path=f"{old}:{bare}:{good}")
    assert (first.returncode, first.stdout, first.stderr) == (0, "['--version']\n", SETTING_UP)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "chat"
    link.symlink_to("../net chat/netchat")
    (tmp_path / "links" / "readlink").symlink_to(shutil.which("readlink") or "")
    ways: dict[tuple[str | Path, ...], Path] = {
        (project / "netchat",): Path("/"),
        ("/bin/sh", "netchat"): project,
        (link,): tmp_path,
    }
    for command, cwd in ways.items():  # with readlink alone on PATH, and so no Python
        again = start(project, "a b", "", command=command, cwd=cwd, path=link.parent)
        assert (again.stdout, again.stderr) == ("['a b', '']\n", "")
    assert builds(project) == 1


@pytest.mark.slow
def test_the_first_start_leaves_stdin_to_the_chat(project: Path, tmp_path: Path) -> None:
    result = start(project, "echo", path=good_python(tmp_path / "bin"), stdin="hello\n")
    assert result.stdout.startswith("up\nhello\n")


@pytest.mark.slow
def test_the_development_flavour_holds_the_plain_one(project: Path, tmp_path: Path) -> None:
    path = good_python(tmp_path / "bin")
    result = start(project, path=path, NETCHAT_SETUP_ONLY="dev")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", SETTING_UP)
    assert {stamp.name for stamp in (project / ".venv").glob(".netchat*")} == {
        ".netchat-ready",
        ".netchat-dev-ready",
    }
    assert start(project).stderr == ""


@pytest.mark.slow
def test_the_plain_flavour_grows_into_the_development_one(ready: Path, tmp_path: Path) -> None:
    result = start(ready, path=tmp_path / "bin", NETCHAT_SETUP_ONLY="dev")
    assert result.stderr == "netchat: Adding the development tools to .venv...\n"
    assert (ready / ".venv" / "kept").exists()


@pytest.mark.slow
def test_killed_in_the_middle(project: Path, tmp_path: Path) -> None:
    path = good_python(tmp_path / "bin")
    with gate(project) as server, started(project, path=path) as process, server.accept()[0]:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)
    assert not (project / ".venv" / ".netchat-ready").exists()
    (project / ".venv" / "half").touch()
    result = start(project, "again", path=path)
    assert result.stdout == "['again']\n"
    assert result.stderr.endswith(SETTING_UP)
    assert not (project / ".venv" / "half").exists()


@pytest.mark.slow
def test_interrupted_by_the_person(project: Path, tmp_path: Path) -> None:
    path = good_python(tmp_path / "bin")
    with gate(project) as server, started(project, path=path) as process, server.accept()[0]:
        os.killpg(process.pid, signal.SIGINT)
        output, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    assert output == ""
    assert told == SETTING_UP + (
        "netchat: The set-up was interrupted: start NetChat again and it begins anew.\n"
    )


@pytest.mark.slow
def test_two_first_starts_at_once(project: Path, tmp_path: Path) -> None:
    path = good_python(tmp_path / "bin")
    with gate(project) as server, started(project, "one", path=path) as first:
        held = server.accept()[0]
        with held, started(project, "two", path=path) as second:
            assert second.stderr is not None
            waits = "netchat: Another start is setting up .venv; waiting for it...\n"
            assert second.stderr.readline() == waits
            held.close()  # lets the first go on
            assert second.communicate(timeout=LIMIT_S) == ("['two']\n", "")
        assert first.communicate(timeout=LIMIT_S) == ("['one']\n", SETTING_UP)
    assert builds(project) == 1


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_the_python_of_venv_is_gone_or_broken(ready: Path, tmp_path: Path, broken: bool) -> None:
    python = ready / ".venv" / "bin" / "python"
    python.unlink()
    if broken:
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    else:
        python.symlink_to("/nonexistent/python3")
    result = start(ready, "again", path=tmp_path / "bin")
    assert result.stdout == "['again']\n"
    assert result.stderr == "netchat: The Python of .venv no longer runs; making .venv anew...\n"
    assert not (ready / ".venv" / "kept").exists()


# --- A .venv that is ready stays, and is kept up to date --------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_updates_in_place(ready: Path, name: str) -> None:
    before = builds(ready)
    with (ready / name).open("a") as file:
        file.write("# changed\n")
    result = start(ready, "again")  # with .venv's own Python, as there is no other
    assert (result.returncode, result.stdout) == (0, "['again']\n")
    assert result.stderr.startswith("netchat: Updating .venv")
    assert (ready / ".venv" / "kept").exists()
    assert start(ready).stderr == ""
    assert builds(ready) == before + 1


@pytest.mark.slow
def test_a_mere_touch_installs_nothing(ready: Path) -> None:
    before = builds(ready)
    (ready / "pyproject.toml").touch()
    assert start(ready).stderr == ""
    stamp = ready / ".venv" / ".netchat-ready"
    assert stamp.stat().st_mtime_ns >= (ready / "pyproject.toml").stat().st_mtime_ns
    assert builds(ready) == before


@pytest.mark.slow
def test_a_copied_checkout_runs_its_own_code(ready: Path) -> None:
    later = ready / "src" / "netchat" / "later.py"
    assert start(ready, "echo", stdin="hello\n").stdout == f"up\nhello\n{later}\n"


@pytest.mark.slow
def test_a_running_chat_outlives_an_update(ready: Path) -> None:
    with started(ready, "echo", path="") as chat:
        assert chat.stdout is not None
        assert chat.stdout.readline() == "up\n"
        (ready / "constraints.txt").write_text("# changed\n")
        assert start(ready).returncode == 0
        output, errors = chat.communicate("hello\n", timeout=LIMIT_S)
    assert output == f"hello\n{ready / 'src' / 'netchat' / 'later.py'}\n"
    assert errors == ""


@pytest.mark.slow
def test_code_in_the_directory_one_stands_in_is_not_run(project: Path, tmp_path: Path) -> None:
    """Somebody else may write there: neither a first nor a later start imports from it."""
    good = good_python(tmp_path / "good")
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("netchat", "ensurepip", "venv"):
        (trap / f"{name}.py").write_text("raise SystemExit('trapped')\n")
    for _ in range(2):
        done = start(project, "hello", path=good, cwd=trap)
        assert "trapped" not in done.stdout + done.stderr
        assert (done.returncode, done.stdout) == (0, "['hello']\n")

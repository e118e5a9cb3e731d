"""Makes NetChat's virtual environment .venv, or brings it up to date.

Run by ./netchat and ./check (with --dev) when .venv is missing, broken or old. Standard
library only, and it has to parse on Python 3.6: somebody may start it by hand with an old
Python and is then told what is needed, hence the annotations in quotes.

A .venv is ready once it holds a stamp file, written last. A .venv without one was left by a
set-up that was killed, and is made again; a ready one is only ever updated in place, since
a chat may be running from it.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys

NEEDED = (3, 11)
INPUTS = ("pyproject.toml", "constraints.txt")
STAMP = ".netchat-ready"
DEV_STAMP = ".netchat-dev-ready"
LOG = "netchat-setup.log"

# What to do about a failed step, by words that its output holds; the first that fits.
ADVICE = (
    ("No space left on device", "free some disk space"),
    ("Disk quota exceeded", "free some disk space"),
    ("No module named ensurepip", "run 'apt install python3-venv' (or its like on your system)"),
    ("Retrying (", "check that this machine reaches a Python package index"),
    ("(from versions: none)", "check that this machine reaches a Python package index"),
    ("", "put that right"),
)


class SetUpError(Exception):
    """One sentence for the person: what happened, why, and what to do next."""


def main(arguments: "list[str]") -> int:
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    try:
        check_python()
        set_up(root, dev="--dev" in arguments)
    except SetUpError as error:
        say(str(error))
    except OSError as error:
        say(explain(error, root))
    except KeyboardInterrupt:
        say("The set-up was interrupted: start NetChat again and it begins anew.")
        return 130
    else:
        return 0
    return 1


def say(line: str) -> None:
    sys.stderr.write(f"netchat: {line}\n")
    sys.stderr.flush()


def check_python() -> None:
    version = ".".join(str(part) for part in sys.version_info[:3])
    # Not outdated: this is the one file that older Pythons are let near.
    if sys.version_info < NEEDED:
        needed = ".".join(str(part) for part in NEEDED)
        raise SetUpError(
            f"NetChat needs Python {needed} or newer and this is Python {version}"
            f" ({sys.executable}): run ./netchat, which looks for a newer one, or install one."
        )
    try:
        import ensurepip  # noqa: F401 - Debian leaves it out of python3
    except ImportError:
        raise SetUpError(
            f"NetChat cannot make its environment because Python {version} ({sys.executable})"
            " comes without ensurepip: run 'apt install python3-venv' (or install another"
            " Python 3.11 or newer), then start NetChat again."
        ) from None


def explain(error: OSError, root: str) -> str:
    where = error.filename or root
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        advice = "make that place writable for you or copy the checkout to one that is"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "free some disk space"
    else:
        advice = "put that right"
    return (
        f"NetChat cannot set up .venv because of {where}"
        f" ({error.strerror or error}): {advice}, then start NetChat again."
    )


def set_up(root: str, dev: bool) -> None:
    venv = os.path.join(root, ".venv")
    if refresh(root, venv, dev):  # only touched, or a git checkout back and forth
        return
    lock = take_lock(root)  # held until this process and pip's have ended
    if refresh(root, venv, dev):  # the one that we waited for did it
        return
    newest, contents = read_inputs(root)
    was_ready = any(os.path.exists(os.path.join(venv, name)) for name in (STAMP, DEV_STAMP))
    library = library_of(venv) if was_ready else ""
    if library and dev and not os.path.exists(os.path.join(venv, DEV_STAMP)):
        say("Adding the development tools to .venv...")
    elif library:
        say("Updating .venv (made for an older NetChat or another folder)...")
    else:
        make_venv(root, venv, was_ready, lock)
        library = library_of(venv)
    install(root, venv, dev, lock)
    # The development flavour holds all that the plain one does.
    for name in (STAMP, DEV_STAMP) if dev else (STAMP,):
        write_stamp(os.path.join(venv, name), f"{root}\n{library}\n{contents}\n", newest)


def read_inputs(root: str) -> "tuple[int, str]":
    """The newest time of what .venv is made from, and a digest of it all.

    The time is taken before the reading: a file changed meanwhile is then newer than the
    stamp, and the next start comes here again.
    """
    paths = [os.path.join(root, name) for name in INPUTS]
    newest = max(os.stat(path).st_mtime_ns for path in paths)
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(file.read() + b"\0")
    return newest, digest.hexdigest()


def refresh(root: str, venv: str, dev: bool) -> bool:
    """Is .venv what it should be? Then its stamp says so again, if it can be written."""
    stamp = os.path.join(venv, DEV_STAMP if dev else STAMP)
    newest, contents = read_inputs(root)
    try:
        with open(stamp, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    library = library_of(venv)
    if not library or lines != [root, library, contents]:
        return False
    with contextlib.suppress(OSError):  # a read-only checkout that is ready all the same
        set_time(stamp, newest)
    return True


def library_of(venv: str) -> str:
    """A file of the standard library that .venv's Python runs with; "" if it does not run."""
    ask = "import os, sys, pip; sys.stdout.write(os.path.abspath(os.__file__))"
    command = [os.path.join(venv, "bin", "python"), "-I", "-c", ask]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return os.fsdecode(answer.stdout)


def take_lock(root: str) -> int:
    lock = os.open(os.path.join(root, ".venv.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another start is setting up .venv; waiting for it...")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def make_venv(root: str, venv: str, was_ready: bool, lock: int) -> None:
    if was_ready:
        say("The Python of .venv no longer runs; making .venv anew...")
    else:
        say("Setting up NetChat in .venv (first start only)...")
    if os.path.islink(venv):
        os.unlink(venv)
    elif os.path.exists(venv):
        shutil.rmtree(venv)
    # The real file behind names like python3: when the system moves on to another Python,
    # .venv's link then dangles, which is noticed, rather than runs a Python without NetChat.
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    run(root, [base, "-I", "-m", "venv", "--without-pip", venv], "making .venv", lock)
    # Apart from venv, which hides the reason when this fails.
    python = os.path.join(venv, "bin", "python")
    run(root, [python, "-I", "-m", "ensurepip", "--default-pip"], "installing pip", lock)


def install(root: str, venv: str, dev: bool, lock: int) -> None:
    what = ".[dev]" if dev else "."
    python = os.path.join(venv, "bin", "python")
    command = [python, "-I", "-m", "pip", "install", "-c", "constraints.txt", "--editable", what]
    run(root, command, "pip", lock)


def run(root: str, command: "list[str]", doing: str, lock: int) -> None:
    """Runs one step; its output goes to the log, and its last error into the sentence."""
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    # Settings of the person's that would install elsewhere than into .venv.
    environment["PIP_USER"] = "0"
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        environment.pop(name, None)
    # What builds NetChat is pinned as well: older pips read the first, newer ones the other.
    environment["PIP_CONSTRAINT"] = environment["PIP_BUILD_CONSTRAINT"] = "constraints.txt"
    # The child holds the lock too: should this process be killed, nobody else starts
    # writing to .venv before pip has ended.
    done = subprocess.run(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    log = keep_log(os.path.join(root, ".venv", LOG), command, output)
    if done.returncode:
        reason = last_error(output) or f"exit status {done.returncode}"
        advice = next(advice for words, advice in ADVICE if words in output)
        raise SetUpError(
            f"NetChat could not be set up because {doing} failed ({reason}):"
            f" {advice}, then start NetChat again{log}."
        )


def keep_log(path: str, command: "list[str]", output: str) -> str:
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"$ {' '.join(command)}\n{output}\n")
    except OSError:
        return ""  # the step's own error says more than this one would
    return f" (the full log is {path})"


def last_error(output: str) -> str:
    """The last line that names an error, without the frame that pip draws around some."""
    lines = [line.strip(" \t│╰─>") for line in output.splitlines()]
    errors = [line for line in lines if re.match(r"(error|[\w.]+(Error|Exception)): ", line, re.I)]
    # Some of them only say that something failed, such as "error: metadata-generation-failed".
    vague = r"error: [\w-]+$|subprocess\.CalledProcessError"
    telling = [line for line in errors if not re.match(vague, line)]
    last = (telling or errors or [line for line in lines if line] or [""])[-1]
    return re.sub(r"^(ERROR|error): ", "", last)


def write_stamp(path: str, text: str, newest: int) -> None:
    draft = f"{path}.new"
    with open(draft, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    set_time(draft, newest)
    os.replace(draft, path)


def set_time(path: str, newest: int) -> None:
    """A stamp is as old as the newest thing that .venv was made from, its Python included."""
    python = os.path.join(os.path.dirname(path), "bin", "python")
    newest = max(newest, os.stat(python).st_mtime_ns)
    os.utime(path, ns=(newest, newest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

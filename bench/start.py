"""How long a person waits for the prompt, and what an idle client takes: printed, never asserted.

    python bench/start.py [RUNS]

Each run starts `netchat chat` on a real terminal (a pty) and waits for the prompt: once with a
directory running on this machine, once without, so that the chat hosts a meeting point itself. A
bare Python that does nothing is started in the same run, because machines differ; compare ratios.
"""

import os
import pty
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMPT = b"Waiting for a command"
LIMIT_S = 20.0
IDLE_S = 3.0  # long enough for a heartbeat, so that an idle client is measured, not a fresh one
TARGET_START_S = 0.8
TARGET_MIB = 75


def main(runs: int) -> int:
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HOME": home,
            "XDG_DATA_HOME": home,
            "NETCHAT_PORT": str(free_port()),
            "TERM": "xterm",
        }
        bare = [bare_python(environment) for _ in range(runs)]
        hosting = [chat(environment) for _ in range(runs)]
        with directory(environment, home):
            joining = [chat(environment) for _ in range(runs)]
    print(f"start to prompt, median of {runs}, on {os.cpu_count()} cores")
    print(f"  bare python               {statistics.median(bare) * 1000:6.0f} ms")
    report("a directory is there", joining, bare)
    report("hosts a meeting point", hosting, bare)
    print(f"targets: {TARGET_START_S * 1000:.0f} ms, {TARGET_MIB} MiB")
    return 0


def report(what: str, figures: list[tuple[float, float]], bare: list[float]) -> None:
    seconds = statistics.median(start for start, _ in figures)
    mib = statistics.median(resident for _, resident in figures)
    ratio = seconds / statistics.median(bare)
    print(f"  {what:<24}  {seconds * 1000:6.0f} ms  {ratio:5.1f} x bare  {mib:5.1f} MiB resident")


def bare_python(environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], env=environment, check=True)
    return time.perf_counter() - begun


def chat(environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds until the prompt stands, and the MiB resident after a while of nothing."""
    begun = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        command = [str(ROOT / "netchat"), "chat", "alice"]
        os.execve(command[0], command, environment)  # noqa: S606 (our own command)
    try:
        wait_for_prompt(terminal)
        seconds = time.perf_counter() - begun
        drain(terminal, IDLE_S)
        return seconds, resident_mib(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
        drain(terminal, 0.1)
        os.waitpid(pid, 0)
        os.close(terminal)


def wait_for_prompt(terminal: int) -> None:
    seen = b""
    deadline = time.perf_counter() + LIMIT_S
    while PROMPT not in seen:
        ready, _, _ = select.select([terminal], [], [], deadline - time.perf_counter())
        if not ready:
            raise SystemExit(f"no prompt within {LIMIT_S} s; the terminal shows {seen!r}")
        seen += os.read(terminal, 65_536)


def drain(terminal: int, seconds: float) -> None:
    deadline = time.perf_counter() + seconds
    while (left := deadline - time.perf_counter()) > 0:
        ready, _, _ = select.select([terminal], [], [], left)
        if ready:
            try:
                os.read(terminal, 65_536)
            except OSError:
                return


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@contextmanager
def directory(environment: dict[str, str], home: str) -> Iterator[None]:
    command = [
        sys.executable, "-m", "netchat", "serve",
        "--host", "127.0.0.1", "--port", environment["NETCHAT_PORT"], "--data", home,
    ]  # fmt: skip
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))

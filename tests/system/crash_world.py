"""Alice, bob and a directory that are killed at labelled points, and what must hold of their files.

What is true at any moment: a message that its sender calls delivered is on the other disk. What is
true once it is quiet: every message that was accepted stands in its sender's history, exactly once
on the other disk unless its sender says otherwise, in one order on both, and deletes have arrived.
"""

import itertools
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.interop.processes import REGISTERED, REPOSITORY
from tests.system.crashing import SETTING
from tests.system.processes import Chat, Serve, rows, wait_until

PATHS = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "src")))
PEERS = {"alice": "bob", "bob": "alice"}
MODULE = "tests.system.crashing"
_BATCH = ("SEND", "SEND", "DELETE", "SEND", "SEND", "SEND", "DELETE", "SEND")
ANSWERS = (">>Message sent!", ">>Message queued: ")
QUIET_S = 30.0
"""A back-off of a few steps, a beat of the registration, and a busy machine."""


class CrashingChat(Chat):
    module = MODULE
    batches = 0
    """How many were typed."""

    @property
    def has_answered(self) -> bool:
        return self.transcript.count(">>Unknown command!\n") == self.batches


class CrashingServe(Serve):
    module = MODULE


class World:
    """One directory, and the chats that run now. Every process may have been killed before."""

    def __init__(self, path: Path, port: int) -> None:
        self._path = path
        self._port = port
        self._numbers = itertools.count(1)
        self._ended: list[Chat | Serve] = []
        self.typed: dict[str, list[str]] = {"alice": [], "bob": []}
        self.directory: CrashingServe
        self.chats: dict[str, CrashingChat] = {}

    # --- processes -------------------------------------------------------------------------------

    @staticmethod
    def _settings(crash: str | None) -> dict[str, str]:
        return {"PYTHONPATH": PATHS} | ({} if crash is None else {SETTING: crash})

    def serve(self, crash: str | None = None) -> CrashingServe:
        """Start a directory, in place of the one that was killed."""
        settings = self._settings(crash)
        self.directory = CrashingServe(self._port, self._path / "served", settings=settings)
        self.directory.wait_until_up()
        return self.directory

    def start(self, name: str, crash: str | None = None) -> CrashingChat:
        """Start a chat, which registers when it can, if it lives that long."""
        url = self.directory.url
        settings = self._settings(crash)
        chat = CrashingChat(name, self._path, "--directory", url, settings=settings)
        self.chats[name] = chat
        return chat

    def up(self, *names: str) -> None:
        """Have these chats run and be registered."""
        for name in names:
            if name not in self.chats:
                self.start(name)
        for name in names:
            self.chats[name].expect(REGISTERED)

    def kill(self, *names: str) -> None:
        """Kill chats, if they are not dead yet."""
        for name in names:
            chat = self.chats.pop(name)
            chat.kill()
            self._ended.append(chat)

    def kill_directory(self) -> None:
        self.directory.kill()
        self._ended.append(self.directory)

    def stop(self) -> None:
        """End everything; nothing may have died of anything but a signal, or raised an alarm."""
        programs = [*self._ended, *self.chats.values(), self.directory]
        for program in programs:
            program.stop()
        for program in programs:
            print(program.story)  # seen only when the test has failed
        for program in programs:
            program.assert_no_traceback()
            if isinstance(program, Chat):
                for alarm in ("WARNING", "never came here"):
                    if alarm in program.notes:
                        program.fail(f"there is {alarm!r} on stderr")

    # --- work ------------------------------------------------------------------------------------

    def batch(self, name: str) -> None:
        """Type messages for the other one, with deletes among them."""
        commands = []
        for verb in _BATCH:
            if verb == "SEND":
                text = f"{name} {next(self._numbers)}"
                self.typed[name].append(text)
                commands.append(f'SEND {PEERS[name]} "{text}"')
            else:
                commands.append(f"DELETE {PEERS[name]}")
        chat = self.chats[name]
        chat.batches += 1
        chat.type(*commands, "THAT-IS-ALL")

    def wait_for_death(self, doomed: CrashingChat | CrashingServe, *, sure: bool) -> bool:
        """Wait until a process has died, or if that is not ``sure``, until all is quiet.

        Returns whether it died.
        """
        wait_until(
            lambda: not doomed.is_running or (not sure and self.is_quiet()),
            "death" if sure else "death or quiet",
            QUIET_S,
        )
        if doomed.is_running:
            return False
        assert doomed.status == -signal.SIGKILL, "it died of something else"
        return True

    def wait_until_quiet(self) -> None:
        try:
            wait_until(self.is_quiet, "quiet", QUIET_S)
        finally:
            print(self.unrest() or "all is quiet")  # seen only when the test has failed

    def is_quiet(self) -> bool:
        """Whether all commands are answered, and nothing waits anywhere but in a mailbox."""
        return not self.unrest()

    def unrest(self) -> str:
        """What is not quiet yet."""
        for name, chat in self.chats.items():
            if not self.history(name).exists() or not chat.has_answered:
                return f"{name} has not answered"
            is_alone = PEERS[name] not in self.chats
            waiting = "outbox WHERE state <> 'stored'" if is_alone else "outbox"
            for what in (waiting, "owed"):
                if count := self.count(name, what):
                    return f"{name} has {count} in {what}"
            if is_alone and not self.has_fetched(name):
                return f"{name} has not fetched all"
        return ""

    def has_fetched(self, name: str) -> bool:
        """Whether everything that lies in the mailbox of ``name`` is in its history."""
        peer = PEERS[name]
        if not self.history(peer).exists():
            return True
        stored = "SELECT item_id FROM outbox WHERE kind = 'text' AND state = 'stored'"
        return {one for (one,) in rows(self.history(peer), stored)} <= set(self._received(name))

    def history(self, name: str) -> Path:
        return self._path / "data" / "netchat" / "profiles" / name / "history.db"

    def count(self, name: str, what: str) -> int:
        path = self.history(name)
        return int(rows(path, f"SELECT count(*) FROM {what}")[0][0])  # noqa: S608 (ours)

    def count_own(self, name: str) -> int:
        """How many messages ``name`` has written so far, as its file says."""
        return self.count(name, "message WHERE outgoing") if self.history(name).exists() else 0

    # --- what must hold --------------------------------------------------------------------------

    def check_delivered(self) -> None:
        """Whoever calls a message delivered tells the truth, at this very moment."""
        for name, peer in PEERS.items():
            if not self.history(name).exists():
                continue
            delivered = rows(
                self.history(name),
                "SELECT message_id FROM message WHERE outgoing AND state IN ('delivered', 'read')",
            )
            if delivered:
                there = set(self._received(peer))
                assert {one for (one,) in delivered} <= there, f"delivered, and not at {peer}"

    def _received(self, name: str) -> dict[bytes, str | None]:
        found = rows(self.history(name), "SELECT message_id, text FROM message WHERE NOT outgoing")
        assert len(dict(found)) == len(found), f"doubled at {name}"
        return dict(found)

    def check_accepted(self, name: str, chat: CrashingChat, before: int) -> None:
        """What the prompt has answered stands in the history, behind what was there ``before``."""
        answered = sum(line.startswith(ANSWERS) for line in chat.transcript.split("\n")[:-1])
        count = self.count_own(name)
        assert count - before >= answered, f"{name} was told of a message that is not there"
        del self.typed[name][count:]  # the rest was never accepted

    def check_all(self) -> None:
        """What must hold once it is quiet."""
        for name, peer in PEERS.items():
            own = rows(
                self.history(name),
                "SELECT message_id, text, state, reason FROM message WHERE outgoing"
                " ORDER BY position",
            )
            received = self._received(peer)
            _assert_prefix([text for _, text, _, _ in own], self.typed[name])
            assert len(own) == len(self.typed[name]), f"lost by {name}"
            for message_id, text, state, reason in own:
                _check_end(text, state, reason, received, message_id)
            assert set(received) <= {one for one, _, _, _ in own}, f"{peer} has what nobody wrote"
            shown = [text for text in received.values() if text is not None]
            assert len(set(shown)) == len(shown), f"doubled at {peer}"
        self._check_order()
        pending = "change WHERE sender = x'' AND result IS NULL AND target IN"
        pending += " (SELECT message_id FROM message WHERE state = 'delivered')"
        assert [self.count(name, pending) for name in PEERS] == [0, 0]

    def _check_order(self) -> None:
        """What both have, both show in one order; each file is read once, as of one moment."""
        query = "SELECT message_id FROM message ORDER BY hlc, message_id"
        alices, bobs = ([one for (one,) in rows(self.history(name), query)] for name in PEERS)
        common = set(alices) & set(bobs)
        assert [one for one in alices if one in common] == [one for one in bobs if one in common]

    def check_shown(self) -> None:
        """No message is announced twice by one process."""
        for name, chat in self.chats.items():
            announced = chat.transcript.count(f">>You have a message from {PEERS[name]}\n")
            assert announced <= len(self._received(name))


def _assert_prefix(found: Sequence[str | None], typed: Sequence[str]) -> None:
    """The texts are the first that were typed, or a tombstone in the place of one."""
    assert len(found) <= len(typed)
    for text, wanted in zip(found, typed, strict=False):
        assert text in (wanted, None)


def _check_end(
    text: str | None,
    state: str,
    reason: str | None,
    received: dict[bytes, str | None],
    message_id: bytes,
) -> None:
    """What a sender says of a message is so; a message that it deleted has no text there."""
    match state, reason:
        case ("delivered", None):
            assert message_id in received, "delivered, and not there"
            assert received[message_id] == text, "another text, or a delete that did not arrive"
        case ("cancelled", "deleted"):
            assert text is None
            assert message_id not in received, "cancelled, and there"
        case ("failed", "withdrawn"):  # it may or may not have arrived
            assert text is None
            assert received.get(message_id) is None, "deleted, and there"
        case _:
            pytest.fail(f"{state} ({reason}) when all is quiet")

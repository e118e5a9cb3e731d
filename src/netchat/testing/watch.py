"""What no single write may do, checked by the database itself at each of them.

Temporary triggers look at every row that is written, so a wrong state is found in the step that
made it, even when a later one covers it up.
"""

import sqlite3
from typing import Final

from netchat.model import MessageState

_MOVES: Final = {
    MessageState.QUEUED: {
        MessageState.STORED,
        MessageState.DELIVERED,
        MessageState.SENT,
        MessageState.FAILED,
        MessageState.EXPIRED,
        MessageState.CANCELLED,
    },
    MessageState.STORED: {
        MessageState.STORED,
        MessageState.QUEUED,
        MessageState.DELIVERED,
        MessageState.FAILED,
        MessageState.EXPIRED,
    },
    MessageState.DELIVERED: {MessageState.READ},
}
"""How a message of ours may move; from a state that is not here, nowhere. STORED again: the
mailbox has lost it, and has it anew; QUEUED again: it was sealed to a key that is gone."""

_TRIGGERS: Final = """
CREATE TEMP TRIGGER watch_state AFTER UPDATE OF state ON message BEGIN
    SELECT watch_move(OLD.state, NEW.state, NEW.message_id);
END;
CREATE TEMP TRIGGER watch_revived AFTER UPDATE ON message
WHEN OLD.deleted_ms IS NOT NULL AND (NEW.deleted_ms IS NULL OR NEW.text IS NOT OLD.text) BEGIN
    SELECT watch_wrong('revived', NEW.message_id);
END;
CREATE TEMP TRIGGER watch_key AFTER INSERT ON message
WHEN NOT NEW.outgoing AND NEW.sender <> x'' AND NEW.peer <> watch_owner() AND NOT EXISTS (
    SELECT 1 FROM pin WHERE name_key = NEW.peer AND holder = NEW.sender AND pending IS NULL
) BEGIN
    SELECT watch_wrong('strange key', NEW.message_id);
END;
CREATE TEMP TRIGGER watch_plain AFTER INSERT ON message
WHEN NOT NEW.outgoing AND NEW.sender = x'' AND EXISTS (
    SELECT 1 FROM pin WHERE name_key = NEW.peer AND (holder IS NOT NULL OR pending IS NOT NULL)
) BEGIN
    SELECT watch_wrong('plain text under a key', NEW.message_id);
END;
CREATE TEMP TRIGGER watch_order AFTER INSERT ON message
WHEN NEW.outgoing AND NEW.hlc <= (
    SELECT max(hlc) FROM message WHERE peer = NEW.peer AND position <> NEW.position
) BEGIN
    SELECT watch_wrong('not newest', NEW.message_id);
END;
CREATE TEMP TRIGGER watch_mark AFTER UPDATE ON received WHEN NEW.upto < OLD.upto BEGIN
    SELECT watch_wrong('mark went back', zeroblob(16));
END;
"""


class Watch:
    """Collects what was wrong with the writes of one database; ``owner`` is whose it is."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.owner = ""
        self.wrong: list[str] = []
        connection.create_function("watch_owner", 0, lambda: self.owner)
        connection.create_function("watch_move", 3, self._move)
        connection.create_function("watch_wrong", 2, self._wrong)
        connection.executescript(_TRIGGERS)

    def _move(self, before: str, after: str, message_id: bytes) -> None:
        if MessageState(after) not in _MOVES.get(MessageState(before), ()):
            self._wrong(f"{before} became {after}", message_id)

    def _wrong(self, what: str, message_id: bytes) -> None:
        self.wrong.append(f"{what}: {int.from_bytes(message_id)}")

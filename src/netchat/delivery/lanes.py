"""The life of what we send to peers with a key: over a link, or sealed into a mailbox.

Such a peer takes an item twice without harm, and says what it has committed. So everything that is
not confirmed goes again over each new link, in its order, and a sealed copy is only a second way.
A lane holds numbers, never bodies; all the rest is on disk, and a lane that is lost is made again
from there.

    IDLE -> LOCATING -> DIALLING -> (a link)      nothing more to decide until it closes
                 |          |
                 +--> mail  +--> mail, and WAITING until a timer
"""

from dataclasses import dataclass
from enum import Enum, auto

from netchat.delivery import ranges
from netchat.delivery.checked import (
    Admitted,
    Carried,
    ConfirmChecked,
    Restored,
    Routed,
)
from netchat.delivery.effects import (
    AskDeposit,
    AskHead,
    AskTransmit,
    CloseLink,
    DropOwed,
    Effect,
    ExpireItems,
    ForgetDeposits,
    Locate,
    MarkLeft,
    OpenLink,
    SetTimer,
    SettleItems,
    StoreDeposit,
)
from netchat.delivery.inputs import (
    Deposited,
    DepositFailed,
    LinkClosed,
    LinkFailed,
    ReceiptArrived,
    Route,
    TimerFired,
)
from netchat.delivery.notices import PeerPostponed
from netchat.limits import (
    MAIL_TTL_MS,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    RETRY_STORED_MS_MAX,
    WINDOW_BYTES_MAX,
    WINDOW_ITEMS_MAX,
)
from netchat.model import Name, Ranges


class Phase(Enum):
    """What a lane without a link is doing to get one. Never on disk."""

    IDLE = auto()
    LOCATING = auto()
    DIALLING = auto()
    WAITING = auto()


class Mail(Enum):
    """Whether the mailbox helps: not known, usable, an envelope is on its way, or no use now."""

    UNKNOWN = auto()
    USABLE = auto()
    BUSY = auto()
    USELESS = auto()


@dataclass(slots=True)
class _Lane:
    """``sent`` is the highest number given to ``link``; ``open`` are those without a receipt, with
    ``open_bytes`` bytes of text at most. ``stored`` is how high the mailbox has everything."""

    phase: Phase = Phase.IDLE
    mail: Mail = Mail.UNKNOWN
    link: int | None = None
    sent: int = 0
    open: Ranges = ()
    open_bytes: int = 0
    last_seq: int = 0
    stored: int = 0
    attempts: int = 0
    route: Route = Route.KEYED


class Lanes:
    """The lanes of all keyed peers. Methods take the time in ms and return effects."""

    def __init__(self) -> None:
        self._lanes: dict[Name, _Lane] = {}
        self._links: dict[int, Name] = {}

    def has_link(self, peer: Name) -> bool:
        """Tell whether what is enqueued for this peer goes out at once."""
        lane = self._lanes.get(peer)
        return lane is not None and lane.link is not None

    # --- work ------------------------------------------------------------------------------------

    def enqueued(self, peer: Name, last_seq: int) -> list[Effect]:
        """Items up to ``last_seq`` wait now; or something is owed when that is 0."""
        lane = self._lanes.setdefault(peer, _Lane())
        lane.last_seq = max(lane.last_seq, last_seq)
        if lane.link is not None:
            return self._transmit(peer, lane)
        if lane.phase in (Phase.LOCATING, Phase.DIALLING):
            return []
        if lane.mail is Mail.BUSY:
            return []  # what came meanwhile goes with the next envelope
        lane.attempts = 0
        return self._locate(peer, lane)

    def stopped(self, peer: Name, last_seq: int = 0) -> list[Effect]:
        """Everything waits until a person decides about the key (``decided``). A link goes, too:
        it is with the key that may turn out to be the wrong one."""
        if not last_seq and peer not in self._lanes:
            return []
        lane = self._lanes.setdefault(peer, _Lane())
        lane.last_seq = max(lane.last_seq, last_seq)
        self._stop(lane)
        effects: list[Effect] = []
        if lane.link is not None:
            del self._links[lane.link]
            effects.append(CloseLink(lane.link, "key-changed"))
            lane.link = None
        if lane.phase is Phase.IDLE:
            lane.phase = Phase.WAITING
        return effects

    @staticmethod
    def _stop(lane: _Lane) -> None:
        lane.route = Route.STOPPED
        if lane.mail is not Mail.BUSY:
            lane.mail = Mail.USELESS

    def owes(self, peer: Name) -> list[Effect]:
        """Something that came by mail is to be confirmed: over the link, or as work of its own."""
        lane = self._lanes.setdefault(peer, _Lane())
        if lane.link is not None:
            return self._transmit(peer, lane, owed=True)
        return self.enqueued(peer, 0)

    def _locate(self, peer: Name, lane: _Lane) -> list[Effect]:
        lane.phase = Phase.LOCATING
        return [ExpireItems(peer), Locate(peer)]

    def _transmit(self, peer: Name, lane: _Lane, *, owed: bool = False) -> list[Effect]:
        """Give the link what its window has room for; what is committed later asks again."""
        assert lane.link is not None
        room, room_bytes = self._room(lane) if lane.sent < lane.last_seq else (0, 0)
        if not (room or owed):
            return []
        return [AskTransmit(lane.link, peer, lane.sent, room, room_bytes, owed=owed)]

    @staticmethod
    def _room(lane: _Lane) -> tuple[int, int]:
        """Return how many items, and bytes, the window takes now: none while it is rather full.

        It opens at half, so that a receipt of one item does not cost a read of one item.
        """
        room = WINDOW_ITEMS_MAX - ranges.count(lane.open)
        room_bytes = WINDOW_BYTES_MAX - lane.open_bytes
        is_wide = not lane.open or (room >= WINDOW_ITEMS_MAX // 2 and room_bytes > 0)
        return (room, room_bytes) if is_wide else (0, 0)

    def carried(self, answer: Carried, *, by_mail: bool) -> list[Effect]:
        """The store says what went along."""
        lane = self._lanes[answer.peer]
        if by_mail:
            if answer.ranges or answer.owed:
                lane.mail = Mail.BUSY
                return [MarkLeft(answer.peer, answer.ranges[-1][1])] if answer.ranges else []
            if answer.is_empty and lane.link is None and lane.phase is Phase.WAITING:
                del self._lanes[answer.peer]  # else it would be looked up and dialled for ever
                return []
            lane.stored = lane.last_seq  # all of it is there
            # Who waits for a delete hears nothing more of it until the peer answers.
            return [PeerPostponed(answer.peer, "stored")] if lane.phase is Phase.WAITING else []
        if answer.ranges:
            lane.sent = answer.ranges[-1][1]
            lane.open = ranges.union(lane.open, answer.ranges)
            lane.open_bytes += answer.size
        elif self._room(lane)[0]:  # items were asked for, so there are none behind
            lane.sent = max(lane.sent, lane.last_seq)
        return []

    # --- the directory ---------------------------------------------------------------------------

    def routed(self, now_ms: int, event: Routed) -> list[Effect]:
        """Dial where the peer is said to be, and use its mailbox at once when it is away."""
        lane = self._lanes.get(event.peer)
        if lane is None or lane.phase is not Phase.LOCATING:
            return []
        if not event.has_work and lane.mail is not Mail.BUSY:
            del self._lanes[event.peer]  # it expired, or was confirmed by mail
            return []
        if event.route not in (Route.KEYED, Route.STOPPED):  # a person forgot who that is
            del self._lanes[event.peer]
            return [AskHead(event.peer)]
        if event.route is Route.STOPPED:
            self._stop(lane)
            return self._wait(now_ms, event.peer, lane, "key-changed", event.jitter)
        lane.route = event.route
        if lane.mail is not Mail.BUSY:
            lane.mail = Mail.USABLE if event.can_mail else Mail.USELESS
        if event.addresses:
            assert event.key is not None
            lane.phase = Phase.DIALLING
            is_away = not event.present and lane.mail is Mail.USABLE
            asked: list[Effect] = [AskDeposit(event.peer)] if is_away else []
            return [*asked, OpenLink(event.peer, event.key, event.addresses)]
        reason = "not-registered" if event.answered else "directory-unreachable"
        return self._wait(now_ms, event.peer, lane, reason, event.jitter)

    def _wait(
        self, now_ms: int, peer: Name, lane: _Lane, reason: str, jitter: float
    ) -> list[Effect]:
        """Try again, later each time (AWS's equal jitter); the mailbox is used meanwhile.

        Nobody is told to stop waiting while an envelope may still be taken.
        """
        effects: list[Effect] = [self._retry(now_ms, peer, lane, jitter)]
        lane.attempts += 1
        lane.phase = Phase.WAITING
        if lane.mail is Mail.USABLE:
            return [*effects, AskDeposit(peer)]
        if lane.mail is Mail.USELESS:
            effects.append(PeerPostponed(peer, reason))
        return effects

    @staticmethod
    def _retry(now_ms: int, peer: Name, lane: _Lane, jitter: float) -> SetTimer:
        longest = RETRY_MS_MAX if lane.stored < lane.last_seq else RETRY_STORED_MS_MAX
        delay_ms = min(longest, RETRY_MS_MIN << min(lane.attempts, 16))
        return SetTimer(peer, now_ms + int(delay_ms * (1 + jitter) / 2))

    def timer_fired(self, event: TimerFired) -> list[Effect]:
        lane = self._lanes.get(event.peer)
        if lane is None or lane.link is not None or lane.phase is not Phase.WAITING:
            return []
        return self._locate(event.peer, lane)

    # --- links -----------------------------------------------------------------------------------

    def admitted(self, event: Admitted) -> list[Effect]:
        """A link is open, whoever dialled it: everything unconfirmed goes over it."""
        lane = self._lanes.setdefault(event.peer, _Lane())
        effects: list[Effect] = []
        if lane.link is not None:
            del self._links[lane.link]
            effects.append(CloseLink(lane.link, "replaced"))
        self._links[event.link] = event.peer
        lane.link, lane.phase, lane.route = event.link, Phase.IDLE, Route.KEYED
        lane.sent, lane.open, lane.open_bytes = 0, (), 0
        lane.last_seq = max(lane.last_seq, event.last_seq)
        if event.has_work:
            effects += [MarkLeft(event.peer, lane.last_seq)]
            effects += self._transmit(event.peer, lane, owed=True)
        else:
            lane.sent = lane.last_seq
        return effects

    def link_failed(self, now_ms: int, event: LinkFailed) -> list[Effect]:
        lane = self._lanes.get(event.peer)
        if lane is None or lane.phase is not Phase.DIALLING:
            return []
        return self._wait(now_ms, event.peer, lane, event.reason, event.jitter)

    def link_closed(self, now_ms: int, event: LinkClosed) -> list[Effect]:
        """Whatever it left unconfirmed goes another way; without such a thing there is no hurry."""
        peer = self._links.pop(event.link, None)
        if peer is None:
            return []
        lane = self._lanes[peer]
        lane.link = None
        lane.phase = Phase.IDLE
        has_work = lane.sent < lane.last_seq or bool(lane.open)
        lane.sent, lane.open, lane.open_bytes = 0, (), 0
        if not has_work:
            del self._lanes[peer]
            return []
        if lane.attempts == 0 and lane.mail is not Mail.BUSY:
            lane.mail = Mail.UNKNOWN  # what a directory said before a link that worked may be old
        return self._wait(now_ms, peer, lane, event.reason, event.jitter)

    def receipt(self, event: ReceiptArrived) -> list[Effect]:
        """Only what went over this very link is taken for confirmed.

        A peer may name any number. One that this outbox has given to another message since, as
        after going back to an older disk, would be called delivered without being it.
        """
        peer = self._links.get(event.link)
        if peer is None:
            return []
        lane = self._lanes[peer]
        confirmed = ranges.common(lane.open, event.ranges)
        if not confirmed:
            return []
        lane.attempts = 0  # only now: somebody who closes each link at once is not dialled at once
        settle = SettleItems(peer, confirmed, event.results)
        return [settle, *self._move_window(peer, lane, confirmed)]

    def _move_window(self, peer: Name, lane: _Lane, confirmed: Ranges) -> list[Effect]:
        lane.open = ranges.without(lane.open, confirmed)
        if not lane.open:
            lane.open_bytes = 0
        return self._transmit(peer, lane)

    # --- the mailbox -----------------------------------------------------------------------------

    def confirmed(self, event: ConfirmChecked) -> list[Effect]:
        """The peer has these from its mailbox, by id, so whatever numbers they have is sure."""
        if not event.ranges:
            return []
        effects: list[Effect] = [SettleItems(event.peer, event.ranges, event.results)]
        lane = self._lanes.get(event.peer)
        if lane is not None and lane.link is not None:
            effects += self._move_window(event.peer, lane, event.ranges)
        return effects

    def deposited(self, now_ms: int, event: Deposited) -> list[Effect]:
        """Say so on disk, and put in what came meanwhile.

        A directory whose clock is wrong must not have the same items put in again at once, or
        never again.
        """
        later_ms = now_ms + RETRY_STORED_MS_MAX
        effects: list[Effect] = []
        if event.ranges:
            until_ms = min(max(event.until_ms, later_ms), now_ms + MAIL_TTL_MS)
            effects.append(StoreDeposit(event.peer, event.ranges, until_ms))
        if event.owed:
            effects.append(DropOwed(event.peer, event.owed))
        lane = self._lanes.get(event.peer)
        if lane is None:
            return effects
        if event.ranges:
            lane.stored = max(lane.stored, event.ranges[-1][1])
        # When another key came meanwhile, nothing more is sealed to the old one.
        lane.mail = Mail.USABLE if lane.route is Route.KEYED else Mail.USELESS
        if lane.link is None and lane.mail is Mail.USABLE:
            effects.append(AskDeposit(event.peer))
        if lane.phase is Phase.WAITING:
            effects.append(SetTimer(event.peer, later_ms))
        return effects

    def deposit_failed(self, now_ms: int, event: DepositFailed) -> list[Effect]:
        """The timer of the lane tries again; until then nobody need wait.

        It is set anew, because an envelope before this one may have made it a late one.
        """
        lane = self._lanes.get(event.peer)
        if lane is None or lane.mail is not Mail.BUSY:
            return []
        lane.mail = Mail.USELESS
        if lane.phase is Phase.WAITING:
            again = self._retry(now_ms, event.peer, lane, event.jitter)
            return [again, PeerPostponed(event.peer, event.reason)]
        return []

    # --- the store -------------------------------------------------------------------------------

    def restored(self, now_ms: int, event: Restored) -> list[Effect]:
        """Take up a lane that the store remembers; its links were closed by whoever restored."""
        lane = self._lanes[event.peer] = _Lane(phase=Phase.WAITING, route=event.route)
        lane.last_seq = 0 if event.entry is None else event.entry.seq
        return [SetTimer(event.peer, now_ms if event.restarted else now_ms + RETRY_MS_MIN)]

    def moved(self, peer: Name) -> list[Effect]:
        """The peer has another key: what lies sealed to the old one helps nobody, and goes anew."""
        if (lane := self._lanes.get(peer)) is not None:
            lane.stored = 0
        return [ForgetDeposits(peer), *self.decided(peer)]

    def decided(self, peer: Name) -> list[Effect]:
        """A person decided about the key: try at once."""
        lane = self._lanes.get(peer)
        if lane is None or lane.link is not None or lane.phase is not Phase.WAITING:
            return []
        lane.attempts = 0
        return self._locate(peer, lane)

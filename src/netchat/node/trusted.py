"""What this profile holds of names and keys: the rules of ``identity.trust`` over the pins on disk.

It answers how a name may be spoken to, and whether whoever comes under a name may come. What it
learns it puts into the pins, inside the transaction of the step; ``notices`` collects what a person
has to be told. Pins are kept in memory, too; ``forget_all`` when a transaction was rolled back.
"""

from dataclasses import dataclass, replace
from enum import Enum

from netchat.delivery.inputs import Decision, Found, LinkOpened, MailArrived, Route
from netchat.delivery.notices import KeyMoved, KeyStopped, Notice, RecordRefused
from netchat.directory.records import open_record
from netchat.errors import NetChatError, RemoteError, StoreUnavailable
from netchat.identity import trust
from netchat.identity.trust import Judgement, Verdict, Way
from netchat.limits import PINS_CACHED_MAX, PINS_MAX
from netchat.model import Address, Name, PeerId, Pin, SignedRecord, TrustState
from netchat.store.peers import Peers, PinRow

_ROUTES = {
    Way.KEYED: Route.KEYED,
    Way.CLASSIC: Route.CLASSIC,
    Way.ASK_CLASSIC: Route.CLASSIC_REFUSED,
    Way.STOPPED: Route.STOPPED,
}


class Entrance(Enum):
    """Whether somebody may come under a name: yes; not before a person decides; no."""

    OPEN = "open"
    HELD = "held"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Admission:
    """``code`` says to the other end why it may not come."""

    entrance: Entrance
    code: str = ""


class Trusted:
    """The names that this profile knows. ``allow_classic``: plain text to peers without a key."""

    def __init__(self, peers: Peers, name: Name, key: PeerId, *, allow_classic: bool) -> None:
        self._peers = peers
        self._name = name
        self._key = key
        self._allow_classic = allow_classic
        self._pins: dict[Name, Pin] = {}
        self._told: set[tuple[Name, str]] = set()
        self._given: dict[Name, tuple[PeerId, int]] = {}
        """The highest number that a directory gave of each pinned key, since this start."""
        self._notices: list[Notice] = []

    def take_notices(self) -> list[Notice]:
        """Return what a person has to be told since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def forget_all(self) -> None:
        """Nothing in memory is sure any more: read it again."""
        self._pins.clear()
        self._notices.clear()
        self._told.clear()  # better twice than never

    # --- pins ------------------------------------------------------------------------------------

    def pin(self, name: Name) -> Pin:
        if (known := self._pins.get(name)) is not None:
            return known
        row = self._peers.pin(name)
        if row is None:
            return Pin(name=name)  # strangers may name any number of these
        return self._cached(_opened(row))

    def _cached(self, pin: Pin) -> Pin:
        if len(self._pins) >= PINS_CACHED_MAX:
            self._pins.clear()
        self._pins[pin.name] = pin
        return pin

    def pins(self) -> list[Pin]:
        """Return everybody of whom something is held."""
        return [self.pin(row.name) for row in self._peers.pins()]

    def _put(self, pin: Pin) -> None:
        self._peers.put_pin(
            PinRow(
                pin.name,
                pin.state,
                pin.key,
                None if pin.record is None else pin.record.envelope,
                None if pin.pending is None else pin.pending.envelope,
                pin.classic_allowed,
                pin.refused,
            )
        )
        self._cached(pin)

    def _see(self, before: Pin, signed: SignedRecord, *, is_hello: bool = False) -> Judgement:
        """Judge a record of a name, remember what it says, and tell what is strange about it.

        In a HELLO an older record is not strange: its key is proven by TLS, and it may have been
        renewed while the link was opened. Nor is one that a directory gives, as long as it never
        gave a newer one: who comes back may say HELLO before it has registered.
        """
        judgement = trust.record_seen(before, signed)
        key, seq = signed.record.key, signed.record.seq
        given_key, given_seq = self._given.get(before.name, (key, 0))
        given_seq = given_seq if given_key == key else 0
        if not is_hello and judgement.pin.key == key:
            self._given[before.name] = (key, max(given_seq, seq))
        if judgement.is_news:
            self._put(judgement.pin)
        match judgement.verdict:
            case Verdict.STOP if judgement.is_news and before.key is not None:
                was_verified = before.state is TrustState.VERIFIED
                self._notices.append(
                    KeyStopped(before.name, was_verified, before.key, signed.record.key)
                )
            case Verdict.STALE if not is_hello and seq < given_seq:
                self._tell_once(before.name, "rollback")
            case Verdict.FORKED:
                self._tell_once(before.name, "equivocation")
            case Verdict.GO if before.key not in (None, judgement.pin.key):
                self._notices.append(KeyMoved(before.name))
            case _:
                pass
        return judgement

    def _tell_once(self, name: Name, reason: str) -> None:
        if (name, reason) not in self._told:
            self._told.add((name, reason))
            self._notices.append(RecordRefused(name, reason))

    def is_own(self, name: Name) -> bool:
        """Tell whether this is the name of this node, which its own key holds."""
        return name == self._name

    # --- the way out -----------------------------------------------------------------------------

    def route(self, name: Name, found: Found | None) -> Route:
        """Return how ``name`` may be spoken to, now that the directory said ``found``."""
        if name == self._name:
            return Route.SELF
        pin = self.pin(name)
        address: Address | None = None
        if found is not None and found.record is not None:
            pin = self._see(pin, found.record).pin
        elif found is not None and found.address is not None:
            address = found.address
            seen = trust.classic_seen(pin)
            if seen != pin:
                self._put(seen)
            pin = seen
        way = trust.way(
            pin,
            classic_entry=address is not None or pin.state is TrustState.CLASSIC,
            allow_classic=self._allow_classic,
        )
        if way is not Way.UNKNOWN:
            return _ROUTES[way]
        if found is None or self._peers.knows(name):
            return Route.UNKNOWN
        return Route.NOBODY

    def standing(self, name: Name) -> Route:
        """Return how ``name`` may be spoken to by what is known already."""
        return self.route(name, None)

    # --- the way in ------------------------------------------------------------------------------

    def admit(self, event: LinkOpened) -> Admission:
        """Say whether the holder of a key, which TLS has proven, may speak under its name."""
        record = event.record.record
        if record.key == self._key:
            return Admission(Entrance.CLOSED, "own-key")
        if record.name == self._name:
            return Admission(Entrance.CLOSED, "name-is-mine")
        pin = self.pin(record.name)
        backed = event.elsewhere is not None and event.elsewhere.record.key == record.key
        is_new = pin.key is None and event.elsewhere is None
        if not backed and not is_new and pin.key != record.key:
            # Anybody can write this name into a record of its own. That alone changes nothing.
            return Admission(Entrance.CLOSED, "name-is-held")
        if pin.key is None and self._peers.pin_count() >= PINS_MAX:
            return Admission(Entrance.CLOSED, "too-many-names")
        if backed and event.elsewhere is not None:
            pin = self._see(pin, event.elsewhere).pin
        judgement = self._see(pin, event.record, is_hello=True)
        if judgement.verdict is Verdict.STOP or judgement.pin.pending is not None:
            return Admission(Entrance.HELD, "key-not-accepted")
        if judgement.verdict is Verdict.FORKED or judgement.pin.key != record.key:
            return Admission(Entrance.CLOSED, "record-refused")
        return Admission(Entrance.OPEN)

    def receive(self, event: MailArrived) -> Admission:
        """Say whether mail of ``event.sender`` may stand among the messages of its name."""
        if event.sender == self._key or event.name == self._name:
            return Admission(Entrance.CLOSED)
        pin = self.pin(event.name)
        backed = event.elsewhere is not None and event.elsewhere.record.key == event.sender
        if pin.key != event.sender:
            is_one_too_many = pin.key is None and self._peers.pin_count() >= PINS_MAX
            if not backed or is_one_too_many:
                return Admission(Entrance.CLOSED)
            assert event.elsewhere is not None
            pin = self._see(pin, event.elsewhere).pin
        if pin.pending is not None:
            return Admission(Entrance.HELD)
        if pin.key != event.sender:
            return Admission(Entrance.CLOSED)
        return Admission(Entrance.OPEN)

    # --- a person decides ------------------------------------------------------------------------

    def decide(self, name: Name, decision: Decision, key: PeerId | None) -> str | None:
        """Carry out a decision; return the code of why it is not possible."""
        pin = self.pin(name)
        try:
            match decision:
                case Decision.VERIFIED:
                    assert key is not None
                    pin = trust.verified(pin, key)
                case Decision.ACCEPT:
                    pin = trust.accepted(pin)
                case Decision.REFUSE:
                    pin = trust.refused(pin)
                case Decision.ALLOW_CLASSIC:
                    pin = trust.classic_allowed(pin)
                case Decision.FORGET:
                    pin = trust.forgotten(pin)
        except NetChatError as error:
            return error.code
        self._put(pin)
        return None


def _opened(row: PinRow) -> Pin:
    """Read a pin; its records were checked when they came, and are checked again here.

    Raises StoreUnavailable: the file was changed by somebody else.
    """
    pin = Pin(
        name=row.name,
        state=row.state,
        key=row.holder,
        refused=row.refused,
        classic_allowed=row.classic_allowed,
    )
    try:
        if row.record is not None:
            pin = replace(pin, record=open_record(row.record))
        if row.pending is not None:
            pin = replace(pin, pending=open_record(row.pending))
    except RemoteError as error:
        raise StoreUnavailable(f"what is held of {row.name} is damaged") from error
    return pin

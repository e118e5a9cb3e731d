"""Names, keys and people's decisions, as the pump carries them out over a real file."""

from dataclasses import replace

import pytest
from tests.node.fixtures import (
    BOB,
    BOBS,
    CAROL,
    CAROLS,
    CLASSIC,
    HERE,
    LOST,
    ME,
    NOBODY,
    NOW,
    OTHER,
    OWN,
    Rig,
    an_id,
    arrived,
    classic_text,
    keyed,
    located,
    mail,
    opened,
    prekey_of,
    record_of,
    send,
    text,
)

from netchat.delivery.effects import (
    Abandon,
    Acknowledge,
    CloseLink,
    Deposit,
    Dial,
    Effect,
    HandOver,
    Locate,
    MailSettled,
    OpenLink,
    SetTimer,
    Settle,
    Transmit,
)
from netchat.delivery.inputs import (
    Connected,
    Decision,
    DeleteArrived,
    Deposited,
    DialFailed,
    Found,
    Handed,
    Input,
    LinkClosed,
    LinkFailed,
    PersonDecided,
    ReceiptArrived,
    TextArrived,
    TimerFired,
)
from netchat.delivery.notices import (
    DecisionDone,
    KeyMoved,
    KeyStopped,
    MailHeld,
    MessagesArrived,
    MessagesProgressed,
    PeerPostponed,
    RecordRefused,
    SendRefused,
)
from netchat.limits import HELD_MAX, MAIL_TTL_MS
from netchat.model import (
    ClaimedName,
    DisplayText,
    MessageState,
    Name,
    PeerId,
    SignedRecord,
    TrustState,
)
from netchat.node import pump as pump_module

OUTSIDE = (Transmit, Deposit, Dial, HandOver, OpenLink)
"""What would let something out."""
CHANGED = record_of(OTHER, prekey=prekey_of("mallory"))
"""Another key under the name of bob, as a directory may hold it."""
STOPPED = KeyStopped(BOB, was_verified=False, old=BOBS.peer_id, new=OTHER.peer_id)


def decided(decision: Decision, key: PeerId | None = None, peer: Name = BOB) -> PersonDecided:
    return PersonDecided(1, peer, decision, 0.0, key)


def done(refused: str | None = None, peer: Name = BOB) -> DecisionDone:
    return DecisionDone(1, peer, refused)


def outside(effects: object) -> list[Effect]:
    assert isinstance(effects, list)
    return [effect for effect in effects if isinstance(effect, OUTSIDE)]


def changed(rig: Rig) -> None:
    """Bob is pinned, and then the directory says another key."""
    rig.effects(send(1, found=keyed()), located(keyed()))
    rig.effects(send(2, found=Found(CHANGED, None)))


def held(rig: Rig, *numbers: int) -> None:
    """The key has changed, and each number is a sealed text of the new key."""
    changed(rig)
    for number in numbers:
        letter = mail(number, text(number), sender=OTHER, elsewhere=CHANGED)
        assert MailHeld(BOB, 1) in rig.effects(letter)


# --- the first key -------------------------------------------------------------------------------


def test_the_first_record_pins_its_key(rig: Rig) -> None:
    """Trust on first use, in the transaction of the message that it was looked up for."""
    assert rig.pump.pin(BOB).state is TrustState.NONE
    rig.effects(send(1, found=keyed()))
    pin = rig.pump.pin(BOB)
    assert (pin.state, pin.key) == (TrustState.TOFU, BOBS.peer_id)
    assert rig.rows("SELECT state, holder FROM pin") == [("tofu", BOBS.peer_id.value)]
    assert [one.name for one in rig.pump.pins()] == [BOB]


@pytest.mark.parametrize(
    "event",
    [located(keyed()), opened(), mail(1, text(1), elsewhere=record_of())],
    ids=["looked up", "over a link", "by mail"],
)
def test_a_key_is_pinned_whichever_way_it_comes_first(rig: Rig, event: Input) -> None:
    """By a lookup of a lane, by somebody who calls, by an envelope that the directory backs."""
    rig.effects(event)
    assert rig.pump.pin(BOB).key == BOBS.peer_id


def test_a_pin_is_read_again_by_another_process(rig: Rig) -> None:
    """With its records, which are verified once more."""
    changed(rig)
    before = rig.pump.pin(BOB)
    rig.restart()
    assert rig.pump.pin(BOB) == before
    assert before.pending == CHANGED


def test_a_pin_of_a_transaction_that_failed_is_forgotten(rig: Rig) -> None:
    """Memory must not know what the disk does not. Guards ``forget_all`` (in both places)."""
    rig.commits.fates.extend([LOST, LOST])
    rig.step(send(1, found=keyed()))
    assert rig.pump.pin(BOB).key is None
    assert rig.rows("SELECT * FROM pin") == []
    rig.effects(send(1, found=keyed(OTHER)))
    assert rig.pump.pin(BOB).key == OTHER.peer_id


def test_a_classic_entry_never_takes_a_key_away(rig: Rig) -> None:
    """Where plain text is allowed, too: the name has a key, so it is spoken to by TLS only."""
    rig.effects(send(1, found=keyed()))
    there = Found(None, HERE)
    effects = rig.effects(located(there))
    assert effects == [OpenLink(BOB, BOBS.peer_id, (HERE,))]
    assert rig.pump.pin(BOB).state is TrustState.TOFU


def test_a_lane_of_plain_text_becomes_one_of_a_key(rig: Rig) -> None:
    """No byte more in plain text as soon as the name has a key; what waited goes by TLS."""
    rig.effects(send(1, found=CLASSIC))
    dialled = record_of(prekey=prekey_of("bob"))
    transmits = [one for one in rig.effects(opened(7, dialled)) if isinstance(one, Transmit)]
    assert [one.item_id for one in transmits[0].items] == [an_id(1)]
    assert outside(rig.effects(Connected(an_id(1), BOB))) == []


def test_a_key_that_comes_while_a_connection_is_opened_stops_plain_text(rig: Rig) -> None:
    """By mail, say: whoever answers at a classic address chooses when."""
    rig.effects(send(1, found=CLASSIC))
    rig.effects(mail(1, text(50), elsewhere=record_of(prekey=prekey_of("bob"))))
    assert rig.effects(Connected(an_id(1), BOB)) == [Abandon(an_id(1)), Locate(BOB)]
    assert rig.outbox == [(1, "text", "queued")]


def test_a_key_that_waits_stops_what_stands_behind_plain_text(rig: Rig) -> None:
    """The address that has just worked is not a reason to go on."""
    rig.effects(send(1, found=CLASSIC), send(2, found=CLASSIC))
    rig.effects(Connected(an_id(1), BOB), opened(7, record_of()))
    rig.effects(opened(8, CHANGED, elsewhere=CHANGED))
    assert rig.pump.pin(BOB).pending == CHANGED
    assert not any(isinstance(one, Dial) for one in rig.effects(Handed(an_id(1), BOB)))
    assert rig.effects(Connected(an_id(2), BOB)) == [Abandon(an_id(2))]


def test_a_classic_peer_that_is_forgotten_gets_nothing_more(rig: Rig) -> None:
    """Its message is cancelled, and no connection is opened for what is gone."""
    rig.effects(send(1, found=CLASSIC), DialFailed(an_id(1), BOB, "refused", 0.0))
    rig.effects(decided(Decision.FORGET))
    assert rig.messages == [("text 1", "cancelled", "forgotten")]
    assert rig.effects(TimerFired(BOB, 0)) == []
    assert rig.effects(Connected(an_id(1), BOB)) == [Abandon(an_id(1))]


def test_what_is_being_handed_over_to_who_is_forgotten_ends_as_it_ends(rig: Rig) -> None:
    """Bytes may have left: it must not be called cancelled."""
    rig.effects(send(1, found=CLASSIC), send(2, found=CLASSIC), Connected(an_id(1), BOB))
    rig.effects(decided(Decision.FORGET))
    states = [("text 1", "queued", None), ("text 2", "cancelled", "forgotten")]
    assert rig.messages == states
    rig.effects(Handed(an_id(1), BOB))
    assert rig.messages == [("text 1", "sent", None), states[1]]
    assert rig.outbox == []


# --- another key, and what lies in mailboxes -----------------------------------------------------


def stored(rig: Rig) -> None:
    """A message lies in bob's mailbox, sealed to the key that he had."""
    away = keyed(present=False)
    rig.effects(send(1, found=away), located(away))
    rig.effects(Deposited(BOB, ((1, 1),), (), NOW + MAIL_TTL_MS), LinkFailed(BOB, "refused", 0.0))
    assert rig.messages == [("text 1", "stored", None)]


def test_what_is_stored_for_an_old_key_is_sealed_to_the_one_that_is_accepted(rig: Rig) -> None:
    """``stored`` would be a lie: the mailbox may be nobody's now."""
    stored(rig)
    rig.effects(send(2, found=Found(CHANGED, None, present=False)))
    decided = rig.effects(PersonDecided(1, BOB, Decision.ACCEPT, 0.0))
    told = MessagesProgressed(BOB, (an_id(1),), MessageState.QUEUED, "sealed-anew")
    assert told in decided
    assert rig.messages[0] == ("text 1", "queued", None)
    assert rig.rows("SELECT stored_ms FROM message WHERE stored_ms IS NOT NULL") == []
    assert rig.rows("SELECT DISTINCT stored_until_ms FROM outbox") == [(None,)]
    away = Found(CHANGED, None, present=False)
    effects = rig.effects(located(away), LinkFailed(BOB, "refused", 0.0))
    (deposit,) = [one for one in effects if isinstance(one, Deposit)]
    assert (deposit.key, [one.seq for one in deposit.items]) == (OTHER.peer_id, [1, 2])


def test_an_envelope_that_a_new_key_overtook_is_not_called_stored(rig: Rig) -> None:
    """Whatever happened in between: it lies where nobody may ever look."""
    away = keyed(present=False)
    rig.effects(send(1, found=away), located(away))
    rig.effects(send(2, found=Found(CHANGED, None, present=False)))
    rig.effects(PersonDecided(1, BOB, Decision.ACCEPT, 0.0))
    rig.commits.fates.extend([LOST, LOST])
    rig.step(classic_text(9, sender=CAROL))
    late = Deposited(BOB, ((1, 1),), (), NOW + MAIL_TTL_MS, BOBS.peer_id, 0.0)
    rig.effects(late)
    assert rig.messages[0] == ("text 1", "queued", None)
    rig.effects(replace(late, key=OTHER.peer_id))
    assert rig.messages[0] == ("text 1", "stored", None)


def test_a_rotation_takes_mail_along_in_both_ways(rig: Rig) -> None:
    """What was stored for the old key is sealed anew; what was held of the new one is let in."""
    stored(rig)
    rig.effects(mail(1, text(50), sender=OTHER, elsewhere=CHANGED))
    assert rig.rows("SELECT count(*) FROM held") == [(1,)]
    rotated = record_of(OTHER, old=BOBS, seq=3, prekey=prekey_of("bob"))
    effects = rig.effects(located(Found(rotated, None, present=False)))
    assert MessagesProgressed(BOB, (an_id(1),), MessageState.QUEUED, "sealed-anew") in effects
    assert rig.rows("SELECT count(*) FROM held") == [(0,)]
    assert ("text 50", "received", None) in rig.messages


# --- plain text ----------------------------------------------------------------------------------


def test_plain_text_is_refused_unless_it_is_allowed(strict: Rig) -> None:
    """And nothing is kept of what was refused."""
    refused = SendRefused(BOB, (an_id(1),), "classic-not-allowed")
    assert strict.effects(send(1, found=CLASSIC)) == [refused]
    assert strict.messages == []
    strict.effects(decided(Decision.ALLOW_CLASSIC))
    assert Dial(an_id(1), BOB, HERE) in strict.effects(send(1, found=CLASSIC))


def test_nobody_is_told_from_somebody_we_know(strict: Rig) -> None:
    """A stranger that the directory does not know is an error, a friend who is away is not."""
    assert strict.effects(send(1, found=NOBODY)) == [
        SendRefused(BOB, (an_id(1),), "no-such-person")
    ]
    strict.effects(classic_text(2))
    assert Locate(BOB) in strict.effects(send(3, found=NOBODY))


@pytest.mark.parametrize("is_pending", [False, True])
def test_plain_text_under_the_name_of_a_key_stands_apart(rig: Rig, is_pending: bool) -> None:
    """Anybody can write a name into a classic message: it lands under ~bob, never beside bob's."""
    rig.effects(opened(), arrived(text(1)))
    if is_pending:
        rig.effects(send(2, found=Found(CHANGED, None)))
    claimed = ClaimedName(BOB)
    shown = ((an_id(9), DisplayText("text 9")),)
    assert rig.effects(classic_text(9)) == [
        MessagesArrived(claimed, shown, unverified=True),
        Settle(an_id(9)),
    ]
    assert [one.message_id for one in rig.pump.page(claimed, None, 9)] == [an_id(9)]
    assert an_id(9) not in [one.message_id for one in rig.pump.page(BOB, None, 9)]


def test_a_classic_delete_never_reaches_what_a_key_wrote(rig: Rig) -> None:
    """It takes the newest of its own conversation, ~bob."""
    rig.effects(opened(), arrived(text(1)), classic_text(2))
    rig.effects(DeleteArrived(an_id(3), BOB, "192.0.2.7"))
    assert rig.messages == [("text 1", "received", None), (None, "received", None)]


def test_plain_text_that_claims_our_own_name_stands_apart(rig: Rig) -> None:
    """We hold a key, and our name is ours: nobody else's words stand in our notes to ourselves."""
    told = rig.effects(TextArrived(an_id(1), ME, DisplayText("me"), "192.0.2.7"))[0]
    assert isinstance(told, MessagesArrived)
    assert told.contact == ClaimedName(ME)


# --- another key ---------------------------------------------------------------------------------


@pytest.mark.parametrize("was_verified", [False, True])
def test_another_key_stops_everything_until_a_person_decides(rig: Rig, was_verified: bool) -> None:
    """It is told once; messages are kept here, and nothing of them leaves."""
    rig.effects(send(1, found=keyed()), located(keyed()))
    if was_verified:
        rig.effects(decided(Decision.VERIFIED, BOBS.peer_id))
    effects = rig.effects(send(2, found=Found(CHANGED, None)))
    assert effects[0] == KeyStopped(BOB, was_verified, BOBS.peer_id, OTHER.peer_id)
    assert PeerPostponed(BOB, "key-changed") in effects
    assert outside(effects) == []
    effects = rig.effects(send(3, found=Found(CHANGED, None)))
    assert effects[-1] == PeerPostponed(BOB, "key-changed")
    assert not any(isinstance(effect, KeyStopped) for effect in effects)
    assert [kind for _, kind, _ in rig.outbox] == ["text"] * 3
    pin = rig.pump.pin(BOB)
    assert (pin.key, pin.pending) == (BOBS.peer_id, CHANGED)


def test_a_lane_that_finds_another_key_waits(rig: Rig) -> None:
    """The lookup of a retry is as good as that of a send."""
    rig.effects(send(1, found=keyed()))
    effects = rig.effects(located(Found(CHANGED, None)))
    assert effects[0] == STOPPED
    assert outside(effects) == []
    assert isinstance(effects[1], SetTimer)
    effects = rig.effects(TimerFired(BOB, 0), located(Found(CHANGED, None)))
    assert outside(effects) == []


def test_a_link_of_another_key_waits_outside(rig: Rig) -> None:
    """The directory backs it, so it may be bob on a new machine: a person is asked."""
    rig.effects(send(1, found=keyed()))
    effects = rig.effects(opened(7, CHANGED, elsewhere=CHANGED))
    assert STOPPED in effects
    assert CloseLink(7, "key-not-accepted") in effects
    assert rig.effects(arrived(text(1))) == []
    assert rig.messages == [("text 1", "queued", None)]


def test_an_impostor_changes_nothing(rig: Rig) -> None:
    """Anybody can put the name of bob into a record of its own key. Unless the directory says the
    same, that is no reason to stop bob, nor to ask a person. Guards ``name-is-held``."""
    rig.effects(send(1, found=keyed()))
    pin = rig.pump.pin(BOB)
    impostor = record_of(OTHER, seq=9)
    assert rig.effects(opened(7, impostor)) == [CloseLink(7, "name-is-held")]
    elsewhere = record_of(prekey=prekey_of("bob"))
    assert rig.effects(opened(8, impostor, elsewhere)) == [CloseLink(8, "name-is-held")]
    assert rig.pump.pin(BOB) == pin
    assert rig.effects(arrived(text(1)), arrived(text(1), link=8)) == []
    assert located(keyed()).peer == BOB
    assert outside(rig.effects(located(keyed()))) == [OpenLink(BOB, BOBS.peer_id, (HERE,))]


def test_an_impostor_of_somebody_unknown_is_not_pinned(rig: Rig) -> None:
    """The directory knows another key of that name, and the caller is not it."""
    effects = rig.effects(opened(7, record_of(OTHER), elsewhere=record_of()))
    assert effects == [CloseLink(7, "name-is-held")]
    assert rig.pump.pin(BOB).key is None


@pytest.mark.parametrize(
    ("signed", "code"),
    [
        (record_of(OWN), "own-key"),
        (record_of(OTHER, ME), "name-is-mine"),
    ],
)
def test_nobody_is_us(rig: Rig, signed: SignedRecord, code: str) -> None:
    """Neither somebody with our key, nor somebody of our name."""
    assert rig.effects(opened(7, signed, elsewhere=signed)) == [CloseLink(7, code)]
    assert rig.pump.pins() == []


@pytest.mark.parametrize("link_key_goes_on", [True, False])
def test_a_link_of_the_old_key_ends_when_another_key_comes(
    rig: Rig, link_key_goes_on: bool
) -> None:
    """Nothing is sent to the name and nothing taken from it, on links that are open, too. Once the
    new key is accepted, what goes out goes to that one, never to the link of the old."""
    rig.effects(opened())
    effects = rig.effects(mail(1, text(1), sender=OTHER, elsewhere=CHANGED))
    assert CloseLink(7, "key-changed") in effects
    effects = rig.effects(send(2), arrived(text(3)))
    assert outside(effects) == []
    rig.effects(decided(Decision.REFUSE if link_key_goes_on else Decision.ACCEPT))
    effects = rig.effects(send(4), LinkClosed(7, "closed", 0.0))
    assert not any(isinstance(effect, Transmit) for effect in effects)
    opened_again = opened(8) if link_key_goes_on else opened(8, CHANGED)
    transmit = rig.effects(opened_again)[-1]
    assert isinstance(transmit, Transmit)
    assert [one.item_id for one in transmit.items] == [an_id(2), an_id(4)]


# --- rotation, rollback, two faces ---------------------------------------------------------------


@pytest.mark.parametrize("was_verified", [False, True])
def test_a_key_that_the_old_one_signed_moves_the_pin(rig: Rig, was_verified: bool) -> None:
    """That is told, nothing stops, and a verified name stays verified."""
    rig.effects(send(1, found=keyed()))
    if was_verified:
        rig.effects(decided(Decision.VERIFIED, BOBS.peer_id))
    moved = record_of(OTHER, old=BOBS)
    effects = rig.effects(located(Found(moved, None)))
    assert effects[0] == KeyMoved(BOB)
    assert OpenLink(BOB, OTHER.peer_id, (HERE,)) in effects
    pin = rig.pump.pin(BOB)
    assert pin.key == OTHER.peer_id
    assert pin.state is (TrustState.VERIFIED if was_verified else TrustState.TOFU)


def test_a_link_of_the_key_before_a_rotation_ends(rig: Rig) -> None:
    """What is written to bob goes to the key that bob has now."""
    rig.effects(opened())
    moved = record_of(OTHER, old=BOBS)
    effects = rig.effects(mail(1, text(1), sender=OTHER, elsewhere=moved))
    assert KeyMoved(BOB) in effects
    assert CloseLink(7, "key-changed") in effects
    assert not any(isinstance(effect, Transmit) for effect in rig.effects(send(2)))


def test_a_record_that_is_older_or_forked_is_told_once_and_not_used(rig: Rig) -> None:
    """A directory that goes back, or shows two faces."""
    newest = record_of(seq=5)
    rig.effects(send(1, found=Found(newest, None)))
    older, forked = record_of(seq=4), record_of(seq=5, addresses=())
    effects = rig.effects(located(Found(older, None)))
    assert effects[0] == RecordRefused(BOB, "rollback")
    effects = rig.effects(send(2, found=Found(forked, None)), send(3, found=Found(older, None)))
    refused = [effect for effect in effects if isinstance(effect, RecordRefused)]
    assert refused == [RecordRefused(BOB, "equivocation")]
    assert rig.pump.pin(BOB).record == newest


def test_a_directory_that_has_not_heard_yet_what_a_hello_said_raises_no_alarm(rig: Rig) -> None:
    """Bob comes back, and his link is there before his registration."""
    rig.effects(send(1, found=Found(record_of(seq=4), None)))
    rig.effects(opened(7, record_of(seq=5)))
    behind = rig.effects(send(2, found=Found(record_of(seq=4), None)))
    assert not any(isinstance(effect, RecordRefused) for effect in behind)
    rig.effects(send(3, found=Found(record_of(seq=5), None)))
    back = rig.effects(send(4, found=Found(record_of(seq=4), None)))
    assert RecordRefused(BOB, "rollback") in back


def test_what_a_failed_commit_was_to_tell_is_told_by_the_next(rig: Rig) -> None:
    """Told once means told: a transaction that was rolled back told nobody."""
    rig.effects(send(1, found=Found(record_of(seq=5), None)))
    older = Found(record_of(seq=4), None)
    rig.commits.fates.append(LOST)
    batch = rig.step(located(older))
    assert RecordRefused(BOB, "rollback") in batch.effects


def test_a_link_with_a_forked_record_is_closed(rig: Rig) -> None:
    """The holder of the key itself shows two faces."""
    rig.effects(send(1, found=Found(record_of(seq=5), None)))
    effects = rig.effects(opened(7, record_of(seq=5, addresses=())))
    assert effects[:2] == [RecordRefused(BOB, "equivocation"), CloseLink(7, "record-refused")]


# --- decisions -----------------------------------------------------------------------------------


def test_a_key_is_verified_by_a_person(rig: Rig) -> None:
    """On disk when it is said; the wrong key and the wrong moment are refused."""
    assert rig.effects(decided(Decision.VERIFIED, BOBS.peer_id)) == [done("no-key")]
    rig.effects(send(1, found=keyed()))
    assert rig.effects(decided(Decision.VERIFIED, OTHER.peer_id)) == [done("key-mismatch")]
    assert rig.effects(decided(Decision.VERIFIED, BOBS.peer_id)) == [done()]
    assert rig.rows("SELECT state FROM pin") == [("verified",)]


@pytest.mark.parametrize("decision", [Decision.ACCEPT, Decision.REFUSE])
def test_there_is_nothing_to_decide_without_another_key(rig: Rig, decision: Decision) -> None:
    """The person is told so."""
    rig.effects(send(1, found=keyed()))
    assert rig.effects(decided(decision)) == [done("no-key")]


@pytest.mark.parametrize(
    ("decision", "key"), [(Decision.ACCEPT, OTHER.peer_id), (Decision.REFUSE, BOBS.peer_id)]
)
def test_a_decision_lets_everything_go_to_the_key_that_stays(
    rig: Rig, decision: Decision, key: PeerId
) -> None:
    """At once, and in its order."""
    rig.effects(send(1, found=keyed()), located(Found(CHANGED, None)))
    rig.effects(send(2, found=Found(CHANGED, None)))
    effects = rig.effects(decided(decision))
    assert effects == [done(), Locate(BOB)]
    found = Found(CHANGED, None) if decision is Decision.ACCEPT else keyed()
    assert rig.effects(located(found)) == [OpenLink(BOB, key, (HERE,))]
    signed = CHANGED if decision is Decision.ACCEPT else None
    transmit = rig.effects(opened(7, signed))[-1]
    assert isinstance(transmit, Transmit)
    assert [one.item_id for one in transmit.items] == [an_id(1), an_id(2)]


def test_a_message_that_was_written_while_all_stood_still_goes_after_the_decision(
    rig: Rig,
) -> None:
    """Though nothing waited for the name before."""
    rig.effects(opened(), LinkClosed(7, "ended", 0.0))
    rig.effects(send(1, found=Found(CHANGED, None)))
    assert Locate(BOB) in rig.effects(decided(Decision.ACCEPT))


def test_mail_of_another_key_is_held_and_read_when_it_is_accepted(rig: Rig) -> None:
    """It leaves the mailbox, as it is on this disk; nobody reads it before the decision."""
    held(rig, 1, 2)
    assert rig.rows("SELECT count(*) FROM held") == [(2,)]
    assert [text for text, _, _ in rig.messages] == ["text 1", "text 2"]  # ours
    effects = rig.effects(decided(Decision.ACCEPT))
    arrivals = [one for one in effects if isinstance(one, MessagesArrived)]
    assert arrivals == [
        MessagesArrived(BOB, ((an_id(number), DisplayText(f"text {number}")),)) for number in (1, 2)
    ]
    assert not any(isinstance(effect, MailSettled) for effect in effects)
    assert rig.rows("SELECT count(*) FROM held") == [(0,)]
    assert len(rig.rows("SELECT * FROM owed")) == 2


def test_mail_of_a_key_that_is_refused_is_dropped(rig: Rig) -> None:
    """What the other key sent goes; what the key that stays sent meanwhile is read."""
    held(rig, 11)
    assert MailHeld(BOB, 1) in rig.effects(mail(2, text(12)))
    effects = rig.effects(decided(Decision.REFUSE))
    arrivals = [one for one in effects if isinstance(one, MessagesArrived)]
    assert arrivals == [MessagesArrived(BOB, ((an_id(12), DisplayText("text 12")),))]
    assert rig.rows("SELECT count(*) FROM held") == [(0,)]


def test_so_much_mail_is_held_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is let go: its sender keeps it, and what lies behind it must not wait."""
    assert pump_module.HELD_MAX == HELD_MAX
    monkeypatch.setattr(pump_module, "HELD_MAX", 1)
    held(rig, 1)
    assert rig.effects(mail(2, text(2), sender=OTHER, elsewhere=CHANGED)) == [MailSettled(2)]
    assert rig.rows("SELECT count(*) FROM held") == [(1,)]


def test_one_key_does_not_take_the_room_of_the_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is brought twice is told of once."""
    monkeypatch.setattr(pump_module, "HELD_PER_SENDER_MAX", 1)
    held(rig, 1)
    for number in (1, 2):
        again = mail(9, text(number), sender=OTHER, elsewhere=CHANGED)
        assert rig.effects(again) == [MailSettled(9)]
    assert rig.effects(mail(3, text(3))) == [MailSettled(3), MailHeld(BOB, 1)]
    monkeypatch.setattr(pump_module, "HELD_PER_SENDER_MAX", 9)
    assert rig.effects(mail(4, text(3))) == [MailSettled(4)]
    assert rig.rows("SELECT count(*) FROM held") == [(2,)]


@pytest.mark.parametrize("elsewhere", [None, record_of()])
def test_mail_of_a_key_that_nobody_backs_is_let_go(
    rig: Rig, elsewhere: SignedRecord | None
) -> None:
    """Anybody may seal something and call itself bob."""
    rig.effects(send(9, found=keyed()))
    letter = mail(1, text(1), sender=OTHER, elsewhere=elsewhere)
    assert rig.effects(letter) == [MailSettled(1)]
    assert rig.messages == [("text 9", "queued", None)]
    assert rig.pump.pin(BOB).pending is None


def test_mail_in_our_own_name_is_let_go(rig: Rig) -> None:
    """Nobody else speaks for us."""
    mine = record_of(OTHER, ME)
    assert rig.effects(mail(1, text(1), sender=OTHER, name=ME, elsewhere=mine)) == [MailSettled(1)]
    assert rig.effects(mail(2, text(1), sender=OWN)) == [MailSettled(2)]
    assert rig.messages == []


def test_what_waits_for_somebody_who_is_forgotten_ends(rig: Rig) -> None:
    """FAILED what may have left, CANCELLED what has not; and the next key is the first one."""
    rig.effects(opened(), send(1))
    rig.effects(LinkClosed(7, "ended", 0.0), send(2))
    effects = rig.effects(decided(Decision.FORGET))
    assert effects[:3] == [
        done(),
        MessagesProgressed(BOB, (an_id(1),), MessageState.FAILED, "forgotten"),
        MessagesProgressed(BOB, (an_id(2),), MessageState.CANCELLED, "forgotten"),
    ]
    assert rig.outbox == []
    assert rig.pump.pin(BOB).state is TrustState.NONE
    rig.effects(send(3, found=Found(CHANGED, None)))
    assert rig.pump.pin(BOB).key == OTHER.peer_id


def test_a_delete_that_waits_for_somebody_who_is_forgotten_ends_with_it(rig: Rig) -> None:
    """Of a delete nothing is told; it is gone from the outbox."""
    rig.effects(opened(), send(1), ReceiptArrived(7, ((1, 1),)))
    rig.effects(LinkClosed(7, "ended", 0.0))
    rig.effects(decided(Decision.FORGET))
    assert rig.outbox == []
    assert rig.messages == [("text 1", "delivered", None)]


@pytest.mark.parametrize("found", [NOBODY, CLASSIC, keyed()], ids=["nobody", "classic", "keyed"])
def test_the_lane_of_somebody_who_is_forgotten_is_harmless(rig: Rig, found: Found) -> None:
    """The lookup that is under way comes back, and finds nothing to send."""
    rig.effects(send(1, found=keyed()))
    rig.effects(decided(Decision.FORGET))
    assert not any(
        isinstance(effect, Transmit | Deposit | Dial | HandOver)
        for effect in rig.effects(located(found))
    )
    rig.effects(send(2))
    assert rig.outbox == [(2, "text", "queued")]


def test_a_link_of_somebody_who_is_forgotten_ends(rig: Rig) -> None:
    """Nothing comes in under a name of which nothing is held."""
    rig.effects(opened())
    effects = rig.effects(decided(Decision.FORGET))
    assert CloseLink(7, "forgotten") in effects
    assert not any(isinstance(one, Acknowledge) for one in rig.effects(arrived(text(1))))


def test_held_mail_of_somebody_who_is_forgotten_is_dropped(rig: Rig) -> None:
    """There is nobody left whom a decision could be about."""
    held(rig, 1)
    rig.effects(decided(Decision.FORGET))
    assert rig.rows("SELECT count(*) FROM held") == [(0,)]


def test_a_decision_that_the_disk_refuses_changes_nothing(rig: Rig) -> None:
    """The person is told, and may say it again."""
    changed(rig)
    rig.commits.fates.extend([LOST, LOST])
    batch = rig.step(decided(Decision.ACCEPT))
    assert [refused.event for refused in batch.refused] == [decided(Decision.ACCEPT)]
    assert not any(isinstance(effect, DecisionDone) for effect in batch.effects)
    assert rig.pump.pin(BOB).pending == CHANGED
    assert done() in rig.effects(decided(Decision.ACCEPT))


def test_no_envelope_more_goes_to_a_key_that_stands_still(rig: Rig) -> None:
    """One was on its way when another key came, by mail; what waits behind it stays here. Guards
    the look at the pin in ``_deposit``."""
    away = keyed(present=False)
    rig.effects(send(1, found=away), located(away), send(2))
    rig.effects(mail(1, text(1), sender=OTHER, elsewhere=CHANGED))
    effects = rig.effects(Deposited(BOB, ((1, 1),), (), NOW + 1_000))
    assert not any(isinstance(effect, Deposit) for effect in effects)


def test_people_do_not_disturb_each_other(rig: Rig) -> None:
    """That bob has another key stops nobody else."""
    changed(rig)
    rig.effects(opened(7, record_of(CAROLS, CAROL)))
    assert any(isinstance(one, Transmit) for one in rig.effects(send(5, to=CAROL)))


def test_a_key_that_was_refused_stops_nothing_again(rig: Rig) -> None:
    """The decision stands: no more questions about it, and nothing of it is taken."""
    rig.effects(opened(), send(1), LinkClosed(7, "ended", 0.0))
    rig.effects(send(2, found=Found(CHANGED, None)), decided(Decision.REFUSE))
    effects = rig.effects(located(Found(CHANGED, None)))
    assert effects == [OpenLink(BOB, BOBS.peer_id, (HERE,))]
    letter = mail(1, text(3), sender=OTHER, elsewhere=CHANGED)
    assert rig.effects(letter) == [MailSettled(1)]
    assert CloseLink(9, "record-refused") in rig.effects(opened(9, CHANGED, elsewhere=CHANGED))
    assert rig.pump.pin(BOB).pending is None
    rig.restart()
    assert rig.pump.pin(BOB).refused == OTHER.peer_id

"""The link over real connections: what opens one, what goes over it, and all that must not."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509 import Certificate
from OpenSSL import SSL
from tests.transport.ends import (
    Attacker,
    Person,
    certificate,
    context,
    flipped,
    forging,
    items,
    linked,
    only_classical,
    people,
    refused,
    run,
    serving,
    unchanged,
    until,
    wire,
)

from netchat.identity.keys import Identity
from netchat.limits import (
    LINK_BARREN_BYTES_MAX,
    LINK_PING_S,
    LINK_SILENCE_S,
    LINK_WRITE_BYTES_MAX,
)
from netchat.model import Address, PeerId
from netchat.transport import link as link_module
from netchat.transport import listener as listener_module
from netchat.transport.dialer import DialError
from netchat.transport.link import ALPN, GROUP, Credentials, Link, dial_link
from netchat.wire.frames import Bye, Frame, Hello, Ping, encode

LONG = "x" * 60_000


def records_of(stream: bytes) -> list[bytes]:
    """The TLS records in what went over a wire in one direction."""
    records = []
    while stream:
        size = 5 + int.from_bytes(stream[3:5], "big")
        records.append(stream[:size])
        stream = stream[size:]
    return records


# --- a link --------------------------------------------------------------------------------------


def test_two_people_are_linked() -> None:
    """Each end knows the other's key, has its HELLO, and knows who dialled."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, to_alice):
            assert (to_bob.key, to_alice.key) == (bob.peer_id, alice.peer_id)
            assert (to_bob.hello, to_alice.hello) == (bob.hello(), alice.hello())
            assert (to_bob.is_dialler, to_alice.is_dialler) == (True, False)
            assert to_bob.address == bob.address
            assert to_alice.address.host == "127.0.0.1"
            assert to_bob.is_writable
            assert to_bob.said_bye is None

    run(main)


def test_frames_go_both_ways_in_order() -> None:
    """Also those that do not fit in one record, and those that are sent when a link opens."""

    async def main() -> None:
        async with people(2) as (alice, bob):
            bob.on_opened = lambda link: link.send(items("welcome"))
            link = await alice.dial(bob)
            sent = [items(str(number), LONG) for number in range(20)]
            for frame in sent:
                link.send(frame)
            await until(lambda: len(bob.received) == 20 and len(alice.received) == 1)
            assert bob.received == sent
            assert alice.received == [items("welcome")]

    run(main)


def test_frames_of_one_turn_are_written_as_one() -> None:
    """One record for a hundred small frames: a write each would cost seven times as much."""

    async def main() -> None:
        async with people(2) as (alice, bob), wire(bob.address) as (between, address):
            link = await alice.dial(bob, address)
            await until(lambda: bool(bob.opened))
            before = len(between.sent)
            for _ in range(100):
                link.send(items("hello"))
            await until(lambda: len(bob.received) == 100)
            assert len(records_of(bytes(between.sent[before:]))) == 1

    run(main)


def test_a_ping_is_answered_and_nobody_above_hears_of_it() -> None:
    """The frame behind it is delivered all the same."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, to_alice):
            to_bob.send(Ping(7))
            to_bob.send(items("hello"))
            await until(lambda: bool(bob.received))
            to_alice.send(items("answer"))
            await until(lambda: bool(alice.received))
            assert (alice.received, bob.received) == ([items("answer")], [items("hello")])

    run(main)


def test_a_link_that_comes_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks cut where they like: also inside records, and inside the handshake."""
    whole = Link.data_received

    def bytewise(link: Link, data: bytes) -> None:
        for index in range(len(data)):
            whole(link, data[index : index + 1])

    monkeypatch.setattr(Link, "data_received", bytewise)

    async def main() -> None:
        async with linked() as (_, to_bob, bob, _):
            to_bob.send(items("hello", "x" * 20_000))
            await until(lambda: bool(bob.received))
            assert bob.received == [items("hello", "x" * 20_000)]

    run(main)


def test_what_is_agreed_on() -> None:
    """TLS 1.3, our protocol, the key exchange that withstands a quantum computer; no ticket."""

    async def main() -> None:
        async with linked() as (_, to_bob, _, to_alice):
            for link in (to_bob, to_alice):
                assert link._tls.get_protocol_version_name() == "TLSv1.3"
                assert link._tls.get_alpn_proto_negotiated() == ALPN
                assert link._tls.get_group_name() == GROUP

    run(main)


# --- pressure ------------------------------------------------------------------------------------


def test_who_does_not_read_lets_the_sender_wait() -> None:
    """``is_writable`` falls, and ``link_writable`` tells of the end of it; nothing is lost."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, to_alice):
            to_alice.pause_reading()
            sent = 0
            while to_bob.is_writable:
                for _ in range(16):
                    to_bob.send(items(LONG))
                    sent += 1
                await asyncio.sleep(0)
            assert alice.writable == []
            to_alice.resume_reading()
            await until(lambda: len(bob.received) == sent)
            assert alice.writable == [to_bob]
            assert to_bob.is_writable

    run(main)


def test_what_one_turn_may_send_is_bounded() -> None:
    """Before a byte is written: who fills a turn is told to wait, and at its end to go on."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, _):
            sent = 0
            while to_bob.is_writable:
                to_bob.send(items(LONG))
                sent += 1
            assert sent == LINK_WRITE_BYTES_MAX // len(LONG) + 1
            await until(lambda: len(bob.received) == sent)
            assert alice.writable == [to_bob]

    run(main)


def test_who_asks_and_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the size of what waits: receipts are sent, whether anybody reads them or not."""
    monkeypatch.setattr(link_module, "LINK_DEAF_BYTES_MAX", 500_000)

    async def main() -> None:
        async with people(1) as (bob,):
            bob.on_received = lambda link, frames: link.send(items(LONG))
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            await bob.next_link()
            with contextlib.suppress(ConnectionError):
                while not bob.lost:
                    await attacker.send(encode(items("more")))
                    await asyncio.sleep(0)
            assert bob.reasons == ["deaf"]

    run(main)


def hello(key: PeerId | None = None) -> Hello:
    """A HELLO that the tests' people take."""
    return Hello(str(key).encode(), b"stream-8", b"attacker", ())


# --- the end of a link ---------------------------------------------------------------------------


def test_a_link_is_closed_with_a_word() -> None:
    """What was sent before comes through; each end is told once; sending is over."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, to_alice):
            to_bob.send(items("last words"))
            to_bob.close("exit")
            to_bob.close("again")
            to_bob.send(items("too late"))
            await until(lambda: bool(alice.lost and bob.lost))
            assert alice.lost == [(to_bob, "closed")]
            assert bob.lost == [(to_alice, "bye")]
            assert bob.received == [items("last words")]
            assert to_alice.said_bye == "exit"
            to_alice.close("me too")
            to_alice.abort()
            to_alice.pause_reading()
            to_alice.resume_reading()

    run(main)


def test_a_link_ends_in_peace_though_more_is_coming() -> None:
    """Guards ``write_eof`` and the wait: closing the socket at once would answer what lies unread
    with a reset, which on many systems takes away from the peer what it has not read yet.
    """

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            link = await bob.next_link()
            link.pause_reading()
            await attacker.send(encode(items(LONG)))
            link.send(items("last words"))
            link.close("exit")
            with contextlib.suppress(SSL.ZeroReturnError):
                while True:
                    await attacker.read()
            assert attacker.plain.endswith(encode(items("last words")) + encode(Bye("exit")))
            assert await attacker.reader.read() == b"", "a FIN; a reset would raise"
            assert bob.received == []
            attacker.close()
            await until(lambda: bob.reasons == ["closed"])

    run(main)


def test_a_peer_that_does_not_go_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither reads nor closes: nobody waits longer than a moment."""
    monkeypatch.setattr(link_module, "CLOSE_WAIT_S", 0.05)

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            (await bob.next_link()).close("exit")
            await until(lambda: bob.reasons == ["closed"])

    run(main)


def own_key(attacker: Attacker) -> bytes:
    mine = attacker.tls.get_certificate(as_cryptography=True)
    assert mine is not None
    public = mine.public_key()
    return public.public_bytes_raw()  # type: ignore[union-attr, no-any-return]


def test_a_link_is_aborted() -> None:
    """At once, and told once; not from inside the call."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, _):
            to_bob.send(items("dropped"))
            to_bob.abort()
            assert alice.lost == []
            await until(lambda: bool(alice.lost and bob.lost))
            assert alice.reasons == ["aborted"]
            assert bob.reasons[0] in ("reset", "truncated")
            assert bob.received == []

    run(main)


def test_a_link_that_is_closed_while_it_tells_something() -> None:
    """From inside ``link_opened`` and ``link_received``: nothing more is told but its loss."""

    async def main() -> None:
        async with people(3) as (alice, bob, carol):
            bob.on_opened = lambda link: link.close("no")
            alice.on_opened = lambda link: link.send(items("hello"))
            await alice.dial(bob)
            carol.on_received = lambda link, frames: link.abort()
            await alice.dial(carol)
            await until(lambda: len(alice.lost) == 2 and bool(bob.lost and carol.lost))
            assert (bob.received, bob.reasons) == ([], ["closed"])
            assert (carol.received, carol.reasons) == ([items("hello")], ["aborted"])

    run(main)


@pytest.mark.parametrize("kept", [0, 1, 100, 20_000, 60_000])
def test_a_link_that_is_cut_off_ends_truncated(kept: int) -> None:
    """Guards the reason: an end without TLS's own could be anybody's doing (RFC 8446 section 6.1).

    The frame whose records came in part is not delivered.
    """
    is_cutting = False
    left = kept

    def there(data: bytes) -> tuple[bytes, bool]:
        nonlocal left
        if not is_cutting:
            return data, False
        passing, left = data[:left], max(0, left - len(data))
        return passing, not left

    async def main() -> None:
        nonlocal is_cutting
        async with people(2) as (alice, bob), wire(bob.address, there) as (_, address):
            link = await alice.dial(bob, address)
            await until(lambda: bool(bob.opened))
            is_cutting = True
            link.send(items(LONG))
            await until(lambda: bool(bob.lost))
            assert bob.reasons == ["truncated"]
            assert bob.received == []

    run(main)


def test_an_end_of_tls_without_a_word() -> None:
    """A peer that said close_notify and no BYE has ended the link by itself."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            key = PeerId(own_key(attacker))
            await attacker.send(encode(hello(key)) + encode(items("hello")))
            attacker.tls.shutdown()
            await attacker.flush()
            await attacker.ending()
            assert bob.received == [items("hello")]
            await until(lambda: bob.reasons == ["ended"])

    run(main)


def test_what_cannot_be_written_ends_it() -> None:
    """TLS is over for some reason: a frame, or the last word, is no reason for a traceback."""

    async def main() -> None:
        async with people(3) as (alice, bob, carol):
            for other in (bob, carol):
                link = await alice.dial(other)
                await until(lambda other=other: bool(other.opened))
                link._tls.shutdown()
                if other is bob:
                    link.send(items("hello"))
                else:
                    link.close("exit")
            await until(lambda: len(alice.lost) == 2)
            assert alice.reasons == ["broken", "broken"]

    run(main)


def test_pressure_that_ends_behind_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to write on to a link that is closing."""
    monkeypatch.setattr(link_module, "CLOSE_WAIT_S", 5.0)

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, to_alice):
            to_alice.pause_reading()
            sent = 0
            while not to_bob._is_paused:
                to_bob.send(items(LONG))
                sent += 1
                await asyncio.sleep(0)
            to_bob.close("exit")
            to_alice.resume_reading()
            await until(lambda: bool(alice.lost and bob.lost))
            assert alice.writable == []
            assert len(bob.received) == sent

    run(main)


class Later:
    """The loop of a link, with a clock that a test can put forward."""

    def __init__(self, link: Link) -> None:
        self._loop = link._loop
        self._link = link
        self._ahead_s = 0.0
        link._loop = self  # type: ignore[assignment]

    def time(self) -> float:
        return self._loop.time() + self._ahead_s

    def skip(self, seconds: float) -> None:
        """Let time pass, and the timer of the link with it."""
        self._ahead_s += seconds
        assert not self._link._timer.cancelled()
        assert self._link._timer.when() <= self.time() + 0.01
        self._link._tick()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def test_a_peer_that_falls_silent_is_given_up() -> None:
    """Guards the timer of ``_tick``: a machine that lost its power sends no end of anything."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            clock = Later(await bob.next_link())
            clock.skip(LINK_PING_S)
            assert bob.lost == []
            clock.skip(LINK_SILENCE_S - LINK_PING_S)
            await until(lambda: bob.reasons == ["silent"])

    run(main)


def test_a_link_that_is_quiet_stays() -> None:
    """A PING goes and a PONG comes, for as long as nobody has anything to say."""

    async def main() -> None:
        async with linked() as (alice, to_bob, bob, _):
            clock = Later(to_bob)
            for _ in range(5):
                clock.skip(LINK_PING_S)
                await until(lambda: to_bob._session._pinged_ms is None)
            assert alice.lost == bob.lost == []

    run(main)


# --- who is let in -------------------------------------------------------------------------------


def no_certificate() -> SSL.Context:
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_alpn_protos([ALPN])
    return made


def tls_1_2() -> SSL.Context:
    made = context()
    made.set_max_proto_version(SSL.TLS1_2_VERSION)
    return made


def p_256() -> SSL.Context:
    key = ec.generate_private_key(ec.SECP256R1())
    return context(key, certificate(key.public_key(), key))


def chain_with_a_victim() -> SSL.Context:
    """A leaf of the attacker's, validly issued by the victim, and the victim's certificate."""
    attacker, victim = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    leaf = certificate(attacker.public_key(), victim, issuer="victim")
    above = certificate(victim.public_key(), victim, subject="victim", issuer="victim", is_ca=True)
    return context(attacker, leaf, chain=[above])


def chain_of_strangers() -> SSL.Context:
    """A leaf, and a certificate behind it that has nothing to do with it: one key too many."""
    attacker, victim = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    leaf = certificate(attacker.public_key(), attacker)
    return context(attacker, leaf, chain=[certificate(victim.public_key(), victim)])


def huge() -> SSL.Context:
    key = Ed25519PrivateKey.generate()
    return context(key, certificate(key.public_key(), key, padding=90_000))


@pytest.mark.parametrize(
    "make",
    [
        no_certificate,
        tls_1_2,
        p_256,
        chain_with_a_victim,
        huge,
        lambda: only_classical(context()),
        lambda: context(alpn=None),
        lambda: context(alpn=b"h2"),
        lambda: context(alpn=b"netchat/1"),
    ],
    ids=[
        "no certificate",
        "TLS 1.2",
        "P-256",
        "chain",
        "huge",
        "classical group",
        "no ALPN",
        "h2",
        "netchat/1",
    ],
)
def test_who_is_not_let_in(make: Callable[[], SSL.Context]) -> None:
    """Not a byte of ours goes up or down. Guards, in this order: VERIFY_FAIL_IF_NO_PEER_CERT, the
    least version, Ed25519 only, depth 0 only, HANDSHAKES_BYTES_MAX, the group and the protocol
    after the handshake (OpenSSL accepts both of those; only our own look refuses them).
    """

    async def main() -> None:
        async with people(1) as (bob,):
            assert await refused(await Attacker.dial(bob.address, make()))
            assert bob.opened == []

    run(main)


@pytest.mark.parametrize(
    "make",
    [no_certificate, tls_1_2, p_256, chain_with_a_victim],
    ids=["no certificate", "TLS 1.2", "P-256", "chain"],
)
def test_who_fails_in_the_handshake_already(make: Callable[[], SSL.Context]) -> None:
    """Guards the settings of the context alone, without the look after the handshake."""
    accepting, _ = Credentials(Identity.generate()).open(None, is_dialler=False)
    dialling = SSL.Connection(make(), None)
    dialling.set_connect_state()
    with pytest.raises(SSL.Error):
        shake_hands(dialling, accepting)


def test_an_impostor_fails_in_the_handshake_already() -> None:
    """Guards the pin in the verify callback alone: no certificate of ours is even made ready."""
    dialling, guard = Credentials(Identity.generate()).open(SOMEBODY, is_dialler=True)
    accepting = SSL.Connection(context(), None)
    accepting.set_accept_state()
    with pytest.raises(SSL.Error):
        shake_hands(dialling, accepting)
    assert guard.refusal == "wrong-key"
    move(dialling, accepting)
    with pytest.raises(SSL.Error):
        accepting.do_handshake()
    assert accepting.get_peer_certificate() is None


def shake_hands(dialling: SSL.Connection, accepting: SSL.Connection) -> None:
    """In memory; raises what either end raises."""
    for tls, peer in 2 * [(dialling, accepting), (accepting, dialling)]:
        with suppressed():
            tls.do_handshake()
        move(tls, peer)


def test_the_honest_attacker_is_let_in() -> None:
    """The control for the refusals: the same settings, and nothing wrong with them."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            await bob.next_link()
            await attacker.read()

    run(main)


def expired() -> SSL.Context:
    key = Ed25519PrivateKey.generate()
    return context(key, certificate(key.public_key(), key, until_year=2_021))


@pytest.mark.parametrize("make", [expired, chain_of_strangers], ids=["expired", "two keys"])
def test_nothing_counts_in_a_certificate_but_the_key_at_its_leaf(
    make: Callable[[], SSL.Context],
) -> None:
    """A clock that is wrong locks nobody out, and whatever else is sent along stands for nobody."""

    async def main() -> None:
        async with people(1) as (bob,):
            made = make()
            attacker = await Attacker.dial(bob.address, made)
            await attacker.shake_hands()
            leaf = PeerId(own_key(attacker))
            await attacker.send(encode(hello(leaf)))
            assert (await bob.next_link()).key == leaf

    run(main)


def test_our_own_key_is_not_let_in() -> None:
    """Guards ``own-key``: somebody sends our own bytes back to us, or dials us for ourselves."""

    async def main() -> None:
        async with people(1) as (bob,):
            key, shown = bob.identity.tls_credentials()
            assert await refused(await Attacker.dial(bob.address, context(key, shown)))
            bobs = Credentials(bob.identity)
            nowhere = Address("224.0.0.1", 5_000)
            with pytest.raises(DialError) as caught:
                await dial_link(nowhere, bob.peer_id, bobs, bob.hello, bob)
            assert caught.value.reason == "own-key", "it was not even tried"

    run(main)


def test_the_look_after_the_handshake_needs_no_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the second look: were the verify callback ever left out, as resumption leaves it out,
    a wrong key, our own and none that we take would still be refused.
    """
    monkeypatch.setattr(Credentials, "_verify", lambda *_: True)

    async def main() -> None:
        async with people(3) as (alice, bob, carol):
            assert await reason_of_dialling(alice, carol.address, bob.peer_id) == "wrong-key"
            key, shown = bob.identity.tls_credentials()
            assert await refused(await Attacker.dial(bob.address, context(key, shown)))
            assert await refused(await Attacker.dial(bob.address, p_256()))
            assert [*alice.opened, *bob.opened, *carol.opened] == []

    run(main)


def test_what_breaks_in_a_callback_breaks_the_handshake_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards ``except Exception``: it comes out of do_handshake as itself, and prints nothing."""

    def broken(_certificate: Certificate) -> PeerId | None:
        raise ValueError("a certificate that nobody can read")

    monkeypatch.setattr(link_module, "key_of_certificate", broken)

    async def main() -> None:
        async with people(2) as (alice, bob):
            assert await refused(await Attacker.dial(bob.address))
            assert await reason_of_dialling(alice, bob.address, bob.peer_id) == "broken"

    run(main)


def test_nothing_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the cache that is off and OP_NO_TICKET: a session offered again is no way round keys.

    OpenSSL still sends tickets (158 bytes of them), but they lead nowhere: each end looks at the
    other's certificate again. A session that was resumed would not ask ``_verify``.
    """
    looked: list[Credentials] = []
    verify = Credentials._verify

    def watched(credentials: Credentials, *what: Any) -> bool:
        looked.append(credentials)
        return verify(credentials, *what)

    monkeypatch.setattr(Credentials, "_verify", watched)
    one, other = (Credentials(Identity.generate()) for _ in range(2))
    session: SSL.Session | None = None
    for _ in range(3):
        dialling, _guard = one.open(other.peer_id, is_dialler=True)
        accepting, _guard = other.open(None, is_dialler=False)
        if session is not None:
            dialling.set_session(session)
        looked.clear()
        shake_hands(dialling, accepting)
        with suppressed():
            dialling.recv(1)
        assert set(looked) == {one, other}
        session = dialling.get_session()
        assert session is not None
        for tls in (dialling, accepting):
            tls.shutdown()  # else OpenSSL would forget the session by itself


def suppressed() -> contextlib.suppress:
    """TLS waits for more, as it does all the time."""
    return contextlib.suppress(SSL.WantReadError)


def move(one: SSL.Connection, other: SSL.Connection) -> None:
    with suppressed():
        while True:
            other.bio_write(one.bio_read(65_536))


# --- what comes over it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        encode(items("hello")),
        encode(Ping(1)),
        encode(Bye("exit")),
        b"\0\0\0\0",
        b"\xff" * 8,
        (70_000).to_bytes(4, "big") + b"\x01",
        b'alice: "hello"',
    ],
    ids=["items", "ping", "bye", "empty", "longest", "long", "classic"],
)
def test_what_comes_before_hello_ends_it(data: bytes) -> None:
    """Guards "HELLO first": nobody above hears of the link."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(data)
            await attacker.ending()
            assert bob.opened == []

    run(main)


def test_hello_comes_once() -> None:
    """A second one would be another record for the same key; the link ends."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            frame = encode(hello(PeerId(own_key(attacker))))
            await attacker.send(frame)
            await bob.next_link()
            await attacker.send(frame)
            await attacker.ending()
            await until(lambda: bob.reasons == ["second-hello"])

    run(main)


def test_what_is_no_frame_ends_it() -> None:
    """And the frames before it in the same turn go with it: they come again on the next link."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            await bob.next_link()
            await attacker.send(encode(items("hello")) + b"\0\0\0\x01\xff")
            await until(lambda: bob.reasons == ["unknown-type"])

    run(main)


@pytest.mark.parametrize(
    "data",
    [b'alice: "hello"', b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x17" * 100],
    ids=["classic", "HTTP", "TLS again", "garbage"],
)
def test_plain_bytes_behind_tls_end_it(data: bytes) -> None:
    """The choice of the first byte is final: what is not under the keys is nothing but an end."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.shake_hands()
            await attacker.send(encode(hello(PeerId(own_key(attacker)))))
            await bob.next_link()
            await attacker.write(data)
            await attacker.ending()
            await until(lambda: bob.reasons == ["broken"])
            assert bob.classic == bob.received == []

    run(main)


def test_key_updates_are_taken_and_a_flood_of_them_is_not() -> None:
    """Guards LINK_BARREN_BYTES_MAX: OpenSSL counts them not at all, and each costs a derivation."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker, forger = await forging(bob.address)
            key = PeerId(own_key(attacker))
            await attacker.write(forger.record(23, encode(hello(key))))
            await bob.next_link()
            for number in range(3):
                updates = b"".join(forger.key_update() for _ in range(500))
                await attacker.write(updates + forger.record(23, encode(items(str(number)))))
            await until(lambda: len(bob.received) == 3)
            assert bob.lost == []
            flood = b"".join(forger.key_update() for _ in range(LINK_BARREN_BYTES_MAX // 27 + 700))
            await attacker.write(flood)
            await until(lambda: bob.reasons == ["chatter"])

    run(main)


def test_answers_to_key_updates_do_not_heap_up() -> None:
    """Guards the drain after each read: the peer asks again and again, and we have nothing to say.

    Each answer would otherwise lie in OpenSSL's buffer until our next frame.
    """

    async def main() -> None:
        async with people(1) as (bob,):
            attacker, forger = await forging(bob.address)
            await attacker.write(forger.record(23, encode(hello(PeerId(own_key(attacker))))))
            link = await bob.next_link()
            for number in range(200):
                update = forger.key_update()
                await attacker.write(update + forger.record(23, encode(items(str(number)))))
                await until(lambda number=number: len(bob.received) == number + 1)
            with pytest.raises(SSL.WantReadError):
                link._tls.bio_read(1)

    run(main)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (22, b"\x01\0\0\x04abcd"),
        (22, b"\x0d\0\0\x03\0\0\0"),
        (22, b"\x04\0\0\x0d" + bytes(13)),
        (22, b"\x18\0\0\x01\x07"),
        (22, b"\x18\xff\xff\xff" + bytes(1_000)),
        (23, b""),
        (20, b"\x01"),
        (21, b"\x02\x28"),
        (99, b"hello"),
    ],
    ids=[
        "renegotiation",
        "certificate request",
        "ticket",
        "odd key update",
        "endless key update",
        "nothing",
        "change cipher",
        "fatal alert",
        "unknown kind",
    ],
)
def test_what_tls_itself_refuses_ends_it(kind: int, data: bytes) -> None:
    """Renegotiation and all that TLS 1.3 has no place for; the text behind it is not delivered."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker, forger = await forging(bob.address)
            await attacker.write(forger.record(23, encode(hello(PeerId(own_key(attacker))))))
            await bob.next_link()
            text = forger.record(23, encode(items("before")))
            await attacker.write(text + forger.record(kind, data) * 2)
            await attacker.ending()
            await until(lambda: bool(bob.lost))
            assert bob.reasons == ["broken"]

    run(main)


def test_half_a_key_update_does_not_stop_our_writing() -> None:
    """The other half never comes; OpenSSL still writes, or the link ends: it never hangs."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker, forger = await forging(bob.address)
            await attacker.write(forger.record(23, encode(hello(PeerId(own_key(attacker))))))
            link = await bob.next_link()
            await attacker.read()
            await attacker.write(forger.record(22, b"\x18\0\0"))
            link.send(items("hello"))
            await attacker.read()

    run(main)


async def exchange(alice: Person, bob: Person, address: Address) -> bool:
    """Link, say one thing each way, and tell whether all of it came through."""
    try:
        link = await alice.dial(bob, address)
    except DialError:
        return False
    link.send(items("there"))
    await until(lambda: bool(bob.received or alice.lost))
    if bob.received:
        bob.opened[-1].send(items("back"))
        await until(lambda: bool(alice.received or alice.lost))
    return bool(alice.received)


def test_one_flipped_bit_anywhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the handshake and behind it, in both directions; and nothing wrong is ever delivered."""

    async def main() -> None:
        async with people(2) as (alice, bob), wire(bob.address) as (between, address):
            assert await exchange(alice, bob, address)
            sizes = (len(between.sent), len(between.answered))
        assert min(sizes) > 1_900
        # Where a length was hit, an end waits for more.
        monkeypatch.setattr(link_module, "LINK_HELLO_S", 0.3)
        monkeypatch.setattr(link_module, "CLOSE_WAIT_S", 0.05)
        for size, is_there in zip(sizes, (True, False), strict=True):
            for offset in range(0, size - 30, 23):
                change = flipped(offset)
                there, back = (change, unchanged) if is_there else (unchanged, change)
                async with people(2) as (alice, bob), wire(bob.address, there, back) as (_, at):
                    assert not await exchange(alice, bob, at), (is_there, offset)
                    assert bob.received in ([], [items("there")])
                    assert alice.received == []

    run(main, 120)


# --- dialling ------------------------------------------------------------------------------------


async def reason_of_dialling(person: Person, address: Address, pin: PeerId) -> str:
    with pytest.raises(DialError) as caught:
        await dial_link(address, pin, person.credentials, person.hello, person)
    assert person.opened == []
    return caught.value.reason


SOMEBODY = Identity.generate().peer_id


async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """A listener that is full does this."""


async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def talk_rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x81" * 5_000)
    await reader.read()


async def talk_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


async def talk_rubbish_in_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"\x16\x03\x03\0\x10" + b"A" * 16)
    await reader.read()


async def be_a_classic_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads once, finds no message in it, and closes without an answer."""
    await reader.read(1_024)


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (hang_up, "broken"),
        (be_a_classic_server, "broken"),
        (say_nothing, "timeout"),
        (talk_rubbish, "not-netchat"),
        (talk_http, "not-netchat"),
        (talk_rubbish_in_tls, "broken"),
    ],
)
def test_who_is_no_node_gets_the_beginning_of_tls_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    reason: str,
) -> None:
    """Whatever fails, not one classic byte is written, and nobody dials a second time in plain.

    Guards that a link never falls back: every byte is inside a record of the handshake or an alert.
    """
    if reason == "timeout":
        monkeypatch.setattr(link_module, "LINK_HELLO_S", 0.05)

    async def main() -> None:
        alice = Person()
        async with serving(serve) as address, wire(address) as (between, at):
            assert await reason_of_dialling(alice, at, SOMEBODY) == reason
            await until(lambda: len(between.sent) > 0)
            await asyncio.sleep(0.05)  # a fallback would come now
            assert len(between._writers) == 2, "one connection, both of its ends"
            records = records_of(bytes(between.sent))
            assert records[0][0] == 0x16
            assert {record[0] for record in records} <= {0x16, 0x15, 0x14}
            assert alice.identity.peer_id.value not in between.sent
            assert b'"' + b"hello" not in between.sent

    run(main)


def test_nobody_listens_there() -> None:
    """As for classic messages: the reasons of connecting are the same."""

    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # bound, never listening: it refuses
            address = Address(*bound.getsockname())
            assert await reason_of_dialling(Person(), address, SOMEBODY) == "refused"
        address = Address("224.0.0.1", 5_000)
        assert await reason_of_dialling(Person(), address, SOMEBODY) == "unreachable"

    run(main)


class Server:
    """A TLS server by hand, and whether it saw the dialler's certificate."""

    def __init__(self, made: SSL.Context, said: bytes = b"") -> None:
        self._made = made
        self._said = said
        self.seen: Certificate | None = None
        self.is_done = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = SSL.Connection(self._made, None)
        tls.set_accept_state()
        attacker = Attacker(tls)
        attacker.reader, attacker.writer = reader, writer
        try:
            await attacker.shake_hands()
            await attacker.send(self._said)
            await attacker.ending()
        except SSL.Error:
            pass
        finally:
            self.seen = tls.get_peer_certificate(as_cryptography=True)
            self.is_done = True


def test_an_impostor_never_sees_who_dials() -> None:
    """Guards two lines, of which one is enough: the pin in the verify callback, and the look before
    ``_drain`` lets our certificate go. A check any later would refuse too, but the impostor would
    know our key by then.
    """

    async def main() -> None:
        alice = Person()
        impostor = Server(context())
        async with serving(impostor) as address:
            assert await reason_of_dialling(alice, address, SOMEBODY) == "wrong-key"
            await until(lambda: impostor.is_done)
        assert impostor.seen is None

    run(main)


def test_who_is_dialled_sees_who_dials() -> None:
    """The control: the one who holds the key does see our certificate; and a node may refuse it."""

    async def main() -> None:
        alice = Person()
        friend = Ed25519PrivateKey.generate()
        pin = PeerId(friend.public_key().public_bytes_raw())
        honest = Server(context(friend), encode(hello(pin)) + encode(items("hello")))
        refusing = Refusing()
        async with serving(honest) as address:
            await dial_link(address, pin, alice.credentials, alice.hello, refusing)
            await until(lambda: refusing.is_done and honest.is_done)
        assert honest.seen is not None

    run(main)


class Refusing:
    """Somebody who looks at a HELLO and does not like it."""

    is_done = False

    def link_opened(self, link: Link) -> None:
        link.abort()

    def link_received(self, link: Link, frames: Sequence[Frame]) -> None:
        raise AssertionError

    def link_lost(self, link: Link, reason: str) -> None:
        assert reason == "aborted"
        self.is_done = True

    def link_writable(self, link: Link) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda key: only_classical(context(key)), "not-netchat"),
        (lambda key: context(key, alpn=None), "not-netchat"),
        (lambda key: context(key, alpn=b"h2"), "broken"),
    ],
    ids=["classical group", "no ALPN", "h2"],
)
def test_a_server_that_is_no_node(
    make: Callable[[Ed25519PrivateKey], SSL.Context], reason: str
) -> None:
    """It holds the right key, and still gets no HELLO. Guards the look after the handshake."""

    async def main() -> None:
        alice = Person()
        key = Ed25519PrivateKey.generate()
        pin = PeerId(key.public_key().public_bytes_raw())
        server = Server(make(key))
        async with serving(server) as address:
            assert await reason_of_dialling(alice, address, pin) == reason

    run(main)


def test_a_server_with_another_kind_of_key() -> None:
    """P-256: nobody of ours, whatever the pin."""

    async def main() -> None:
        async with serving(Server(p_256())) as address:
            assert await reason_of_dialling(Person(), address, SOMEBODY) == "not-netchat"

    run(main)


def test_who_gives_up_dialling_leaves_nothing_open() -> None:
    """At every point of it; an open socket would be a warning here, and a lost error a trace."""

    async def main() -> None:
        async with people(2) as (alice, bob):
            for turns in range(30):
                async with asyncio.TaskGroup() as tasks:
                    dialling = tasks.create_task(alice.dial(bob))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    if not dialling.cancel():
                        dialling.result().abort()
                await until(lambda: len(alice.lost) == len(alice.opened))

    run(main)


def test_dialling_a_listener_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is worth another try later."""
    monkeypatch.setattr(listener_module, "LINKS_MAX", 0)

    async def main() -> None:
        async with people(2) as (alice, bob):
            assert await reason_of_dialling(alice, bob.address, bob.peer_id) == "broken"

    run(main)

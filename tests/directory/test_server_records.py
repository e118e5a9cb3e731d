"""Signed records over HTTP: who gets a name, who is present, and what a thief can do about it."""

import asyncio
import json
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.directory.people import ALICE, BOB, CAROL, MALLORY, person, signed
from tests.directory.site import START, Answer, Site, run, serving, with_site

from netchat.directory import nonces
from netchat.directory import signed as signed_module
from netchat.directory.records import open_record, sign_request
from netchat.directory.registry import Refused
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import StoreUnavailable
from netchat.limits import (
    LEASE_S_MAX,
    NONCE_LIFE_MS,
    RECORD_AHEAD_MS_MAX,
    RECORD_BYTES_MAX,
    SIGNED_BODY_BYTES_MAX,
)
from netchat.model import Address, Name, SignedRecord
from netchat.wire.directory_v2 import Kind, parse_log
from netchat.wire.records import Envelope, format_envelope, parse_envelope

V6 = Address("2001:db8::7", 6_000)
BOTH_KINDS = pytest.mark.parametrize("kind", list(Kind))


async def is_present(site: Site, name: str) -> bool:
    answer = await site.ask("GET", f"/v2/records/{name}")
    assert answer.status == 200
    return {"yes": True, "no": False}[answer.headers["NetChat-Present"]]


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    sentence = answer.json["message"]
    assert sentence.endswith(".")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.nonce


# --- what it is ----------------------------------------------------------------------------------


@BOTH_KINDS
def test_what_a_directory_says_of_itself(kind: Kind) -> None:
    """A meeting point has no mailboxes, and says so."""

    async def deed(site: Site) -> None:
        answer = await site.ask("GET", "/v2/directory")
        assert answer.json == {
            "id": b64encode(site.id).decode(),
            "kind": kind.value,
            "mailboxes": kind is Kind.LASTING,
            "now_ms": START,
        }
        assert answer.headers["Server"] == "NetChat"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        head = await site.ask("HEAD", "/v2/directory")
        assert (head.status, head.body) == (200, b"")

    with_site(deed, kind=kind)


def test_each_answer_brings_another_nonce() -> None:
    """A refusal too."""

    async def deed(site: Site) -> None:
        paths = ("/v2/directory", "/v2/directory", "/v2/records/bob", "/v2/nothing", "/v2/log")
        found = [(await site.ask("GET", path)).nonce for path in paths]
        assert len(set(found)) == len(paths)

    with_site(deed)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/", 404, "no-such-path"),
        ("GET", "/v2/nothing", 404, "no-such-path"),
        ("POST", "/v2/directory", 405, "no-such-method"),
        ("GET", "/v2/keep", 405, "no-such-method"),
        ("DELETE", "/v2/records/bob", 405, "no-such-method"),
        ("PUT", "/v2/records", 405, "no-such-method"),
        ("GET", "/v2/records/", 400, "bad-name"),
        ("GET", "/v2/records/all", 400, "bad-name"),
        ("GET", "/v2/records/a%2Fb", 400, "bad-name"),
        ("GET", "/v2/records/bob", 404, "no-such-record"),
        ("GET", "/v2/records?after=-", 400, "bad-name"),
        ("GET", "/v2/records?limit=x", 400, "malformed"),
        ("GET", "/v2/records?limit=-1", 400, "malformed"),
        ("GET", "/v2/records?limit=%D9%A1", 400, "malformed"),
        ("GET", "/v2/log?after=99999999999999999", 400, "malformed"),
        ("GET", "/v2/log?name=", 400, "bad-name"),
        ("GET", "/v2/live", 400, "malformed"),
        ("PUT", "/v2/records/bob", 400, "malformed"),
        ("POST", "/v2/keep", 400, "malformed"),
        ("POST", "/v2/mail/fetch", 400, "malformed"),
        ("POST", "/v2/operator/release", 403, "not-the-operator"),
    ],
)
def test_a_request_that_is_refused(method: str, path: str, status: int, code: str) -> None:
    """By a code for programs and a sentence for people."""

    async def deed(site: Site) -> None:
        assert_refused(await site.ask(method, path), status, code)

    with_site(deed)


# --- claims --------------------------------------------------------------------------------------


@BOTH_KINDS
def test_a_claim_is_found_and_listed(kind: Kind) -> None:
    """The record byte for byte as it came; the first IPv4 address in the classic list."""

    async def deed(site: Site) -> None:
        one = signed(ALICE, "Alice", addresses=(V6, Address("192.0.2.7", 5_000)))
        answer = await site.claim(ALICE, one)
        assert (answer.status, answer.json) == (200, {"until_ms": START + 60_000})
        found = await site.ask("GET", "/v2/records/aLICE")
        assert found.body == one.envelope
        assert found.headers["NetChat-Present"] == "yes"
        assert found.headers["Content-Type"] == "application/json"
        assert await site.list() == ["Alice@192.0.2.7:5000"]
        lookup = await site.ask("GET", "/userlist.txt?username=alice")
        assert lookup.body == b"192.0.2.7:5000"

    with_site(deed, kind=kind)


def test_who_has_only_ipv6_is_present_but_not_listed() -> None:
    """A classic list cannot hold such an address."""

    async def deed(site: Site) -> None:
        assert (await site.claim(ALICE, signed(ALICE, "alice", addresses=(V6,)))).status == 200
        assert await site.list() == []
        assert (await site.ask("GET", "/userlist.txt?username=alice")).status == 404
        assert await is_present(site, "alice")

    with_site(deed)


def test_a_key_takes_what_a_classic_client_had() -> None:
    """From then on the classic client is refused, and the key's address is listed."""

    async def deed(site: Site) -> None:
        update = b"UPDATE alice@192.0.2.9:9"
        assert (await site.ask("POST", "/", update)).status == 200
        assert (await site.claim(ALICE, signed(ALICE, "alice"))).status == 200
        assert await site.list() == ["alice@127.0.0.1:6000"]
        assert (await site.ask("POST", "/", update)).status == 409
        register = b"REGISTER alice@192.0.2.9:9"
        assert (await site.ask("POST", "/userlist.txt", register)).status == 409
        await site.leave(ALICE, "alice")
        assert (await site.ask("POST", "/", update)).status == 409
        assert await site.list() == []

    with_site(deed)


def test_classic_and_signed_at_once_leave_one_truth() -> None:
    """However they are interleaved, the key has the name in the end, and its lease."""

    async def deed(site: Site) -> None:
        for number in range(20):
            who, name = person(number), f"p{number}x"
            claim = await site.request(who, "claim", record=signed(who, name).envelope.decode())
            update = f"UPDATE {name}@192.0.2.9:9".encode()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(site.ask("POST", "/", update))
                tasks.create_task(site.ask("PUT", f"/v2/records/{name}", claim))
                for _ in range(3):
                    tasks.create_task(site.ask("POST", "/", update))
            lease = site.store.lease(Name(name))
            assert lease is not None
            assert (lease.holder, lease.durable) == (who.peer_id.value, False)
        durable = site.store._connection.execute("SELECT count(*) FROM lease").fetchone()
        assert durable == (0,)

    with_site(deed)


def test_a_record_is_renewed_by_its_key() -> None:
    """With a larger number; the same once more is no error, and renews the lease."""

    async def deed(site: Site) -> None:
        one = signed(ALICE, "alice", seq=1)
        two = signed(ALICE, "alice", seq=2, addresses=(Address("127.0.0.1", 7_000),))
        for each in (one, one, two, two):
            assert (await site.claim(ALICE, each)).status == 200
            site.now_ms += 59_999
        assert await site.list() == ["alice@127.0.0.1:7000"]
        assert_refused(await site.claim(ALICE, one), 409, "stale")
        assert (await site.ask("GET", "/v2/records/alice")).body == two.envelope

    with_site(deed)


def without(envelope: bytes, number: int) -> bytes:
    """Return a record with one of its signatures missing."""
    opened = parse_envelope(envelope)
    kept = tuple(x for index, x in enumerate(opened.signatures) if index != number)
    return format_envelope(Envelope(opened.kind, opened.payload, kept))


def test_a_name_moves_to_another_key_with_both_signatures_only() -> None:
    """Without the old one it is another's claim; without the new one nobody proved that key."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        rotation = signed(BOB, "alice", old=ALICE, seq=2)
        for number, code in ((1, "name-held"), (0, "malformed")):
            stripped = SignedRecord(rotation.record, without(rotation.envelope, number))
            assert (await site.claim(BOB, stripped)).code == code
        assert (await site.claim(BOB, rotation)).status == 200
        assert_refused(await site.claim(ALICE, signed(ALICE, "alice", seq=3)), 409, "name-held")
        assert_refused(await site.keep(ALICE, "alice"), 409, "name-held")
        assert (await site.keep(BOB, "alice")).status == 200

    with_site(deed)


REFUSED_CLAIMS = {
    "another key": (MALLORY, signed(MALLORY, "alice", seq=9), 409, "name-held"),
    "another's record": (MALLORY, signed(ALICE, "alice"), 403, "not-yours"),
    "a rotation that the new key did not ask for": (
        ALICE, signed(MALLORY, "alice", old=ALICE, seq=9), 403, "not-yours"
    ),
    "a name that looks like one": (MALLORY, signed(MALLORY, "a1ice"), 409, "look-alike"),
    "a name that looks like a reserved one": (
        MALLORY, signed(MALLORY, "netchat."), 409, "look-alike"
    ),
    "a record from the future": (
        CAROL,
        signed(CAROL, "carol", issued_ms=START + RECORD_AHEAD_MS_MAX + 1),
        400,
        "issued-ahead",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("who", "claim", "status", "code"), REFUSED_CLAIMS.values(), ids=REFUSED_CLAIMS.keys()
)
def test_a_claim_that_is_refused(who: object, claim: SignedRecord, status: int, code: str) -> None:
    """And nothing has changed."""

    async def deed(site: Site) -> None:
        one = signed(ALICE, "alice")
        await site.claim(ALICE, one)
        answer = await site.claim(who, claim)  # type: ignore[arg-type]  # an Identity
        assert_refused(answer, status, code)
        assert (await site.ask("GET", "/v2/records/alice")).body == one.envelope
        assert len((await site.ask("GET", "/v2/log")).json["entries"]) == 1

    with_site(deed)


def test_a_look_alike_is_told_what_it_looks_like() -> None:
    """The person chooses another name then."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "Alice"))
        answer = await site.claim(MALLORY, signed(MALLORY, "AIice"))
        assert answer.json["message"] == "This name looks like Alice; choose another one."

    with_site(deed)


def test_a_record_is_claimed_at_its_own_name() -> None:
    """Else a proxy that looks at paths would see something else."""

    async def deed(site: Site) -> None:
        answer = await site.claim(ALICE, signed(ALICE, "alice"), name="bob")
        assert_refused(answer, 400, "malformed")

    with_site(deed)


# --- leases --------------------------------------------------------------------------------------


def test_a_lease_ends_unless_it_is_kept() -> None:
    """Seconds of the directory's own clock, from the last request; the name stays the key's."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        site.now_ms += 59_999
        kept = await site.keep(ALICE, "ALICE")
        assert kept.json == {"until_ms": site.now_ms + 60_000}
        site.now_ms += 59_999
        assert await site.list() == ["alice@127.0.0.1:6000"]
        assert await is_present(site, "alice")
        site.now_ms += 1
        assert await site.list() == []
        assert not await is_present(site, "alice")
        assert_refused(await site.claim(MALLORY, signed(MALLORY, "alice")), 409, "name-held")

    with_site(deed)


def test_nobody_gets_a_longer_lease_than_anybody() -> None:
    """Not by keeping it either."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice", lease_s=LEASE_S_MAX))
        for answer in [await site.keep(ALICE, "alice") for _ in range(2)]:
            assert answer.json == {"until_ms": START + LEASE_S_MAX * 1_000}

    with_site(deed)


def test_a_lease_that_was_forgotten_is_kept_from_the_record() -> None:
    """After a restart, or a sweep, a node need not claim again."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        site.now_ms += 60_000
        await site.store.sweep(site.now_ms)
        assert (await site.keep(ALICE, "alice")).status == 200
        assert await site.list() == ["alice@127.0.0.1:6000"]

    with_site(deed)


def test_one_key_on_two_computers_does_not_fight_over_its_name() -> None:
    """The newer record stands while its computer is present; then the older one claims anew."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice", seq=1))
        await site.claim(ALICE, signed(ALICE, "alice", seq=2))
        first = await site.signed(ALICE, "/v2/keep", "keep", name="alice", seq=1)
        assert_refused(first, 409, "moved")
        assert (await site.signed(ALICE, "/v2/keep", "keep", name="alice", seq=2)).status == 200
        await site.signed(ALICE, "/v2/leave", "leave", name="alice")
        first = await site.signed(ALICE, "/v2/keep", "keep", name="alice", seq=1)
        assert_refused(first, 404, "no-such-record")
        second = await site.signed(ALICE, "/v2/keep", "keep", name="alice", seq=2)
        assert second.status == 200
        site.now_ms += 60_000
        first = await site.signed(ALICE, "/v2/keep", "keep", name="alice", seq=1)
        assert_refused(first, 404, "no-such-record")

    with_site(deed)


def test_what_nobody_holds_is_not_kept() -> None:
    """The node has to claim it: this is another directory, or a new meeting point."""

    async def deed(site: Site) -> None:
        await site.ask("POST", "/", b"UPDATE alice@192.0.2.9:9")
        assert_refused(await site.keep(ALICE, "alice"), 404, "no-such-record")
        assert_refused(await site.keep(ALICE, "bob"), 404, "no-such-record")

    with_site(deed)


def test_who_leaves_ends_its_own_lease_only() -> None:
    """Twice is no error; nobody ends another's."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        assert (await site.leave(MALLORY, "alice")).status == 200
        assert_refused(await site.keep(MALLORY, "alice"), 409, "name-held")
        assert await is_present(site, "alice")
        for _ in range(2):
            assert (await site.leave(ALICE, "alice")).status == 200
            assert not await is_present(site, "alice")

    with_site(deed)


# --- requests count once, here, for one key -------------------------------------------------------


def test_a_request_counts_once() -> None:
    """Who listens on the line cannot send it again. Guards ``spend`` in ``_open``."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        leave = await site.request(ALICE, "leave", name="alice")
        assert (await site.ask("POST", "/v2/leave", leave)).status == 200
        await site.keep(ALICE, "alice")
        assert_refused(await site.ask("POST", "/v2/leave", leave), 401, "bad-nonce")
        assert await is_present(site, "alice")

    with_site(deed)


def test_a_request_that_was_refused_counts_too() -> None:
    """Its nonce is used, whatever came of it."""

    async def deed(site: Site) -> None:
        keep = await site.request(ALICE, "keep", name="alice")
        assert (await site.ask("POST", "/v2/keep", keep)).code == "no-such-record"
        await site.claim(ALICE, signed(ALICE, "alice"))
        assert (await site.ask("POST", "/v2/keep", keep)).code == "bad-nonce"

    with_site(deed)


def test_a_request_is_of_one_directory() -> None:
    """One that was sent to another directory does not count here, nonce or not."""

    async def main() -> None:
        async with serving() as here, serving() as there:
            assert here.id != there.id
            leave = sign_request(ALICE, "leave", there.id, await here.nonce(), {"name": "alice"})
            assert_refused(await here.ask("POST", "/v2/leave", leave), 401, "wrong-directory")
            stolen = sign_request(ALICE, "leave", here.id, await there.nonce(), {"name": "alice"})
            assert_refused(await here.ask("POST", "/v2/leave", stolen), 401, "bad-nonce")

    run(main)


def test_a_request_is_of_one_operation() -> None:
    """A path does not give it another meaning."""

    async def deed(site: Site) -> None:
        leave = await site.request(ALICE, "leave", name="alice")
        assert_refused(await site.ask("POST", "/v2/keep", leave), 400, "malformed")

    with_site(deed)


def test_a_nonce_has_its_time() -> None:
    """A request that lay around for a minute is nobody's wish any more."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        for late_ms, code in ((NONCE_LIFE_MS - 1, ""), (NONCE_LIFE_MS, "bad-nonce")):
            keep = await site.request(ALICE, "keep", name="alice")
            site.now_ms += late_ms
            assert (await site.ask("POST", "/v2/keep", keep)).code == code

    with_site(deed)


def test_too_many_requests_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the oldest nonces are forgotten; nothing is ever taken twice instead."""
    monkeypatch.setattr(nonces, "NONCES_SPENT_MAX", 2)

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        assert (await site.keep(ALICE, "alice")).status == 200
        assert_refused(await site.keep(ALICE, "alice"), 503, "busy")
        site.now_ms += NONCE_LIFE_MS
        assert (await site.keep(ALICE, "alice")).status == 200

    with_site(deed)


def test_a_signature_of_another_key_does_not_count() -> None:
    """The key that a request names has to have signed it."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        body = await site.request(MALLORY, "leave", name="alice")
        forged = body.replace(str(MALLORY.peer_id).encode(), str(ALICE.peer_id).encode())
        assert_refused(await site.ask("POST", "/v2/leave", forged), 401, "bad-signature")
        assert await is_present(site, "alice")

    with_site(deed)


@pytest.mark.parametrize("path", ["/v2/keep", "/v2/records/alice", "/v2/mail/deposit"])
def test_web_pages_change_nothing(path: str) -> None:
    """A page in somebody's browser can reach a directory; browsers say where it is from."""

    async def deed(site: Site) -> None:
        method = "PUT" if "records" in path else "POST"
        answer = await site.ask(method, path, b"{}", {"Origin": "http://evil"})
        assert_refused(answer, 403, "web-page")
        assert (await site.ask("GET", "/v2/log", headers={"Origin": "http://x"})).status == 200

    with_site(deed)


# --- limits --------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused() -> None:
    """A record inside a request, too."""

    async def deed(site: Site) -> None:
        answer = await site.ask("POST", "/v2/keep", b"x" * (SIGNED_BODY_BYTES_MAX + 1))
        assert_refused(answer, 413, "too-large")
        large = await site.request(ALICE, "claim", record="x" * (RECORD_BYTES_MAX + 1))
        assert_refused(await site.ask("PUT", "/v2/records/alice", large), 413, "too-large")

    with_site(deed)


class FailingStore(EmbeddedStore):
    """A store whose disk refuses claims."""

    async def claim(self, signed: SignedRecord, now_ms: int) -> Refused:
        raise StoreUnavailable("disk is full")


def test_a_disk_that_refuses_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """503 for the node, the reason for who runs the directory; nobody is present by it."""

    async def main() -> None:
        async with serving(store=FailingStore(":memory:")) as site:
            answer = await site.claim(ALICE, signed(ALICE, "alice"))
            assert_refused(answer, 503, "store-unavailable")
            assert await site.list() == []

    run(main)
    assert [record.getMessage() for record in caplog.records] == ["request failed: disk is full"]


bodies = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([signed(ALICE, "alice").envelope, b'{"request":"{}","envelope":"AAAA"}']),
    st.dictionaries(
        st.sampled_from(["payload", "payloadType", "signatures", "request", "envelope", "name"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=9), st.lists(st.integers())),
    ).map(lambda value: json.dumps(value).encode()),
)


@given(st.lists(bodies, min_size=20, max_size=20))
@settings(max_examples=10)
def test_any_body_is_refused_by_a_code(many: list[bytes]) -> None:
    """Nothing that is posted is an error of the directory's."""

    async def deed(site: Site) -> None:
        paths = [
            ("PUT", "/v2/records/alice"), ("POST", "/v2/keep"), ("POST", "/v2/leave"),
            ("POST", "/v2/mail/deposit"), ("POST", "/v2/mail/fetch"),
        ]  # fmt: skip
        for number, body in enumerate(many):
            answer = await site.ask(*paths[number % len(paths)], body)
            assert_refused(answer, answer.status, answer.code)
            assert answer.status < 500

    with_site(deed)


# --- reading -------------------------------------------------------------------------------------


def test_records_are_listed_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with whether it is present, in order, whatever the size of a page; the end is empty."""
    monkeypatch.setattr(signed_module, "LIST_PAGE_MAX", 3)

    async def deed(site: Site) -> None:
        for number in range(5):
            await site.claim(person(number), signed(person(number), f"p{number}"))
        await site.leave(person(3), "p3")
        found: list[tuple[str, bool]] = []
        after = ""
        while True:
            page = (await site.ask("GET", f"/v2/records?limit=99{after}")).json
            for one in page["records"]:
                record = open_record(one["envelope"].encode()).record
                found.append((record.name.shown, one["present"]))
            if page["next"] is None:
                break
            assert len(page["records"]) <= 3
            after = f"&after={page['next']}"
        assert found == [(f"p{number}", number != 3) for number in range(5)]

    with_site(deed)


def test_the_log_is_open_to_everybody() -> None:
    """Unsigned: who holds a name can see whether the directory gave it to somebody else."""

    async def deed(site: Site) -> None:
        await site.claim(ALICE, signed(ALICE, "alice"))
        await site.claim(BOB, signed(BOB, "bob"))
        await site.claim(CAROL, signed(CAROL, "alice", old=ALICE, seq=2))
        entries = parse_log((await site.ask("GET", "/v2/log")).body)
        assert [(one.n, str(one.name), one.event.value) for one in entries] == [
            (1, "alice", "claim"), (2, "bob", "claim"), (3, "alice", "rotate")
        ]  # fmt: skip
        rest = parse_log((await site.ask("GET", "/v2/log?after=1&limit=1")).body)
        assert rest == entries[1:2]
        own = parse_log((await site.ask("GET", "/v2/log?name=ALICE")).body)
        assert own == (entries[0], entries[2])

    with_site(deed)


def test_the_id_is_the_same_after_a_restart(tmp_path: object) -> None:
    """And another directory has another one."""

    async def main() -> None:
        found = []
        for file in ("one", "one", "two"):
            async with serving(store=EmbeddedStore(f"{tmp_path}/{file}.db")) as site:
                found.append(site.id)
                assert len(site.id) == 16
        assert found[0] == found[1] != found[2]

    run(main)

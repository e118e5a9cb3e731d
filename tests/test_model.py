"""The values of the model: what they refuse, and that a stranger's text can do no harm."""

import itertools
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, expanded, many_examples

from netchat.errors import InvalidAddress, InvalidKey, InvalidName
from netchat.limits import FILE_NAME_BYTES_MAX, NAME_CHARS_MAX
from netchat.model import (
    COMBINING_MAX,
    FILE_NAME_UNNAMED,
    RESERVED_NAMES,
    Address,
    ClaimedName,
    DisplayText,
    FileName,
    Message,
    MessageId,
    MessageState,
    Name,
    PeerId,
    Span,
    origin_of,
    parse_contact,
)

# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a", "7", "Alice", "a.b_c-9", "a.", "a" * NAME_CHARS_MAX, "users"]
)
def test_a_name(text: str) -> None:
    """A name is shown as it is written, and known by its small letters."""
    name = Name(text)
    assert str(name) == name.shown == text
    assert name.key == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "", "-a", ".a", "_a", "~a", " a", "a ", "a b", "a/b", "a:b", "a@b", 'a"b', "a,b", "a\n",
        "a\tb", "a\0b", "é", "\uff41", "a" * (NAME_CHARS_MAX + 1),
    ],
)  # fmt: skip
def test_no_name(text: str) -> None:
    """Whatever could end, split or disguise a name is refused."""
    with pytest.raises(InvalidName) as refusal:
        Name(text)
    assert refusal.value.text == text
    assert not refusal.value.reserved


@pytest.mark.parametrize("text", sorted(RESERVED_NAMES))
@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_a_reserved_name(text: str, spelling: Callable[[str], str]) -> None:
    """What the prompt or the wire gives a meaning of its own is nobody's name, in any letters."""
    with pytest.raises(InvalidName) as refusal:
        Name(spelling(text))
    assert refusal.value.reserved


def test_names_are_compared_without_regard_to_case() -> None:
    """Bob and bob are one person: equal, of one hash, of one place in an order."""
    assert Name("Bob") == Name("bob")
    assert len({Name("Bob"), Name("bob"), Name("BOB")}) == 1
    assert sorted([Name("carol"), Name("Bob"), Name("alice")]) == [
        Name("alice"),
        Name("bob"),
        Name("carol"),
    ]
    assert Name("alice") <= Name("ALICE")


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9._-]{1,40}"))
@many_examples
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """A name is ASCII of bounded length that no grammar of ours splits; all else is refused."""
    try:
        name = Name(text)
    except InvalidName:
        return
    assert name.shown == text
    assert name.shown.isascii()
    assert 1 <= len(name.shown) <= NAME_CHARS_MAX
    assert not set(name.shown) & set(' @:,[]"/\\~\r\n\t\0')


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "written"),
    [
        ("192.0.2.7:54321", "192.0.2.7", 54_321, "192.0.2.7:54321"),
        ("0.0.0.0:1", "0.0.0.0", 1, "0.0.0.0:1"),
        ("192.0.2.7:00080", "192.0.2.7", 80, "192.0.2.7:80"),
        ("[2001:db8::7]:65535", "2001:db8::7", 65_535, "[2001:db8::7]:65535"),
        ("[::]:80", "::", 80, "[::]:80"),
        ("[fe80::1%eth0.1]:80", "fe80::1%eth0.1", 80, "[fe80::1%eth0.1]:80"),
    ],
)
def test_an_address(text: str, host: str, port: int, written: str) -> None:
    """An address is read, and written so that it is read as the same."""
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == written
    assert Address.parse(written) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not-host-port"),
        ("192.0.2.7", "not-host-port"),
        ("192.0.2.7:", "not-host-port"),
        ("192.0.2.7:+80", "not-host-port"),
        ("192.0.2.7:\uff18\uff10", "not-host-port"),
        ("192.0.2.7:80:80", "not-host-port"),
        ("2001:db8::7:80", "not-host-port"),
        ("[2001:db8::7:80", "not-host-port"),
        ("192.0.2.7:0", "no-such-port"),
        ("192.0.2.7:65536", "no-such-port"),
        (":80", "not-an-ip-address"),
        ("[]:80", "not-an-ip-address"),
        ("[192.0.2.7]:80", "not-an-ip-address"),
        ("localhost:80", "not-an-ip-address"),
        ("192.0.2.07:80", "not-an-ip-address"),
        ("127.1:80", "not-an-ip-address"),
        ("[fe80::1%]:80", "not-an-ip-address"),
        ("[fe80::1%\x1b[2J]:80", "not-an-ip-address"),
        ("[fe80::1%a b]:80", "not-an-ip-address"),
        ("[fe80::1%..]:80", "not-an-ip-address"),
        ("[fe80::1%a..b]:80", "not-an-ip-address"),
        ("[fe80::1%a.]:80", "not-an-ip-address"),
        ("[fe80::1%aaaaaaaaaaaaaaaa]:80", "not-an-ip-address"),
    ],
)
def test_no_address(text: str, reason: str) -> None:
    """Host names, ports that do not exist, and whatever could hide in an address, are refused."""
    with pytest.raises(InvalidAddress) as refusal:
        Address.parse(text)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.7:80", None),
        ("127.0.0.1:80", None),
        ("10.0.0.1:80", None),
        ("[2001:db8::7]:80", "not-ipv4"),
        ("[::ffff:192.0.2.7]:80", "not-ipv4"),
        ("0.0.0.0:80", "not-reachable"),
        ("255.255.255.255:80", "not-reachable"),
        ("224.0.0.1:80", "not-reachable"),
        ("239.255.255.255:80", "not-reachable"),
        ("192.0.2.7", "not-host-port"),
    ],
)
def test_a_reachable_address(text: str, reason: str | None) -> None:
    """A classic entry holds an IPv4 address of one machine, never of none, many or all."""
    if reason is None:
        assert Address.parse_reachable(text) == Address.parse(text)
    else:
        with pytest.raises(InvalidAddress) as refusal:
            Address.parse_reachable(text)
        assert refusal.value.reason == reason


@given(
    st.text(max_size=40)
    | st.from_regex(r"\[?[0-9a-f.:%\]]{1,30}:[0-9]{1,6}")
    | st.ip_addresses().map(lambda host: f"[{host}]:80")
)
@many_examples
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Nothing else is raised, and an address prints on any screen without a filter."""
    try:
        address = Address.parse(text)
    except InvalidAddress:
        return
    assert Address.parse(str(address)) == address
    assert str(address).isascii()
    assert str(address).isprintable()
    assert " " not in str(address)


# --- ids and messages ----------------------------------------------------------------------------


def test_a_message_id() -> None:
    """An id is sixteen bytes, ordered as they are, written in hexadecimal."""
    first, second = MessageId(bytes(16)), MessageId(b"\xff" * 16)
    assert first < second
    assert str(second) == "ff" * 16
    with pytest.raises(AssertionError):
        MessageId(b"short")


def test_a_message() -> None:
    """A message is a value: equal to another of the same fields, without a reason unless given."""
    fields = {
        "message_id": MessageId(bytes(16)),
        "peer": Name("bob"),
        "outgoing": True,
        "text": DisplayText("hi"),
        "state": MessageState.SENT,
        "hlc": 1,
        "at_ms": 0,
    }
    message = Message(**fields)  # type: ignore[arg-type]
    assert message == Message(**fields)  # type: ignore[arg-type]
    assert message.reason is None


# --- keys, and names that are only claimed -------------------------------------------------------


def test_a_key() -> None:
    """A key has one text, and whoever reads it gets the same key."""
    key = PeerId(bytes(range(32)))
    assert str(key) == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert PeerId.parse(str(key)) == key
    assert key < PeerId(b"\xff" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9",  # bits that no byte has
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8 ",
        "\u00e4" * 43,
        "*" * 43,
    ],
)
def test_no_key(text: str) -> None:
    """One key has one text, so nothing near it is read as the same."""
    with pytest.raises(InvalidKey):
        PeerId.parse(text)


def test_a_key_of_the_wrong_size() -> None:
    with pytest.raises(InvalidKey):
        PeerId(bytes(31))


def test_a_claimed_name() -> None:
    """Whoever only claims to be Bob is shown as ~Bob, and is nobody's Name."""
    claimed = ClaimedName(Name("Bob"))
    assert str(claimed) == claimed.shown == "~Bob"
    assert claimed.key == "~bob"
    assert parse_contact("~Bob") == claimed == parse_contact("~bob")
    assert parse_contact("bob") == Name("bob")
    for text in ("~", "~~bob", "bob~", "~user"):
        with pytest.raises(InvalidName):
            parse_contact(text)


def test_ids_are_found_by_their_bytes() -> None:
    assert len({MessageId(bytes(16)), MessageId(bytes(16)), MessageId(b"\xff" * 16)}) == 2


# --- text of strangers ---------------------------------------------------------------------------

ZWJ, EMOJI_STYLE, KEYCAP = "\u200d", "\ufe0f", "\u20e3"

DEFAULT_IGNORABLE = frozenset(
    chr(code)
    for first, last in [
        (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
        (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
        (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
        (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    ]
    for code in range(first, last + 1)
)  # fmt: skip
"""Default_Ignorable_Code_Point of Unicode (DerivedCoreProperties.txt): shown as nothing."""
BLANK = frozenset("\u2800\U0001d159")
FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def is_symbol(char: str) -> bool:
    """Tell roughly whether ``char`` can be part of an emoji: no letter, no ASCII, no blank."""
    category = unicodedata.category(char)
    return (
        char not in BLANK
        and char > "\x7f"
        and (category[0] == "S" or char in "\u203c\u2049\u2139\u3030\u303d")
    )


def stacks(char: str) -> bool:
    is_mark = unicodedata.category(char) in ("Mn", "Me")
    return is_mark or "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff"


def assert_harmless(shown: str) -> None:
    """Assert that nothing in ``shown`` moves, reorders or hides anything."""
    marks = 0
    for index, char in enumerate(shown):
        before, after = shown[index - 1 : index], shown[index + 1 : index + 2]
        if char == ZWJ:
            assert before
            assert after
            assert is_symbol(after)
            assert is_symbol(before) or before == EMOJI_STYLE
        elif char == EMOJI_STYLE:
            assert before
            assert is_symbol(before) or (before in "0123456789#*" and after == KEYCAP)
        else:
            assert char not in DEFAULT_IGNORABLE
            assert unicodedata.category(char) not in FORBIDDEN_CATEGORIES
        assert char not in BLANK
        assert unicodedata.category(char) != "Zs" or char == " "
        marks = marks + 1 if stacks(char) else 0
        assert marks <= COMBINING_MAX


def assert_display_holds(raw: str) -> str:
    """Assert what holds for every text; return what is shown."""
    text = DisplayText(raw)
    shown = str(text)
    spans = list(text.spans())
    assert_harmless(shown)
    assert str(DisplayText(shown)) == shown
    assert "".join(span.text for span in spans) == shown
    assert all(span.text for span in spans)
    assert all(span.text.isascii() for span in spans if span.marked)
    assert not any(one.marked is two.marked is False for one, two in itertools.pairwise(spans))
    return shown


HOSTILE = (
    "\x1b[", "\x07", "\x9b", "\r", "\n", "\0", "\x7f", "\u202e", "\u2066", "\u200b", "\u200e",
    "\u00ad", "\u034f", "\u180b", "\u115f", "\u1160", "\u3164", "\u2800", "\u2028", "\ufe0e",
    "\U000e0041", "\U000e0100", "\ud800", "\udfff", "\ue000", "\uffff", "\u0378", "\u00a0",
    "\u3000", ZWJ, EMOJI_STYLE, KEYCAP, "\u0301", "\u20dd", "\u0903", "\u11a8", "\u093c",
    "\u0338", "\u0344",
    "1", "#", "*", "^", "`", "a", ".", "<", ">", "\u2500", "\u2139", "\u2194", "\u3030", "\u00a9",
    "\u2764", "\U0001f600", "\U0001f469", "\U0001f3fd", "\U0001f1e9", "\uac00", "\u05e9", "\u0928",
)  # fmt: skip
hostile_texts = st.lists(st.sampled_from(HOSTILE) | st.characters(), max_size=20).map("".join)


@vectors.vectors("display.json", "display_text")
def test_vector_of_a_text(vector: Vector) -> None:
    """A text is shown as the vector says, by its string, its format and its spans."""
    text = DisplayText(expanded(vector["raw"]))
    shown = expanded(vector["shown"])
    assert assert_display_holds(text.raw) == shown
    assert f"{text}" == shown
    assert f"{text:>200}" == shown.rjust(200)
    assert repr(text) == f"DisplayText({shown!r})"


def test_the_file_is_ascii() -> None:
    """No editor and no reviewer can be fooled by a character in the file of vectors."""
    assert (vectors.FOLDER / "display.json").read_bytes().isascii()


@given(hostile_texts | st.text())
@many_examples
def test_any_text_is_shown_harmlessly(raw: str) -> None:
    """Nothing that a stranger writes reaches a screen as anything but text, once and for all."""
    assert_display_holds(raw)


@pytest.mark.parametrize("plane", [0, 1, 14])
def test_every_character(plane: int) -> None:
    """Not one code point slips through; the planes that are left out hold nothing but letters."""
    shown = str(DisplayText("a".join(map(chr, range(plane << 16, (plane + 1) << 16)))))
    for char in set(shown):
        assert_harmless(char)


@pytest.mark.parametrize("codes", [range(0x100), range(0x2000, 0x3300), range(0x1F000, 0x1FB00)])
@pytest.mark.parametrize(
    "neighbour", ["\U0001f600", EMOJI_STYLE, ZWJ], ids=["emoji", "style", "ZWJ"]
)
def test_every_neighbour_of_an_emoji(codes: range, neighbour: str) -> None:
    """Not one code point makes an invisible one stay that stands next to it."""
    assert_harmless(str(DisplayText(neighbour.join(map(chr, codes)))))
    assert_harmless(str(DisplayText((neighbour + "\U0001f600").join(map(chr, codes)))))


def test_spans_tell_a_token_from_what_a_person_typed() -> None:
    """A face with colours can set apart what the filter wrote."""
    assert list(DisplayText("<202E>\u202e!").spans()) == [
        Span("<202E>", marked=False),
        Span("<202E>", marked=True),
        Span("!", marked=False),
    ]


# --- names of files ------------------------------------------------------------------------------

DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"
}


def assert_file_name_holds(raw: str) -> str:
    """Assert what holds for every name of a file; return the safe one."""
    value = FileName(raw).value
    assert 1 <= len(value.encode()) <= FILE_NAME_BYTES_MAX
    assert_harmless(value)
    assert not set(value) & set('<>:"/\\|?*')
    assert value[0] not in ". -~"
    assert value[-1] not in ". "
    assert value.partition(".")[0].rstrip(" ").lower() not in DEVICES
    assert unicodedata.is_normalized("NFC", value)
    assert FileName(value).value == value
    return value


@vectors.vectors("display.json", "file_name")
def test_vector_of_a_file_name(vector: Vector, tmp_path: Path) -> None:
    """A file is stored under the name that the vector says, and nowhere else."""
    name = FileName(expanded(vector["raw"]))
    shown = expanded(vector["shown"])
    assert assert_file_name_holds(name.raw) == shown
    assert str(name) == shown
    assert repr(name) == f"FileName({shown!r})"
    (tmp_path / str(name)).write_bytes(b"")
    assert [path.name for path in tmp_path.iterdir()] == [shown]


@given(hostile_texts | st.text() | st.from_regex(r"[./\\~ -]{0,4}(con|aux|x)[. ]{0,3}(txt)?"))
@many_examples
def test_any_name_is_stored_harmlessly(raw: str) -> None:
    """Whatever a stranger calls a file, it is one new file of an ordinary name."""
    assert_file_name_holds(raw)


@given(st.integers(0, 12), hostile_texts, st.sampled_from(["", ".txt", ".x" * 40]))
@many_examples
def test_any_long_name_is_cut_between_characters(distance: int, tail: str, extension: str) -> None:
    """Wherever the cut falls, what is left is whole characters, and nothing invisible."""
    assert_file_name_holds("x" * (FILE_NAME_BYTES_MAX - distance) + tail + extension)


def test_what_leaves_nothing_is_unnamed() -> None:
    """There is always a name."""
    assert FileName("/").value == FILE_NAME_UNNAMED


# --- time ----------------------------------------------------------------------------------------

WORST = {
    "tokens": "\x1b",
    "marks": "\u0301",
    "marks in the wrong order": "\u0301\u0316",
    "spacing marks in the wrong order": "\U0001d165\u302e",
    "marks that come apart": "\u0344",
    "joiners": "\U0001f600\u200d",
    "alternating": "a\u200b",
    "Hangul": "\u1112\u1161\u11ab",
    "dots and slashes": "./",
    "letters": "é",
}


def seconds(work: Callable[[str], object], raw: str, runs: int) -> float:
    """Return the processor time of this thread that the best run took."""
    best = float("inf")
    for _ in range(runs):
        start = time.thread_time()
        work(raw)
        best = min(best, time.thread_time() - start)
    return best


def assert_linear(work: Callable[[str], object], unit: str) -> None:
    """Assert that 64 KiB take about eight times as long as 8 KiB, and not 64 times."""
    short = unit * (8_192 // len(unit))
    assert seconds(work, short * 8, 1) < 24 * seconds(work, short, 3) + 0.01


@pytest.mark.parametrize("unit", WORST.values(), ids=WORST)
def test_showing_takes_time_in_proportion(unit: str) -> None:
    """Nobody can make a face busy with a text."""
    assert_linear(lambda raw: str(DisplayText(raw)), unit)


@pytest.mark.parametrize("kind", ["tokens", "marks in the wrong order", "dots and slashes"])
def test_naming_a_file_takes_time_in_proportion(kind: str) -> None:
    """Nobody can make a node busy with the name of a file: composing marks is quadratic."""
    assert_linear(FileName, WORST[kind])


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
    ],
)
def test_what_counts_as_one_place(host: str, origin: str) -> None:
    """A machine with IPv6 has 2 to the 64 addresses of its own; they are one."""
    assert origin_of(host) == origin_of(origin) == origin

"""tools/docs.py: that the tables of docs/spec cannot differ from the vectors unnoticed."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tools import docs

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/spec/classic.md"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree with the real pages and their sources, to be changed at will."""
    for folder in ("docs/spec", "vectors"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    limits = tmp_path / "src/netchat/limits.py"
    limits.parent.mkdir(parents=True)
    shutil.copy(ROOT / "src/netchat/limits.py", limits)
    return tmp_path


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str, str], Path]:
    """Make a tree with one page and one file of vectors."""

    def make(page: str, vectors: str = '{"about": [], "peer": []}') -> Path:
        for path, text in {
            "docs/spec/page.md": page,
            "vectors/peer.json": vectors,
            "src/netchat/limits.py": "from typing import Final\n",
        }.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, "utf-8")
        return tmp_path

    return make


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def assert_red(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Assert that ``--check`` fails, with one sentence that has these words in it."""
    assert docs.main(["--check"], root) == 1
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert all(word in sentence for word in words), sentence


# --- the real pages ------------------------------------------------------------------------------


def test_the_real_pages_are_true() -> None:
    """The specification shows the vectors and limits as they are."""
    assert docs.main(["--check"]) == 0


def test_as_a_step_of_check() -> None:
    """Run as ./check runs it, it says nothing and ends with status 0; without a way, with 2."""
    for words, status in ((["--check"], 0), ([], 2)):
        command = [sys.executable, "tools/docs.py", *words]
        outcome = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
        assert outcome.returncode == status
        assert status == 2 or outcome.stdout + outcome.stderr == b""


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("vectors/classic.json", "see you at noon", "see you at one"),
        ("vectors/classic.json", '"error": "no-text"', '"error": "trailing"'),
        ("vectors/display.json", "<202E>gnp.exe", "gnp.exe"),
        ("src/netchat/limits.py", "SEND_BYTES_MAX: Final = 1_024", "SEND_BYTES_MAX: Final = 1_025"),
        ("src/netchat/limits.py", "drop the rest", "keep the rest"),
        (PAGE, "see you at noon", "see you at one"),
    ],
)
def test_a_changed_source_or_page_is_noticed(
    copy: Path, capsys: pytest.CaptureFixture[str], path: str, old: str, new: str
) -> None:
    """Whichever of the two is changed, the check is red until the page is written anew."""
    replace(copy / path, old, new)
    assert_red(copy, capsys, PAGE, "--write")
    assert docs.main(["--write"], copy) == 0
    assert docs.main(["--check"], copy) == 0


def test_writing_changes_nothing_but_tables(copy: Path) -> None:
    """What people wrote around the tables stays as it is, to the byte."""
    before = (copy / PAGE).read_bytes()
    assert docs.main(["--write"], copy) == 0
    assert (copy / PAGE).read_bytes() == before
    replace(copy / PAGE, "| a plain text |", "| something else |")
    assert docs.main(["--write"], copy) == 0
    assert (copy / PAGE).read_bytes() == before


# --- what cannot be made -------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["--check", "--write"])
@pytest.mark.parametrize(
    "page",
    [
        "<!-- vectors:poor -->\n<!-- /vectors -->\n",
        "<!-- limits:POOR -->\n<!-- /limits -->\n",
        "<!-- vectors:peer -->\n",
        "<!-- /vectors -->\n",
        "<!-- vectors:peer -->\n<!-- /limits -->\n",
        "<!-- vectors:peer -->\n<!-- vectors:peer -->\n<!-- /vectors -->\n",
        "<!-- vectors: -->\n<!-- /vectors -->\n",
    ],
)
def test_a_table_without_a_source_is_an_error(
    small: Callable[[str], Path], capsys: pytest.CaptureFixture[str], page: str, way: str
) -> None:
    """A section that is gone, or a mark that is not closed, is told; the page stays as it is."""
    root = small(page)
    assert docs.main([way], root) == 1
    assert capsys.readouterr().err.startswith("docs/spec/page.md: ")
    assert (root / "docs/spec/page.md").read_text("utf-8") == page


@pytest.mark.parametrize(
    "vectors", ["{", '{"peer": [{"name": "x", "value": null}]}', '{"peer": [{"value": 1.5}]}']
)
def test_vectors_that_cannot_be_shown_are_an_error(
    small: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str], vectors: str
) -> None:
    """A broken file is told by one sentence, not by a traceback."""
    assert_red(small("", vectors), capsys)


def test_a_section_in_two_files_is_an_error(
    small: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a table could show the wrong one."""
    root = small("")
    (root / "vectors" / "second.json").write_text('{"about": [], "peer": []}', "utf-8")
    assert_red(root, capsys, "vectors/second.json", "peer")


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "(empty)"),
        ("plain text", "`plain text`"),
        (" a  b ", "`␣a␣␣b␣`"),
        ("a\n\r\t\0b", r"`a\n\r\t\0b`"),
        ("\x1b\x9b\u202e\U000e0041\ud800", r"`\u001b\u009b\u202e\U000e0041\ud800`"),
        ("a\\nb", r"`a\\nb`"),
        ("a|b", r"`a\|b`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("é☕\u2764\ufe0f", "`é☕\u2764\\ufe0f`"),
    ],
)
def test_a_text_in_a_table(text: str, shown: str) -> None:
    """Every character of a text can be seen, and none of them breaks the table."""
    assert docs.cell(text, docs.visible) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (3_600, "3,600"),
        ([], "(nothing)"),
        ("0a" * 256, f"`{'0a' * 256}`"),
        ("0a" * 1_000, f"`{'0a' * 16}…{'0a' * 16}` (1,000 bytes)"),
        ([["x", 1_015], ["y", 1]], "1,015 times `x` + `y`"),
        (["one", [["x", 2]]], "`one`<br>2 times `x`"),
        ([["alice", "192.0.2.7:1"]], "`alice` at `192.0.2.7:1`"),
        ({"kind": "text", "text": "hi"}, "kind `text`, text `hi`"),
    ],
)
def test_a_value_in_a_table(value: object, shown: str) -> None:
    """Every shape of value that the vectors use has its form."""
    assert docs.cell(value, docs.visible) == shown


def test_the_columns_of_a_table(small: Callable[[str, str], Path]) -> None:
    """hex stands under bytes, an error under value, what is hostile in ASCII; others by name."""
    page = "<!-- vectors:peer -->\n<!-- /vectors -->\n"
    vectors = """{"peer": [
        {"name": "a", "bytes": "x", "value": "é"},
        {"name": "b", "hex": "ff", "error": "not-classic", "encode": true},
        {"name": "c", "raw": "\\u05e9 "}
    ]}"""
    root = small(page, vectors)
    assert docs.main(["--write"], root) == 0
    assert (root / "docs/spec/page.md").read_text("utf-8") == (
        "<!-- vectors:peer -->\n"
        "\n"
        "| name | bytes | value | encode | raw |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| a | `x` | `é` |  |  |\n"
        "| b | hex `ff` | **not-classic** | yes |  |\n"
        "| c |  |  |  | `\\u05e9␣` |\n"
        "\n"
        "<!-- /vectors -->\n"
    )

"""The tables of docs/spec: vectors from vectors/*.json, and bounds from src/netchat/limits.py.

    <!-- vectors:peer -->            the section `peer` of one of the files, as a table
    <!-- /vectors -->
    <!-- limits:LEASE_S LEASE_S_MAX -->
    <!-- /limits -->

What stands between two such lines is written by `tools/docs.py --write`. `--check`, a step of
./check, fails when a table is not what it would be written as, or has no source.
"""

import argparse
import ast
import json
import re
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

TABLE = re.compile(
    r"^<!-- (?P<kind>vectors|limits):(?P<names>[^\n]+?) -->\n.*?^<!-- /(?P=kind) -->$",
    re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"^<!-- /?(?:vectors|limits)\b", re.MULTILINE)

HEX = re.compile(r"([0-9a-f]{2})+")
HEX_SHOWN_MAX = 512
"""More characters than that nobody compares by eye; the file of vectors has them all."""

Vector = dict[str, Any]


class DocsError(Exception):
    """The docs cannot be made from their sources, or are not what those give; one sentence."""


# --- cells ----------------------------------------------------------------------------------------


def visible(text: str) -> str:
    """Write ``text`` so that every character of it can be seen: escapes, and ␣ for odd spaces."""
    chars = []
    for index, char in enumerate(text):
        neighbours = text[index - 1 : index] or " ", text[index + 1 : index + 2] or " "
        if char == " " and " " in neighbours:
            chars.append("␣")
        elif char == "\\":
            chars.append("\\\\")
        elif char.isprintable() and not "\ufe00" <= char <= "\ufe0f":
            chars.append(char)
        else:
            chars.append(escape(char))
    return "".join(chars)


def visible_in_ascii(text: str) -> str:
    """Write ``text`` with nothing in it that could fool a reader, a browser or an editor."""
    return "".join(x if x.isascii() or x == "␣" else escape(x) for x in visible(text))


def escape(char: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    number = ord(char)
    return short.get(char) or (f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")


def code(text: str) -> str:
    """Return ``text`` as a code span inside a table."""
    if not text:
        return "(empty)"
    fence = "``" if "`" in text else "`"
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{room}{text}{room}{fence}".replace("|", "\\|")


def hexadecimal(text: str) -> str:
    """Return ``text`` as a code span; of a long one beginning, end and length are enough."""
    if len(text) <= HEX_SHOWN_MAX:
        return code(text)
    return f"`{text[:32]}…{text[-32:]}` ({len(text) // 2:,} bytes)"


def is_repeated(value: list[Any]) -> bool:
    """Tell whether ``value`` is a text that is put together from [text, times]."""
    return all(isinstance(part, list) and isinstance(part[-1], int) for part in value)


def cell(value: object, write: Callable[[str], str], between: str = "<br>") -> str:
    """Return what a table shows of a value of a vector."""
    match value:
        case True:
            return "yes"
        case str() if HEX.fullmatch(value):
            return hexadecimal(value)
        case str():
            return code(write(value))
        case int():
            return f"{value:,}"
        case []:
            return "(nothing)"
        case list() if is_repeated(value):
            return " + ".join(
                (f"{times:,} times " if times > 1 else "") + code(write(text))
                for text, times in value
            )
        case list():
            return between.join(cell(part, write, " at ") for part in value)
        case dict():
            return ", ".join(f"{key} {cell(part, write)}" for key, part in value.items())
        case _:
            raise DocsError(f"A table cannot show {value!r}.")


def cells(vector: Vector) -> dict[str, str]:
    """Return the columns of a vector: ``hex`` is shown under bytes, ``error`` under value."""
    shown = {}
    for key, value in vector.items():
        match key:
            case "name":
                shown["name"] = value
            case "hex":
                shown["bytes"] = f"hex {hexadecimal(value)}"
            case "error":
                shown["value"] = f"**{value}**"
            case "raw":
                shown["raw"] = cell(value, visible_in_ascii)
            case _:
                shown[key] = cell(value, visible)
    return shown


def table(rows: Sequence[dict[str, str]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([row.get(x, "") for x in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# --- sources --------------------------------------------------------------------------------------


def load_vectors(root: Path) -> dict[str, list[dict[str, str]]]:
    """Return the sections of all files of vectors, as rows of a table."""
    sections: dict[str, list[dict[str, str]]] = {}
    for path in sorted((root / "vectors").glob("*.json")):
        try:
            contents = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise DocsError(f"vectors/{path.name} is not JSON: {error}.") from None
        for name, items in contents.items():
            if name in sections:
                raise DocsError(f"vectors/{path.name}: another file has a section {name}, too.")
            if name != "about":
                sections[name] = [cells(vector) for vector in items]
    return sections


def load_limits(root: Path) -> dict[str, list[dict[str, str]]]:
    """Return each bound as a row of a table, with the reason that stands under it."""
    path = root / "src" / "netchat" / "limits.py"
    values = runpy.run_path(str(path))
    limits: dict[str, list[dict[str, str]]] = {}
    name = ""
    for node in ast.parse(path.read_text("utf-8")).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                limits[name] = [{"limit": f"`{name}`", "value": f"{values[name]:,}", "why": ""}]
            case ast.Expr(value=ast.Constant(value=str(why))) if name:
                limits[name][0]["why"] = " ".join(why.split())
                name = ""
    return limits


# --- pages ----------------------------------------------------------------------------------------


def rewritten(text: str, sources: Mapping[str, Mapping[str, list[dict[str, str]]]]) -> str:
    """Return a page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        kind, names = match["kind"], match["names"].split()
        for name in names:
            if name not in sources[kind]:
                raise DocsError(f"there are no {kind} called {name}.")
        rows = [row for name in names for row in sources[kind][name]]
        return f"<!-- {kind}:{match['names']} -->\n\n{table(rows)}\n<!-- /{kind} -->"

    if len(MARK.findall(text)) != 2 * len(TABLE.findall(text)):
        raise DocsError("a table of vectors or limits has no beginning or no end.")
    return TABLE.sub(replace, text)


def check_or_write(root: Path, *, write: bool) -> None:
    sources = {"vectors": load_vectors(root), "limits": load_limits(root)}
    for page in sorted((root / "docs" / "spec").glob("*.md")):
        where = page.relative_to(root)
        text = page.read_text("utf-8")
        try:
            wanted = rewritten(text, sources)
        except DocsError as error:
            raise DocsError(f"{where}: {error}") from None
        if wanted != text and not write:
            raise DocsError(
                f"{where} does not show the vectors and limits as they are;"
                " run: python tools/docs.py --write"
            )
        if wanted != text:
            page.write_text(wanted, "utf-8")


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Keeps the tables of docs/spec true.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--check", action="store_true", help="fail when a table is out of date")
    way.add_argument("--write", action="store_true", help="make the tables anew")
    try:
        check_or_write(root, write=parser.parse_args(arguments).write)
    except DocsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Sentences are for people: no program reads one to learn what it should do."""

import ast
import re
from collections.abc import Iterator

from otn_dagster.config import PROJECT_ROOT

SENTENCES = {"reason", "why", "what", "blocker", "note", "says", "text", "problem", "hold_why", "remedy", "expected"}
OF_TEXT = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "split", "find", "index"}
IN_SQL = re.compile(
    r"\b(reason|why|blocker|note|hold_why|remedy|expected|what)\b\s*(not\s+)?(i?like|similar|~)|(substring|split_part|regexp_\w+)\(\s*\w*\.?"
    r"(reason|why|blocker|note|hold_why|remedy|expected|what)\b",
    re.IGNORECASE,
)
# Modules whose texts are what they read: files of others, and rows that are searched by people.
READERS = ("telemetry/files/", "demo/", "migrations/", "live/", "streams/sources/", "web/")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("otn_dagster", "assets", "sensors"):
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(PROJECT_ROOT))
            if not any(part in name for part in READERS):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str | None:
    """The last name of an expression: ``a.reason``, ``row["reason"]``, ``(a.reason or "")``."""
    if isinstance(node, ast.BoolOp):
        return name_of(node.values[0])
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return None


def readings(tree: ast.Module) -> Iterator[int]:
    """Lines in which a sentence is taken apart, or compared with words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OF_TEXT:
            if name_of(node.func.value) in SENTENCES:
                yield node.lineno
        elif isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Constant):
            words = node.comparators[0].value
            if isinstance(words, str) and " " in words and name_of(node.left) in SENTENCES:
                yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and IN_SQL.search(node.value):
            yield node.lineno


def test_no_program_reads_a_sentence():
    found = [f"{name}:{line}" for name, tree in modules() for line in readings(tree)]
    assert not found


def test_the_search_finds_what_it_looks_for():
    for line in (
        'x = (a.reason or "").startswith("not complete")',
        'row["blocker"].startswith("it waits for")',
        'if item.blocker == "it waits for a second look": pass',
        "q = \"select 1 from t where expected like 'one row%'\"",
        "q = \"select substring(what from 'accepted by (.*?): ') from t\"",
        'by = submission.reason.removeprefix("by ")',
    ):
        assert list(readings(ast.parse(line))), line

"""The words of README, docs, help and error messages: one standard term for each thing, docstrings in sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from inrcodec.cli import cli

ROOT = Path(__file__).resolve().parent.parent
CODE = ("inrcodec", "tests", "benchmarks", "tools", "examples", "fuzz")
REPLACED = {
    r"pictures?": "image",
    r"sounds?": "audio",
    r"whole numbers?": "integer",
    r"chequered": "checkerboard",
    r"cut short": "truncated",
    r"damaged": "corrupt",
    r"go(?:es)? on from": "resume, start from",
    r"gone on with": "resumed",
    r"under ?way": "in progress",
    r"without loss": "lossless",
    r"with loss": "lossy",
    r"knows nothing": "uses no learned prior",
    r"over the limit": "exceeds the limit",
}
"""What the glossary replaces, as regular expressions, and the word to use."""
PATTERN = re.compile(rf"\b(?:{'|'.join(REPLACED)})\b", re.IGNORECASE)


def python_files() -> list[Path]:
    """Return all Python files of the repository."""
    return sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))


def pages() -> list[Path]:
    """Return README, SECURITY and the like, every page of docs, and the cards of priors."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    return sorted([*ROOT.glob("*.md"), *docs, *(ROOT / "priors").glob("*.md")])


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring of a file, those of constants and attributes included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def error_messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of what the ``raise`` statements of a file say."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield node.lineno, part.value


def help_texts(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of the help of a command, its options and its subcommands."""
    yield name, command.help or ""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"{name} {parameter.opts[0]}", parameter.help or ""
    if isinstance(command, click.Group):
        for child_name, child in command.commands.items():
            yield from help_texts(child, f"{name} {child_name}")


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_the_glossary(path: Path) -> None:
    found = [
        f"line {number}: {match[0]!r}"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for match in PATTERN.finditer(re.sub(r"`[^`]*`|\]\([^)]*\)", "", line))
    ]
    assert not found


def test_help_uses_the_glossary() -> None:
    assert not [
        f"{name}: {match[0]!r}" for name, text in help_texts(cli, "inrcodec") for match in PATTERN.finditer(text)
    ]


def test_every_command_has_help_and_an_example() -> None:
    for name, text in help_texts(cli, "inrcodec"):
        assert text, f"{name} has no help"
    for name, command in cli.commands.items():
        if not isinstance(command, click.Group):
            assert "Example" in (command.help or ""), f"{name} shows no example"


def test_error_messages_use_the_glossary() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r}"
        for path in python_files()
        if path.is_relative_to(ROOT / "inrcodec")
        for line, text in error_messages(path)
        for match in PATTERN.finditer(text)
    ]
    assert not found


def test_docstrings_begin_with_a_verb() -> None:
    """No docstring begins with "Of", and public functions of the package begin in the imperative, not with a noun."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in python_files()
        for line, text in docstrings(path)
        if re.match(r"\s*(?:Of|Whether|Inverse of)\b", text)
    ]
    assert not found


def test_every_public_name_has_a_docstring() -> None:
    missing = []
    for path in python_files():
        if not path.is_relative_to(ROOT / "inrcodec"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        if not ast.get_docstring(tree):
            missing.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not missing

"""The examples of README and the guide, run as they are written, in an empty folder with small inputs.

Blocks marked ``console`` or ``bash`` hold commands, blocks marked ``python`` statements. The commands of a page run in
order, so that a later one may use a file that an earlier one has written. Commands that are left out, and why, are in
``NOT_RUN``.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inrcodec.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
NOT_RUN = {
    r"^(?:pip|python|git|make|cd|export|curl)\b": "not a command of this package",
    r"^inrcodec view\b": "serves a page until it is interrupted",
    r"^inrcodec priors train\b": "takes minutes; tests/cli runs it",
    r"--effort best\b": "takes minutes",
    r"--scheduler tcp\b": "needs a cluster",
    r"--codec (?:combiner|coin)\b": "takes a minute; tests/codecs run these",
    r"--published\b": "needs tables of other codecs",
}
"""Patterns of commands that do not run here, and why."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of the fenced code blocks of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return the commands of a block without prompts and comments, lines that end in a backslash joined."""
    lines = [line.removeprefix("$ ").strip() for line in text.replace("\\\n", " ").splitlines()]
    without_comments = [re.sub(r"\s+#.*$", "", line) for line in lines]
    return [line for line in without_comments if re.match(r"(?:inrcodec|pip|python|git|make|cd|export|curl)\b", line)]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a folder with small files of the names that the pages use, and go there."""
    import soundfile
    from scipy.io import netcdf_file

    y, x = np.mgrid[:48, :64]
    levels = np.stack([3 * x, 4 * y, x + y], axis=-1).astype(np.uint8)
    for name in ("photo", "scan", "cat", "a", "b", "c"):
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    for folder in ("photos", "thumbnails", "images", "kodak"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.fromarray(np.roll(levels, 8 * number, axis=1)).save(tmp_path / folder / f"{number}.png")
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(32000) / 16000)
    soundfile.write(tmp_path / "voice.wav", tone, 16000, "PCM_16")
    (tmp_path / "speech").mkdir()
    shutil.copy(tmp_path / "voice.wav", tmp_path / "speech")
    with netcdf_file(tmp_path / "wind.nc", "w") as file:
        for name, size in (("time", 2), ("latitude", 64), ("longitude", 128)):
            file.createDimension(name, size)
            file.createVariable(name, "f4", (name,))[:] = np.arange(size)
        waves = np.sin(np.arange(2)[:, None, None] + np.arange(64)[:, None] / 16) * np.cos(np.arange(128) / 16)
        file.createVariable("u", "f4", ("time", "latitude", "longitude"))[:] = 10 * waves
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks of a page run in their order; its Python blocks share their names, as in one session."""
    names: dict[str, object] = {}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), names)
        elif language in ("bash", "console", "sh"):
            for command in commands(text):
                if not any(re.search(pattern, command) for pattern in NOT_RUN):
                    code = main([*shlex.split(command)[1:]])
                    assert code == 0, f"{command}: {capsys.readouterr().err}"


EVERY_PAGE = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "priors").glob("*.md")])


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 120

"""The public entry of training: complete cards, pieces, and one clear error for options that a codec does not have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.codecs.registry import FAMILIES
from inrcodec.errors import DataError, UsageError
from inrcodec.prior_training import TrainingProgress, measure_prior, train_prior
from inrcodec.training.card import card_page
from inrcodec.training.job import TrainingOptions
from inrcodec.version import VERSION
from tests.support.tiny import smooth_tiles
from tests.support.tiny_coinpp import tiny_coinpp_prior

KEYS = {
    "name",
    "codec",
    "kind",
    "recipe",
    "data",
    "folders",
    "files",
    "training_signals",
    "held_out_signals",
    "licence",
    "command",
    "training",
    "seconds",
    "steps",
    "device",
    "version",
    "results",
}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with two mosaics of tiles of 28x28."""
    folder = tmp_path / "somewhere" / "digits"
    folder.mkdir(parents=True)
    for number in range(2):
        tiles = smooth_tiles(40, number, size=28).reshape(5, 8, 28, 28, 3).swapaxes(1, 2)
        Image.fromarray(tiles.reshape(140, 224, 3)).save(folder / f"{number}.png")
    return folder


def quick(**changes: Any) -> dict[str, Any]:
    """Options of a training that takes a second."""
    return {"codec": "bitswap", "recipe": "digits", "latent_layers": 1, "minutes": 0.01, "threads": 1, **changes}


def test_a_training_writes_a_complete_card(digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.safetensors"
    outcome = train_prior(digits, output, licence="CC0", **quick())
    prior = prior_store.load(output)
    card = prior.card
    assert outcome.finished and outcome.id == prior.id.hex() and outcome.n_bytes == output.stat().st_size
    assert card == outcome.card and set(card) == KEYS
    assert (card["name"], card["codec"], card["kind"], card["recipe"]) == ("mine", "bitswap", "image", "digits")
    assert (card["folders"], card["files"], card["training_signals"], card["held_out_signals"]) == (
        ["digits"],
        2,
        76,
        4,
    )
    assert (card["licence"], card["version"], card["device"]) == ("CC0", VERSION, "cpu") and card["steps"] >= 1
    assert [set(row) for row in card["results"]] == [{"elbo", "net"}]
    assert card["command"].startswith("train_prior('digits', 'mine.safetensors', codec='bitswap'")
    page = (tmp_path / "mine.md").read_text()
    for part in ("# mine", "CC0", prior.id.hex(), "2 files of digits", "4 tiles", "net rate", VERSION, card["command"]):
        assert part in page
    everything = page + json.dumps(card)
    assert str(tmp_path) not in everything and "somewhere" not in everything
    assert measure_prior(prior, digits)[0].keys() == {"elbo", "net"}  # by the recipe of the card
    with pytest.raises(DataError, match="--force"):
        train_prior(digits, output, **quick())


def test_pieces_are_resumed_until_the_prior_is_written(digits: Path, tmp_path: Path) -> None:
    output, shown = tmp_path / "mine.safetensors", list[TrainingProgress]()
    arguments = quick(minutes=0.05, resume=tmp_path / "state", piece_minutes=0.02)
    seconds = []
    for _ in range(20):
        outcome = train_prior([digits], output, progress=shown.append, **arguments)
        seconds.append(outcome.seconds)
        if outcome.finished:
            break
        assert not output.exists() and outcome.id == ""
    assert outcome.finished and len(seconds) >= 2 and sorted(seconds) == seconds and seconds[-1] >= 3.0
    assert shown and shown[0].total_seconds == 3.0 and "bits/dimension" in shown[0].text and shown[0].stage
    with pytest.raises(UsageError, match="--resume"):
        train_prior(digits, output, force=True, **quick(piece_minutes=1.0))


@pytest.mark.parametrize("codec", [family.names[0] for family in FAMILIES if family.training is not None])
def test_options_of_other_codecs_are_listed_in_one_error(codec: str, digits: Path, tmp_path: Path) -> None:
    options: dict[str, dict[str, Any]] = {
        "hierarchical": {"latent_layers": 2, "proposal": False, "patches": 9, "scheduler": "local"},
        "grids": {"tile": 28, "rate_power": 2.0, "variable": "t"},
        "combiner": {"rate_power": 2.0, "scales": (0.5, 2.0)},
        "coin++": {"latent_dims": 9, "reparameterisation": "layer", "workers": 2},
        "bitswap": {"variable": "t", "latent_dims": 9},
    }
    wrong = options[codec]
    with pytest.raises(UsageError, match="does not take") as raised:
        train_prior(digits, tmp_path / "x.safetensors", codec=codec, **wrong)
    for name in wrong:
        word = "--no-proposal" if name == "proposal" else f"--{name.replace('_', '-')}"
        assert word in str(raised.value)
    assert not (tmp_path / "x.safetensors").exists()


def test_wrong_values_are_one_clear_error(digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.safetensors"
    for message, options in (
        ("nothing to train", {"codec": "coin"}),
        ("recipe", {"recipe": "images"}),
        ("recipe", {"codec": "grids", "recipe": "speech16k"}),
        ("minutes", {"minutes": 0.0}),
        ("lower one first", {"scales": (2.0, 0.5)}),
        ("one thread each", {"workers": 2, "threads": 2}),
        ("on the CPU", {"workers": 2, "device": "cuda"}),
        ("not for codec bitswap", {"codec": "bitswap", "start_from": "photographs"}),
    ):
        with pytest.raises(UsageError, match=message):
            train_prior(digits, output, **options)
    with pytest.raises(UsageError, match="another name"):
        train_prior(digits, tmp_path / "x.md")
    with pytest.raises(UsageError, match="at least one"):
        TrainingOptions(data=(), name="x")
    with pytest.raises(DataError, match="no training files"):
        (tmp_path / "empty").mkdir()
        train_prior(tmp_path / "empty", output)


def test_the_command_line_shows_the_card(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [
        "priors",
        "train",
        str(digits),
        "--codec",
        "bitswap",
        "--recipe",
        "digits",
        "-o",
        str(tmp_path / "m.safetensors"),
    ]
    options = ["--latent-layers", "1", "--minutes", "0.01", "--threads", "1", "--license", "public domain"]
    assert main([*command, *options]) == 0
    results = json.loads(capsys.readouterr().out)
    assert main(["priors", "show", "m.safetensors"]) == 0
    page = capsys.readouterr().out
    written = (
        "`inrcodec priors train digits --recipe digits --codec bitswap --output m.safetensors --minutes 0.01 --lic"
    )
    assert page == (tmp_path / "m.md").read_text() and written in page and "public domain" in page
    assert str(tmp_path) not in page and "--licence 'public domain'" in page
    (tmp_path / "m.md").unlink()
    assert main(["priors", "show", "m.safetensors"]) == 0
    assert capsys.readouterr().out == page  # the file alone says the same
    assert main(["priors", "show", "m.safetensors", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["card"]["results"] == [results] and report["id"] == prior_store.load(Path("m.safetensors")).id.hex()
    assert main(["priors", "show", "photographs"]) == 0
    assert "BSDS500" in capsys.readouterr().out
    assert main(["priors", "show", "nothing"]) == 1 and "no prior 'nothing'" in capsys.readouterr().err


def test_cards_of_strangers_are_shown_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = replace(tiny_coinpp_prior(), card={"data": "a\x1b[31mb", "results": [{"x": 1}, 7], "seconds": None})
    (tmp_path / "odd.safetensors").write_bytes(prior.to_bytes())
    assert main(["priors", "show", str(tmp_path / "odd.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "not stated" in out and "Held-out" not in out


def test_a_card_changes_nothing_but_the_card_and_the_id() -> None:
    prior = tiny_coinpp_prior()
    other = prior.with_card({**prior.card, "licence": "CC0"})
    assert other.id != prior.id and other.card["licence"] == "CC0"
    assert other.with_card(prior.card).to_bytes() == prior.to_bytes()
    page = card_page(other.card, name="n", codec="coin++", kind="image", prior_id=other.id.hex(), n_bytes=12345)
    assert "12,345 bytes" in page and other.id.hex() in page and "CC0" in page

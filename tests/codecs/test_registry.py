"""The registry, and what it takes to add a codec: a seventh one in one file and one line of registration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs import prior_store, registry
from inrcodec.codecs.base import Family
from inrcodec.errors import FormatError, UsageError
from inrcodec.evaluate import sweep
from tests.support import toy_codec


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Register the toy codec; the folder holds its prior and two images."""
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, toy_codec.FAMILY))
    (tmp_path / "toy-8.safetensors").write_bytes(toy_codec.ToyPrior("toy-8", 8).to_bytes())
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(tmp_path))
    y, x = np.mgrid[:48, :64]
    for name, shift in (("a", 0), ("b", 40)):
        levels = np.stack([x * 3, y * 4, x + y + shift], axis=-1).astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    yield tmp_path


def test_a_seventh_codec_compresses_and_decompresses(toy: Path) -> None:
    encoded = inrcodec.encode(toy / "a.png", inrcodec.Settings(codec="toy", effort="fast"))
    assert (encoded.codec, encoded.prior, encoded.lossless) == ("toy", "toy-8", False)
    original, decoded = inrcodec.read_signal(toy / "a.png"), inrcodec.decompress(encoded.data)
    assert np.abs(decoded.values - original.values).mean() < 0.05
    part = inrcodec.decompress(encoded.data, region=(8, 16, 24, 32))
    np.testing.assert_array_equal(part.values, decoded.values[8:32, 16:48])
    assert inrcodec.decompress(encoded.data, size=(96, 128)).values.shape == (96, 128, 3)
    assert len(inrcodec.compress(toy / "a.png", codec="toy", target_psnr=22.0)) > 0


def test_a_seventh_codec_works_from_the_command_line(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(toy / "a.png"), "--codec", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["codec"] == "toy"
    assert main(["info", str(toy / "a.inr"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["codec"] == "toy" and told["prior_name"] == "toy-8"
    assert main(["decompress", str(toy / "a.inr"), "-o", str(toy / "back.png")]) == 0
    assert Image.open(toy / "back.png").size == (64, 48)
    assert main(["verify", str(toy / "a.inr"), str(toy / "a.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["psnr"] > 20
    assert main(["show", str(toy / "a.inr"), "-o", str(toy / "shown.png")]) == 0


def test_a_seventh_codec_makes_archives(toy: Path) -> None:
    data = inrcodec.compress([toy / "a.png", toy / "b.png"], codec="toy")
    with inrcodec.open(data) as file:
        assert file.is_archive and file.names == ["a.png", "b.png"] and file.info["codec"] == "toy"
        original = inrcodec.read_signal(toy / "b.png")
        assert np.abs(file.render(entry="b.png").values - original.values).mean() < 0.05


def test_a_seventh_codec_is_swept_and_its_prior_listed(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = sweep([toy / "a.png"], codecs=["toy"], betas=[1e-3, 1e-1], out=toy / "rd", progress=False)
    assert len(result.curve("toy")) == 2 and not result.failed
    assert main(["priors", "list", "--json"]) == 0
    listed = {line["name"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed["toy-8"]["codec"] == "toy" and listed["toy-8"]["block"] == 8
    assert main(["priors", "verify", "toy-8"]) == 0


def test_names_and_ids_are_promises() -> None:
    """A number once given to a codec is never given to another one."""
    assert registry.codec_ids() == {
        "combiner": 1,
        "hierarchical": 2,
        "coin++": 3,
        "coin": 4,
        "bitswap": 5,
        "bbans": 6,
        "grids": 7,
    }
    for name, number in registry.codec_ids().items():
        assert registry.codec_name(number) == name and name in registry.family_of_id(number).names
    with pytest.raises(FormatError, match="codec 99"):
        registry.codec_name(99)
    with pytest.raises(UsageError, match="hierarchical, grids"):
        registry.family_named("zip")
    with pytest.raises(UsageError, match="no learned priors"):
        registry.default_prior([], "coin")


@pytest.mark.parametrize("family", registry.FAMILIES, ids=lambda family: family.names[0])
def test_every_shipped_prior_belongs_to_its_family(family: Family) -> None:
    """Priors say what they are, and their family describes them."""
    for path in prior_store.prior_files().values():
        prior = prior_store.load(path)
        if prior.format == family.prior_format:
            assert registry.family_of_prior(prior) is family
            assert family.describe_prior is not None and family.describe_prior(prior)["about"]
            assert registry.codec_for(prior).prior is prior

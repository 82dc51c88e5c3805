"""Prior files: what is written is read, what is damaged is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inrcodec.codecs import prior_store
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.errors import FormatError, PriorError
from tests.support.tiny import tiny_prior

SHIPPED = ("combiner-images32", "combiner-photographs", "combiner-speech16k")


def test_bytes_are_stable_and_name_the_prior() -> None:
    prior = tiny_prior()
    again = CombinerPrior.from_bytes(prior.to_bytes())
    assert again.to_bytes() == prior.to_bytes()
    assert again.id == prior.id and len(prior.id) == 8
    assert torch.equal(again.mean, prior.mean) and np.array_equal(again.kl_units, prior.kl_units)


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    data = tiny_prior().to_bytes()
    for cut in (0, 7, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError):
            CombinerPrior.from_bytes(data[:cut])
    with pytest.raises(FormatError):
        CombinerPrior.from_bytes(b"\x89PNG" + bytes(1000))
    with pytest.raises(PriorError):
        prior_store.load(tmp_path / "missing.safetensors")


def test_every_flipped_byte_of_the_head_is_refused_or_read_without_a_crash() -> None:
    data = tiny_prior().to_bytes()
    length = int.from_bytes(data[:8], "little") + 8
    for position in range(0, length, 3):
        changed = bytearray(data)
        changed[position] ^= 0x11
        try:
            CombinerPrior.from_bytes(bytes(changed))
        except FormatError:
            continue


@pytest.mark.parametrize(
    "change",
    [
        {"mean": torch.zeros(2, 2, 19)},
        {"mean": torch.full((2, 2, 20), float("nan"))},
        {"log_scale": torch.full((2, 2, 20), 100.0)},
        {"betas": torch.tensor([1e-3, 2e-3])},
        {"betas": torch.tensor([1e-3, -2e-3])},
        {"spread": 0.0},
        {"class_counts": np.array([[1, 1], [1, 1]])},
        {"kl_units": np.full((2, 2, 20), -1)},
        {"parameters": {}},
    ],
)
def test_values_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        CombinerPrior.from_bytes(replace(tiny_prior(), **change).to_bytes())


def test_store_finds_by_name_id_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(tiny_prior().to_bytes())
    monkeypatch.setenv("INRCODEC_PRIORS", str(tmp_path))
    for key in ("mine", str(path), tiny_prior().id.hex()):
        assert prior_store.find(key).id == tiny_prior().id
    assert prior_store.find_id(tiny_prior().id).name == "tiny"
    with pytest.raises(PriorError, match="0102030405060708"):
        prior_store.find_id(bytes(range(1, 9)))
    with pytest.raises(PriorError, match="mine"):
        prior_store.find("unheard-of")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_priors_are_whole(name: str) -> None:
    path = prior_store.prior_files()[name]
    prior = prior_store.load(path)
    assert isinstance(prior, CombinerPrior) and prior.name == name
    assert path.stat().st_size < 25 << 20
    assert prior.card["seconds"] > 0 and path.with_suffix(".md").is_file()
    assert (np.diff(prior.anchor_kl_bits) > 0).all()


@pytest.mark.parametrize("name", ("images32", "photographs", "speech16k", "globe", "fields"))
def test_shipped_hierarchical_priors_are_whole(name: str) -> None:
    path = prior_store.prior_files()[name]
    prior = prior_store.load(path)
    assert prior.name == name and isinstance(prior, HierarchicalPrior)
    assert path.stat().st_size < 25 << 20
    assert prior.card["seconds"] > 0 and f"`{prior.id.hex()}`" in path.with_suffix(".md").read_text()


@pytest.mark.parametrize("name", ("coinpp-images32", "coinpp-photographs", "coinpp-speech16k", "coinpp-fields"))
def test_shipped_base_networks_are_whole(name: str) -> None:
    path = prior_store.prior_files()[name]
    prior = prior_store.load(path)
    assert prior.name == name and isinstance(prior, CoinPPPrior)
    assert path.stat().st_size < 25 << 20
    assert prior.card["seconds"] > 0 and f"`{prior.id.hex()}`" in path.with_suffix(".md").read_text()

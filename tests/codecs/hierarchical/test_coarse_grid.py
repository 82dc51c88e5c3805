"""Smooth fields on coarser grids: chosen where they pay, told in the file, refused when they cannot be."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry, DecodeRequest, EncodeOptions, Rate, Source
from inrcodec.codecs.hierarchical.batches import make_batches, on_coarser_grid
from inrcodec.codecs.hierarchical.coarse_grid import choose_halvings, grid_log_lambda
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.config import coarser_shape, default_log_lambda
from inrcodec.codecs.hierarchical.parameters import MAX_HALVINGS, read_parameters
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.errors import FormatError
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.resample import resample


def _prior() -> HierarchicalPrior:
    prior = prior_store.find("fields")
    assert isinstance(prior, HierarchicalPrior)
    return prior


PRIOR = _prior()


def field(values: np.ndarray) -> Source:
    return Source(values[..., None].astype(np.float32), SignalHeader("field", "field", "float32", values.shape, 1))


def smooth(rows: int = 64, columns: int = 96) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns] / rows
    result: np.ndarray = 0.5 + 0.3 * np.sin(3 * x + 1) * np.cos(4 * y)
    return result


def noise() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, (64, 96))


def choice(source: Source, rate: Rate) -> int:
    return choose_halvings(PRIOR, [source], rate, default_log_lambda(PRIOR.config))


@pytest.mark.parametrize("rate", [Rate(bits=1500.0), Rate(beta=2e-6)])
def test_a_smooth_field_goes_on_a_coarser_grid_and_gains(rate: Rate) -> None:
    source = field(smooth())
    codec = HierarchicalCodec(PRIOR)
    coded = codec.encoding([source], EncodeOptions(effort="fast")).at(rate)
    told, end = read_parameters(codec.prior, coded.parameters)
    assert told.halvings == choice(source, rate) > 0 and end == len(coded.parameters)
    back = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    with patch("inrcodec.codecs.hierarchical.encoding.choose_halvings", return_value=0):
        own = codec.encoding([source], EncodeOptions(effort="fast")).at(rate)
    plain = codec.decode(CodedEntry(source.header, own.parameters, own.bodies[0]), DecodeRequest())
    lam = 1 / 2e-6
    costs = [
        (0.0 if rate.bits else 8 * len(c.bodies[0])) + lam * np.square(d - source.values).sum()
        for c, d in ((coded, back), (own, plain))
    ]
    assert back.shape == source.values.shape and costs[0] < costs[1]
    assert 8 * len(coded.bodies[0]) <= 1500 or rate.bits is None


def test_detail_stays_on_its_own_grid() -> None:
    assert choice(field(noise()), Rate(bits=40000.0)) == 0


def test_values_of_a_coarser_grid_come_nearer_than_means() -> None:
    rows = np.arange(64) / 64
    plane = np.sin(2 * np.pi * 5 * rows)[:, None, None].repeat(32, 1).astype(np.float32)
    shape = coarser_shape(plane.shape[:2], 2)
    assert shape == (16, 8)

    def error(coarse: np.ndarray) -> float:
        back = resample(resample(coarse, 0, 64), 1, 32)
        return float(np.square(back - plane).mean())

    means = resample(resample(plane, 0, 16), 1, 8)
    assert error(on_coarser_grid(plane, shape, False)) < 0.5 * error(means)
    assert on_coarser_grid(plane, (64, 32), False) is plane


def test_odd_sizes() -> None:
    (owned,) = make_batches([field(smooth(33, 49))], PRIOR, 1.0, 2)
    assert owned.batch.extent == (9, 13) and owned.batch.points == 9 * 13
    assert grid_log_lambda(PRIOR, 5.0, 1) == pytest.approx(5.0 + np.log(4))


def test_halvings_that_do_not_exist_are_refused() -> None:
    codec = HierarchicalCodec(PRIOR)
    data = codec.encoding([field(smooth(16, 16))], EncodeOptions(effort="fast")).at(Rate(beta=1e-3)).parameters
    assert read_parameters(codec.prior, data)[1] == len(data)
    with pytest.raises(FormatError, match="truncated"):
        read_parameters(codec.prior, data[:-1])
    with pytest.raises(FormatError, match="halved"):
        read_parameters(codec.prior, data[:-1] + bytes([MAX_HALVINGS + 1]))

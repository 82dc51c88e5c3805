"""Blocks: every latent that matters is in exactly one, and both sides cut alike from integers alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.codecs.combiner.blocks import PRUNE_UNITS, count_blocks, deal_dimensions, plan_blocks

kl_rows = st.lists(st.integers(0, 20_000), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(st.lists(kl_rows, min_size=1, max_size=3), st.integers(1, 9), st.integers(1000, 60_000), st.randoms())
def test_every_latent_that_matters_is_in_exactly_one_block(rows, n_patches, target, random) -> None:  # type: ignore[no-untyped-def]
    width = max(map(len, rows))
    kl = np.array([row + [0] * (width - len(row)) for row in rows], np.int64)
    classes = np.array([random.randrange(len(rows)) for _ in range(n_patches)], np.int64)
    plan = plan_blocks(kl, classes, target)
    assert plan.n_blocks == count_blocks(kl, classes, target)
    latent, block = plan.slots(width)
    assert len(np.unique(latent)) == len(latent)
    sent = np.zeros((n_patches, width), bool)
    sent.reshape(-1)[latent] = True
    for patch, c in enumerate(classes):
        matters = kl[c] >= PRUNE_UNITS
        # A class whose total is below half a target gets no block at all: its patches stay at the prior mean.
        assert np.array_equal(sent[patch], matters if len(deal_dimensions(kl[c], target)) else np.zeros(width, bool))
    for number in range(plan.n_blocks):
        owners = classes[latent[block == number] // width]
        assert len(set(owners.tolist())) == 1


def test_blocks_hold_about_the_target() -> None:
    kl = np.random.default_rng(0).gamma(0.5, 1500, 700).astype(np.int64)
    blocks = deal_dimensions(kl, 14 * 1024)
    loads = np.array([kl[block].sum() for block in blocks])
    assert abs(len(blocks) - kl.sum() / (14 * 1024)) < 1
    assert np.ptp(loads) < 0.1 * loads.mean()


def test_dimensions_of_a_block_come_from_different_patches() -> None:
    kl = np.full((1, 64), 1024, np.int64)
    plan = plan_blocks(kl, np.zeros(200, np.int64), 8 * 1024)
    assert len(np.unique(plan.patch[0])) >= 6  # eight slots, 200 patches


def test_golden_plan() -> None:
    plan = plan_blocks(np.array([[3000, 10, 2000, 900, 1500]]), np.zeros(2, np.int64), 2500)
    assert plan.dim.tolist() == [[0, -1], [0, -1], [2, -1], [2, -1], [4, 3], [4, 3]]
    assert plan.position.tolist() == [0, 0, 1, 1, 2, 2]
    assert plan.patch.tolist() == PATCHES


PATCHES = [[1, -1], [0, -1], [1, -1], [0, -1], [1, 0], [0, 1]]


def test_no_patch_class_without_blocks() -> None:
    plan = plan_blocks(np.zeros((2, 5), np.int64), np.array([0, 1, 1]), 1000)
    assert plan.n_blocks == 0 and plan.slots(5)[0].size == 0


@pytest.mark.parametrize("target", [1, 10**9])
def test_extreme_targets(target: int) -> None:
    kl = np.array([5000, 4000, 30])
    assert [len(b) for b in deal_dimensions(kl, target)] == ([1, 1, 1] if target == 1 else [])

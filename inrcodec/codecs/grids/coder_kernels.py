"""The compiled part of ``codecs.grids.coder``: the context network in exact integers and rANS, latent by latent."""

from __future__ import annotations

import math

import numpy as np

from inrcodec.codecs.grids.compiled import compiled
from inrcodec.codecs.grids.config import MAX_LATENT, N_SCALES, REACH
from inrcodec.codecs.grids.context_gradients import COARSER_COLUMNS, COARSER_ROWS, NEIGHBOUR_COLUMNS, NEIGHBOUR_ROWS

ACTIVATION_LIMIT = float(1 << 26)
"""Activations are clamped to this, in units of 2^-12."""
LOWEST_STATE = 1 << 31
"""Min state of the rANS coder, and its initial state."""
MAX_BEYOND_BITS = 16
"""Max bits of the distance of a latent beyond its table."""


@compiled(fastmath=True)
def predict(latents, coarser, has_coarser, y, x, w1, b1, w2, b2, w3, b3, inputs, h1, h2):
    """Return the mean in sixteenths and the scale index of one latent.

    ``w1`` (inputs, n), ``w2`` (n, n) and ``w3`` (2, n) are laid out so that the inner loop runs along a row.
    """
    n = b1.shape[0]
    n_near = NEIGHBOUR_ROWS.shape[0]
    n_in = n_near
    for k in range(n_near):
        inputs[k] = latents[y + REACH + NEIGHBOUR_ROWS[k], x + REACH + NEIGHBOUR_COLUMNS[k]] * 16.0
    if has_coarser:
        n_in = w1.shape[0]
        for k in range(n_near, n_in):
            inputs[k] = coarser[y + 1 + COARSER_ROWS[k - n_near], x + 1 + COARSER_COLUMNS[k - n_near]]
    for j in range(n):
        h1[j] = b1[j] * 16.0
    for k in range(n_in):
        value = inputs[k]
        if value != 0.0:
            for j in range(n):
                h1[j] += w1[k, j] * value
    for j in range(n):
        # Units of 2^-20 to 2^-12.
        h1[j] = min(max(math.floor(h1[j] * 0.00390625 + 0.5), 0.0), ACTIVATION_LIMIT)
        h2[j] = h1[j] * 65536.0 + b2[j] * 4096.0
    for k in range(n):
        value = h1[k]
        if value != 0.0:
            for j in range(n):
                h2[j] += w2[k, j] * value
    mean = b3[0] * 4096.0
    scale = b3[1] * 4096.0
    for j in range(n):
        value = min(max(math.floor(h2[j] * (1.0 / 65536.0) + 0.5), 0.0), ACTIVATION_LIMIT)
        mean += w3[0, j] * value
        scale += w3[1, j] * value
    # Units of 2^-28 to sixteenths, and to steps of 2^-3 above the min log scale.
    mean = math.floor(mean * 2.0**-24 + 0.5)
    place = math.floor((scale + 3.5 * 2.0**28) * 2.0**-25 + 0.5)
    mean = min(max(mean, -MAX_LATENT * 16.0), MAX_LATENT * 16.0)
    return int(mean), int(min(max(place, 0.0), N_SCALES - 1.0))


@compiled(fastmath=False)
def grid_symbols(latents, coarser, has_coarser, w1, b1, w2, b2, w3, b3, low, half, starts, edges, out, at):
    """Write the symbols of a grid, each as (first count, count) out of 2^16, to rows of ``out`` from row ``at`` on.

    Returns the row after the last symbol.
    """
    n = b1.shape[0]
    inputs, h1, h2 = np.empty(w1.shape[0]), np.empty(n), np.empty(n)
    height, width = latents.shape[0] - REACH, latents.shape[1] - 2 * REACH
    for y in range(height):
        for x in range(width):
            mean, index = predict(latents, coarser, has_coarser, y, x, w1, b1, w2, b2, w3, b3, inputs, h1, h2)
            centre = (mean + 8) >> 4
            value = int(latents[y + REACH, x + REACH]) - centre
            start = starts[index * 16 + (mean - centre * 16 + 8)]
            bits, reach = low[index], half[index]
            symbol = value >> bits
            if -reach <= symbol <= reach:
                edge = start + symbol + reach
                out[at, 0], out[at, 1] = edges[edge], edges[edge + 1] - edges[edge]
                at += 1
            else:
                edge = start + 2 * reach + 1
                out[at, 0], out[at, 1] = edges[edge], edges[edge + 1] - edges[edge]
                beyond = abs(symbol) - reach
                size = 0
                while beyond >> (size + 1) > 0:
                    size += 1
                out[at + 1, 0], out[at + 1, 1] = (2 * size + int(symbol < 0)) << 10, 1 << 10
                at += 2
                # At most 16 bits, in two pieces.
                for piece, first in ((min(size, 8), 0), (size - min(size, 8), 8)):
                    if piece > 0:
                        out[at, 0] = ((beyond >> first) & ((1 << piece) - 1)) << (16 - piece)
                        out[at, 1] = 1 << (16 - piece)
                        at += 1
            if bits > 0:
                out[at, 0], out[at, 1] = (value - (symbol << bits)) << (16 - bits), 1 << (16 - bits)
                at += 1
    return at


@compiled(fastmath=False)
def push_all(symbols, count, words):
    """Code symbols by rANS from the last to the first; return the state and the number of words written."""
    state = np.uint64(LOWEST_STATE)
    used = 0
    for i in range(count - 1, -1, -1):
        first, size = np.uint64(symbols[i, 0]), np.uint64(symbols[i, 1])
        if state >= (size << np.uint64(47)):
            words[used] = np.uint32(state & np.uint64(0xFFFFFFFF))
            used += 1
            state >>= np.uint64(32)
        state = ((state // size) << np.uint64(16)) + (state % size) + first
    return state, used


@compiled(fastmath=False)
def _pull(state, first, size, words, at):
    """Return the state after removing a symbol, and the position of the next word; words after the end are 0."""
    state = size * (state >> np.uint64(16)) + (state & np.uint64(0xFFFF)) - first
    if state < np.uint64(LOWEST_STATE):
        state <<= np.uint64(32)
        if at < words.shape[0]:
            state |= np.uint64(words[at])
        at += 1
    return state, at


@compiled(fastmath=False)
def _uncoded(state, bits, words, at):
    """Return a number of ``bits`` uncoded bits, and the state and the position after it."""
    digit = (state & np.uint64(0xFFFF)) >> np.uint64(16 - bits)
    share = np.uint64(1 << (16 - bits))
    state, at = _pull(state, digit * share, share, words, at)
    return np.int64(digit), state, at


@compiled(fastmath=False)
def pull_grid(latents, coarser, has_coarser, w1, b1, w2, b2, w3, b3, low, half, starts, edges, words, state, at):
    """Decode a grid into ``latents``; return the state, the position, and whether all latents are in range."""
    n = b1.shape[0]
    inputs, h1, h2 = np.empty(w1.shape[0]), np.empty(n), np.empty(n)
    height, width = latents.shape[0] - REACH, latents.shape[1] - 2 * REACH
    for y in range(height):
        for x in range(width):
            mean, index = predict(latents, coarser, has_coarser, y, x, w1, b1, w2, b2, w3, b3, inputs, h1, h2)
            centre = (mean + 8) >> 4
            start = starts[index * 16 + (mean - centre * 16 + 8)]
            bits, reach = low[index], half[index]
            count = int(state & np.uint64(0xFFFF))
            a, b = start, start + 2 * reach + 2
            while b - a > 1:
                middle = (a + b) >> 1
                if edges[middle] <= count:
                    a = middle
                else:
                    b = middle
            state, at = _pull(state, np.uint64(edges[a]), np.uint64(edges[a + 1] - edges[a]), words, at)
            symbol = a - start - reach
            if symbol > reach:
                head, state, at = _uncoded(state, 6, words, at)
                size = min(head >> 1, MAX_BEYOND_BITS)
                beyond = 1 << size
                for piece, first in ((min(size, 8), 0), (size - min(size, 8), 8)):
                    if piece > 0:
                        digit, state, at = _uncoded(state, piece, words, at)
                        beyond += digit << first
                symbol = reach + beyond
                if head & 1:
                    symbol = -symbol
            value = symbol << bits
            if bits > 0:
                digit, state, at = _uncoded(state, bits, words, at)
                value += digit
            value += centre
            if not -MAX_LATENT < value < MAX_LATENT:
                return state, at, False
            latents[y + REACH, x + REACH] = value
    return state, at, True

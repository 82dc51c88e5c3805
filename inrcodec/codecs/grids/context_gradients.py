"""The context network of a latent grid, compiled: bits and their gradients.

Every latent of a grid is predicted from ``NEIGHBOURS`` before it in raster order and from five values of the coarser
grid, bilinearly interpolated. Two hidden layers with a skip connection give the mean and the log scale of a Laplace
distribution. Bits and gradients are computed together, row by row, so activations are never stored for a whole grid.
Files use the same network in exact integers, ``codecs.grids.coder``.

Sources: COOL-CHIC (arXiv 2212.05458), section 3; C3 (arXiv 2312.02753), section 3.
"""

from __future__ import annotations

import math

import numpy as np

from inrcodec.codecs.grids.compiled import compiled
from inrcodec.codecs.grids.config import COARSER, LOG_LARGEST_SCALE, LOG_SMALLEST_SCALE, NEIGHBOURS, REACH

MIN_PROBABILITY = 2.0**-16
"""Probabilities of latents are clamped to at least this."""

NEIGHBOUR_ROWS = np.array([dy for dy, _ in NEIGHBOURS])
NEIGHBOUR_COLUMNS = np.array([dx for _, dx in NEIGHBOURS])
COARSER_ROWS = np.array([dy for dy, _ in COARSER])
COARSER_COLUMNS = np.array([dx for _, dx in COARSER])
_RUN = 128
"""Latents of a row that pass through the network together."""


@compiled(fastmath=True)
def _add_product(w, x, out):
    """Add ``w`` (n, m) @ ``x`` (m, _RUN) to ``out`` (n, _RUN); n is even, m a multiple of 4."""
    for j in range(0, w.shape[0], 2):
        o0, o1 = out[j], out[j + 1]
        for k in range(0, w.shape[1], 4):
            x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
            a0, a1, a2, a3 = w[j, k], w[j, k + 1], w[j, k + 2], w[j, k + 3]
            b0, b1, b2, b3 = w[j + 1, k], w[j + 1, k + 1], w[j + 1, k + 2], w[j + 1, k + 3]
            for p in range(_RUN):
                v0, v1, v2, v3 = x0[p], x1[p], x2[p], x3[p]
                o0[p] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                o1[p] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3


@compiled(fastmath=True)
def _add_outer(d, x, n_in, out, start, stride):
    """Add the dot product of ``d[j]`` and ``x[k]`` to ``out[start + j * stride + k]`` for all j and all k < ``n_in``.

    The number of rows of ``d`` is a multiple of 4, that of ``x`` is even.
    """
    for j in range(0, d.shape[0], 4):
        d0, d1, d2, d3 = d[j], d[j + 1], d[j + 2], d[j + 3]
        for k in range(0, n_in, 2):
            x0, x1 = x[k], x[k + 1]
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = np.float32(0.0)
            for p in range(_RUN):
                u, v = x0[p], x1[p]
                s0 += d0[p] * u
                s1 += d1[p] * u
                s2 += d2[p] * u
                s3 += d3[p] * u
                t0 += d0[p] * v
                t1 += d1[p] * v
                t2 += d2[p] * v
                t3 += d3[p] * v
            at = start + j * stride + k
            out[at] += s0
            out[at + stride] += s1
            out[at + 2 * stride] += s2
            out[at + 3 * stride] += s3
            if k + 1 < n_in:
                at += 1
                out[at] += t0
                out[at + stride] += t1
                out[at + 2 * stride] += t2
                out[at + 3 * stride] += t3


@compiled(fastmath=True)
def context_bits(
    latents, coarser, has_coarser, first, last, w1, b1, w2, b2, w3, b3, grad_latents, grad_coarser, grad_weights
):
    """Return the bits of the rows ``first`` to ``last`` of a grid, and add gradients to the last three arguments.

    Args:
        latents: (H + 3, W + 6), zero in the first 3 rows and the outer 3 columns.
        coarser: interpolated values (H + 2, W + 2) of the coarser grid, edges repeated.
        has_coarser: whether there is a coarser grid.
        first: first row.
        last: row after the last one.
        w1: (n, 22).
        b1: (n,).
        w2: (n, n).
        b2: (n,).
        w3: (2, n), for mean and log scale.
        b3: (2,).
        grad_latents: gradient of ``latents``.
        grad_coarser: gradient of ``coarser``.
        grad_weights: gradients of the six weight arrays, concatenated.
    """
    n, n_in = w1.shape
    n_near = NEIGHBOUR_ROWS.shape[0]
    if not has_coarser:
        n_in = n_near
    width = latents.shape[1] - 2 * REACH
    n_padded = -(-n_in // 4) * 4
    x = np.zeros((n_padded, _RUN), np.float32)
    h1 = np.empty((n, _RUN), np.float32)
    h2 = np.empty((n, _RUN), np.float32)
    d1 = np.empty((n, _RUN), np.float32)
    d2 = np.empty((n, _RUN), np.float32)
    mean = np.empty(_RUN, np.float32)
    scale = np.empty(_RUN, np.float32)
    dx = np.empty((n_padded, _RUN), np.float32)
    w1p = np.zeros((n, n_padded), np.float32)
    w1p[:, :n_in] = w1[:, :n_in]
    w1t = w1p.T.copy()
    w2t = w2.T.copy()
    at_b1 = w1.size
    at_w2 = at_b1 + n
    at_b2 = at_w2 + n * n
    at_w3 = at_b2 + n
    at_b3 = at_w3 + 2 * n
    stride = w1.shape[1]
    total = 0.0
    for y in range(first, last):
        for start in range(0, width, _RUN):
            m = min(_RUN, width - start)
            for k in range(n_near):
                row = latents[y + REACH + NEIGHBOUR_ROWS[k]]
                at = start + REACH + NEIGHBOUR_COLUMNS[k]
                for p in range(m):
                    x[k, p] = row[at + p]
            for k in range(n_near, n_in):
                row = coarser[y + 1 + COARSER_ROWS[k - n_near]]
                at = start + 1 + COARSER_COLUMNS[k - n_near]
                for p in range(m):
                    x[k, p] = row[at + p]
            for k in range(n_in):
                for p in range(m, _RUN):
                    x[k, p] = 0.0
            for j in range(n):
                h1[j] = b1[j]
            _add_product(w1p, x, h1)
            for j in range(n):
                for p in range(_RUN):
                    h1[j, p] = max(h1[j, p], np.float32(0.0))
            for p in range(_RUN):
                mean[p] = b3[0]
                scale[p] = b3[1]
            for j in range(n):
                b = b2[j]
                for p in range(_RUN):
                    h2[j, p] = h1[j, p] + b
            _add_product(w2, h1, h2)
            for j in range(n):
                u = w3[0, j]
                v = w3[1, j]
                for p in range(_RUN):
                    value = max(h2[j, p], np.float32(0.0))
                    h2[j, p] = value
                    mean[p] += u * value
                    scale[p] += v * value
            current = latents[y + REACH]
            for p in range(m):
                log_scale = scale[p]
                inside = (log_scale > LOG_SMALLEST_SCALE) and (log_scale < LOG_LARGEST_SCALE)
                log_scale = min(max(log_scale, np.float32(LOG_SMALLEST_SCALE)), np.float32(LOG_LARGEST_SCALE))
                inverse = math.exp(-log_scale)
                r = current[start + REACH + p] - mean[p]
                a = abs(r)
                near = math.exp(-abs(np.float32(0.5) - a) * inverse)
                far = math.exp(-(np.float32(0.5) + a) * inverse)
                if a <= 0.5:
                    probability = 1.0 - 0.5 * near - 0.5 * far
                    slope = 0.5 * (far - near) * inverse
                    by_inverse = 0.5 * (far * (0.5 + a) + near * (0.5 - a))
                else:
                    probability = 0.5 * (near - far)
                    slope = 0.5 * (far - near) * inverse
                    by_inverse = 0.5 * (far * (a + 0.5) - near * (a - 0.5))
                safe = max(probability, np.float32(MIN_PROBABILITY))
                total -= math.log2(safe)
                factor = -1.4426950408889634 / safe
                # Below the floor, gradients that would raise the probability still apply.
                g = factor * slope
                if r < 0:
                    g = -g
                gs = np.float32(0.0)
                if inside and (probability > MIN_PROBABILITY or by_inverse < 0.0):
                    gs = factor * by_inverse * (-inverse)
                mean[p] = -g
                scale[p] = gs
                grad_latents[y + REACH, start + REACH + p] += g
            for p in range(m, _RUN):
                mean[p] = 0.0
                scale[p] = 0.0
            # Backward pass: mean and scale now hold the gradients of the outputs.
            s0 = np.float32(0.0)
            s1 = np.float32(0.0)
            for p in range(_RUN):
                s0 += mean[p]
                s1 += scale[p]
            grad_weights[at_b3] += s0
            grad_weights[at_b3 + 1] += s1
            for j in range(n):
                u = w3[0, j]
                v = w3[1, j]
                s0 = np.float32(0.0)
                s1 = np.float32(0.0)
                s2 = np.float32(0.0)
                for p in range(_RUN):
                    s0 += mean[p] * h2[j, p]
                    s1 += scale[p] * h2[j, p]
                    d = u * mean[p] + v * scale[p] if h2[j, p] > 0.0 else np.float32(0.0)
                    d2[j, p] = d
                    s2 += d
                grad_weights[at_w3 + j] += s0
                grad_weights[at_w3 + n + j] += s1
                grad_weights[at_b2 + j] += s2
            _add_outer(d2, h1, n, grad_weights, at_w2, n)
            d1[:] = d2
            _add_product(w2t, d2, d1)
            for k in range(n):
                s0 = np.float32(0.0)
                for p in range(_RUN):
                    d = d1[k, p] if h1[k, p] > 0.0 else np.float32(0.0)
                    d1[k, p] = d
                    s0 += d
                grad_weights[at_b1 + k] += s0
            _add_outer(d1, x, n_in, grad_weights, 0, stride)
            dx[:] = 0.0
            _add_product(w1t, d1, dx)
            for k in range(n_in):
                acc = dx[k]
                if k < n_near:
                    row = grad_latents[y + REACH + NEIGHBOUR_ROWS[k]]
                    at = start + REACH + NEIGHBOUR_COLUMNS[k]
                    for p in range(m):
                        row[at + p] += acc[p]
                else:
                    row = grad_coarser[y + 1 + COARSER_ROWS[k - n_near]]
                    at = start + 1 + COARSER_COLUMNS[k - n_near]
                    for p in range(m):
                        row[at + p] += acc[p]
    return total

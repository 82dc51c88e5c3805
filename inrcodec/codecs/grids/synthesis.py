"""The synthesis network of latent grids, compiled: squared errors and their gradients, and values.

    features (G) -> G x n, ReLU, n x C -> + 3x3 -> + ReLU, 3x3 -> values (C)

Arrays are float32, (channels, rows, columns). Every kernel works on a range of rows and releases Python's global
interpreter lock, so a caller can distribute the rows over threads.

Source: C3 (arXiv 2312.02753), section 3.
"""

from __future__ import annotations

import numpy as np

from inrcodec.codecs.grids.compiled import compiled

_RUN = 128
"""Points of a row that are computed together."""


@compiled(fastmath=True)
def pointwise(features, w1, b1, w2, b2, first, last, out):
    """Compute two layers at every point of the rows ``first`` to ``last`` of ``out`` (C, H + 2, W + 2).

    The border of ``out`` is not written.
    """
    n, n_in = w1.shape
    channels = w2.shape[0]
    width = features.shape[2]
    hidden = np.empty((4, _RUN), np.float32)
    for y in range(first, last):
        for start in range(0, width, _RUN):
            m = min(_RUN, width - start)
            for c in range(channels):
                row = out[c, y + 1, start + 1 : start + 1 + m]
                row[:] = b2[c]
            for j in range(0, n, 4):
                _hidden(features, w1, b1, j, n_in, y, start, m, hidden)
                for c in range(channels):
                    row = out[c, y + 1, start + 1 : start + 1 + m]
                    v0, v1, v2, v3 = w2[c, j], w2[c, j + 1], w2[c, j + 2], w2[c, j + 3]
                    for p in range(m):
                        row[p] += v0 * hidden[0, p] + v1 * hidden[1, p] + v2 * hidden[2, p] + v3 * hidden[3, p]


@compiled(fastmath=True)
def _hidden(features, w1, b1, j, n_in, y, start, m, hidden):
    h0, h1, h2, h3 = hidden[0], hidden[1], hidden[2], hidden[3]
    for p in range(m):
        h0[p] = b1[j]
        h1[p] = b1[j + 1]
        h2[p] = b1[j + 2]
        h3[p] = b1[j + 3]
    for k in range(n_in):
        row = features[k, y, start : start + m]
        v0, v1, v2, v3 = w1[j, k], w1[j + 1, k], w1[j + 2, k], w1[j + 3, k]
        for p in range(m):
            value = row[p]
            h0[p] += v0 * value
            h1[p] += v1 * value
            h2[p] += v2 * value
            h3[p] += v3 * value
    zero = np.float32(0.0)
    for p in range(m):
        h0[p] = max(h0[p], zero)
        h1[p] = max(h1[p], zero)
        h2[p] = max(h2[p], zero)
        h3[p] = max(h3[p], zero)


@compiled(fastmath=True)
def pointwise_gradients(features, w1, b1, w2, grad_out, first, last, grad_features, gw1, gb1, gw2, gb2):
    """Add the gradients of ``pointwise``, given ``grad_out`` (C, H, W), to the last five arguments."""
    n, n_in = w1.shape
    channels = w2.shape[0]
    width = features.shape[2]
    hidden = np.empty((4, _RUN), np.float32)
    back = np.empty((4, _RUN), np.float32)
    zero = np.float32(0.0)
    for y in range(first, last):
        for start in range(0, width, _RUN):
            m = min(_RUN, width - start)
            for c in range(channels):
                total = zero
                row = grad_out[c, y, start : start + m]
                for p in range(m):
                    total += row[p]
                gb2[c] += total
            for j in range(0, n, 4):
                _hidden(features, w1, b1, j, n_in, y, start, m, hidden)
                h0, h1, h2, h3 = hidden[0], hidden[1], hidden[2], hidden[3]
                d0, d1, d2, d3 = back[0], back[1], back[2], back[3]
                for p in range(m):
                    d0[p] = zero
                    d1[p] = zero
                    d2[p] = zero
                    d3[p] = zero
                for c in range(channels):
                    row = grad_out[c, y, start : start + m]
                    v0, v1, v2, v3 = w2[c, j], w2[c, j + 1], w2[c, j + 2], w2[c, j + 3]
                    s0 = s1 = s2 = s3 = zero
                    for p in range(m):
                        g = row[p]
                        d0[p] += v0 * g
                        d1[p] += v1 * g
                        d2[p] += v2 * g
                        d3[p] += v3 * g
                        s0 += h0[p] * g
                        s1 += h1[p] * g
                        s2 += h2[p] * g
                        s3 += h3[p] * g
                    gw2[c, j] += s0
                    gw2[c, j + 1] += s1
                    gw2[c, j + 2] += s2
                    gw2[c, j + 3] += s3
                s0 = s1 = s2 = s3 = zero
                for p in range(m):
                    d0[p] = d0[p] if h0[p] > zero else zero
                    d1[p] = d1[p] if h1[p] > zero else zero
                    d2[p] = d2[p] if h2[p] > zero else zero
                    d3[p] = d3[p] if h3[p] > zero else zero
                    s0 += d0[p]
                    s1 += d1[p]
                    s2 += d2[p]
                    s3 += d3[p]
                gb1[j] += s0
                gb1[j + 1] += s1
                gb1[j + 2] += s2
                gb1[j + 3] += s3
                for k in range(n_in):
                    row = features[k, y, start : start + m]
                    into = grad_features[k, y, start : start + m]
                    v0, v1, v2, v3 = w1[j, k], w1[j + 1, k], w1[j + 2, k], w1[j + 3, k]
                    s0 = s1 = s2 = s3 = zero
                    for p in range(m):
                        value = row[p]
                        s0 += d0[p] * value
                        s1 += d1[p] * value
                        s2 += d2[p] * value
                        s3 += d3[p] * value
                        into[p] += v0 * d0[p] + v1 * d1[p] + v2 * d2[p] + v3 * d3[p]
                    gw1[j, k] += s0
                    gw1[j + 1, k] += s1
                    gw1[j + 2, k] += s2
                    gw1[j + 3, k] += s3


@compiled(fastmath=True)
def add_convolved(values, kernel, first, last, out):
    """Add to ``out`` (C_out, H, W) the correlation of ``values`` (C_in, H + 2, W + 2) with ``kernel``.

    The kernel is (C_out, C_in, 3, 3).
    """
    width = out.shape[2]
    for y in range(first, last):
        for c in range(kernel.shape[0]):
            into = out[c, y]
            for i in range(kernel.shape[1]):
                for dy in range(3):
                    row = values[i, y + dy]
                    v0, v1, v2 = kernel[c, i, dy, 0], kernel[c, i, dy, 1], kernel[c, i, dy, 2]
                    for x in range(width):
                        into[x] += v0 * row[x] + v1 * row[x + 1] + v2 * row[x + 2]


@compiled(fastmath=True)
def convolved_gradients(values, grad_out, first, last, grad_kernel, grad_bias):
    """Add the gradients of the kernel of ``add_convolved`` and of a bias to the last two arguments."""
    width = grad_out.shape[2]
    zero = np.float32(0.0)
    for y in range(first, last):
        for c in range(grad_kernel.shape[0]):
            g = grad_out[c, y]
            total = zero
            for x in range(width):
                total += g[x]
            grad_bias[c] += total
            for i in range(grad_kernel.shape[1]):
                for dy in range(3):
                    row = values[i, y + dy]
                    s0 = s1 = s2 = zero
                    for x in range(width):
                        s0 += g[x] * row[x]
                        s1 += g[x] * row[x + 1]
                        s2 += g[x] * row[x + 2]
                    grad_kernel[c, i, dy, 0] += s0
                    grad_kernel[c, i, dy, 1] += s1
                    grad_kernel[c, i, dy, 2] += s2


@compiled(fastmath=True)
def squared_errors(values, target, weight, first, last, grad):
    """Return the sum of squared differences weighted by ``weight`` (H, W); write its gradient to ``grad`` (C, H, W)."""
    total = 0.0
    two = np.float32(2.0)
    for y in range(first, last):
        for c in range(values.shape[0]):
            row_total = np.float32(0.0)
            for x in range(values.shape[2]):
                d = (values[c, y, x] - target[c, y, x]) * weight[y, x]
                row_total += d * (values[c, y, x] - target[c, y, x])
                grad[c, y, x] = two * d
            total += row_total
    return total

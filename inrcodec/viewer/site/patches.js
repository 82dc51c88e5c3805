// Grids of any size rendered from functions on patches (inrcodec/codecs/patches.py).

import { makeTensor } from "./convolution.js";

const MAX_OVERSAMPLING = 64;
const POINTS_AT_ONCE = 1 << 13;

// Return the coordinates of a grid of points, row by row, as a tensor of `axes` channels; with one axis, only the
// columns.
export function coordinates(machine, ys, xs, axes) {
  const out = makeTensor(machine, 1, ys.length * xs.length, axes);
  const numbers = machine.floats(out.at, out.width * out.stride);
  for (let y = 0, at = 0; y < ys.length; y++) {
    for (let x = 0; x < xs.length; x++, at += out.stride) {
      if (axes === 2) numbers[at] = ys[y];
      numbers[at + axes - 1] = xs[x];
    }
  }
  return out;
}

// Return values (rows, columns, channels) in `window` of a grid of `size` over a plane of `shape`, which is covered
// by patches of shape `patch`. `evaluate(number, ys, xs)` returns the values of a patch at local coordinates in -1 ..
// 1. On a grid coarser than the plane, every value is the mean over the point's footprint.
export function renderPatches(shape, patch, channels, size, [top, bottom, left, right], evaluate) {
  const oversampling = shape.map((n, axis) => Math.min(MAX_OVERSAMPLING, Math.max(1, Math.ceil(n / size[axis]))));
  const rows = splitAxis(shape[0], size[0], patch[0], oversampling[0], top, bottom);
  const columns = splitAxis(shape[1], size[1], patch[1], oversampling[1], left, right);
  const width = right - left;
  const out = new Float32Array((bottom - top) * width * channels);
  const patchesAcross = Math.ceil(shape[1] / patch[1]);
  for (const row of rows) {
    for (const column of columns) {
      const [ys, xs] = [row.local, column.local];
      const step = Math.max(1, Math.floor(POINTS_AT_ONCE / xs.length));
      for (let y = 0; y < ys.length; y += step) {
        const stripYs = ys.subarray(y, y + step);
        const values = evaluate(row.patch * patchesAcross + column.patch, stripYs, xs);
        for (let i = 0; i < stripYs.length; i++) {
          const line = Math.floor((row.first + y + i) / oversampling[0]) * width;
          for (let j = 0; j < xs.length; j++) {
            const to = (line + Math.floor((column.first + j) / oversampling[1])) * channels;
            const from = (i * xs.length + j) * channels;
            for (let c = 0; c < channels; c++) out[to + c] += values[from + c];
          }
        }
      }
    }
  }
  const share = 1 / (oversampling[0] * oversampling[1]);
  if (share !== 1) for (let i = 0; i < out.length; i++) out[i] *= share;
  return out;
}

// Group the points `begin` to `end` of an axis by the patch that holds them: { patch, first, local }. `first` is the
// number of the first point within the window, `local` holds coordinates within the patch. The axis has n samples in
// the plane and m points in the grid, each oversampled.
function splitAxis(n, m, patch, oversampling, begin, end) {
  const fine = m * oversampling;
  const lastPatch = Math.ceil(n / patch) - 1;
  const groups = [];
  for (let i = begin * oversampling; i < end * oversampling; i++) {
    const numerator = (2 * i + 1) * n;
    const owner = Math.min(Math.floor(numerator / (2 * fine * patch)), lastPatch);
    if (groups.at(-1)?.patch !== owner) groups.push({ patch: owner, first: i - begin * oversampling, local: [] });
    groups.at(-1).local.push(numerator / (fine * patch) - 2 * owner - 1);
  }
  return groups.map((group) => ({ ...group, local: Float32Array.from(group.local) }));
}

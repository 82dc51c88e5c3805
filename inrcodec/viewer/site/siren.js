// SIRENs of single patches or signals, and grids of any size mapped onto patches (inrcodec/maths/siren.py,
// inrcodec/models/patching.py).

import { asConv, FloatConv, fromTensor, makeTensor } from "./convolution.js";

const OVERSAMPLE_MOST = 64;
const POINTS_AT_ONCE = 1 << 13;

// Values (points, outputs) of a network whose flat `weights` hold a matrix (inputs + 1, outputs) per layer, bias rows
// last. `input`: a tensor of one row of points in the machine's memory; nothing there is kept.
export function siren(machine, input, weights, widths) {
  return machine.within(() => {
    let hidden = input;
    let at = 0;
    for (let layer = 0; layer + 1 < widths.length; layer++) {
      const [inputs, outputs] = [widths[layer], widths[layer + 1]];
      const matrix = asConv({ shape: [inputs, outputs], values: weights }, at);
      const bias = weights.subarray(at + inputs * outputs, at + (inputs + 1) * outputs);
      if (layer) machine.kernels.sine(hidden.at, hidden.width * hidden.stride);
      hidden = new FloatConv(machine, matrix, bias, false).run(hidden);
      at += (inputs + 1) * outputs;
    }
    return fromTensor(machine, hidden, widths.at(-1));
  });
}

// Coordinates of a grid of points, rows first, as a tensor of `axes` channels (the columns alone for one axis).
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

// Values (rows, columns, channels) in `window` of a grid of `size` points over a plane of `shape` that is covered by
// patches. `evaluate(number, ys, xs)`: those of a patch at local coordinates. Below the plane's own size every point is
// the mean over its footprint.
export function renderPatches(shape, patch, channels, size, [top, bottom, left, right], evaluate) {
  const times = shape.map((n, a) => Math.min(OVERSAMPLE_MOST, Math.max(1, Math.ceil(n / size[a]))));
  const rows = axisPoints(shape[0], size[0], patch[0], times[0], top, bottom);
  const columns = axisPoints(shape[1], size[1], patch[1], times[1], left, right);
  const width = right - left;
  const out = new Float32Array((bottom - top) * width * channels);
  const across = Math.ceil(shape[1] / patch[1]);
  for (const row of rows) {
    for (const column of columns) {
      const [ys, xs] = [row.local, column.local];
      const step = Math.max(1, Math.floor(POINTS_AT_ONCE / xs.length));
      for (let y = 0; y < ys.length; y += step) {
        const some = ys.subarray(y, y + step);
        const values = evaluate(row.patch * across + column.patch, some, xs);
        for (let i = 0; i < some.length; i++) {
          const line = Math.floor((row.first + y + i) / times[0]) * width;
          for (let j = 0; j < xs.length; j++) {
            const to = (line + Math.floor((column.first + j) / times[1])) * channels;
            const from = (i * xs.length + j) * channels;
            for (let c = 0; c < channels; c++) out[to + c] += values[from + c];
          }
        }
      }
    }
  }
  const share = 1 / (times[0] * times[1]);
  if (share !== 1) for (let i = 0; i < out.length; i++) out[i] *= share;
  return out;
}

// Points of an axis by the patch they fall into: { patch, first (counted in the window), local coordinates }.
function axisPoints(n, m, patch, times, begin, end) {
  const fine = m * times;
  const most = Math.ceil(n / patch) - 1;
  const out = [];
  for (let i = begin * times; i < end * times; i++) {
    const numerator = (2 * i + 1) * n;
    const owner = Math.min(Math.floor(numerator / (2 * fine * patch)), most);
    if (out.at(-1)?.patch !== owner) out.push({ patch: owner, first: i - begin * times, local: [] });
    out.at(-1).local.push(numerator / (fine * patch) - 2 * owner - 1);
  }
  return out.map((part) => ({ ...part, local: Float32Array.from(part.local) }));
}

// Resample a grid of cell centres to another grid of the same extent (inrcodec/signals/resample.py): Lanczos
// interpolation with three lobes along a finer axis, the mean over each point's footprint along a coarser one.

const LOBES = 3;

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

// Return the taps of the points `begin` to `end` of an axis that has `count` samples and `points` points: { size,
// indices, weights, first, last }. Each point takes `size` samples; all of them lie in `first` .. `last` - 1.
function taps(count, points, begin, end, periodic) {
  const step = count / points;
  const isFiner = points > count;
  const size = points === count ? 1 : isFiner ? 2 * LOBES : Math.ceil(step) + 1;
  const indices = new Int32Array((end - begin) * size);
  const weights = new Float32Array(indices.length);
  let first = count;
  let last = 0;
  for (let point = begin, n = 0; point < end; point++) {
    const start = isFiner ? (point + 0.5) * step - 0.5 : point * step;
    const base = isFiner ? Math.floor(start) + 1 - LOBES : Math.floor(start + 1e-9);
    const pointWeights = Array.from({ length: size }, (_, k) => {
      if (points === count) return 1;
      if (isFiner) {
        const distance = start - (base + k);
        return sinc(distance) * sinc(distance / LOBES);
      }
      return Math.max(0, Math.min(base + k + 1, start + step) - Math.max(base + k, start));
    });
    const sum = pointWeights.reduce((a, b) => a + b, 0);
    for (let k = 0; k < size; k++, n++) {
      const index = base + k;
      indices[n] = points === count ? point
        : periodic ? ((index % count) + count) % count : Math.max(0, Math.min(count - 1, index));
      weights[n] = pointWeights[k] / sum;
      first = Math.min(first, indices[n]);
      last = Math.max(last, indices[n] + 1);
    }
  }
  return { size, indices, weights, first, last };
}

// Return the part `window` [top, bottom, left, right] of `values` (height, width, channels) resampled to `size` [rows,
// columns]. With `periodic` the columns wrap around.
export function resample(values, [height, width], channels, size, window, periodic = false) {
  const [top, bottom, left, right] = window;
  const down = taps(height, size[0], top, bottom, false);
  const across = taps(width, size[1], left, right, periodic);
  const keptColumns = across.last - across.first;
  const rows = bottom - top;
  const resampledRows = new Float32Array(rows * keptColumns * channels);
  for (let y = 0; y < rows; y++) {
    const to = y * keptColumns * channels;
    for (let k = 0; k < down.size; k++) {
      const weight = down.weights[y * down.size + k];
      if (weight === 0) continue;
      const from = (down.indices[y * down.size + k] * width + across.first) * channels;
      for (let i = 0; i < keptColumns * channels; i++) resampledRows[to + i] += weight * values[from + i];
    }
  }
  const columns = right - left;
  const out = new Float32Array(rows * columns * channels);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const to = (y * columns + x) * channels;
      for (let k = 0; k < across.size; k++) {
        const weight = across.weights[x * across.size + k];
        const from = (y * keptColumns + across.indices[x * across.size + k] - across.first) * channels;
        for (let c = 0; c < channels; c++) out[to + c] += weight * resampledRows[from + c];
      }
    }
  }
  return out;
}

// Samples at cell centres to samples on another grid of the same extent (inrcodec/maths/resample.py): a finer axis gets
// the interpolation of Lanczos with three lobes, a coarser one the mean over each point's footprint.

const LOBES = 3;

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

// Of the points from `begin` to `end` of `points` along an axis of `count`: { first, size, places, weights }, `size`
// samples each; `first`: the first sample that any of them needs, `last` the one after the last.
function taps(count, points, begin, end, periodic) {
  const step = count / points;
  const fine = points > count;
  const size = points === count ? 1 : fine ? 2 * LOBES : Math.ceil(step) + 1;
  const places = new Int32Array((end - begin) * size);
  const weights = new Float32Array(places.length);
  let first = count;
  let last = 0;
  for (let point = begin, n = 0; point < end; point++) {
    const start = fine ? (point + 0.5) * step - 0.5 : point * step;
    const base = fine ? Math.floor(start) + 1 - LOBES : Math.floor(start + 1e-9);
    const own = Array.from({ length: size }, (_, k) => {
      if (points === count) return 1;
      if (fine) {
        const away = start - (base + k);
        return sinc(away) * sinc(away / LOBES);
      }
      return Math.max(0, Math.min(base + k + 1, start + step) - Math.max(base + k, start));
    });
    const sum = own.reduce((a, b) => a + b, 0);
    for (let k = 0; k < size; k++, n++) {
      const place = base + k;
      places[n] = points === count ? point
        : periodic ? ((place % count) + count) % count : Math.max(0, Math.min(count - 1, place));
      weights[n] = own[k] / sum;
      first = Math.min(first, places[n]);
      last = Math.max(last, places[n] + 1);
    }
  }
  return { size, places, weights, first, last };
}

// `values` (height, width, channels) on a grid of `size` [rows, columns], of which `window` [top, bottom, left, right]
// is made. With `periodic` the columns are a circle.
export function resample(values, [height, width], channels, size, window, periodic = false) {
  const [top, bottom, left, right] = window;
  const down = taps(height, size[0], top, bottom, false);
  const across = taps(width, size[1], left, right, periodic);
  const kept = across.last - across.first;
  const rows = bottom - top;
  const tall = new Float32Array(rows * kept * channels);
  for (let y = 0; y < rows; y++) {
    const to = y * kept * channels;
    for (let k = 0; k < down.size; k++) {
      const weight = down.weights[y * down.size + k];
      if (weight === 0) continue;
      const from = (down.places[y * down.size + k] * width + across.first) * channels;
      for (let i = 0; i < kept * channels; i++) tall[to + i] += weight * values[from + i];
    }
  }
  const columns = right - left;
  const out = new Float32Array(rows * columns * channels);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const to = (y * columns + x) * channels;
      for (let k = 0; k < across.size; k++) {
        const weight = across.weights[x * across.size + k];
        const from = (y * kept + across.places[x * across.size + k] - across.first) * channels;
        for (let c = 0; c < channels; c++) out[to + c] += weight * tall[from + c];
      }
    }
  }
  return out;
}

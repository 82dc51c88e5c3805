// Features to values of the native grid, by patches or the SIREN head (inrcodec/codecs/hierarchical/render.py, and
// `patch_values`, `features` and `values` of model.py).

import { asConv, FloatConv, makeTensor, shuffleUp } from "./convolution.js";

const ACTIVATION_BITS = 13;
const ROWS_AT_ONCE = 32;

// The values of a model with patches, which need no head: `h` holds them as integers.
export class PatchRenderer {
  constructor(model) {
    Object.assign(this, { machine: model.machine, config: model.config });
  }

  // Return the values (height, width, channels) of the native grid, in the float32 arithmetic of the package.
  values(h, height, width) {
    const { channels } = this.config;
    const [spread, centre] = [this.config.spread, this.config.centre].map(Math.fround);
    const numbers = this.machine.ints(h.at, h.height * h.width * h.stride);
    const out = new Float32Array(height * width * channels);
    for (let y = 0, to = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let c = 0, from = (y * h.width + x) * h.stride; c < channels; c++, from++) {
          out[to++] = Math.fround((numbers[from] / (1 << ACTIVATION_BITS)) * spread) + centre;
        }
      }
    }
    return out;
  }
}

export class HeadRenderer {
  constructor(model) {
    Object.assign(this, { model, machine: model.machine, config: model.config, prior: model.prior });
    this.priorHead = this.makeHead(this.prior.tensors.get("model.head").values);
  }

  // Return the head's second and last layer from flat weights; its first layer is part of the features.
  makeHead(weights) {
    const { head_width: width, channels } = this.config;
    const layer = (at, outputs) => new FloatConv(
      this.machine, asConv({ shape: [width, outputs], values: weights }, at),
      weights.slice(at + width * outputs, at + (width + 1) * outputs), false);
    return { second: layer(0, width), last: layer((width + 1) * width, channels) };
  }

  // Return the values (height, width, channels) of the native grid; `weights` are the signal's own head weights, if
  // any.
  values(h, height, width, weights = null) {
    const { config, machine } = this;
    const head = weights ? this.makeHead(weights) : this.priorHead;
    const out = new Float32Array(height * width * config.channels);
    const rowStride = config.axes === 2 ? config.feature_stride : 1;
    const factor = config.levels.at(-1).stride / config.feature_stride;
    const featureRows = h.height * (config.axes === 2 ? factor : 1);
    for (let begin = 0; begin < height; begin += ROWS_AT_ONCE) {
      const end = Math.min(height, begin + ROWS_AT_ONCE);
      machine.scope(() => {
        const first = Math.max(0, Math.floor((begin + 0.5) / rowStride - 0.5));
        const last = Math.min(featureRows, Math.floor((end - 0.5) / rowStride - 0.5) + 2);
        this.renderRows(head, this.features(h, first, last), first, featureRows, begin, end, height, width, out);
      });
    }
    return out;
  }

  // Return the rows `first` to `last` of the features that the head interpolates, in float32.
  features(h, first, last) {
    const { machine, config, model } = this;
    const factor = config.levels.at(-1).stride / config.feature_stride;
    const rowFactor = config.axes === 2 ? factor : 1;
    const halo = model.conv("last.in").rows >> 1;
    const top = Math.max(0, Math.floor((first - halo) / rowFactor));
    const bottom = Math.min(h.height, Math.ceil((last + halo) / rowFactor));
    const scaled = makeTensor(machine, bottom - top, h.width, h.channels);
    const integers = machine.ints(h.at + 4 * top * h.width * h.stride, (bottom - top) * h.width * h.stride);
    const floats = machine.floats(scaled.at, integers.length);
    for (let i = 0; i < integers.length; i++) floats[i] = integers[i] / (1 << ACTIVATION_BITS);
    const widened = shuffleUp(machine, model.conv("widen").run(scaled), factor, config.axes);
    // The rows from first - halo to last + halo, with zeros beyond the image.
    const strip = makeTensor(machine, last - first + 2 * halo, widened.width, widened.channels);
    const line = widened.width * widened.stride;
    const stripNumbers = machine.floats(strip.at, strip.height * line);
    for (let y = 0; y < strip.height; y++) {
      const row = first - halo + y - top * rowFactor;
      if (row < 0 || row >= widened.height) continue;
      stripNumbers.set(machine.floats(widened.at + 4 * row * line, line), y * line);
    }
    const inner = model.conv("last.in").run(strip);
    const hidden = machine.floats(inner.at, inner.height * inner.width * inner.stride);
    for (let i = 0; i < hidden.length; i++) hidden[i] = Math.max(0, hidden[i]);
    const residual = model.conv("last.out").run(inner);
    const sum = machine.floats(residual.at, (last - first) * line);
    const before = machine.floats(strip.at + 4 * halo * line, sum.length);
    for (let i = 0; i < sum.length; i++) sum[i] += before[i];
    return model.conv("to_head").run(residual);
  }

  // Write the values of the rows `begin` to `end` to `out`. `features` are the rows from `first` on, of `featureRows`.
  renderRows(head, features, first, featureRows, begin, end, height, width, out) {
    const { config, machine } = this;
    const { head_width: units, channels } = config;
    const { stride } = features;
    const rowStride = config.axes === 2 ? config.feature_stride : 1;
    const cells = features.width;
    const columns = Array.from({ length: width }, (_, x) => taps(x, cells, config.feature_stride, config.periodic));
    const featureRow = machine.allocate(4 * cells * stride);
    const interpolated = makeTensor(machine, 1, width, stride);
    const hidden = makeTensor(machine, 1, width, units);
    const fourierAt = this.fourierTable(height, width);
    for (let y = begin; y < end; y++) {
      machine.scope(() => {
        const [above, below, t] = taps(y, featureRows, rowStride, false);
        const line = 4 * cells * stride;
        machine.kernels.mix(
          features.at + (above - first) * line, features.at + (below - first) * line, featureRow, cells * stride, t);
        columns.forEach(([left, right, share], x) => machine.kernels.mix(
          featureRow + 4 * left * stride, featureRow + 4 * right * stride,
          interpolated.at + 4 * x * stride, stride, share));
        const inputs = machine.floats(interpolated.at, width * stride);
        const firstLayer = machine.floats(hidden.at, width * hidden.stride);
        for (let x = 0; x < width; x++) {
          const { shift } = fourierAt(y, x);
          for (let i = 0; i < units; i++) firstLayer[x * hidden.stride + i] = inputs[x * stride + i] + shift[i];
        }
        machine.kernels.sine(hidden.at, width * hidden.stride);
        const second = head.second.run(hidden);
        machine.kernels.sine(second.at, width * second.stride);
        const last = head.last.run(second);
        // New views, because the memory may have grown.
        const headValues = machine.floats(last.at, width * last.stride);
        const skips = machine.floats(interpolated.at, width * stride);
        for (let x = 0; x < width; x++) {
          const { fourier } = fourierAt(y, x);
          for (let c = 0; c < channels; c++) {
            let value = headValues[x * last.stride + c] + skips[x * stride + units + c];
            for (let f = 0; f < fourier.length; f++) {
              value += fourier[f] * skips[x * stride + units + channels * (1 + f) + c];
            }
            out[(y * width + x) * channels + c] = value * config.spread + config.centre;
          }
        }
      });
    }
  }

  // Return a function (y, x) -> { fourier, shift }: the Fourier features of a point and what they add to the head's
  // first layer. Off the sphere they repeat from cell to cell.
  fourierTable(height, width) {
    const { config } = this;
    const matrix = this.prior.tensors.get("model.fourier").values;
    const units = config.head_width;
    const compute = (y, x) => {
      const fourier = fourierFeatures(config, y + 0.5, x + 0.5, height, width);
      const shift = new Float32Array(units);
      fourier.forEach((value, f) => {
        for (let i = 0; i < units; i++) shift[i] += value * matrix[f * units + i];
      });
      return { fourier, shift };
    };
    if (config.sphere) {
      let last = {};
      return (y, x) => (last.y === y && last.x === x ? last : (last = { y, x, ...compute(y, x) }));
    }
    const stride = config.feature_stride;
    const rows = config.axes === 2 ? stride : 1;
    const table = Array.from({ length: rows * stride }, (_, i) => compute(Math.floor(i / stride), i % stride));
    return (y, x) => table[(y % rows) * stride + (x % stride)];
  }
}

// Return the Fourier features of a point: products of waves along the axes, and on a sphere its unit vector.
function fourierFeatures(config, y, x, height, width) {
  const axisWaves = (position) => {
    const out = [];
    const stride = config.feature_stride;
    for (let h = 1; h <= config.harmonics && 2 * h <= stride; h++) {
      const angle = ((2 * Math.PI * h) / stride) * position;
      out.push(Math.sin(angle));
      if (2 * h < stride) out.push(Math.cos(angle));
    }
    return out;
  };
  if (config.axes === 1) return axisWaves(x);
  const columns = [1, ...axisWaves(x)];
  const products = [1, ...axisWaves(y)].flatMap((row) => columns.map((column) => row * column)).slice(1);
  if (!config.sphere) return products;
  const [colatitude, longitude] = [(Math.PI * y) / height, (2 * Math.PI * x) / width];
  return [...products, Math.sin(colatitude) * Math.cos(longitude), Math.sin(colatitude) * Math.sin(longitude),
    Math.cos(colatitude)];
}

// Return the two cells whose centres enclose a point, and the share of the second one.
function taps(point, cells, stride, periodic) {
  const at = (point + 0.5) / stride - 0.5;
  const before = Math.floor(at);
  const inside = (i) => (periodic ? (i + cells) % cells : Math.max(0, Math.min(cells - 1, i)));
  return [inside(before), inside(before + 1), at - before];
}

// The hierarchical model on its way down: latents to features in exact integers, features to values of the native grid
// by the SIREN head (inrcodec/models/hierarchy.py, exact_hierarchy.py, hierarchy_render.py).

import { asConv, ExactConv, FloatConv, makeTensor, shuffleUp } from "./convolution.js";
import { FormatError } from "./bytes.js";
import { logScaleIndex, RESIDUAL_BITS } from "./latents.js";

const ACTIVATION_BITS = 13;
const LIMIT = 1 << 23;
const QUALITY_UNIT = 256;
const ROWS_AT_ONCE = 32;

// `total` residual blocks before `parts` latent blocks, the first get more.
const share = (total, parts) =>
  Array.from({ length: parts }, (_, j) => Math.floor(total / parts) + (j < total % parts ? 1 : 0));

const clamp = (value) => Math.max(-LIMIT, Math.min(LIMIT, value));

// One prior's network at one quality.
export class Hierarchy {
  constructor(machine, prior, quality) {
    const { config } = prior.head;
    this.machine = machine;
    this.config = config;
    this.prior = prior;
    if (quality > this.maxQuality) throw new FormatError(`quality ${quality} does not exist in this prior`);
    const [low, high] = config.log_lambdas;
    const place = quality / QUALITY_UNIT;
    this.anchor = Math.min(Math.floor(place), config.n_anchors - 2);
    this.part = quality - this.anchor * QUALITY_UNIT;
    this.logLambda = low + ((high - low) * quality) / this.maxQuality;
    this.convs = new Map();
    for (const name of prior.tensors.keys()) {
      if (name.startsWith("weight.")) this.addExact(name.slice(7));
      const float = /^model\.convs\.(widen|last-in|last-out|to_head)\.weight$/.exec(name);
      if (float) this.addFloat(float[1]);
    }
    this.makeHead(prior.tensors.get("model.head").values);
  }

  get maxQuality() {
    return (this.config.n_anchors - 1) * QUALITY_UNIT;
  }

  // Row of an integer table (anchors, n) at the quality, halves upwards.
  between({ shape: [, n], values }) {
    const [a, b] = [this.anchor * n, (this.anchor + 1) * n];
    return Float64Array.from({ length: n }, (_, i) => Math.floor(
      (values[a + i] * (QUALITY_UNIT - this.part) + values[b + i] * this.part + QUALITY_UNIT / 2) / QUALITY_UNIT));
  }

  addExact(name) {
    const { tensors } = this.prior;
    const biases = this.between(tensors.get(`bias.${name}`));
    this.convs.set(name, new ExactConv(this.machine, tensors.get(`weight.${name}`), biases, this.config.periodic));
  }

  addFloat(name) {
    const { tensors } = this.prior;
    const { shape: [, n], values } = tensors.get(`model.convs.${name}.bias`);
    const t = this.part / QUALITY_UNIT;
    const at = this.anchor * n;
    const biases = Float32Array.from({ length: n }, (_, i) => (1 - t) * values[at + i] + t * values[at + n + i]);
    const weight = tensors.get(`model.convs.${name}.weight`);
    this.convs.set(name.replaceAll("-", "."), new FloatConv(this.machine, weight, biases, this.config.periodic));
  }

  conv(name) {
    const found = this.convs.get(name);
    if (!found) throw new FormatError(`the prior lacks ${name}`);
    return found;
  }

  get blockCount() {
    return this.config.levels.reduce((sum, level) => sum + level.latents.length, 0);
  }

  // Features at the finest stride, in integers, of a grid padded to `height` x `width` points: a tensor that stays in
  // the machine's memory. `receive(scales)` gives the residuals of the next block.
  walkDown(height, width, receive) {
    const { machine, config } = this;
    const { levels } = config;
    let h = makeTensor(machine, height / (config.axes === 2 ? levels[0].stride : 1), width / levels[0].stride, levels[0].width);
    const first = this.prior.tensors.get("first").values;
    const start = machine.ints(h.at, h.height * h.width * h.stride);
    for (let i = 0; i < start.length; i += h.stride) start.set(first, i);
    levels.forEach((level, i) => {
      if (i) h = shuffleUp(machine, this.conv(`up.${i}`).run(h), levels[i - 1].stride / level.stride, config.axes);
      const blocks = share(level.blocks_down, level.latents.length);
      blocks.forEach((count, j) => {
        for (let k = 0; k < count; k++) this.addResidual(h, `down.${i}.${j}.${k}`);
        machine.within(() => this.addLatents(h, `${i}.${j}`, level.phases > 1 ? j % level.phases : null, receive));
      });
    });
    return h;
  }

  addResidual(h, name) {
    this.machine.within(() => {
      const inner = this.conv(`${name}.in`).run(h);
      const out = this.conv(`${name}.out`).run(inner, true);
      this.machine.kernels.increase(h.at, out.at, h.height * h.width * h.stride);
    });
  }

  addLatents(h, name, phase, receive) {
    const { machine } = this;
    const seen = phase === null ? h : pick(machine, h, phase);
    const prior = this.conv(`prior_out.${name}`).run(this.conv(`prior_in.${name}`).run(seen), true);
    const channels = prior.channels / 2;
    const places = prior.height * prior.width;
    const told = machine.ints(prior.at, places * prior.stride).slice();
    const scales = new Uint8Array(channels * places);
    for (let c = 0, n = 0; c < channels; c++) {
      for (let p = 0; p < places; p++) {
        scales[n++] = logScaleIndex(told[p * prior.stride + channels + c]);
      }
    }
    const residuals = receive(scales);
    const steps = this.between(this.prior.tensors.get(`step.${name}`));
    const latents = makeTensor(machine, prior.height, h.width, channels);
    const out = machine.ints(latents.at, latents.height * latents.width * latents.stride);
    for (let c = 0, n = 0; c < channels; c++) {
      for (let p = 0; p < places; p++) {
        const moved = Math.floor((residuals[n++] * steps[c]) / (1 << RESIDUAL_BITS) + 0.5);
        out[whereOnBoard(p, prior.width, phase) * latents.stride + c] = clamp(told[p * prior.stride + c] + moved);
      }
    }
    const shift = this.conv(`latent_in.${name}`).run(latents);
    machine.kernels.increase(h.at, shift.at, h.height * h.width * h.stride);
  }

  makeHead(weights) {
    const { head_width: width, channels } = this.config;
    const border = (width + 1) * width;
    const matrix = (first, outputs) => asConv({ shape: [width, outputs], values: weights }, first);
    const { machine } = this;
    const bias = (first, outputs) => weights.slice(first + width * outputs, first + (width + 1) * outputs);
    this.second = new FloatConv(machine, matrix(0, width), bias(0, width), false);
    this.last = new FloatConv(machine, matrix(border, channels), bias(border, channels), false);
  }

  // Values (height, width, channels) of the native grid, Float32Array.
  values(h, height, width) {
    const { config, machine } = this;
    const out = new Float32Array(height * width * config.channels);
    const stride = config.axes === 2 ? config.feature_stride : 1;
    const factor = config.levels.at(-1).stride / config.feature_stride;
    const down = h.height * (config.axes === 2 ? factor : 1);
    for (let begin = 0; begin < height; begin += ROWS_AT_ONCE) {
      const end = Math.min(height, begin + ROWS_AT_ONCE);
      machine.within(() => {
        const first = Math.max(0, Math.floor((begin + 0.5) / stride - 0.5));
        const last = Math.min(down, Math.floor((end - 0.5) / stride - 0.5) + 2);
        this.headRows(this.features(h, first, last), first, down, begin, end, height, width, out);
      });
    }
    return out;
  }

  // Rows of the features that the head interpolates.
  features(h, first, last) {
    const { config, machine } = this;
    const factor = config.levels.at(-1).stride / config.feature_stride;
    const rows = config.axes === 2 ? factor : 1;
    const halo = this.conv("last.in").rows >> 1;
    const top = Math.max(0, Math.floor((first - halo) / rows));
    const bottom = Math.min(h.height, Math.ceil((last + halo) / rows));
    const scaled = makeTensor(machine, bottom - top, h.width, h.channels);
    const from = machine.ints(h.at + 4 * top * h.width * h.stride, (bottom - top) * h.width * h.stride);
    const to = machine.floats(scaled.at, from.length);
    for (let i = 0; i < from.length; i++) to[i] = from[i] / (1 << ACTIVATION_BITS);
    const wide = shuffleUp(machine, this.conv("widen").run(scaled), factor, config.axes);
    // Rows first - halo .. last + halo, zeros beyond the picture.
    const part = makeTensor(machine, last - first + 2 * halo, wide.width, wide.channels);
    const line = wide.width * wide.stride;
    const kept = machine.floats(part.at, part.height * line);
    for (let y = 0; y < part.height; y++) {
      const source = first - halo + y - top * rows;
      if (source >= 0 && source < wide.height) kept.set(machine.floats(wide.at + 4 * source * line, line), y * line);
    }
    const inner = this.conv("last.in").run(part);
    const hidden = machine.floats(inner.at, inner.height * inner.width * inner.stride);
    for (let i = 0; i < hidden.length; i++) hidden[i] = Math.max(0, hidden[i]);
    const added = this.conv("last.out").run(inner);
    const sum = machine.floats(added.at, (last - first) * line);
    const before = machine.floats(part.at + 4 * halo * line, sum.length);
    for (let i = 0; i < sum.length; i++) sum[i] += before[i];
    return this.conv("to_head").run(added);
  }

  headRows(features, first, down, begin, end, height, width, out) {
    const { config, machine } = this;
    const { head_width: units, channels } = config;
    const { stride: step } = features;
    const rowStride = config.axes === 2 ? config.feature_stride : 1;
    const across = features.width;
    const columns = Array.from({ length: width }, (_, x) => taps(x, across, config.feature_stride, config.periodic));
    const mixed = machine.take(4 * across * step);
    const spread = makeTensor(machine, 1, width, step);
    const hidden = makeTensor(machine, 1, width, units);
    const waves = this.fourierTable(height, width);
    for (let y = begin; y < end; y++) {
      machine.within(() => {
        const [above, below, t] = taps(y, down, rowStride, false);
        const line = 4 * across * step;
        machine.kernels.mix(features.at + (above - first) * line, features.at + (below - first) * line, mixed, across * step, t);
        columns.forEach(([left, right, share], x) =>
          machine.kernels.mix(mixed + 4 * left * step, mixed + 4 * right * step, spread.at + 4 * x * step, step, share));
        const values = machine.floats(spread.at, width * step);
        const inner = machine.floats(hidden.at, width * hidden.stride);
        for (let x = 0; x < width; x++) {
          const wave = waves(y, x);
          for (let i = 0; i < units; i++) inner[x * hidden.stride + i] = values[x * step + i] + wave.shift[i];
        }
        machine.kernels.sine(hidden.at, width * hidden.stride);
        const second = this.second.run(hidden);
        machine.kernels.sine(second.at, width * second.stride);
        const last = this.last.run(second);
        // Views again: the memory may have grown.
        const total = machine.floats(last.at, width * last.stride);
        const told = machine.floats(spread.at, width * step);
        for (let x = 0; x < width; x++) {
          const { fourier } = waves(y, x);
          for (let c = 0; c < channels; c++) {
            let value = total[x * last.stride + c] + told[x * step + units + c];
            for (let f = 0; f < fourier.length; f++) {
              value += fourier[f] * told[x * step + units + channels * (1 + f) + c];
            }
            out[(y * width + x) * channels + c] = value * config.spread + config.centre;
          }
        }
      });
    }
  }

  // (y, x) -> Fourier features of a point and what they add to the head's first layer. But on a sphere these return
  // from cell to cell.
  fourierTable(height, width) {
    const { config } = this;
    const matrix = this.prior.tensors.get("model.fourier").values;
    const units = config.head_width;
    const make = (y, x) => {
      const fourier = fourierFeatures(config, y + 0.5, x + 0.5, height, width);
      const shift = new Float32Array(units);
      fourier.forEach((value, f) => {
        for (let i = 0; i < units; i++) shift[i] += value * matrix[f * units + i];
      });
      return { fourier, shift };
    };
    if (config.sphere) {
      let last = {};
      return (y, x) => (last.y === y && last.x === x ? last : (last = { y, x, ...make(y, x) }));
    }
    const stride = config.feature_stride;
    const rows = config.axes === 2 ? stride : 1;
    const table = Array.from({ length: rows * stride }, (_, i) => make(Math.floor(i / stride), i % stride));
    return (y, x) => table[(y % rows) * stride + (x % stride)];
  }
}

function fourierFeatures(config, y, x, height, width) {
  const axis = (place) => {
    const out = [];
    const stride = config.feature_stride;
    for (let h = 1; h <= config.harmonics && 2 * h <= stride; h++) {
      const angle = ((2 * Math.PI * h) / stride) * place;
      out.push(Math.sin(angle));
      if (2 * h < stride) out.push(Math.cos(angle));
    }
    return out;
  };
  if (config.axes === 1) return axis(x);
  const columns = [1, ...axis(x)];
  const products = [1, ...axis(y)].flatMap((row) => columns.map((column) => row * column)).slice(1);
  if (!config.sphere) return products;
  const [north, around] = [(Math.PI * y) / height, (2 * Math.PI * x) / width];
  return [...products, Math.sin(north) * Math.cos(around), Math.sin(north) * Math.sin(around), Math.cos(north)];
}

// Cells on both sides of the middle of a point, and the share of the second.
function taps(point, cells, stride, periodic) {
  const at = (point + 0.5) / stride - 0.5;
  const before = Math.floor(at);
  const inside = (i) => (periodic ? (i + cells) % cells : Math.max(0, Math.min(cells - 1, i)));
  return [inside(before), inside(before + 1), at - before];
}

// Places of one colour of a chequered board, and back (inrcodec/models/chequered.py).
function whereOnBoard(place, width, phase) {
  if (phase === null) return place;
  const y = Math.floor(place / width);
  return 2 * place + ((y + phase) % 2);
}

function pick(machine, h, phase) {
  const out = makeTensor(machine, h.height, h.width / 2, h.channels);
  const from = machine.ints(h.at, h.height * h.width * h.stride);
  const to = machine.ints(out.at, out.height * out.width * out.stride);
  for (let p = 0; p < out.height * out.width; p++) {
    const source = whereOnBoard(p, out.width, phase) * h.stride;
    to.set(from.subarray(source, source + h.stride), p * out.stride);
  }
  return out;
}

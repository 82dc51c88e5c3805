// Convolutions of tensors in a machine's memory, in exact integers (inrcodec/nn/exact.py) and in float32.
//
// A tensor is { at, height, width, channels, stride }: `at` is its address, and a pixel has `stride` numbers of four
// bytes, channels last.

import { FormatError } from "./bytes.js";
import { LANES, MAX_ROW, padded } from "./kernels.js";

const WEIGHT_BITS = 12;
const ACTIVATION_LIMIT = 1 << 23;
// Pixels behind a tensor that the kernels may overwrite, because they compute several pixels at a time.
const SPILL = 4;

// Allocate a tensor of zeros, or, if every number will be `written`, of anything.
export function makeTensor(machine, height, width, channels, written = false) {
  const stride = padded(channels);
  return { at: machine.allocate(4 * stride * (height * width + SPILL), written), height, width, channels, stride };
}

// A convolution in exact integers. Weights (outputs, inputs, rows, columns) are in units of 2^-12, biases in units of a
// weight times an activation. Both are laid out for the kernel `convolve`.
export class ExactConv {
  constructor(machine, weight, biases, periodic) {
    const [outputs, inputs, rows, columns] = weight.shape;
    Object.assign(this, { machine, outputs, inputs, rows, columns, periodic });
    const taps = rows * columns;
    const stride = padded(inputs);
    const block = (taps * stride) / 2 * 16 + 32;
    this.blocks = padded(outputs) / LANES;
    this.at = machine.allocate(2 * block * this.blocks);
    const halves = machine.shorts(this.at, block * this.blocks);
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      const first = (o >> 3) * block;
      for (let i = 0; i < inputs; i++) {
        for (let t = 0; t < taps; t++) {
          const value = weight.values[(o * inputs + i) * taps + t];
          halves[first + ((t * stride) / 2 + (i >> 1)) * 16 + (o & 7) * 2 + (i & 1)] = value;
          sum += Math.abs(value);
        }
      }
      if (sum >= MAX_ROW) throw new FormatError("unsupported prior: the sum of a row of its weights is out of range");
      const bias = biases[o] + (1 << (WEIGHT_BITS - 1));
      const high = Math.floor(bias / (1 << WEIGHT_BITS));
      const biasHalves = machine.ints(this.at + 2 * (first + ((taps * stride) / 2) * 16), 16);
      biasHalves[o & 7] = high;
      biasHalves[8 + (o & 7)] = bias - high * (1 << WEIGHT_BITS);
    }
  }

  // Return a new tensor of the input's size; with `relu`, negative inputs count as zero.
  run(input, relu = false) {
    const { machine } = this;
    const { height, width, stride } = input;
    const out = makeTensor(machine, height, width, this.outputs, true);
    machine.scope(() => {
      const [down, across] = [this.rows >> 1, this.columns >> 1];
      const line = (width + 2 * across) * stride * 4;
      const packed = machine.allocate(line * (height + 2 * down) + 4 * SPILL * stride);
      const taps = writeTaps(machine, this.rows, this.columns, line, 4 * stride);
      const { pack, convolve } = machine.kernels;
      for (let y = 0; y < height; y++) {
        pack(input.at + y * width * stride * 4, packed + (y + down) * line + across * stride * 4, width, stride,
          relu ? 0 : -ACTIVATION_LIMIT);
      }
      if (this.periodic && across) wrap(machine, packed, down, height, width, across, 4 * stride);
      // A kernel of one pixel has no border, so the whole grid is one long row.
      const single = this.rows * this.columns === 1;
      for (let y = 0; y < (single ? 1 : height); y++) {
        convolve(packed + y * line, 4 * stride, stride / 2, taps, this.rows * this.columns, this.at,
          out.at + y * width * out.stride * 4, 4 * out.stride, this.blocks, single ? width * height : width);
      }
    });
    return out;
  }
}

// A depthwise convolution in exact integers, of weights (channels, rows, columns), computed in place.
export class ExactDepthwise {
  constructor(machine, weight, biases, periodic) {
    const [channels, rows, columns] = weight.shape;
    Object.assign(this, { machine, channels, rows, columns, periodic, weight: weight.values, biases });
  }

  run(h) {
    const { height, width, stride } = h;
    const { channels, rows, columns, weight } = this;
    const numbers = this.machine.ints(h.at, height * width * stride);
    const [down, across] = [rows >> 1, columns >> 1];
    const line = width * stride;
    // Rows of the input that are still needed, by number, as they were before they were overwritten.
    const kept = new Map();
    const rowOf = (y) => {
      if (!kept.has(y)) kept.set(y, numbers.slice(y * line, (y + 1) * line));
      return kept.get(y);
    };
    const sums = new Float64Array(line);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < channels; c++) sums[x * stride + c] = this.biases[c] + (1 << (WEIGHT_BITS - 1));
      }
      for (let i = 0; i < rows; i++) {
        const from = y + i - down;
        if (from < 0 || from >= height) continue;
        const row = rowOf(from);
        for (let j = 0; j < columns; j++) {
          for (let x = 0; x < width; x++) {
            let source = x + j - across;
            if (this.periodic) source = (source + width) % width;
            else if (source < 0 || source >= width) continue;
            const to = x * stride;
            for (let c = 0, a = source * stride, w = i * columns + j; c < channels; c++, a++, w += rows * columns) {
              sums[to + c] += weight[w] * Math.max(-ACTIVATION_LIMIT, Math.min(ACTIVATION_LIMIT, row[a]));
            }
          }
        }
      }
      for (let next = y + 1; next <= Math.min(y + down, height - 1); next++) rowOf(next);
      kept.delete(y - down);
      for (let x = 0; x < width; x++) {
        for (let c = 0, at = x * stride; c < channels; c++, at++) {
          const value = Math.floor(sums[at] / (1 << WEIGHT_BITS));
          numbers[y * line + at] = Math.max(-ACTIVATION_LIMIT, Math.min(ACTIVATION_LIMIT, value));
        }
      }
    }
  }
}

// A convolution with weights and biases in float32.
export class FloatConv {
  constructor(machine, weight, biases, periodic) {
    const [outputs, inputs, rows, columns] = weight.shape;
    Object.assign(this, { machine, outputs, inputs, rows, columns, periodic });
    const taps = rows * columns;
    const stride = padded(inputs);
    const block = (taps * stride + 1) * LANES;
    this.block = block;
    this.blocks = padded(outputs) / LANES;
    this.at = machine.allocate(4 * block * this.blocks);
    const numbers = machine.floats(this.at, block * this.blocks);
    for (let o = 0; o < outputs; o++) {
      const first = (o >> 3) * block + (o & 7);
      for (let i = 0; i < inputs; i++) {
        for (let t = 0; t < taps; t++) {
          numbers[first + (t * stride + i) * LANES] = weight.values[(o * inputs + i) * taps + t];
        }
      }
    }
    this.setBiases(biases);
  }

  setBiases(biases) {
    const numbers = this.machine.floats(this.at, this.block * this.blocks);
    for (let o = 0; o < this.outputs; o++) numbers[((o >> 3) + 1) * this.block - LANES + (o & 7)] = biases[o];
  }

  // Return a new tensor. Columns are padded, rows are not: the output lacks half a kernel of rows at either end.
  run(input) {
    const { machine, rows, columns } = this;
    const { stride, width } = input;
    const [down, across] = [rows >> 1, columns >> 1];
    const height = input.height - 2 * down;
    const out = makeTensor(machine, height, width, this.outputs, true);
    machine.scope(() => {
      let from = input.at;
      const line = (width + 2 * across) * stride * 4;
      if (across) {
        from = machine.allocate(line * input.height + 4 * SPILL * stride);
        for (let y = 0; y < input.height; y++) {
          const row = machine.floats(input.at + y * width * stride * 4, width * stride);
          machine.floats(from + y * line + across * stride * 4, width * stride).set(row);
        }
        if (this.periodic) wrap(machine, from, 0, input.height, width, across, 4 * stride);
      }
      const taps = writeTaps(machine, rows, columns, line, 4 * stride);
      const single = rows * columns === 1;
      for (let y = 0; y < (single ? 1 : height); y++) {
        machine.kernels.multiply(from + y * line, 4 * stride, stride, taps, rows * columns, this.at,
          out.at + y * width * out.stride * 4, 4 * out.stride, this.blocks, single ? width * height : width);
      }
    });
    return out;
  }
}

// Fill the border of rows that wrap around from their other ends. `bytes` is the size of a pixel.
function wrap(machine, at, first, height, width, across, bytes) {
  const line = (width + 2 * across) * bytes;
  const memory = new Uint8Array(machine.memory.buffer);
  for (let y = first; y < first + height; y++) {
    const row = at + y * line;
    memory.copyWithin(row, row + width * bytes, row + (width + across) * bytes);
    memory.copyWithin(row + (across + width) * bytes, row + across * bytes, row + 2 * across * bytes);
  }
}

// Write the byte offsets of a kernel's pixels and return their address.
function writeTaps(machine, rows, columns, line, bytes) {
  const at = machine.allocate(4 * rows * columns);
  machine.ints(at, rows * columns).set(
    Array.from({ length: rows * columns }, (_, t) => Math.floor(t / columns) * line + (t % columns) * bytes));
  return at;
}

// Move groups of channels to `factor` x `factor` pixels each (1 x `factor` with one axis): depth to space.
export function shuffleUp(machine, input, factor, axes) {
  const down = axes === 2 ? factor : 1;
  const channels = input.channels / (down * factor);
  const out = makeTensor(machine, input.height * down, input.width * factor, channels);
  const from = machine.ints(input.at, input.height * input.width * input.stride);
  const to = machine.ints(out.at, out.height * out.width * out.stride);
  for (let y = 0; y < input.height; y++) {
    for (let x = 0; x < input.width; x++) {
      const source = (y * input.width + x) * input.stride;
      for (let i = 0; i < down; i++) {
        for (let j = 0; j < factor; j++) {
          let target = ((y * down + i) * out.width + x * factor + j) * out.stride;
          for (let k = source + i * factor + j, c = 0; c < channels; c++, k += down * factor) to[target++] = from[k];
        }
      }
    }
  }
  return out;
}

// Return a matrix (inputs, outputs), whose values begin at `first`, as the weights of a 1 x 1 convolution.
export function asConv({ shape: [inputs, outputs], values }, first = 0) {
  const transposed = new Float32Array(inputs * outputs);
  for (let i = 0; i < inputs; i++) {
    for (let o = 0; o < outputs; o++) transposed[o * inputs + i] = values[first + i * outputs + o];
  }
  return { shape: [outputs, inputs, 1, 1], values: transposed };
}

// Return rows (count, n) as a tensor with one row of `count` pixels.
export function toTensor(machine, rows, count) {
  const n = rows.length / count;
  const out = makeTensor(machine, 1, count, n);
  const numbers = machine.floats(out.at, count * out.stride);
  for (let p = 0; p < count; p++) numbers.set(rows.subarray(p * n, (p + 1) * n), p * out.stride);
  return out;
}

// Return the pixels of a tensor with one row as rows (pixels, channels).
export function fromTensor(machine, { at, width, stride }, channels) {
  const numbers = machine.floats(at, width * stride);
  const out = new Float32Array(width * channels);
  for (let p = 0; p < width; p++) out.set(numbers.subarray(p * stride, p * stride + channels), p * channels);
  return out;
}

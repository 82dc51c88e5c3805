// The COIN++ codec: latents of patches to shifts (modulations) of the prior's base network
// (inrcodec/codecs/coinpp/codec.py, latents.py, model.py).

import { FormatError } from "./bytes.js";
import { asConv, FloatConv, fromTensor, toTensor } from "./convolution.js";
import { GaussianReader, scaleIndex } from "./gaussian.js";
import { Machine } from "./kernels.js";
import { readGain } from "./loudness.js";
import { coordinates, renderPatches } from "./patches.js";
import { Planes } from "./planes.js";

const MAX_STEP = 16;
const FINENESS_PER_OCTAVE = 32;
const MAX_FINENESS = 14 * FINENESS_PER_OCTAVE;
const OCTAVE_UNITS = 5678;
const GAIN_TABLE = 25;
const MAX_GAIN = 16;
const MAX_LATENTS = 1 << 26;

function readParameters(reader, prior) {
  const fineness = reader.varint("the fineness");
  if (fineness > MAX_FINENESS) {
    throw new FormatError(`corrupt file: fineness ${fineness} exceeds the maximum of ${MAX_FINENESS}`);
  }
  return { fineness, gain: readGain(reader, prior) };
}

export class CoinPPDecoder {
  static skipParameters(reader, prior) {
    readParameters(reader, prior);
  }

  constructor({ header, parameterReader, body, prior, tables }) {
    const { config, kind } = prior.head;
    const { fineness, gain } = readParameters(parameterReader, prior);
    parameterReader.finish("the codec parameters");
    this.planes = new Planes(header, kind, config.patch_shape.length, config.channels);
    this.patch = config.patch_shape.length === 1 ? [1, config.patch_shape[0]] : config.patch_shape;
    this.patchesPerPlane =
      Math.ceil(this.planes.shape[0] / this.patch[0]) * Math.ceil(this.planes.shape[1] / this.patch[1]);
    Object.assign(this, { config, gain, prior, machine: new Machine() });
    this.shiftCount = config.widths.reduce((a, b) => a + b, 0);
    this.shifts = this.toShifts(readLatents(body, prior, this.planes.count * this.patchesPerPlane, fineness, tables));
    this.makeNetwork();
    this.networkTop = this.machine.top;
  }

  // Return the values (rows, columns, channels) of a slice in `window` of a grid of `size`.
  values(slice, size, window) {
    const { planes, config, shiftCount } = this;
    this.lastPoints = null;
    const out = planes.slice(slice, (plane) =>
      renderPatches(planes.shape, this.patch, config.channels, size, window, (number, ys, xs) => {
        const first = (plane * this.patchesPerPlane + number) * shiftCount;
        const { points, unshifted } = this.pointsAt(ys, xs);
        const values = this.evaluate(points, this.shifts.subarray(first, first + shiftCount));
        return values.map((value, i) => ((value - unshifted[i]) * config.spread + config.centre) * this.gain);
      }));
    this.machine.top = this.networkTop;
    return out;
  }

  // Return the coordinates as a tensor, and the base network's values there without a shift. The last result is kept,
  // because most patches have the same local coordinates.
  pointsAt(ys, xs) {
    const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
    if (!this.lastPoints || !same(this.lastPoints.ys, ys) || !same(this.lastPoints.xs, xs)) {
      this.machine.top = this.networkTop;
      const points = coordinates(this.machine, ys, xs, this.config.patch_shape.length);
      const unshifted = this.evaluate(points, new Float32Array(this.shiftCount));
      this.lastPoints = { ys, xs, points, unshifted };
    }
    return this.lastPoints;
  }

  makeNetwork() {
    const { machine, config } = this;
    const { channels } = config;
    const get = (name) => this.prior.tensors.get(`model.${name}`);
    this.phase = get("phase").values;
    this.first = new FloatConv(machine, asConv(get("frequency")), this.phase, false);
    // One product computes both the next layer and what this layer adds to the values (its readout).
    this.layers = config.widths.map((width, i) => {
      const readout = get(`readouts.${i}`).values;
      const matrix = i + 1 < config.widths.length ? get(`matrices.${i}`).values : null;
      const next = matrix ? config.widths[i + 1] : 0;
      const outputs = next + channels;
      const joined = new Float32Array(width * outputs);
      for (let k = 0; k < width; k++) {
        if (matrix) joined.set(matrix.subarray(k * next, (k + 1) * next), k * outputs);
        joined.set(readout.subarray(k * channels, (k + 1) * channels), k * outputs + next);
      }
      const biases = new Float32Array(outputs);
      if (matrix) biases.set(get(`biases.${i}`).values);
      const conv = new FloatConv(machine, asConv({ shape: [width, outputs], values: joined }), biases, false);
      return { conv, biases, next };
    });
  }

  // Return the network's values (points, channels) at the given shifts.
  evaluate(points, shifts) {
    const { machine, config: { channels, widths } } = this;
    return machine.scope(() => {
      this.first.setBiases(this.phase.map((phase, i) => phase + shifts[i]));
      let hidden = this.first.run(points);
      const out = new Float32Array(points.width * channels);
      let at = widths[0];
      for (const { conv, biases, next } of this.layers) {
        machine.kernels.sine(hidden.at, hidden.width * hidden.stride);
        conv.setBiases(biases.map((value, i) => (i < next ? value + shifts[at + i] : value)));
        at += next;
        const outputs = next + channels;
        const rows = fromTensor(machine, conv.run(hidden), outputs);
        for (let p = 0; p < points.width; p++) {
          for (let c = 0; c < channels; c++) out[p * channels + c] += rows[p * outputs + next + c];
        }
        if (next) {
          const nextRows = new Float32Array(points.width * next);
          for (let p = 0; p < points.width; p++) {
            nextRows.set(rows.subarray(p * outputs, p * outputs + next), p * next);
          }
          hidden = toTensor(machine, nextRows, points.width);
        }
      }
      return out;
    });
  }

  // Return the shifts (patches, shiftCount) of latents (patches, latent_dims).
  toShifts(latents) {
    const { machine } = this;
    const get = (name) => this.prior.tensors.get(`model.${name}`);
    const dims = this.config.latent_dims;
    const sizes = get("row_sizes").values;
    return machine.scope(() => {
      const conv = new FloatConv(machine, asConv(get("to_shifts")), get("shift_bias").values, false);
      const rows = latents.map((value, i) => value * sizes[i % dims]);
      return fromTensor(machine, conv.run(toTensor(machine, rows, latents.length / dims)), this.shiftCount);
    });
  }
}

// Return the latents (patches, dims) of a message of two parts: the patches' gains, as differences, and the latents.
function readLatents(message, prior, patches, fineness, tables) {
  const logScale = prior.tensors.get("log_scale").values;
  const dims = logScale.length;
  if (patches * dims > MAX_LATENTS) {
    const count = patches * dims;
    throw new FormatError(`${count} latents exceed this page's limit of ${MAX_LATENTS}: use inrcodec decompress`);
  }
  const reader = new GaussianReader(message, 2, tables);
  const gainDifferences = reader.read(new Uint8Array(patches).fill(GAIN_TABLE));
  const logStep = Math.floor(((4 * FINENESS_PER_OCTAVE - fineness) * OCTAVE_UNITS) / FINENESS_PER_OCTAVE);
  const scales = new Uint8Array(patches * dims);
  let gain = 0;
  for (let p = 0; p < patches; p++) {
    gain += gainDifferences[p];
    if (Math.abs(gain) > MAX_GAIN) {
      throw new FormatError(`corrupt file: the gain of a patch exceeds the maximum of ${MAX_GAIN}`);
    }
    for (let d = 0; d < dims; d++) scales[p * dims + d] = scaleIndex(logScale[d] - logStep + gain * (OCTAVE_UNITS / 2));
  }
  const numbers = reader.read(scales);
  reader.finish();
  const step = MAX_STEP * 2 ** (-fineness / FINENESS_PER_OCTAVE);
  return Float32Array.from(numbers, (value) => value * step);
}

// Files of the COIN++ codec: latents to shifts of the prior's base network (inrcodec/codecs/modulation.py,
// inrcodec/methods/modulation_coding.py, inrcodec/models/modulated_inr.py).

import { FormatError } from "./bytes.js";
import { asConv, FloatConv, fromTensor, toTensor } from "./convolution.js";
import { Machine } from "./kernels.js";
import { logScaleIndex, RESIDUAL_BITS, RoundingReader } from "./latents.js";
import { Planes } from "./planes.js";
import { coordinates, renderPatches } from "./siren.js";

const LARGEST_STEP = 16;
const FINENESS_PER_OCTAVE = 32;
const MAX_FINENESS = 14 * FINENESS_PER_OCTAVE;
const OCTAVE_UNITS = 5678;
const GAIN_TABLE = 25;
const MOST_GAIN = 16;
const MAX_NUMBERS = 1 << 26;

function readParameters(reader, prior) {
  const fineness = reader.varint("fineness");
  if (fineness > MAX_FINENESS) throw new FormatError("damaged file: its fineness does not exist");
  const gain = prior.head.kind === "audio" ? 2 ** (((reader.byte("level") << 24) >> 24) / 4) : 1;
  return { fineness, gain };
}

export class ModulationFile {
  static skipParameters(reader, prior) {
    readParameters(reader, prior);
  }

  constructor({ header, parameters, body, prior, tables }) {
    const { config, kind } = prior.head;
    const { fineness, gain } = readParameters(parameters, prior);
    parameters.finish("what the file says of its codec");
    this.planes = new Planes(header, kind, config.patch_shape.length, config.channels);
    this.patch = config.patch_shape.length === 1 ? [1, config.patch_shape[0]] : config.patch_shape;
    this.perPlane = Math.ceil(this.planes.shape[0] / this.patch[0]) * Math.ceil(this.planes.shape[1] / this.patch[1]);
    Object.assign(this, { config, gain, prior, machine: new Machine() });
    const shifts = config.widths.reduce((a, b) => a + b, 0);
    this.shifts = this.toShifts(readLatents(body, prior, this.planes.count * this.perPlane, fineness, tables), shifts);
    this.makeNetwork();
    this.base = this.machine.top;
  }

  values(slice, size, window) {
    const { planes, config } = this;
    const count = config.widths.reduce((a, b) => a + b, 0);
    this.seen = null;
    const out = planes.slice(slice, (plane) =>
      renderPatches(planes.shape, this.patch, config.channels, size, window, (number, ys, xs) => {
        const first = (plane * this.perPlane + number) * count;
        const { points, still } = this.pointsOf(ys, xs);
        const values = this.evaluate(points, this.shifts.subarray(first, first + count));
        return values.map((value, i) => ((value - still[i]) * config.spread + config.centre) * this.gain);
      }));
    this.machine.top = this.base;
    return out;
  }

  // Coordinates, and what the network gives there without any shift; the last are kept.
  pointsOf(ys, xs) {
    const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
    if (!this.seen || !same(this.seen.ys, ys) || !same(this.seen.xs, xs)) {
      this.machine.top = this.base;
      const points = coordinates(this.machine, ys, xs, this.config.patch_shape.length);
      const still = this.evaluate(points, new Float32Array(this.config.widths.reduce((a, b) => a + b, 0)));
      this.seen = { ys, xs, points, still };
    }
    return this.seen;
  }

  makeNetwork() {
    const { machine, config } = this;
    const get = (name) => this.prior.tensors.get(`model.${name}`);
    this.phase = get("phase").values;
    this.first = new FloatConv(machine, asConv(get("frequency")), this.phase, false);
    // One product for the next layer and for what the layer adds to the values.
    this.layers = config.widths.map((width, i) => {
      const readout = get(`readouts.${i}`).values;
      const matrix = i + 1 < config.widths.length ? get(`matrices.${i}`).values : null;
      const next = matrix ? config.widths[i + 1] : 0;
      const both = new Float32Array(width * (next + config.channels));
      for (let k = 0; k < width; k++) {
        if (matrix) both.set(matrix.subarray(k * next, (k + 1) * next), k * (next + config.channels));
        both.set(readout.subarray(k * config.channels, (k + 1) * config.channels), k * (next + config.channels) + next);
      }
      const bias = new Float32Array(next + config.channels);
      if (matrix) bias.set(get(`biases.${i}`).values);
      const conv = new FloatConv(machine, asConv({ shape: [width, next + config.channels], values: both }), bias, false);
      return { conv, bias, next };
    });
  }

  // Values (points, channels) in the model's units.
  evaluate(points, shifts) {
    const { machine, config } = this;
    return machine.within(() => {
      this.first.setBiases(this.phase.map((phase, i) => phase + shifts[i]));
      let wave = this.first.run(points);
      const out = new Float32Array(points.width * config.channels);
      let at = config.widths[0];
      for (const { conv, bias, next } of this.layers) {
        machine.kernels.sine(wave.at, wave.width * wave.stride);
        conv.setBiases(bias.map((value, i) => (i < next ? value + shifts[at + i] : value)));
        at += next;
        const both = conv.run(wave);
        const found = fromTensor(machine, both, next + config.channels);
        for (let p = 0; p < points.width; p++) {
          for (let c = 0; c < config.channels; c++) {
            out[p * config.channels + c] += found[p * (next + config.channels) + next + c];
          }
        }
        if (next) {
          const rows = new Float32Array(points.width * next);
          for (let p = 0; p < points.width; p++) {
            rows.set(found.subarray(p * (next + config.channels), p * (next + config.channels) + next), p * next);
          }
          wave = toTensor(machine, rows, points.width);
        }
      }
      return out;
    });
  }

  // Shifts (patches, n) of latents (patches, D).
  toShifts(latents, n) {
    const { machine } = this;
    const get = (name) => this.prior.tensors.get(`model.${name}`);
    const dims = this.config.latent_dims;
    const sizes = get("row_sizes").values;
    return machine.within(() => {
      const conv = new FloatConv(machine, asConv(get("to_shifts")), get("shift_bias").values, false);
      const rows = latents.map((value, i) => value * sizes[i % dims]);
      return fromTensor(machine, conv.run(toTensor(machine, rows, latents.length / dims)), n);
    });
  }
}

function readLatents(message, prior, patches, fineness, tables) {
  const logScale = prior.tensors.get("log_scale").values;
  const dims = logScale.length;
  if (patches * dims > MAX_NUMBERS) throw new FormatError(`${patches} patches are more than this page decodes`);
  const reader = new RoundingReader(message, 2, tables);
  const steps = reader.receive(new Uint8Array(patches).fill(GAIN_TABLE));
  const logStep = Math.floor(((4 * FINENESS_PER_OCTAVE - fineness) * OCTAVE_UNITS) / FINENESS_PER_OCTAVE);
  const scales = new Uint8Array(patches * dims);
  let gain = 0;
  for (let p = 0; p < patches; p++) {
    gain += steps[p] / (1 << RESIDUAL_BITS);
    if (Math.abs(gain) > MOST_GAIN) throw new FormatError(`damaged file: the gain of a patch is beyond ${MOST_GAIN}`);
    for (let d = 0; d < dims; d++) scales[p * dims + d] = logScaleIndex(logScale[d] - logStep + gain * (OCTAVE_UNITS / 2));
  }
  const numbers = reader.receive(scales);
  reader.finish();
  const step = LARGEST_STEP * 2 ** (-fineness / FINENESS_PER_OCTAVE);
  return Float32Array.from(numbers, (value) => (value / (1 << RESIDUAL_BITS)) * step);
}

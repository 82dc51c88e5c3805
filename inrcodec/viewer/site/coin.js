// The COIN codec: the quantised weights of one SIREN per signal (inrcodec/codecs/coin/codec.py, weights.py).

import { FormatError } from "./bytes.js";
import { GaussianReader, scaleIndex } from "./gaussian.js";
import { Machine } from "./kernels.js";
import { gainOf } from "./loudness.js";
import { coordinates, renderPatches } from "./patches.js";
import { hasAlpha } from "./planes.js";
import { float16 } from "./prior_file.js";
import { siren } from "./siren.js";

const MIN_WIDTH = 2;
const MAX_WIDTH = 512;
const MAX_LAYERS = 32;
const FINENESS_PER_OCTAVE = 16;
const FLOAT16 = 9 * FINENESS_PER_OCTAVE + 1;
const FIRST_FINER = 64;
const OCTAVE_UNITS = 5678;

function readParameters(reader) {
  const width = reader.varint("the width of the network");
  const layers = reader.byte("the layers of the network");
  const fineness = reader.varint("the fineness");
  const level = reader.signedByte("the level");
  if (width < MIN_WIDTH || width > MAX_WIDTH || layers < 1 || layers > MAX_LAYERS || fineness > FLOAT16) {
    throw new FormatError("corrupt file: the parameters of codec coin are out of range");
  }
  return { width, layers, fineness, level };
}

export class CoinDecoder {
  static skipParameters(reader) {
    readParameters(reader);
  }

  constructor({ header, parameterReader, body, tables }) {
    const { width, layers, fineness, level } = readParameters(parameterReader);
    parameterReader.finish("the codec parameters");
    const { shape } = header;
    if (shape.length > 2) {
      throw new FormatError(`codec coin is unsupported here for ${shape.length} axes: use inrcodec decompress`);
    }
    const channels = header.channels - (hasAlpha(header) ? 1 : 0);
    this.planes = { shape: shape.length === 1 ? [1, shape[0]] : shape, slices: 1, channels };
    this.axes = shape.length;
    this.widths = [shape.length, ...Array(layers).fill(width), channels];
    this.weights = readWeights(body, this.widths, fineness, tables);
    // The network's values are in -1 .. 1, those of images and fields in 0 .. 1.
    this.gain = gainOf(level) * (header.kind === "audio" ? 1 : 0.5);
    this.centre = header.kind === "audio" ? 0 : 0.5;
    this.machine = new Machine();
  }

  // Return values (rows, columns, channels) in `window` of a grid of `size`. The signal is a single patch.
  values(slice, size, window) {
    const { shape, channels } = this.planes;
    return renderPatches(shape, shape, channels, size, window, (_, ys, xs) =>
      this.machine.scope(() => {
        const values = siren(this.machine, coordinates(this.machine, ys, xs, this.axes), this.weights, this.widths);
        for (let i = 0; i < values.length; i++) values[i] = values[i] * this.gain + this.centre;
        return values;
      }));
  }
}

// Return the flat weights: float16 numbers, or integers under Gaussian tables with one step size per group (the matrix
// or the biases of a layer).
function readWeights(body, widths, fineness, tables) {
  const groups = widths.slice(1).flatMap((outputs, i) => [widths[i] * outputs, outputs]);
  const count = groups.reduce((a, b) => a + b, 0);
  if (fineness === FLOAT16) {
    if (body.length !== 2 * count) {
      throw new FormatError(`corrupt file: expected ${2 * count} bytes of weights, got ${body.length}`);
    }
    return Float32Array.from({ length: count }, (_, i) => float16(body[2 * i] | (body[2 * i + 1] << 8)));
  }
  if (body.length < groups.length) throw new FormatError("corrupt file: truncated while reading the step sizes");
  const groupFineness = groups.map((_, i) => fineness + (i ? 0 : FIRST_FINER));
  const scales = new Uint8Array(count);
  let at = 0;
  groups.forEach((size, i) => {
    scales.fill(scaleIndex(Math.floor((groupFineness[i] * OCTAVE_UNITS) / FINENESS_PER_OCTAVE)), at, at + size);
    at += size;
  });
  const reader = new GaussianReader(body.subarray(groups.length), 1, tables);
  const numbers = reader.read(scales);
  reader.finish();
  const weights = new Float32Array(count);
  at = 0;
  groups.forEach((size, i) => {
    const step = 2 ** (body[i] / 8 - 20 - groupFineness[i] / FINENESS_PER_OCTAVE);
    for (const end = at + size; at < end; at++) weights[at] = numbers[at] * step;
  });
  return weights;
}

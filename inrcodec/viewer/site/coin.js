// Files of the COIN codec: the quantised weights of one SIREN per signal (inrcodec/codecs/coin.py, coin_weights.py).

import { FormatError } from "./bytes.js";
import { logScaleIndex, RoundingReader, RESIDUAL_BITS } from "./latents.js";
import { Machine } from "./kernels.js";
import { hasAlpha } from "./planes.js";
import { half } from "./safetensors.js";
import { coordinates, renderPatches, siren } from "./siren.js";

const FINENESS_PER_OCTAVE = 16;
const FLOAT16 = 9 * FINENESS_PER_OCTAVE + 1;
const FIRST_FINER = 64;
const OCTAVE_UNITS = 5678;

function readParameters(reader) {
  const width = reader.varint("width of the network");
  const layers = reader.byte("layers of the network");
  const fineness = reader.varint("fineness");
  const level = (reader.byte("level") << 24) >> 24;
  if (width < 2 || width > 512 || layers < 1 || layers > 32 || fineness > FLOAT16) {
    throw new FormatError("damaged file: its network cannot be");
  }
  return { width, layers, fineness, level };
}

export class CoinFile {
  static skipParameters(reader) {
    readParameters(reader);
  }

  constructor({ header, parameters, body, tables }) {
    const { width, layers, fineness, level } = readParameters(parameters);
    parameters.finish("what the file says of its codec");
    const { shape } = header;
    if (shape.length > 2) throw new FormatError("networks over more than two axes are not shown here");
    const channels = header.channels - (hasAlpha(header) ? 1 : 0);
    this.planes = { shape: shape.length === 1 ? [1, shape[0]] : shape, slices: 1, channels };
    this.axes = shape.length;
    this.widths = [shape.length, ...Array(layers).fill(width), channels];
    this.weights = readWeights(body, this.widths, fineness, tables);
    this.gain = 2 ** (level / 4) * (header.kind === "audio" ? 1 : 0.5);
    this.centre = header.kind === "audio" ? 0 : 0.5;
    this.machine = new Machine();
  }

  values(slice, size, window) {
    const { shape, channels } = this.planes;
    return renderPatches(shape, shape, channels, size, window, (_, ys, xs) =>
      this.machine.within(() => {
        const values = siren(this.machine, coordinates(this.machine, ys, xs, this.axes), this.weights, this.widths);
        for (let i = 0; i < values.length; i++) values[i] = values[i] * this.gain + this.centre;
        return values;
      }));
  }
}

function readWeights(body, widths, fineness, tables) {
  const groups = widths.slice(1).flatMap((out, i) => [widths[i] * out, out]);
  const count = groups.reduce((a, b) => a + b, 0);
  if (fineness === FLOAT16) {
    if (body.length !== 2 * count) throw new FormatError("damaged file: its weights do not fit its network");
    return Float32Array.from({ length: count }, (_, i) => half(body[2 * i] | (body[2 * i + 1] << 8)));
  }
  if (body.length < groups.length) throw new FormatError("damaged file: it is cut short");
  const own = groups.map((_, i) => fineness + (i ? 0 : FIRST_FINER));
  const scales = new Uint8Array(count);
  let at = 0;
  groups.forEach((size, i) => {
    scales.fill(logScaleIndex(Math.floor((own[i] * OCTAVE_UNITS) / FINENESS_PER_OCTAVE)), at, at + size);
    at += size;
  });
  const reader = new RoundingReader(body.subarray(groups.length), 1, tables);
  const numbers = reader.receive(scales);
  reader.finish();
  const out = new Float32Array(count);
  at = 0;
  groups.forEach((size, i) => {
    const step = 2 ** (body[i] / 8 - 20 - own[i] / FINENESS_PER_OCTAVE);
    for (const end = at + size; at < end; at++) out[at] = (numbers[at] / (1 << RESIDUAL_BITS)) * step;
  });
  return out;
}

// Decode any signal this page supports: from a container's entry and its prior to values of a slice on any grid.

import { ByteReader, FormatError, inflate } from "./bytes.js";
import { CoinDecoder } from "./coin.js";
import { CoinPPDecoder } from "./coinpp.js";
import { CombinerDecoder } from "./combiner.js";
import { SECTIONS } from "./container.js";
import { HierarchicalDecoder } from "./hierarchical.js";
import { hasAlpha } from "./planes.js";
import { resample } from "./resample.js";

// A codec's decoder has `planes`, `values(slice, size, window)` and a static `skipParameters(reader, prior)`.
const DECODERS = {
  hierarchical: HierarchicalDecoder, combiner: CombinerDecoder, "coin++": CoinPPDecoder, coin: CoinDecoder,
};

// Return the SignalDecoder of an entry of `readFile` (container.js). `prior` is what `readPrior` (prior_file.js)
// returns, null for a codec without one; `tables` are the GaussianTables.
export async function openEntry(entry, prior, tables) {
  const CodecDecoder = DECODERS[entry.codec];
  if (!CodecDecoder) {
    throw new FormatError(`codec ${entry.codec} is unsupported on this page: use inrcodec decompress`);
  }
  if (entry.prior && prior?.id !== entry.prior) throw new FormatError(`the file needs prior ${entry.prior}`);
  const sharedParameters = entry.sections.get(SECTIONS.parameters);
  let parameterReader, body;
  if (sharedParameters) {
    parameterReader = new ByteReader(sharedParameters);
    body = entry.payload;
  } else {
    // The payload begins with the parameters, whose length only the codec knows.
    const probe = new ByteReader(entry.payload);
    CodecDecoder.skipParameters(probe, prior);
    parameterReader = new ByteReader(entry.payload, probe.at);
    body = entry.payload.subarray(probe.at);
  }
  const codecDecoder = new CodecDecoder({ header: entry.header, prior, tables, parameterReader, body });
  return new SignalDecoder(codecDecoder, entry.header, await readAlpha(entry));
}

// Return the alpha channel in 0 .. 1, or null without one. It is stored losslessly, as differences between rows
// (inrcodec/container/alpha.py).
async function readAlpha({ header, sections }) {
  if (!hasAlpha(header)) return null;
  const is16Bit = header.sample_type === "u16";
  const [rows, columns] = header.shape;
  const size = rows * columns * (is16Bit ? 2 : 1);
  const raw = await inflate(sections.get(SECTIONS.alpha) ?? new Uint8Array(), size);
  if (raw.length !== size) throw new FormatError(`corrupt file: expected ${size} bytes of alpha, got ${raw.length}`);
  const view = new DataView(raw.buffer, raw.byteOffset);
  const out = new Float32Array(rows * columns);
  const max = is16Bit ? 65535 : 255;
  const levels = new Uint32Array(rows * columns);
  for (let i = 0; i < levels.length; i++) {
    const difference = is16Bit ? view.getUint16(2 * i, true) : raw[i];
    levels[i] = (difference + (i >= columns ? levels[i - columns] : 0)) & max;
    out[i] = levels[i] / max;
  }
  return out;
}

class SignalDecoder {
  constructor(codecDecoder, header, alpha) {
    Object.assign(this, { codecDecoder, header, alpha });
  }

  // The rows and columns of a slice; audio has one row.
  get shape() {
    return this.codecDecoder.planes.shape;
  }

  get slices() {
    return this.codecDecoder.planes.slices;
  }

  get channels() {
    return this.header.channels;
  }

  // Return the values (rows, columns, channels) of a slice in `window` [top, bottom, left, right] of a grid of `size`
  // [rows, columns]. Images and fields are in 0 .. 1, audio is in -1 .. 1.
  values(slice = 0, size = this.shape, window = [0, size[0], 0, size[1]]) {
    const colours = this.codecDecoder.values(slice, size, window);
    if (!this.alpha) return colours;
    const alpha = resample(this.alpha, this.shape, 1, size, window);
    const n = this.channels - 1;
    const out = new Float32Array(alpha.length * (n + 1));
    for (let p = 0; p < alpha.length; p++) {
      for (let c = 0; c < n; c++) out[p * (n + 1) + c] = colours[p * n + c];
      out[p * (n + 1) + n] = Math.max(0, Math.min(1, alpha[p]));
    }
    return out;
  }
}

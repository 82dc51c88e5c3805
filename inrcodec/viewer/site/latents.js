// Residuals of latents from a message, by either coder: rounded and entropy-coded under Gaussian tables
// (inrcodec/maths/gaussian_coder.py), or as indices of shared candidates (inrcodec/methods/latent_coders.py).

import { AnsDecoder, categorical, IntervalReader } from "./ans.js";
import { BitReader, FormatError } from "./bytes.js";
import { candidateRow, permutation, signs } from "./random.js";

export const N_SCALES = 64;
const SMALLEST = 0.05;
const LARGEST = 256;
export const RESIDUAL_BITS = 8;
export const CODERS = ["dither", "astar"];

const ESCAPE_BITS = 12;
const LARGEST_VALUE = 1 << (2 * ESCAPE_BITS - 1);
const END_BITS = 40;
const MOST_IN_END = 256;
const LARGEST_END_BYTES = 3 * MOST_IN_END * 2 + 4;
const ENTROPIES = [
  0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 6, 12, 21, 33, 45, 57, 69, 80, 90, 100, 111, 122, 134, 145, 157, 169, 181, 193, 206, 218,
  230, 243, 255, 268, 280, 293, 305, 318, 330, 343, 355, 368, 380, 393, 405, 418, 430, 443, 455, 467, 480, 492, 505, 517,
  530, 542, 554, 566, 578, 590, 602, 614, 625, 636,
];

export const scaleValues = () =>
  Float64Array.from({ length: N_SCALES }, (_, i) => SMALLEST * (LARGEST / SMALLEST) ** (i / (N_SCALES - 1)));

// Row of the tables for a log scale in units of 2^-13 (inrcodec/models/exact_hierarchy.py): integers alone.
const SCALE_UNIT = 1 << 19;
const SCALE_OFFSET = Math.round(-Math.log(SMALLEST) * (1 << 13));
const SCALE_FACTOR = Math.round(((N_SCALES - 1) / Math.log(LARGEST / SMALLEST)) * SCALE_UNIT / (1 << 13));
export const logScaleIndex = (logScale) => Math.max(0, Math.min(N_SCALES - 1,
  Math.floor(((logScale + SCALE_OFFSET) * SCALE_FACTOR + SCALE_UNIT / 2) / SCALE_UNIT)));

// The shipped tables (gaussian_tables.npy), per scale: edges for the ANS coder and for the end, and half the support.
export class GaussianTables {
  constructor(npy) {
    const view = new DataView(npy.buffer, npy.byteOffset, npy.byteLength);
    const head = 10 + view.getUint16(8, true);
    const text = new TextDecoder("latin1").decode(npy.subarray(10, head));
    const type = /'descr': *'([^']+)'/.exec(text)?.[1];
    const size = { "<u2": 2, "<i4": 4, "<u4": 4, "<i8": 8 }[type];
    if (!size) throw new FormatError("the tables of the entropy coder are not what they should be");
    const numbers = [];
    for (let at = head; at + size <= npy.length; at += size) {
      numbers.push(size === 2 ? view.getUint16(at, true) : view.getUint32(at, true));
    }
    this.half = [];
    this.edges = [];
    this.ends = [];
    let at = N_SCALES;
    for (let i = 0; i < N_SCALES; i++) {
      const counts = numbers.slice(at, at + numbers[i]);
      at += numbers[i];
      const half = (counts.length - 2) / 2;
      // The likeliest first: 0, -1, 1, -2, 2 .., at last the escape.
      const ordered = Array.from({ length: 2 * half + 1 }, (_, s) => counts[valueOf(s) + half]);
      ordered.push(counts.at(-1));
      this.half.push(half);
      this.edges.push(categorical(ordered));
      this.ends.push(ordered.reduce((edges, n) => [...edges, edges.at(-1) + n], [0]));
    }
  }
}

const valueOf = (symbol) => (symbol % 2 ? -1 : 1) * ((symbol + 1) >> 1);
const ESCAPE_ENDS = Array.from({ length: (1 << ESCAPE_BITS) + 1 }, (_, i) => i * 16);
const escaped = (high, low) => high * (1 << ESCAPE_BITS) + low - LARGEST_VALUE;

// Reads the parts of a message in order; `receive(scales)` gives residuals in units of 2^-8 steps.
export class RoundingReader {
  constructor(data, parts, tables) {
    if (data.at(-1) === 0) throw new FormatError("entropy-coded data ends in an empty byte");
    this.coder = new AnsDecoder(data);
    this.tables = tables;
    this.last = parts > 1 ? this.coder.readUniform(parts) : 0;
    this.number = 0;
  }

  receive(scales) {
    const out = new Float64Array(scales.length);
    this.number++;
    if (this.number > this.last + 1) return out;
    const isLast = this.number === this.last + 1;
    const order = byScale(scales);
    let coded = order.length;
    if (isLast) {
      let spent = 0;
      while (coded > 0 && order.length - coded < MOST_IN_END) {
        coded--;
        spent += ENTROPIES[scales[order[coded]]];
        if (spent >= 64 * END_BITS) break;
      }
    }
    const { coder, tables } = this;
    for (let at = 0; at < coded; ) {
      const scale = scales[order[at]];
      const edges = tables.edges[scale];
      const escape = 2 * tables.half[scale] + 1;
      const again = [];
      for (; at < coded && scales[order[at]] === scale; at++) {
        const symbol = coder.read(edges);
        if (symbol === escape) again.push(order[at]);
        else out[order[at]] = valueOf(symbol);
      }
      for (const place of again) {
        const high = coder.readUniform(1 << ESCAPE_BITS);
        out[place] = escaped(high, coder.readUniform(1 << ESCAPE_BITS));
      }
    }
    if (isLast) {
      if (coder.bytesLeft > LARGEST_END_BYTES) throw new FormatError("entropy-coded data does not end where it should");
      const reader = new IntervalReader(coder.toInteger());
      for (let at = coded; at < order.length; at++) {
        const scale = scales[order[at]];
        const symbol = reader.read(tables.ends[scale]);
        if (symbol === 2 * tables.half[scale] + 1) {
          const high = reader.read(ESCAPE_ENDS);
          out[order[at]] = escaped(high, reader.read(ESCAPE_ENDS));
        } else {
          out[order[at]] = valueOf(symbol);
        }
      }
      reader.finish();
    }
    for (let i = 0; i < out.length; i++) out[i] *= 1 << RESIDUAL_BITS;
    return out;
  }

  finish() {
    if (this.number <= this.last) throw new FormatError("entropy-coded data goes on after its last part");
  }
}

// Places in the order of their scales, in their own order where these are equal.
function byScale(scales) {
  const starts = new Uint32Array(N_SCALES + 1);
  for (let i = 0; i < scales.length; i++) starts[scales[i] + 1]++;
  for (let i = 0; i < N_SCALES; i++) starts[i + 1] += starts[i];
  const order = new Uint32Array(scales.length);
  for (let i = 0; i < scales.length; i++) order[starts[scales[i]]++] = i;
  return order;
}

const KL_UNITS = 64;
const BLOCK_BITS = 14;
const TARGET = (BLOCK_BITS - 2) * KL_UNITS;
const MAX_BLOCK = 64;
const PRUNE = 2;
const SEED = 0x1ae5;

const toEven = (value) => {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
};

// Latents in blocks, each the index of a shared candidate.
export class BlockReader {
  constructor(data) {
    this.bits = new BitReader(data);
    this.received = 0;
    const values = scaleValues();
    this.kl = values.map((s) => toEven(KL_UNITS * Math.log2(Math.max(s / Math.sqrt(1 / 12), 1))));
    this.units = values.map((s) => toEven(s * (1 << RESIDUAL_BITS)));
  }

  receive(scales) {
    const out = new Float64Array(scales.length);
    const blocks = this.cut(scales);
    const width = Math.max(1, ...blocks.map((block) => block.places.length));
    const inOrder = blocks.map((block, i) => [block, this.received + i]).sort(([a], [b]) => a.bits - b.bits);
    for (const [{ places, bits }, id] of inOrder) {
      const row = candidateRow(SEED, width, this.bits.read(bits));
      const sign = signs(SEED, id, width);
      places.forEach((place, slot) => {
        const fixed = toEven(row[slot] * sign[slot] * (1 << RESIDUAL_BITS));
        out[place] = Math.floor((fixed * this.units[scales[place]] + (1 << (RESIDUAL_BITS - 1))) / (1 << RESIDUAL_BITS));
      });
    }
    this.received += blocks.length;
    return out;
  }

  cut(scales) {
    const blocks = [];
    let sum = 0;
    let last = -1;
    for (const place of permutation(SEED, 0, scales.length)) {
      const units = this.kl[scales[place]];
      if (units < PRUNE) continue;
      const number = Math.floor(sum / TARGET);
      if (number !== last) blocks.push({ places: [], units: 0 });
      last = number;
      blocks.at(-1).places.push(place);
      blocks.at(-1).units += units;
      sum += Math.max(units, TARGET / MAX_BLOCK);
    }
    for (const block of blocks) block.bits = Math.min(Math.ceil(block.units / KL_UNITS), BLOCK_BITS);
    return blocks;
  }

  finish() {
    this.bits.finish();
  }
}

// Entropy decoding of integers under Gaussian tables, one for each of 64 scales (inrcodec/coding/gaussian.py).

import { AnsDecoder, categorical } from "./ans.js";
import { FormatError } from "./bytes.js";
import { IntervalReader } from "./interval.js";

export const N_SCALES = 64;
const MIN_SCALE = 0.05;
const MAX_SCALE = 256;

const ESCAPE_BITS = 12;
const MAX_VALUE = 1 << (2 * ESCAPE_BITS - 1);
const END_BITS = 40;
const MAX_IN_END = 256;
const MAX_END_BYTES = 3 * MAX_IN_END * 2 + 4;
// Entropy of a symbol by scale, in 1/64 bit; part of the format, hence written out.
const ENTROPIES = [
  0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 6, 12, 21, 33, 45, 57, 69, 80, 90, 100, 111, 122, 134, 145, 157, 169, 181, 193, 206,
  218, 230, 243, 255, 268, 280, 293, 305, 318, 330, 343, 355, 368, 380, 393, 405, 418, 430, 443, 455, 467, 480, 492,
  505, 517, 530, 542, 554, 566, 578, 590, 602, 614, 625, 636,
];

// Return the 64 scales, log-spaced.
export const scaleValues = () =>
  Float64Array.from({ length: N_SCALES }, (_, i) => MIN_SCALE * (MAX_SCALE / MIN_SCALE) ** (i / (N_SCALES - 1)));

const SCALE_UNIT = 1 << 19;
const SCALE_OFFSET = Math.round(-Math.log(MIN_SCALE) * (1 << 13));
const SCALE_FACTOR = Math.round(((N_SCALES - 1) / Math.log(MAX_SCALE / MIN_SCALE)) * SCALE_UNIT / (1 << 13));

// Return the index of the scale nearest to a log scale in units of 2^-13, in integer arithmetic (`scale_indices` of
// inrcodec/nn/exact.py).
export const scaleIndex = (logScale) => Math.max(0, Math.min(N_SCALES - 1,
  Math.floor(((logScale + SCALE_OFFSET) * SCALE_FACTOR + SCALE_UNIT / 2) / SCALE_UNIT)));

// The shipped tables (gaussian_tables.npy). For each scale: `support`, the largest magnitude coded without an escape;
// `edges` for the ANS decoder; `intervalEdges` for the end of a message.
export class GaussianTables {
  constructor(npy) {
    const view = new DataView(npy.buffer, npy.byteOffset, npy.byteLength);
    const headerEnd = 10 + view.getUint16(8, true);
    const text = new TextDecoder("latin1").decode(npy.subarray(10, headerEnd));
    const type = /'descr': *'([^']+)'/.exec(text)?.[1];
    const size = { "<u2": 2, "<i4": 4, "<u4": 4, "<i8": 8 }[type];
    if (!size) {
      throw new FormatError("gaussian_tables.npy is corrupt: export the page again with inrcodec view --export");
    }
    const numbers = [];
    for (let at = headerEnd; at + size <= npy.length; at += size) {
      numbers.push(size === 2 ? view.getUint16(at, true) : view.getUint32(at, true));
    }
    this.support = [];
    this.edges = [];
    this.intervalEdges = [];
    // The numbers begin with the lengths of the 64 tables.
    let at = N_SCALES;
    for (let i = 0; i < N_SCALES; i++) {
      const counts = numbers.slice(at, at + numbers[i]);
      at += numbers[i];
      const support = (counts.length - 2) / 2;
      // By decreasing probability: 0, -1, 1, -2, 2, ...; the escape comes last.
      const ordered = Array.from({ length: 2 * support + 1 }, (_, s) => counts[valueOf(s) + support]);
      ordered.push(counts.at(-1));
      this.support.push(support);
      this.edges.push(categorical(ordered));
      this.intervalEdges.push(ordered.reduce((edges, n) => [...edges, edges.at(-1) + n], [0]));
    }
  }

  // Return the symbol that announces a value beyond the support of a scale.
  escapeOf(scale) {
    return 2 * this.support[scale] + 1;
  }
}

const valueOf = (symbol) => (symbol % 2 ? -1 : 1) * ((symbol + 1) >> 1);
const ESCAPE_EDGES = Array.from({ length: (1 << ESCAPE_BITS) + 1 }, (_, i) => i * 16);
const escapedValue = (high, low) => high * (1 << ESCAPE_BITS) + low - MAX_VALUE;

// Decodes a message that was written in `partCount` parts; its first symbol says which part is the last one that
// holds a value other than 0.
export class GaussianReader {
  constructor(data, partCount, tables) {
    if (data.at(-1) === 0) throw new FormatError("corrupt file: an entropy-coded message ends in a zero byte");
    this.coder = new AnsDecoder(data);
    this.tables = tables;
    this.lastPart = partCount > 1 ? this.coder.readUniform(partCount) : 0;
    this.partsRead = 0;
  }

  // Return the integers of the next part, one for each scale index.
  read(scales) {
    const out = new Float64Array(scales.length);
    const part = this.partsRead++;
    if (part > this.lastPart) return out;
    const order = orderByScale(scales);
    const ansCount = part === this.lastPart ? order.length - endLength(order, scales) : order.length;
    this.readAns(order.subarray(0, ansCount), scales, out);
    if (part === this.lastPart) this.readEnd(order.subarray(ansCount), scales, out);
    return out;
  }

  // Decode the values at the indices `order`, scale by scale; the escaped values of a scale follow its symbols.
  readAns(order, scales, out) {
    const { coder, tables } = this;
    for (let at = 0; at < order.length; ) {
      const scale = scales[order[at]];
      const edges = tables.edges[scale];
      const escape = tables.escapeOf(scale);
      const escaped = [];
      for (; at < order.length && scales[order[at]] === scale; at++) {
        const symbol = coder.read(edges);
        if (symbol === escape) escaped.push(order[at]);
        else out[order[at]] = valueOf(symbol);
      }
      for (const index of escaped) {
        const high = coder.readUniform(1 << ESCAPE_BITS);
        out[index] = escapedValue(high, coder.readUniform(1 << ESCAPE_BITS));
      }
    }
  }

  // Decode the last values of the message from the integer that the ANS decoder is left with.
  readEnd(order, scales, out) {
    const { coder, tables } = this;
    if (coder.bytesLeft > MAX_END_BYTES) {
      throw new FormatError("corrupt file: the end of an entropy-coded message is too long");
    }
    const reader = new IntervalReader(coder.toInteger());
    for (const index of order) {
      const scale = scales[index];
      const symbol = reader.read(tables.intervalEdges[scale]);
      if (symbol === tables.escapeOf(scale)) {
        const high = reader.read(ESCAPE_EDGES);
        out[index] = escapedValue(high, reader.read(ESCAPE_EDGES));
      } else {
        out[index] = valueOf(symbol);
      }
    }
    reader.finish();
  }

  // Check that all parts have been read.
  finish() {
    if (this.partsRead <= this.lastPart) {
      throw new FormatError("corrupt file: trailing parts in an entropy-coded message");
    }
  }
}

// Return indices sorted by scale, stably.
function orderByScale(scales) {
  const starts = new Uint32Array(N_SCALES + 1);
  for (let i = 0; i < scales.length; i++) starts[scales[i] + 1]++;
  for (let i = 0; i < N_SCALES; i++) starts[i + 1] += starts[i];
  const order = new Uint32Array(scales.length);
  for (let i = 0; i < scales.length; i++) order[starts[scales[i]]++] = i;
  return order;
}

// Return how many of the last values in `order` are coded as one integer: about END_BITS bits of them.
function endLength(order, scales) {
  let count = 0;
  let spent = 0;
  while (count < order.length && count < MAX_IN_END) {
    count++;
    spent += ENTROPIES[scales[order[order.length - count]]];
    if (spent >= 64 * END_BITS) break;
  }
  return count;
}

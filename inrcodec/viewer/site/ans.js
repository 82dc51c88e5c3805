// Entropy decoding as the constriction library's ANS coder does it (32-bit words, a state of 64 bits, probabilities in
// units of 2^-24), and the few symbols at a message's end that are coded as one integer (inrcodec/maths/interval_code.py).

import { FormatError } from "./bytes.js";

const PRECISION = 24;
const UNIT = 2 ** PRECISION;
const WORD = 2 ** 32;

// Counts that sum to 65,536, as constriction's fast quantisation lays them on 2^24: every symbol keeps at least one.
export function categorical(counts) {
  const scale = (UNIT - counts.length) / 65536;
  const edges = new Float64Array(counts.length + 1);
  let sum = 0;
  for (let i = 0; i < counts.length; i++) {
    edges[i] = Math.floor(sum * scale) + i;
    sum += counts[i];
  }
  edges[counts.length] = UNIT;
  return edges;
}

export class AnsDecoder {
  // Bytes of words, lowest byte first; zero bytes at the end may be missing.
  constructor(data) {
    const whole = new Uint8Array(4 * Math.ceil(data.length / 4));
    whole.set(data);
    const view = new DataView(whole.buffer);
    this.words = Uint32Array.from({ length: whole.length / 4 }, (_, i) => view.getUint32(4 * i, true));
    this.left = this.words.length;
    this.low = this.left ? this.words[--this.left] : 0;
    this.high = 0;
    if (this.left) {
      this.high = this.low;
      this.low = this.words[--this.left];
    }
  }

  // The part of the state that chooses a symbol.
  get quantile() {
    return this.low & (UNIT - 1);
  }

  // The symbol that covers the quantile from `begin` up to `end` has been read.
  pop(begin, end) {
    const rest = this.high * 256 + (this.low >>> 24);
    const width = end - begin;
    // rest (40 bits) times width (24 bits), in two parts that a double holds.
    const upper = Math.floor(rest / 1048576) * width;
    const lower = (rest % 1048576) * width + (this.quantile - begin);
    const sum = (upper % 4096) * 1048576 + lower;
    const high = Math.floor(upper / 4096) + Math.floor(sum / WORD);
    const low = sum % WORD;
    if (high === 0 && this.left) {
      this.high = low;
      this.low = this.words[--this.left];
    } else {
      this.high = high;
      this.low = low >>> 0;
    }
  }

  // A symbol under the edges of `categorical`.
  read(edges) {
    const { quantile } = this;
    let first = 0;
    // The first symbols are the likeliest.
    let last = quantile < edges[1] ? 1 : edges.length - 1;
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (edges[middle] <= quantile) first = middle;
      else last = middle;
    }
    this.pop(edges[first], edges[first + 1]);
    return first;
  }

  // A number below `count`, all alike.
  readUniform(count) {
    const width = Math.floor(UNIT / count);
    const symbol = Math.min(Math.floor(this.quantile / width), count - 1);
    this.pop(symbol * width, symbol === count - 1 ? UNIT : (symbol + 1) * width);
    return symbol;
  }

  get bytesLeft() {
    return 4 * (this.left + (this.high ? 2 : this.low ? 1 : 0));
  }

  // What has not been read, as one integer, the words of the state highest.
  toInteger() {
    let value = (BigInt(this.high) << 32n) | BigInt(this.low);
    for (let i = this.left - 1; i >= 0; i--) value = (value << 32n) | BigInt(this.words[i]);
    return value;
  }
}

// Symbols from an integer, each under edges 0 .. 65,536.
export class IntervalReader {
  constructor(integer) {
    this.integer = integer;
    this.rest = integer;
    this.place = 0n;
    this.width = 1n;
    this.low = 0n;
    this.bits = 0;
  }

  read(edges) {
    this.place = (this.place << 16n) + reversed(this.rest & 0xffffn, 16);
    this.rest >>= 16n;
    const target = Number(this.place / this.width);
    let first = 0;
    let last = edges.length - 1;
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (edges[middle] <= target) first = middle;
      else last = middle;
    }
    const begin = BigInt(edges[first]);
    this.place -= this.width * begin;
    this.low = (this.low << 16n) + this.width * begin;
    this.width *= BigInt(edges[first + 1] - edges[first]);
    this.bits += 16;
    return first;
  }

  // The integer must be the one that stands for what was read.
  finish() {
    let found = 0n;
    if (this.low) {
      const last = this.low + this.width - 1n;
      const zeros = ((this.low - 1n) ^ last).toString(2).length - 1;
      found = reversed(last >> BigInt(zeros), this.bits - zeros);
    }
    if (found !== this.integer) throw new FormatError("entropy-coded data does not end where it should");
  }
}

function reversed(value, bits) {
  return bits ? BigInt(`0b${[...value.toString(2).padStart(bits, "0")].reverse().join("")}`) : 0n;
}

// The ANS decoder of the constriction library: 32-bit words, a 64-bit state, probabilities in units of 2^-24.

const PRECISION = 24;
const UNIT = 2 ** PRECISION;
const WORD = 2 ** 32;

// Return the edges on 0 .. 2^24 of symbols whose counts sum to 65,536, quantised as by constriction's fast method:
// every symbol keeps a width of at least one.
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

// Decodes symbols from a message: little-endian words whose trailing zero bytes may be missing.
export class AnsDecoder {
  constructor(data) {
    const padded = new Uint8Array(4 * Math.ceil(data.length / 4));
    padded.set(data);
    const view = new DataView(padded.buffer);
    this.words = Uint32Array.from({ length: padded.length / 4 }, (_, i) => view.getUint32(4 * i, true));
    this.left = this.words.length;
    // The 64-bit state, as two 32-bit halves.
    this.low = this.left ? this.words[--this.left] : 0;
    this.high = 0;
    if (this.left) {
      this.high = this.low;
      this.low = this.words[--this.left];
    }
  }

  // The bits of the state that select a symbol.
  get quantile() {
    return this.low & (UNIT - 1);
  }

  // Update the state after decoding the symbol that covers the quantiles from `begin` up to `end`.
  pop(begin, end) {
    const rest = this.high * 256 + (this.low >>> 24);
    const width = end - begin;
    // rest (40 bits) times width (24 bits) in two parts, because a double is exact only up to 53 bits.
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

  // Decode a symbol under the edges that `categorical` returns.
  read(edges) {
    const { quantile } = this;
    let first = 0;
    // Symbols are ordered by probability, so the first one is tried before the binary search.
    let last = quantile < edges[1] ? 1 : edges.length - 1;
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (edges[middle] <= quantile) first = middle;
      else last = middle;
    }
    this.pop(edges[first], edges[first + 1]);
    return first;
  }

  // Decode a uniformly distributed integer below `count`.
  readUniform(count) {
    const width = Math.floor(UNIT / count);
    const symbol = Math.min(Math.floor(this.quantile / width), count - 1);
    this.pop(symbol * width, symbol === count - 1 ? UNIT : (symbol + 1) * width);
    return symbol;
  }

  get bytesLeft() {
    return 4 * (this.left + (this.high ? 2 : this.low ? 1 : 0));
  }

  // Return everything not yet decoded as one integer; the state's words are the highest.
  toInteger() {
    let value = (BigInt(this.high) << 32n) | BigInt(this.low);
    for (let i = this.left - 1; i >= 0; i--) value = (value << 32n) | BigInt(this.words[i]);
    return value;
  }
}

// Symbols coded as one integer, with which a message ends (inrcodec/coding/interval.py).

import { FormatError } from "./bytes.js";

// Decodes symbols from an integer, each under edges on 0 .. 65,536.
export class IntervalReader {
  constructor(integer) {
    this.integer = integer;
    this.rest = integer;
    this.offset = 0n;
    this.width = 1n;
    this.low = 0n;
    this.bits = 0;
  }

  read(edges) {
    this.offset = (this.offset << 16n) + reverseBits(this.rest & 0xffffn, 16);
    this.rest >>= 16n;
    const target = Number(this.offset / this.width);
    let first = 0;
    let last = edges.length - 1;
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (edges[middle] <= target) first = middle;
      else last = middle;
    }
    const begin = BigInt(edges[first]);
    this.offset -= this.width * begin;
    this.low = (this.low << 16n) + this.width * begin;
    this.width *= BigInt(edges[first + 1] - edges[first]);
    this.bits += 16;
    return first;
  }

  // Check that the integer is the one an encoder writes for the decoded symbols.
  finish() {
    let expected = 0n;
    if (this.low) {
      const last = this.low + this.width - 1n;
      const zeros = ((this.low - 1n) ^ last).toString(2).length - 1;
      expected = reverseBits(last >> BigInt(zeros), this.bits - zeros);
    }
    if (expected !== this.integer) {
      throw new FormatError("corrupt file: the end of an entropy-coded message is invalid");
    }
  }
}

function reverseBits(value, count) {
  return count ? BigInt(`0b${[...value.toString(2).padStart(count, "0")].reverse().join("")}`) : 0n;
}

// Numbers in bytes: readers that never run past their end, checksums, small floating types.

// What a file gets wrong; its text is for people.
export class FormatError extends Error {}

export class ByteReader {
  constructor(data, end = data.length) {
    this.data = data;
    this.at = 0;
    this.end = end;
  }

  get left() {
    return this.end - this.at;
  }

  take(count, what) {
    if (count > this.left) throw new FormatError(`damaged file: ${what} is cut short`);
    this.at += count;
    return this.data.subarray(this.at - count, this.at);
  }

  byte(what) {
    return this.take(1, what)[0];
  }

  // LEB128, in its shortest form, below 2^53.
  varint(what) {
    let value = 0;
    for (let count = 0; count < 8; count++) {
      const byte = this.byte(what);
      value += (byte & 0x7f) * 2 ** (7 * count);
      if (byte < 0x80) {
        if (byte === 0 && count) throw new FormatError(`damaged file: ${what} is longer than it needs to be`);
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw new FormatError(`damaged file: ${what} is out of range`);
  }

  rest() {
    return this.take(this.left, "rest");
  }

  finish(what) {
    if (this.left) throw new FormatError(`${what} goes on after its end`);
  }
}

// Numbers of fixed width, most significant bit first.
export class BitReader {
  constructor(data) {
    this.data = data;
    this.bit = 0;
  }

  read(width) {
    if (this.bit + width > 8 * this.data.length) throw new FormatError("data ends early");
    let value = 0;
    for (let left = width; left > 0; ) {
      const inside = this.bit % 8;
      const part = Math.min(left, 8 - inside);
      const bits = (this.data[this.bit >> 3] >> (8 - inside - part)) & ((1 << part) - 1);
      value = value * 2 ** part + bits;
      this.bit += part;
      left -= part;
    }
    return value;
  }

  readMany(count, width) {
    if (this.bit + width * count > 8 * this.data.length) throw new FormatError("data ends early");
    return Float64Array.from({ length: count }, () => this.read(width));
  }

  finish() {
    const left = 8 * this.data.length - this.bit;
    if (left >= 8 || (left && this.read(left))) throw new FormatError("data goes on after its end");
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

// CRC-32 as in zlib and PNG.
export function crc32(data) {
  let crc = 0xffffffff;
  for (let i = 0; i < data.length; i++) crc = CRC_TABLE[(crc ^ data[i]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

export const toHex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

// A zlib stream, at most `most` bytes of it.
export async function inflate(data, most) {
  const parts = [];
  let size = 0;
  try {
    const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > most) {
        await reader.cancel();
        throw new FormatError(`damaged file: more than ${most} bytes come out of a packed part`);
      }
      parts.push(value);
    }
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError("damaged file: a packed part cannot be unpacked");
  }
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

// Bounds-checked readers of bytes and bits, CRC-32 and zlib (inrcodec/container/framing.py, inrcodec/coding/bits.py).

// An error in a file. Its message is shown to the user.
export class FormatError extends Error {}

// Reads `data` from front to back, up to `end`. Argument `what` names the value in error messages.
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
    if (count > this.left) throw new FormatError(`corrupt file: truncated while reading ${what}`);
    this.at += count;
    return this.data.subarray(this.at - count, this.at);
  }

  byte(what) {
    return this.take(1, what)[0];
  }

  signedByte(what) {
    return (this.byte(what) << 24) >> 24;
  }

  // Read an LEB128 integer below 2^53; only its shortest form is valid.
  varint(what) {
    let value = 0;
    for (let count = 0; count < 8; count++) {
      const byte = this.byte(what);
      value += (byte & 0x7f) * 2 ** (7 * count);
      if (byte < 0x80) {
        if (byte === 0 && count) throw new FormatError(`corrupt file: ${what} is not in its shortest form`);
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw new FormatError(`corrupt file: ${what} is out of range`);
  }

  rest() {
    return this.take(this.left, "rest");
  }

  // Check that nothing is left.
  finish(what) {
    if (this.left) throw new FormatError(`corrupt file: trailing bytes after ${what}`);
  }
}

// Reads integers of fixed width, most significant bit first.
export class BitReader {
  constructor(data) {
    this.data = data;
    this.bit = 0;
  }

  read(width) {
    if (this.bit + width > 8 * this.data.length) throw new FormatError("corrupt file: truncated bitstream");
    let value = 0;
    for (let left = width; left > 0; ) {
      const offset = this.bit % 8;
      const taken = Math.min(left, 8 - offset);
      const bits = (this.data[this.bit >> 3] >> (8 - offset - taken)) & ((1 << taken) - 1);
      value = value * 2 ** taken + bits;
      this.bit += taken;
      left -= taken;
    }
    return value;
  }

  readMany(count, width) {
    if (this.bit + width * count > 8 * this.data.length) throw new FormatError("corrupt file: truncated bitstream");
    return Float64Array.from({ length: count }, () => this.read(width));
  }

  // Check that only zero bits are left, fewer than eight of them.
  finish() {
    const left = 8 * this.data.length - this.bit;
    if (left >= 8 || (left && this.read(left))) {
      throw new FormatError("corrupt file: trailing bits after the bitstream");
    }
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

// Return the CRC-32 that zlib and PNG use.
export function crc32(data) {
  let crc = 0xffffffff;
  for (let i = 0; i < data.length; i++) crc = CRC_TABLE[(crc ^ data[i]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

export const toHex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

// Decompress a zlib stream of at most `maxBytes` bytes.
export async function inflate(data, maxBytes) {
  const chunks = [];
  let size = 0;
  try {
    const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > maxBytes) {
        await reader.cancel();
        throw new FormatError(`corrupt file: compressed data exceeds the limit of ${maxBytes} bytes`);
      }
      chunks.push(value);
    }
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError("corrupt file: compressed data cannot be decompressed");
  }
  const out = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

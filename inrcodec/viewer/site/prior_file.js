// Prior files: safetensors with the prior's configuration as JSON in the metadata (inrcodec/codecs/prior_file.py).

import { FormatError, toHex } from "./bytes.js";

const SIZES = { F16: 2, F32: 4, F64: 8, I8: 1, U8: 1, I16: 2, U16: 2, I32: 4, U32: 4, I64: 8 };
const MAX_BYTES = 1 << 26;

// Return { id, head, tensors }: the id in hex, the configuration, and a Map of names to { shape, values }. Values are a
// Float32Array for F16 and F32, else a Float64Array. The id is the one that the file states, or a hash of its bytes.
export async function readPrior(data) {
  if (data.length > MAX_BYTES) throw new FormatError(`the prior file exceeds the limit of ${MAX_BYTES} bytes`);
  if (data.length < 10) throw new FormatError("not a prior file");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  if (headerLength > data.length - 8) throw new FormatError("not a prior file");
  let entries, head;
  try {
    entries = JSON.parse(new TextDecoder().decode(data.subarray(8, 8 + headerLength)));
    head = JSON.parse(entries.__metadata__.inrcodec);
  } catch {
    throw new FormatError("not a prior file of inrcodec");
  }
  const tensors = new Map();
  for (const [name, entry] of Object.entries(entries)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: [begin, end] } = entry;
    const count = shape.reduce((a, b) => a * b, 1);
    const isInside = begin >= 0 && 8 + headerLength + end <= data.length;
    if (!(dtype in SIZES) || end - begin !== count * SIZES[dtype] || !isInside) {
      throw new FormatError(`corrupt prior file: tensor ${name} is invalid`);
    }
    tensors.set(name, { shape, values: readTensor(dtype, view, 8 + headerLength + begin, count) });
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return { id: head.stands_for || toHex(hash.subarray(0, 8)), head, tensors };
}

function readTensor(dtype, view, at, count) {
  const isSmall = dtype === "F16" || dtype === "F32";
  const out = isSmall ? new Float32Array(count) : new Float64Array(count);
  const read = {
    F16: (i) => FLOAT16_VALUES[view.getUint16(i, true)],
    F32: (i) => view.getFloat32(i, true),
    F64: (i) => view.getFloat64(i, true),
    I8: (i) => view.getInt8(i),
    U8: (i) => view.getUint8(i),
    I16: (i) => view.getInt16(i, true),
    U16: (i) => view.getUint16(i, true),
    I32: (i) => view.getInt32(i, true),
    U32: (i) => view.getUint32(i, true),
    I64: (i) => Number(view.getBigInt64(i, true)),
  }[dtype];
  const size = SIZES[dtype];
  for (let i = 0; i < count; i++) out[i] = read(at + size * i);
  return out;
}

// Return the float16 number that has the given 16 bits.
export function float16(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = exponent === 31 ? (fraction ? NaN : Infinity)
    : exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
  return bits & 0x8000 ? -magnitude : magnitude;
}

const FLOAT16_VALUES = Float32Array.from({ length: 65536 }, (_, bits) => float16(bits));

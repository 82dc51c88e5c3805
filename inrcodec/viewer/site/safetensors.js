// Files of learned priors: safetensors with a description in JSON (inrcodec/models/prior_file.py).

import { FormatError, toHex } from "./bytes.js";

const SIZES = { F16: 2, F32: 4, F64: 8, I8: 1, U8: 1, I16: 2, U16: 2, I32: 4, U32: 4, I64: 8 };
const MAX_BYTES = 1 << 26;

// { id, head, tensors: Map name -> { shape, values } }; values are Float32Array, or Float64Array for integers and F64.
export async function readPrior(data) {
  if (data.length > MAX_BYTES || data.length < 10) throw new FormatError("this is not the file of a prior");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length > data.length - 8) throw new FormatError("this is not the file of a prior");
  let entries, head;
  try {
    entries = JSON.parse(new TextDecoder().decode(data.subarray(8, 8 + length)));
    head = JSON.parse(entries.__metadata__.inrcodec);
  } catch {
    throw new FormatError("this is not the file of a prior");
  }
  const tensors = new Map();
  for (const [name, entry] of Object.entries(entries)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: [begin, end] } = entry;
    const count = shape.reduce((a, b) => a * b, 1);
    if (!(dtype in SIZES) || end - begin !== count * SIZES[dtype] || 8 + length + end > data.length || begin < 0) {
      throw new FormatError(`the prior's tensor ${name} is damaged`);
    }
    tensors.set(name, { shape, values: read(dtype, view, 8 + length + begin, count) });
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return { id: toHex(hash.subarray(0, 8)), head, tensors };
}

function read(dtype, view, at, count) {
  const small = dtype === "F16" || dtype === "F32";
  const out = small ? new Float32Array(count) : new Float64Array(count);
  const get = {
    F16: (i) => HALVES[view.getUint16(i, true)], F32: (i) => view.getFloat32(i, true), F64: (i) => view.getFloat64(i, true), I8: (i) => view.getInt8(i), U8: (i) => view.getUint8(i),
    I16: (i) => view.getInt16(i, true), U16: (i) => view.getUint16(i, true), I32: (i) => view.getInt32(i, true),
    U32: (i) => view.getUint32(i, true), I64: (i) => Number(view.getBigInt64(i, true)),
  }[dtype];
  const size = SIZES[dtype];
  for (let i = 0; i < count; i++) out[i] = get(at + size * i);
  return out;
}

// A float16 from its bits.
export function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent === 31 ? (fraction ? NaN : Infinity)
    : exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
  return bits & 0x8000 ? -size : size;
}

const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => half(bits));

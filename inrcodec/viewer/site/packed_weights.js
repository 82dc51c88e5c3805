// Weights of a prior's file as integers with a power of two per row, entropy coded (inrcodec/codecs/packed_weights.py).

import { FormatError } from "./bytes.js";
import { GaussianReader, N_SCALES } from "./gaussian.js";

const MAX_WEIGHTS = 1 << 26;
const MAX_EXPONENT = 32;

// Return the weights of a part of a prior's file as a Map of names to { shape, values }. The file's description lists
// their names and shapes, three of its tensors hold the message and, for every row, the exponent and the scale.
export function unpackWeights(prior, part, tables) {
  const description = prior.head.packed[part];
  const [message, exponents, scales] = ["message", "exponents", "scales"].map((name) => {
    const tensor = prior.tensors.get(`packed.${part}.${name}`);
    if (!tensor) throw new FormatError(`corrupt prior file: tensor packed.${part}.${name} is missing`);
    return tensor.values;
  });
  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  const rows = description.reduce((sum, [, shape]) => sum + shape[0], 0);
  const total = description.reduce((sum, [, shape]) => sum + size(shape), 0);
  const isValid = exponents.length === rows && scales.length === rows && total <= MAX_WEIGHTS &&
    description.every(([, shape]) => shape.every((n) => n >= 1)) &&
    exponents.every((e) => Math.abs(e) <= MAX_EXPONENT) && scales.every((s) => s < N_SCALES);
  if (!isValid) throw new FormatError("corrupt prior file: the description of its weights is out of range");
  const reader = new GaussianReader(Uint8Array.from(message), description.length, tables);
  const out = new Map();
  let row = 0;
  for (const [name, shape] of description) {
    const columns = size(shape) / shape[0];
    const scaleOf = new Uint8Array(size(shape));
    for (let r = 0; r < shape[0]; r++) scaleOf.fill(scales[row + r], r * columns, (r + 1) * columns);
    const values = reader.read(scaleOf);
    for (let i = 0; i < values.length; i++) values[i] *= 2 ** exponents[row + Math.floor(i / columns)];
    out.set(name, { shape, values });
    row += shape[0];
  }
  reader.finish();
  return out;
}

// A signal's own weights of the SIREN head, sent by relative entropy coding under the learned prior
// (inrcodec/codecs/hierarchical/head_weights.py).

import { BitReader, ByteReader, FormatError } from "./bytes.js";
import { candidateRow, permutation, signs } from "./randomness.js";

const SEED = 0x5e16;
const BLOCK_BITS = 14;

// Return the weights that a message stands for, or null for an empty message: the prior's mean applies.
export function receiveWeights(prior, message) {
  if (!message.length) return null;
  const mean = prior.tensors.get("model.head").values;
  const logScale = prior.tensors.get("weight_log_scale").values;
  const count = mean.length;
  const reader = new ByteReader(message);
  const blocks = reader.varint("the number of weight blocks");
  if (blocks < 1 || blocks > count) throw new FormatError("corrupt file: the number of weight blocks is out of range");
  const bits = new BitReader(reader.rest());
  const width = Math.ceil(count / blocks);
  const order = permutation(SEED, 0, count);
  const weights = Float32Array.from(mean);
  for (let block = 0; block < blocks; block++) {
    const row = candidateRow(SEED, width, bits.read(BLOCK_BITS));
    const sign = signs(SEED, block, width);
    for (let slot = 0; slot < width && slot * blocks + block < count; slot++) {
      const at = order[slot * blocks + block];
      weights[at] += Math.exp(logScale[at]) * row[slot] * sign[slot];
    }
  }
  bits.finish();
  return weights;
}

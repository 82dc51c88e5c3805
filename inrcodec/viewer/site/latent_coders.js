// The two ways to code the residuals of latents (inrcodec/codecs/hierarchical/latent_coders.py). "round": rounded to
// integers, entropy-coded under Gaussian tables. "rec": relative entropy coding, blocks of latents sent as the index
// of a shared candidate. A reader's `receive(scales)` returns the residuals of the next latents, in units of 2^-8
// steps.

import { BitReader } from "./bytes.js";
import { GaussianReader, scaleValues } from "./gaussian.js";
import { candidateRow, permutation, signs } from "./randomness.js";
import { roundHalfEven } from "./rounding.js";

// In the order of their numbers in files.
export const CODERS = ["round", "rec"];
export const RESIDUAL_BITS = 8;

const KL_UNITS_PER_BIT = 64;
const BLOCK_BITS = 14;
const TARGET_UNITS = (BLOCK_BITS - 2) * KL_UNITS_PER_BIT;
const MAX_BLOCK_LATENTS = 64;
const PRUNE_UNITS = 2;
const SEED = 0x1ae5;
const POSTERIOR_SCALE = Math.sqrt(1 / 12);

// Return a reader of a message that has `partCount` blocks of latents.
export const makeReader = (coder, message, partCount, tables) =>
  coder === "round" ? new RoundingReader(message, partCount, tables) : new BlockReader(message);

class RoundingReader {
  constructor(message, partCount, tables) {
    this.coder = new GaussianReader(message, partCount, tables);
  }

  receive(scales) {
    const out = this.coder.read(scales);
    for (let i = 0; i < out.length; i++) out[i] *= 1 << RESIDUAL_BITS;
    return out;
  }

  finish() {
    this.coder.finish();
  }
}

class BlockReader {
  constructor(message) {
    this.bits = new BitReader(message);
    this.received = 0;
    const scales = scaleValues();
    // Mean KL of a latent whose residual follows the prior, in 1/64 bit, and the scale in units of 2^-8 steps.
    this.klUnits = scales.map((s) => roundHalfEven(KL_UNITS_PER_BIT * Math.log2(Math.max(s / POSTERIOR_SCALE, 1))));
    this.scaleUnits = scales.map((s) => roundHalfEven(s * (1 << RESIDUAL_BITS)));
  }

  receive(scales) {
    const out = new Float64Array(scales.length);
    const blocks = this.cutBlocks(scales);
    const width = Math.max(1, ...blocks.map((block) => block.indices.length));
    // Files hold the blocks by number of bits; the sort is stable.
    const fileOrder = blocks.map((block, i) => [block, this.received + i]).sort(([a], [b]) => a.bits - b.bits);
    for (const [{ indices, bits }, id] of fileOrder) {
      const row = candidateRow(SEED, width, this.bits.read(bits));
      const sign = signs(SEED, id, width);
      indices.forEach((index, slot) => {
        const fixed = roundHalfEven(row[slot] * sign[slot] * (1 << RESIDUAL_BITS));
        const half = 1 << (RESIDUAL_BITS - 1);
        out[index] = Math.floor((fixed * this.scaleUnits[scales[index]] + half) / (1 << RESIDUAL_BITS));
      });
    }
    this.received += blocks.length;
    return out;
  }

  // Return the blocks of latents, { indices, bits }: a function of the scales alone.
  cutBlocks(scales) {
    const blocks = [];
    let sum = 0;
    let last = -1;
    for (const index of permutation(SEED, 0, scales.length)) {
      const units = this.klUnits[scales[index]];
      if (units < PRUNE_UNITS) continue;
      const number = Math.floor(sum / TARGET_UNITS);
      if (number !== last) blocks.push({ indices: [], units: 0 });
      last = number;
      blocks.at(-1).indices.push(index);
      blocks.at(-1).units += units;
      sum += Math.max(units, TARGET_UNITS / MAX_BLOCK_LATENTS);
    }
    for (const block of blocks) block.bits = Math.min(Math.ceil(block.units / KL_UNITS_PER_BIT), BLOCK_BITS);
    return blocks;
  }

  finish() {
    this.bits.finish();
  }
}

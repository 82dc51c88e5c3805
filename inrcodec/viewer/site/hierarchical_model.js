// The top-down pass of the hierarchical model: latents to features, in exact integers
// (inrcodec/codecs/hierarchical/top_down.py, exact.py). It gives the same integers on every machine.

import { FormatError } from "./bytes.js";
import { addAtColor, boardIndex, takeColor } from "./checkerboard.js";
import { ExactConv, ExactDepthwise, FloatConv, makeTensor, shuffleUp } from "./convolution.js";
import { scaleIndex } from "./gaussian.js";
import { RESIDUAL_BITS } from "./latent_coders.js";
import { unpackWeights } from "./packed_weights.js";

const ACTIVATION_LIMIT = 1 << 23;
// Quality steps between two anchors of a prior.
const QUALITY_UNIT = 256;

// Return how many of `total` residual blocks come before each of `parts` latent blocks; the first ones get more.
const blocksBefore = (total, parts) =>
  Array.from({ length: parts }, (_, j) => Math.floor(total / parts) + (j < total % parts ? 1 : 0));

const clamp = (value) => Math.max(-ACTIVATION_LIMIT, Math.min(ACTIVATION_LIMIT, value));

// A prior's network at one quality. Biases and step sizes are stored at anchors and interpolated between them.
export class HierarchicalModel {
  constructor(machine, prior, quality, tables) {
    const { config } = prior.head;
    this.machine = machine;
    this.config = config;
    this.prior = prior;
    const maxQuality = (config.n_anchors - 1) * QUALITY_UNIT;
    if (quality > maxQuality) {
      throw new FormatError(`corrupt file: quality ${quality} is out of range, the prior's maximum is ${maxQuality}`);
    }
    this.anchor = Math.min(Math.floor(quality / QUALITY_UNIT), config.n_anchors - 2);
    this.fraction = quality - this.anchor * QUALITY_UNIT;
    this.convs = new Map();
    // Whether depthwise convolutions alone mix places.
    this.pointwise = config.block === "depthwise";
    if (prior.head.packed) {
      for (const [name, weight] of unpackWeights(prior, "down", tables)) this.addExact(name, weight);
    }
    for (const name of prior.tensors.keys()) {
      if (name.startsWith("weight.")) this.addExact(name.slice(7), prior.tensors.get(name));
      const float = /^model\.convs\.(widen|last-in|last-out|to_head)\.weight$/.exec(name);
      if (float) this.addFloat(float[1]);
    }
  }

  // Return the row of an integer table (anchors, n) at the quality, rounded half up.
  betweenAnchors({ shape: [, n], values }) {
    const [a, b] = [this.anchor * n, (this.anchor + 1) * n];
    const { fraction } = this;
    return Float64Array.from({ length: n }, (_, i) => Math.floor(
      (values[a + i] * (QUALITY_UNIT - fraction) + values[b + i] * fraction + QUALITY_UNIT / 2) / QUALITY_UNIT));
  }

  addExact(name, weight) {
    const table = this.prior.tensors.get(`bias.${name}`);
    if (!table) throw new FormatError(`corrupt prior file: tensor bias.${name} is missing`);
    const Conv = weight.shape.length === 3 ? ExactDepthwise : ExactConv;
    this.convs.set(name, new Conv(this.machine, weight, this.betweenAnchors(table), this.config.periodic));
  }

  addFloat(name) {
    const { tensors } = this.prior;
    const { shape: [, n], values } = tensors.get(`model.convs.${name}.bias`);
    const t = this.fraction / QUALITY_UNIT;
    const at = this.anchor * n;
    const biases = Float32Array.from({ length: n }, (_, i) => (1 - t) * values[at + i] + t * values[at + n + i]);
    const weight = tensors.get(`model.convs.${name}.weight`);
    this.convs.set(name.replaceAll("-", "."), new FloatConv(this.machine, weight, biases, this.config.periodic));
  }

  conv(name) {
    const conv = this.convs.get(name);
    if (!conv) throw new FormatError(`corrupt prior file: tensor ${name} is missing`);
    return conv;
  }

  // The number of blocks of latents in a message.
  get blockCount() {
    return this.config.levels.reduce((sum, level) => sum + level.latents.length, 0);
  }

  // Return the features at the finest stride for a grid padded to `height` x `width` points, or with patches the values
  // of the points: an integer tensor that stays allocated. `receive(scales)` returns the residuals of the next block of
  // latents.
  topDown(height, width, receive) {
    const { machine, config } = this;
    const { levels } = config;
    const coarsestRows = height / (config.axes === 2 ? levels[0].stride : 1);
    let h = makeTensor(machine, coarsestRows, width / levels[0].stride, levels[0].width);
    const firstPixel = this.prior.tensors.get("first").values;
    const numbers = machine.ints(h.at, h.height * h.width * h.stride);
    for (let i = 0; i < numbers.length; i += h.stride) numbers.set(firstPixel, i);
    levels.forEach((level, i) => {
      if (i) h = shuffleUp(machine, this.conv(`up.${i}`).run(h), levels[i - 1].stride / level.stride, config.axes);
      blocksBefore(level.blocks_down, level.latents.length).forEach((count, j) => {
        for (let k = 0; k < count; k++) this.addResidual(h, `down.${i}.${j}.${k}`);
        machine.scope(() => this.addLatents(h, `${i}.${j}`, level.phases > 1 ? j % level.phases : null, receive));
      });
      for (let k = 0; k < (level.blocks_after ?? 0); k++) this.addResidual(h, `down.${i}.${level.latents.length}.${k}`);
    });
    return config.patch ? shuffleUp(machine, this.conv("out").run(h), config.patch, config.axes) : h;
  }

  // Add a residual block to h, in place.
  addResidual(h, name) {
    if (this.pointwise) this.conv(`${name}.mix`).run(h);
    this.machine.scope(() => {
      const inner = this.conv(`${name}.in`).run(h);
      const out = this.conv(`${name}.out`).run(inner, true);
      this.machine.kernels.increase(h.at, out.at, h.height * h.width * h.stride);
    });
  }

  // Receive a block of latents under the prior that h gives, and add what they contribute to h, in place. With a
  // `phase` the block has latents at one colour of the checkerboard only.
  addLatents(h, name, phase, receive) {
    const { machine } = this;
    const context = phase === null ? h : takeColor(machine, h, phase);
    // The first half of the channels are means, the second half log scales.
    const prior = this.conv(`prior_out.${name}`).run(this.conv(`prior_in.${name}`).run(context), true);
    const channels = prior.channels / 2;
    const pixels = prior.height * prior.width;
    const priorValues = machine.ints(prior.at, pixels * prior.stride).slice();
    const scales = new Uint8Array(channels * pixels);
    for (let c = 0, n = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        scales[n++] = scaleIndex(priorValues[p * prior.stride + channels + c]);
      }
    }
    const residuals = receive(scales);
    const steps = this.betweenAnchors(this.prior.tensors.get(`step.${name}`));
    const latents = makeTensor(machine, prior.height, this.pointwise ? prior.width : h.width, channels);
    const out = machine.ints(latents.at, latents.height * latents.width * latents.stride);
    for (let c = 0, n = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        const offset = Math.floor((residuals[n++] * steps[c]) / (1 << RESIDUAL_BITS) + 0.5);
        const place = this.pointwise ? p : boardIndex(p, prior.width, phase);
        out[place * latents.stride + c] = clamp(priorValues[p * prior.stride + c] + offset);
      }
    }
    const shift = this.conv(`latent_in.${name}`).run(latents);
    if (this.pointwise) addAtColor(machine, h, shift, phase);
    else machine.kernels.increase(h.at, shift.at, h.height * h.width * h.stride);
  }
}

// The COMBINER and RECOMBINER codec: indices of shared candidates to latents, latents to the weights of one SIREN per
// patch (inrcodec/codecs/combiner/codec.py, blocks.py, model.py).

import { BitReader, FormatError } from "./bytes.js";
import { asConv, FloatConv, fromTensor, toTensor } from "./convolution.js";
import { Machine } from "./kernels.js";
import { readGain } from "./loudness.js";
import { coordinates, renderPatches } from "./patches.js";
import { Planes } from "./planes.js";
import { candidateRow, permutation, signs } from "./randomness.js";
import { siren } from "./siren.js";

const KL_UNITS_PER_BIT = 1024;
const PRUNE_UNITS = Math.floor(KL_UNITS_PER_BIT / 50);
const TARGET_STEPS = 16;
const MAX_TARGET_BITS = 64;
const PERMUTATION_SEED = 0x9e3779b9;
const CANDIDATE_SEED = 0x1a7e;
const MAX_BUDGET_BITS = 24;
const MAX_BLOCKS = 1 << 22;

// Read { anchor, budgetBits, targetUnits, gain }: the operating point of the prior, the bits of a block's index, and
// the mean KL that a block should have.
function readParameters(reader, prior) {
  const anchor = reader.byte("the operating point");
  const budgetBits = reader.byte("the bits of a block");
  const target = reader.varint("the target KL of a block");
  const anchors = prior.tensors.get("betas").values.length;
  if (anchor >= anchors || target < 1 || target > MAX_TARGET_BITS * TARGET_STEPS || budgetBits > MAX_BUDGET_BITS) {
    throw new FormatError("corrupt file: the parameters of codec combiner are out of range");
  }
  const targetUnits = Math.floor((target * KL_UNITS_PER_BIT) / TARGET_STEPS);
  return { anchor, budgetBits, targetUnits, gain: readGain(reader, prior) };
}

export class CombinerDecoder {
  static skipParameters(reader, prior) {
    readParameters(reader, prior);
  }

  constructor({ header, parameterReader, body, prior }) {
    const { config, kind } = prior.head;
    this.parameters = readParameters(parameterReader, prior);
    parameterReader.finish("the codec parameters");
    this.planes = new Planes(header, kind, config.patch_shape.length, config.channels);
    this.patch = config.patch_shape.length === 1 ? [1, config.patch_shape[0]] : config.patch_shape;
    Object.assign(this, { prior, config });
    this.patchesPerPlane =
      Math.ceil(this.planes.shape[0] / this.patch[0]) * Math.ceil(this.planes.shape[1] / this.patch[1]);
    this.widths = [config.features, ...Array(config.hidden_layers).fill(config.hidden), config.channels];
    this.machine = new Machine();
    this.weights = this.weightsOf(this.readLatents(body, this.planes.count * this.patchesPerPlane));
    this.emptyTop = this.machine.top;
  }

  // Return the values (rows, columns, channels) of a slice in `window` of a grid of `size`.
  values(slice, size, window) {
    const { planes, config, prior } = this;
    const { centre, spread } = prior.head;
    const { gain } = this.parameters;
    const n = this.widths.slice(1).reduce((sum, out, i) => sum + (this.widths[i] + 1) * out, 0);
    this.lastFeatures = null;
    const out = planes.slice(slice, (plane) =>
      renderPatches(planes.shape, this.patch, config.channels, size, window, (number, ys, xs) => {
        const first = (plane * this.patchesPerPlane + number) * n;
        const values = siren(this.machine, this.features(ys, xs), this.weights.subarray(first, first + n), this.widths);
        for (let i = 0; i < values.length; i++) values[i] = (values[i] * spread + centre) * gain;
        return values;
      }));
    this.machine.top = this.emptyTop;
    return out;
  }

  // Return the input features sin(x W + b) of points. The last result is kept, because most patches have the same local
  // coordinates.
  features(ys, xs) {
    const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
    const { machine, config, prior, lastFeatures } = this;
    if (lastFeatures && same(lastFeatures.ys, ys) && same(lastFeatures.xs, xs)) return lastFeatures.tensor;
    machine.top = this.emptyTop;
    const first = new FloatConv(machine, asConv(prior.tensors.get("model.frequency")),
      prior.tensors.get("model.phase").values, false);
    const tensor = first.run(coordinates(machine, ys, xs, config.patch_shape.length));
    machine.kernels.sine(tensor.at, tensor.width * tensor.stride);
    this.lastFeatures = { ys, xs, tensor };
    return tensor;
  }

  // Return { values, patches, dims }: the latents (patches, dims).
  readLatents(body, patches) {
    const { tensors } = this.prior;
    const { anchor, budgetBits, targetUnits } = this.parameters;
    const [, classes, dims] = tensors.get("mean").shape;
    const bits = new BitReader(body);
    const classOf = bits.readMany(patches, Math.ceil(Math.log2(classes)));
    if (classOf.some((c) => c >= classes)) throw new FormatError("corrupt file: the class of a patch is out of range");
    const row = (name, c) =>
      tensors.get(name).values.subarray((anchor * classes + c) * dims, (anchor * classes + c + 1) * dims);
    const latents = new Float32Array(patches * dims);
    classOf.forEach((c, p) => latents.set(row("mean", c), p * dims));
    const plans = Array.from({ length: classes }, (_, c) => {
      const members = Array.from(classOf.keys()).filter((p) => classOf[p] === c);
      return { members, layout: members.length ? dealDimensions(row("kl_units", c), targetUnits) : [] };
    });
    const count = plans.reduce((sum, { members, layout }) => sum + members.length * layout.length, 0);
    if (count > MAX_BLOCKS) {
      throw new FormatError(`${count} blocks exceed this page's limit of ${MAX_BLOCKS}: use inrcodec decompress`);
    }
    let block = 0;
    plans.forEach(({ members, layout }, c) => {
      const scale = row("log_scale", c).map(Math.exp);
      for (const blockDims of layout) {
        const permuted = blockDims.map((d) => permutation(PERMUTATION_SEED, c * dims + d, members.length));
        for (let m = 0; m < members.length; m++, block++) {
          const index = bits.read(budgetBits);
          if (budgetBits === 0) continue;
          const candidate = candidateRow(CANDIDATE_SEED, blockDims.length, index);
          const sign = signs(CANDIDATE_SEED, block, blockDims.length);
          blockDims.forEach((d, slot) => {
            latents[members[permuted[slot][m]] * dims + d] += scale[d] * candidate[slot] * sign[slot];
          });
        }
      }
    });
    bits.finish();
    return { values: latents, patches, dims };
  }

  // Return the flat weights of every patch: base + latents times the basis. The basis is one matrix,
  // or with reparameterisation "layer" one square matrix per layer.
  weightsOf({ values, patches, dims }) {
    const { machine, config, prior } = this;
    const base = prior.tensors.get("model.base").values;
    const n = base.length;
    const out = new Float32Array(patches * n);
    if (config.reparameterisation === "none") return out.map((_, i) => values[i] + base[i % n]);
    let [from, part] = [0, 0];
    for (; prior.tensors.has(`model.basis.${part}`); part++) {
      const basis = prior.tensors.get(`model.basis.${part}`);
      const [inputs, outputs] = basis.shape;
      const to = config.reparameterisation === "layer" ? from : 0;
      machine.scope(() => {
        const rows = new Float32Array(patches * inputs);
        for (let p = 0; p < patches; p++) {
          rows.set(values.subarray(p * dims + from, p * dims + from + inputs), p * inputs);
        }
        const conv = new FloatConv(machine, asConv(basis), base.subarray(to, to + outputs), false);
        const products = fromTensor(machine, conv.run(toTensor(machine, rows, patches)), outputs);
        for (let p = 0; p < patches; p++) out.set(products.subarray(p * outputs, (p + 1) * outputs), p * n + to);
      });
      from += inputs;
    }
    return out;
  }
}

// Deal dimensions into blocks of a mean KL of about `target` units each: the largest first, each to the emptiest block.
function dealDimensions(units, target) {
  const order = Array.from(units.keys())
    .filter((d) => units[d] >= PRUNE_UNITS)
    .sort((a, b) => units[b] - units[a] || a - b);
  const total = order.reduce((sum, d) => sum + units[d], 0);
  const count = Math.min(Math.floor((2 * total + target) / (2 * target)), order.length);
  const load = new Float64Array(count);
  const blocks = Array.from({ length: count }, () => []);
  if (count) {
    for (const d of order) {
      let emptiest = 0;
      for (let i = 1; i < count; i++) if (load[i] < load[emptiest]) emptiest = i;
      blocks[emptiest].push(d);
      load[emptiest] += units[d];
    }
  }
  return blocks;
}

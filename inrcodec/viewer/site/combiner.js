// Files of the COMBINER codec: indices of candidates to latents, latents to the weights of one SIREN per patch
// (inrcodec/codecs/combiner.py, inrcodec/models/blocks.py, bayesian_inr.py).

import { BitReader, FormatError } from "./bytes.js";
import { asConv, FloatConv, fromTensor, toTensor } from "./convolution.js";
import { Machine } from "./kernels.js";
import { Planes } from "./planes.js";
import { candidateRow, permutation, signs } from "./random.js";
import { coordinates, renderPatches, siren } from "./siren.js";

const KL_UNITS = 1024;
const PRUNE = Math.floor(KL_UNITS / 50);
const TARGET_STEPS = 16;
const PERMUTATION_SEED = 0x9e3779b9;
const CANDIDATE_SEED = 0x1a7e;
const MAX_BUDGET = 24;
const MAX_BLOCKS = 1 << 22;

function readParameters(reader, prior) {
  const [anchor, budget] = [reader.byte("operating point"), reader.byte("budget")];
  const target = reader.varint("target");
  const anchors = prior.tensors.get("betas").values.length;
  if (anchor >= anchors || target < 1 || target > 64 * TARGET_STEPS || budget > MAX_BUDGET) {
    throw new FormatError("damaged file: its operating point does not exist in this prior");
  }
  const gain = prior.head.kind === "audio" ? 2 ** (((reader.byte("level") << 24) >> 24) / 4) : 1;
  return { anchor, budget, targetUnits: Math.floor((target * KL_UNITS) / TARGET_STEPS), gain };
}

export class CombinerFile {
  static skipParameters(reader, prior) {
    readParameters(reader, prior);
  }

  constructor({ header, parameters, body, prior }) {
    const { config, kind } = prior.head;
    this.told = readParameters(parameters, prior);
    parameters.finish("what the file says of its codec");
    this.planes = new Planes(header, kind, config.patch_shape.length, config.channels);
    this.patch = config.patch_shape.length === 1 ? [1, config.patch_shape[0]] : config.patch_shape;
    Object.assign(this, { prior, config });
    this.perPlane = Math.ceil(this.planes.shape[0] / this.patch[0]) * Math.ceil(this.planes.shape[1] / this.patch[1]);
    this.widths = [config.features, ...Array(config.hidden_layers).fill(config.hidden), config.channels];
    this.machine = new Machine();
    this.weights = this.weightsOf(this.readLatents(body, this.planes.count * this.perPlane));
    this.base = this.machine.top;
  }

  values(slice, size, window) {
    const { planes, config, prior } = this;
    const { centre, spread } = prior.head;
    const n = this.widths.slice(1).reduce((sum, out, i) => sum + (this.widths[i] + 1) * out, 0);
    this.seen = null;
    const out = planes.slice(slice, (plane) =>
      renderPatches(planes.shape, this.patch, config.channels, size, window, (number, ys, xs) => {
        const first = (plane * this.perPlane + number) * n;
        const values = siren(this.machine, this.features(ys, xs), this.weights.subarray(first, first + n), this.widths);
        for (let i = 0; i < values.length; i++) values[i] = (values[i] * spread + centre) * this.told.gain;
        return values;
      }));
    this.machine.top = this.base;
    return out;
  }

  // sin(x W + b), the same for all patches whose points lie alike; the last are kept.
  features(ys, xs) {
    const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
    if (this.seen && same(this.seen.ys, ys) && same(this.seen.xs, xs)) return this.seen.tensor;
    const { machine, config, prior } = this;
    machine.top = this.base;
    const first = new FloatConv(machine, asConv(prior.tensors.get("model.frequency")),
      prior.tensors.get("model.phase").values, false);
    const tensor = first.run(coordinates(machine, ys, xs, config.patch_shape.length));
    machine.kernels.sine(tensor.at, tensor.width * tensor.stride);
    this.seen = { ys, xs, tensor };
    return tensor;
  }

  // Latent vectors (patches, D).
  readLatents(body, patches) {
    const { tensors } = this.prior;
    const { anchor, budget, targetUnits } = this.told;
    const [, classes, dims] = tensors.get("mean").shape;
    const bits = new BitReader(body);
    const chosen = bits.readMany(patches, Math.ceil(Math.log2(classes)));
    if (chosen.some((c) => c >= classes)) throw new FormatError("damaged file: a class of patches does not exist");
    const row = (name, c) => tensors.get(name).values.subarray((anchor * classes + c) * dims, (anchor * classes + c + 1) * dims);
    const latents = new Float32Array(patches * dims);
    chosen.forEach((c, p) => latents.set(row("mean", c), p * dims));
    const plans = Array.from({ length: classes }, (_, c) => {
      const members = Array.from(chosen.keys()).filter((p) => chosen[p] === c);
      return { members, layout: members.length ? dealDimensions(row("kl_units", c), targetUnits) : [] };
    });
    const count = plans.reduce((sum, { members, layout }) => sum + members.length * layout.length, 0);
    if (count > MAX_BLOCKS) throw new FormatError(`${count} blocks are more than this page decodes`);
    let block = 0;
    plans.forEach(({ members, layout }, c) => {
      const scale = row("log_scale", c).map(Math.exp);
      for (const taken of layout) {
        const mixed = taken.map((d) => permutation(PERMUTATION_SEED, c * dims + d, members.length));
        for (let m = 0; m < members.length; m++, block++) {
          const index = bits.read(budget);
          if (budget === 0) continue;
          const drawn = candidateRow(CANDIDATE_SEED, taken.length, index);
          const sign = signs(CANDIDATE_SEED, block, taken.length);
          taken.forEach((d, slot) => {
            latents[members[mixed[slot][m]] * dims + d] += scale[d] * drawn[slot] * sign[slot];
          });
        }
      }
    });
    bits.finish();
    return { values: latents, patches, dims };
  }

  // Flat weights of every patch: base + latent times the basis.
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
      machine.within(() => {
        const rows = new Float32Array(patches * inputs);
        for (let p = 0; p < patches; p++) rows.set(values.subarray(p * dims + from, p * dims + from + inputs), p * inputs);
        const conv = new FloatConv(machine, asConv(basis), base.subarray(to, to + outputs), false);
        const found = fromTensor(machine, conv.run(toTensor(machine, rows, patches)), outputs);
        for (let p = 0; p < patches; p++) out.set(found.subarray(p * outputs, (p + 1) * outputs), p * n + to);
      });
      from += inputs;
    }
    return out;
  }
}

// Dimensions dealt into blocks of about `target` of mean KL each: the largest first, each to the emptiest block.
function dealDimensions(units, target) {
  const order = Array.from(units.keys()).filter((d) => units[d] >= PRUNE).sort((a, b) => units[b] - units[a] || a - b);
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

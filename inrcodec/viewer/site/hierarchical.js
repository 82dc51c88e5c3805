// The default codec's files: messages of planes and tiles to values (inrcodec/codecs/hierarchical.py, tiles.py).

import { BitReader, ByteReader, FormatError } from "./bytes.js";
import { Hierarchy } from "./hierarchy.js";
import { Machine } from "./kernels.js";
import { BlockReader, CODERS, RoundingReader } from "./latents.js";
import { Planes } from "./planes.js";
import { candidateRow, permutation, signs } from "./random.js";
import { resample } from "./resample.js";

const TILED_FROM = 1 << 23;
const TILE = 2048;
const OVERLAP = 64;
const WEIGHT_SEED = 0x5e16;
const WEIGHT_BLOCK_BITS = 14;
const MOST_HALVINGS = 8;
const KEPT_PLANES = 8;

function readParameters(reader, prior) {
  const number = reader.varint("quality");
  const told = {
    weights: number % 2 === 1,
    coder: CODERS[Math.floor(number / 2) % CODERS.length],
    quality: Math.floor(number / 2 / CODERS.length),
    gain: 1,
    halvings: 0,
  };
  if (prior.head.kind === "audio") told.gain = 2 ** (((reader.byte("level") << 24) >> 24) / 4);
  if (prior.head.kind === "field") told.halvings = reader.byte("grid");
  if (told.halvings > MOST_HALVINGS) throw new FormatError("the file's grid cannot be");
  return told;
}

export class HierarchicalFile {
  static skipParameters(reader, prior) {
    readParameters(reader, prior);
  }

  constructor({ header, parameters, body, prior, tables }) {
    const { config, kind } = prior.head;
    this.planes = new Planes(header, kind, config.axes, config.channels);
    this.told = readParameters(parameters, prior);
    parameters.finish("what the file says of its codec");
    Object.assign(this, { prior, tables, config });
    this.grid = this.planes.shape.map((n, axis) =>
      config.axes === 1 && axis === 0 ? 1 : Math.ceil(n / 2 ** this.told.halvings));
    this.tiles = cutTiles(kind, config, this.grid);
    this.messages = splitMessages(body, this.planes.count * this.tiles.length * (this.told.weights ? 2 : 1));
    this.kept = new Map();
  }

  // Values (rows, columns, channels) of a slice on a grid of `size`, of which `window` is made.
  values(slice, size, window) {
    return this.planes.slice(slice, (plane) =>
      resample(this.plane(plane), this.grid, this.config.channels, size, window, this.config.periodic));
  }

  // Values of a plane on its own grid; the last few are kept.
  plane(number) {
    if (!this.kept.has(number)) {
      while (this.kept.size >= KEPT_PLANES) this.kept.delete(this.kept.keys().next().value);
      this.kept.set(number, this.decodePlane(number));
    }
    return this.kept.get(number);
  }

  decodePlane(number) {
    const { tiles, grid, config } = this;
    if (tiles.length === 1) return this.decodeTile(number, grid);
    const out = new Float32Array(grid[0] * grid[1] * config.channels);
    tiles.forEach((tile, index) => {
      const [rows, columns] = tile.map(([begin, end]) => end - begin);
      const values = this.decodeTile(number * tiles.length + index, [rows, columns]);
      const [down, across] = tile.map((part, axis) => ramp(part, grid[axis]));
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const to = ((y + tile[0][0]) * grid[1] + x + tile[1][0]) * config.channels;
          const from = (y * columns + x) * config.channels;
          const weight = down[y] * across[x];
          for (let c = 0; c < config.channels; c++) out[to + c] += weight * values[from + c];
        }
      }
    });
    return out;
  }

  decodeTile(number, [rows, columns]) {
    const { told, config, prior } = this;
    const { machine, network } = this.network();
    const each = told.weights ? 2 : 1;
    const weights = told.weights ? receiveWeights(prior, this.messages[number * each]) : null;
    const message = this.messages[number * each + each - 1];
    const reader = told.coder === "dither"
      ? new RoundingReader(message, network.blockCount, this.tables) : new BlockReader(message);
    return machine.within(() => {
      if (weights) network.makeHead(weights);
      const up = (n) => Math.ceil(n / config.levels[0].stride) * config.levels[0].stride;
      const h = network.walkDown(config.axes === 2 ? up(rows) : 1, up(columns), (scales) => reader.receive(scales));
      reader.finish();
      const out = network.values(h, rows, columns);
      if (told.gain !== 1) for (let i = 0; i < out.length; i++) out[i] *= told.gain;
      if (weights) network.makeHead(prior.tensors.get("model.head").values);
      return out;
    });
  }

  network() {
    if (!this.made) {
      const machine = new Machine();
      this.made = { machine, network: new Hierarchy(machine, this.prior, this.told.quality) };
    }
    return this.made;
  }
}

function splitMessages(body, count) {
  const reader = new ByteReader(body);
  if (count - 1 > body.length) throw new FormatError("damaged file: a plane's message is cut short");
  const messages = Array.from({ length: count - 1 }, () => reader.take(reader.varint("message"), "a plane's message"));
  return [...messages, reader.rest()];
}

function cutTiles(kind, config, grid) {
  if (kind !== "image" || grid[0] * grid[1] <= TILED_FROM) return [grid.map((n) => [0, n])];
  const unit = config.levels[0].stride;
  const [rows, columns] = grid.map((n) => {
    const count = Math.max(1, Math.ceil(n / TILE));
    const even = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
    const edges = Array.from({ length: count + 1 }, (_, i) => (i === count ? n : even((i * n) / count / unit) * unit));
    return edges.slice(1).map((edge, i) => [Math.max(0, edges[i] - OVERLAP / 2), Math.min(n, edge + OVERLAP / 2)]);
  });
  return rows.flatMap((row) => columns.map((column) => [row, column]));
}

// Weights of a tile's points along an axis: neighbours add up to one where they overlap.
function ramp([begin, end], n) {
  const out = new Float32Array(end - begin).fill(1);
  for (let i = 0; i < OVERLAP; i++) {
    const rise = (i + 0.5) / OVERLAP;
    if (begin > 0) out[i] = rise;
    if (end < n) out[out.length - OVERLAP + i] = 1 - rise;
  }
  return out;
}

// Weights of the head from their message (inrcodec/encoders/weight_encoder.py): the prior's, moved by candidates; null
// for an empty message.
function receiveWeights(prior, message) {
  if (!message.length) return null;
  const mean = prior.tensors.get("model.head").values;
  const logScale = prior.tensors.get("weight_log_scale").values;
  const count = mean.length;
  const reader = new ByteReader(message);
  const blocks = reader.varint("number of blocks");
  if (blocks < 1 || blocks > count) throw new FormatError("damaged file: its blocks of weights cannot be");
  const bits = new BitReader(reader.rest());
  const width = Math.ceil(count / blocks);
  const order = permutation(WEIGHT_SEED, 0, count);
  const out = Float32Array.from(mean);
  for (let block = 0; block < blocks; block++) {
    const row = candidateRow(WEIGHT_SEED, width, bits.read(WEIGHT_BLOCK_BITS));
    const sign = signs(WEIGHT_SEED, block, width);
    for (let slot = 0; slot < width && slot * blocks + block < count; slot++) {
      const at = order[slot * blocks + block];
      out[at] += Math.exp(logScale[at]) * row[slot] * sign[slot];
    }
  }
  bits.finish();
  return out;
}

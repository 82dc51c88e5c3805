// The default codec, hierarchical latents of a Bayesian INR (inrcodec/codecs/hierarchical/codec.py):
//
//     message -> latents -> features -> SIREN head -> planes, in tiles -> values on any grid
//
// A body holds, for every plane and tile, a message of head weights (where the parameters say so) and one of latents.

import { ByteReader, FormatError } from "./bytes.js";
import { receiveWeights } from "./head_weights.js";
import { HierarchicalModel } from "./hierarchical_model.js";
import { HeadRenderer, PatchRenderer } from "./hierarchical_render.js";
import { Machine } from "./kernels.js";
import { CODERS, makeReader } from "./latent_coders.js";
import { readGain } from "./loudness.js";
import { Planes } from "./planes.js";
import { resample } from "./resample.js";
import { blendWeights, planeTiles } from "./tiles.js";

const MAX_HALVINGS = 8;
const MAX_KEPT_PLANES = 8;

// Read { quality, coder, hasWeights, gain, halvings }; `halvings` says how often the grid of a field is halved.
function readParameters(reader, prior) {
  const number = reader.varint("the quality");
  const hasWeights = number % 2 === 1;
  const coder = CODERS[Math.floor(number / 2) % CODERS.length];
  const quality = Math.floor(number / 2 / CODERS.length);
  const gain = readGain(reader, prior);
  const halvings = prior.head.kind === "field" ? reader.byte("the halvings of the grid") : 0;
  if (halvings > MAX_HALVINGS) throw new FormatError("corrupt file: the halvings of the grid are out of range");
  return { quality, coder, hasWeights, gain, halvings };
}

export class HierarchicalDecoder {
  static skipParameters(reader, prior) {
    readParameters(reader, prior);
  }

  constructor({ header, parameterReader, body, prior, tables }) {
    const { config, kind } = prior.head;
    this.planes = new Planes(header, kind, config.axes, config.channels);
    this.parameters = readParameters(parameterReader, prior);
    parameterReader.finish("the codec parameters");
    Object.assign(this, { prior, tables, config });
    this.grid = this.planes.shape.map((n, axis) =>
      config.axes === 1 && axis === 0 ? 1 : Math.ceil(n / 2 ** this.parameters.halvings));
    this.tiles = planeTiles(kind, config, this.grid);
    this.messagesPerTile = this.parameters.hasWeights ? 2 : 1;
    this.messages = splitMessages(body, this.planes.count * this.tiles.length * this.messagesPerTile);
    this.decodedPlanes = new Map();
  }

  // Return the values (rows, columns, channels) of a slice in `window` of a grid of `size`.
  values(slice, size, window) {
    return this.planes.slice(slice, (plane) =>
      resample(this.plane(plane), this.grid, this.config.channels, size, window, this.config.periodic));
  }

  // Return the values of a plane on its own grid. The planes decoded last are kept.
  plane(number) {
    if (!this.decodedPlanes.has(number)) {
      while (this.decodedPlanes.size >= MAX_KEPT_PLANES) {
        this.decodedPlanes.delete(this.decodedPlanes.keys().next().value);
      }
      this.decodedPlanes.set(number, this.decodePlane(number));
    }
    return this.decodedPlanes.get(number);
  }

  decodePlane(number) {
    const { tiles, grid, config } = this;
    if (tiles.length === 1) return this.decodeTile(number, grid);
    const out = new Float32Array(grid[0] * grid[1] * config.channels);
    tiles.forEach((tile, index) => {
      const [rows, columns] = tile.map(([begin, end]) => end - begin);
      const values = this.decodeTile(number * tiles.length + index, [rows, columns]);
      const [down, across] = tile.map((span, axis) => blendWeights(span, grid[axis]));
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

  // Return the values (rows, columns, channels) of a tile, numbered across all planes.
  decodeTile(number, [rows, columns]) {
    const { config, prior } = this;
    const { coder, hasWeights, gain } = this.parameters;
    const { machine, model, renderer } = this.network();
    const messages = this.messages.slice(number * this.messagesPerTile, (number + 1) * this.messagesPerTile);
    const weights = hasWeights ? receiveWeights(prior, messages[0]) : null;
    const reader = makeReader(coder, messages.at(-1), model.blockCount, this.tables);
    return machine.scope(() => {
      const padded = (n) => Math.ceil(n / config.levels[0].stride) * config.levels[0].stride;
      const paddedRows = config.axes === 2 ? padded(rows) : 1;
      const h = model.topDown(paddedRows, padded(columns), (scales) => reader.receive(scales));
      reader.finish();
      const out = renderer.values(h, rows, columns, weights);
      if (gain !== 1) for (let i = 0; i < out.length; i++) out[i] *= gain;
      return out;
    });
  }

  // Build the prior's network at the file's quality when it is first needed.
  network() {
    if (!this.builtNetwork) {
      const machine = new Machine();
      const model = new HierarchicalModel(machine, this.prior, this.parameters.quality, this.tables);
      const renderer = this.config.patch ? new PatchRenderer(model) : new HeadRenderer(model);
      this.builtNetwork = { machine, model, renderer };
    }
    return this.builtNetwork;
  }
}

// Return the messages of a body: each but the last is preceded by its length.
function splitMessages(body, count) {
  const reader = new ByteReader(body);
  if (count - 1 > body.length) throw new FormatError("corrupt file: truncated while reading the messages of planes");
  const messages = Array.from({ length: count - 1 },
    () => reader.take(reader.varint("the length of a plane's message"), "a plane's message"));
  return [...messages, reader.rest()];
}

// Any file that this page can show: container entry and prior to values of a slice on any grid.

import { ByteReader, FormatError, inflate } from "./bytes.js";
import { SECTIONS } from "./container.js";
import { CombinerFile } from "./combiner.js";
import { CoinFile } from "./coin.js";
import { HierarchicalFile } from "./hierarchical.js";
import { ModulationFile } from "./modulation.js";
import { hasAlpha } from "./planes.js";
import { resample } from "./resample.js";

const FILES = { hierarchical: HierarchicalFile, combiner: CombinerFile, "coin++": ModulationFile, coin: CoinFile };

// `entry`: one of container.js readFile; `prior`: of safetensors.js readPrior, null for a codec without one; `tables`:
// the GaussianTables.
export async function openEntry(entry, prior, tables) {
  const File = FILES[entry.codec];
  if (!File) {
    throw new FormatError(`files of codec ${entry.codec} are not shown here: use inrcodec decompress`);
  }
  if (entry.prior && prior?.id !== entry.prior) throw new FormatError(`the file needs prior ${entry.prior}`);
  const shared = entry.sections.get(SECTIONS.parameters);
  const parameters = new ByteReader(shared ?? entry.payload);
  const given = { header: entry.header, prior, tables, parameters, body: entry.payload };
  if (!shared) {
    // The parameters end where the codec has read enough; the body follows.
    const probe = new ByteReader(entry.payload);
    File.skipParameters(probe, prior);
    given.parameters = new ByteReader(entry.payload, probe.at);
    given.body = entry.payload.subarray(probe.at);
  }
  return new Decoder(new File(given), entry.header, await readAlpha(entry));
}

async function readAlpha({ header, sections }) {
  if (!hasAlpha(header)) return null;
  const wide = header.sample_type === "u16";
  const [rows, columns] = header.shape;
  const size = rows * columns * (wide ? 2 : 1);
  const raw = await inflate(sections.get(SECTIONS.alpha) ?? new Uint8Array(), size);
  if (raw.length !== size) throw new FormatError("damaged file: its alpha channel does not fit");
  const view = new DataView(raw.buffer, raw.byteOffset);
  const out = new Float32Array(rows * columns);
  const top = wide ? 65535 : 255;
  const levels = new Uint32Array(rows * columns);
  for (let i = 0; i < levels.length; i++) {
    const own = wide ? view.getUint16(2 * i, true) : raw[i];
    levels[i] = (own + (i >= columns ? levels[i - columns] : 0)) & top;
    out[i] = levels[i] / top;
  }
  return out;
}

export class Decoder {
  constructor(file, header, alpha) {
    Object.assign(this, { file, header, alpha });
  }

  get shape() {
    return this.file.planes.shape;
  }

  get slices() {
    return this.file.planes.slices;
  }

  get channels() {
    return this.header.channels;
  }

  // Values (rows, columns, channels) of a slice, on a grid of `size` [rows, columns], in `window` [top, bottom, left,
  // right] of it; images in 0 .. 1, sounds in -1 .. 1, fields in 0 .. 1.
  values(slice = 0, size = this.shape, window = [0, size[0], 0, size[1]]) {
    const colours = this.file.values(slice, size, window);
    if (!this.alpha) return colours;
    const alpha = resample(this.alpha, this.shape, 1, size, window);
    const n = this.channels - 1;
    const out = new Float32Array(alpha.length * (n + 1));
    for (let p = 0; p < alpha.length; p++) {
      for (let c = 0; c < n; c++) out[p * (n + 1) + c] = colours[p * n + c];
      out[p * (n + 1) + n] = Math.max(0, Math.min(1, alpha[p]));
    }
    return out;
  }
}

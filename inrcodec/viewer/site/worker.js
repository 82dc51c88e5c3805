// Decodes in a worker thread, so that the page stays responsive. main.js sends the messages open, choose, prior and
// render; the worker answers with entries, priorNeeded, opened, rendered and failed.

import { FormatError } from "./bytes.js";
import { readExtra, readFile } from "./container.js";
import { openEntry } from "./decoder.js";
import { GaussianTables } from "./gaussian.js";
import { toPixels } from "./pixels.js";
import { readPrior } from "./prior_file.js";

const priors = new Map();
let tables, entries, chosen, decoder;

// Fetch a file of the page; returns null if the server does not have it.
async function fetchBytes(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) return null;
  return new Uint8Array(await response.arrayBuffer());
}

// Return the prior with an id, from the user's files or from the page's folder `priors`, or null.
async function findPrior(id) {
  if (!priors.has(id)) {
    const bytes = await fetchBytes(`priors/${id}.safetensors`).catch(() => null);
    if (!bytes) return null;
    const prior = await readPrior(bytes);
    priors.set(prior.id, prior);
  }
  return priors.get(id) ?? null;
}

const handlers = {
  async open({ bytes }) {
    decoder = null;
    entries = await readFile(bytes);
    postMessage({ type: "entries", names: entries.map((entry) => entry.name) });
    await handlers.choose({ entry: 0 });
  },

  async choose({ entry: number }) {
    chosen = number;
    const entry = entries[number];
    const prior = entry.prior ? await findPrior(entry.prior) : null;
    if (entry.prior && !prior) {
      postMessage({ type: "priorNeeded", prior: entry.prior });
      return;
    }
    if (!tables) {
      const bytes = await fetchBytes("gaussian_tables.npy");
      if (!bytes) {
        throw new FormatError("gaussian_tables.npy is missing: open this page with inrcodec view, or export it again");
      }
      tables = new GaussianTables(bytes);
    }
    const extra = await readExtra(entry.sections);
    decoder = await openEntry(entry, prior, tables);
    postMessage({
      type: "opened", header: entry.header, extra, codec: entry.codec, prior: prior?.head.name ?? "",
      payloadBytes: entry.payload.length, shape: decoder.shape, slices: decoder.slices,
    });
  },

  // Add a prior file that the user opened; a file that waits for it is then decoded.
  async prior({ bytes }) {
    const prior = await readPrior(bytes);
    priors.set(prior.id, prior);
    if (entries && !decoder) await handlers.choose({ entry: chosen });
  },

  // Decode a window of a slice to pixels, or to values if `raw`.
  async render({ id, slice, size, window, raw }) {
    const [top, bottom, left, right] = window;
    const values = decoder.values(slice, size, window);
    const data = raw ? values : toPixels(values, decoder.header);
    postMessage({ type: "rendered", id, data, width: right - left, height: bottom - top, size, window }, [data.buffer]);
  },
};

function describe(error) {
  if (error instanceof FormatError) return error.message;
  console.error(error);
  if (error instanceof RangeError) return "the signal exceeds the memory of this page: use inrcodec decompress";
  return `decoding failed: ${error.message}`;
}

// Messages are handled one after the other, so that nothing is rendered while a file is being opened.
let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(() => handlers[data.type](data)).catch((error) => {
    postMessage({ type: "failed", text: describe(error), id: data.id, name: data.name });
  });
};

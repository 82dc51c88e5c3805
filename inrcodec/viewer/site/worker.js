// Decodes in a thread of its own. Messages in: open, choose, prior, render, native; out: entries, opened, wanted, rendered,
// native, failed. All values that go back are ready to be shown.

import { FormatError } from "./bytes.js";
import { readExtra, readFile } from "./container.js";
import { openEntry } from "./decoder.js";
import { GaussianTables } from "./latents.js";
import { toPixels } from "./pixels.js";
import { readPrior } from "./safetensors.js";

const priors = new Map();
let tables, entries, decoder, extra, chosen;

async function fetchBytes(path) {
  const answer = await fetch(new URL(path, import.meta.url));
  if (!answer.ok) return null;
  return new Uint8Array(await answer.arrayBuffer());
}

async function findPrior(id) {
  if (!priors.has(id)) {
    const bytes = await fetchBytes(`priors/${id}.safetensors`).catch(() => null);
    if (!bytes) return null;
    const prior = await readPrior(bytes);
    priors.set(prior.id, prior);
  }
  return priors.get(id) ?? null;
}

const work = {
  async open({ bytes }) {
    decoder = null;
    entries = await readFile(bytes);
    postMessage({ type: "entries", names: entries.map((entry) => entry.name) });
    await work.choose({ entry: 0 });
  },

  async choose({ entry }) {
    chosen = entry;
    const own = entries[entry];
    const prior = own.prior ? await findPrior(own.prior) : null;
    if (own.prior && !prior) {
      postMessage({ type: "wanted", prior: own.prior });
      return;
    }
    if (!tables) {
      const bytes = await fetchBytes("gaussian_tables.npy");
      if (!bytes) throw new FormatError("the page's tables are missing: open it with inrcodec view, or build it with make docs");
      tables = new GaussianTables(bytes);
    }
    extra = await readExtra(own.sections);
    decoder = await openEntry(own, prior, tables);
    postMessage({
      type: "opened", header: own.header, extra, codec: own.codec, prior: prior?.head.name ?? "",
      payload: own.payload.length, shape: decoder.shape, slices: decoder.slices, entry,
    });
  },

  // A file of a prior that the page was given.
  async prior({ bytes }) {
    const prior = await readPrior(bytes);
    priors.set(prior.id, prior);
    if (entries && !decoder) await work.choose({ entry: chosen });
  },

  async render({ id, slice, size, window, raw }) {
    const [top, bottom, left, right] = window;
    const values = decoder.values(slice, size, window);
    const data = raw ? values : toPixels(values, decoder.header);
    postMessage({ type: "rendered", id, data, width: right - left, height: bottom - top, size, window }, [data.buffer]);
  },
};

// One after the other: a render must not meet a file that is being opened.
let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(() => work[data.type](data)).catch((error) => {
    if (!(error instanceof FormatError)) console.error(error);
    const text = error instanceof FormatError ? error.message
      : error instanceof RangeError ? "the picture is too large for this page's memory" : `cannot be decoded here: ${error.message}`;
    postMessage({ type: "failed", text, id: data.id });
  });
};

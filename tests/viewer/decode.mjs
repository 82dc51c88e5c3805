// node viewer_decode.mjs VIEWER TABLES < jobs.json: decodes by the viewer's modules.
// A job is { file, prior, entry, slice, size, window, out }; float32 values go to `out`. Prints a list of
// { count, channels, milliseconds } or { error, kind }.
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [viewer, tables] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(resolve(viewer), name)));
const [{ readFile }, { readPrior }, { openEntry }, { GaussianTables }] = await Promise.all(
  ["container.js", "safetensors.js", "decoder.js", "latents.js"].map(load));
const bytes = (path) => new Uint8Array(readFileSync(path));
const gaussian = new GaussianTables(bytes(tables));
const found = [];
for (const { file, prior, entry, slice, size, window, out } of JSON.parse(readFileSync(0, "utf-8"))) {
  try {
    const known = prior ? await readPrior(bytes(prior)) : null;
    const began = performance.now();
    const decoder = await openEntry((await readFile(bytes(file)))[entry ?? 0], known, gaussian);
    const values = decoder.values(slice ?? 0, size ?? undefined, window ?? undefined);
    found.push({ milliseconds: performance.now() - began, channels: decoder.channels, count: values.length });
    writeFileSync(out, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  } catch (error) {
    found.push({ error: error.message, kind: error.constructor.name, stack: error.stack });
  }
}
console.log(JSON.stringify(found));

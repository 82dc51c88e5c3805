// Decode files with the viewer's modules: node decode.mjs SITE TABLES < jobs.json
//
// A job is { file, prior, entry, slice, size, window, out }; the decoded values are written to `out` as float32.
// Prints one result per job as JSON: { count, channels, milliseconds } or { error, kind, stack }.
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [site, tablesPath] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(resolve(site), name)));
const [{ readFile }, { readPrior }, { openEntry }, { GaussianTables }] = await Promise.all(
  ["container.js", "prior_file.js", "decoder.js", "gaussian.js"].map(load));
const readBytes = (path) => new Uint8Array(readFileSync(path));
const tables = new GaussianTables(readBytes(tablesPath));
const results = [];
for (const { file, prior: priorPath, entry, slice, size, window, out } of JSON.parse(readFileSync(0, "utf-8"))) {
  try {
    const prior = priorPath ? await readPrior(readBytes(priorPath)) : null;
    const start = performance.now();
    const decoder = await openEntry((await readFile(readBytes(file)))[entry ?? 0], prior, tables);
    const values = decoder.values(slice ?? 0, size ?? undefined, window ?? undefined);
    results.push({ milliseconds: performance.now() - start, channels: decoder.channels, count: values.length });
    writeFileSync(out, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  } catch (error) {
    results.push({ error: error.message, kind: error.constructor.name, stack: error.stack });
  }
}
console.log(JSON.stringify(results));

// The page: opens files, has the worker decode them, and shows images and fields on a canvas, audio as a waveform.

import { drawWaveform, toWav } from "./audio.js";
import { drawColourBar, toPixels } from "./pixels.js";
import { View } from "./view.js";

const element = (id) => document.getElementById(id);
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
// What the page shows: `opened` is the worker's message about the entry, `waveform` the samples and `audio` the WAV
// file of audio, `image` the last rendered part of an image or field, { bitmap, size, window }.
const shown = { name: "", bytes: 0, opened: null, slice: 0, waveform: null, audio: null, image: null };
const pendingRenders = new Map();
let lastRenderId = 0;
let isRendering = false;
let renderAgain = false;

const view = new View(element("stage"), element("canvas"), draw);

// Set the text of an element, and hide the element if there is none.
function setText(id, text) {
  element(id).textContent = text ?? "";
  element(id).hidden = !text;
}

function showError(text) {
  element("hint").hidden = true;
  setText("busy");
  setText("error", text);
}

// Decode a window of a slice on a grid of `size`. Returns { data, width, height, size, window }; the data are pixels,
// or values if `raw`.
function render(slice, size, window, raw = false) {
  const id = ++lastRenderId;
  worker.postMessage({ type: "render", id, slice, size, window, raw });
  return new Promise((resolve, reject) => pendingRenders.set(id, { resolve, reject }));
}

worker.onmessage = ({ data }) => {
  if (data.type === "rendered") {
    pendingRenders.get(data.id)?.resolve(data);
    pendingRenders.delete(data.id);
  } else if (data.type === "failed") {
    pendingRenders.get(data.id)?.reject(new Error(data.text));
    pendingRenders.delete(data.id);
    showError(`${data.name ?? shown.name}: ${data.text}`);
  } else if (data.type === "entries") {
    listEntries(data.names);
  } else if (data.type === "priorNeeded") {
    showError(`${shown.name} needs prior ${data.prior}, which is not here: drop its .safetensors file on this page.`);
  } else if (data.type === "opened") {
    showEntry(data);
  }
};

// Open the user's files: signals, archives and priors.
async function openFiles(files) {
  for (const file of files) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (file.name.endsWith(".safetensors")) {
      setText("error");
      worker.postMessage({ type: "prior", name: file.name, bytes }, [bytes.buffer]);
    } else {
      openBytes(file.name, bytes);
    }
  }
}

function openBytes(name, bytes) {
  Object.assign(shown, { name, bytes: bytes.length, opened: null, image: null, waveform: null, slice: 0 });
  document.documentElement.dataset.state = "opening";
  element("name").textContent = name;
  document.title = `${name} - inrcodec viewer`;
  for (const id of ["hint", "canvas", "tools", "audio", "entry-box", "slice-box", "range"]) element(id).hidden = true;
  setText("error");
  setText("facts");
  setText("position");
  setText("busy", "Decoding…");
  worker.postMessage({ type: "open", bytes }, [bytes.buffer]);
}

function listEntries(names) {
  element("entry-box").hidden = names.length < 2;
  element("entry").replaceChildren(...names.map((name, i) => new Option(name, i)));
}

// Show an entry that the worker has opened.
async function showEntry(opened) {
  Object.assign(shown, { opened, image: null, waveform: null, slice: 0 });
  const { header, slices, shape } = opened;
  element("slice-box").hidden = slices < 2;
  element("slice").max = slices - 1;
  element("slice").value = 0;
  element("slice-number").textContent = "0";
  const isSingle = element("entry").options.length < 2;
  element("facts").textContent = describeEntry(opened, isSingle ? shown.bytes : null);
  element("facts").hidden = false;
  showRange(opened);
  element("tools").hidden = element("canvas").hidden = false;
  const flat = shape[0] === 1 && header.kind !== "image";
  if (flat) {
    const { data } = await render(0, shape, [0, 1, 0, shape[1]], true);
    shown.waveform = data;
    if (header.kind === "audio") {
      shown.audio = toWav(data, header.channels, header.sample_rate);
      element("audio").src = URL.createObjectURL(shown.audio);
      element("audio").hidden = false;
    }
  }
  view.show(shape, flat);
}

// Show the colour bar with the values at its ends, in the field's units.
function showRange({ header, extra }) {
  element("range").hidden = header.kind !== "field" || header.channels > 1;
  if (element("range").hidden) return;
  const [offset, scale] = extra.affine ?? [0, 1];
  const units = extra.attributes?.units;
  const format = (value) => `${Number(value.toPrecision(4))}`;
  element("range-min").textContent = `${extra.variable ? `${extra.variable} ` : ""}${format(offset)}`;
  element("range-max").textContent = `${format(offset + scale)}${typeof units === "string" ? ` ${units}` : ""}`;
  drawColourBar(element("colour-bar"));
}

// Return a line about the entry; `fileBytes` is null for an entry of an archive, whose payload is counted.
function describeEntry({ header, codec, prior, payloadBytes }, fileBytes) {
  const bytes = fileBytes ?? payloadBytes;
  const points = header.shape.reduce((a, b) => a * b, 1);
  const size = [...header.shape].reverse().join(" x ");
  const rate = header.kind === "audio"
    ? `${((8e-3 * bytes * header.sample_rate) / points).toFixed(2)} kbit/s`
    : `${((8 * bytes) / points).toFixed(3)} bits per ${header.kind === "image" ? "pixel" : "point"}`;
  const extent = header.kind === "audio"
    ? `${(points / header.sample_rate).toFixed(2)} s at ${header.sample_rate} Hz` : size;
  const byteText = `${bytes.toLocaleString("en")} bytes${fileBytes === null ? " in the archive" : ""}`;
  return `${header.kind}, ${extent}, ${header.layout} · ${byteText}, ${rate} · codec ${codec}${prior ? `, prior ${prior}` : ""}`;
}

// Draw the current view: at once from the last rendered part, then from a new one at the view's resolution.
function draw() {
  const { opened } = shown;
  if (!opened) return;
  const digits = view.scale < 1 ? 10 : 1;
  element("zoom").textContent = `${Math.round(100 * view.scale * digits) / digits} %`;
  if (shown.waveform) {
    const playhead = element("audio").hidden ? -1 : element("audio").currentTime * opened.header.sample_rate;
    const canvas = element("canvas");
    const end = view.left + canvas.width / view.scale;
    drawWaveform(canvas, shown.waveform, opened.header.channels, view.left, end, playhead);
    ready();
    return;
  }
  paint();
  refine();
}

// Draw the last rendered part where it lies in the view.
function paint() {
  const { image } = shown;
  const context = element("canvas").getContext("2d");
  context.clearRect(0, 0, element("canvas").width, element("canvas").height);
  if (!image) return;
  const { size, window: [top, bottom, left, right] } = image;
  const [rows, columns] = shown.opened.shape;
  const across = (view.scale * columns) / size[1];
  const down = (view.scale * rows) / size[0];
  context.imageSmoothingEnabled = Math.abs(across - 1) > 1e-3 || Math.abs(down - 1) > 1e-3;
  const snap = context.imageSmoothingEnabled ? (x) => x : Math.round;
  context.drawImage(
    image.bitmap, snap(left * across - view.left * view.scale), snap(top * down - view.top * view.scale),
    snap((right - left) * across), snap((bottom - top) * down));
}

// Render the visible part on the grid of the screen. One render runs at a time; the latest view follows it.
async function refine() {
  if (isRendering) {
    renderAgain = true;
    return;
  }
  const { opened, slice } = shown;
  const window = view.window(view.size);
  if (!window) return;
  isRendering = true;
  try {
    if (!shown.image) setText("busy", "Decoding…");
    const rendered = await render(slice, view.size, window);
    const bitmap = await createImageBitmap(new ImageData(rendered.data, rendered.width, rendered.height));
    if (shown.opened === opened && shown.slice === slice) {
      shown.image?.bitmap.close();
      shown.image = { ...rendered, bitmap };
      paint();
      setText("busy");
      if (!renderAgain) ready();
    }
  } catch {
    // The worker's message `failed` has been shown.
  } finally {
    isRendering = false;
    if (renderAgain) {
      renderAgain = false;
      refine();
    }
  }
}

function ready() {
  setText("busy");
  document.documentElement.dataset.state = "ready";
}

// Return the values (rows, columns, channels) of the current slice at the signal's own size.
async function native() {
  const { opened, slice } = shown;
  const [rows, columns] = opened.shape;
  const rendered = await render(slice, opened.shape, [0, rows, 0, columns], true);
  return { values: rendered.data, rows, columns, channels: opened.header.channels };
}

// Save the audio as WAV, or the current slice at its own size as PNG.
async function save() {
  const { header } = shown.opened;
  const stem = shown.name.replace(/\.inrs?$/, "");
  const link = document.createElement("a");
  if (header.kind === "audio") {
    link.href = element("audio").src;
    link.download = `${stem}.wav`;
  } else {
    const { values, rows, columns } = await native();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    canvas.getContext("2d").putImageData(new ImageData(toPixels(values, header), columns, rows), 0, 0);
    link.href = URL.createObjectURL(await new Promise((done) => canvas.toBlob(done)));
    link.download = `${stem}.png`;
  }
  link.click();
}

element("file-input").addEventListener("change", (event) => openFiles([...event.target.files]));
element("entry").addEventListener("change", (event) => {
  setText("busy", "Decoding…");
  worker.postMessage({ type: "choose", entry: Number(event.target.value) });
});
element("slice").addEventListener("input", (event) => {
  shown.slice = Number(event.target.value);
  element("slice-number").textContent = event.target.value;
  setText("busy", "Decoding…");
  if (shown.opened) refine();
});
element("zoom-in").addEventListener("click", () => view.zoom(1.25));
element("zoom-out").addEventListener("click", () => view.zoom(0.8));
element("one-to-one").addEventListener("click", () => view.zoom(1 / view.scale));
element("fit").addEventListener("click", () => view.fit());
element("save").addEventListener("click", () => save());
element("audio").addEventListener("play", function drawPlayhead() {
  view.changed();
  if (!element("audio").paused) requestAnimationFrame(drawPlayhead);
});
element("audio").addEventListener("seeked", () => view.changed());
element("canvas").addEventListener("pointermove", (event) => {
  if (!shown.opened) return;
  const box = element("canvas").getBoundingClientRect();
  const x = view.left + ((event.clientX - box.left) * view.ratio) / view.scale;
  const y = view.top + ((event.clientY - box.top) * view.ratio) / view.scale;
  const { header } = shown.opened;
  element("position").hidden = false;
  element("position").textContent = shown.waveform && header.sample_rate
    ? `${(x / header.sample_rate).toFixed(3)} s` : `${x.toFixed(1)}, ${y.toFixed(1)}`;
});
for (const [type, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    element("stage").classList.toggle("over", isOver);
    if (type === "drop") openFiles([...event.dataTransfer.files]);
  });
}

async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`the server answered with status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

// The page's address may name a file, but only one of the same site.
const fileParameter = new URLSearchParams(location.search).get("file");
if (fileParameter) {
  const url = new URL(fileParameter, location.href);
  const name = decodeURIComponent(url.pathname.split("/").at(-1));
  if (url.origin !== location.origin) {
    showError("The address names a file on another site: download that file and drop it here.");
  } else {
    fetchFile(url)
      .then((bytes) => openBytes(name, bytes))
      .catch((error) => showError(`${name} cannot be loaded: ${error.message}`));
  }
}

// For scripts that drive the page (tests/viewer, benchmarks/viewer.py).
globalThis.inrViewer = { view, native, shown, openBytes };

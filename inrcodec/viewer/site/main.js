// The page: files in, pictures and sounds out.

import { drawWave, toWav } from "./sound.js";
import { drawBar, toPixels } from "./pixels.js";
import { View } from "./view.js";

const at = (id) => document.getElementById(id);
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const shown = { name: "", bytes: 0, opened: null, slice: 0, wave: null, sound: null, picture: null };
const waiting = new Map();
let next = 0;
let rendering = false;
let again = false;

const view = new View(at("stage"), at("canvas"), draw);

function say(id, text) {
  at(id).textContent = text ?? "";
  at(id).hidden = !text;
}

// A part of a slice on a grid of `size`: { data, width, height, size, window }; data are pixels, or values if `raw`.
function render(slice, size, window, raw = false) {
  const id = ++next;
  worker.postMessage({ type: "render", id, slice, size, window, raw });
  return new Promise((done, failed) => waiting.set(id, { done, failed }));
}

worker.onmessage = ({ data }) => {
  if (data.type === "rendered") {
    waiting.get(data.id)?.done(data);
    waiting.delete(data.id);
  } else if (data.type === "failed") {
    waiting.get(data.id)?.failed(new Error(data.text));
    waiting.delete(data.id);
    say("busy");
    say("error", `${shown.name}: ${data.text}`);
  } else if (data.type === "entries") {
    listEntries(data.names);
  } else if (data.type === "wanted") {
    say("busy");
    say("error", `${shown.name} needs the prior ${data.prior}: drop its .safetensors file here too.`);
  } else if (data.type === "opened") {
    begin(data);
  }
};

async function give(files) {
  for (const file of files) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (file.name.endsWith(".safetensors")) {
      say("error");
      worker.postMessage({ type: "prior", bytes }, [bytes.buffer]);
    } else {
      openBytes(file.name, bytes);
    }
  }
}

function openBytes(name, bytes) {
  Object.assign(shown, { name, bytes: bytes.length, opened: null, picture: null, wave: null, slice: 0 });
  document.documentElement.dataset.state = "opening";
  at("name").textContent = name;
  document.title = `${name} - inrcodec viewer`;
  for (const id of ["hint", "canvas", "tools", "sound", "entry-box", "slice-box", "range"]) at(id).hidden = true;
  say("error");
  say("facts");
  say("place");
  say("busy", "decoding");
  worker.postMessage({ type: "open", bytes }, [bytes.buffer]);
}

function listEntries(names) {
  at("entry-box").hidden = names.length < 2;
  at("entry").replaceChildren(...names.map((name, i) => new Option(name, i)));
}

async function begin(opened) {
  Object.assign(shown, { opened, picture: null, wave: null, slice: 0 });
  const { header, slices, shape } = opened;
  at("slice-box").hidden = slices < 2;
  at("slice").max = slices - 1;
  at("slice").value = 0;
  at("slice-number").textContent = "0";
  const single = at("entry").options.length < 2;
  at("facts").textContent = facts(opened, single ? shown.bytes : null);
  at("facts").hidden = false;
  showRange(opened);
  at("tools").hidden = at("canvas").hidden = false;
  const flat = shape[0] === 1 && header.kind !== "image";
  if (flat) {
    const { data } = await render(0, shape, [0, 1, 0, shape[1]], true);
    shown.wave = data;
    if (header.kind === "audio") {
      shown.sound = toWav(data, header.channels, header.sample_rate);
      at("sound").src = URL.createObjectURL(shown.sound);
      at("sound").hidden = false;
    }
  }
  view.show(shape, flat);
}

// The values that the ends of the colour map stand for.
function showRange({ header, extra }) {
  at("range").hidden = header.kind !== "field" || header.channels > 1;
  if (at("range").hidden) return;
  const [offset, scale] = extra.affine ?? [0, 1];
  const units = extra.attributes?.units;
  const text = (value) => `${Number(value.toPrecision(4))}`;
  at("least").textContent = `${extra.variable ? `${extra.variable} ` : ""}${text(offset)}`;
  at("most").textContent = `${text(offset + scale)}${typeof units === "string" ? ` ${units}` : ""}`;
  drawBar(at("bar"));
}

function facts({ header, codec, prior, payload }, fileBytes) {
  const bytes = fileBytes ?? payload;
  const points = header.shape.reduce((a, b) => a * b, 1);
  const size = [...header.shape].reverse().join(" x ");
  const rate = header.kind === "audio"
    ? `${((8e-3 * bytes * header.sample_rate) / points).toFixed(2)} kbit/s`
    : `${((8 * bytes) / points).toFixed(3)} bits per point`;
  const about = header.kind === "audio"
    ? `${(points / header.sample_rate).toFixed(2)} s at ${header.sample_rate} Hz, ${header.layout}` : `${size}, ${header.layout}`;
  const counted = fileBytes === null ? `${bytes.toLocaleString("en")} bytes of the archive` : `${bytes.toLocaleString("en")} bytes`;
  return `${header.kind}, ${about} · ${counted}, ${rate} · codec ${codec}${prior ? `, prior ${prior}` : ""}`;
}

// What the last render gave is shown at its place at once, however the view has moved; then the view is rendered anew.
function draw() {
  const { opened } = shown;
  if (!opened) return;
  at("zoom").textContent = `${Math.round(100 * view.scale * (view.scale < 1 ? 10 : 1)) / (view.scale < 1 ? 10 : 1)} %`;
  if (shown.wave) {
    const now = at("sound").hidden ? -1 : at("sound").currentTime * opened.header.sample_rate;
    drawWave(at("canvas"), shown.wave, opened.header.channels, view.left, view.left + at("canvas").width / view.scale, now);
    ready();
    return;
  }
  paint();
  refine();
}

function paint() {
  const { picture } = shown;
  const pen = at("canvas").getContext("2d");
  pen.clearRect(0, 0, at("canvas").width, at("canvas").height);
  if (!picture) return;
  const { size, window: [top, bottom, left, right] } = picture;
  const [rows, columns] = shown.opened.shape;
  const across = (view.scale * columns) / size[1];
  const down = (view.scale * rows) / size[0];
  pen.imageSmoothingEnabled = Math.abs(across - 1) > 1e-3 || Math.abs(down - 1) > 1e-3;
  const snap = pen.imageSmoothingEnabled ? (x) => x : Math.round;
  pen.drawImage(picture.bitmap, snap(left * across - view.left * view.scale), snap(top * down - view.top * view.scale),
    snap((right - left) * across), snap((bottom - top) * down));
}

async function refine() {
  if (rendering) {
    again = true;
    return;
  }
  const { opened, slice } = shown;
  const window = view.window(view.size);
  if (!window) return;
  rendering = true;
  try {
    if (!shown.picture) say("busy", "decoding");
    const found = await render(slice, view.size, window);
    const bitmap = await createImageBitmap(new ImageData(found.data, found.width, found.height));
    if (shown.opened === opened && shown.slice === slice) {
      shown.picture?.bitmap.close();
      shown.picture = { ...found, bitmap };
      paint();
      say("busy");
      if (!again) ready();
    }
  } catch {
    // Said where it came from.
  } finally {
    rendering = false;
    if (again) {
      again = false;
      refine();
    }
  }
}

function ready() {
  say("busy");
  document.documentElement.dataset.state = "ready";
}

// Values at the signal's own size, (rows, columns, channels), of the current slice.
async function native() {
  const { opened, slice } = shown;
  const [rows, columns] = opened.shape;
  const found = await render(slice, opened.shape, [0, rows, 0, columns], true);
  return { values: found.data, rows, columns, channels: opened.header.channels };
}

async function save() {
  const { header } = shown.opened;
  const stem = shown.name.replace(/\.inrs?$/, "");
  const link = document.createElement("a");
  if (header.kind === "audio") {
    link.href = at("sound").src;
    link.download = `${stem}.wav`;
  } else {
    const { values, rows, columns } = await native();
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [columns, rows];
    sheet.getContext("2d").putImageData(new ImageData(toPixels(values, header), columns, rows), 0, 0);
    link.href = URL.createObjectURL(await new Promise((done) => sheet.toBlob(done)));
    link.download = `${stem}.png`;
  }
  link.click();
}

at("pick").addEventListener("change", (event) => give([...event.target.files]));
at("entry").addEventListener("change", (event) => {
  say("busy", "decoding");
  worker.postMessage({ type: "choose", entry: Number(event.target.value) });
});
at("slice").addEventListener("input", (event) => {
  shown.slice = Number(event.target.value);
  at("slice-number").textContent = event.target.value;
  say("busy", "decoding");
  if (shown.opened) refine();
});
at("larger").addEventListener("click", () => view.zoom(1.25));
at("smaller").addEventListener("click", () => view.zoom(0.8));
at("native").addEventListener("click", () => view.zoom(1 / view.scale));
at("fit").addEventListener("click", () => view.fit());
at("save").addEventListener("click", () => save());
at("sound").addEventListener("play", function follow() {
  view.changed();
  if (!at("sound").paused) requestAnimationFrame(follow);
});
at("sound").addEventListener("seeked", () => view.changed());
at("canvas").addEventListener("pointermove", (event) => {
  if (!shown.opened) return;
  const box = at("canvas").getBoundingClientRect();
  const x = view.left + ((event.clientX - box.left) * view.ratio) / view.scale;
  const y = view.top + ((event.clientY - box.top) * view.ratio) / view.scale;
  const { header } = shown.opened;
  at("place").hidden = false;
  at("place").textContent = shown.wave && header.sample_rate ? `${(x / header.sample_rate).toFixed(3)} s` : `${x.toFixed(1)}, ${y.toFixed(1)}`;
});
for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("stage").classList.toggle("over", over);
    if (kind === "drop") give([...event.dataTransfer.files]);
  });
}

// Of this site alone, never of another one.
const wanted = new URLSearchParams(location.search).get("file");
if (wanted) {
  const url = new URL(wanted, location.href);
  const name = decodeURIComponent(url.pathname.split("/").at(-1));
  if (url.origin !== location.origin) say("error", "only files of this site can be opened by its address");
  else {
    fetch(url)
      .then((answer) => (answer.ok ? answer.arrayBuffer() : Promise.reject(new Error(answer.statusText))))
      .then((buffer) => openBytes(name, new Uint8Array(buffer)))
      .catch((error) => say("error", `${name}: ${error.message}`));
  }
}

// For scripts that drive the page.
globalThis.inrViewer = { view, native, shown, openBytes };

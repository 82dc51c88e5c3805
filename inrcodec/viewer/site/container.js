// The files .inr and .inrs (format.md): one signal, or many behind one header.

import { ByteReader, crc32, FormatError, inflate, toHex } from "./bytes.js";

const KINDS = ["image", "audio", "field"];
const LAYOUTS = { image: ["gray", "gray+alpha", "rgb", "rgba"], audio: ["mono", "stereo", "multi"], field: ["field"] };
const SAMPLE_TYPES = {
  image: ["u8", "u16", "u1"],
  audio: ["pcm_16", "pcm_24", "pcm_32", "pcm_u8", "pcm_s8", "float32", "float64"],
  field: ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
};
const CHANNELS = { gray: 1, "gray+alpha": 2, rgb: 3, rgba: 4, mono: 1, stereo: 2 };
const RATES = [0, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000];
export const CODECS = { 1: "combiner", 2: "hierarchical", 3: "coin++", 4: "coin", 5: "bitswap", 6: "bbans" };
export const SECTIONS = { extra: 1, alpha: 2, parameters: 3, chain: 4 };

const MAX_POINTS = 1 << 26;
const MAX_CHANNELS = 64;
const MAX_METADATA = 1 << 22;
const MAX_ENTRIES = 1 << 20;

// Entries of a file: [{ name, codec, prior (hex or ""), header, sections (Map tag -> bytes), payload }].
export async function readFile(data) {
  const kind = { 0x52: "inr", 0x53: "inrs" }[data[3]];
  if (data[0] !== 0x8e || data[1] !== 0x49 || data[2] !== 0x4e || !kind) {
    throw new FormatError("this is not an .inr or .inrs file");
  }
  if (data.length < 10) throw new FormatError("damaged file: it is cut short");
  const stored = new DataView(data.buffer, data.byteOffset).getUint32(data.length - 4, true);
  if ((data[4] & 15) !== 1) throw new FormatError(`version ${data[4] & 15} of the format is not known here`);
  if (stored !== crc32(data.subarray(0, -4))) throw new FormatError("damaged file: its checksum does not fit");
  if (data[4] & 0xc0) throw new FormatError("damaged file: reserved bits are set");
  const reader = new ByteReader(data, data.length - 4);
  reader.take(5, "magic");
  const codec = reader.byte("codec");
  const shared = {
    codec: CODECS[codec] ?? `number ${codec}`,
    prior: data[4] & 32 ? toHex(reader.take(8, "prior")) : "",
  };
  const withSections = Boolean(data[4] & 16);
  if (kind === "inr") {
    const header = readHeader(reader);
    const sections = withSections ? readSections(reader, 1) : new Map();
    return [{ ...shared, name: "", place: 0, header, sections, payload: reader.rest() }];
  }
  return readEntries(reader, shared, withSections);
}

async function readEntries(reader, shared, withSections) {
  const count = reader.varint("number of entries");
  const n_records = reader.varint("number of records");
  if (!(count >= 1 && count <= MAX_ENTRIES && n_records >= 1 && n_records <= count && count <= reader.left)) {
    throw new FormatError("damaged file: its number of entries cannot be");
  }
  const records = [];
  for (let i = 0; i < n_records; i++) {
    records.push({ header: readHeader(reader), sections: withSections ? readSections(reader, 0) : new Map() });
  }
  const runs = [];
  if (n_records > 1 && n_records < count) {
    for (let covered = 0; covered < count; ) {
      const record = reader.varint("record");
      const length = reader.varint("run of a record");
      if (record >= n_records || length < 1 || covered + length > count) {
        throw new FormatError("damaged file: the runs of its records cannot be");
      }
      for (let i = 0; i < length; i++) runs.push(record);
      covered += length;
    }
  }
  const names = await readNames(reader, count);
  const lengths = Array.from({ length: count }, () => reader.varint("length of an entry"));
  const entries = lengths.map((length, i) => ({
    ...shared,
    ...records[n_records === 1 ? 0 : n_records === count ? i : runs[i]],
    name: names[i],
    place: i,
    payload: reader.take(length, `entry ${names[i]}`),
  }));
  reader.finish("the file");
  return entries;
}

async function readNames(reader, count) {
  const way = reader.byte("names");
  const text = (bytes) => {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw new FormatError("damaged file: a name is not text");
    }
  };
  const run = () => reader.take(reader.varint("length of names"), "names");
  let names;
  if (way === 2) {
    const prefix = text(run());
    const first = reader.varint("first number");
    const width = reader.byte("width of numbers");
    const suffix = text(run());
    names = Array.from({ length: count }, (_, i) => prefix + String(first + i).padStart(width, "0") + suffix);
  } else if (way === 0 || way === 1) {
    const joined = run();
    names = text(way ? await inflate(joined, MAX_ENTRIES * 64) : joined).split("\n");
  }
  if (names?.length !== count) throw new FormatError("damaged file: its names do not fit its entries");
  return names;
}

function readHeader(reader) {
  const pick = (table, position) => {
    if (position >= table.length) throw new FormatError("damaged file: its signal is of no known kind");
    return table[position];
  };
  const code = reader.byte("signal format");
  const kind = pick(KINDS, code & 3);
  const layout = pick(LAYOUTS[kind], (code >> 2) & 3);
  const sample_type = pick(SAMPLE_TYPES[kind], code >> 4);
  let axes = kind === "image" ? 2 : 1;
  let closed = 0;
  if (kind === "field") {
    const byte = reader.byte("axes");
    axes = (byte & 3) + 1;
    closed = byte >> 2;
  }
  const shape = Array.from({ length: axes }, () => reader.varint("points of an axis"));
  let sample_rate = 0;
  if (kind === "audio") {
    const place = reader.byte("rate code");
    sample_rate = pick(RATES, place) || reader.varint("sample rate");
  }
  const channels = CHANNELS[layout] ?? reader.varint("channels");
  const points = shape.reduce((a, b) => a * b, 1);
  if (!(points >= 1 && points <= MAX_POINTS && channels >= 1 && channels <= MAX_CHANNELS)) {
    throw new FormatError(`a signal of ${shape.join(" x ")} points and ${channels} channels is more than this page shows`);
  }
  const periodic = shape.map((_, i) => Boolean((closed >> i) & 1));
  return { kind, layout, sample_type, shape, channels, sample_rate, periodic };
}

function readSections(reader, least) {
  const count = reader.varint("number of sections");
  if (count < least || count > 127) throw new FormatError("damaged file: its number of sections cannot be");
  const sections = new Map();
  let last = -1;
  for (let i = 0; i < count; i++) {
    const head = reader.byte("section");
    const tag = head & 127;
    if (tag <= last) throw new FormatError("damaged file: its sections are out of order");
    last = tag;
    const data = reader.take(reader.varint("length of a section"), `section ${tag}`);
    if (head & 128 && !Object.values(SECTIONS).includes(tag)) {
      throw new FormatError(`the file has a section (${tag}) that this page does not know and may not pass over`);
    }
    sections.set(tag, data);
  }
  return sections;
}

// What the header does not say: names, units, coordinates, range of a field (SignalMeta.extra_to_bytes).
export async function readExtra(sections) {
  const data = sections.get(SECTIONS.extra);
  if (!data) return {};
  if (data[0] !== 1) throw new FormatError(`extra metadata of version ${data[0]} is not known here`);
  const text = new TextDecoder().decode(await inflate(data.subarray(1), MAX_METADATA));
  try {
    // Python writes NaN and Infinity, which attributes may hold.
    return JSON.parse(text.replace(/(?<=[:[,]\s*)(NaN|-?Infinity)(?=\s*[,\]}])/g, "null"));
  } catch {
    throw new FormatError("damaged file: its metadata cannot be read");
  }
}

// The container formats .inr (one signal) and .inrs (an archive of many signals behind one header), as described in
// docs/format.md and implemented in inrcodec/container.

import { ByteReader, crc32, FormatError, inflate, toHex } from "./bytes.js";

const VERSION = 1;
const KINDS = ["image", "audio", "field"];
const LAYOUTS = { image: ["gray", "gray+alpha", "rgb", "rgba"], audio: ["mono", "stereo", "multi"], field: ["field"] };
const SAMPLE_TYPES = {
  image: ["u8", "u16", "u1"],
  audio: ["pcm_16", "pcm_24", "pcm_32", "pcm_u8", "pcm_s8", "float32", "float64"],
  field: ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
};
const CHANNELS = { gray: 1, "gray+alpha": 2, rgb: 3, rgba: 4, mono: 1, stereo: 2 };
const SAMPLE_RATES = [
  0, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000,
];
export const CODECS = {
  1: "combiner", 2: "hierarchical", 3: "coin++", 4: "coin", 5: "bitswap", 6: "bbans", 7: "grids",
};
export const SECTIONS = { extra: 1, alpha: 2, parameters: 3, chain: 4 };

const MAX_POINTS = 1 << 26;
const MAX_CHANNELS = 64;
const MAX_METADATA_BYTES = 1 << 22;
const MAX_ENTRIES = 1 << 20;
const MAX_NAME_BYTES = 64;

// Return the entries of a file: [{ name, codec, prior, header, sections, payload }]. `prior` is the prior's id in hex,
// or "" for a codec without one; `sections` maps tags to bytes.
export async function readFile(data) {
  const kind = { 0x52: "inr", 0x53: "inrs" }[data[3]];
  if (data[0] !== 0x8e || data[1] !== 0x49 || data[2] !== 0x4e || !kind) {
    throw new FormatError("not an .inr or .inrs file");
  }
  if (data.length < 10) throw new FormatError("truncated file");
  const storedCrc = new DataView(data.buffer, data.byteOffset).getUint32(data.length - 4, true);
  const version = data[4] & 15;
  if (version !== VERSION) {
    throw new FormatError(`unsupported format version ${version}, expected ${VERSION}: use a newer inrcodec`);
  }
  if (storedCrc !== crc32(data.subarray(0, -4))) {
    throw new FormatError("truncated or corrupt file: its checksum does not match");
  }
  if (data[4] & 0xc0) throw new FormatError("corrupt file: reserved bits are set");
  const reader = new ByteReader(data, data.length - 4);
  reader.take(5, "the magic bytes");
  const codec = reader.byte("the codec id");
  const shared = {
    codec: CODECS[codec] ?? `with id ${codec}`,
    prior: data[4] & 32 ? toHex(reader.take(8, "the prior id")) : "",
  };
  const hasSections = Boolean(data[4] & 16);
  if (kind === "inr") {
    const header = readHeader(reader);
    const sections = hasSections ? readSections(reader, 1) : new Map();
    return [{ ...shared, name: "", header, sections, payload: reader.rest() }];
  }
  return readEntries(reader, shared, hasSections);
}

// Read an archive: entries share records, which hold a header and sections.
async function readEntries(reader, shared, hasSections) {
  const count = reader.varint("the number of entries");
  const recordCount = reader.varint("the number of records");
  if (!(count >= 1 && count <= MAX_ENTRIES && recordCount >= 1 && recordCount <= count && count <= reader.left)) {
    throw new FormatError("corrupt file: the number of entries or records is out of range");
  }
  const records = [];
  for (let i = 0; i < recordCount; i++) {
    records.push({ header: readHeader(reader), sections: hasSections ? readSections(reader, 0) : new Map() });
  }
  const recordOf = readRecordRuns(reader, count, recordCount);
  const names = await readNames(reader, count);
  const lengths = Array.from({ length: count }, () => reader.varint("the length of an entry"));
  const entries = lengths.map((length, i) => ({
    ...shared,
    ...records[recordOf(i)],
    name: names[i],
    payload: reader.take(length, `entry ${names[i]}`),
  }));
  reader.finish("the last entry");
  return entries;
}

// Return a function from an entry's number to the number of its record. Only an archive that has more than one record
// but fewer than entries stores them, as runs.
function readRecordRuns(reader, count, recordCount) {
  if (recordCount === 1) return () => 0;
  if (recordCount === count) return (i) => i;
  const numbers = [];
  while (numbers.length < count) {
    const record = reader.varint("a record number");
    const length = reader.varint("the run length of a record");
    if (record >= recordCount || length < 1 || numbers.length + length > count) {
      throw new FormatError("corrupt file: the runs of records are out of range");
    }
    for (let i = 0; i < length; i++) numbers.push(record);
  }
  return (i) => numbers[i];
}

// Read the names of an archive's entries: a list, plain or deflated, or a numbered series
// (inrcodec/container/names.py).
async function readNames(reader, count) {
  const form = reader.byte("the form of the names");
  const decode = (bytes) => {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw new FormatError("corrupt file: an entry's name is not UTF-8");
    }
  };
  const readBlock = () => reader.take(reader.varint("the length of the names"), "the names");
  let names;
  if (form === 2) {
    const prefix = decode(readBlock());
    const first = reader.varint("the first number of the names");
    const width = reader.byte("the width of the names' numbers");
    const suffix = decode(readBlock());
    names = Array.from({ length: count }, (_, i) => prefix + String(first + i).padStart(width, "0") + suffix);
  } else if (form === 0 || form === 1) {
    const block = readBlock();
    names = decode(form ? await inflate(block, MAX_ENTRIES * MAX_NAME_BYTES) : block).split("\n");
  }
  if (names?.length !== count) throw new FormatError("corrupt file: the number of names differs from that of entries");
  return names;
}

// Read what a decoder must know of a signal (inrcodec/container/signal_header.py).
function readHeader(reader) {
  const lookUp = (table, position) => {
    if (position >= table.length) throw new FormatError("corrupt file: unknown type of signal");
    return table[position];
  };
  const code = reader.byte("the signal's format");
  const kind = lookUp(KINDS, code & 3);
  const layout = lookUp(LAYOUTS[kind], (code >> 2) & 3);
  const sample_type = lookUp(SAMPLE_TYPES[kind], code >> 4);
  let axes = kind === "image" ? 2 : 1;
  let periodicBits = 0;
  if (kind === "field") {
    const byte = reader.byte("the axes");
    axes = (byte & 3) + 1;
    periodicBits = byte >> 2;
  }
  const shape = Array.from({ length: axes }, () => reader.varint("the points of an axis"));
  let sample_rate = 0;
  if (kind === "audio") {
    const rateCode = reader.byte("the rate code");
    sample_rate = lookUp(SAMPLE_RATES, rateCode) || reader.varint("the sample rate");
  }
  const channels = CHANNELS[layout] ?? reader.varint("the number of channels");
  const points = shape.reduce((a, b) => a * b, 1);
  if (!(points >= 1 && channels >= 1)) throw new FormatError("corrupt file: the signal is empty");
  if (points > MAX_POINTS) {
    const size = shape.join(" x ");
    throw new FormatError(`${size} points exceed this page's limit of ${MAX_POINTS}: use inrcodec decompress`);
  }
  if (channels > MAX_CHANNELS) {
    throw new FormatError(`${channels} channels exceed this page's limit of ${MAX_CHANNELS}: use inrcodec decompress`);
  }
  const periodic = shape.map((_, i) => Boolean((periodicBits >> i) & 1));
  return { kind, layout, sample_type, shape, channels, sample_rate, periodic };
}

// Read the tagged sections, a Map of tags to bytes. Unknown critical sections are an error, other unknown ones are
// kept.
function readSections(reader, minCount) {
  const count = reader.varint("the number of sections");
  if (count < minCount || count > 127) throw new FormatError("corrupt file: the number of sections is out of range");
  const sections = new Map();
  let lastTag = -1;
  for (let i = 0; i < count; i++) {
    const byte = reader.byte("a section's tag");
    const tag = byte & 127;
    if (tag <= lastTag) throw new FormatError("corrupt file: its sections are out of order");
    lastTag = tag;
    const data = reader.take(reader.varint("the length of a section"), `section ${tag}`);
    if (byte & 128 && !Object.values(SECTIONS).includes(tag)) {
      throw new FormatError(`unsupported critical section ${tag}: use a newer inrcodec`);
    }
    sections.set(tag, data);
  }
  return sections;
}

// Return the metadata that the header does not hold: a field's names, units, coordinates and range, as written by
// SignalMeta.extra_to_bytes (inrcodec/signals/metadata.py).
export async function readExtra(sections) {
  const data = sections.get(SECTIONS.extra);
  if (!data) return {};
  if (data[0] !== 1) throw new FormatError(`unsupported version ${data[0]} of the metadata, expected 1`);
  const text = new TextDecoder().decode(await inflate(data.subarray(1), MAX_METADATA_BYTES));
  try {
    // Attributes may hold NaN and Infinity, which Python writes but JSON does not allow.
    return JSON.parse(text.replace(/(?<=[:[,]\s*)(NaN|-?Infinity)(?=\s*[,\]}])/g, "null"));
  } catch {
    throw new FormatError("corrupt file: the metadata is not valid JSON");
  }
}

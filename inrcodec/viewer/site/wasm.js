// A minimal WebAssembly assembler, with which kernels.js writes its inner loops, so that the page needs no build step.
//
// Code is nested arrays of bytes. The opcodes, of which only the ones in use are here, are those of the WebAssembly
// core specification, section 5.4.

const TYPES = { i32: 0x7f, f32: 0x7d, v128: 0x7b };

// Return an integer in LEB128.
function unsigned(value) {
  const out = [];
  do {
    const low = value % 128;
    value = Math.floor(value / 128);
    out.push(value ? low | 0x80 : low);
  } while (value);
  return out;
}

// Return an integer in signed LEB128.
function signed(value) {
  const out = [];
  for (;;) {
    const low = value & 0x7f;
    value >>= 7;
    if ((value === 0 && !(low & 0x40)) || (value === -1 && low & 0x40)) return [...out, low];
    out.push(low | 0x80);
  }
}

const vector = (opcode) => (...operands) => [...operands, 0xfd, ...unsigned(opcode)];
const scalar = (opcode) => (...operands) => [...operands, opcode];
const float32 = (value) => [...new Uint8Array(new Float32Array([value]).buffer)];

// Instructions: functions of their operands' code, as in op.add(a, b). The prefixes are v (128-bit vectors), i (four
// 32-bit integers) and f (four 32-bit floats).
export const op = {
  get: (local) => [0x20, ...unsigned(local)],
  set: (local, value) => [value, 0x21, ...unsigned(local)],
  constant: (value) => [0x41, ...signed(value)],
  real: (value) => [0x43, ...float32(value)],
  add: scalar(0x6a),
  mul: scalar(0x6c),
  less: scalar(0x48),
  load: (address, offset = 0) => [address, 0x28, 2, ...unsigned(offset)],
  v_load: (address, offset = 0) => [address, 0xfd, 0, 0, ...unsigned(offset)],
  v_load_splat: (address, offset = 0) => [address, 0xfd, 9, 0, ...unsigned(offset)],
  v_store: (address, value, offset = 0) => [address, value, 0xfd, 11, 0, ...unsigned(offset)],
  v_and: vector(0x4e),
  v_xor: vector(0x51),
  i_splat: vector(0x11),
  i_shl: vector(0xab),
  i_shr: vector(0xac),
  i_add: vector(0xae),
  i_min: vector(0xb6),
  i_max: vector(0xb8),
  i_dot: vector(0xba),
  i_narrow: vector(0x85),
  i_from_f: vector(0xf8),
  f_splat: vector(0x13),
  f_nearest: vector(0x6a),
  f_add: vector(0xe4),
  f_sub: vector(0xe5),
  f_mul: vector(0xe6),
  // Run `body` once, and again while `condition` holds.
  repeat: (body, condition) => [0x03, 0x40, body, condition, 0x0d, 0, 0x0b],
};

// Assembles a module of functions.
export class Assembler {
  constructor() {
    this.functions = [];
  }

  // Add a function. `parameters` are the names of its i32 parameters; "t:f32" is one of another type. `write(local,
  // locals)` returns the body: `local` maps names to numbers for op.get and op.set, locals.i32("x") and
  // locals.v128("a", "b") declare more variables.
  add(name, parameters, write) {
    const typed = parameters.map((p) => p.split(":"));
    const local = {};
    const declared = [];
    typed.forEach(([key], i) => (local[key] = i));
    const declare = (type) => (...names) => {
      for (const key of names) {
        local[key] = typed.length + declared.length;
        declared.push(type);
      }
    };
    const body = write(local, { i32: declare("i32"), v128: declare("v128") }).flat(Infinity);
    const locals = [...unsigned(declared.length), ...declared.flatMap((type) => [1, TYPES[type]])];
    const types = typed.map(([, type]) => TYPES[type ?? "i32"]);
    this.functions.push({ name, types, code: [...locals, ...body, 0x0b] });
  }

  // Return the module's bytes; it imports its memory as env.memory.
  toBytes() {
    const section = (id, content) => [id, ...unsigned(content.length), ...content];
    const list = (items) => [...unsigned(items.length), ...items.flat(Infinity)];
    const text = (value) => list([...new TextEncoder().encode(value)]);
    const { functions } = this;
    return new Uint8Array([
      0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
      ...section(1, list(functions.map((f) => [0x60, ...list(f.types), 0]))),
      ...section(2, list([[...text("env"), ...text("memory"), 2, 0, 1]])),
      ...section(3, list(functions.map((_, i) => unsigned(i)))),
      ...section(7, list(functions.map((f, i) => [...text(f.name), 0, ...unsigned(i)]))),
      ...section(10, list(functions.map((f) => [...unsigned(f.code.length), ...f.code]))),
    ]);
  }
}

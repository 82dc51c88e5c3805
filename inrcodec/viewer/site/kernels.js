// The inner loops of the networks, in WebAssembly with SIMD: four or eight numbers at a time.
//
// Tensors are channels last: a pixel has `stride` numbers, a multiple of eight; those beyond its channels are 0.
//
// Exact integers. A product takes an activation a (magnitude up to 2^23) as two 16-bit numbers, a = 2^12 high + low
// with low in 0 .. 4095, and a weight as one. Pairs of products are summed in 32 bits, which cannot overflow while
// the magnitudes of a row of weights sum to less than 2^19 (ExactConv in convolution.js checks this). With the bias
// split the same way, floor((sum + bias) / 2^12) = high sum + high bias + ((low sum + low bias) >> 12), which are the
// integers of inrcodec/nn/exact.py.

import { Assembler, op } from "./wasm.js";

const ACTIVATION_LIMIT = 1 << 23;
const PAGE_BYTES = 1 << 16;
export const LANES = 8;
// The sum of the magnitudes of a row of integer weights is below this.
export const MAX_ROW = 1 << 19;

// Return the stride of a pixel with so many channels.
export const padded = (channels) => Math.ceil(channels / LANES) * LANES;

// Compile the kernels. Below, get(l.x) is the value of a local variable, `step(local, by)` adds a constant to it.
function assemble() {
  const wasm = new Assembler();
  const { get, set, add, mul, constant, less } = op;
  const step = (local, by) => set(local, add(get(local), by));

  // Split 32-bit integers, clamped to lowest .. 2^23, into halves: per pixel all low ones, then all high ones, 16
  // bits each.
  wasm.add("pack", ["from", "to", "pixels", "stride", "lowest"], (l, locals) => {
    locals.i32("left");
    locals.v128("a", "b", "floor", "top", "mask");
    const half = (v) => op.i_max(op.i_min(v, get(l.top)), get(l.floor));
    return [
      set(l.floor, op.i_splat(get(l.lowest))),
      set(l.top, op.i_splat(constant(ACTIVATION_LIMIT))),
      set(l.mask, op.i_splat(constant(4095))),
      op.repeat([
        set(l.left, get(l.stride)),
        op.repeat([
          set(l.a, half(op.v_load(get(l.from)))),
          set(l.b, half(op.v_load(get(l.from), 16))),
          op.v_store(get(l.to), op.i_narrow(op.v_and(get(l.a), get(l.mask)), op.v_and(get(l.b), get(l.mask)))),
          op.v_store(
            add(get(l.to), mul(get(l.stride), constant(2))),
            op.i_narrow(op.i_shr(get(l.a), constant(12)), op.i_shr(get(l.b), constant(12))),
          ),
          step(l.from, constant(32)),
          step(l.to, constant(16)),
          step(l.left, constant(-8)),
        ], less(constant(0), get(l.left))),
        step(l.to, mul(get(l.stride), constant(2))),
        step(l.pixels, constant(-1)),
      ], less(constant(0), get(l.pixels))),
    ];
  });

  // Add a kernel that computes a row of pixels of a convolution, `wide` pixels at a time; it may write up to wide - 1
  // pixels too many. `taps` points to the byte offsets of the convolution's pixels. A block of eight outputs has 32
  // bytes of weights for every tap and every four bytes of a pixel's input, then `biasBytes` bytes of biases.
  // `each(l, i)` adds the products with the weights w0 and w1 for pixel i at address p; `out(l, i, k)` is half k of
  // the outputs of pixel i.
  function addProduct(name, { wide, sums, each, out, biasBytes, prepare = () => [] }) {
    const pixels = [...Array(wide).keys()];
    const names = pixels.flatMap((i) => sums.map((sum) => `${sum}_${i}`));
    wasm.add(name, ["from", "step", "inputs", "taps", "n_taps", "weights", "to", "to_step", "blocks", "pixels"],
      (l, locals) => {
        locals.i32("w", "left", "tap", "p", "at", "in", "out", "end", "last_tap", "bytes");
        locals.v128("w0", "w1", "x", "top", ...names);
        return [
          prepare(l),
          set(l.bytes, mul(get(l.inputs), constant(4))),
          set(l.last_tap, add(get(l.taps), mul(get(l.n_taps), constant(4)))),
          op.repeat([
            set(l.left, get(l.pixels)),
            set(l.in, get(l.from)),
            set(l.out, get(l.to)),
            op.repeat([
              set(l.w, get(l.weights)),
              names.map((sum) => set(l[sum], op.i_splat(constant(0)))),
              set(l.tap, get(l.taps)),
              op.repeat([
                set(l.at, add(get(l.in), op.load(get(l.tap)))),
                set(l.end, add(get(l.at), get(l.bytes))),
                op.repeat([
                  set(l.w0, op.v_load(get(l.w))),
                  set(l.w1, op.v_load(get(l.w), 16)),
                  set(l.p, get(l.at)),
                  pixels.map((i) => [each(l, i), i + 1 < wide ? step(l.p, get(l.step)) : []]),
                  step(l.w, constant(32)),
                  step(l.at, constant(4)),
                ], less(get(l.at), get(l.end))),
                step(l.tap, constant(4)),
              ], less(get(l.tap), get(l.last_tap))),
              set(l.p, get(l.out)),
              pixels.map((i) => [
                [0, 1].map((k) => op.v_store(get(l.p), out(l, i, k), 16 * k)),
                i + 1 < wide ? step(l.p, get(l.to_step)) : [],
              ]),
              step(l.in, mul(get(l.step), constant(wide))),
              step(l.out, mul(get(l.to_step), constant(wide))),
              step(l.left, constant(-wide)),
            ], less(constant(0), get(l.left))),
            set(l.weights, add(get(l.w), constant(biasBytes))),
            step(l.to, constant(32)),
            step(l.blocks, constant(-1)),
          ], less(constant(0), get(l.blocks))),
        ];
      });
  }

  // In exact integers. `inputs` counts pairs of channels; a pixel's high halves follow its low ones. Biases: 8 high,
  // 8 low.
  const accumulate = (l, sum, w) => set(l[sum], op.i_add(get(l[sum]), op.i_dot(get(l.x), get(l[w]))));
  addProduct("convolve", {
    wide: 3,
    sums: ["l0", "l1", "h0", "h1"],
    biasBytes: 64,
    prepare: (l) => set(l.top, op.i_splat(constant(ACTIVATION_LIMIT))),
    each: (l, i) => [
      set(l.x, op.v_load_splat(get(l.p))),
      accumulate(l, `l0_${i}`, "w0"),
      accumulate(l, `l1_${i}`, "w1"),
      set(l.x, op.v_load_splat(add(get(l.p), get(l.bytes)))),
      accumulate(l, `h0_${i}`, "w0"),
      accumulate(l, `h1_${i}`, "w1"),
    ],
    out: (l, i, k) => op.i_max(op.i_min(op.i_add(
      op.i_add(get(l[`h${k}_${i}`]), op.v_load(get(l.w), 16 * k)),
      op.i_shr(op.i_add(get(l[`l${k}_${i}`]), op.v_load(get(l.w), 32 + 16 * k)), constant(12)),
    ), get(l.top)), op.i_splat(constant(-ACTIVATION_LIMIT))),
  });

  // In float32, with 8 biases.
  addProduct("multiply", {
    wide: 4,
    sums: ["a0", "a1"],
    biasBytes: 32,
    each: (l, i) => [
      set(l.x, op.v_load_splat(get(l.p))),
      [0, 1].map((k) =>
        set(l[`a${k}_${i}`], op.f_add(get(l[`a${k}_${i}`]), op.f_mul(get(l.x), get(l[`w${k}`]))))),
    ],
    out: (l, i, k) => op.f_add(get(l[`a${k}_${i}`]), op.v_load(get(l.w), 16 * k)),
  });

  // x <- sin(x), within 4e-7: subtract the nearest multiple k of pi, whose parity gives the sign, then evaluate an odd
  // polynomial (Taylor's, with the last coefficients adjusted to [-pi/2, pi/2]).
  wasm.add("sine", ["at", "count"], (l, locals) => {
    locals.v128("x", "k", "y", "s");
    const real = (value) => op.f_splat(op.real(value));
    const horner = [2.6000548e-6, -1.9806614e-4, 8.3330173e-3, -1.6666656e-1];
    return [
      op.repeat([
        set(l.x, op.v_load(get(l.at))),
        set(l.k, op.f_nearest(op.f_mul(get(l.x), real(1 / Math.PI)))),
        set(l.x, op.f_sub(get(l.x), op.f_mul(get(l.k), real(3.140625)))),
        set(l.x, op.f_sub(get(l.x), op.f_mul(get(l.k), real(Math.PI - 3.140625)))),
        set(l.s, op.i_shl(op.i_from_f(get(l.k)), constant(31))),
        set(l.y, op.f_mul(get(l.x), get(l.x))),
        set(l.k, real(horner[0])),
        horner.slice(1).map((c) => set(l.k, op.f_add(op.f_mul(get(l.k), get(l.y)), real(c)))),
        op.v_store(get(l.at), op.v_xor(
          op.f_add(get(l.x), op.f_mul(op.f_mul(get(l.x), get(l.y)), get(l.k))), get(l.s))),
        step(l.at, constant(16)),
        step(l.count, constant(-4)),
      ], less(constant(0), get(l.count))),
    ];
  });

  // to <- to + from, in integers; count is a multiple of four.
  wasm.add("increase", ["to", "from", "count"], (l) => [
    op.repeat([
      op.v_store(get(l.to), op.i_add(op.v_load(get(l.to)), op.v_load(get(l.from)))),
      step(l.to, constant(16)),
      step(l.from, constant(16)),
      step(l.count, constant(-4)),
    ], less(constant(0), get(l.count))),
  ]);

  // to <- a + t (b - a), in float32; count is a multiple of four.
  wasm.add("mix", ["a", "b", "to", "count", "t:f32"], (l, locals) => {
    locals.v128("x", "share");
    return [
      set(l.share, op.f_splat(get(l.t))),
      op.repeat([
        set(l.x, op.v_load(get(l.a))),
        op.v_store(get(l.to),
          op.f_add(get(l.x), op.f_mul(get(l.share), op.f_sub(op.v_load(get(l.b)), get(l.x))))),
        step(l.a, constant(16)),
        step(l.b, constant(16)),
        step(l.to, constant(16)),
        step(l.count, constant(-4)),
      ], less(constant(0), get(l.count))),
    ];
  });
  return new WebAssembly.Module(wasm.toBytes());
}

// The kernels and their memory, which is allocated as a stack.
export class Machine {
  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 16 });
    this.kernels = new WebAssembly.Instance(assemble(), { env: { memory: this.memory } }).exports;
    this.top = 64;
  }

  // Return the aligned address of new memory: zeros, or, if it will be `written`, anything.
  allocate(bytes, written = false) {
    const at = this.top;
    this.top += (bytes + 63 + 64) & ~63;
    const missing = this.top - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE_BYTES) + 64);
    if (!written) new Uint8Array(this.memory.buffer, at, this.top - at).fill(0);
    return at;
  }

  // Call `work` and free what it allocates.
  scope(work) {
    const before = this.top;
    try {
      return work();
    } finally {
      this.top = before;
    }
  }

  // Views of memory. Allocating may grow the memory, which detaches all views.
  ints(at, count) {
    return new Int32Array(this.memory.buffer, at, count);
  }

  floats(at, count) {
    return new Float32Array(this.memory.buffer, at, count);
  }

  shorts(at, count) {
    return new Int16Array(this.memory.buffer, at, count);
  }
}

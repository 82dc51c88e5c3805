// Shared randomness, a function of its key alone: Philox-4x64-10 words by counter, and the candidates, signs and
// permutations made of them (inrcodec/coding/randomness.py).
//
// A 64-bit word is two 32-bit halves, high and low.

const DOMAINS = { candidates: 1, signs: 2, permutations: 3 };
const ROUNDS = 10;
const TWO_32 = 2 ** 32;
const RADIX_SORT_FROM = 1 << 12;

// Write the 128-bit product of two words to `out` as four halves, highest first: by digits of 16 bits, in columns whose
// sums are exact in a double.
function multiply(high, low, otherHigh, otherLow, out) {
  const [a0, a1, a2, a3] = [low & 0xffff, low >>> 16, high & 0xffff, high >>> 16];
  const [b0, b1, b2, b3] = [otherLow & 0xffff, otherLow >>> 16, otherHigh & 0xffff, otherHigh >>> 16];
  let sum = a0 * b0 + (a1 * b0 + a0 * b1) * 65536;
  out[3] = sum % TWO_32;
  sum = Math.floor(sum / TWO_32) + a2 * b0 + a1 * b1 + a0 * b2 + (a3 * b0 + a2 * b1 + a1 * b2 + a0 * b3) * 65536;
  out[2] = sum % TWO_32;
  sum = Math.floor(sum / TWO_32) + a3 * b1 + a2 * b2 + a1 * b3 + (a3 * b2 + a2 * b3) * 65536;
  out[1] = sum % TWO_32;
  out[0] = Math.floor(sum / TWO_32) + a3 * b3;
}

const PRODUCT = [new Uint32Array(4), new Uint32Array(4)];

// Write the four words of the key (seed, 0) and the counter (quad, row, 0, domain) to `out`: eight halves, high before
// low.
function philox(seed, quad, row, domain, out) {
  const c = [Math.floor(quad / 2 ** 32), quad >>> 0, Math.floor(row / 2 ** 32), row >>> 0, 0, 0, 0, domain];
  let [k0h, k0l, k1h, k1l] = [Math.floor(seed / 2 ** 32) >>> 0, seed >>> 0, 0, 0];
  const [first, second] = PRODUCT;
  for (let round = 0; round < ROUNDS; round++) {
    multiply(c[0], c[1], 0xd2e7470e, 0xe14c6c93, first);
    multiply(c[4], c[5], 0xca5a8263, 0x95121157, second);
    const [c1h, c1l, c3h, c3l] = [c[2], c[3], c[6], c[7]];
    c[0] = (second[0] ^ c1h ^ k0h) >>> 0;
    c[1] = (second[1] ^ c1l ^ k0l) >>> 0;
    c[2] = second[2];
    c[3] = second[3];
    c[4] = (first[0] ^ c3h ^ k1h) >>> 0;
    c[5] = (first[1] ^ c3l ^ k1l) >>> 0;
    c[6] = first[2];
    c[7] = first[3];
    let low = k0l + 0x7f4a7c15;
    k0h = (k0h + 0x9e3779b9 + (low > 0xffffffff ? 1 : 0)) >>> 0;
    k0l = low >>> 0;
    low = k1l + 0x84caa73b;
    k1h = (k1h + 0xbb67ae85 + (low > 0xffffffff ? 1 : 0)) >>> 0;
    k1l = low >>> 0;
  }
  out.set(c);
}

// Return the halves of the first `length` words of a row, high before low.
function words(seed, domain, row, length) {
  const quads = Math.ceil(length / 4);
  const out = new Uint32Array(8 * quads);
  for (let quad = 0; quad < quads; quad++) philox(seed, quad, row, domain, out.subarray(8 * quad, 8 * quad + 8));
  return out.subarray(0, 2 * length);
}

// Return a row of the candidate table: `dim` standard normal numbers.
export function candidateRow(seed, dim, row) {
  const raw = words(seed, DOMAINS.candidates, row, dim);
  return Float32Array.from({ length: dim }, (_, i) =>
    normal((raw[2 * i] * 2 ** 20 + (raw[2 * i + 1] >>> 12) + 0.5) * 2 ** -52));
}

// Return the signs of a block, -1 or 1.
export function signs(seed, block, dim) {
  const raw = words(seed, DOMAINS.signs, block, Math.ceil(dim / 64));
  return Float32Array.from({ length: dim }, (_, i) => {
    const bit = i % 64;
    const half = raw[2 * (i >> 6) + (bit < 32 ? 1 : 0)];
    return (half >>> (bit % 32)) & 1 ? -1 : 1;
  });
}

// Return a permutation of 0 .. n - 1: the order of a stable sort of n words; many words are sorted by radix, 16 bits
// at a time.
export function permutation(seed, stream, n) {
  const raw = words(seed, DOMAINS.permutations, stream, n);
  if (n < RADIX_SORT_FROM) {
    return Uint32Array.from({ length: n }, (_, i) => i).sort(
      (a, b) => raw[2 * a] - raw[2 * b] || raw[2 * a + 1] - raw[2 * b + 1] || a - b);
  }
  let order = Uint32Array.from({ length: n }, (_, i) => i);
  let sorted = new Uint32Array(n);
  for (let digit = 0; digit < 4; digit++) {
    const half = digit < 2 ? 1 : 0;
    const shift = digit % 2 ? 16 : 0;
    const starts = new Uint32Array(65537);
    for (let i = 0; i < n; i++) starts[((raw[2 * i + half] >>> shift) & 0xffff) + 1]++;
    for (let i = 0; i < 65536; i++) starts[i + 1] += starts[i];
    for (let i = 0; i < n; i++) {
      const at = order[i];
      sorted[starts[(raw[2 * at + half] >>> shift) & 0xffff]++] = at;
    }
    [order, sorted] = [sorted, order];
  }
  return order;
}

// Return the ratio of two polynomials at x; coefficients are in ascending order.
const ratio = (x, numerator, denominator) => {
  let [p, q] = [0, 0];
  for (let i = numerator.length - 1; i >= 0; i--) p = p * x + numerator[i];
  for (let i = denominator.length - 1; i >= 0; i--) q = q * x + denominator[i];
  return p / q;
};

// Return the inverse of the standard normal distribution function, to about sixteen digits: Wichura's algorithm AS 241
// (Applied Statistics, 1988).
export function normal(uniform) {
  const offset = uniform - 0.5;
  if (Math.abs(offset) <= 0.425) return offset * ratio(0.180625 - offset * offset, ...CENTRE);
  const tail = Math.sqrt(-Math.log(Math.min(uniform, 1 - uniform)));
  const magnitude = tail <= 5 ? ratio(tail - 1.6, ...MIDDLE) : ratio(tail - 5, ...FAR);
  return offset < 0 ? -magnitude : magnitude;
}

const CENTRE = [
  [3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
    45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727],
  [1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
    39307.89580009271061, 28729.085735721942674, 5226.495278852854561],
];
const MIDDLE = [
  [1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
    1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4],
  [1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459,
    0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9],
];
const FAR = [
  [6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
    0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
  [1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525, 7.868691311456132591e-4,
    1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15],
];

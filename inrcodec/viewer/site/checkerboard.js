// The two colours of a checkerboard of pixels (inrcodec/codecs/hierarchical/checkerboard.py).

import { makeTensor } from "./convolution.js";

// Return where the pixel `index` of one colour, packed into rows of `width`, lies on the board, whose rows are twice as
// wide. A pixel has the colour if its row + column + `phase` is even. Without a phase, the index stays as it is.
export function boardIndex(index, width, phase) {
  if (phase === null) return index;
  const y = Math.floor(index / width);
  return 2 * index + ((y + phase) % 2);
}

// Return the pixels of one colour as an integer tensor of half the width.
export function takeColor(machine, h, phase) {
  const out = makeTensor(machine, h.height, h.width / 2, h.channels);
  const from = machine.ints(h.at, h.height * h.width * h.stride);
  const to = machine.ints(out.at, out.height * out.width * out.stride);
  for (let p = 0; p < out.height * out.width; p++) {
    const source = boardIndex(p, out.width, phase) * h.stride;
    to.set(from.subarray(source, source + h.stride), p * out.stride);
  }
  return out;
}

// Add a tensor that has the pixels of one colour to h, in place.
export function addAtColor(machine, h, shift, phase) {
  const from = machine.ints(shift.at, shift.height * shift.width * shift.stride);
  const to = machine.ints(h.at, h.height * h.width * h.stride);
  for (let p = 0; p < shift.height * shift.width; p++) {
    const target = boardIndex(p, shift.width, phase) * h.stride;
    for (let c = 0, at = p * shift.stride; c < h.channels; c++, at++) to[target + c] += from[at];
  }
}

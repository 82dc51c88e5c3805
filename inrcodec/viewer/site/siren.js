// SIREN: a network with sine activations (inrcodec/nn/siren.py, after arXiv 2006.09661).

import { asConv, FloatConv, fromTensor } from "./convolution.js";

// Return values (points, outputs). `input` is a tensor of one row of points. The flat `weights` hold one matrix
// (inputs + 1, outputs) per layer, with the biases as its last row. No memory of the machine stays allocated.
export function siren(machine, input, weights, widths) {
  return machine.scope(() => {
    let hidden = input;
    let at = 0;
    for (let layer = 0; layer + 1 < widths.length; layer++) {
      const [inputs, outputs] = [widths[layer], widths[layer + 1]];
      const matrix = asConv({ shape: [inputs, outputs], values: weights }, at);
      const biases = weights.subarray(at + inputs * outputs, at + (inputs + 1) * outputs);
      if (layer) machine.kernels.sine(hidden.at, hidden.width * hidden.stride);
      hidden = new FloatConv(machine, matrix, biases, false).run(hidden);
      at += (inputs + 1) * outputs;
    }
    return fromTensor(machine, hidden, widths.at(-1));
  });
}

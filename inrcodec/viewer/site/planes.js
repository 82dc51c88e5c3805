// How the planes of a model make up a signal (inrcodec/codecs/planes.py).
//
// A plane is what one model function describes, rows x columns (one row for audio). If the model has as many channels
// as the signal, a plane holds all of them; otherwise every channel is a plane of its own, the mean over the model's
// channels.

import { FormatError } from "./bytes.js";

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

export const hasAlpha = (header) => header.layout === "gray+alpha" || header.layout === "rgba";

export class Planes {
  constructor(header, kind, axes, modelChannels) {
    const isForeign = header.kind === "audio" ? kind !== "audio" : kind === "audio" && header.kind === "image";
    if (header.shape.length < axes || isForeign) {
      throw new FormatError(`corrupt file: a prior for ${kind} does not apply to this ${header.kind}`);
    }
    const split = header.shape.length - axes;
    this.lead = header.shape.slice(0, split);
    this.shape = axes === 1 ? [1, header.shape[split]] : header.shape.slice(split);
    if (this.shape.length > 2) {
      throw new FormatError(`models over ${axes} axes are unsupported here: use inrcodec decompress`);
    }
    this.channels = header.channels - (hasAlpha(header) ? 1 : 0);
    this.modelChannels = modelChannels;
    this.together = this.channels === modelChannels;
    // Whether the model's range is -1 .. 1 and the signal's 0 .. 1.
    this.signed = kind === "audio" && header.kind !== "audio";
    this.slices = product(this.lead);
    this.count = this.slices * (this.together ? 1 : this.channels);
  }

  // Return the values (rows, columns, channels) of a slice. `evaluate(plane)` returns those of a plane, (rows, columns,
  // model channels).
  slice(number, evaluate) {
    const planesPerSlice = this.together ? 1 : this.channels;
    const planes = Array.from({ length: planesPerSlice }, (_, c) => evaluate(number * planesPerSlice + c));
    let out = planes[0];
    if (!this.together) {
      const points = out.length / this.modelChannels;
      out = new Float32Array(points * planesPerSlice);
      planes.forEach((plane, c) => {
        for (let p = 0; p < points; p++) {
          let sum = 0;
          for (let m = 0; m < this.modelChannels; m++) sum += plane[p * this.modelChannels + m];
          out[p * planesPerSlice + c] = sum / this.modelChannels;
        }
      });
    }
    if (this.signed) out = out.map((value) => value * 0.5 + 0.5);
    return out;
  }
}

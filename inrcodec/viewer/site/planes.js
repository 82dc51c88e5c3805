// How a model's planes make up a signal (inrcodec/codecs/planes.py), for all codecs.
//
// A plane is what one model function describes, rows x columns (one row for sounds). Values of a model with as many
// channels as the signal are its colours; else every channel is a plane of its own, the mean of the model's channels.

import { FormatError } from "./bytes.js";

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

export const hasAlpha = (header) => header.layout === "gray+alpha" || header.layout === "rgba";

export class Planes {
  constructor(header, kind, axes, modelChannels) {
    const foreign = header.kind === "audio" ? kind !== "audio" : kind === "audio" && header.kind === "image";
    if (header.shape.length < axes || foreign) throw new FormatError("the file and its prior do not fit each other");
    const split = header.shape.length - axes;
    this.lead = header.shape.slice(0, split);
    this.shape = axes === 1 ? [1, header.shape[split]] : header.shape.slice(split);
    if (this.shape.length > 2) throw new FormatError("signals whose model has more than two axes are not shown here");
    this.channels = header.channels - (hasAlpha(header) ? 1 : 0);
    this.modelChannels = modelChannels;
    this.together = this.channels === modelChannels;
    this.signed = kind === "audio" && header.kind !== "audio";
    this.slices = product(this.lead);
    this.count = this.slices * (this.together ? 1 : this.channels);
  }

  // Values (rows, columns, channels) of a slice; `evaluate(plane)` gives those of a plane, (rows, columns, model's).
  slice(number, evaluate) {
    const each = this.together ? 1 : this.channels;
    const planes = Array.from({ length: each }, (_, c) => evaluate(number * each + c));
    let out = planes[0];
    if (!this.together) {
      const points = out.length / this.modelChannels;
      out = new Float32Array(points * each);
      planes.forEach((plane, c) => {
        for (let p = 0; p < points; p++) {
          let sum = 0;
          for (let m = 0; m < this.modelChannels; m++) sum += plane[p * this.modelChannels + m];
          out[p * each + c] = sum / this.modelChannels;
        }
      });
    }
    if (this.signed) out = out.map((value) => value * 0.5 + 0.5);
    return out;
  }
}

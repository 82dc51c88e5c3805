// Convert decoded values to RGBA pixels: images as they are, fields through a colour map.

import { roundHalfEven } from "./rounding.js";

// A map like viridis, from dark blue over green to yellow, ever lighter: RGB at equal distances.
const COLOUR_STOPS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [109, 205, 89], [180, 222, 44], [253, 231, 37],
];
const COLOURS = Uint8Array.from({ length: 3 * 256 }, (_, i) => {
  const at = (Math.floor(i / 3) / 255) * (COLOUR_STOPS.length - 1);
  const low = Math.min(Math.floor(at), COLOUR_STOPS.length - 2);
  return Math.round(COLOUR_STOPS[low][i % 3] + (at - low) * (COLOUR_STOPS[low + 1][i % 3] - COLOUR_STOPS[low][i % 3]));
});

// Draw the colour map from its lower end to its upper end.
export function drawColourBar(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    const colour = 3 * Math.floor((256 * x) / canvas.width);
    context.fillStyle = `rgb(${COLOURS.subarray(colour, colour + 3).join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

const toByte = (value) => roundHalfEven(Math.max(0, Math.min(1, value)) * 255);

// Return RGBA bytes of values (points, channels) in 0 .. 1.
export function toPixels(values, header) {
  const { channels, kind, layout } = header;
  const count = values.length / channels;
  const out = new Uint8ClampedArray(4 * count);
  const alpha = layout === "gray+alpha" || layout === "rgba";
  const colours = channels - (alpha ? 1 : 0);
  for (let p = 0; p < count; p++) {
    const at = p * channels;
    if (kind === "field") {
      const colour = 3 * toByte(values[at]);
      for (let c = 0; c < 3; c++) out[4 * p + c] = COLOURS[colour + c];
    } else {
      for (let c = 0; c < 3; c++) out[4 * p + c] = toByte(values[at + (colours === 3 ? c : 0)]);
    }
    out[4 * p + 3] = alpha ? toByte(values[at + channels - 1]) : 255;
  }
  return out;
}

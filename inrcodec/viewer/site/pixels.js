// Values to pixels of a screen: images as they are, fields through a colour map.

// Viridis-like: dark blue over green to yellow, ever lighter; red, green, blue at equal distances.
const MAP = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [109, 205, 89], [180, 222, 44], [253, 231, 37],
];
const COLOURS = Uint8Array.from({ length: 3 * 256 }, (_, i) => {
  const at = (Math.floor(i / 3) / 255) * (MAP.length - 1);
  const low = Math.min(Math.floor(at), MAP.length - 2);
  return Math.round(MAP[low][i % 3] + (at - low) * (MAP[low + 1][i % 3] - MAP[low][i % 3]));
});

// The colour map from its lower end to its upper one.
export function drawBar(canvas) {
  const pen = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    const shade = 3 * Math.floor((256 * x) / canvas.width);
    pen.fillStyle = `rgb(${COLOURS.subarray(shade, shade + 3).join(" ")})`;
    pen.fillRect(x, 0, 1, canvas.height);
  }
}

// As Python's rint: halves to even.
function level(value) {
  const scaled = Math.max(0, Math.min(1, value)) * 255;
  const low = Math.floor(scaled);
  const rest = scaled - low;
  return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
}

// RGBA of values (points, channels).
export function toPixels(values, header) {
  const { channels, kind, layout } = header;
  const count = values.length / channels;
  const out = new Uint8ClampedArray(4 * count);
  const alpha = layout === "gray+alpha" || layout === "rgba";
  const colours = channels - (alpha ? 1 : 0);
  for (let p = 0; p < count; p++) {
    const at = p * channels;
    if (kind === "field") {
      const shade = 3 * level(values[at]);
      for (let c = 0; c < 3; c++) out[4 * p + c] = COLOURS[shade + c];
    } else {
      for (let c = 0; c < 3; c++) out[4 * p + c] = level(values[at + (colours === 3 ? c : 0)]);
    }
    out[4 * p + 3] = alpha ? level(values[at + channels - 1]) : 255;
  }
  return out;
}

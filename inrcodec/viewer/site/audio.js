// Audio: WAV files of decoded samples, and a drawing of the waveform.

// Return a 16-bit PCM file of interleaved samples (samples, channels) in -1 .. 1.
export function toWav(values, channels, sampleRate) {
  const bytes = new ArrayBuffer(44 + 2 * values.length);
  const view = new DataView(bytes);
  const writeText = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  writeText(0, "RIFF");
  view.setUint32(4, 36 + 2 * values.length, true);
  writeText(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  writeText(36, "data");
  view.setUint32(40, 2 * values.length, true);
  values.forEach((value, i) =>
    view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true));
  return new Blob([bytes], { type: "audio/wav" });
}

// Draw the samples from `begin` to `end` (both may be fractional): the range of values in every column of the canvas,
// one band per channel, and a line at sample `playhead` (-1 for none).
export function drawWaveform(canvas, values, channels, begin, end, playhead) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const colour = getComputedStyle(canvas).color;
  context.clearRect(0, 0, width, height);
  const count = values.length / channels;
  const band = height / channels;
  const step = (end - begin) / width;
  for (let c = 0; c < channels; c++) {
    const toY = (value) => band * (c + 0.5 - 0.48 * Math.max(-1, Math.min(1, value)));
    context.strokeStyle = context.fillStyle = colour;
    context.globalAlpha = 0.25;
    context.fillRect(0, band * (c + 0.5), width, 1);
    context.globalAlpha = 1;
    context.beginPath();
    for (let x = 0; x < width; x++) {
      const first = Math.floor(begin + x * step);
      const last = Math.max(first + 1, Math.floor(begin + (x + 1) * step));
      let [min, max] = [Infinity, -Infinity];
      for (let i = Math.max(0, first); i <= Math.min(count - 1, last); i++) {
        min = Math.min(min, values[i * channels + c]);
        max = Math.max(max, values[i * channels + c]);
      }
      if (min > max) continue;
      context.moveTo(x + 0.5, toY(max) - 0.5);
      context.lineTo(x + 0.5, toY(min) + 0.5);
    }
    context.stroke();
  }
  const playheadX = (playhead - begin) / step;
  if (playheadX >= 0 && playheadX < width) {
    context.fillStyle = "#c33";
    context.fillRect(Math.round(playheadX), 0, 2, height);
  }
}

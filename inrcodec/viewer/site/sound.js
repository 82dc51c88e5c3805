// Sounds: a WAV file of decoded values, and their shape over time on a canvas.

// Interleaved values (samples, channels) in -1 .. 1 as 16-bit PCM.
export function toWav(values, channels, rate) {
  const bytes = new ArrayBuffer(44 + 2 * values.length);
  const view = new DataView(bytes);
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * values.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * values.length, true);
  values.forEach((value, i) =>
    view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true));
  return new Blob([bytes], { type: "audio/wav" });
}

// Draws samples `begin` to `end` (fractions of samples): the span of the values in every column, one band per channel.
export function drawWave(canvas, values, channels, begin, end, now) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  const ink = getComputedStyle(canvas).color;
  pen.clearRect(0, 0, width, height);
  const count = values.length / channels;
  const band = height / channels;
  const step = (end - begin) / width;
  for (let c = 0; c < channels; c++) {
    const y = (value) => band * (c + 0.5 - 0.48 * Math.max(-1, Math.min(1, value)));
    pen.strokeStyle = pen.fillStyle = ink;
    pen.globalAlpha = 0.25;
    pen.fillRect(0, band * (c + 0.5), width, 1);
    pen.globalAlpha = 1;
    pen.beginPath();
    for (let x = 0; x < width; x++) {
      const first = Math.floor(begin + x * step);
      const last = Math.max(first + 1, Math.floor(begin + (x + 1) * step));
      let [low, high] = [Infinity, -Infinity];
      for (let i = Math.max(0, first); i <= Math.min(count - 1, last); i++) {
        low = Math.min(low, values[i * channels + c]);
        high = Math.max(high, values[i * channels + c]);
      }
      if (low > high) continue;
      pen.moveTo(x + 0.5, y(high) - 0.5);
      pen.lineTo(x + 0.5, y(low) + 0.5);
    }
    pen.stroke();
  }
  const at = (now - begin) / step;
  if (at >= 0 && at < width) {
    pen.fillStyle = "#c33";
    pen.fillRect(Math.round(at), 0, 2, height);
  }
}

// Large images in tiles, each coded as a plane of its own (inrcodec/codecs/tiles.py). Neighbouring tiles share OVERLAP
// points, over which they are blended linearly.

import { roundHalfEven } from "./rounding.js";

const TILED_FROM = 1 << 23;
const TILE = 2048;
const OVERLAP = 64;

// Return the tiles of a grid, row by row, each [[top, bottom], [left, right]]; one tile if the grid is not cut.
export function planeTiles(kind, config, grid) {
  if (kind !== "image" || grid[0] * grid[1] <= TILED_FROM) return [grid.map((n) => [0, n])];
  const unit = config.levels[0].stride;
  const [rows, columns] = grid.map((n) => {
    const count = Math.max(1, Math.ceil(n / TILE));
    const edges = Array.from({ length: count + 1 },
      (_, i) => (i === count ? n : roundHalfEven((i * n) / count / unit) * unit));
    return edges.slice(1).map((edge, i) => [Math.max(0, edges[i] - OVERLAP / 2), Math.min(n, edge + OVERLAP / 2)]);
  });
  return rows.flatMap((row) => columns.map((column) => [row, column]));
}

// Return the blending weights of a tile's points along an axis of n points: those of neighbours sum to 1.
export function blendWeights([begin, end], n) {
  const out = new Float32Array(end - begin).fill(1);
  for (let i = 0; i < OVERLAP; i++) {
    const weight = (i + 0.5) / OVERLAP;
    if (begin > 0) out[i] = weight;
    if (end < n) out[out.length - OVERLAP + i] = 1 - weight;
  }
  return out;
}

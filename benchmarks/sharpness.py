"""The default codec against others on the same photographs, smaller and larger: how far it depends on their sharpness.

python benchmarks/sharpness.py --images 16 --scales 0.7 1 1.6 --workers 2
python benchmarks/sharpness.py --prior mine.safetensors --out out/mine

A picture of many points is smoother from point to point than one of few. A prior that has learned from pictures of one
size alone loses on others what this table shows. Photographs of the validation part, resampled by Pillow (bicubic).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import OUT, data_folder, table
from PIL import Image

from inrcodec.evaluate import sweep


def main() -> None:
    """Resample, sweep, print BD-rates by scale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.7, 1.0, 1.6])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.15, 0.4, 1.0])
    parser.add_argument("--against", nargs="+", default=["jpeg2000", "avif"])
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--prior")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, default=OUT / "sharpness")
    options = parser.parse_args()
    rows = []
    for scale in options.scales:
        folder = options.out / f"{scale:g}"
        found = sweep(
            _resampled(scale, options.images, folder / "pictures"), codecs=["hierarchical"], rates=options.bpp,
            compare=options.against, out=folder, effort=options.effort, prior=options.prior, workers=options.workers,
        )  # fmt: skip
        curve = found.curve("hierarchical")
        against = {name: rate for name, series, rate in found.bd_rates() if series == "hierarchical"}
        rows.append(
            [f"{scale:g}", ", ".join(f"{point[0]:.3f} {point[1]:.2f}" for point in curve)]
            + [str(against.get(name) or "-") for name in options.against]
        )  # fmt: skip
    print(table(("scale", "bpp and dB, means", *(f"against {name}" for name in options.against)), rows))


def _resampled(scale: float, count: int, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for path in sorted((data_folder() / "natural" / "val").iterdir())[:count]:
        picture = Image.open(path).convert("RGB")
        size = round(picture.width * scale), round(picture.height * scale)
        made.append(folder / f"{path.stem}.png")
        picture.resize(size, Image.Resampling.BICUBIC).save(made[-1])
    return made


if __name__ == "__main__":
    main()

"""Compare the default codec with others on the same photographs at several sizes, to see how sharpness matters.

python benchmarks/sharpness.py --scales 0.5 1 1.6 --workers 2
python benchmarks/sharpness.py --prior mine.safetensors --out out/mine

The more points an image has, the smoother it is from point to point. The table shows what a prior that was trained on
small images alone loses on large ones. Photographs of the validation part are resampled by Pillow (bicubic) and tiled
four to an image, so that file headers matter little.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import OUT, data_folder, table
from PIL import Image

from inrcodec.evaluate import sweep


def main() -> None:
    """Resample, sweep, and print BD-rates by scale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3, help="number of images, of four photographs each")
    parser.add_argument("--scales", type=float, nargs="+", default=[0.5, 1.0, 1.6])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.2, 0.45, 1.0])
    parser.add_argument("--against", nargs="+", default=["jpeg2000", "avif"])
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--prior")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, default=OUT / "sharpness")
    options = parser.parse_args()
    rows = []
    for scale in options.scales:
        folder = options.out / f"{scale:g}"
        result = sweep(
            _resampled(scale, options.images, folder / "images"),
            codecs=["hierarchical"],
            rates=options.bpp,
            compare=options.against,
            out=folder,
            effort=options.effort,
            prior=options.prior,
            workers=options.workers,
        )
        curve = result.curve("hierarchical")
        against = {name: rate for name, series, rate in result.bd_rates() if series == "hierarchical"}
        rows.append(
            [f"{scale:g}", ", ".join(f"{point[0]:.3f} {point[1]:.2f}" for point in curve)]
            + [str(against.get(name) or "-") for name in options.against]
        )
    print(table(("scale", "mean bpp and PSNR dB", *(f"BD-rate vs. {name}" for name in options.against)), rows))


def _resampled(scale: float, count: int, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    photographs = (Image.open(path).convert("RGB") for path in sorted((data_folder() / "natural" / "val").iterdir()))
    landscapes = [photo.crop((0, 0, 480, 320)) for photo in photographs if photo.width > photo.height][: 4 * count]
    width, height = round(480 * scale), round(320 * scale)
    paths = []
    for start in range(0, len(landscapes), 4):
        tiled = Image.new("RGB", (2 * width, 2 * height))
        for place, photo in enumerate(landscapes[start : start + 4]):
            resized = photo.resize((width, height), Image.Resampling.BICUBIC)
            tiled.paste(resized, (place % 2 * width, place // 2 * height))
        paths.append(folder / f"{start // 4}.png")
        tiled.save(paths[-1])
    return paths


if __name__ == "__main__":
    main()

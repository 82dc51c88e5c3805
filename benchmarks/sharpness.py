"""The default codec against others on the same photographs, smaller and larger: how far it depends on their sharpness.

python benchmarks/sharpness.py --scales 0.5 1 1.6 --workers 2
python benchmarks/sharpness.py --prior mine.safetensors --out out/mine

A picture of many points is smoother from point to point than one of few. A prior that has learned from small pictures
alone loses on large ones what this table shows. Photographs of the validation part, resampled by Pillow (bicubic), four
side by side in one picture, so that no codec's headers weigh much.
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
    parser.add_argument("--pictures", type=int, default=3, help="of four photographs each")
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
        found = sweep(
            _resampled(scale, options.pictures, folder / "pictures"),
            codecs=["hierarchical"],
            rates=options.bpp,
            compare=options.against,
            out=folder,
            effort=options.effort,
            prior=options.prior,
            workers=options.workers,
        )
        curve = found.curve("hierarchical")
        against = {name: rate for name, series, rate in found.bd_rates() if series == "hierarchical"}
        rows.append(
            [f"{scale:g}", ", ".join(f"{point[0]:.3f} {point[1]:.2f}" for point in curve)]
            + [str(against.get(name) or "-") for name in options.against]
        )
    print(table(("scale", "bpp and dB, means", *(f"against {name}" for name in options.against)), rows))


def _resampled(scale: float, count: int, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    opened = (Image.open(path).convert("RGB") for path in sorted((data_folder() / "natural" / "val").iterdir()))
    lying = [picture.crop((0, 0, 480, 320)) for picture in opened if picture.width > picture.height][: 4 * count]
    width, height = round(480 * scale), round(320 * scale)
    made = []
    for start in range(0, len(lying), 4):
        whole = Image.new("RGB", (2 * width, 2 * height))
        for place, picture in enumerate(lying[start : start + 4]):
            part = picture.resize((width, height), Image.Resampling.BICUBIC)
            whole.paste(part, (place % 2 * width, place // 2 * height))
        made.append(folder / f"{start // 4}.png")
        whole.save(made[-1])
    return made


if __name__ == "__main__":
    main()

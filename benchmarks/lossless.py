"""Compare lossless files with PNG (optimised), WebP and JPEG XL: file size, bits per dimension, seconds.

python benchmarks/lossless.py kodak                 photographs, one file each
python benchmarks/lossless.py cifar10               2,000 test images: one archive, and one file each
python benchmarks/lossless.py mnist                 10,000 test digits in one archive
python benchmarks/lossless.py binary                the same digits, binarised at random

Bits per dimension are the bits of a whole file divided by the number of values. In the set "binary", a value is 1 with
a probability equal to its gray level. JPEG XL needs imagecodecs: pip install 'inrcodec[baselines]'.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter

import numpy as np
import torch
from common import image_signal, mosaic, peak_gib, photograph, run_codec, table
from numpy.typing import NDArray
from PIL import Image

import inrcodec.api
from inrcodec.codecs import prior_store
from inrcodec.codecs.bitswap.bits_back import BitsBack
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.samples import CRC_BYTES
from inrcodec.coding.ans import Message
from inrcodec.container.inr import pack
from inrcodec.settings import Settings

Levels = NDArray[np.uint8]
CHECKED_FILES = 20
"""Number of images of an archive that are also written as single files, to check the sizes that are reported."""


def other_sizes(levels: Levels, *, with_jxl: bool) -> dict[str, int]:
    """Return bytes by format, at the strongest settings that take at most seconds."""
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    png, webp = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True, compress_level=9)
    image.convert("RGB").save(webp, "WEBP", lossless=True, quality=100, method=6)
    sizes = {"PNG": len(png.getvalue()), "WebP": len(webp.getvalue())}
    if with_jxl:
        import imagecodecs

        plane = levels.squeeze(-1) if levels.shape[-1] == 1 else levels
        sizes["JPEG XL"] = len(imagecodecs.jpegxl_encode(plane, lossless=True, effort=9))
    return sizes


def photographs(images: dict[str, Levels], settings: Settings, *, with_jxl: bool) -> None:
    """Print a table of images in one file each."""
    rows: list[list[str]] = []
    totals: Counter[str] = Counter()
    n_values = 0
    for name, levels in images.items():
        measured = run_codec([image_signal(levels)], settings, f"{name}_lossless.inr")
        assert np.array_equal(measured.decoded[0].to_native(), levels)
        sizes = {"bitswap": measured.size, **other_sizes(levels, with_jxl=with_jxl)}
        totals.update(sizes)
        n_values += levels.size
        rows.append(
            [
                name,
                f"{measured.size:,}",
                *(f"{8 * size / levels.size:.3f}" for size in sizes.values()),
                f"{measured.encode_seconds:.1f}",
                f"{measured.decode_seconds:.1f}",
            ]
        )
        print(" ".join(rows[-1]), flush=True)
    rows.append(["all", f"{totals['bitswap']:,}", *(f"{8 * t / n_values:.3f}" for t in totals.values()), "", ""])
    print(table(("image", "bytes", *totals, "encode s", "decode s"), rows))


def overhead(tiles: Levels, opened: inrcodec.api.InrFile) -> float:
    """Return the mean bits that a message of one image takes beyond what the image adds to a long message."""
    prior = prior_store.find_id(opened.container(0).prior_id)
    assert isinstance(prior, BitSwapPrior)
    extra_bits = []
    for number, tile in enumerate(tiles):
        noise = np.random.default_rng(number).integers(1, 256, 1 << 15).astype(np.uint8)
        message = Message(noise.tobytes())
        before = message.n_bits
        BitsBack(prior.layers).push(message, tile.transpose(2, 0, 1)[None])
        message_bits = 8 * (len(opened.container(number).payload) - 1 - CRC_BYTES)
        extra_bits.append(message_bits - (message.n_bits - before))
    return float(np.mean(extra_bits))


def archive(tiles: Levels, settings: Settings, name: str, *, with_others: bool, with_jxl: bool) -> None:
    """Print a table of a set in one archive, in one file per image where possible, and in other formats."""
    signals = [image_signal(tile) for tile in tiles]
    names = [f"{i:05d}" for i in range(len(signals))]
    begun = time.perf_counter()
    data = inrcodec.encode(signals, settings, names=names).data
    seconds = (time.perf_counter() - begun) / len(tiles)
    with inrcodec.open(data) as opened:
        begun = time.perf_counter()
        decoded = range(0, len(tiles), max(1, len(tiles) // 50))
        assert all(np.array_equal(opened.render(entry=i).to_native(), tiles[i]) for i in decoded)
        decode_seconds = (time.perf_counter() - begun) / len(decoded)
        rows = [["archive", f"{len(data):,}", f"{8 * len(data) / tiles.size:.3f}"]]
        if opened.container(0).payload:
            sizes = [len(pack(opened.container(i))) for i in range(len(tiles))]
            for i in range(min(CHECKED_FILES, len(tiles))):
                assert sizes[i] == run_codec([signals[i]], settings, f"{name}_{i}.inr").size
            rows.append(["single files", f"{sum(sizes):,}", f"{8 * sum(sizes) / tiles.size:.3f}"])
            print(f"a single message takes {overhead(tiles[:CHECKED_FILES], opened):.1f} bits more than its net length")
    if with_others:
        totals: Counter[str] = Counter()
        for tile in tiles:
            totals.update(other_sizes(tile, with_jxl=with_jxl))
        rows += [[f"{other}, files", f"{n:,}", f"{8 * n / tiles.size:.3f}"] for other, n in totals.items()]
    print(table(("", "bytes", "bits/dimension"), rows))
    print(f"encode {seconds:.3f} s/image, decode {decode_seconds:.3f} s/image ({len(decoded)} images one by one)")


def main() -> None:
    """Compress, decode, compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("kodak", "cifar10", "mnist", "binary"))
    parser.add_argument("--images", type=int, nargs="+", default=list(range(1, 17)), help="numbers of photographs")
    parser.add_argument("--count", type=int, help="number of images of a set; default: all")
    parser.add_argument("--prior", help="prior; default: the shipped one for the set")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--no-others", action="store_true", help="skip other formats, which take minutes for a set")
    parser.add_argument("--no-jxl", action="store_true", help="skip JPEG XL, which needs imagecodecs")
    options = parser.parse_args()
    print(f"{options.set}, effort {options.effort}, {torch.get_num_threads()} threads")
    shipped_prior = {"mnist": "bitswap-digits", "binary": "bitswap-binary"}.get(options.set)
    settings = Settings(codec="bitswap", prior=options.prior or shipped_prior, effort=options.effort)
    if options.set == "kodak":
        images = {f"kodim{number:02d}": photograph(number) for number in options.images}
        photographs(images, settings, with_jxl=not options.no_jxl)
    else:
        if options.set == "cifar10":
            tiles = mosaic("cifar10/test_*.webp", 32)[: options.count]
        else:
            tiles = mosaic("mnist/test_*.webp", 28)[: options.count, ..., :1]
        if options.set == "binary":
            uniform = np.random.default_rng(0).random(tiles.shape, np.float32)
            tiles = (uniform * 255 < tiles).astype(np.uint8) * np.uint8(255)
        archive(tiles, settings, options.set, with_others=not options.no_others, with_jxl=not options.no_jxl)
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()

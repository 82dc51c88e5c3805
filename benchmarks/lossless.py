"""Lossless files beside PNG (optimised), WebP and JPEG XL: whole files, bits per dimension (8 bytes / values), seconds.

python benchmarks/lossless.py kodak                 the photographs, one file each
python benchmarks/lossless.py cifar10               2,000 test images: one archive, and files of their own
python benchmarks/lossless.py mnist                 10,000 test digits in one archive
python benchmarks/lossless.py binary                the same, every value 1 with the probability that it stands for
"""

from __future__ import annotations

import argparse
import io
import time

import imagecodecs
import numpy as np
import torch
from common import mosaic, peak_gib, photograph, run_codec, table
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
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

Levels = NDArray[np.uint8]
OTHERS = ("PNG", "WebP", "JPEG XL")
TRULY_ALONE = 20
"""Pictures of an archive whose files of their own are also made, and must have the lengths that are reported."""


def other_sizes(levels: Levels) -> list[int]:
    """Bytes of the other formats at their strongest settings that take seconds at most."""
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    png, webp = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True, compress_level=9)
    image.convert("RGB").save(webp, "WEBP", lossless=True, quality=100, method=6)
    jxl = imagecodecs.jpegxl_encode(levels.squeeze(-1) if levels.shape[-1] == 1 else levels, lossless=True, effort=9)
    return [len(png.getvalue()), len(webp.getvalue()), len(jxl)]


def signal_of(levels: Levels) -> Signal:
    """A signal of levels (H, W, 1 or 3)."""
    layout = "rgb" if levels.shape[-1] == 3 else "gray"
    header = SignalHeader("image", layout, "u8", levels.shape[:2], levels.shape[-1])
    return Signal((levels / np.float32(255)).astype(np.float32), header)


def photographs(pictures: dict[str, Levels], prior: str | None, effort: str) -> None:
    """A table of pictures, each a file."""
    rows, totals, values = [], np.zeros(4), 0
    for name, levels in pictures.items():
        found = run_codec(
            [signal_of(levels)], Settings(codec="bitswap", prior=prior, effort=effort), f"{name}_lossless.inr"
        )
        assert np.array_equal(found.decoded[0].to_native(), levels)
        sizes = [found.size, *other_sizes(levels)]
        totals, values = totals + sizes, values + levels.size
        rows.append(
            [
                name,
                f"{found.size:,}",
                *(f"{8 * size / levels.size:.3f}" for size in sizes),
                f"{found.encode_seconds:.1f}",
                f"{found.decode_seconds:.1f}",
            ]
        )
        print(" ".join(rows[-1]), flush=True)
    rows.append(["all", f"{int(totals[0]):,}", *(f"{8 * t / values:.3f}" for t in totals), "", ""])
    print(table(("image", "bytes", "bitswap", *OTHERS, "encode s", "decode s"), rows))


def overhead(tiles: Levels, opened: inrcodec.api.InrFile) -> float:
    """Bits that messages of their own take beyond what they add to a message that holds enough, a mean."""
    prior = prior_store.find_id(opened.container(0).prior_id)
    assert isinstance(prior, BitSwapPrior)
    found = []
    for number, tile in enumerate(tiles):
        noise = np.random.default_rng(number).integers(1, 256, 1 << 15).astype(np.uint8)
        message = Message(noise.tobytes())
        before = message.n_bits
        BitsBack(prior.layers).push(message, tile.transpose(2, 0, 1)[None])
        alone = 8 * (len(opened.container(number).payload) - 1 - CRC_BYTES)
        found.append(alone - (message.n_bits - before))
    return float(np.mean(found))


def archive(tiles: Levels, prior: str | None, effort: str, name: str, ours_alone: bool) -> None:
    """A set in one archive, the same pictures as files of their own where they can be, other formats one by one."""
    signals = [signal_of(tile) for tile in tiles]
    settings = Settings(codec="bitswap", prior=prior, effort=effort)
    names = [f"{i:05d}" for i in range(len(signals))]
    begun = time.perf_counter()
    data = inrcodec.compress(signals, names=names, codec="bitswap", prior=prior, effort=effort)
    seconds = (time.perf_counter() - begun) / len(tiles)
    with inrcodec.open(data) as opened:
        begun = time.perf_counter()
        some = range(0, len(tiles), max(1, len(tiles) // 50))
        assert all(np.array_equal(opened.render(entry=i).to_native(), tiles[i]) for i in some)
        decode = (time.perf_counter() - begun) / len(some)
        rows = [["archive", f"{len(data):,}", f"{8 * len(data) / tiles.size:.3f}"]]
        if opened.container(0).payload:
            files = [len(pack(opened.container(i))) for i in range(len(tiles))]
            for i in range(TRULY_ALONE):
                assert files[i] == run_codec([signals[i]], settings, f"{name}_{i}.inr").size
            rows.append(["files of their own", f"{sum(files):,}", f"{8 * sum(files) / tiles.size:.3f}"])
            print(f"a message alone takes {overhead(tiles[:TRULY_ALONE], opened):.1f} bits more than its net length")
    if not ours_alone:
        others = np.sum([other_sizes(tile) for tile in tiles], axis=0).tolist()
        rows += [[f"{n}, files", f"{s:,}", f"{8 * s / tiles.size:.3f}"] for n, s in zip(OTHERS, others, strict=True)]
    print(table(("", "bytes", "bits/dimension"), rows))
    print(f"encode {seconds:.3f} s per picture, decode {decode:.3f} s ({len(some)} pictures one by one)")


def main() -> None:
    """Compress, decode, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("kodak", "cifar10", "mnist", "binary"))
    parser.add_argument("--images", type=int, nargs="+", default=list(range(1, 17)), help="numbers of photographs")
    parser.add_argument("--count", type=int, help="pictures of a set; by default all")
    parser.add_argument("--prior", help="by default the shipped one")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--ours-alone", action="store_true", help="no other formats, which take minutes for a set")
    options = parser.parse_args()
    print(f"{options.set}, effort {options.effort}, {torch.get_num_threads()} threads")
    if options.set == "kodak":
        photographs({f"kodim{n:02d}": photograph(n) for n in options.images}, options.prior, options.effort)
    elif options.set == "cifar10":
        tiles = mosaic("cifar10/test_*.webp", 32)[: options.count]
        archive(tiles, options.prior, options.effort, "cifar10", options.ours_alone)
    else:
        digits = mosaic("mnist/test_*.webp", 28)[: options.count, ..., :1]
        if options.set == "binary":
            chance = np.random.default_rng(0).random(digits.shape, np.float32)
            digits = (chance * 255 < digits).astype(np.uint8) * 255
        prior = options.prior or {"mnist": "bitswap-digits", "binary": "bitswap-binary"}[options.set]
        archive(digits, prior, options.effort, options.set, options.ours_alone)
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()

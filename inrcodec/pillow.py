"""A Pillow plug-in: importing this module makes Pillow read and write ``.inr`` files.

    import inrcodec.pillow
    image = Image.open("photo.inr")             # nothing is decoded yet
    image.draft(None, (200, 200))               # decode on a coarser grid of at least this size
    image.save("small.inr", target_bpp=0.3, effort="fast")

``save`` takes the options of ``inrcodec.compress`` that concern images, and those of Pillow:

- ``exif``, ``icc_profile`` and ``dpi`` replace what the image holds; without them its own are kept.
- ``quality``, 1 to 100, chooses ``beta`` such that photographs get about the PSNR of a JPEG of this quality, in far
  fewer bytes: about 31 dB at 30, 34 dB at 75, 37 dB at 90. The highest is 43 dB or so; use ``lossless`` for more.
- ``lossless=True`` keeps every sample; ``quality`` then has no effect.

Opening a file is subject to Pillow's own limit on pixels
(``Image.MAX_IMAGE_PIXELS``), and decoding to ``LIMITS`` of this module.
"""

from __future__ import annotations

import os
from typing import IO, Any

from PIL import Image, ImageFile

from inrcodec.api import InrFile
from inrcodec.codecs.registry import family_named
from inrcodec.container.framing import MAGICS
from inrcodec.encoding import encode_signals
from inrcodec.errors import InrcodecError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.settings import TARGETS, Settings
from inrcodec.signals.files.images import to_pillow
from inrcodec.signals.pil_images import OVERRIDES, from_pil, info_of

FORMAT, SUFFIX = "INR", ".inr"
LIMITS = DEFAULT_LIMITS
MODES = {"gray": "L", "gray+alpha": "LA", "rgb": "RGB", "rgba": "RGBA"}
QUALITY_BETA = 0.002
"""The weight of a bit at quality 50."""
OPTIONS = {
    "codec",
    "lossless",
    "prior",
    "effort",
    "coder",
    "beta",
    "target_bpp",
    "target_kbps",
    "target_psnr",
    "optimise",
}


class InrImageFile(ImageFile.ImageFile):
    """Opens an image in an ``.inr`` file and decodes it when its pixels are first needed."""

    format = FORMAT
    format_description = "inrcodec: an image as a neural network"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            self._file = InrFile(self.fp.read(LIMITS.max_file_bytes + 1), limits=LIMITS)
            container = self._file.container()
            meta, info = container.meta(LIMITS), self._file.info
        except InrcodecError as error:
            raise SyntaxError(str(error)) from None
        header = container.header
        if header.kind != "image":
            raise SyntaxError(f"expected an image, got a signal of kind {header.kind}")
        self._size = header.shape[1], header.shape[0]
        # Pillow holds 16 bits of gray only; other deep images are reduced to 8.
        self._mode = "I;16" if (header.sample_type, header.layout) == ("u16", "gray") else MODES[header.layout]
        self._draft_size: tuple[int, int] | None = None
        self._pending = True
        self.info.update(codec=info["codec"], prior=info["prior"])
        self.info.update(info_of(meta))
        self.text = dict(meta.text)
        self.tile = []

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Select the coarsest grid, of those halved repeatedly, that has at least ``size`` points.

        This has an effect only before the pixels are loaded, and none for lossless codecs.

        Args:
            mode: ignored.
            size: the minimum width and height in pixels.

        Returns:
            The mode and the box of the image, as Pillow's own plug-ins return them; None if nothing changes.
        """
        if size is None or not self._pending or family_named(self._file.info["codec"]).lossless:
            return None
        width, height = self._size
        while width // 2 >= size[0] and height // 2 >= size[1] and min(width, height) > 1:
            width, height = width // 2, height // 2
        if (width, height) == self._size:
            return None
        box = (0, 0, float(width), float(height))
        self._draft_size = self._size = (width, height)
        return self.mode, (0, 0, box[2], box[3])

    def load(self) -> Any:
        """Decode the image on the first call, and return its pixel access object.

        Raises:
            OSError: the file is corrupt, exceeds ``LIMITS``, or needs a prior that is missing.
        """
        if self._pending:
            self._pending = False
            size = None if self._draft_size is None else (self._draft_size[1], self._draft_size[0])
            try:
                decoded = to_pillow(self._file.render(size=size))
            except InrcodecError as error:
                raise OSError(str(error)) from None
            self.im, self._mode, self._size = decoded.im, decoded.mode, decoded.size
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGICS["inr"])


def _beta(quality: Any) -> float:
    """Return the weight of a bit at which photographs get about the PSNR of a JPEG of this quality.

    JPEG scales its quantisation steps by 50 / quality below 50 and by 2 - quality / 50 above (Independent JPEG Group).
    The exponent and the end of the scale were fitted to photographs.
    """
    if isinstance(quality, bool) or not isinstance(quality, int | float) or not 0 <= quality <= 100:
        raise UsageError(f"quality must be a number from 1 to 100, got {quality!r}")
    step = 50 / max(1, quality) if quality < 50 else 2 - quality / 50
    return float(QUALITY_BETA * max(step, 0.03) ** 1.2)


def _settings(chosen: dict[str, Any]) -> Settings:
    options = {key: value for key, value in chosen.items() if key in OPTIONS}
    quality = chosen.get("quality")
    if quality is None or options.get("lossless"):
        return Settings(**options)
    others = [name for name in TARGETS if options.get(name) is not None]
    if others:
        raise UsageError(f"give only one of quality, {', '.join(others)}")
    return Settings(**{**options, "beta": _beta(quality)})


def _save(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    chosen = dict(getattr(image, "encoderinfo", {}))
    try:
        settings = _settings(chosen)
        given = {key: chosen[key] for key in OVERRIDES if key in chosen}
        file.write(encode_signals([from_pil(image, os.fsdecode(name) or "image", given)], settings).data)
    except UsageError as error:
        raise ValueError(str(error)) from None
    except InrcodecError as error:
        raise OSError(str(error)) from None


Image.register_open(FORMAT, InrImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, "image/x-inr")

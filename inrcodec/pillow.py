"""A Pillow plug-in: importing this module makes Pillow read and write ``.inr`` files.

    import inrcodec.pillow
    image = Image.open("photo.inr")             # nothing is decoded yet
    image.draft(None, (200, 200))               # decode on a coarser grid of at least this size
    image.save("small.inr", target_bpp=0.3, effort="fast")

``save`` takes the options of ``inrcodec.compress``. Opening a file is subject to Pillow's own limit on pixels
(``Image.MAX_IMAGE_PIXELS``), and decoding to ``LIMITS`` of this module.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from inrcodec.api import InrFile
from inrcodec.codecs.registry import family_named
from inrcodec.container.framing import MAGICS
from inrcodec.encoding import encode_signals
from inrcodec.errors import InrcodecError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.settings import Settings
from inrcodec.signals.files.image_metadata import EXIF_START, exif_of
from inrcodec.signals.files.images import ORIENTATION_TAG, from_pillow, to_pillow

FORMAT, SUFFIX = "INR", ".inr"
LIMITS = DEFAULT_LIMITS
MODES = {"gray": "L", "gray+alpha": "LA", "rgb": "RGB", "rgba": "RGBA"}
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
        if meta.icc_profile:
            self.info["icc_profile"] = meta.icc_profile
        if meta.dpi is not None:
            self.info["dpi"] = meta.dpi
        exif = exif_of(meta)
        if exif:
            self.info["exif"] = EXIF_START + exif
        if meta.xmp:
            self.info["xmp"] = meta.xmp
        self.text = dict(meta.text)
        self.info.update(self.text)
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


def _save(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    options = {key: value for key, value in getattr(image, "encoderinfo", {}).items() if key in OPTIONS}
    try:
        icc = image.encoderinfo.get("icc_profile") or image.info.get("icc_profile") or b""
        dpi = image.encoderinfo.get("dpi") or image.info.get("dpi")
        orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
        signal = from_pillow(image, str(name), icc, orientation, dpi)
        file.write(encode_signals([signal], Settings(**options)).data)
    except UsageError as error:
        raise ValueError(str(error)) from None
    except InrcodecError as error:
        raise OSError(str(error)) from None


Image.register_open(FORMAT, InrImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, "image/x-inr")

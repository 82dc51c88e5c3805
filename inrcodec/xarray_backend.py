"""An xarray backend that opens fields in ``.inr`` files lazily: ``xarray.open_dataset("t2m.inr")``.

Only the planes and rows of a selection are decoded, when their values are first needed. xarray discovers the backend
through the entry point ``xarray.backends``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from inrcodec.api import InrFile
from inrcodec.container.inr import file_kind
from inrcodec.limits import DEFAULT_LIMITS


class InrBackendArray(BackendArray):
    """Presents a field in a file as an array that decodes the values of a selection on access.

    Args:
        file: the open file.
        entry: the index of the entry.
    """

    def __init__(self, file: InrFile, entry: int) -> None:
        self.file, self.entry = file, entry
        header = file.container(entry).header
        self.shape = header.shape if header.channels == 1 else (*header.shape, header.channels)
        self.dtype = np.dtype(header.sample_type)
        self._axes = len(header.shape)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        """Return the values at basic or outer indices, in physical units."""
        values: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._decode
        )
        return values

    def _decode(self, key: tuple[Any, ...]) -> NDArray[Any]:
        places = [np.arange(n)[index] for index, n in zip(key[: self._axes], self.shape, strict=False)]
        if all(np.size(p) for p in places):
            firsts = [int(np.min(p)) for p in places]
            counts = [int(np.max(p)) - first + 1 for p, first in zip(places, firsts, strict=True)]
            values = self.file.render(region=(*firsts, *counts), entry=self.entry).to_native()
        else:
            firsts = [0] * self._axes
            values = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        # Outer indices select along each axis independently.
        for axis in reversed(range(self._axes)):
            values = np.take(values, places[axis] - firsts[axis], axis=axis)
        return values[(..., *key[self._axes :])] if len(key) > self._axes else values


def _decoded_texts(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with bytes decoded to text: classic NetCDF files hold text as bytes."""
    return {k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in attributes.items()}


class InrBackendEntrypoint(BackendEntrypoint):
    """Opens ``.inr`` and ``.inrs`` files of fields for xarray."""

    description = "Fields compressed by inrcodec (.inr, .inrs)"
    url = ""
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None
    ) -> xarray.Dataset:
        """Return a dataset with the field of a file, or with one variable for every entry of an archive.

        Raises:
            ValueError: an entry is not a field.
            InrcodecError: the file cannot be read or is corrupt.
        """
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        file = InrFile(os.fspath(filename_or_obj))
        variables: dict[str, Any] = {}
        coordinates: dict[str, Any] = {}
        for entry in range(len(file)):
            container = file.container(entry)
            if container.header.kind != "field":
                raise ValueError(f"expected a field, got a signal of kind {container.header.kind}")
            meta = container.meta(DEFAULT_LIMITS)
            name = meta.variable or file.names[entry] or "field"
            name = f"{name}_{entry}" if name in variables else name
            if name in dropped:
                continue
            array = InrBackendArray(file, entry)
            dims = meta.dims or tuple(f"dim_{i}" for i in range(len(container.header.shape)))
            dims = (*dims, "channel") if len(array.shape) > len(dims) else dims
            variables[name] = xarray.Variable(dims, indexing.LazilyIndexedArray(array), _decoded_texts(meta.attributes))
            for key, values in meta.coordinates.items():
                if key not in dropped and values.ndim == 1 and key in dims:
                    coordinates[key] = xarray.Variable(
                        (key,), values, _decoded_texts(meta.coordinate_attributes.get(key, {}))
                    )
            for key, value in meta.fixed.items():
                if key not in dropped:
                    coordinates.setdefault(key, xarray.Variable((), value))
        return xarray.Dataset(variables, coordinates)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether this is an ``.inr`` or ``.inrs`` file."""
        try:
            with open(os.fspath(filename_or_obj), "rb") as file:
                return file_kind(file.read(16)) is not None
        except (OSError, TypeError):
            return False

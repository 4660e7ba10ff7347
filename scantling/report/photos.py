"""The images that a report shows, as files of bounded number and size, each once however often it is shown."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from scantling.data import images
from scantling.data.index import Index
from scantling.report.params import PhotoParams
from scantling.stage import BadInput

FOLDER = "images"


@dataclass(frozen=True)
class Photo:
    """One image of a data set. file: path from the page, None if the image cannot be read."""

    image_id: int
    width: int  # original pixels, as are all boxes
    height: int
    file: str | None


class Album:
    """Photos of all comparisons of a page, until their number or bytes are used up."""

    def __init__(self, params: PhotoParams):
        self._params = params
        self._photos: dict[str, Photo] = {}
        self._content: dict[str, bytes] = {}
        self.left_out = 0  # images that were asked for after that

    def photo(self, index: Index, image_id: int) -> Photo | None:
        """The photo of an image; None if there is no room for it."""
        name = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', index.name)}-{image_id}.jpg"
        if name not in self._photos:
            row = index.images.loc[index.images["image_id"] == image_id].iloc[0]
            made = self._make(name, row, index.root)
            if made is None:
                self.left_out += 1
                return None
            self._photos[name] = made
        return self._photos[name]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names within FOLDER, and what to write there."""
        yield from self._content.items()

    def _make(self, name: str, row: pd.Series, root: Path) -> Photo | None:
        if len(self._content) >= self._params.images:
            return None
        width, height = int(row["width"]), int(row["height"])
        try:
            picture = Image.fromarray(images.decode(root / row["file_name"]).permute(1, 2, 0).numpy())
        except BadInput:  # the results may have traveled without the images; the numbers stand all the same
            return Photo(int(row["image_id"]), width, height, None)
        picture.thumbnail((self._params.long_side_px, self._params.long_side_px), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=self._params.jpeg_quality)
        if sum(map(len, self._content.values())) + stream.tell() > self._params.total_mib * 2**20:
            return None
        self._content[name] = stream.getvalue()
        return Photo(int(row["image_id"]), width, height, f"{FOLDER}/{name}")

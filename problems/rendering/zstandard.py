"""Zstandard streams, unpacked by the copy of libzstd that Pillow brings for TIFF pictures.

Python has no Zstandard before 3.14. A stream becomes the one strip of a TIFF picture whose samples are the
bytes to unpack, so that no library is needed for it alone.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np

from ...errors import DataError

MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD = 50000  # of TIFF's tag Compression, as libtiff names it


def unpack(stream: bytes, size: int, what: str) -> bytes:
    """The `size` bytes of a Zstandard stream. Raises DataError, naming `what`, where it is damaged."""
    from PIL import Image, TiffImagePlugin

    if size == 0:
        return b""
    if not stream.startswith(MAGIC):
        raise DataError(f"{what} are no Zstandard stream.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is as declared
            with TiffImagePlugin.TiffImageFile(io.BytesIO(_picture(stream, size))) as picture:
                return np.asarray(picture).tobytes()
    except Image.DecompressionBombError:
        raise DataError(f"{what} unpack to {size:,} bytes, more than can be read; split the scene.") from None
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise DataError(
            f"{what} cannot be unpacked: the stream is damaged, or this Pillow has no Zstandard, which its "
            f"wheels have ({error})."
        ) from None


def _picture(stream: bytes, size: int) -> bytes:
    """A TIFF file one pixel high, of three samples a pixel where that comes out even."""
    samples = 3 if size % 3 == 0 else 1
    tags = {
        256: size // samples,  # width
        257: 1,  # height
        258: 8,  # bits a sample, of every sample
        259: ZSTD,
        262: 2 if samples == 3 else 1,  # colours, or grey
        273: 0,  # where the strip begins
        277: samples,
        278: 1,  # rows a strip
        279: len(stream),
    }
    bits = struct.pack("<3H", 8, 8, 8)
    body = 8 + 2 + 12 * len(tags) + 4
    tags[273] = body + len(bits)
    entries = [
        struct.pack("<HHII", 258, 3, 3, body) if tag == 258 and samples == 3 else
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)
    return head + bits + stream

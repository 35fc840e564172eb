"""Clips in, pictures out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tradespace.errors import DataError, SpaceError
from tradespace.problems.diffusion import clips, picture
from tradespace.problems.diffusion.description import DiTConfig

av = pytest.importorskip("av")
SMALL = DiTConfig(frames=4, side=16, patch=(2, 4, 4), width=48, blocks=1, heads=2)


def film(path: Path, frames: np.ndarray) -> None:
    """A lossless video of (frames, h, w, 3) 8-bit RGB."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for picture in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))


def test_a_lossless_clip_is_read_to_the_bit_and_cut_into_windows(tmp_path: Path) -> None:
    made = np.random.default_rng(0).integers(256, size=(9, 16, 24, 3), dtype=np.uint8)
    (tmp_path / "dogs").mkdir()
    film(tmp_path / "dogs" / "one.mkv", made)
    film(tmp_path / "cat.mkv", made[::-1].copy())
    np.testing.assert_array_equal(clips.read_clip(tmp_path / "dogs" / "one.mkv"), made)
    cut = clips.windows(made, SMALL)
    first = made[0:7:2, :16, :16].transpose(0, 3, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(cut[0], first, atol=1e-6)
    found, config = clips.clip_set(tmp_path, SMALL)
    assert found.names == ("cat", "dogs")
    assert config.classes == 2
    drawn, kinds = found.batch(np.random.default_rng(0), 12)
    assert drawn.shape == (12, *SMALL.clip_shape)
    assert set(kinds) == {0, 1}


def test_what_cannot_be_decoded_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video at all")
    with pytest.raises(DataError, match="cannot be decoded"):
        clips.read_clip(tmp_path / "bad.mp4")
    with pytest.raises(DataError, match="cannot be decoded"):
        clips.clip_set(tmp_path, SMALL)
    with pytest.raises(DataError, match="must be a file, got nothing"):
        clips.read_clip(tmp_path / "gone.mp4")
    (tmp_path / "bad.mp4").unlink()
    with pytest.raises(DataError, match="with none"):
        clips.clip_set(tmp_path, SMALL)
    film(tmp_path / "short.mkv", np.zeros((2, 16, 16, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="too short"):
        clips.clip_set(tmp_path, SMALL)


def test_pictures_show_the_frames(tmp_path: Path) -> None:
    shown = np.zeros((3, 4, 3, 8, 8), dtype=np.float32)
    shown[1, 2, 0] = 1.0  # red: one, half, half
    picture.contact_sheet(shown, tmp_path / "sheet.png", zoom=2)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 18 - 2, 4 * 18 - 2, 3)
    assert sheet[18, 36].tolist() == [255, 128, 128]
    picture.animate(shown, tmp_path / "moving.gif", columns=2, zoom=2)
    assert Image.open(tmp_path / "moving.gif").n_frames == 3  # two equal frames are one
    with pytest.raises(SpaceError, match="as many as clips"):
        picture.contact_sheet(shown, tmp_path / "sheet.png", titles=["one"])

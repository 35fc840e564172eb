"""Shapes of the video diffusion transformers of the ASTRAEA paper, at the lengths it reports.

Read in the models' published configurations: blocks, widths, heads, patch and autoencoder strides,
prompt length, steps. Inferred: the resolution and the number of frames behind "2 s", "4 s" and "5 s",
as those whose product count is nearest to the paper's PFLOPs of full sampling (`PUBLISHED`).
"""

from __future__ import annotations

from typing import Any

from ...costmodels.diffusion import VideoTransformer

# 832 x 480 at 16 frames/s, 4n + 1 of them: 33 and 65 frames, 9 and 17 latent ones of 60 x 104 / (2 x 2).
# Wan 2.1 configuration wan_t2v_1_3B (read): 30 blocks, 1536 wide, 12 heads, FFN 8960, patch (1, 2, 2),
# autoencoder (4, 8, 8), 512 prompt tokens; 50 steps with guidance. Frames inferred: 7.3 and 19.9 PFLOP.
_WAN: dict[str, Any] = {"blocks": 30, "hidden": 1536, "heads": 12, "head_dim": 128, "intermediate": 8960}
# 848 x 480 at 24 frames/s: 51 and 102 frames, 15 and 30 latent ones (17 frames become 5) of 60 x 106 / 4.
# STDiT3-XL/2 (read): 28 pairs of a spatial and a temporal block, 1152 wide, 16 heads, MLP ratio 4,
# 300 prompt tokens, 30 steps with guidance. The published clips have 51 frames of 848 x 480.
_OPENSORA: dict[str, Any] = {"blocks": 56, "hidden": 1152, "heads": 16, "head_dim": 72, "intermediate": 4608}
_PLACES = 30 * 53
# 960 x 544 (inferred), 129 frames: 33 latent ones of 68 x 120 / 4. HunyuanVideo (read): 20 double and 40
# single blocks, alike in their count of products, 3072 wide, 24 heads, MLP ratio 4, 256 prompt tokens
# carried beside the video's, guidance distilled, 50 steps.
_HUNYUAN = 33 * 34 * 60

SHAPES = {
    shape.name: shape
    for shape in (
        VideoTransformer("wan-2.1-1.3b-2s", **_WAN, tokens=9 * 30 * 52, windows=(9 * 30 * 52,), text=512,
                         passes=2, steps=50),
        VideoTransformer("wan-2.1-1.3b-4s", **_WAN, tokens=17 * 30 * 52, windows=(17 * 30 * 52,), text=512,
                         passes=2, steps=50),
        VideoTransformer("hunyuan-video-5s", 60, 3072, 24, 128, 12288, tokens=_HUNYUAN, windows=(_HUNYUAN,),
                         text=256, cross=False, passes=1, steps=50),
        VideoTransformer("opensora-1.2-2s", **_OPENSORA, tokens=15 * _PLACES, windows=(_PLACES, 15),
                         text=300, passes=2, steps=30),
        VideoTransformer("opensora-1.2-4s", **_OPENSORA, tokens=30 * _PLACES, windows=(_PLACES, 30),
                         text=300, passes=2, steps=30),
    )
}  # fmt: skip

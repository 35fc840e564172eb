"""The renderer in PyTorch, on any device, with gradients: for fine-tuning and for comparison.

Tile lists come from the compiled renderer (they carry no gradient, as in Kerbl et al. 2023); projection,
colour and blending are tensor operations on batches of tiles, a chunk of each list at a time. Gradients
do not pass the choices: which tiles, which order, alpha < 1/255, the cap at 0.99, the early stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .binning import TileLists, bin_tiles
from .cameras import Camera
from .gaussians import Gaussians
from .projection import ALPHA_LEAST, ALPHA_MOST, LOW_PASS, intrinsics, project

STOP = 1e-4
CHUNK = 64  # entries of a list at a time
ELEMENTS = 1 << 22  # of the largest tensor: a bound on memory


@dataclass(frozen=True, eq=False)
class Tensors:
    """The fields of `Gaussians` as tensors of one type and device."""

    means: Tensor
    scales: Tensor
    quaternions: Tensor
    opacities: Tensor
    harmonics: Tensor

    @classmethod
    def of(
        cls,
        scene: Gaussians,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        gradient: bool = False,
    ) -> Tensors:
        """The tensors of a scene; with `gradient` they are leaves that collect one."""
        made = [
            torch.tensor(getattr(scene, f.name), dtype=dtype, device=device, requires_grad=gradient)
            for f in fields(cls)
        ]
        return cls(*made)

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, f.name) for f in fields(self))

    def scene(self) -> Gaussians:
        """The scene these tensors describe."""
        return Gaussians(*(t.detach().cpu().numpy() for t in self))


@dataclass(frozen=True, eq=False)
class Splats:
    """Gaussians on the screen, by tensor: centre (M, 2), half a, shear, half v (M,) as in `Projected`,
    opacity (M,), colour (M, 3)."""

    centre: Tensor
    half_a: Tensor
    shear: Tensor
    half_v: Tensor
    opacity: Tensor
    colour: Tensor


def render_tensors(
    tensors: Tensors,
    camera: Camera,
    *,
    tile: int = 16,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """Image (h, w, 3) and transmittance (h, w) of a scene in tensors, with a gradient where they have one.

    Equal to `frame.render` up to rounding; memory grows with the length of the longest tile list where
    gradients are kept, and is bounded by ELEMENTS where they are not.
    """
    projected = project(tensors.scene(), camera)
    lists = bin_tiles(projected, camera, tile=tile)
    index = torch.from_numpy(projected.index.astype(np.int64)).to(tensors.means.device)
    splats = project_tensors(tensors, camera, index)
    behind = torch.as_tensor(background, dtype=tensors.means.dtype, device=tensors.means.device)
    light, through = _blend(splats, lists, chunk)
    light = light + through[..., None] * behind
    return _picture(light, lists, camera), _picture(through[..., None], lists, camera)[..., 0]


def project_tensors(tensors: Tensors, camera: Camera, index: Tensor) -> Splats:
    """The Gaussians at `index` (M,) on the screen of a camera."""
    means, scales, turns, opacities, harmonics = (t[index] for t in tensors)
    like: dict[str, Any] = {"dtype": means.dtype, "device": means.device}
    rotation = torch.tensor(camera.rotation, **like)
    away = means - torch.tensor(camera.position, **like)
    fx, fy, cx, cy, low_x, high_x, low_y, high_y = intrinsics(camera)
    x, y, z = (away @ rotation.T).unbind(-1)
    tx, ty = (x / z).clamp(low_x, high_x), (y / z).clamp(low_y, high_y)
    right = (fx / z)[:, None] * (rotation[0] - tx[:, None] * rotation[2])
    down = (fy / z)[:, None] * (rotation[1] - ty[:, None] * rotation[2])
    axes = _rotations(turns) * scales[:, None, :]
    a = (right[:, None, :] @ axes)[:, 0]
    b = (down[:, None, :] @ axes)[:, 0]
    xx, yy, xy = (a * a).sum(-1) + LOW_PASS, (b * b).sum(-1) + LOW_PASS, (a * b).sum(-1)
    cross = torch.linalg.cross(a, b)
    determinant = (cross * cross).sum(-1) + LOW_PASS * (xx + yy - LOW_PASS)
    basis = _harmonics(away / away.norm(dim=-1, keepdim=True), harmonics.shape[1])
    colour = (0.5 + (basis[:, :, None] * harmonics).sum(1)).clamp(min=0)
    centre = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    return Splats(centre, 0.5 * yy / determinant, -xy / yy, 0.5 / yy, opacities, colour)


def _rotations(turns: Tensor) -> Tensor:
    """Rotation matrices (M, 3, 3) of quaternions w x y z of any length."""
    w, x, y, z = (turns / turns.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    matrices: Tensor = torch.stack(rows, -1).reshape(-1, 3, 3)
    return matrices


def _harmonics(direction: Tensor, count: int) -> Tensor:
    """Real spherical harmonics of unit directions, (M, count)."""
    x, y, z = direction.unbind(-1)
    found = [torch.full_like(x, 0.28209479177387814)]
    if count > 1:
        found += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if count > 4:
        found += [
            1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y), -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]  # fmt: skip
    if count > 9:
        found += [
            -0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y), 1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]  # fmt: skip
    basis: Tensor = torch.stack(found, -1)
    return basis


def _blend(splats: Splats, lists: TileLists, chunk: int) -> tuple[Tensor, Tensor]:
    """Light (tiles, tile^2, 3) and transmittance (tiles, tile^2) of all tiles."""
    device = splats.centre.device
    start = torch.from_numpy(lists.start).to(device)
    members = torch.from_numpy(lists.members.astype(np.int64)).to(device)
    if not len(members):
        members = torch.zeros(1, dtype=torch.int64, device=device)
    pixels = lists.tile * lists.tile
    tiles = lists.columns * lists.rows
    batch = max(1, ELEMENTS // (chunk * pixels))
    # tiles of like length together, so that few chunks are padding
    order = torch.argsort(start[1:] - start[:-1], stable=True)
    light, through = [], []
    for part in order.split(batch):
        found = _blend_tiles(splats, part, start, members, lists, chunk)
        light.append(found[0])
        through.append(found[1])
    back = torch.empty_like(order)
    back[order] = torch.arange(tiles, device=device)
    return torch.cat(light)[back], torch.cat(through)[back]


def _blend_tiles(
    splats: Splats, tiles: Tensor, start: Tensor, members: Tensor, lists: TileLists, chunk: int
) -> tuple[Tensor, Tensor]:
    """Light and transmittance of some tiles."""
    like: dict[str, Any] = {"dtype": splats.centre.dtype, "device": splats.centre.device}
    steps = torch.arange(lists.tile, **like) + 0.5
    px = (tiles % lists.columns * lists.tile)[:, None] + steps.repeat(lists.tile)
    py = (tiles // lists.columns * lists.tile)[:, None] + steps.repeat_interleave(lists.tile)
    first, end = start[tiles], start[tiles + 1]
    through = torch.ones(px.shape, **like)
    light = torch.zeros((*px.shape, 3), **like)
    open_ = torch.ones(px.shape, dtype=torch.bool, device=like["device"])
    for offset in range(0, int((end - first).max()) if len(splats.opacity) else 0, chunk):
        entry = first[:, None] + offset + torch.arange(chunk, device=like["device"])
        real = entry < end[:, None]
        m = members[entry.clamp(max=len(members) - 1)]
        centre = splats.centre[m]
        dy = py[:, None, :] - centre[..., 1:]
        u = px[:, None, :] - centre[..., :1] + splats.shear[m][..., None] * dy
        power = splats.half_a[m][..., None] * u * u + splats.half_v[m][..., None] * dy * dy
        alpha = (splats.opacity[m][..., None] * torch.exp(-power)).clamp(max=ALPHA_MOST)
        alpha = torch.where((alpha >= ALPHA_LEAST) & real[..., None] & open_[:, None, :], alpha, 0.0)
        after = torch.cumprod(1 - alpha, 1) * through[:, None, :]
        drawn = after.detach() >= STOP  # falls along the list, so that nothing behind is drawn either
        alpha = torch.where(drawn, alpha, 0.0)
        before = torch.cat([through[:, None, :], after[:, :-1]], 1)
        light = light + torch.einsum("tkp,tkc->tpc", before * alpha, splats.colour[m])
        through = through * torch.prod(1 - alpha, 1)
        open_ = open_ & drawn.all(1)
        if not bool(open_.any()):
            break
    return light, through


def _picture(values: Tensor, lists: TileLists, camera: Camera) -> Tensor:
    """Values of tiles (tiles, tile^2, C) as a picture (h, w, C)."""
    side, channels = lists.tile, values.shape[-1]
    whole = values.reshape(lists.rows, lists.columns, side, side, channels).permute(0, 2, 1, 3, 4)
    picture: Tensor = whole.reshape(lists.rows * side, lists.columns * side, channels)
    return picture[: camera.height, : camera.width]

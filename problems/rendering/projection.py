"""From Gaussians in the world to ellipses on the screen, sorted by depth (EWA splatting).

Kerbl et al. 2023 and gsplat agree on the constants: depth above `near` only, the direction of the
Jacobian clamped at 1.3 times the half field of view, 0.3 pixel^2 added to both variances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .cameras import Camera
from .compiled import Scalar, compiled
from .gaussians import Gaussians

Array = npt.NDArray[Any]
LOW_PASS = 0.3  # added to both variances, pixel^2
CLAMP = 0.3  # of the half field of view, beyond its edge
ALPHA_LEAST = 1.0 / 255.0  # what is fainter is skipped
ALPHA_MOST = 0.99
CIRCLE_SIGMAS = 3.0  # radius of the circle of Kerbl et al.

# columns of Projected.splats; half_* are halved so that power = half_a u^2 + half_v dy^2 (see `blending`)
X, Y, HALF_A, SHEAR, HALF_V, LIMIT, OPACITY, RED, GREEN, BLUE = range(10)
COLUMNS = 10


@dataclass(frozen=True, eq=False)
class Projected:
    """The M Gaussians of a frame that reach the screen, nearest first (ties by index).

    index (M,): position in the scene; depth (M,): along the view axis; splats (M, 10): centre x and y
    (pixels), half a, shear b/a, half the inverse of the variance along y, power limit ln(255 opacity),
    opacity, red, green, blue; extent (M, 2): half width and height of the box that holds every pixel with
    alpha >= 1/255; radius (M,): ceil(3 sigma) of the longest axis, pixels.
    frustum: how many lay beyond the near plane.

    The conic [[a, b], [b, c]] is the inverse covariance. With u = dx + (b/a) dy the exponent is
    (a u^2 + dy^2 / var_y) / 2: a sum of squares, so that long thin Gaussians lose no digits.
    """

    index: Array
    depth: Array
    splats: Array
    extent: Array
    radius: Array
    frustum: int

    def __len__(self) -> int:
        return len(self.index)


def project(scene: Gaussians, camera: Camera) -> Projected:
    """Project a scene, drop what does not reach the screen, sort by depth.

    Dropped: depth <= near; opacity below 1/255; a box (of alpha >= 1/255, or the 3-sigma circle) outside
    the frame; a variance on the screen beyond the range of float32.
    """
    frustum, kept, depth, splats, extent, radius = _project(
        scene.means, scene.scales, scene.quaternions, scene.opacities, scene.harmonics,
        camera.rotation.astype(np.float32), camera.position, *intrinsics(camera),
        camera.width, camera.height, camera.near,
    )  # fmt: skip
    order = depth_order(depth)
    kept, depth, splats, extent, radius = (
        v.take(order, axis=0) for v in (kept, depth, splats, extent, radius)
    )
    return Projected(kept, depth, splats, extent, radius, int(frustum))


def intrinsics(camera: Camera) -> tuple[float, float, float, float, float, float, float, float]:
    """focal x, focal y, centre x and y, and the clamped range of x/z and y/z (low, high)."""
    fx, fy = camera.focal, camera.focal_y
    cx, cy = camera.principal
    half_x, half_y = 0.5 * camera.width / fx, 0.5 * camera.height / fy
    return (
        fx, fy, cx, cy,
        -(cx / fx + CLAMP * half_x), (camera.width - cx) / fx + CLAMP * half_x,
        -(cy / fy + CLAMP * half_y), (camera.height - cy) / fy + CLAMP * half_y,
    )  # fmt: skip


@compiled
def _project(
    means: Array, scales: Array, quaternions: Array, opacities: Array, harmonics: Array,
    rotation: Array, position: Array, fx: float, fy: float, cx: float, cy: float,
    low_x: float, high_x: float, low_y: float, high_y: float, width: int, height: int, near: float,
) -> tuple[int, Array, Array, Array, Array, Array]:  # fmt: skip
    """The body of `project` before sorting: frustum, index, depth, splats, extent, radius."""
    count, coefficients = len(means), harmonics.shape[1]
    least, low_pass = np.float32(ALPHA_LEAST), np.float32(LOW_PASS)
    px, py, pz = position[0], position[1], position[2]
    frustum = reached = 0
    index = np.empty(count, np.int32)
    for i in range(count):  # which lie before the camera: depth and place first, they are cheap
        x, y, z = means[i, 0] - px, means[i, 1] - py, means[i, 2] - pz
        depth = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
        if depth > near:
            frustum += 1
            if opacities[i] >= least:
                index[reached] = i
                reached += 1
    depths = np.empty(reached, np.float32)
    splats = np.empty((reached, COLUMNS), np.float32)
    extents = np.empty((reached, 2), np.float32)
    radii = np.empty(reached, np.float32)
    m = 0
    basis = np.empty(16, np.float32)
    for k in range(reached):
        i = index[k]
        wx, wy, wz = means[i, 0] - px, means[i, 1] - py, means[i, 2] - pz
        x = rotation[0, 0] * wx + rotation[0, 1] * wy + rotation[0, 2] * wz
        y = rotation[1, 0] * wx + rotation[1, 1] * wy + rotation[1, 2] * wz
        z = rotation[2, 0] * wx + rotation[2, 1] * wy + rotation[2, 2] * wz
        inverse = 1.0 / z
        # rows of J W, J the Jacobian of the perspective map with its direction clamped
        tx = min(max(x * inverse, low_x), high_x)
        ty = min(max(y * inverse, low_y), high_y)
        jx, jy = fx * inverse, fy * inverse
        u0 = jx * (rotation[0, 0] - tx * rotation[2, 0])
        u1 = jx * (rotation[0, 1] - tx * rotation[2, 1])
        u2 = jx * (rotation[0, 2] - tx * rotation[2, 2])
        v0 = jy * (rotation[1, 0] - ty * rotation[2, 0])
        v1 = jy * (rotation[1, 1] - ty * rotation[2, 1])
        v2 = jy * (rotation[1, 2] - ty * rotation[2, 2])
        qw, qx, qy, qz = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
        sx, sy, sz = scales[i, 0], scales[i, 1], scales[i, 2]
        # columns of R S: the axes of the ellipsoid; seen from the screen they are (a_k, b_k)
        r00, r10, r20 = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)
        r01, r11, r21 = 2 * (qx * qy - qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qw * qx)
        r02, r12, r22 = 2 * (qx * qz + qw * qy), 2 * (qy * qz - qw * qx), 1 - 2 * (qx * qx + qy * qy)
        a0 = sx * (u0 * r00 + u1 * r10 + u2 * r20)
        a1 = sy * (u0 * r01 + u1 * r11 + u2 * r21)
        a2 = sz * (u0 * r02 + u1 * r12 + u2 * r22)
        b0 = sx * (v0 * r00 + v1 * r10 + v2 * r20)
        b1 = sy * (v0 * r01 + v1 * r11 + v2 * r21)
        b2 = sz * (v0 * r02 + v1 * r12 + v2 * r22)
        xx = a0 * a0 + a1 * a1 + a2 * a2 + low_pass
        yy = b0 * b0 + b1 * b1 + b2 * b2 + low_pass
        xy = a0 * b0 + a1 * b1 + a2 * b2
        # the determinant as a sum of squares (Lagrange's identity): exact for needles too
        c0, c1, c2 = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
        spread = (xx - low_pass) + (yy - low_pass)
        determinant = c0 * c0 + c1 * c1 + c2 * c2 + low_pass * spread + low_pass * low_pass
        if not (determinant > 0 and determinant < np.inf):
            continue  # larger than any number can hold
        centre_x, centre_y = fx * x * inverse + cx, fy * y * inverse + cy
        middle = 0.5 * (xx + yy)
        longest = middle + math.sqrt(max(0.1, middle * middle - determinant))
        radius = math.ceil(CIRCLE_SIGMAS * math.sqrt(longest))
        opacity = opacities[i]
        limit = max(math.log(255.0 * opacity), 0.0)
        wide = math.sqrt(2.0 * limit)
        half_width, half_height = wide * math.sqrt(xx), wide * math.sqrt(yy)
        reach_x, reach_y = max(half_width, radius), max(half_height, radius)
        if (
            centre_x + reach_x <= 0 or centre_x - reach_x >= width
            or centre_y + reach_y <= 0 or centre_y - reach_y >= height
        ):  # fmt: skip
            continue
        index[m], depths[m], radii[m] = i, z, radius
        extents[m, 0], extents[m, 1] = half_width, half_height
        splats[m, X], splats[m, Y] = centre_x, centre_y
        splats[m, HALF_A] = 0.5 * yy / determinant
        splats[m, SHEAR] = -xy / yy
        splats[m, HALF_V] = 0.5 / yy
        splats[m, LIMIT] = limit
        splats[m, OPACITY] = opacity
        away = 1.0 / math.sqrt(wx * wx + wy * wy + wz * wz)
        evaluate_basis(
            np.float32(wx * away), np.float32(wy * away), np.float32(wz * away), coefficients, basis
        )
        for channel in range(3):
            value = np.float32(0.5)
            for c in range(coefficients):
                value += basis[c] * harmonics[i, c, channel]
            splats[m, RED + channel] = max(value, np.float32(0))
        m += 1
    return frustum, index[:m], depths[:m], splats[:m], extents[:m], radii[:m]


@compiled
def evaluate_basis(x: Scalar, y: Scalar, z: Scalar, coefficients: int, basis: Array) -> None:
    """Real spherical harmonics of a unit direction, signs and order as in trained scenes."""
    basis[0] = 0.28209479177387814
    if coefficients > 1:
        basis[1] = -0.4886025119029199 * y
        basis[2] = 0.4886025119029199 * z
        basis[3] = -0.4886025119029199 * x
    if coefficients > 4:
        xx, yy, zz = x * x, y * y, z * z
        basis[4] = 1.0925484305920792 * x * y
        basis[5] = -1.0925484305920792 * y * z
        basis[6] = 0.31539156525252005 * (2 * zz - xx - yy)
        basis[7] = -1.0925484305920792 * x * z
        basis[8] = 0.5462742152960396 * (xx - yy)
        if coefficients > 9:
            basis[9] = -0.5900435899266435 * y * (3 * xx - yy)
            basis[10] = 2.890611442640554 * x * y * z
            basis[11] = -0.4570457994644658 * y * (4 * zz - xx - yy)
            basis[12] = 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy)
            basis[13] = -0.4570457994644658 * x * (4 * zz - xx - yy)
            basis[14] = 1.445305721320277 * z * (xx - yy)
            basis[15] = -0.5900435899266435 * x * (xx - 3 * yy)


def depth_order(depth: Array) -> Array:
    """Positions in order of increasing depth, ties kept in order; depths are positive float32."""
    return _radix_order(depth.view(np.uint32))


@compiled
def _radix_order(keys: Array) -> Array:
    """Stable order of 32-bit keys in three passes of 11 bits."""
    count = len(keys)
    order, other = np.arange(count, dtype=np.int32), np.empty(count, np.int32)
    for shift in (0, 11, 22):
        start = np.zeros(2049, np.int64)
        for i in range(count):
            start[((keys[i] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        for b in range(2048):
            start[b + 1] += start[b]
        for i in range(count):
            item = order[i]
            digit = (keys[item] >> np.uint32(shift)) & np.uint32(2047)
            other[start[digit]] = item
            start[digit] += 1
        order, other = other, order
    return order

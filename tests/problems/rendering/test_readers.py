"""Scenes written here in each format are read back; what is broken is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tradespace.errors import DataError
from tradespace.problems.rendering.gaussians import Gaussians
from tradespace.problems.rendering.readers import read_scene
from tradespace.problems.rendering.synthetic import C0, cloud
from tradespace.problems.rendering.zstandard import unpack

Write = Callable[[Path, Gaussians], None]
SCENE = cloud(300, seed=7, degree=2)


def table(rows: np.ndarray, name: str) -> tuple[str, bytes]:
    """Header lines and bytes of one element."""
    words = {"<f4": "float", "<u4": "uint", "|u1": "uchar"}
    lines = [f"property {words[rows.dtype[p].str]} {p}" for p in rows.dtype.names or ()]
    return "\n".join([f"element {name} {len(rows)}", *lines]), rows.tobytes()


def polygon(path: Path, *tables: tuple[str, bytes]) -> None:
    """Write a binary polygon file."""
    head = "\n".join(["ply", "format binary_little_endian 1.0", *(t[0] for t in tables), "end_header", ""])
    path.write_bytes(head.encode() + b"".join(t[1] for t in tables))


def columns(named: dict[str, np.ndarray], dtype: str) -> np.ndarray:
    """A structured array of equal columns."""
    rows = np.empty(len(next(iter(named.values()))), [(name, dtype) for name in named])
    for name, values in named.items():
        rows[name] = values
    return rows


def write_ply(path: Path, scene: Gaussians) -> None:
    """As trained."""
    opacity = np.clip(scene.opacities, 1e-6, 1 - 1e-6)
    rest = scene.harmonics[:, 1:].transpose(0, 2, 1).reshape(len(scene), -1)
    named = {a: scene.means[:, i] for i, a in enumerate("xyz")}
    named |= {f"f_dc_{i}": scene.harmonics[:, 0, i] for i in range(3)}
    named |= {f"f_rest_{i}": rest[:, i] for i in range(rest.shape[1])}
    named |= {"opacity": np.log(opacity / (1 - opacity))}
    named |= {f"scale_{i}": np.log(scene.scales[:, i]) for i in range(3)}
    named |= {f"rot_{i}": 3 * scene.quaternions[:, i] for i in range(4)}
    polygon(path, table(columns(named, "<f4"), "vertex"))


def smallest_three(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of the largest component and the three others, signed so that the largest is positive."""
    largest = np.argmax(np.abs(q), axis=1)
    q = q * np.sign(np.take_along_axis(q, largest[:, None], 1))
    return largest, np.stack([np.delete(row, k) for row, k in zip(q, largest, strict=True)])


def write_compressed(path: Path, scene: Gaussians) -> None:
    """Chunks of 256."""

    def ranged(values: np.ndarray, bits: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cuts = [values[i : i + 256] for i in range(0, len(values), 256)]
        low, high = (np.stack([f(c, axis=0) for c in cuts]) for f in (np.min, np.max))
        share = (values - np.repeat(low, 256, 0)[: len(values)]) / np.repeat(high - low, 256, 0)[
            : len(values)
        ]
        return low, high, np.round(share * (2.0 ** np.array(bits) - 1)).astype(np.uint32)

    light = 0.5 + C0 * scene.harmonics[:, 0]
    parts = {
        "": ranged(scene.means, (11, 10, 11)),
        "scale_": ranged(np.log(scene.scales), (11, 10, 11)),
        "c": ranged(light, (8, 8, 8)),
    }
    chunk = {}
    for name, (low, high, _) in parts.items():
        for i in range(3):
            axis = "rgb"[i] if name == "c" else name + "xyz"[i]
            chunk[f"min_{axis}"], chunk[f"max_{axis}"] = low[:, i], high[:, i]
    largest, kept = smallest_three(scene.quaternions)
    r = np.round((kept / np.sqrt(2) + 0.5) * 1023).astype(np.uint32)
    p, s, c = (parts[name][2] for name in ("", "scale_", "c"))
    alpha = np.round(255 * scene.opacities).astype(np.uint32)
    packed = {
        "packed_position": p[:, 0] << 21 | p[:, 1] << 11 | p[:, 2],
        "packed_rotation": largest.astype(np.uint32) << 30 | r[:, 0] << 20 | r[:, 1] << 10 | r[:, 2],
        "packed_scale": s[:, 0] << 21 | s[:, 1] << 11 | s[:, 2],
        "packed_color": c[:, 0] << 24 | c[:, 1] << 16 | c[:, 2] << 8 | alpha,
    }
    rest = scene.harmonics[:, 1:].transpose(0, 2, 1).reshape(len(scene), -1)
    codes = np.clip(np.floor((rest / 8 + 0.5) * 256), 0, 255)
    sh = {f"f_rest_{i}": codes[:, i] for i in range(rest.shape[1])}
    polygon(
        path,
        table(columns(chunk, "<f4"), "chunk"),
        table(columns(packed, "<u4"), "vertex"),
        table(columns(sh, "|u1"), "sh"),
    )


def webp(pixels: np.ndarray) -> bytes:
    """A lossless image."""
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "WEBP", lossless=True, exact=True)
    return out.getvalue()


def sog_members(scene: Gaussians) -> dict[str, bytes]:
    """Planes 20 pixels wide; the palette holds the first 100 Gaussians' harmonics, a quarter degree off."""
    count, wide = len(scene), 20
    high = -(-count // wide) + 1

    def plane(*channels: np.ndarray) -> bytes:
        picture = np.full((high * wide, 4), 255)
        for i, values in enumerate(channels):
            picture[:count, i] = values
        return webp(picture.reshape(high, wide, 4))

    def coded(values: np.ndarray) -> tuple[list[float], np.ndarray]:
        book = np.linspace(values.min(), values.max(), 256)
        return book.tolist(), np.argmin(np.abs(values[..., None] - book), axis=-1)

    logs = np.sign(scene.means) * np.log1p(np.abs(scene.means))
    low, span = logs.min(axis=0), np.ptp(logs, axis=0)
    words = np.round((logs - low) / span * 65535).astype(int)
    sizes, size_codes = coded(np.log(scene.scales))
    lights, light_codes = coded(scene.harmonics[:, 0])
    largest, kept = smallest_three(scene.quaternions)
    turns = np.round((kept / np.sqrt(2) + 0.5) * 255)
    rest, rest_codes = coded(scene.harmonics[:, 1:])
    palette = np.zeros((-(-count // 64) * 64, 8, 3))
    palette[:count] = rest_codes
    labels = np.arange(count)
    meta = {
        "version": 2,
        "count": count,
        "means": {"mins": low.tolist(), "maxs": (low + span).tolist(), "files": ["l.webp", "u.webp"]},
        "scales": {"codebook": sizes, "files": ["s.webp"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"codebook": lights, "files": ["c.webp"]},
        "shN": {"count": count, "bands": 2, "codebook": rest, "files": ["p.webp", "n.webp"]},
    }
    return {
        "meta.json": json.dumps(meta).encode(),
        "l.webp": plane(*(words % 256).T),
        "u.webp": plane(*(words // 256).T),
        "s.webp": plane(*size_codes.T),
        "q.webp": plane(*turns.T, 252 + largest),
        "c.webp": plane(*light_codes.T, np.round(255 * scene.opacities)),
        "p.webp": webp(palette.reshape(-1, 512, 3)),
        "n.webp": plane(labels % 256, labels // 256),
    }


def write_sog(path: Path, scene: Gaussians) -> None:
    """A zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in sog_members(scene).items():
            archive.writestr(name, data)


SIGNS = {4: (1, -1, -1), 5: (-1, 1, 1), 6: (1, 1, 1)}  # right up back, left down front, right down front
ODD = ("y", "z", "x", "xy", "yz", "", "xz", "")


def spz_arrays(scene: Gaussians, version: int = 3, axes: int = 4) -> list[bytes]:
    """The arrays of an SPZ file in order, in the given axes: what is odd in a turned axis changes sign."""
    flip = np.array(SIGNS[axes])
    if version == 1:
        position = (scene.means * flip).astype("<f2").view(np.uint8)
    else:
        fixed = np.round(scene.means * flip * 4096).astype(np.int64) & 0xFFFFFF
        position = np.stack([fixed & 255, fixed >> 8 & 255, fixed >> 16], axis=-1).reshape(len(scene), 9)
    turned = [1, *(flip.prod() * flip)]
    q = np.roll(scene.quaternions * turned, -1, axis=1).astype(float)  # x y z w
    if version >= 3:
        largest, kept = smallest_three(q)
        size = np.floor(511 * np.abs(kept) * np.sqrt(2) + 0.5).astype(np.uint32)
        field = (kept < 0).astype(np.uint32) << 9 | size
        word = largest.astype(np.uint32) << 30 | field[:, 0] << 20 | field[:, 1] << 10 | field[:, 2]
        rotation = word.astype("<u4").view(np.uint8).reshape(-1, 4)
    else:
        rotation = np.round(q[:, :3] * np.sign(q[:, 3:]) * 127.5 + 127.5)
    even = np.array([np.prod([flip["xyz".index(a)] for a in names]) for names in ODD])
    rest = np.round(scene.harmonics[:, 1:] * even[:, None] * 128 + 128).reshape(len(scene), -1)
    parts = [
        position, 255 * scene.opacities, scene.harmonics[:, 0] * 0.15 * 255 + 127.5,
        (np.log(scene.scales) + 10) * 16, rotation, rest,
    ]  # fmt: skip
    return [np.clip(np.round(p), 0, 255).astype(np.uint8).tobytes() for p in parts]


def write_spz(
    path: Path, scene: Gaussians, version: int = 3, packed: bool = True, extension: bytes = b"", axes: int = 4
) -> None:
    """One stream, gzipped or not."""
    head = struct.pack("<4sIIBBBB", b"NGSP", version, len(scene), 2, 12, 2 if extension else 0, 0)
    data = head + b"".join(spz_arrays(scene, version, axes)) + extension
    path.write_bytes(gzip.compress(data) if packed else data)


def raw_zstd(data: bytes) -> bytes:
    """A Zstandard frame of blocks as they are, and of runs (RFC 8878, sections 3.1.1.1 and 3.1.1.2)."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0xA0]) + struct.pack("<I", len(data))  # one segment, its size in 4
    blocks = [data[i : i + 1000] for i in range(0, len(data), 1000)] or [b""]
    for i, block in enumerate(blocks):
        run = len(block) > 1 and len(set(block)) == 1
        head = len(block) << 3 | run << 1 | (i == len(blocks) - 1)
        frame += head.to_bytes(3, "little") + (block[:1] if run else block)
    return frame


def write_spz_4(path: Path, scene: Gaussians, extension: bytes = b"", axes: int = 4) -> None:
    """A stream an attribute, behind a table of their sizes."""
    arrays = spz_arrays(scene, 4, axes)
    streams = [raw_zstd(array) for array in arrays]
    flags, table = 2 if extension else 0, 32 + len(extension)
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, len(scene), 2, 12, flags, len(streams), table)
    sizes = b"".join(struct.pack("<QQ", len(s), len(a)) for s, a in zip(streams, arrays, strict=True))
    path.write_bytes(head + extension + sizes + b"".join(streams))


FORMATS: list[tuple[str, Write, float]] = [
    ("scene.ply", write_ply, 1e-5),
    ("scene.compressed.ply", write_compressed, 0.02),
    ("scene.sog", write_sog, 0.02),
    ("scene.spz", write_spz, 0.04),
    ("scene4.spz", write_spz_4, 0.04),
]


@pytest.mark.parametrize(("name", "write", "error"), FORMATS, ids=[f[0] for f in FORMATS])
def test_what_was_written_is_read(tmp_path: Path, name: str, write: Write, error: float) -> None:
    write(tmp_path / name, SCENE)
    close(read_scene(tmp_path / name), error)


def close(read: Gaussians, error: float) -> None:
    """Read like the scene written, within an error."""
    assert np.abs(read.means - SCENE.means).max() < max(error / 10, 1e-6)
    assert np.abs(np.log(read.scales / SCENE.scales)).max() < max(error, 1e-5)
    assert np.abs(read.opacities - SCENE.opacities).max() < max(error / 4, 2e-6)
    assert np.abs((read.quaternions * SCENE.quaternions).sum(axis=1)).min() > 1 - max(error**2, 1e-6)
    assert np.abs(read.harmonics - SCENE.harmonics).max() < max(error, 1e-5)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("version", "error"), [(1, 0.1), (2, 0.1), (3, 0.04)])
def test_older_spz_is_read_gzipped_or_not(tmp_path: Path, version: int, error: float, packed: bool) -> None:
    write_spz(tmp_path / "scene.spz", SCENE, version, packed)
    close(read_scene(tmp_path / "scene.spz"), error)


@pytest.mark.parametrize("write", [write_spz, write_spz_4])
@pytest.mark.parametrize("axes", [4, 5, 6])
def test_extensions_of_spz_are_skipped_but_for_the_axes(tmp_path: Path, write: Write, axes: int) -> None:
    other, named = struct.pack("<II5s", 0xADBE0002, 5, b"abcde"), struct.pack("<III", 0xADBE0003, 4, axes)
    write(tmp_path / "scene.spz", SCENE, extension=other + named, axes=axes)  # type: ignore[call-arg]
    close(read_scene(tmp_path / "scene.spz"), 0.04)
    write(tmp_path / "scene.spz", SCENE, extension=other)  # type: ignore[call-arg]
    close(read_scene(tmp_path / "scene.spz"), 0.04)


@pytest.mark.parametrize("level", [1, 3, 19])
def test_compressed_zstandard_is_unpacked_as_by_its_library(level: int) -> None:
    codec = pytest.importorskip("pyarrow").Codec("zstd", compression_level=level)
    rng = np.random.default_rng(level)
    for size in (1, 2, 3, 4_095, 300_000):
        data = np.minimum(rng.geometric(0.05, size), 255).astype(np.uint8).tobytes()
        assert unpack(codec.compress(data).to_pybytes(), size, "it") == data


def rewritten(path: Path, form: str, *, lists: str = "", wide: bool = False) -> None:
    """A trained scene of another byte order or as text, with unused lists ("" none, "even", "uneven")."""
    write_ply(path, SCENE)
    content = path.read_bytes()
    names = [line.split()[-1] for line in content.split(b"end_header")[0].decode().splitlines()[3:]]
    rows = np.frombuffer(content.split(b"end_header\n", 1)[1], "<f4").reshape(len(SCENE), -1)
    kind, order = ("double" if wide else "float"), (">" if "big" in form else "<")
    head = ["ply", f"format {form} 1.0", "comment made by a test", "element face 2",
            "property list uchar int vertex_indices", f"element vertex {len(SCENE)}"]  # fmt: skip
    half = len(names) // 2
    head += [f"property {kind} {name}" for name in names[:half]]
    head += ["property list uint8 int16 marks"] * bool(lists)
    head += [f"property {kind} {name}" for name in names[half:]] + ["element edge 1", "property int a"]
    faces = [np.arange(3), np.arange(4)]
    marks = [np.arange(3 if lists == "even" else i % 4) for i in range(len(SCENE))] if lists else None
    if form == "ascii":
        lines = [f"{len(f)} {' '.join(map(str, f))}" for f in faces]
        for i, row in enumerate(rows):
            cells = [f"{value:.9g}" for value in row]
            some = [] if marks is None else [str(len(marks[i])), *map(str, marks[i])]
            lines.append(" ".join([*cells[:half], *some, *cells[half:]]))
        body = "\r\n".join([*lines, "7", ""]).encode()
    else:
        number = np.dtype(order + ("f8" if wide else "f4"))
        body = b"".join(bytes([len(f)]) + f.astype(order + "i4").tobytes() for f in faces)
        for i, row in enumerate(rows.astype(number)):
            some = b"" if marks is None else bytes([len(marks[i])]) + marks[i].astype(order + "i2").tobytes()
            body += row[:half].tobytes() + some + row[half:].tobytes()
        body += np.array([7], order + "i4").tobytes()
    path.write_bytes("\n".join([*head, "end_header", ""]).encode() + body)


@pytest.mark.parametrize("form", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("lists", ["", "even", "uneven"])
@pytest.mark.parametrize("wide", [False, True])
def test_polygon_files_of_every_form_hold_the_same_scene(
    tmp_path: Path, form: str, lists: str, wide: bool
) -> None:
    rewritten(tmp_path / "a.ply", form, lists=lists, wide=wide)
    close(read_scene(tmp_path / "a.ply"), 1e-5)
    content = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(content[: -len(content) // 3])
    with pytest.raises(DataError, match=r"cut off|columns of numbers"):
        read_scene(tmp_path / "a.ply")


def test_sog_version_1_is_read(tmp_path: Path) -> None:
    """Codebooks of 256 numbers become even steps between ends; opacity is coded before its sigmoid."""
    members = sog_members(SCENE)
    meta = json.loads(members["meta.json"])
    count, wide = len(SCENE), 20

    def plane(values: np.ndarray) -> bytes:
        picture = np.full((-(-count // wide) * wide, 4), 255)
        picture[:count, : values.shape[1]] = values
        return webp(picture.reshape(-1, wide, 4))

    def steps(values: np.ndarray) -> tuple[list[float], list[float], np.ndarray]:
        low, high = values.min(axis=0), values.max(axis=0)
        return low.tolist(), high.tolist(), np.round((values - low) / (high - low) * 255)

    alpha = np.clip(SCENE.opacities, 0.01, 0.99)
    light = np.column_stack([SCENE.harmonics[:, 0], np.log(alpha / (1 - alpha))])
    for name, member, values in (("scales", "s.webp", np.log(SCENE.scales)), ("sh0", "c.webp", light)):
        low, high, codes = steps(values)
        meta[name] = {"shape": list(values.shape), "mins": low, "maxs": high, "files": [member]}
        members[member] = plane(codes)
    book = meta["shN"].pop("codebook")  # even steps as it is
    meta["shN"] = {"mins": min(book), "maxs": max(book), "quantization": 8, "files": meta["shN"]["files"]}
    meta["means"]["shape"] = [meta.pop("count"), 3]
    del meta["version"]
    members["meta.json"] = json.dumps(meta).encode("utf-16")
    for name, data in members.items():
        (tmp_path / name).write_bytes(data)
    read = read_scene(tmp_path)
    assert np.abs(read.opacities - alpha).max() < 0.02
    assert np.abs(np.log(read.scales / SCENE.scales)).max() < 0.02
    assert np.abs(read.harmonics - SCENE.harmonics).max() < 0.02
    assert np.abs(read.means - SCENE.means).max() < 0.002


def test_a_folder_with_levels_is_read_by_level(tmp_path: Path) -> None:
    parts = [SCENE.take(slice(0, 100)), SCENE.take(slice(100, 300)), SCENE.take(slice(0, 80))]
    for i, part in enumerate(parts):
        (tmp_path / f"{i}").mkdir()
        for name, data in sog_members(part).items():
            (tmp_path / f"{i}" / name).write_bytes(data)
    leaf = [{"lods": {"0": {"file": i}, "1": {"file": 2}}} for i in range(2)]
    meta = {"lodLevels": 2, "filenames": [f"{i}/meta.json" for i in range(3)], "tree": {"children": leaf}}
    (tmp_path / "lod-meta.json").write_text(json.dumps(meta))
    assert [len(read_scene(tmp_path, level=level)) for level in (0, 1)] == [300, 80]
    with pytest.raises(DataError, match="levels 0 to 1, not 2"):
        read_scene(tmp_path, level=2)


def broken(change: Callable[[bytes], bytes]) -> Callable[[Path, Gaussians, Write], None]:
    """A file written and then spoilt."""

    def spoil(path: Path, scene: Gaussians, write: Write) -> None:
        write(path, scene)
        path.write_bytes(change(path.read_bytes()))

    return spoil


def huge_spz(data: bytes) -> bytes:
    """A count of 10 million in the header of a short stream."""
    plain = gzip.decompress(data)
    return gzip.compress(plain[:8] + struct.pack("<I", 10_000_000) + plain[12:])


FAULTS = [
    ("a.ply", write_ply, lambda d: d[:-100], "cut off"),
    ("a.ply", write_ply, lambda d: d.replace(b"vertex 300", b"vertex 30000000000"), "cut off"),
    ("a.ply", write_ply, lambda d: d.replace(b"float x", b"float X"), "lacks x"),
    ("a.ply", write_ply, lambda d: d.replace(b"binary_little_endian", b"ascii"), "columns of numbers"),
    ("a.ply", write_ply, lambda d: d.replace(b"binary_little_endian", b"binary"), "its format is 'binary'"),
    ("a.ply", write_ply, lambda d: d.replace(b"float x", b"list float x"), "line that cannot be read"),
    ("a.ply", write_ply, lambda d: d.replace(b"end_header", b"end_footer"), "no 'end_header'"),
    ("a.ply", write_ply, lambda d: d.replace(b"float f_rest_3\n", b"float f_best_3\n"), "23 f_rest"),
    ("a.ply", write_ply, lambda d: d[:-4] + struct.pack("<f", np.nan), "quaternions must be finite"),
    ("a.ply", write_ply, lambda d: d[:-16] + bytes(16), "quaternions must not be zero"),
    ("c.ply", write_compressed, lambda d: d.replace(b"chunk 2", b"chunk 1"), "too few"),
    ("c.ply", write_compressed, lambda d: d.replace(b"packed_scale", b"packed_snail"), "lacks packed_scale"),
    ("s.sog", write_sog, lambda d: d[:2000], "no zip"),
    ("s.sog", write_sog, lambda d: d.replace(b'"version": 2', b'"version": 7'), "cannot be unpacked"),
    ("s.spz", write_spz, lambda d: d[: len(d) // 2], "cut off"),
    ("s.spz", write_spz, lambda d: gzip.decompress(d)[:-9], "cut off"),
    ("s.spz", write_spz, lambda d: d[:20] + bytes(40) + d[60:], "damaged"),
    ("s.spz", write_spz_4, lambda d: d[:-9], "cut off within its harmonics"),
    ("s.spz", write_spz_4, lambda d: d[:24], "cut off"),
    ("s.spz", write_spz_4, lambda d: d[:15] + bytes([5]) + d[16:], "its streams unpack to"),
    ("s.spz", write_spz_4, lambda d: d[:128] + b"what" + d[132:], "its positions are no Zstandard stream"),
    ("s.spz", write_spz_4, lambda d: d[:40] + struct.pack("<Q", 9) + d[48:], "its streams unpack to 9"),
    ("s.spz", write_spz_4, lambda d: d[:4] + b"\x05" + d[5:], "its version is 5"),
    ("s.spz", write_spz_4, gzip.compress, "gunzip"),
    ("s.spz", write_spz, huge_spz, "cannot come from"),
    ("s.spz", write_spz, lambda d: gzip.compress(b"NOPE" + gzip.decompress(d)[4:]), "begins with b'NGSP'"),
    ("x.bin", write_ply, lambda d: b"what" + d, "known format"),
    ("x.ply", write_ply, lambda d: b"", "known format"),
]


@pytest.mark.parametrize(("name", "write", "change", "words"), FAULTS)
def test_what_is_broken_is_one_sentence(
    tmp_path: Path, name: str, write: Write, change: Callable[[bytes], bytes], words: str
) -> None:
    broken(change)(tmp_path / name, SCENE, write)
    with pytest.raises(DataError, match=words) as caught:
        read_scene(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


SOG_FAULTS = [
    (lambda m: m.update(count=10**12), "declares 1,000,000,000,000"),
    (lambda m: m.update(count=9_000_000), "pixels for 9,000,000"),
    (lambda m: m.update(version=7), "version is 7"),
    (lambda m: m["scales"].update(codebook=[1.0]), "256 numbers"),
    (lambda m: m["quats"].update(files=["../../secret"]), "plain file name"),
    (lambda m: m["quats"].update(files=["c.webp"]), "below 252"),
    (lambda m: m["shN"].update(count=100), "beyond the 100 entries"),
    (lambda m: m.pop("means"), "KeyError 'means'"),
    (lambda m: m["shN"].update(count=float("inf")), "OverflowError"),
    (lambda m: m["sh0"].update(files=["meta.json"]), "cannot be decoded"),
]


@pytest.mark.parametrize(("change", "words"), SOG_FAULTS)
def test_broken_metadata_is_one_sentence(
    tmp_path: Path, change: Callable[[dict], object], words: str
) -> None:
    members = sog_members(SCENE)
    meta = json.loads(members["meta.json"])
    change(meta)
    members["meta.json"] = json.dumps(meta).encode()
    for name, data in members.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=words):
        read_scene(tmp_path)


def test_repair_leaves_out_what_is_not_valid(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    write_ply(path, SCENE)
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", np.nan))
    assert len(read_scene(path, repair=True)) == len(SCENE) - 1

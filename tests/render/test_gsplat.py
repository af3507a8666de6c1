"""The calls to gsplat, against a stand-in that does in plain torch what gsplat 1.5 documents, and its absence."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from napari_emgauss.render import _gsplat
from napari_emgauss.render._reference import splat_reference


def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
    images, count = depths.shape
    assert means2d.shape == (images, count, 2)
    assert radii.shape == (images, count, 2)
    assert radii.dtype == torch.int32
    assert depths.dtype == torch.float32
    assert all(t.is_contiguous() for t in (means2d, radii, depths))
    found = []
    for b in range(images):
        for n in range(count):
            (rx, ry), (x, y) = radii[b, n].tolist(), means2d[b, n].tolist()
            if rx <= 0 or ry <= 0:
                continue
            first_x = min(max(0, int((x - rx) // tile_size)), tile_width)
            last_x = min(max(0, -int(-(x + rx) // tile_size)), tile_width)
            first_y = min(max(0, int((y - ry) // tile_size)), tile_height)
            last_y = min(max(0, -int(-(y + ry) // tile_size)), tile_height)
            bits = depths[b, n].view(torch.int32).item()
            for ty in range(first_y, last_y):
                for tx in range(first_x, last_x):
                    found.append(((b, ty * tile_width + tx, bits), b * count + n))
    found.sort()
    keys = torch.tensor([[*key] for key, _ in found], dtype=torch.int64).reshape(-1, 3)
    return None, keys, torch.tensor([splat for _, splat in found], dtype=torch.int32)


def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
    tile = isect_ids[:, 0] * tile_width * tile_height + isect_ids[:, 1]
    offsets = torch.searchsorted(tile, torch.arange(n_images * tile_width * tile_height))
    return offsets.reshape(n_images, tile_height, tile_width).int()


def rasterize_to_pixels(
    means2d, conics, colors, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids, *, backgrounds
):
    images, count, channels = colors.shape
    assert conics.shape == (images, count, 3)
    assert opacities.shape == (images, count)
    assert backgrounds.shape == (images, channels)
    _, rows, columns = isect_offsets.shape
    assert rows * tile_size >= image_height
    assert columns * tile_size >= image_width
    ends = torch.cat([isect_offsets.flatten()[1:], torch.tensor([len(flatten_ids)])]).reshape(isect_offsets.shape)
    pictures = []
    for b in range(images):
        strips = []
        for ty in range(rows):
            tiles = []
            for tx in range(columns):
                y = torch.arange(ty * tile_size, min(image_height, (ty + 1) * tile_size))[:, None] + 0.5
                x = torch.arange(tx * tile_size, min(image_width, (tx + 1) * tile_size))[None, :] + 0.5
                colour = torch.zeros(y.shape[0], x.shape[1], channels)
                through = torch.ones(y.shape[0], x.shape[1])
                for splat in flatten_ids[isect_offsets[b, ty, tx] : ends[b, ty, tx]].tolist():
                    n = splat - b * count
                    dx, dy = x - means2d[b, n, 0], y - means2d[b, n, 1]
                    p, q, r = conics[b, n]
                    sigma = 0.5 * (p * dx * dx + r * dy * dy) + q * dx * dy
                    alpha = (opacities[b, n] * torch.exp(-sigma)).clamp(max=0.999)
                    alpha = torch.where((sigma < 0) | (alpha < 1 / 255), 0.0, alpha)
                    colour = colour + (alpha * through)[..., None] * colors[b, n]
                    through = through * (1 - alpha)
                tiles.append(colour + through[..., None] * backgrounds[b])
            strips.append(torch.cat(tiles, 1))
        pictures.append(torch.cat(strips, 0))
    return torch.stack(pictures), None


@pytest.fixture
def stand_in(monkeypatch):
    package = types.ModuleType("gsplat")
    package.isect_tiles = isect_tiles
    package.isect_offset_encode = isect_offset_encode
    package.rasterize_to_pixels = rasterize_to_pixels
    backend = types.ModuleType("gsplat.cuda._backend")
    backend._C = object()
    monkeypatch.setitem(sys.modules, "gsplat", package)
    monkeypatch.setitem(sys.modules, "gsplat.cuda", types.ModuleType("gsplat.cuda"))
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
    _gsplat._operations.cache_clear()
    yield backend
    _gsplat._operations.cache_clear()


@pytest.mark.parametrize("kind", ["mixed", "off-screen", "faint"])
def test_pictures_and_gradients_are_the_references(stand_in, make_cloud, kind):
    cloud = make_cloud(kind, 2, size=(19, 37), batch=2, channels=3, count=15)
    at_cut, at_clamp = cloud.undecided()
    decided = ((at_cut == 0) & ~at_clamp)[:, None]
    results = []
    for function, dtype in ((splat_reference, torch.float64), (_gsplat.splat_gsplat, torch.float32)):
        inputs = cloud.inputs(dtype)
        image = function(*inputs[:4], cloud.size, inputs[4])
        (decided * (image - 0.3).square()).sum().backward()
        results.append([v.double() for v in (image.detach() * decided, *(v.grad for v in inputs))])
    for want, have in zip(*results, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-3, atol=1e-4)


def test_splats_that_are_no_ellipses_get_no_radius(make_cloud):
    cloud = make_cloud("mixed", 3, batch=1, count=8)
    cloud.means[0, 0, 0] = float("nan")
    cloud.conics[0, 1] = torch.tensor([1.0, 2.0, 1.0])
    cloud.conics[0, 2] = float("inf")
    cloud.opacities[0, 3] = 0.001
    cloud.conics[0, 4] = 1e-12 * torch.tensor([1.0, 0.0, 1.0])
    radii = _gsplat._radii(cloud.means, cloud.conics, cloud.opacities)
    assert (radii[0, :4] == 0).all()
    assert (radii[0, 4:] > 0).all()
    # An opacity of one half ends where exp(-d²/2) = 2/255: at 3.1136 pixels for a round splat of one pixel.
    one = _gsplat._radii(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0, 0.25]]]), torch.tensor([[0.5]]))
    assert one.tolist() == [[[4, 7]]]


def test_an_empty_cloud_is_the_background(stand_in):
    image = _gsplat.splat_gsplat(
        torch.zeros(2, 0, 2), torch.zeros(2, 0, 3), torch.zeros(2, 0), torch.zeros(0, 1), (3, 4), torch.tensor([0.5])
    )
    assert torch.equal(image, torch.full((2, 1, 3, 4), 0.5))


def test_an_extension_that_did_not_load_is_an_import_error(stand_in):
    stand_in._C = None
    with pytest.raises(ImportError, match="no CUDA toolkit"):
        _gsplat._operations()


def install(folder, monkeypatch, *, extension):
    package = folder / "gsplat"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    if extension:
        (package / "csrc.so").write_bytes(b"")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "gsplat", raising=False)


def without_toolkit(monkeypatch):
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_gsplat.shutil, "which", lambda name: None)
    monkeypatch.setattr(_gsplat.Path, "is_file", lambda self: False)


def test_whether_gsplat_can_be_used_is_found_without_importing_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    install(tmp_path, monkeypatch, extension=False)
    without_toolkit(monkeypatch)
    assert "no CUDA toolkit (nvcc)" in _gsplat.why_not()
    assert not _gsplat.is_compiled()
    monkeypatch.setattr(_gsplat.shutil, "which", lambda name: "/somewhere/nvcc")
    assert _gsplat.why_not() is None
    assert not _gsplat.is_compiled()
    built = tmp_path / "extensions" / "gsplat_cuda"
    built.mkdir(parents=True)
    (built / "gsplat_cuda.so").write_bytes(b"")
    assert _gsplat.is_compiled()


def test_a_wheel_with_its_extension_needs_no_toolkit(monkeypatch, tmp_path):
    install(tmp_path, monkeypatch, extension=True)
    without_toolkit(monkeypatch)
    assert _gsplat.is_compiled()
    assert _gsplat.why_not() is None


def test_an_absent_gsplat_is_said_to_be_absent(monkeypatch):
    monkeypatch.setattr(_gsplat, "find_spec", lambda name: None)
    assert _gsplat.why_not() == "gsplat is not installed"
    assert not _gsplat.is_compiled()

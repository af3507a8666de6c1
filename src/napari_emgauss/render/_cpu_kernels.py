"""Draft kernels."""

from __future__ import annotations

import math

import numba
import numpy as np

_ONE = np.float32(1)
_MAX = np.float32(0.99)


@numba.njit(inline="always", fastmath=True)
def _exp(s):
    z = -s * np.float32(0.0625)
    r = _ONE + z * (
        _ONE + z * (np.float32(0.5) + z * (np.float32(1 / 6) + z * (np.float32(1 / 24) + z * np.float32(1 / 120))))
    )
    r = r * r
    r = r * r
    r = r * r
    return r * r


@numba.njit(nogil=True, cache=True)
def prepare(means, conics, opacities, height, width, geometry, boxes):
    for b in range(means.shape[0]):
        for i in range(means.shape[1]):
            boxes[b, i, 0] = 0
            boxes[b, i, 1] = -1
            x = np.float64(means[b, i, 0])
            y = np.float64(means[b, i, 1])
            ca = np.float64(conics[b, i, 0])
            cb = np.float64(conics[b, i, 1])
            cc = np.float64(conics[b, i, 2])
            o = np.float64(opacities[b, i])
            det = ca * cc - cb * cb
            if not (
                math.isfinite(x)
                and math.isfinite(y)
                and math.isfinite(det)
                and math.isfinite(o)
                and ca > 0
                and cc > 0
                and det > 0
                and o > 1 / 255.0
            ):
                continue
            cut = math.log(255.0 * o)
            hx = math.sqrt(2 * cut * cc / det) + 0.01
            hy = math.sqrt(2 * cut * ca / det) + 0.01
            if x + hx < 0 or x - hx > width or y + hy < 0 or y - hy > height:
                continue
            geometry[b, i, 0] = means[b, i, 0]
            geometry[b, i, 1] = means[b, i, 1]
            geometry[b, i, 2] = 0.5 * ca
            geometry[b, i, 3] = cb / ca
            geometry[b, i, 4] = 0.5 * det / ca
            geometry[b, i, 5] = cut
            geometry[b, i, 6] = o
            geometry[b, i, 7] = 1 / (0.5 * ca)
            boxes[b, i, 0] = max(0, math.ceil(max(y - hy, -1.0) - 0.5))
            boxes[b, i, 1] = min(height - 1, math.floor(min(y + hy, height + 1.0) - 0.5))


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp", "reassoc"})
def forward(geometry, boxes, values, background, image, transmittance, first, last, bands):
    count = geometry.shape[1]
    channels = values.shape[1]
    height = image.shape[2]
    width = image.shape[3]
    for task in range(first, last):
        b = task // bands
        band = task % bands
        top = band * height // bands
        bottom = (band + 1) * height // bands
        for y in range(top, bottom):
            transmittance[b, y] = _ONE
            image[b, :, y] = 0
        for i in range(count):
            y0 = max(top, boxes[b, i, 0])
            y1 = min(bottom - 1, boxes[b, i, 1])
            mx = geometry[b, i, 0]
            my = geometry[b, i, 1]
            ha = geometry[b, i, 2]
            r = geometry[b, i, 3]
            hd = geometry[b, i, 4]
            cut = geometry[b, i, 5]
            o = geometry[b, i, 6]
            ia = geometry[b, i, 7]
            for y in range(y0, y1 + 1):
                dy = np.float32(y) + np.float32(0.5) - my
                q = hd * dy * dy
                left = cut - q
                if left < 0:
                    continue
                s = np.float32(math.sqrt(left * ia)) + np.float32(0.001)
                centre = mx - r * dy - np.float32(0.5)
                x0 = max(0, int(math.ceil(centre - s)))
                x1 = min(width - 1, int(math.floor(centre + s)))
                trow = transmittance[b, y]
                u0 = np.float32(x0) + np.float32(0.5) - mx + r * dy
                for c in range(channels):
                    v = values[i, c]
                    row = image[b, c, y]
                    for x in range(x0, x1 + 1):
                        u = u0 + np.float32(x - x0)
                        sigma = ha * u * u + q
                        al = o * _exp(min(sigma, np.float32(6)))
                        al = al if al < _MAX else _MAX
                        al = al if sigma <= cut else np.float32(0)
                        row[x] += al * trow[x] * v
                for x in range(x0, x1 + 1):
                    u = u0 + np.float32(x - x0)
                    sigma = ha * u * u + q
                    al = o * _exp(min(sigma, np.float32(6)))
                    al = al if al < _MAX else _MAX
                    al = al if sigma <= cut else np.float32(0)
                    trow[x] *= _ONE - al
        for c in range(channels):
            if background[c] != 0:
                for y in range(top, bottom):
                    for x in range(width):
                        image[b, c, y, x] += background[c] * transmittance[b, y, x]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp", "reassoc"})
def backward(geometry, boxes, values, background, transmittance, grad, out, grad_values, first, last, bands):
    count = geometry.shape[1]
    channels = values.shape[1]
    height = grad.shape[2]
    width = grad.shape[3]
    behind = np.empty((height // bands + 2, width), np.float32)
    trans = np.empty((height // bands + 2, width), np.float32)
    for task in range(first, last):
        b = task // bands
        band = task % bands
        top = band * height // bands
        bottom = (band + 1) * height // bands
        for y in range(top, bottom):
            for x in range(width):
                t = transmittance[b, y, x]
                trans[y - top, x] = t
                s = np.float32(0)
                for c in range(channels):
                    s += background[c] * grad[b, c, y, x]
                behind[y - top, x] = s * t
        for i in range(count - 1, -1, -1):
            y0 = max(top, boxes[b, i, 0])
            y1 = min(bottom - 1, boxes[b, i, 1])
            mx = geometry[b, i, 0]
            my = geometry[b, i, 1]
            ha = geometry[b, i, 2]
            r = geometry[b, i, 3]
            hd = geometry[b, i, 4]
            cut = geometry[b, i, 5]
            o = geometry[b, i, 6]
            ia = geometry[b, i, 7]
            su = np.float32(0)
            sy = np.float32(0)
            sxx = np.float32(0)
            sxy = np.float32(0)
            syy = np.float32(0)
            so = np.float32(0)
            for y in range(y0, y1 + 1):
                dy = np.float32(y) + np.float32(0.5) - my
                q = hd * dy * dy
                left = cut - q
                if left < 0:
                    continue
                s = np.float32(math.sqrt(left * ia)) + np.float32(0.001)
                centre = mx - r * dy - np.float32(0.5)
                x0 = max(0, int(math.ceil(centre - s)))
                x1 = min(width - 1, int(math.floor(centre + s)))
                trow = trans[y - top]
                arow = behind[y - top]
                u0 = np.float32(x0) + np.float32(0.5) - mx + r * dy
                r0 = np.float32(0)
                r1 = np.float32(0)
                r2 = np.float32(0)
                for x in range(x0, x1 + 1):
                    u = u0 + np.float32(x - x0)
                    sigma = ha * u * u + q
                    raw = o * _exp(min(sigma, np.float32(6)))
                    al = raw if raw < _MAX else _MAX
                    al = al if sigma <= cut else np.float32(0)
                    inv = _ONE / (_ONE - al)
                    tb = trow[x] * inv
                    gv = np.float32(0)
                    for c in range(channels):
                        gv += grad[b, c, y, x] * values[i, c]
                        grad_values[task, i, c] += grad[b, c, y, x] * (al * tb)
                    da = tb * gv - arow[x] * inv
                    da = da if raw < _MAX else np.float32(0)
                    arow[x] += al * tb * gv
                    trow[x] = tb
                    ds = -da * al
                    r0 += ds
                    r1 += ds * u
                    r2 += ds * u * u
                so += r0
                su += r1
                sy += r0 * dy
                sxx += np.float32(0.5) * (r2 - np.float32(2) * r * dy * r1 + r * r * dy * dy * r0)
                sxy += dy * (r1 - r * dy * r0)
                syy += np.float32(0.5) * dy * dy * r0
            out[task, i, 0] = -np.float32(2) * ha * su
            out[task, i, 1] = -np.float32(2) * (ha * r * su + hd * sy)
            out[task, i, 2] = sxx
            out[task, i, 3] = sxy
            out[task, i, 4] = syy
            out[task, i, 5] = -so / o if y1 >= y0 else np.float32(0)

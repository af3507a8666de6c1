"""A paragraph on methods to paste into a paper, and what it cites."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_emgauss.evaluation import CRITERIA, method_label, resolution_text

from ._facts import Facts
from ._pictures import shown_method
from ._tables import estimates_of

NAMED_PACKAGES = ("torch", "numpy", "numba", "scipy", "scikit-image")


@dataclass(frozen=True)
class Reference:
    """Something to cite.

    Parameters
    ----------
    key : str
        In BibTeX.
    text : str
        As a plain sentence.
    kind : str
        Of the BibTeX entry.
    fields : mapping
        Of the BibTeX entry.
    """

    key: str
    text: str
    kind: str
    fields: Mapping[str, str]

    def bibtex(self) -> str:
        """The entry."""
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{lines}\n}}"


_EMGAUSS = Reference(
    "he2025emgauss",
    "He Y, Zhou Z, Zheng Y, Liang C, Wang Y, Yang X. EMGauss: Continuous Slice-to-3D Reconstruction via Dynamic "
    "Gaussian Modeling in Volume Electron Microscopy. arXiv:2512.06684, 2025.",
    "misc",
    {
        "author": "He, Yumeng and Zhou, Zanwei and Zheng, Yekun and Liang, Chen and Wang, Yunbo and Yang, Xiaokang",
        "title": "{EMGauss}: Continuous Slice-to-3D Reconstruction via Dynamic Gaussian Modeling in Volume Electron "
        "Microscopy",
        "year": "2025",
        "eprint": "2512.06684",
        "archiveprefix": "arXiv",
    },
)
_SSIM = Reference(
    "wang2004ssim",
    "Wang Z, Bovik AC, Sheikh HR, Simoncelli EP. Image quality assessment: from error visibility to structural "
    "similarity. IEEE Trans Image Process 13(4):600-612, 2004.",
    "article",
    {
        "author": "Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.",
        "title": "Image quality assessment: from error visibility to structural similarity",
        "journal": "IEEE Transactions on Image Processing",
        "volume": "13",
        "number": "4",
        "pages": "600--612",
        "year": "2004",
    },
)
_FSIM = Reference(
    "zhang2011fsim",
    "Zhang L, Zhang L, Mou X, Zhang D. FSIM: A Feature Similarity Index for Image Quality Assessment. IEEE Trans Image "
    "Process 20(8):2378-2386, 2011.",
    "article",
    {
        "author": "Zhang, Lin and Zhang, Lei and Mou, Xuanqin and Zhang, David",
        "title": "{FSIM}: A Feature Similarity Index for Image Quality Assessment",
        "journal": "IEEE Transactions on Image Processing",
        "volume": "20",
        "number": "8",
        "pages": "2378--2386",
        "year": "2011",
    },
)
_FRC = Reference(
    "vanheel2005fsc",
    "van Heel M, Schatz M. Fourier shell correlation threshold criteria. J Struct Biol 151(3):250-262, 2005.",
    "article",
    {
        "author": "van Heel, Marin and Schatz, Michael",
        "title": "Fourier shell correlation threshold criteria",
        "journal": "Journal of Structural Biology",
        "volume": "151",
        "number": "3",
        "pages": "250--262",
        "year": "2005",
    },
)


def software() -> Reference:
    """This package as something to cite, with its version."""
    version = _version("napari-emgauss")
    return Reference(
        "napariemgauss",
        f"The napari-emgauss developers. napari-emgauss, version {version}. "
        "https://github.com/napari-emgauss/napari-emgauss",
        "software",
        {
            "author": "{The napari-emgauss developers}",
            "title": "napari-emgauss: isotropic volumes from anisotropic electron-microscopy stacks",
            "version": version,
            "url": "https://github.com/napari-emgauss/napari-emgauss",
        },
    )


def references(facts: Facts) -> list[Reference]:
    """What the paragraph cites."""
    measured = facts.score or facts.evaluation
    return [_EMGAUSS, software(), *([_SSIM, _FSIM, _FRC] if measured else [])]


def paragraph(facts: Facts) -> str:
    """The paragraph itself: what was done, with which settings and versions, and what it scored."""
    model, known = facts.model, facts.known
    steps = np.diff(np.asarray(model.z_nm, dtype=float))
    y_nm, x_nm = model.pixel_size_nm
    count, height, width = model.shape
    prior = known.prior_name or known.fit.get("prior")
    version = known.napari_emgauss or _version("napari-emgauss")
    told = [
        f"An isotropic volume was inferred from {count} slices of {height} × {width} pixels ({y_nm:g} × {x_nm:g} nm), "
        f"{float(np.median(steps)):g} nm apart (median), with napari-emgauss {version}, an independent implementation "
        "of EMGauss (He et al. 2025): a cloud of two-dimensional Gaussians whose positions, sizes and opacities change "
        "with depth is fitted to the slices.",
    ]
    if prior:
        told.append(f"Pseudo-labels between slices came from the prior '{prior}'.")
    if known.fit:
        scale, seed = known.fit.get("iterations_scale"), known.fit.get("seed")
        told.append(f"Seed {seed}; lengths of all stages were scaled by {scale}.")
    told += _scored(facts)
    versions = ", ".join(f"{name} {_version(name)}" for name in NAMED_PACKAGES)
    told.append(f"Python {platform.python_version()}, {versions}.")
    return " ".join(told)


def _scored(facts: Facts) -> list[str]:
    """What the score says, for one who reads nothing else."""
    told = []
    for result, how in (
        (facts.score, "Every second slice was hidden and inferred from the others"),
        (facts.evaluation, f"One slice in {facts.evaluation.get('factor')} of an isotropic volume was kept"),
    ):
        ours = shown_method(result)
        if not result or ours is None:
            continue
        numbers = [_numbers(result, name) for name in (ours, "linear") if name in result["methods"]]
        told.append(
            f"{how}: {'; '.join(filter(None, numbers))} (means over slices with 95 % intervals by batch means; SSIM: "
            "Wang et al. 2004; FSIM: Zhang et al. 2011; resolution by Fourier ring correlation at 1/7: van Heel and "
            "Schatz 2005)."
        )
    return told


def _numbers(result: Mapping[str, Any], name: str) -> str:
    one = result["methods"][name]
    found = estimates_of(one, "xy")
    labels = (("psnr", "PSNR", 2, " dB"), ("ssim", "SSIM", 3, ""), ("fsim", "FSIM", 3, ""))
    told = [f"{label} {found[key].text(digits)}{unit}" for key, label, digits, unit in labels if key in found]
    if curve := one.get("resolution", {}).get("xy"):
        nm = curve["nm"].get(CRITERIA[0].name)
        told.append(f"resolution in plane {resolution_text(nm, float(curve['limit_nm']))} nm")
    return f"{method_label(name)} {', '.join(told)}" if told else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(unknown version)"

"""``emgauss presets``, ``info`` and ``sample``: what there is to choose from and to try."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._remedies import Door
from napari_emgauss.cli._inputs import known_name, say, stack_of_unknown_size
from napari_emgauss.cli._outputs import output_path

if TYPE_CHECKING:
    from napari_emgauss.stack import Stack


def run_presets_command(arguments: argparse.Namespace) -> int:
    """The presets side by side, or every setting of one."""
    from napari_emgauss.fitting import preset, preset_names

    names = tuple(preset_names())
    if arguments.name is not None:
        known_name(arguments.name, names, "preset")
        names = (arguments.name,)
    settings = {name: _plain(dataclasses.asdict(preset(name))) for name in names}
    if arguments.json:
        print(json.dumps(settings[names[0]] if arguments.name else settings, indent=1))
        return 0
    flat = {name: _flat(values) for name, values in settings.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    if len(names) > 1:  # what all share tells nothing when one chooses
        keys = [key for key in keys if len({repr(values.get(key)) for values in flat.values()}) > 1]
    rows = [["setting", *names], *[[key, *[_text(flat[name].get(key)) for name in names]] for key in keys]]
    _print_columns(rows)
    if len(names) > 1:
        print("\nOnly settings that differ; 'emgauss presets NAME' shows all. Change one with --set KEY=VALUE.")
        print("\nPriors, for --prior:\n")
        _print_columns(_prior_rows())
    return 0


def _prior_rows() -> list[list[str]]:
    """Every prior with its efforts, what it does, and what must be installed first."""
    from napari_emgauss.priors import priors_known

    rows = []
    for row in priors_known():
        names = row.name + (f"[:{'|'.join(row.efforts)}]" if row.efforts else "")
        needs = f" (needs {', '.join(row.missing())})" if row.missing() else ""
        rows.append([names, f"{row.summary}{needs}"])
    return rows


def run_info_command(arguments: argparse.Namespace) -> int:
    """What a model file or a stack says of itself."""
    path = Path(arguments.path)
    facts = _model_facts(path) if _is_model(path) else _stack_facts(arguments)
    if arguments.json:
        print(json.dumps(_plain(facts), indent=1))
        return 0
    _print_columns([[f"{key}:", _text(value)] for key, value in _flat(_short(facts)).items()])
    return 0


def run_sample_command(arguments: argparse.Namespace) -> int:
    """Write the generated phantom, and its truth if asked for."""
    from napari_emgauss.stack import sample_stack, sample_truth
    from napari_emgauss.volume import export, is_folder_format

    targets = [("output", sample_stack)]
    if arguments.truth is not None:
        targets.append(("truth", sample_truth))
    paths = [output_path(arguments, name, folder=is_folder_format(getattr(arguments, name))) for name, _ in targets]
    for path, (_, make) in zip(paths, targets, strict=True):
        sample = make()
        step_nm = float(np.median(np.diff(sample.z_nm)))
        export(_StackAsModel(sample), path, spacing_nm=step_nm, overwrite=arguments.force)
        size, voxel = (
            " × ".join(f"{v:g}" for v in values) for values in (sample.shape, (step_nm, *sample.pixel_size_nm))
        )
        say(f"Wrote '{path}': {size}, voxel {voxel} nm.")
    return 0


class _StackAsModel:
    """A stack where an export expects a model: its slices, at their own depths only."""

    version, channels, confidence = 0, 1, None
    provenance: ClassVar[dict[str, Any]] = {}

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.z_nm = stack.z_nm
        self.pixel_size_nm = stack.pixel_size_nm

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._stack.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._stack.normalisation.dtype)

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> NDArray[Any]:
        nearest = np.abs(self.z_nm[None, :] - np.asarray(z_nm, dtype=float)[:, None]).argmin(axis=1)
        return np.stack([np.asarray(self._stack.slices[int(k)]) for k in nearest])


def _is_model(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" or (path / "index.json").is_file()  # a tiled model is a folder


def _model_facts(path: Path) -> dict[str, Any]:
    from napari_emgauss.tiles import load

    model = load(path, device="cpu")
    z_nm = np.asarray(model.z_nm)
    return {
        "file": path.name,
        "kind": "EMGauss model",
        "shape (z, y, x)": list(model.shape),
        "depths (nm)": [float(z_nm[0]), float(z_nm[-1])],
        "fitted to slices": _own_slices(model.provenance, len(z_nm)),
        "slice distance (nm)": float(np.median(np.diff(z_nm))),
        "pixel size (y, x; nm)": list(model.pixel_size_nm),
        "texture": _texture(model),
        **({"channels": model.channels} if model.channels > 1 else {}),
        "dtype": str(model.dtype),
        "gaussians": model.gaussian_count,
        "provenance": model.provenance,
    }


def _own_slices(provenance: dict[str, Any], count: int) -> str:
    """Which slices a model was fitted to, and whether exports can show them as they are."""
    from napari_emgauss.volume import Provenance

    known = Provenance.from_json(provenance)
    numbers = known.stack.fitted_numbers(count)
    told = f"{count}, numbered {numbers[0]} to {numbers[-1]}; all other depths are inferred"
    if known.own_slices.digests and known.source:
        return f"{told}; 'emgauss export --look exact' keeps them as they are in '{known.source}'"
    return f"{told}; 'emgauss export --look exact --stack FILE' keeps them as they are"


def _texture(model: Any) -> str:
    """How strong the noise is that an export with texture adds."""
    from napari_emgauss.volume import Provenance, stored_textures

    textures = stored_textures(Provenance.from_json(model.provenance), model.channels)
    if textures is None:
        return "not measured by the fit; 'emgauss export --look textured' measures it on the stack"
    spans = np.ravel(model.normalisation.line(np.dtype(np.float64))[1])
    levels = ", ".join(
        f"{texture.noise_deviation * float(span):.3g}"
        for texture, span in zip(textures, np.broadcast_to(spans, len(textures)), strict=True)
    )
    return f"noise of {levels} grey values mid-gap, which 'emgauss export --look textured' adds"


def _stack_facts(arguments: argparse.Namespace) -> dict[str, Any]:
    stack, unknown = stack_of_unknown_size(arguments, arguments.path, notes=False, allow_isotropic=True)
    facts = {
        "file": Path(arguments.path).name,
        "kind": "stack",
        "shape (z, y, x)": list(stack.shape),
        **(_lengths(stack) if unknown is None else {"voxel size": unknown.worded(Door.COMMAND_LINE)}),
        **({"channels": stack.channels} if stack.channels > 1 else {}),
        "dtype": stack.normalisation.dtype,
        "grey range": [stack.normalisation.low, stack.normalisation.high],
        **stack.metadata,
    }
    return facts


def _lengths(stack: Stack) -> dict[str, Any]:
    steps = np.diff(stack.z_nm)
    even = bool(np.allclose(steps, steps[0], rtol=1e-3))
    return {
        "depths (nm)": [float(stack.z_nm[0]), float(stack.z_nm[-1])],
        "slice distance (nm)": float(steps[0]) if even else [float(steps.min()), float(steps.max())],
        "pixel size (y, x; nm)": list(stack.pixel_size_nm),
        "anisotropy factor": round(stack.anisotropy_factor, 3),
    }


def _short(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with only those fit settings that someone chose; --json has them all."""
    provenance = facts.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(provenance.get("fit"), dict):
        return facts
    from napari_emgauss.fitting import FitConfig

    # Fingerprints, masks and spectra are for machines.
    provenance = {key: value for key, value in provenance.items() if key not in ("own_slices", "texture")}
    usual = FitConfig().to_dict()
    chosen = {key: value for key, value in provenance["fit"].items() if usual.get(key) != value}
    return {**facts, "provenance": {**provenance, "fit": chosen}}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + str(key)] = value
    return flat


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_text(item) for item in value[:8])
        return shown + (f", … ({len(value)})" if len(value) > 8 else "")
    return "-" if value is None else str(value)


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

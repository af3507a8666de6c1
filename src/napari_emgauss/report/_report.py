"""The page itself: sections in order, each left out where there is nothing to tell."""

from __future__ import annotations

import base64
import datetime
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_emgauss._errors import ConfigError
from napari_emgauss._files import write_text
from napari_emgauss._remedies import remedy

from ._facts import Facts
from ._history import changes, provenance
from ._methods_text import paragraph, references
from ._pictures import cuts_along_z, middle_slice, worst_slices
from ._tables import correlation_plot, coverage_table, resolution_table, scores_table

_TEMPLATE = "page.html"
_RESULTS = {
    "score": "Hidden slices of {stack}",
    "evaluation": "Dropped slices of the isotropic volume {volume}",
}


def report_html(facts: Facts) -> str:
    """The report as one HTML page that loads nothing: pictures are within it, and there are no scripts.

    Everything that comes from files and names is escaped.

    Raises
    ------
    ConfigError
        A score or an evaluation lacks what its kind has, as one that was changed by hand.
    """
    import jinja2

    for name in _RESULTS:
        _check(name, getattr(facts, name))
    source = importlib.resources.files(__package__ or "").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    cited = references(facts)
    return environment.from_string(source).render(
        title=facts.title,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        verdict=facts.score.get("verdict", ""),
        caution=facts.score.get("caution", ""),
        rows_of_pictures=[cuts_along_z(facts), middle_slice(facts)],
        worst=worst_slices(facts),
        why_not_own=facts.why_not_own,
        results=[_result(name, title, found) for name, title in _RESULTS.items() if (found := getattr(facts, name))],
        changes=changes(facts),
        provenance=provenance(facts),
        methods=paragraph(facts),
        cited=[one.text for one in cited],
        bibtex="\n\n".join(one.bibtex() for one in cited),
    )


def _check(name: str, result: Mapping[str, Any]) -> None:
    """Refuse a result that cannot be shown, whatever is wrong with it."""
    if not result:
        return
    try:
        _result(name, "", result)
        for one in result.get("worst", ()):
            int(one["slice"]), float(one["psnr"])
            for text in one["png"].values():
                base64.b64decode(text, validate=True)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise ConfigError(
            f"The {name} cannot be shown, because it is not as this version writes it", remedy=remedy("give result")
        ) from error


def write_report(facts: Facts, path: str | Path) -> None:
    """Write the report, whole or not at all.

    Raises
    ------
    ExportError
        The file cannot be written.
    """
    write_text(path, report_html(facts))


def _result(name: str, title: str, result: Any) -> dict[str, Any]:
    """Tables and plot of a score or an evaluation; ``title`` has a place for the name of what was scored."""
    hidden = name == "score"
    seen = f"{len(result['hidden'])} slices" if hidden else f"one slice in {result['factor']} kept"
    slices = "hidden slices" if hidden else "dropped slices (xy)"
    titles = {"xy": slices, "xz": "xz planes", "yz": "yz planes", "volume": "all voxels together"}
    tables = [(title, scores_table(result, view)) for view, title in titles.items()]
    return {
        "title": f"{title.format(stack=result.get('stack', 'a stack'), volume=result.get('volume', ''))} ({seen})",
        "tables": [(view, table) for view, table in tables if table is not None],
        "resolution": resolution_table(result),
        "plot": correlation_plot(result),
        "coverage": coverage_table(result),
    }

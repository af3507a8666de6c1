"""The tabs of the dock, one row each, in order. Another tab is a module with a `Page` and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.widgets._form import Page

from ._depth_tab import DepthTab
from ._export_tab import ExportTab
from ._fit_tab import FitTab
from ._labels_tab import LabelsTab
from ._quality_tab import QualityTab

if TYPE_CHECKING:
    from ._dock import EmgaussDock


@dataclass(frozen=True)
class Tab:
    """A tab's row.

    Parameters
    ----------
    name : str
        The dock's attribute that holds the page.
    title : str
        What is on the tab.
    make : callable
        ``(viewer, service, dock)`` to the page; the dock has the pages of the rows above already.
    """

    name: str
    title: str
    make: Callable[[Any, RenderService, EmgaussDock], Page]


TABS: tuple[Tab, ...] = (
    Tab("fit", "Fit", lambda viewer, service, dock: FitTab(viewer, service)),
    Tab("depth", "Depth", lambda viewer, service, dock: DepthTab(viewer)),
    Tab("quality", "Quality", lambda viewer, service, dock: QualityTab(viewer, dock.fit)),
    Tab("labels", "Labels", lambda viewer, service, dock: LabelsTab(viewer)),
    Tab("export", "Export", lambda viewer, service, dock: ExportTab(viewer, service)),
)

from ._beside import (
    COMPANION_ROWS as COMPANION_ROWS,
    Companion as Companion,
    CompanionRow as CompanionRow,
    companion_of as companion_of,
    companion_path as companion_path,
    companion_row as companion_row,
)
from ._channel_model import channel_models as channel_models, one_channel as one_channel
from ._depths import aligned_spacing as aligned_spacing, isotropic_depths as isotropic_depths
from ._drawing import Drawing as Drawing
from ._error import ErrorView as ErrorView
from ._exact import ExactModel as ExactModel, KeptSlices as KeptSlices, exact_model as exact_model
from ._export import (
    as_shown as as_shown,
    check_keeps_values as check_keeps_values,
    check_target as check_target,
    export as export,
    remove_export_leftovers as remove_export_leftovers,
    write_planned as write_planned,
)
from ._lazy import LazyVolume as LazyVolume
from ._look import (
    LOOK_ROWS as LOOK_ROWS,
    LOOKS as LOOKS,
    Look as Look,
    LookRow as LookRow,
    look_row as look_row,
    name_of_depth as name_of_depth,
)
from ._model_view import ModelView as ModelView
from ._plan import ExportPlan as ExportPlan, plan_export as plan_export
from ._points import PointGrids as PointGrids, grid_depths as grid_depths
from ._protocol import VolumeModel as VolumeModel
from ._provenance import Provenance as Provenance
from ._pyramid import pyramid as pyramid
from ._render_cache import RenderCache as RenderCache
from ._repair import check_repair as check_repair, repair as repair
from ._source_slices import SourceSlices as SourceSlices, record_of_source as record_of_source
from ._texture import Texture as Texture
from ._textured import TexturedModel as TexturedModel
from ._traits import DescribedModel as DescribedModel, ModelTraits as ModelTraits, traits_of as traits_of
from ._with_look import (
    stored_textures as stored_textures,
    texture_of_fit as texture_of_fit,
    with_look as with_look,
)
from .formats._registry import (
    ExportFormat as ExportFormat,
    Writer as Writer,
    export_ending_of as export_ending_of,
    export_format as export_format,
    export_format_of as export_format_of,
    export_formats as export_formats,
    is_folder_format as is_folder_format,
    output_formats as output_formats,
    register_writer as register_writer,
)

from ._address import Address as Address, address_of as address_of
from ._alignment import (
    JITTER_WARNING_PX as JITTER_WARNING_PX,
    AlignmentReport as AlignmentReport,
    check_alignment as check_alignment,
    remove_jitter as remove_jitter,
)
from ._array import stack_from_array as stack_from_array
from ._corrections import Corrections as Corrections
from ._damage import SliceReport as SliceReport, find_damage as find_damage, suggested_skip as suggested_skip
from ._denoise import denoise as denoise
from ._frame import Frame as Frame, HasFrame as HasFrame, Region as Region
from ._intensity import correct_intensity as correct_intensity, original_intensity as original_intensity
from ._mask import (
    DamagedRectangle as DamagedRectangle,
    mask_damage as mask_damage,
    read_damage_mask as read_damage_mask,
)
from ._own_slices import (
    OwnSlices as OwnSlices,
    digest as digest,
    open_own_slices as open_own_slices,
    record_own_slices as record_own_slices,
    slices_as_fitted as slices_as_fitted,
)
from ._read import (
    open_file as open_file,
    read_stack as read_stack,
    read_voxel_size as read_voxel_size,
)
from ._record import JsonRecord as JsonRecord, StackRecord as StackRecord
from ._size_rules import checked_voxel_size as checked_voxel_size, without_unit as without_unit
from ._skip import parse_slices as parse_slices, slices_text as slices_text
from ._slices import LazySlices as LazySlices
from ._source import OpenedFile as OpenedFile, Selection as Selection
from ._stack import Normalisation as Normalisation, SliceSource as SliceSource, Stack as Stack
from ._thickness import ThicknessEstimate as ThicknessEstimate, estimate_thickness as estimate_thickness
from ._voxel_size import VoxelSize as VoxelSize, to_nm as to_nm
from ._z_positions import read_z_positions as read_z_positions, z_from_thickness as z_from_thickness
from .formats._folder import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from .formats._input_format import InputFormat as InputFormat
from .formats._registry import (
    dataset_help as dataset_help,
    dialog_filter as dialog_filter,
    input_formats as input_formats,
    readable_suffixes as readable_suffixes,
    register_reader as register_reader,
)
from .phantom._phantom import PhantomConfig as PhantomConfig, sample_stack as sample_stack, sample_truth as sample_truth

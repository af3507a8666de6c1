from ._address import Address as Address
from ._address import address_of as address_of
from ._alignment import (
    JITTER_WARNING_PX as JITTER_WARNING_PX,
)
from ._alignment import (
    AlignmentReport as AlignmentReport,
)
from ._alignment import (
    check_alignment as check_alignment,
)
from ._alignment import (
    remove_jitter as remove_jitter,
)
from ._array import stack_from_array as stack_from_array
from ._corrections import Corrections as Corrections
from ._damage import SliceReport as SliceReport
from ._damage import find_damage as find_damage
from ._damage import suggested_skip as suggested_skip
from ._denoise import denoise as denoise
from ._frame import Frame as Frame
from ._frame import Region as Region
from ._intensity import correct_intensity as correct_intensity
from ._intensity import original_intensity as original_intensity
from ._mask import (
    DamagedRectangle as DamagedRectangle,
)
from ._mask import (
    mask_damage as mask_damage,
)
from ._mask import (
    read_damage_mask as read_damage_mask,
)
from ._own_slices import OwnSlices as OwnSlices
from ._own_slices import digest as digest
from ._own_slices import note_own_slices as note_own_slices
from ._own_slices import open_own_slices as open_own_slices
from ._own_slices import the_fitted_of as the_fitted_of
from ._read import (
    open_file as open_file,
)
from ._read import (
    read_stack as read_stack,
)
from ._read import (
    read_voxel_size as read_voxel_size,
)
from ._record import JsonRecord as JsonRecord
from ._record import StackRecord as StackRecord
from ._size_rules import believed as believed
from ._size_rules import without_unit as without_unit
from ._skip import parse_slices as parse_slices
from ._slices import LazySlices as LazySlices
from ._source import OpenedFile as OpenedFile
from ._source import Selection as Selection
from ._stack import Normalisation as Normalisation
from ._stack import SliceSource as SliceSource
from ._stack import Stack as Stack
from ._thickness import ThicknessEstimate as ThicknessEstimate
from ._thickness import estimate_thickness as estimate_thickness
from ._voxel_size import VoxelSize as VoxelSize
from ._voxel_size import to_nm as to_nm
from ._z_positions import read_z_positions as read_z_positions
from ._z_positions import z_from_thickness as z_from_thickness
from .formats._folder import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from .formats._input_format import InputFormat as InputFormat
from .formats._registry import dataset_help as dataset_help
from .formats._registry import dialog_filter as dialog_filter
from .formats._registry import input_formats as input_formats
from .formats._registry import readable_suffixes as readable_suffixes
from .formats._registry import register_reader as register_reader
from .phantom._phantom import PhantomConfig as PhantomConfig
from .phantom._phantom import sample_stack as sample_stack
from .phantom._phantom import sample_truth as sample_truth

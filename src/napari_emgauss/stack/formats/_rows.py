"""The formats that the project itself reads: one row each.

A new format is a module with an opener beside this one, and a row here. Kept light: the command line's help asks for
the rows, so nothing here imports NumPy or a file library.
"""

from __future__ import annotations

from ._input_format import InputFormat

_HERE = "napari_emgauss.stack.formats"

ROWS = (
    InputFormat(
        name="tiff",
        label="TIFF, OME-TIFF, ImageJ TIFF, LSM",
        opener=f"{_HERE}._tiff:open_tiff",
        size_reader=f"{_HERE}._tiff:read_tiff_voxel_size",
        endings=(".tif", ".tiff", ".btf", ".lsm"),
        dataset="number of the image, counted from 0",
        voxel_size="OME, ImageJ or LSM metadata; a plain TIFF's resolution is meant for printers and is not trusted",
        reads="grey values of 2 to 64 bit, one page or plane per slice, each page as its own tags say; "
        "samples as channels; BigTIFF; LZW, Deflate, Zstandard, LZMA, PackBits, JPEG, JPEG 2000, JPEG XL, PNG",
        refuses="colours, yes/no masks, pages of several sizes or types, files that are cut off",
        checked_with="tifffile, Pillow",
    ),
    InputFormat(
        name="mrc",
        label="MRC",
        opener=f"{_HERE}._mrc:open_mrc",
        endings=(".mrc", ".rec", ".st", ".map"),
        needs=("mrcfile",),
        dataset="number of the volume in a stack of volumes, counted from 0",
        voxel_size="the header, in Å",
        reads=(
            "modes 0, 1, 2, 6 and 12 in either byte order; bytes signed or not as IMOD's mark or else the header's "
            "statistics say; axes in any order (mapc, mapr, maps); extended headers; volumes, image stacks, "
            "stacks of volumes"
        ),
        refuses="complex values (modes 3, 4), colours (16), 4-bit values (101), files that end early",
        checked_with="mrcfile, and headers written field by field after the specification",
    ),
    InputFormat(
        name="hdf5",
        label="HDF5",
        opener=f"{_HERE}._hdf5:open_hdf5",
        endings=(".h5", ".hdf5", ".hdf"),
        needs=("h5py",),
        install="napari-emgauss[formats]",
        dataset="path of an array or group within the file",
        voxel_size=(
            "an attribute `element_size_um`, `voxel_size`, `resolution` or `pixel_size` of the array or a group "
            "above, in the order z, y, x; axis tags; BigDataViewer's XML"
        ),
        reads=(
            "whole and floating-point numbers in either byte order, plain or in blocks compressed with gzip, LZF, "
            "Blosc, bitshuffle, LZ4, Zstandard and others; axes as vigra and ilastik tag them; BigDataViewer; "
            "soft, external and virtual data within the file's folder"
        ),
        refuses=(
            "what leads out of the file's folder, blocks that decode to more than they declare, files that end early"
        ),
        checked_with="h5py, hdf5plugin",
    ),
    InputFormat(
        name="zarr",
        label="Zarr, OME-Zarr",
        opener=f"{_HERE}._zarr:open_zarr",
        remote_opener=f"{_HERE}._remote_zarr:open_remote_zarr",
        endings=(".zarr",),
        kind="folder",
        marks=("zarr.json", ".zgroup", ".zarray", ".zattrs"),
        needs=("zarr",),
        dataset="path of an array or group within the container, or level of an OME-Zarr",
        voxel_size=(
            "scales and units of an OME-Zarr, of the level and of the image; else the same attributes as in HDF5, "
            "of the array or a group above"
        ),
        reads=(
            "Zarr 2 and 3 in either byte order and memory order, shards, NGFF 0.3 to 0.6; gzip, zlib, bzip2, "
            "LZMA, Blosc, LZ4, Zstandard; a container, a group or an array within one"
        ),
        refuses=(
            "what leads out of the container, blocks that decode to more than they declare, codecs that run code "
            "(pickle)"
        ),
        checked_with="zarr, numcodecs, tensorstore",
    ),
    InputFormat(
        name="n5",
        label="N5",
        opener=f"{_HERE}._n5:open_n5",
        remote_opener=f"{_HERE}._remote_n5:open_remote_n5",
        endings=(".n5",),
        kind="folder",
        marks=("attributes.json",),
        needs=("tensorstore",),
        install="napari-emgauss[n5]",
        otherwise="convert it to Zarr or TIFF",
        dataset="path of an array or group within the container",
        voxel_size=(
            "`pixelResolution`, `resolution`, `transform` or `multiscales` of the array or a group above, times "
            "`downsamplingFactors`; BigDataViewer's XML"
        ),
        reads="raw, gzip, bzip2, xz, blosc and Zstandard blocks",
        refuses="what leads out of the container, blocks that decode to more than they declare",
        checked_with="tensorstore, and blocks written after the specification",
    ),
    InputFormat(
        name="dm",
        label="DigitalMicrograph DM3, DM4",
        opener=f"{_HERE}._dm:open_dm",
        endings=(".dm3", ".dm4"),
        needs=("ncempy",),
        install="napari-emgauss[formats]",
        otherwise="save it as TIFF with DigitalMicrograph or Fiji",
        dataset="number of the image, counted from 1 as in the file; its thumbnail counts",
        voxel_size="calibration of its axes, where their unit is a length",
        reads="whole and floating-point numbers, as a memory map of any size",
        refuses="complex values, colours, files of old Macintosh computers (big-endian)",
        checked_with="bytes written after the published layout of the tags; ncempy reads them",
    ),
    InputFormat(
        name="nifti",
        label="NIfTI",
        opener=f"{_HERE}._nifti:open_nifti",
        endings=(".nii", ".nii.gz"),
        needs=("nibabel",),
        install="napari-emgauss[formats]",
        voxel_size="`pixdim` in the unit of `xyzt_units`",
        reads="NIfTI-1 and 2 in either byte order, scaled by `scl_slope` and `scl_inter`; axes as stored, not turned",
        refuses="colours, complex values",
        checked_with="bytes written after the NIfTI-1 header, and nibabel",
    ),
    InputFormat(
        name="amira",
        label="AmiraMesh",
        opener=f"{_HERE}._amira:open_amira",
        endings=(".am",),
        dataset="name of the field, such as Data or Labels",
        voxel_size="bounding box and the unit of its coordinates",
        reads="lattices as bytes in either order (a memory map), as text, HxZip, and bytes as HxByteRLE",
        refuses="surfaces, several values for each voxel, stacked and curved coordinates' voxel sizes",
        checked_with="bytes written after the published layout",
    ),
    InputFormat(
        name="imaris",
        label="Imaris",
        opener=f"{_HERE}._imaris:open_imaris",
        endings=(".ims",),
        needs=("h5py",),
        install="napari-emgauss[formats]",
        voxel_size="corners of the volume (`ExtMin`, `ExtMax`), in µm unless the file says another unit",
        reads="the finest resolution level, channels and times, without the padding of its blocks",
        refuses="files without a volume",
        checked_with="h5py, after Imaris' published layout",
    ),
    InputFormat(
        name="czi",
        label="Zeiss CZI",
        opener=f"{_HERE}._czi:open_czi",
        endings=(".czi",),
        needs=("czifile",),
        install="napari-emgauss[formats]",
        otherwise="save it as OME-TIFF with ZEN or Fiji",
        voxel_size="`Scaling` in the metadata",
        reads="channels and times at full resolution; tiles of a plane are put together",
        refuses="colours, several scenes, views or phases",
        checked_with="pylibCZIrw",
    ),
    InputFormat(
        name="lif",
        label="Leica LIF",
        opener=f"{_HERE}._lif:open_lif",
        endings=(".lif",),
        needs=("liffile",),
        install="napari-emgauss[formats]",
        otherwise="save it as OME-TIFF with LAS X or Fiji",
        dataset="name of the image, or its number, counted from 0",
        voxel_size="lengths of its dimensions",
        reads="channels and times, plane by plane",
        refuses="colours, tiles of a mosaic, lifetimes",
        checked_with="bytes written after the layout that liffile describes",
    ),
    InputFormat(
        name="precomputed",
        label="Neuroglancer precomputed",
        opener=f"{_HERE}._precomputed:open_precomputed",
        remote_opener=f"{_HERE}._precomputed:open_precomputed",
        endings=(".precomputed",),
        kind="folder",
        marks=("info",),
        needs=("tensorstore",),
        install="napari-emgauss[remote]",
        dataset="key of the scale, such as 8_8_40, or its number",
        voxel_size="`resolution` of the scale, in nm",
        reads="raw, gzip, JPEG, PNG and segmentation blocks, sharded or not",
        refuses="meshes, skeletons, graphs",
        checked_with="blocks written byte by byte after the published layout",
    ),
    InputFormat(
        name="npy",
        label="NumPy",
        opener=f"{_HERE}._npy:open_npy",
        endings=(".npy",),
        voxel_size="nothing: give it",
        reads="arrays of three to five axes in either byte order, C and Fortran order, memory-mapped",
        refuses="Python objects, which are never loaded, and archives of arrays",
        checked_with="NumPy, and bytes written after its description",
    ),
    # Last: any folder that is of no other format.
    InputFormat(
        name="images",
        label="a folder of images, one per slice",
        opener=f"{_HERE}._folder:open_image_series",
        kind="folder",
        voxel_size="the first image's metadata, if it has any",
        reads="TIFF, PNG, JPEG, BMP and PGM, in a folder or by a pattern such as `slices/em_*.png`",
        refuses="colour images, images of different sizes",
        checked_with="imageio, tifffile",
    ),
)

"""One opener a file: what each format says of its slices and of their voxel size."""

"""Is EMGauss better than linear interpolation on your stack? Hide every second slice, and see.

python examples/evaluate_your_stack.py my_stack.tif [Z Y X]

Z Y X is the voxel size in nm, where the file does not hold it.
"""

import sys

import napari_emgauss as emg

if len(sys.argv) not in (2, 5):
    sys.exit(__doc__)
voxel_size = tuple(float(size) for size in sys.argv[2:]) or None
stack = emg.read_stack(sys.argv[1], voxel_size_nm=voxel_size)
result = emg.score(stack, methods=("linear", "linear+blur", "flow+blur", "ensemble", "emgauss"), config="fast")
print(f"{stack.name}: slices {', '.join(str(k) for k in result.hidden)} hidden, gaps of {result.gap_nm:g} nm")
for name, method in sorted(result.methods.items(), key=lambda item: -item[1].mean.psnr):
    print(f"{name:<12} {method.mean.psnr:6.2f} dB   {method.seconds:6.1f} s")

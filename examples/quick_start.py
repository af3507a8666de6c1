"""From an anisotropic stack to an isotropic volume, in the fewest lines."""

import napari_emgauss as emg

stack = emg.sample_stack()  # your own: emg.read_stack("my_stack.tif")
print(f"{stack.shape} voxels, {stack.anisotropy_factor:g} times farther apart in z than in the plane")

model = emg.run_fit(stack, emg.preset("fast"))
middle = (stack.z_nm[3] + stack.z_nm[4]) / 2
image = model.render(middle)  # a slice that was never imaged
print(f"slice at {middle:g} nm: {image.shape} {image.dtype}, {image.min()} to {image.max()}")

emg.export(model, "isotropic.ome.tif")

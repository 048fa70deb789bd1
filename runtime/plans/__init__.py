"""TensorRT plans: their cards, layout, the module and the GPU; export builds what engines run."""

"""Export checkpoints to bundles (ONNX), with a proof of parity."""

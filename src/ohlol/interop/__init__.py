"""Exchange with other formats: ONNX and torch state dicts."""

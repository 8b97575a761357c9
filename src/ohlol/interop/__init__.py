"""Exchange with other formats: ONNX graphs and state dicts of torch."""

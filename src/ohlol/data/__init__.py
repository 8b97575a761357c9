"""Data: vocabulary, codec, batches, split and loading; files are read by `readers` and encoded by `corpus`."""

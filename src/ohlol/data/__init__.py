"""Files and strings become arrays of ids; knows nothing of torch modules or training."""

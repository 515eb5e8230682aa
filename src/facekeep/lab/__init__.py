"""The laboratory: data sets, networks, training, evaluation, compression, export, benchmarks."""

"""The whole way once, on a simulated drive or on real samples: what `make demo` runs."""

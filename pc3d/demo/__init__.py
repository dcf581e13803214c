"""The whole way once, in small simulated worlds or on real samples: what `make demo` runs."""

"""What only a GPU can tell: operations beside the CPU's, steps of the papers' configs, half precision."""

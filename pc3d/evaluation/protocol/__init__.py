"""The quick probes that tables are made with: the same points for all, two probes, and reference features."""

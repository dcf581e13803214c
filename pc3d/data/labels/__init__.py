"""Labels of points: files of many kinds in, classes of a `ClassSet` out."""

from pc3d.data.labels.load import LABEL_DECODERS, load_label_file, load_labels, load_raw_labels, look_up

__all__ = ["LABEL_DECODERS", "load_label_file", "load_labels", "load_raw_labels", "look_up"]

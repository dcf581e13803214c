"""Whether LiDAR and cameras lie on each other: calibration scored before training."""

from pc3d.data.calibration.report import calibration_findings
from pc3d.data.calibration.scores import CalibrationScore, calibration_scores

__all__ = ["CalibrationScore", "calibration_findings", "calibration_scores"]

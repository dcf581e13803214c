"""Own folders: points, images, one calibration file, poses, perhaps labels and boxes.

docs/own-data.md has the convention; `description.py` reads the calibration file, `guesses.py` proposes what
it leaves out.
"""

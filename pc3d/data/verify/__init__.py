"""Looks at everything that an index names: each file is opened, each pose, time, box and label compared.

`run.py` hands sweeps out to processes and adds up what they found; `opened.py` looks at the files of a sweep,
`drives.py` at sweeps side by side, `copies.py` and `orphans.py` at what is there twice or is named nowhere.
docs/verify.md says what is checked, and which faults are found.
"""

from pc3d.data.verify.report import Verification, write_verification
from pc3d.data.verify.run import verify_index

__all__ = ["Verification", "verify_index", "write_verification"]

# PPKT as SLidR's public code has it: SLidR's setting, but for the teacher, which keeps its stride of 32.
_base_ = "nuscenes_slidr.py"
image = dict(output_stride=None)
objectives = dict(_delete_=True, ppkt=dict(type="PPKT"))

# PPKT under SLidR's setting.
_base_ = "nuscenes_slidr.py"
objectives = dict(_delete_=True, ppkt=dict(type="PPKT"))

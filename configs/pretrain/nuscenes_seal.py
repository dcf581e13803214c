# Seal with MinkUNet-34 and ViT-B under SuperFlow's settings; its superpixels come from a foundation model
# (semantics of source png or text), or from SLIC as here.
_base_ = "nuscenes_superflow.py"
objectives = dict(_delete_=True, seal=dict(type="Seal"))
schedule = dict(epochs=50)

#!/usr/bin/env bash
# Whether an installed pc3d works: docker/check.sh BIN, the folder of its commands; some minutes.
set -euo pipefail

bin=$(realpath "${1:?the folder that holds the command pc3d}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$bin/pc3d" doctor
"$bin/pc3d" simulate sim --size tiny --workers 1
"$bin/pc3d" index sim --out index
"$bin/pc3d" regions index --out regions --kinds clusters --split sim_train --workers 1
"$bin/pc3d" pretrain sim_prc --work-dir run --cfg-options \
  data.index=index data.regions=regions schedule.iterations=2 data.workers=1
"$bin/pc3d" finetune sim_5_percent --work-dir tuned --cfg-options \
  data.index=index data.fraction=100 init.checkpoint=run/backbone.safetensors schedule.iterations=2
"$bin/pc3d" evaluate tuned/segmenter.safetensors --pictures 0

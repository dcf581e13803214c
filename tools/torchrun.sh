#!/usr/bin/env bash
# Train on the GPUs of one machine, or on those of several machines without Slurm:
#   tools/torchrun.sh 8 pretrain nuscenes_joint --work-dir runs/joint
#   NODES=4 NODE=0 MASTER=first-host:29500 tools/torchrun.sh 8 pretrain nuscenes_joint   # NODE=0..3, on each
# The first argument is the number of processes of this machine, one for each GPU; the others are pc3d's.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: $0 PROCESSES pretrain|finetune CONFIG [arguments of pc3d]" >&2
  exit 2
fi
processes=$1
shift
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
where=(--standalone)
if [ "${NODES:-1}" -gt 1 ]; then
  : "${NODE:?number of this machine, from 0}" "${MASTER:?HOST:PORT of machine 0}"
  where=(--nnodes "$NODES" --node-rank "$NODE" --master-addr "${MASTER%:*}" --master-port "${MASTER##*:}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run --nproc-per-node "$processes" "${where[@]}" \
  -m pc3d "$@" --launcher pytorch

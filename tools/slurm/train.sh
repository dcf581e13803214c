# What the jobs of this folder do: a process for each GPU, which goes on where an earlier job stopped.
# Slurm's warning before the time limit (--signal) ends the run with 138 once it has saved; the job is then
# put back into the queue.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: sbatch tools/slurm/JOB.sbatch pretrain|finetune CONFIG [arguments of pc3d]" >&2
  exit 2
fi
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT PYTHON=${PYTHON:-python} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
code=0
srun --kill-on-bad-exit=1 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  exec "$PYTHON" -m pc3d "$@" --launcher pytorch --resume' pc3d "$@" || code=$?
if [ "$code" -eq 138 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"

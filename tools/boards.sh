#!/bin/sh
# Boards of many stories on many machines: every process draws its share, they need not know of each other, and a run that was
# stopped goes on where it was when it is started again. The exit code is 2 if a story of this process failed.
#
#   sh tools/boards.sh STORY... --out DIR [flags of `stage board`]     DIR on a disk that all of them see, or fetched later
#
# Slurm:   srun --ntasks=8 sh tools/boards.sh stories/*.json --out boards
# TPU VMs: gcloud compute tpus tpu-vm ssh NAME --worker=all --command='cd stage_jax && sh tools/boards.sh stories/*.json --out boards'
# Others:  SHARE=3/8 sh tools/boards.sh ...
set -eu

if [ -z "${SHARE:-}" ]; then
  if [ -n "${SLURM_NTASKS:-}" ]; then
    SHARE="${SLURM_PROCID}/${SLURM_NTASKS}"
  elif [ -n "${TPU_WORKER_HOSTNAMES:-}" ]; then
    SHARE="${TPU_WORKER_ID}/$(printf '%s' "$TPU_WORKER_HOSTNAMES" | tr ',' '\n' | grep -c .)"
  else
    echo "boards.sh: neither SHARE=K/N nor SLURM_NTASKS nor TPU_WORKER_HOSTNAMES says which process this is" >&2
    exit 2
  fi
fi
exec ${STAGE:-stage} board "$@" --share "$SHARE"

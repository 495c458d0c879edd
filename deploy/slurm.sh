#!/usr/bin/env bash
# One Ray cluster over the nodes of a Slurm job, for one mixproof command:
#
#   sbatch deploy/slurm.sh run spec.yaml --store /shared/mixproof
#   sbatch --nodes=16 --gpus-per-node=8 deploy/slurm.sh train spec.yaml --store /shared/mixproof
#
# The store is a folder that all nodes share, or a bucket. The log is mixproof-<job>.log. If the job ends early, for its
# time limit or for a node that failed, submit the same line again: finished work is reused.
#SBATCH --job-name=mixproof
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --output=mixproof-%j.log
#SBATCH --open-mode=append
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address="$head:${MIXPROOF_RAY_PORT:-6379}"
export RAY_USAGE_STATS_ENABLED=0
# A token of this job: without one, whoever reaches a port of these nodes can run code as you.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
export RAY_AUTH_TOKEN
# Seconds that the nodes wait for each other; Ray's 30 are short where Python is on a slow shared file system.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}"

# On every node: start Ray; on the head: run the command, then stop Ray everywhere. srun ends with the command's exit code.
# Since Slurm 22.05 srun has to be given the CPUs again: without them, Ray and all of its tasks share one core.
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" -- mixproof "$@" --address "$address"

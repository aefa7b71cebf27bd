#!/usr/bin/env bash
#SBATCH --job-name=fleet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@120
# A Ray cluster inside one Slurm allocation, and fleet on it: sbatch slurm.sh PROFILE [fleet options]
# The virtual environment must be there on every node; the run, the images and the profile need to
# be on the first node alone. When the time is up, submit it again: the training goes on.
set -euo pipefail

profile=${1:?usage: sbatch slurm.sh PROFILE [options of fleet train]}
shift
source "${FLEET_VENV:-.venv}/bin/activate"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))

start() { # NODE, then options of ray start
    local node=$1
    shift
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$node" \
        ray start --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block "$@" &
}

start "$head" --head --node-ip-address="$address" --port="$port" --include-dashboard=false
for attempt in $(seq 1 60); do
    ray health-check --address "$address:$port" && break
    [ "$attempt" -lt 60 ] || { echo "the head does not answer" >&2; exit 1; }
    sleep 2
done
for node in "${nodes[@]:1}"; do
    start "$node" --address "$address:$port"
done
sleep 15 # the nodes join

export RAY_ADDRESS="$address:$port" FLEET_EXECUTOR=ray
fleet doctor
fleet train --profiles "$profile" "$@" &
wait $!

#!/usr/bin/env bash
# tools/launch.sh SCRIPT GPUS ARGUMENTS...
# Runs a script of this folder with torchrun, one process per GPU. dist_train.sh
# and dist_test.sh call it.
set -euo pipefail
if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
    echo "The number of GPUs should be a positive integer, got '${2:-}'." >&2
    exit 2
fi
exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    "$(dirname "$0")/$1" "${@:3}" --launcher pytorch

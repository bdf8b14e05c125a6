#!/usr/bin/env bash
# tools/launch.sh SCRIPT GPUS ARGUMENTS...
# Runs a script of this folder with torchrun, one process per GPU. dist_train.sh
# and dist_test.sh call it. If a process fails, torchrun restarts all of them, up to
# MAX_RESTARTS times (an environment variable, default 0).
set -euo pipefail
if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
    echo "The number of GPUs should be a positive integer, got '${2:-}'." >&2
    exit 2
fi
exec python -m lightvit_mm.engine.launch \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    --max-restarts="${MAX_RESTARTS:-0}" \
    "$(dirname "$0")/$1" "${@:3}" --launcher pytorch

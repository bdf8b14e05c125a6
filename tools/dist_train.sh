#!/usr/bin/env bash
# tools/dist_train.sh CONFIG GPUS [options of train.py]
# On several machines, run the same line on each, with NNODES, NODE_RANK,
# MASTER_ADDR and PORT in the environment.
exec "$(dirname "$0")/launch.sh" train.py "$2" "$1" "${@:3}"

#!/usr/bin/env bash
# tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
exec "$(dirname "$0")/launch.sh" test.py "$3" "$1" "$2" "${@:4}"

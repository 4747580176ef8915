#!/bin/sh
# Train, register, score a Parquet file, and judge the answers, with the command line alone.
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)

job=$(mlport jobs submit job.toml)
mlport jobs logs --follow "$job"
mlport jobs wait "$job"
mlport models register digits --job "$job" --alias champion
mlport jobs submit batch.toml --set output="$out/scored" --wait
python judge.py "$out/scored"

#!/usr/bin/env bash
# kcat: JSON lines from standard input to the raw topic, keyed by the agent's id.
# sed puts the id and a tab before each line and leaves the line itself alone; one
# without a plain id goes out without a key, and ingest says what is wrong with it.
#
#   tail -F agents.jsonl | deploy/shippers/kcat.sh 127.0.0.1:9092
set -euo pipefail
sed -uE 's/^.*"gen_ai\.agent\.id"[[:space:]]*:[[:space:]]*"([^"\\]+)".*$/\1\t&/' |
  kcat -P -b "${1:-127.0.0.1:9092}" -t "${2:-stakeout.raw}" -K '\t' \
    -X acks=all -X enable.idempotence=true -X compression.codec=lz4 -X partitioner=murmur2_random

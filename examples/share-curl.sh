#!/usr/bin/env bash
# curl through a share: authctl share --loopback --compat responses -- bash share-curl.sh
# `<(…)` keeps the key out of the arguments, which every user of the machine can read.
set -euo pipefail

for stream in false true; do
  curl --silent --show-error --fail-with-body --no-buffer \
    -H @<(echo "Authorization: Bearer $OPENAI_API_KEY") -H 'Content-Type: application/json' \
    "$OPENAI_BASE_URL/responses" \
    -d '{"model": "gpt-5.5", "input": "What is 2+2?", "temperature": 0, "stream": '$stream'}'
done

#!/usr/bin/env bash
# curl with ready headers, directly to the provider. `<(…)` works in bash and zsh. It keeps the
# token out of the arguments, which every user of the machine can read.
set -euo pipefail

curl --silent --show-error --fail-with-body --no-buffer \
  -H @<(authctl headers) -H 'Content-Type: application/json' "$(authctl url)/responses" -d '{
    "model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}]}'

#!/usr/bin/env bash
# curl with ready headers, straight to the provider. `<(…)` is bash's and zsh's: the token is in no argument,
# where every user of the machine could read it.
set -euo pipefail

curl --silent --show-error --fail-with-body --no-buffer \
  -H @<(authctl headers) -H 'Content-Type: application/json' "$(authctl url)/responses" -d '{
    "model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}]}'

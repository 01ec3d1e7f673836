#!/usr/bin/env bash
# curl through the relay: this process has no token, and authd refreshes and retries after a 401.
set -euo pipefail

socket=$(authctl socket)
profile=${AUTHCTL_PROFILE:--}

curl --silent --show-error --fail-with-body --no-buffer --unix-socket "$socket" \
  -H 'Content-Type: application/json' "http://authd/v1/profiles/$profile/relay/responses" -d '{
    "model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}]}'

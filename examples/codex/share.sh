#!/usr/bin/env bash
# The Codex CLI through a share: authctl share --loopback -- bash share.sh "What is 2+2?"
# Copy the share.toml beside this file to $CODEX_HOME/config.toml (by default in ~/.codex).
set -euo pipefail

codex exec --skip-git-repo-check --sandbox read-only \
  --config "model_providers.authd.base_url=\"$OPENAI_BASE_URL\"" "${@:-What is 2+2?}" </dev/null

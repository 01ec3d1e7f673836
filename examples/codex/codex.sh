#!/usr/bin/env bash
# The Codex CLI, signed in by authd. Copy the config.toml beside this file to $CODEX_HOME (by
# default ~/.codex). The base URL and the account id, which is not a secret, come from authd, so the
# same configuration works in both modes. The environment of Codex and of its commands has no token.
set -euo pipefail

CHATGPT_ACCOUNT_ID=$(authctl headers | sed -n 's/^chatgpt-account-id: //p')
export CHATGPT_ACCOUNT_ID

codex exec --skip-git-repo-check --sandbox read-only \
  --config "model_providers.authd.base_url=\"$(authctl url)\"" "${@:-What is 2+2?}" </dev/null

#!/usr/bin/env bash
# The Codex CLI, signed in by authd. It wants the config.toml beside this file in $CODEX_HOME (by default
# ~/.codex). The base URL is taken from authd, so that the same configuration serves both modes, and so is the
# account, which is no secret. No token is in Codex's environment, nor in that of the commands it runs.
set -euo pipefail

CHATGPT_ACCOUNT_ID=$(authctl headers | sed -n 's/^chatgpt-account-id: //p')
export CHATGPT_ACCOUNT_ID

codex exec --skip-git-repo-check --sandbox read-only \
  --config "model_providers.authd.base_url=\"$(authctl url)\"" "${@:-What is 2+2?}" </dev/null

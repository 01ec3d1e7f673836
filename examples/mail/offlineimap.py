"""The token of a profile, for `oauth2_access_token_eval` of offlineimap."""

import subprocess


def token(profile: str) -> str:
    command = ["authctl", "token", "--profile", profile]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

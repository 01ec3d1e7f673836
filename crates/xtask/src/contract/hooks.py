"""Keeps file paths of generated requests inside the directory of the test daemon."""

import os

import schemathesis

DIRECTORY = os.environ["AUTHD_TEST_DIR"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Moves an absolute path below the directory of the daemon; keeps all other values."""
    if isinstance(case.body, dict):
        for key in ("path", "home"):
            path = case.body.get(key)
            if isinstance(path, str) and path.startswith("/"):
                parts = [part for part in path.split("/") if part not in ("", ".", "..")]
                case.body[key] = "/".join([DIRECTORY, *parts]) if parts else DIRECTORY

"""Keeps the files that a generated request names inside the directory that the daemon was given."""

import os

import schemathesis

HOUSE = os.environ["AUTHD_HOUSE"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """A path from the root becomes one below the directory of the daemon; everything else stays as it was made."""
    if isinstance(case.body, dict):
        for key in ("path", "home"):
            named = case.body.get(key)
            if isinstance(named, str) and named.startswith("/"):
                parts = [part for part in named.split("/") if part not in ("", ".", "..")]
                case.body[key] = "/".join([HOUSE, *parts]) if parts else HOUSE

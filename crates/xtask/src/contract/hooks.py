"""Keeps generated requests on this machine: file paths inside the directory of the test daemon, and
URLs of providers at a closed port of loopback."""

import os

import schemathesis

DIRECTORY = os.environ["AUTHD_TEST_DIR"]

# The discard service, which nothing offers.
CLOSED = "http://127.0.0.1:9/"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Moves an absolute path below the directory of the daemon, and replaces the URL of a provider and
    the names of those with public endpoints; keeps all other values."""
    if isinstance(case.body, dict):
        provider = case.body.get("provider")
        if isinstance(provider, str) and ("://" in provider or provider in ("google", "gitlab")):
            case.body["provider"] = CLOSED
        if isinstance(case.body.get("mcp"), str):
            case.body["mcp"] = CLOSED
        for key in ("path", "home"):
            path = case.body.get(key)
            if isinstance(path, str) and path.startswith("/"):
                parts = [part for part in path.split("/") if part not in ("", ".", "..")]
                case.body[key] = "/".join([DIRECTORY, *parts]) if parts else DIRECTORY

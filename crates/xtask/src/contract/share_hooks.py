"""Checks that a share answers nothing but what it allows with success."""

import os

import schemathesis

ALLOWS_HEADERS = os.environ["AUTHD_SHARE_ALLOWS"] == "headers"


@schemathesis.check
def only_the_grant(context, response, case):
    """Refuses a success, or a redirect, of an operation that the share does not allow."""
    operation, profile = case.operation.path, case.path_parameters.get("profile")
    relay = operation.endswith(("/relay", "/relay/{path}"))
    headers = ALLOWS_HEADERS and operation.endswith("/headers") and case.method in ("GET", "HEAD")
    if profile == "-" and (relay or headers):
        return
    assert response.status_code in (400, 401, 403), f"status {response.status_code} outside of the grant"

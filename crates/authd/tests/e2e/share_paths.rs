//! Attacks on the grant of a share: no path and no method outside of it gets a success, reaches the
//! upstream or changes anything, in whatever form.

use crate::share_attacks::{ALLOWED, Target, head, host};

/// Paths below the relay that a share of `models` does not allow.
const BELOW_RELAY: &[&str] = &[
    "",
    "responses",
    "responses?path=models",
    "modelsX",
    "models2",
    "model",
    "Models",
    "MODELS",
    "models.",
    "models..",
    "models;x",
    "models;/../responses",
    "models/",
    "models//",
    "models/.",
    "models/..",
    "models/../responses",
    "models/./../responses",
    "models/..;/responses",
    "models/...//responses",
    "models\\..\\responses",
    "models/..\\responses",
    "models%5c..%5cresponses",
    "models/%2e%2e/responses",
    "models/.%2e/responses",
    "models/%2E./responses",
    "models/%252e%252e/responses",
    "models%2f..%2fresponses",
    "models%2F",
    "models/%c0%ae%c0%ae/responses",
    "models/%e0%80%ae%e0%80%ae/responses",
    "models/%uff0e%uff0e/responses",
    "models/\u{ff0e}\u{ff0e}/responses",
    "models/\u{e9}",
    "models%00",
    "models\0",
    "models\0/../responses",
    "models%0d%0aX:1",
    "models%09",
    "models%20",
    "models%3f",
    "models%23",
    "models%",
    "models%zz",
    "m%6fdels",
    "/models",
    "//models",
    "./models",
    "../models",
    "../../models",
    "..",
    ".",
    "%2e%2e/models",
    "http://evil.example/models",
    "http:models",
    "@evil.example/models",
    "../relay-backend/me",
    "../headers",
    "../../../status",
];

/// Paths that no door of a share of `models` has.
const ELSEWHERE: &[&str] = &[
    "/",
    "*",
    "/v1",
    "/v1/",
    "//v1/models",
    "/v1//models",
    "/V1/models",
    "/./v1/models",
    "/x/../v1/models",
    "/%761/models",
    "/v2/models",
    "/models",
    "/v1/status",
    "/v1/shares",
    "/v1/openapi.json",
    "/v1/profiles",
    "/v1/profiles/",
    "/v1/profiles/-",
    "/v1/profiles/me/headers",
    "/v1/profiles/other/headers",
    "/v1/profiles/other/relay/models",
    "/v1/profiles/me/relay/models",
    "/v1/profiles/-/relay",
    "/v1/profiles/-/relay-backend/me",
    "/v1/profiles/-/relay-backend/models",
    "/v1/profiles/%2d/headers",
    "/v1/profiles//headers",
    "/v1/profiles/-/../other/headers",
    "/v1/profiles/-/%2e%2e/other/headers",
    "/v1/profiles/-/headers/",
    "/v1/profiles/-/headers;x",
    "/v1/profiles/-//headers",
    "/v1/profiles/-/Headers",
    "/v1/profiles/-/refresh",
    "/V1/profiles/-/headers",
];

#[tokio::test]
async fn path_or_method_outside_the_grant_is_refused_in_every_form() {
    let target = Target::new().await;
    for share in &target.shares {
        let (own, relay) = (host(share), share.relay(""));
        let below = BELOW_RELAY.iter().map(|path| format!("{relay}{path}"));
        for path in below.chain(ELSEWHERE.iter().map(ToString::to_string)) {
            for method in ["GET", "POST"] {
                let request = head(share, &format!("{method} {path}"), &own);
                target.expect_refused(share, request.as_bytes()).await;
            }
        }
        let (models, headers) = (share.relay(ALLOWED), "/v1/profiles/-/headers");
        let lines = [
            format!("CONNECT {models}"),
            format!("CONNECT {}", own.trim_start_matches("Host: ").trim_end()),
            "CONNECT evil.example:443".to_owned(),
            format!("TRACE {models}"),
            format!("TRACE {headers}"),
            "OPTIONS *".to_owned(),
            format!("OPTIONS {headers}"),
            format!("POST {headers}"),
            format!("PUT {headers}"),
            format!("DELETE {headers}"),
            format!("get {headers}"),
            format!("GETX {headers}"),
            format!("PROPFIND {headers}"),
            format!("G\u{e9}T {models}"),
            format!("GET  {models}"),
            format!("GET {models} x"),
            format!("GET\t{models}"),
            "PRI *".to_owned(),
        ];
        for line in lines {
            target.expect_refused(share, head(share, &line, &own).as_bytes()).await;
        }
        // A preflight of a page has an `Origin`.
        let preflight = format!("{own}Origin: http://evil.example\r\nAccess-Control-Request-Method: GET\r\n");
        for path in [&models, headers] {
            let request = head(share, &format!("OPTIONS {path}"), &preflight);
            target.expect_refused(share, request.as_bytes()).await;
        }
    }
    target.expect_unchanged().await;
}

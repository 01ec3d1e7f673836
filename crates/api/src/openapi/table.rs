//! The one table of routes: every method of every path, what it is asked, what it answers, and the
//! codes that it can refuse with.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{
    examples::Example,
    shape::{Body, Content, Message, Operation, Query, Success},
};
use crate::{
    ApiKeyBody, CallbackBody, CodexBody, Diagnosis, ErrorCode, ExportBody, Headers, ImportBody, Login,
    LoginBody, LoginFile, MigrateBody, Migrated, Profile, ProfilePatch, Profiles, RENEWED_HEADER,
    RefreshBody, Status, StoreStatus, route,
};

/// The methods that OpenAPI has a word for.
const ANY_METHOD: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// The groups of routes.
pub(super) const TAGS: [(&str, &str); 6] = [
    ("daemon", "How the daemon is."),
    ("logins", "Signing a person in."),
    ("profiles", "Who is signed in."),
    ("credentials", "Ready headers, and requests that need none."),
    ("sharing", "Logins shared with other programs."),
    ("store", "Where credentials are kept."),
];

use ErrorCode::{
    BadRequest, CallbackUnavailable, Conflict, LoginDenied, LoginRequired, LoginUnknown, ProfileUnknown,
    ProviderRefused, ProviderUnreachable, ShuttingDown, StoreLocked, StoreUnavailable, Timeout, TooLarge,
};

/// A body that does not fit, is too large, or does not arrive.
const BODY: &[ErrorCode] = &[BadRequest, TooLarge, Timeout];
/// A profile that there is not, or that cannot be.
const NAMED: &[ErrorCode] = &[BadRequest, ProfileUnknown];
/// A login that there is not.
const LOGIN: &[ErrorCode] = &[BadRequest, LoginUnknown];
/// A store that does not do its part, or a daemon that is about to stop.
const STORE: &[ErrorCode] = &[Conflict, StoreLocked, StoreUnavailable, ShuttingDown];
/// A credential that is not to be had.
const CREDENTIAL: &[ErrorCode] = &[LoginRequired, ProviderUnreachable, ProviderRefused, Timeout];
/// A provider that does not do its part.
const PROVIDER: &[ErrorCode] = &[ProviderUnreachable, ProviderRefused];
/// A login that cannot be started.
const START: &[ErrorCode] = &[CallbackUnavailable, LoginDenied, ProviderUnreachable, ProviderRefused];
/// A record that is missing or damaged.
const UNREAD: &[ErrorCode] = &[LoginRequired];
/// A login that is of another kind.
const OTHERWISE: &[ErrorCode] = &[Conflict];

const NO_STORE: &[&str] = &["cache-control"];

const WAIT: &[Query] = &[Query {
    name: "wait",
    about: "Seconds to wait for a change of its state; more than 60 count as 60.",
    schema: || json!({"type": "integer", "minimum": 0, "maximum": u64::MAX, "default": 0}),
    example: || json!(1),
}];
const REVOKE: &[Query] = &[Query {
    name: "revoke",
    about: "Whether the provider is to forget the login first. If it cannot be told, or the record cannot be read, \
        the profile stays.",
    schema: || json!({"type": "boolean", "default": false}),
    example: || json!(true),
}];
const MIN_TTL: &[Query] = &[Query {
    name: "min_ttl",
    about: "Seconds for which the headers must be good still, or the answer is the problem that keeps them from it; a \
        wish beyond the lifetime that the provider issues is met as well as the schedule of refreshes does. When \
        nobody says, the configuration does, and a token that cannot be renewed is handed out until it expires.",
    schema: || json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
    example: || json!(300),
}];

/// One answer: a message of this type.
fn one<T: Example + JsonSchema>(about: &'static str) -> Vec<Success> {
    vec![Success::new("200", about, Content::Json(Message::of::<T>()))]
}

fn a_login() -> Vec<Success> {
    vec![Success::new("200", "The login.", Content::Json(Message::of::<Login>())).headers(NO_STORE)]
}

fn a_profile() -> Vec<Success> {
    one::<Profile>("The profile as it is then.")
}

fn a_file() -> Vec<Success> {
    one::<LoginFile>("The file, and whose login it has.")
}

fn no_content() -> Vec<Success> {
    vec![Success::new("204", "It is done.", Content::None)]
}

const NEWS: &str = "event: store\ndata: {\"kind\":\"keychain\",\"state\":\"ready\"}\n\n\
    event: profile_gone\ndata: {\"name\":\"work\"}\n\n";
const FIGURES: &str = "# HELP authd_pending_logins Logins that nobody has finished.\n\
    # TYPE authd_pending_logins gauge\nauthd_pending_logins 0\n# EOF\n";

const WORDS: &str = "event: response.output_text.delta\n\
    data: {\"type\":\"response.output_text.delta\",\"delta\":\"2 + 2 = 4\"}\n\n";

/// What the upstream is asked for the words above.
fn question() -> Value {
    json!({
        "model": "gpt-5.5",
        "instructions": "Be brief.",
        "store": false,
        "stream": true,
        "input": [{
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "What is 2+2?"}],
        }],
    })
}

/// How this document begins.
fn document() -> Value {
    json!({"openapi": "3.1.1", "info": {"title": "authd", "version": env!("CARGO_PKG_VERSION")}, "paths": {}})
}

/// All operations.
pub(super) fn all() -> Vec<Operation> {
    let mut all = told();
    all.extend(signing_in());
    all.extend(profiles());
    all.extend(credentials());
    all.extend(shared());
    all.extend(kept());
    all
}

fn told() -> Vec<Operation> {
    vec![
        Operation {
            successes: one::<Status>("The state."),
            ..Operation::new("get", route::STATUS, "status", "daemon", "The daemon's own state")
        },
        Operation {
            successes: one::<Diagnosis>("What was looked at, and how it is."),
            ..Operation::new("get", route::DIAGNOSIS, "diagnosis", "daemon", "What keeps things from working")
        },
        Operation {
            about: "First how everything is, logins that ended lately with it, then every change, until the client hangs up or the daemon \
                stops. The events are `store`, `callback`, `profile` and `login`, each with the message of \
                that name as its data (a login without its URLs and its code), and `profile_gone` with \
                `{\"name\"}`.",
            successes: vec![
                Success::new("200", "Server-sent events; never a secret.", Content::Events(NEWS))
                    .headers(NO_STORE),
            ],
            ..Operation::new("get", route::EVENTS, "events", "daemon", "Every change, as it comes")
        },
        Operation {
            about: "No label names a person, a profile or a workspace.",
            successes: vec![Success::new(
                "200",
                "OpenMetrics 1.0.",
                Content::Text("application/openmetrics-text; version=1.0.0; charset=utf-8", FIGURES),
            )],
            ..Operation::new("get", route::METRICS, "metrics", "daemon", "Figures, as text")
        },
        Operation {
            successes: vec![Success::new("200", "OpenAPI 3.1.", Content::Object(document))],
            ..Operation::new("get", route::OPENAPI, "openapi", "daemon", "This document")
        },
    ]
}

fn signing_in() -> Vec<Operation> {
    vec![
        Operation {
            about: "A login in a browser answers with `authorize_url`, and with `open_url`, which leads there once, \
                if the callback server listens and `paste` is not set; one by device code answers with \
                `verification_url` and `user_code`. At most 256 are pending at once; then the answer is \
                `too_many_requests`, and `Retry-After` says when the first of them ends by itself.",
            body: Body::Json(Message::of::<LoginBody>(), false),
            successes: vec![
                Success::new("201", "The login, pending.", Content::Json(Message::of::<Login>()))
                    .headers(&["location", "cache-control"]),
            ],
            refusals: &[BODY, START],
            ..Operation::new("post", route::LOGINS, "start_login", "logins", "Start a login")
        },
        Operation {
            query: WAIT,
            successes: a_login(),
            refusals: &[LOGIN],
            ..Operation::new("get", route::LOGIN, "login", "logins", "A login, or its next state")
        },
        Operation {
            about: "One whose code is being exchanged runs on to its end.",
            successes: no_content(),
            refusals: &[LOGIN],
            ..Operation::new("delete", route::LOGIN, "cancel_login", "logins", "Call a login off")
        },
        Operation {
            about: "For a browser on another machine.",
            body: Body::Json(Message::of::<CallbackBody>(), true),
            successes: a_login(),
            refusals: &[BODY, LOGIN, OTHERWISE],
            ..Operation::new(
                "post",
                route::LOGIN_CALLBACK,
                "paste",
                "logins",
                "Bring the redirect URL of a login",
            )
        },
    ]
}

fn profiles() -> Vec<Operation> {
    vec![
        Operation {
            successes: one::<Profiles>("All of them, by name."),
            ..Operation::new("get", route::PROFILES, "profiles", "profiles", "All profiles")
        },
        Operation {
            successes: a_profile(),
            refusals: &[NAMED],
            ..Operation::new("get", route::PROFILE, "profile", "profiles", "One profile")
        },
        Operation {
            body: Body::Json(Message::of::<ProfilePatch>(), true),
            successes: a_profile(),
            refusals: &[BODY, NAMED, STORE],
            ..Operation::new(
                "patch",
                route::PROFILE,
                "patch_profile",
                "profiles",
                "Make it the default, or rename it",
            )
        },
        Operation {
            query: REVOKE,
            successes: no_content(),
            refusals: &[NAMED, STORE, PROVIDER, UNREAD],
            ..Operation::new("delete", route::PROFILE, "sign_out", "profiles", "Sign out")
        },
        Operation {
            about: "The profile is made if it is not there.",
            body: Body::Json(Message::of::<ApiKeyBody>(), true),
            successes: a_profile(),
            refusals: &[BODY, STORE],
            ..Operation::new("put", route::API_KEY, "own_key", "profiles", "A profile with a key of your own")
        },
    ]
}

fn credentials() -> Vec<Operation> {
    let mut all = vec![
        Operation {
            about: "From memory, and refreshed first if need be.",
            query: MIN_TTL,
            conditional: true,
            successes: vec![
                Success::new(
                    "200",
                    "The headers. A client that meets 401 with them asks for a refresh.",
                    Content::Json(Message::of::<Headers>()),
                )
                .headers(&["cache-control", "etag"]),
                Success::new("304", "They are the same.", Content::None).headers(&["cache-control", "etag"]),
            ],
            refusals: &[NAMED, CREDENTIAL, STORE],
            ..Operation::new("get", route::HEADERS, "headers", "credentials", "Ready headers")
        },
        Operation {
            about: "A client that met 401 names the generation it used, and the grant: if there is a newer one \
                already, nothing is refreshed.",
            body: Body::Json(Message::of::<RefreshBody>(), false),
            successes: a_profile(),
            refusals: &[BODY, NAMED, CREDENTIAL, STORE],
            ..Operation::new("post", route::REFRESH, "refresh", "credentials", "Refresh now")
        },
    ];
    for method in ANY_METHOD {
        all.push(relay(method, route::RELAY, "relay", "Pass on to the profile's base URL"));
        all.push(relay(method, route::RELAY_BACKEND, "relay_backend", "Pass on to the ChatGPT backend"));
    }
    all
}

fn relay(method: &'static str, path: &'static str, id: &str, summary: &'static str) -> Operation {
    let body = if matches!(method, "get" | "head") { Body::None } else { Body::Any(question) };
    let upgrade = "The upstream took the upgrade that was asked for: a WebSocket.";
    let upstream = "The upstream's answer, whatever it is. Where authd itself refuses, it is a Problem, whose \
        `type` begins with `urn:authd:problem:`.";
    let headers = &[RENEWED_HEADER];
    let mut successes = vec![Success { headers, ..Success::new("default", upstream, Content::Any(WORDS)) }];
    if method == "get" {
        successes.push(Success::new("101", upgrade, Content::None));
    }
    Operation {
        id: format!("{id}_{method}"),
        about: "Any method, and any headers; query and body go on as they are. The client's own \
            `Authorization` is taken out, and the profile's headers are put in. After a 401 the credential is \
            refreshed once, and the request sent again if its body is at hand. The answer is streamed as it \
            comes.",
        body,
        successes,
        refusals: &[NAMED, CREDENTIAL, STORE],
        ..Operation::new(method, path, "", "credentials", summary)
    }
}

fn shared() -> Vec<Operation> {
    vec![
        Operation {
            body: Body::Json(Message::of::<ImportBody>(), true),
            successes: a_profile(),
            refusals: &[BODY, CREDENTIAL, STORE],
            ..Operation::new("post", route::IMPORT, "import", "sharing", "Take over another program's login")
        },
        Operation {
            about: "A login that is in the file already is never written over: that is a conflict.",
            body: Body::Json(Message::of::<ExportBody>(), true),
            successes: a_file(),
            refusals: &[BODY, NAMED, CREDENTIAL, STORE],
            ..Operation::new(
                "post",
                route::EXPORT,
                "export",
                "sharing",
                "Give a login to another program, and forget it",
            )
        },
        Operation {
            body: Body::Json(Message::of::<CodexBody>(), false),
            successes: a_file(),
            refusals: &[BODY, NAMED, CREDENTIAL, STORE],
            ..Operation::new(
                "put",
                route::CODEX,
                "install_codex",
                "sharing",
                "Keep a Codex home supplied with access tokens",
            )
        },
        Operation {
            about: "The home alone says what is restored: the profile that the path names need not be there any \
                more. A login that somebody made there meanwhile is left as it is, and `outcome` says so.",
            body: Body::Json(Message::of::<CodexBody>(), false),
            successes: a_file(),
            refusals: &[BODY, STORE],
            ..Operation::new(
                "delete",
                route::CODEX,
                "uninstall_codex",
                "sharing",
                "Restore what was in a Codex home",
            )
        },
    ]
}

fn kept() -> Vec<Operation> {
    vec![
        Operation {
            about: "Nothing is deleted before its copy was read back.",
            body: Body::Json(Message::of::<MigrateBody>(), true),
            successes: one::<Migrated>("What was moved."),
            refusals: &[BODY, STORE],
            ..Operation::new(
                "post",
                route::STORE_MIGRATE,
                "migrate_store",
                "store",
                "Move everything to another store",
            )
        },
        Operation {
            successes: one::<StoreStatus>("The store."),
            refusals: &[STORE],
            ..Operation::new(
                "post",
                route::STORE_REKEY,
                "rekey_store",
                "store",
                "Seal everything with a new key",
            )
        },
    ]
}

//! The plan of a sign-in at a defined provider, and the messages that lead to it.

use std::time::Duration;

use authd_oauth::{
    Authority, BearerResponse, CallbackError, ClientAuth, ClientSource, DefinedDevicePoll,
    DefinedDeviceStart, ErrorCode, IdToken, OauthClient, ProviderError, Redirect, RegisteredClient, Target,
    definition::{MAX_SCOPES, ProviderDefinition, RawDefinition},
    discovery::{AspectState, AuthorizationServer, Discovered, Found, ProtectedResource, report},
    identity_of_id_token,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const METADATA_URL: &str = "https://me.example/client.json";

fn definition(change: impl FnOnce(&mut RawDefinition)) -> ProviderDefinition {
    let mut raw = RawDefinition {
        issuer: Some("https://as.example".to_owned()),
        registration: Some("auto".to_owned()),
        ..RawDefinition::default()
    };
    change(&mut raw);
    raw.validate().unwrap()
}

fn server(methods: &[&str]) -> AuthorizationServer {
    AuthorizationServer {
        issuer: "https://as.example".to_owned(),
        authorize_url: "https://as.example/authorize".to_owned(),
        token_url: "https://as.example/token".to_owned(),
        registration_url: Some("https://as.example/register".to_owned()),
        client_auth_methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..AuthorizationServer::default()
    }
}

fn discovered(server: AuthorizationServer) -> Discovered {
    let found = Found::Metadata("https://as.example/.well-known/oauth-authorization-server".to_owned());
    Discovered { server, found, resource: None, mcp: None, challenge_scopes: None }
}

fn client_source(definition: &ProviderDefinition, server: AuthorizationServer) -> ClientSource {
    Target::of_discovered(definition, discovered(server), false).client_source()
}

#[test]
fn client_is_the_configured_one_else_the_document_else_registered() {
    let with_secret = |raw: &mut RawDefinition| {
        raw.client_id = Some("me".to_owned());
        raw.client_secret_file = Some("/secret".into());
    };
    for (methods, auth) in [
        (&[][..], ClientAuth::Basic),
        (&["client_secret_basic", "client_secret_post"], ClientAuth::Basic),
        (&["client_secret_post"], ClientAuth::Post),
        (&["private_key_jwt"], ClientAuth::Basic),
    ] {
        let known = client_source(&definition(with_secret), server(methods));
        let expected = OauthClient { id: "me".to_owned(), auth, secret_file: Some("/secret".into()) };
        assert_eq!(known, ClientSource::Known(expected), "{methods:?}");
    }
    let with_document = |raw: &mut RawDefinition| {
        raw.client_metadata_url = Some(METADATA_URL.to_owned());
    };
    let accepting = AuthorizationServer { accepts_client_metadata_url: true, ..server(&[]) };
    let document = OauthClient { id: METADATA_URL.to_owned(), ..OauthClient::default() };
    assert_eq!(client_source(&definition(with_document), accepting), ClientSource::Known(document));
    let register = |auth| ClientSource::Register { url: "https://as.example/register".to_owned(), auth };
    assert_eq!(client_source(&definition(with_document), server(&[])), register(ClientAuth::None));
    for (methods, auth) in [
        (&[][..], ClientAuth::None),
        (&["client_secret_basic", "none"], ClientAuth::None),
        (&["client_secret_post", "client_secret_basic"], ClientAuth::Basic),
        (&["client_secret_post"], ClientAuth::Post),
    ] {
        assert_eq!(client_source(&definition(|_| {}), server(methods)), register(auth), "{methods:?}");
    }
    let without = AuthorizationServer { registration_url: None, ..server(&[]) };
    assert_eq!(client_source(&definition(|_| {}), without), ClientSource::Missing);
}

#[test]
fn scopes_are_the_configured_ones_else_the_challenge_else_the_metadata() {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let resource = ProtectedResource {
        resource: "https://rs.example/mcp".to_owned(),
        authorization_server: "https://as.example".to_owned(),
        scopes: texts(&["a", "b"]),
    };
    let offline = AuthorizationServer { scopes: texts(&["offline_access"]), ..server(&[]) };
    for (configured, challenge, resource, server, expected) in [
        (None, None, None, server(&[]), &["x"][..]),
        (None, None, Some(&resource), server(&[]), &["a", "b", "x"]),
        (None, Some(&["c"][..]), Some(&resource), server(&[]), &["c", "x"]),
        (Some(&["d", "x"][..]), Some(&["c"]), Some(&resource), server(&[]), &["d", "x"]),
        (None, None, Some(&resource), offline.clone(), &["a", "b", "offline_access", "x"]),
        // It is never the only scope, and never added to configured ones.
        (None, None, None, offline.clone(), &["x"]),
        (Some(&["d"]), None, Some(&resource), offline, &["d", "x"]),
    ] {
        let definition = definition(|raw| raw.scopes = configured.map(texts));
        let found = Discovered {
            resource: resource.cloned(),
            mcp: Some("https://rs.example/mcp?x=1".to_owned()),
            challenge_scopes: challenge.map(texts),
            ..discovered(server)
        };
        let target = Target::of_discovered(&definition, found, true);
        let plan = target.plan("lab", OauthClient::default(), None, texts(&["x"]));
        assert_eq!(plan.authority.requested_scopes, texts(expected), "{configured:?} {challenge:?}");
        // The resource is the one that the server states, else its own URL without the query.
        assert_eq!(plan.authority.resource.as_deref(), Some("https://rs.example/mcp"));
        assert_eq!(plan.authority.base_url.as_deref(), Some("https://rs.example/mcp?x=1"));
        assert!(plan.authority.public_only && plan.authority.is_mcp);
    }
}

#[test]
fn check_of_a_provider_says_what_a_sign_in_sends() {
    let definition = definition(|raw| {
        raw.client_id = Some("me".to_owned());
        raw.client_secret_file = Some("/secret".into());
    });
    let server = AuthorizationServer {
        scopes: vec!["a".to_owned(), "offline_access".to_owned()],
        ..server(&["client_secret_post"])
    };
    let found = Discovered {
        mcp: Some("https://rs.example/mcp?x=1".to_owned()),
        challenge_scopes: Some(vec!["a".to_owned()]),
        ..discovered(server)
    };
    let aspects = report(&definition, Ok(&found));
    let aspect = |name| aspects.iter().find(|aspect| aspect.name == name).unwrap();
    assert_eq!(aspect("client authentication").state, AspectState::Offered);
    assert_eq!(aspect("resource indicator").detail, "a sign-in would send https://rs.example/mcp");
    let scopes = "a sign-in would request a offline_access; the provider lists a offline_access";
    assert_eq!(aspect("scopes").detail, scopes);
}

#[test]
fn registration_has_a_method_that_its_secret_allows() {
    let parse = |body: &Value, methods: &[&str]| {
        let methods: Vec<_> = methods.iter().map(|method| (*method).to_owned()).collect();
        RegisteredClient::parse(body.to_string().as_bytes(), &methods)
    };
    let with_secret = json!({"client_id": "me", "client_secret": "s"});
    let method =
        |name: &str| json!({"client_id": "me", "client_secret": "s", "token_endpoint_auth_method": name});
    for (body, methods, auth) in [
        (json!({"client_id": "me"}), &[][..], ClientAuth::None),
        (json!({"client_id": "me", "client_secret": ""}), &["client_secret_basic"], ClientAuth::None),
        (with_secret.clone(), &[], ClientAuth::Basic),
        (with_secret.clone(), &["client_secret_post"], ClientAuth::Post),
        (with_secret, &["none"], ClientAuth::None),
        (method("client_secret_post"), &["client_secret_basic"], ClientAuth::Post),
        (method("client_secret_basic"), &[], ClientAuth::Basic),
        (method("none"), &[], ClientAuth::None),
    ] {
        let registered = parse(&body, methods).unwrap();
        assert_eq!((&*registered.client.id, registered.client.auth), ("me", auth), "{body}");
        assert_eq!(registered.secret.is_some(), auth != ClientAuth::None, "{body}");
        let text = registered.to_secret_json("https://as.example");
        let stored = RegisteredClient::from_secret_json(text.expose_secret(), "https://as.example").unwrap();
        assert_eq!(stored.client, registered.client);
        assert!(RegisteredClient::from_secret_json(text.expose_secret(), "https://other.example").is_none());
        assert!(!format!("{registered:?}").contains("\"s\""));
    }
    for body in [
        json!({}),
        json!({"client_id": ""}),
        json!({"client_id": "a\nb"}),
        json!({"client_id": "me", "client_secret": "a\u{7}"}),
        json!({"client_id": "me", "token_endpoint_auth_method": "client_secret_basic"}),
        method("private_key_jwt"),
    ] {
        let error = parse(&body, &[]).unwrap_err();
        assert!(matches!(error, ProviderError::InvalidResponse { .. }), "{body}: {error}");
    }
    let expiring = json!({"client_id": "me", "client_secret": "s", "client_secret_expires_at": 100});
    let expiring = parse(&expiring, &[]).unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    assert!(expiring.is_valid(at(99)) && !expiring.is_valid(at(100)));
    let lasting = json!({"client_id": "me", "client_secret": "s", "client_secret_expires_at": 0});
    assert!(parse(&lasting, &[]).unwrap().is_valid(at(100)));
}

#[test]
fn registration_is_identified_by_issuer_and_redirect_uris() {
    let uris = |all: &[&str]| all.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>();
    let key = RegisteredClient::key("https://as.example", &uris(&["http://127.0.0.1:1/"]));
    assert_eq!(key.len(), 32);
    for (issuer, other) in [
        ("https://as.example/", &["http://127.0.0.1:1/"][..]),
        ("https://as.example", &["http://127.0.0.1:2/"]),
        ("https://as.example", &["http://127.0.0.1:1/", "http://127.0.0.1:2/"]),
        ("https://as.examplehttp://127.0.0.1:1/", &[]),
    ] {
        assert_ne!(RegisteredClient::key(issuer, &uris(other)), key, "{issuer} {other:?}");
    }
}

#[test]
fn identity_is_that_of_an_id_token_for_this_client() {
    let authority = Authority {
        provider: "lab".to_owned(),
        issuer: Some("https://as.example".to_owned()),
        client: OauthClient { id: "me".to_owned(), ..OauthClient::default() },
        ..Authority::default()
    };
    let token =
        |claims: &Value| IdToken::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())));
    let claims = json!({"iss": "https://as.example", "aud": ["you", "me"], "sub": "1", "email": "a\nb"});
    let identity = identity_of_id_token(&token(&claims), &authority).unwrap();
    assert_eq!((identity.user_id.as_deref(), &identity.email), (Some("1"), &None));
    let long = json!({"aud": "me", "sub": "1", "email": format!("{}@example.com", "x".repeat(1 << 15))});
    assert_eq!(identity_of_id_token(&token(&long), &authority).unwrap().email, None);
    assert_eq!(identity.realm.as_deref(), Some("lab https://as.example"));
    for (claims, message) in [
        (json!({"iss": "https://other.example", "aud": "me", "sub": "1"}), "issuer"),
        (json!({"iss": "https://as.example", "aud": "you", "sub": "1"}), "client"),
        (json!(["no object"]), "parsed"),
    ] {
        let error = identity_of_id_token(&token(&claims), &authority).unwrap_err();
        assert!(error.to_string().contains(message), "{claims}: {error}");
    }
    assert!(identity_of_id_token(&IdToken::new("no JWT"), &authority).is_err());
}

#[test]
fn device_authorization_is_bounded_and_has_safe_pages() {
    let parse = |body: &Value| DefinedDeviceStart::parse(body.to_string().as_bytes());
    let body = |field: &str, value: Value| {
        let mut body = json!({"device_code": "d", "user_code": "AB-CD", "expires_in": 600,
            "verification_uri": "https://as.example/device"});
        body[field] = value;
        body
    };
    let start = parse(&body("interval", json!(null))).unwrap();
    assert_eq!((start.interval, start.expires_in), (Duration::from_secs(5), Duration::from_secs(600)));
    for (stated, interval) in [(0, 1), (7, 7), (100_000, 300)] {
        let start = parse(&body("interval", json!(stated))).unwrap();
        assert_eq!(start.interval, Duration::from_secs(interval));
    }
    let google = json!({"device_code": "d", "user_code": "AB-CD", "expires_in": 600,
        "verification_url": "https://www.google.com/device"});
    assert_eq!(parse(&google).unwrap().verification_url, "https://www.google.com/device");
    let complete = body("verification_uri_complete", json!("javascript:alert(1)"));
    assert_eq!(parse(&complete).unwrap().verification_url_complete, None);
    let complete = body("verification_uri_complete", json!("https://as.example/\u{1b}[2J"));
    assert_eq!(parse(&complete).unwrap().verification_url_complete, None);
    for wrong in [
        body("verification_uri", json!("http://as.example/device")),
        body("verification_uri", json!("javascript:alert(1)")),
        body("verification_uri", json!("https://as.example/\u{1b}[2J")),
        body("verification_uri", json!(format!("https://as.example/{}", "x".repeat(2048)))),
        body("user_code", json!("A\u{1b}[2J")),
        body("user_code", json!("")),
        body("device_code", json!(null)),
        json!([]),
    ] {
        assert!(parse(&wrong).is_err(), "{wrong}");
    }
    assert!(!format!("{:?}", parse(&body("device_code", json!("s3cret"))).unwrap()).contains("s3cret"));
}

#[test]
fn poll_that_is_pending_is_repeated_and_slows_down() {
    let pause = Duration::from_secs(5);
    let rejected =
        |code: &str| Err::<&[u8], _>(ProviderError::Rejected { status: 400, code: ErrorCode::new(code) });
    let poll = |result| DefinedDevicePoll::of(result, pause, Timestamp::UNIX_EPOCH);
    let pause_after = |result| match poll(result) {
        Ok(DefinedDevicePoll::Pending(pause)) => Some(pause.as_secs()),
        Ok(DefinedDevicePoll::Granted(_)) | Err(_) => None,
    };
    assert_eq!(pause_after(rejected("authorization_pending")), Some(5));
    assert_eq!(pause_after(rejected("slow_down")), Some(10));
    for code in ["access_denied", "expired_token", "invalid_grant", "unknown"] {
        assert_eq!(pause_after(rejected(code)), None, "{code}");
    }
    assert!(matches!(poll(Ok(br#"{"access_token":"at"}"#)), Ok(DefinedDevicePoll::Granted(_))));
    assert!(poll(Ok(b"{}")).is_err());
}

#[test]
fn redirect_names_one_issuer_however_it_is_pasted() {
    let url = "http://127.0.0.1:1455/callback?code=c&state=s&iss=https%3A%2F%2Fas.example";
    for pasted in [url.to_owned(), format!("\"{url}\""), format!(" {url}\n"), format!("'{url}#_'")] {
        let redirect = Redirect::from_pasted(&pasted).unwrap();
        assert_eq!(redirect.issuer.as_deref(), Some("https://as.example"), "{pasted}");
    }
    assert_eq!(Redirect::from_pasted("c s").unwrap().issuer, None);
    // The redirect URI of the request can have had an issuer, beside that of the server.
    let (_, query) = url.split_once('?').unwrap();
    for second in ["https%3A%2F%2Fas.example", "https%3A%2F%2Fevil.example", ""] {
        let twice = format!("iss={second}&{query}");
        assert_eq!(Redirect::parse(&twice).unwrap_err(), CallbackError::SeveralIssuers, "{second}");
        assert_eq!(Redirect::from_pasted(&twice).unwrap_err(), CallbackError::SeveralIssuers, "{second}");
    }
}

#[test]
fn token_response_is_kept_within_bounds() {
    let parse = |body: &Value| BearerResponse::parse(body.to_string().as_bytes(), Timestamp::UNIX_EPOCH);
    let scopes = (0..10_000).map(|number| format!("scope-{number}")).collect::<Vec<_>>().join(" ");
    let response = parse(&json!({"access_token": "at", "scope": scopes})).unwrap();
    assert_eq!(response.scopes.unwrap().len(), MAX_SCOPES);
    assert!(parse(&json!({"access_token": "at", "token_type": "x".repeat(64)})).is_ok());
    assert!(parse(&json!({"access_token": "at", "token_type": "x".repeat(65)})).is_err());
    for expires_in in [json!(-1), json!(0), json!(1e300), json!("soon"), json!([60]), json!(u64::MAX)] {
        let response = parse(&json!({"access_token": "at", "expires_in": expires_in})).unwrap();
        assert_eq!(response.tokens.expires_at, None, "{expires_in}");
    }
}

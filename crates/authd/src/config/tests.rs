//! The reference file against the defaults, and the messages for invalid files.

use std::{collections::BTreeSet, fs};

use std::time::Duration;

use authd_oauth::{CODEX_VERSION, Network, Provider};

use super::{environment::Environment, load::MAX_FILE, raw::RawConfig, *};

const REFERENCE: &str = include_str!("../../../../config/authd.toml");

#[test]
fn the_reference_file_contains_the_defaults() {
    for text in [REFERENCE, ""] {
        assert_eq!(Config::parse_in(&Environment::default(), text), Ok(Config::default()));
    }
}

/// A key without a fixed default is in a comment, as `# key = …`.
#[test]
fn the_reference_file_has_exactly_the_known_keys() {
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in REFERENCE.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
            found.insert(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            assert!(found.insert(format!("{section}.{key}")), "{section}.{key} appears twice");
        }
    }
    assert_eq!(found, RawConfig::keys().into_iter().collect());
}

#[test]
fn the_default_provider_is_openai() {
    let config = Config::default();
    assert_eq!(config.provider, Provider::openai());
    assert_eq!(config.network, Network::default());
    assert_eq!(config.callback.ports, [1455, 1457]);
    assert_eq!(config.callback.yield_for, Duration::from_secs(180));
    assert_eq!(
        (config.client.originator.as_str(), config.client.version.as_str()),
        ("codex_cli_rs", CODEX_VERSION)
    );
}

#[test]
fn endpoints_follow_the_issuer_unless_they_are_configured() {
    let text = "[provider]\nissuer = 'http://127.0.0.1:9/'\ntoken_url = 'https://elsewhere.example/token'";
    let provider = Config::parse(text).unwrap().provider;
    assert_eq!(provider.issuer, "http://127.0.0.1:9");
    assert_eq!(provider.authorize_url, "http://127.0.0.1:9/oauth/authorize");
    assert_eq!(provider.token_url, "https://elsewhere.example/token");
}

#[test]
fn durations_are_parsed_with_their_unit() {
    for (text, seconds) in [("90s", 90), ("1m 30s", 90), ("PT2M", 120), ("1.5 hours", 5400), ("0s", 0)] {
        let config = Config::parse(&format!("refresh.min_ttl = '{text}'")).unwrap();
        assert_eq!(config.refresh.min_ttl, Duration::from_secs(seconds), "{text}");
    }
}

#[test]
fn the_file_overrides_the_organization_of_the_environment() {
    let environment = |name: &str| Environment {
        organization: Some(name.to_owned()),
        project: Some("  ".to_owned()),
        ..Environment::default()
    };
    let config = Config::parse_in(&environment("org-env"), "client.organization = ''").unwrap();
    assert_eq!((config.organization.as_deref(), config.project), (Some("org-env"), None));
    let config = Config::parse_in(&environment("org-env"), "client.organization = 'org-file'").unwrap();
    assert_eq!(config.organization.as_deref(), Some("org-file"));
    let error = Config::parse_in(&environment("a\nb"), "").unwrap_err().to_string();
    assert_eq!(error, "OPENAI_ORGANIZATION must be printable ASCII, not empty, and at most 512 characters");
}

#[test]
fn an_error_names_the_line_and_the_key() {
    for (text, message) in [
        (
            "# hello\n[provider]\nclient_id = 'x'\nisuer = 'x'",
            "line 4: provider.isuer is not a key of authd; did you mean provider.issuer?",
        ),
        (
            "provider.isuer = 'x'",
            "line 1: provider.isuer is not a key of authd; did you mean provider.issuer?",
        ),
        (
            "callback = { yeild = '3m' }",
            "line 1: callback.yeild is not a key of authd; did you mean callback.yield?",
        ),
        (
            "\n[login]\nmin_ttl = '3m'",
            "line 3: login.min_ttl is not a key of authd; did you mean refresh.min_ttl?",
        ),
        ("issuer = 'x'", "line 1: issuer is not a key of authd; did you mean provider.issuer?"),
        (
            "[network]\ntimout = '3s'",
            "line 2: network.timout is not a key of authd; did you mean network.timeout?",
        ),
        ("[provoder]\n", "line 1: provoder is not a key of authd; did you mean provider?"),
        (
            "[zzz]\n",
            "line 1: zzz is not a key of authd; the sections are provider, providers, client, callback, login, refresh, \
             store, network, socket, metrics, quota, hooks, audit, log",
        ),
        ("[log]\nwhere = 'x'", "line 2: log.where is not a key of authd; [log] takes filter, format"),
        (
            "[provider]\nissuer = 'http://example.org'",
            "line 2: provider.issuer must be an https URL, or http on loopback: http://example.org",
        ),
        (
            "[provider]\nissuer = 7",
            "line 2: provider.issuer cannot be used: invalid type: integer `7`, expected a text in quotes",
        ),
        ("provider = 7", "line 1: provider cannot be used: invalid type: integer `7`, expected a table"),
        (
            "provider.redirect_host = 'x.example'",
            "line 1: provider.redirect_host must be localhost, 127.0.0.1 or [::1]",
        ),
        (
            "provider.scopes = ['a b']",
            "line 1: provider.scopes must be one scope at least, each without spaces",
        ),
        (
            "[callback]\n\nports = []",
            "line 3: callback.ports must be one port or two different ones; 0 means any free port",
        ),
        (
            "[callback]\nports = [1455,\n 70000]",
            "line 3: callback.ports cannot be used: invalid value: integer `70000`, \
             expected a list of ports from 0 to 65535, such as [1455, 1457]",
        ),
        (
            "[callback]\nyield = '3'",
            "line 2: callback.yield must be a time with its unit, from \"1s\" to \"1h\", and is \"3\"",
        ),
        (
            "refresh.min_ttl = '00:01:00'",
            "line 1: refresh.min_ttl must be a time with its unit, from \"0s\" to \"24h\", and is \"00:01:00\"",
        ),
        (
            "store.deadline = '1ms'",
            "line 1: store.deadline must be a time with its unit, from \"100ms\" to \"1m\", and is \"1ms\"",
        ),
        (
            "refresh.wait = '-3s'",
            "line 1: refresh.wait must be a time with its unit, from \"1s\" to \"2m\", and is \"-3s\"",
        ),
        (
            "login.mode = 'both'",
            "line 1: login.mode cannot be used: unknown variant `both`, \
             expected \"auto\", \"chatgpt\" or \"api-key\"",
        ),
        (
            "client.version = \"a\\nb\"",
            "line 1: client.version must be printable ASCII, not empty, and at most 512 characters",
        ),
        (
            "network.proxy = 'me:secret@proxy.example'",
            "line 1: network.proxy must be an http or https URL, like \"http://proxy.example:3128\"",
        ),
        (
            "network.ca_file = '~/ca.pem'",
            "line 1: network.ca_file must be an absolute path (`~` is not expanded), and is ~/ca.pem",
        ),
        ("socket.max_connections = 0", "line 1: socket.max_connections must be between 1 and 65536"),
        (
            "log.filter = 'authd=loud'",
            "line 1: log.filter must be a level or directives, like \"info\" or \"warn,authd=debug\"",
        ),
        ("[log]\nnot toml", "line 2: this is not TOML: key with no value, expected `=`"),
    ] {
        assert_eq!(Config::parse(text).expect_err(text).to_string(), message);
    }
}

#[test]
fn an_error_about_a_fleet_repeats_no_secret() {
    for (text, message) in [
        (
            "store.kind = 'postgresql'",
            "line 1: store.kind cannot be used: unknown variant `postgresql`, expected \"auto\", \"keychain\", \
             \"file\", \"memory\" or \"postgres\"",
        ),
        (
            "[store.postgres]\nlocal = 'postgres'",
            "line 2: store.postgres.local cannot be used: unknown variant `postgres`, expected \"auto\", \
             \"keychain\", \"file\" or \"memory\"",
        ),
        (
            "[store.postgres]\ntls = 'on'",
            "line 2: store.postgres.tls cannot be used: unknown variant `on`, expected \"auto\", \"disable\" \
             or \"require\"",
        ),
        (
            "[store.postgres]\nurlfile = '/x'",
            "line 2: store.postgres.urlfile is not a key of authd; did you mean store.postgres.url_file?",
        ),
        (
            "store.postgres = { url = 'postgresql://me:secret@db' }",
            "line 1: store.postgres.url is not a key of authd, because no secret stands in this file; put it \
             into a file of its own and name that with url_file",
        ),
        (
            "[store.postgres]\nkey = 'AGE-SECRET-KEY-1'",
            "line 2: store.postgres.key is not a key of authd, because no secret stands in this file; put it \
             into a file of its own and name that with key_file",
        ),
        (
            "[store]\nzzz = 1",
            "line 2: store.zzz is not a key of authd; [store] takes kind, deadline, service, passphrase_file, \
             key_file, memory_control, postgres",
        ),
        (
            "[store.postgres]\nzzz = 1",
            "line 2: store.postgres.zzz is not a key of authd; [store.postgres] takes url_file, key_file, schema, \
             node, tls, ca_file, local, poll",
        ),
        (
            "[store.postgres]\nurl_file = 'url'",
            "line 2: store.postgres.url_file must be an absolute path (`~` is not expanded), and is url",
        ),
        (
            "[store.postgres]\nschema = ''",
            "line 2: store.postgres.schema must be a name of 1 to 63 bytes, without control characters",
        ),
        (
            "[store.postgres]\nnode = \"a\\nb\"",
            "line 2: store.postgres.node must be printable ASCII, not empty, and at most 512 characters",
        ),
        (
            "[store.postgres]\npoll = '2h'",
            "line 2: store.postgres.poll must be a time with its unit, from \"1s\" to \"1h\", and is \"2h\"",
        ),
    ] {
        assert_eq!(Config::parse(text).expect_err(text).to_string(), message);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_told_what_the_key_takes() {
    for (text, found, expected) in [
        ("refresh.wait = 15", "integer `15`", "a time such as \"15s\""),
        ("callback.login_lifetime = 1.5", "floating point `1.5`", "a time such as \"15s\""),
        ("callback.yield = ['3m']", "sequence", "a time such as \"15s\""),
        ("callback.ports = 1455", "integer `1455`", "a list of ports from 0 to 65535, such as [1455, 1457]"),
        (
            "callback.ports = ['1455']",
            "string \"1455\"",
            "a list of ports from 0 to 65535, such as [1455, 1457]",
        ),
        ("socket.max_connections = '9'", "string \"9\"", "a number such as 4096, without quotes"),
        ("hooks.notify = 'no'", "string \"no\"", "true or false, without quotes"),
        ("hooks.unsaved = 'notify-send'", "string \"notify-send\"", "a list of texts such as [\"a\", \"b\"]"),
        ("network.ca_file = 1", "integer `1`", "a path in quotes"),
        ("client.model = 5.5", "floating point `5.5`", "a text in quotes"),
        ("network = 'off'", "string \"off\"", "a table"),
    ] {
        let key = text.split(" = ").next().unwrap();
        let message = format!("line 1: {key} cannot be used: invalid type: {found}, expected {expected}");
        assert_eq!(Config::parse(text).expect_err(text).to_string(), message);
    }
    for (text, expected) in [
        ("store.kind = 1", "\"auto\", \"keychain\", \"file\", \"memory\" or \"postgres\""),
        ("log.format = true", "\"auto\", \"plain\" or \"json\""),
    ] {
        let message = Config::parse(text).expect_err(text).to_string();
        assert!(message.ends_with(&format!(", expected {expected}")), "{message}");
    }
}

#[test]
fn the_callback_listens_on_single_addresses_or_on_all() {
    let parse = |addresses: &str| Config::parse(&format!("callback.addresses = {addresses}"));
    let config = parse("['::1', '10.0.0.7', '127.0.0.1']").unwrap();
    assert_eq!(config.callback.addresses.len(), 3);
    assert!(parse("['0.0.0.0']").is_ok());
    for wrong in ["[]", "['localhost']", "['127.0.0.1:1455']", "['127.0.0.1', '0.0.0.0']"] {
        assert_eq!(
            parse(wrong).unwrap_err().to_string(),
            "line 1: callback.addresses must be IP addresses, like [\"127.0.0.1\", \"::1\"], or one of \
             \"0.0.0.0\" and \"::\""
        );
    }
}

#[test]
fn an_absent_file_gives_the_defaults_and_an_unreadable_one_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let source = |name: &str, named| Source { path: directory.path().join(name), named };
    let load = |name: &str| Config::load(&source(name, false));
    let unreadable = |name: &str| match load(name) {
        Err(ConfigError::Unreadable { path, source }) => (path.ends_with(name), source.to_string()),
        other => panic!("{name} was loaded as {other:?}"),
    };
    assert_eq!(load("absent.toml").unwrap(), Config::parse("").unwrap());
    let named = Config::load(&source("absent.toml", true));
    assert!(matches!(named, Err(ConfigError::Unreadable { .. })), "a named file must exist");
    assert!(matches!(load("."), Err(ConfigError::Unreadable { .. })));
    fs::write(directory.path().join("latin.toml"), [b'#', 0xE4]).unwrap();
    assert_eq!(unreadable("latin.toml"), (true, "it is not UTF-8".to_owned()));
    let largest = usize::try_from(MAX_FILE).unwrap();
    fs::write(directory.path().join("long.toml"), "#".repeat(largest + 1)).unwrap();
    assert_eq!(unreadable("long.toml"), (true, "it is longer than 1 MiB".to_owned()));
    fs::write(directory.path().join("largest.toml"), "#".repeat(largest)).unwrap();
    assert!(load("largest.toml").is_ok());
}

#[test]
fn a_message_begins_with_the_path_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authd.toml");
    fs::write(&path, "[provider]\nisuer = 'x'").unwrap();
    let message = Config::load(&Source { path: path.clone(), named: true }).unwrap_err().to_string();
    let expected = format!("{}: line 2: provider.isuer is not a key of authd", path.display());
    assert!(message.starts_with(&expected), "{message}");
}

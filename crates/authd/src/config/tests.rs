//! The reference file against the defaults, and what is said of a file that is wrong.

use super::*;

const REFERENCE: &str = include_str!("../../../../config/authd.toml");

/// The reference with every key that is commented out because it has no default put in.
#[test]
fn the_reference_file_is_the_defaults() {
    assert_eq!(Config::parse(REFERENCE).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn the_reference_file_names_every_key() {
    let probe = |section: &str| {
        let error = Config::parse(&format!("[{section}]\nno_such_key = 1")).unwrap_err();
        let expected = error.split("expected").nth(1).unwrap_or_default().to_owned();
        expected.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let sections = ["provider", "client", "callback", "login", "refresh", "store", "network", "socket", "log"];
    for section in sections {
        let keys = probe(section);
        assert!(keys.len() >= 2, "{section}: {keys:?}");
        for key in keys {
            let named = REFERENCE.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} =")));
            assert!(named, "config/authd.toml does not show {section}.{key}");
        }
    }
}

#[test]
fn with_nothing_said_it_is_openai() {
    let config = Config::default();
    assert_eq!(config.provider, Provider::openai());
    assert_eq!(config.callback.ports, [1455, 1457]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, told) in [
        ("[provider]\nisuer = 'x'", "isuer"),
        ("[provider]\nisuer = 'x'", "line 2"),
        ("[nosuch]\n", "nosuch"),
        ("[provider]\nissuer = 'http://example.org'", "provider.issuer must be an https URL"),
        ("[provider]\nissuer = 7", "issuer"),
        ("[callback]\nports = []", "callback.ports"),
        ("[callback]\nports = [70000]", "ports"),
        ("[callback]\nyield_for = '3'", "callback.yield_for"),
        ("[refresh]\nwait = '-3s'", "refresh.wait"),
        ("[login]\nmode = 'both'", "both"),
        ("[client]\nversion = \"a\\nb\"", "client.version"),
        ("not toml", "line 1"),
    ] {
        let error = Config::parse(text).expect_err(text);
        assert!(error.contains(told), "{text:?} was answered: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_an_absent_one() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(&directory.path().join("absent.toml")).unwrap(), Config::default());
    assert!(matches!(Config::load(directory.path()), Err(ConfigError::Unreadable { .. })));
    let latin = directory.path().join("latin.toml");
    std::fs::write(&latin, [0xE4]).unwrap();
    assert!(matches!(Config::load(&latin), Err(ConfigError::Unreadable { .. })));
}

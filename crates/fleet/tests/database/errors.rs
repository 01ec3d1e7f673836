//! What cannot be used is told, and changes nothing.

use std::net::TcpListener;

use authd_fleet::{FleetConfig, Tls};
use authd_oauth::claim::Write;
use authd_sandbox::postgres::TestPostgres;
use authd_store::StoreError;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::ExposeSecret as _;

use crate::fixture::{config, create, is_granted, migrated, new_key, node, node_with, server, text};

/// Everything in the schema.
const CONTENTS: &str = "SELECT m::text FROM \"the \"\"fleet\"\"\".meta m UNION ALL \
                        SELECT r::text FROM \"the \"\"fleet\"\"\".record r ORDER BY 1";

/// The detail of the error of every call of a node, which is one. Checks that nothing was changed.
async fn detail(postgres: &TestPostgres, config: FleetConfig) -> String {
    let before = postgres.psql(CONTENTS);
    let password = config.url.clone();
    let node = node_with(config);
    let write = |name| node.write(name, Write::Create, text("x"), None);
    let errors = [
        node.check().await.unwrap_err(),
        node.load("work").await.unwrap_err(),
        node.list().await.unwrap_err(),
        node.claim("work", 1, false).await.unwrap_err(),
        node.release("work", None).await.unwrap_err(),
        write("work").await.unwrap_err(),
        write("new").await.unwrap_err(),
        node.make_default("work").await.unwrap_err(),
        node.rename("work", "new", text("x"), 1).await.unwrap_err(),
        node.delete("work").await.unwrap_err(),
    ];
    assert_eq!(postgres.psql(CONTENTS).ok(), before.ok());
    for error in &errors {
        assert_eq!(*error, errors[0]);
    }
    let [error, ..] = errors;
    let StoreError::Unavailable { detail } = error else { panic!("{error}") };
    if let Some((_, rest)) = password.expose_secret().split_once("postgres:") {
        let password = rest.split('@').next().unwrap();
        assert!(!detail.contains(password), "{detail}");
    }
    detail
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_another_fleet() {
    let Some(postgres) = migrated().await else { return };
    create(&node(&postgres, "a"), "work", "record").await;
    let other = || FleetConfig { key: new_key(), ..config(&postgres.url(), "b") };
    let error = detail(&postgres, other()).await;
    assert!(error.contains("belongs to the fleet with the public key age1"), "{error}");
    assert!(error.contains("(store.postgres.key_file), or use another schema"), "{error}");
    // A second fleet cannot take the schema, and may have its own.
    let refused = node_with(other()).migrate_schema().await.unwrap_err();
    assert!(refused.to_string().contains("belongs to the fleet"), "{refused}");
    let second = node_with(FleetConfig { schema: "second".to_owned(), ..other() });
    second.migrate_schema().await.unwrap();
    assert!(second.list().await.unwrap().is_empty());
    // A key file with both keys opens the records.
    let key = format!("{}\n{}\n", new_key().expose_secret(), config("", "").key.expose_secret());
    let both = node_with(FleetConfig { key: text(&key), ..config(&postgres.url(), "b") });
    both.check().await.unwrap();
    assert!(both.load("work").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_version_are_left_alone() {
    let Some(postgres) = migrated().await else { return };
    postgres.psql("UPDATE \"the \"\"fleet\"\"\".meta SET version = 99").unwrap();
    let error = detail(&postgres, config(&postgres.url(), "a")).await;
    assert!(error.contains("have version 99, and this program knows version 1; update authd"), "{error}");
    let migration = node(&postgres, "a").migrate_schema().await.unwrap_err();
    assert!(migration.to_string().contains("have version 99"), "{migration}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_name_the_command_that_makes_them() {
    let Some(postgres) = server() else { return };
    let error = detail(&postgres, config(&postgres.url(), "a")).await;
    assert!(error.contains("has no tables of authd in the schema \"the \"\"fleet\"\"\""), "{error}");
    assert!(error.contains("authctl store migrate --to postgres"), "{error}");
    // Several nodes may make them at once. A waiting node hears of it.
    let mut nodes: Vec<_> = (0..4).map(|number| node(&postgres, &number.to_string())).collect();
    let made: Vec<_> = nodes
        .iter()
        .map(|node| {
            let fleet = node.fleet.clone();
            tokio::spawn(async move { fleet.migrate_schema().await })
        })
        .collect();
    for made in made {
        made.await.unwrap().unwrap();
    }
    nodes[0].check().await.unwrap();
    nodes[0].wait_for_everything().await;
    assert_eq!(postgres.psql("SELECT count(*) FROM \"the \"\"fleet\"\"\".meta").unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_server_serves_records_and_changes_nothing() {
    let Some(postgres) = migrated().await else { return };
    let token = create(&node(&postgres, "a"), "work", "record").await;
    postgres.psql("ALTER ROLE postgres SET default_transaction_read_only = on").unwrap();
    let before = postgres.psql(CONTENTS).unwrap();
    let b = node(&postgres, "b");
    assert!(b.load("work").await.unwrap().is_some());
    let errors = [
        b.check().await.unwrap_err(),
        b.claim("work", token, false).await.unwrap_err(),
        b.write("new", Write::Create, text("x"), None).await.unwrap_err(),
        b.write("work", Write::Replace { token }, text("x"), None).await.unwrap_err(),
        b.rename("work", "new", text("x"), token).await.unwrap_err(),
        b.make_default("work").await.unwrap_err(),
        b.release("work", None).await.unwrap_err(),
        b.delete("work").await.unwrap_err(),
    ];
    for error in errors {
        let error = error.to_string();
        assert!(error.contains("read-only") && error.contains("connect to the primary"), "{error}");
    }
    assert_eq!(postgres.psql(CONTENTS).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_grants_are_named_as_commands() {
    let Some(postgres) = migrated().await else { return };
    let token = create(&node(&postgres, "a"), "work", "record").await;
    postgres.psql("CREATE ROLE \"a node\" LOGIN PASSWORD 'x'").unwrap();
    let url = postgres.url_of("a%20node", "x", "postgres");
    let error = detail(&postgres, config(&url, "b")).await;
    assert!(error.contains("permission denied for schema"), "{error}");
    let schema = "\"the \"\"fleet\"\"\"";
    postgres
        .psql(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO \"a node\"; \
             GRANT SELECT ON {schema}.meta, {schema}.record TO \"a node\""
        ))
        .unwrap();
    let mut b = node_with(config(&url, "b"));
    assert!(b.load("work").await.unwrap().is_some());
    b.wait_for_everything().await;
    let errors = [
        b.claim("work", token, false).await.unwrap_err(),
        b.write("new", Write::Create, text("x"), None).await.unwrap_err(),
        b.delete("work").await.unwrap_err(),
        b.check().await.unwrap_err(),
    ];
    let mut commands = String::new();
    for error in errors {
        let error = error.to_string();
        assert!(error.contains("permission denied") || error.contains("may not write"), "{error}");
        commands = error.split_once("as the owner of the tables: ").unwrap().1.to_owned();
    }
    // The commands give what a node needs.
    postgres.psql(&commands).unwrap();
    b.check().await.unwrap();
    assert!(is_granted(&b.claim("work", token, false).await.unwrap()));
    create(&b, "new", "record").await;
    b.delete("new").await.unwrap();
    // The role cannot create tables.
    let other = node_with(FleetConfig { schema: "other".to_owned(), ..config(&url, "b") });
    let error = other.migrate_schema().await.unwrap_err().to_string();
    assert!(error.contains("CREATE SCHEMA \"other\" AUTHORIZATION \"a node\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_password_is_told_without_it() {
    let Some(postgres) = migrated().await else { return };
    let url = postgres.url_of("postgres", "hunter2", "postgres");
    let error = detail(&postgres, config(&url, "a")).await;
    assert!(error.contains("password authentication failed for user \"postgres\""), "{error}");
    assert!(error.contains("store.postgres.url_file") && !error.contains("hunter2"), "{error}");
    let error = detail(&postgres, config(&postgres.url_of("postgres", "correct horse", "none"), "a")).await;
    assert!(error.contains("database \"none\" does not exist; create the database"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_server_is_named() {
    let Some(postgres) = migrated().await else { return };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgresql://postgres:hunter2@{free}/authd");
    let error = detail(&postgres, config(&url, "a")).await;
    assert!(error.starts_with(&format!("PostgreSQL at {free} (database authd): ")), "{error}");
    assert!(error.contains("Connection refused") && error.ends_with("with pg_isready"), "{error}");
    let socket = node_with(config(&postgres.socket_url(), "a"));
    socket.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_connection_is_verified() {
    let Some(mut postgres) = migrated().await else { return };
    let required = |tls| FleetConfig { tls, ..config(&postgres.url(), "a") };
    let error = detail(&postgres, required(Tls::Require)).await;
    assert!(error.contains("server does not support TLS; set ssl = on"), "{error}");

    // The server gets a certificate, and accepts no other connection on loopback.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    postgres.configure("server.crt", &certificate.pem()).unwrap();
    postgres.configure("server.key", &key.serialize_pem()).unwrap();
    postgres.configure("postgresql.auto.conf", "ssl = on\n").unwrap();
    let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    postgres.configure("pg_hba.conf", hba).unwrap();
    postgres.stop().unwrap();
    postgres.restart().unwrap();

    let required = |tls| FleetConfig { tls, ..config(&postgres.url(), "a") };
    let error = detail(&postgres, required(Tls::Auto)).await;
    assert!(error.contains("no encryption; if the server requires TLS"), "{error}");
    let error = detail(&postgres, required(Tls::Require)).await;
    assert!(error.contains("TLS handshake") && error.contains("store.postgres.ca_file"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let trusting =
        |url: &str| FleetConfig { tls: Tls::Require, ca_file: Some(ca_file.clone()), ..config(url, "a") };
    let error = detail(&postgres, trusting(&postgres.url())).await;
    assert!(error.contains("ca.pem cannot be used"), "{error}");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let mut a = node_with(trusting(&postgres.url()));
    a.check().await.unwrap();
    a.wait_for_everything().await;
    create(&a, "work", "record").await;
    // The certificate has another name.
    let error = detail(&postgres, trusting(&postgres.url().replace("127.0.0.1", "localhost"))).await;
    assert!(error.contains("TLS handshake"), "{error}");
}

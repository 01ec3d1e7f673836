//! The templates, and the messages for invalid definitions.

use authd_oauth::{
    ClientAuth,
    definition::{ProviderDefinition, Registration},
};

use super::{super::Config, *};

#[test]
fn the_templates_are_valid_and_have_no_client() {
    let templates = templates();
    assert_eq!(templates.keys().collect::<Vec<_>>(), ["github", "gitlab", "google", "microsoft"]);
    for (name, template) in templates {
        assert_eq!(check_provider_name(&name), Ok(()));
        assert_eq!(template.client, None, "{name}");
        assert!(template.registration_help.as_ref().is_some_and(|help| help.contains("client_id")), "{name}");
        assert!(!template.scopes.is_empty(), "{name}");
    }
    assert!(!TEMPLATES.contains("client_secret_file ="));
}

#[test]
fn each_template_needs_a_client_only() {
    for (name, template) in templates() {
        let text = format!("[providers.mine]\ntemplate = '{name}'\nclient_id = 'me'\n");
        let config = Config::parse(&text).unwrap();
        let mine = &config.providers["mine"];
        assert_eq!((&mine.source, &mine.scopes), (&template.source, &template.scopes), "{name}");
        assert_eq!(mine.client.as_ref().unwrap().id, "me");
    }
}

#[test]
fn a_provider_is_defined_by_one_source_and_a_way_to_a_client_id() {
    let config = Config::parse(
        "[providers.gitlab]\nissuer = 'https://gitlab.example.com'\nclient_id = 'me'\n\
         client_secret_file = '/run/secret'\nscopes = ['openid', 'api']\n\
         authorize_params = { access_type = 'offline' }\nbase_url = 'https://gitlab.example.com/api/v4/'\n\
         [providers.linear]\nmcp = 'https://mcp.linear.app/mcp'\n",
    );
    let providers = config.unwrap().providers;
    let gitlab = &providers["gitlab"];
    let client = gitlab.client.as_ref().unwrap();
    assert_eq!((client.id.as_str(), client.auth), ("me", ClientAuth::Basic));
    assert_eq!(client.secret_file.as_deref(), Some(std::path::Path::new("/run/secret")));
    assert_eq!(gitlab.base_url.as_deref(), Some("https://gitlab.example.com/api/v4"));
    assert_eq!(gitlab.registration, Registration::Never);
    assert_eq!(gitlab.redirect_uri, "http://127.0.0.1:{port}/callback");
    assert_eq!(*providers["linear"], ProviderDefinition::of_mcp("https://mcp.linear.app/mcp"));
}

#[test]
fn token_of_the_users_own_needs_a_check_url_and_no_client() {
    let config = Config::parse(
        "[providers.github]\ntemplate = 'github'\n\
         [providers.own]\ntemplate = 'gitlab'\nissuer = 'https://gitlab.example.com'\nclient_id = 'me'\n\
         [providers.rest]\nissuer = 'https://api.example'\ncheck_url = 'https://api.example/me'\n",
    );
    let providers = config.unwrap().providers;
    assert_eq!(providers["github"].check_url.as_deref(), Some("https://api.github.com/user"));
    assert_eq!(providers["github"].client, None);
    assert_eq!(providers["rest"].check_url.as_deref(), Some("https://api.example/me"));
    // A token for a server of one's own must not go to that of the template.
    let own = &providers["own"];
    assert_eq!((&own.check_url, &own.base_url, own.git_hosts.len()), (&None, &None, 0));
    let insecure = "[providers.p]\nissuer = 'https://api.example'\ncheck_url = 'http://api.example/me'\n";
    assert_eq!(
        Config::parse(insecure).expect_err(insecure).to_string(),
        "line 3: providers.p.check_url must be an https URL, or http on loopback, without a user name and a fragment"
    );
}

/// Checks the message about each definition of a provider `p`.
#[track_caller]
fn check(definitions: &[(&str, &str)]) {
    for (definition, message) in definitions {
        let text = format!("[providers.p]\n{definition}\n");
        assert_eq!(Config::parse(&text).expect_err(definition).to_string(), *message);
    }
}

#[test]
fn an_error_in_a_provider_definition_names_its_key_and_line() {
    check(&[
        ("", "line 1: providers.p needs one of issuer, mcp, or authorize_url with token_url"),
        (
            "issuer = 'https://as.example'",
            "line 1: providers.p has no client id: register a client at the provider and set client_id, or set \
             registration = \"auto\"",
        ),
        (
            "issuer = 'http://as.example'",
            "line 2: providers.p.issuer must be an https URL, or http on loopback, without a user name and a fragment",
        ),
        ("issuer = 'https://as.example/?a'", "line 2: providers.p.issuer must be a URL without a query"),
        (
            "isuer = 'https://as.example'",
            "line 2: providers.p.isuer is not a key of authd; did you mean providers.p.issuer?",
        ),
        (
            "scopes = 'a b'",
            "line 2: providers.p.scopes cannot be used: invalid type: string \"a b\", expected a list of texts such as \
             [\"a\", \"b\"]",
        ),
        (
            "authorize_params = { a = 1 }",
            "line 2: providers.p.authorize_params.a cannot be used: invalid type: integer `1`, expected a table of \
             texts such as { access_type = \"offline\" }",
        ),
        (
            "issuer = 'https://as.example'\nmcp = 'https://rs.example'",
            "line 3: providers.p.mcp cannot stand beside issuer: remove one of the two",
        ),
        (
            "issuer = 'https://as.example'\ntoken_url = 'https://as.example/token'",
            "line 3: providers.p.token_url cannot stand beside issuer or mcp, whose metadata has the endpoints: remove \
             one of the two",
        ),
        (
            "authorize_url = 'https://as.example/authorize'",
            "line 1: providers.p names endpoints and lacks token_url",
        ),
        (
            "token_url = 'http://as.example'",
            "line 2: providers.p.token_url must be an https URL, or http on loopback, without a user name and a fragment",
        ),
        (
            "template = 'slack'",
            "line 2: providers.p.template must be one of github, gitlab, google, microsoft",
        ),
        ("registration = 'maybe'", "line 2: providers.p.registration must be \"never\" or \"auto\""),
        ("client_auth = 'jwt'", "line 2: providers.p.client_auth must be \"none\", \"basic\" or \"post\""),
        (
            "client_auth = 'post'",
            "line 2: providers.p.client_auth needs client_secret_file, the file with the client's secret",
        ),
        (
            "client_secret_file = 'secret'",
            "line 2: providers.p.client_secret_file must be an absolute path (`~` is not expanded)",
        ),
        ("client_secret_file = '/secret'", "line 2: providers.p.client_secret_file needs client_id"),
    ]);
}

#[test]
fn an_invalid_value_of_a_provider_definition_says_what_is_allowed() {
    check(&[
        (
            "client_metadata_url = 'https://me.example'",
            "line 2: providers.p.client_metadata_url must be the https URL of your client metadata document, with a path",
        ),
        (
            "scopes = ['a b']",
            "line 2: providers.p.scopes must be a list of scopes, each without spaces, quotes and backslashes",
        ),
        (
            "resource = 'https://rs.example/#x'",
            "line 2: providers.p.resource must be an absolute URI without a query and a fragment",
        ),
        (
            "authorize_params = { state = 'x' }",
            "line 2: providers.p.authorize_params must not contain state, which authd sets itself",
        ),
        (
            "redirect_uri = 'https://me.example/callback'",
            "line 2: providers.p.redirect_uri must be an http URL on 127.0.0.1, [::1] or localhost, with a port or \
             {port}, such as \"http://127.0.0.1:{port}/callback\"",
        ),
        (
            "git_hosts = ['https://gitlab.example.com']",
            "line 2: providers.p.git_hosts must be a list of hosts such as [\"gitlab.example.com\"], in lower case",
        ),
        (
            "client_secret = 'x'",
            "line 2: providers.p.client_secret is not a key of authd, because no secret stands in this file; put the \
             secret into a file of its own and name that with client_secret_file",
        ),
    ]);
}

#[test]
fn a_name_of_a_provider_is_short_and_not_that_of_the_built_in_one() {
    for (text, message) in [
        (
            "[providers.openai]\n",
            "line 1: providers.openai is the built-in provider, which [provider] configures: use another name",
        ),
        (
            "[providers.'My Lab']\n",
            "line 1: providers.My Lab is not a name of a provider: use at most 32 lower-case letters, digits, - and _",
        ),
        (
            "providers = 7",
            "line 1: providers cannot be used: invalid type: integer `7`, expected tables such as [providers.gitlab]",
        ),
        (
            "providers.p = 7",
            "line 1: providers.p cannot be used: invalid type: integer `7`, expected a table",
        ),
    ] {
        assert_eq!(Config::parse(text).expect_err(text).to_string(), message);
    }
}

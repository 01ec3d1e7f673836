//! `authctl git-credential`: git's helper protocol (gitcredentials(7), git-credential(1)). The
//! password is the token of a profile whose provider names the host in `git_hosts`.

use std::io::{self, BufRead};

use authd_api::{ErrorCode, Headers, Problem, Profile, ProfileName, Profiles, Provider, ProviderDefinedIn};
use http::uri::Authority;

use super::environment::bearer_token;
use crate::{
    cli::{GitCredentialArgs, ProfileArg},
    context::{Context, with_timeout},
    error::{CliError, CliResult},
};

/// Longest description that is read from git, in bytes. Real ones have some hundred.
const MAX_INPUT: u64 = 64 << 10;

/// The username beside a token, unless the URL names one. GitLab wants this one, GitHub takes any.
const USERNAME: &str = "oauth2";

/// The attributes that git sends. Other keys are ignored.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
struct Description {
    protocol: String,
    host: String,
    username: Option<String>,
    password: Option<String>,
}

pub(super) async fn git_credential(ctx: &Context, args: GitCredentialArgs) -> CliResult {
    let description = Description::read(io::stdin().lock())?;
    match args.operation.as_str() {
        "get" => get(ctx, &description).await,
        "erase" => erase(ctx, &description).await,
        // The daemon stores the token itself. Git may get new operations.
        _ => Ok(()),
    }
}

/// Prints a username and the token. Without a profile for the host it prints nothing, and git asks
/// its next helper.
async fn get(ctx: &Context, description: &Description) -> CliResult {
    let Some(headers) = headers(ctx, description).await? else { return Ok(()) };
    let token = bearer_token(&headers)?;
    let username = description.username.as_deref().unwrap_or(USERNAME);
    let expiry = headers.expires_at.map(|at| format!("password_expiry_utc={}\n", at.as_second()));
    ctx.out.write(format!("username={username}\npassword={token}\n{}", expiry.unwrap_or_default()).as_bytes())
}

/// Reports a token that a server has rejected, so that the next one is another.
async fn erase(ctx: &Context, description: &Description) -> CliResult {
    let Some(password) = &description.password else { return Ok(()) };
    let Some(headers) = headers(ctx, description).await? else { return Ok(()) };
    if headers.token() == Some(password) {
        with_timeout(ctx.client.refresh(Some(&headers.profile), &headers.rejected())).await?;
    }
    Ok(())
}

/// The headers of the profile for the host. `None` if no provider has it.
async fn headers(ctx: &Context, description: &Description) -> CliResult<Option<Headers>> {
    let providers = with_timeout(ctx.client.providers()).await?.providers;
    let providers = providers_of(&providers, &description.host);
    if providers.is_empty() {
        ctx.out.verbose(&format!("no provider has \"{}\" in its git_hosts", description.host));
        return Ok(None);
    }
    if !description.is_confidential() {
        let detail = format!("no token is sent over {}: use an https URL", description.protocol);
        return Err(CliError::new(ErrorCode::BadRequest, detail));
    }
    let profiles = with_timeout(ctx.client.profiles()).await?;
    // The profile of the directory counts if it is one for this host.
    let is_for_host = |name: &&ProfileName| {
        profiles.profiles.iter().any(|profile| profile.name == **name && is_of(profile, &providers))
    };
    let wanted = ctx.selection.explicit().or(ctx.profile().filter(is_for_host));
    let name = choose(&profiles, &providers, wanted)?;
    Ok(Some(ctx.headers(ProfileArg { name: Some(name.clone()) })?))
}

/// The names of the providers that have this host.
fn providers_of<'a>(all: &'a [Provider], host: &str) -> Vec<&'a str> {
    let host = host.to_ascii_lowercase();
    // A definition never names the usual port.
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let is_defined = |provider: &&Provider| provider.defined_in != ProviderDefinedIn::Template;
    let has_host = |provider: &&Provider| provider.git_hosts.iter().any(|own| own == host);
    all.iter().filter(is_defined).filter(has_host).map(|provider| provider.name.as_str()).collect()
}

fn is_of(profile: &Profile, providers: &[&str]) -> bool {
    profile.provider.as_deref().is_some_and(|provider| providers.contains(&provider))
}

/// The profile that git uses: the named one, else the only one of these providers, else the default
/// one.
fn choose<'a>(
    profiles: &'a Profiles,
    providers: &[&str],
    wanted: Option<&ProfileName>,
) -> Result<&'a ProfileName, Problem> {
    let provider = providers.first().copied().unwrap_or_default();
    let login = format!("run: authctl login --provider {provider}");
    let all: Vec<&Profile> = profiles.profiles.iter().filter(|profile| is_of(profile, providers)).collect();
    let names = || all.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        let found = all.iter().find(|profile| profile.name == *wanted);
        return found.map(|profile| &profile.name).ok_or_else(|| {
            let detail =
                format!("profile \"{wanted}\" is not of the provider that has this host: {provider}");
            let hint = if all.is_empty() { login } else { format!("there are: {}", names()) };
            Problem::new(ErrorCode::ProfileUnknown, detail).hint(hint)
        });
    }
    match all.as_slice() {
        [] => {
            let detail = format!("no profile of provider \"{provider}\" is signed in");
            Err(Problem::new(ErrorCode::LoginRequired, detail).hint(login))
        }
        [profile] => Ok(&profile.name),
        several => several.iter().find(|profile| profile.default).map(|profile| &profile.name).ok_or_else(|| {
            let detail = format!("several profiles have a token for this host: {}", names());
            let hint = "name one in git's configuration: credential.helper = \"!authctl git-credential -p NAME\"";
            Problem::new(ErrorCode::ProfileUnknown, detail).hint(hint)
        }),
    }
}

impl Description {
    /// Reads lines of `key=value` up to an empty line. The last of several with one key counts.
    fn read(input: impl BufRead) -> CliResult<Self> {
        let invalid = |detail: &str| CliError::new(ErrorCode::BadRequest, detail);
        let mut description = Self::default();
        let mut input = input.take(MAX_INPUT + 1);
        let mut line = String::new();
        loop {
            line.clear();
            input.read_line(&mut line).map_err(|_| invalid("git's description on stdin is not UTF-8"))?;
            let text = line.strip_suffix('\n').unwrap_or(&line);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                break;
            }
            let Some((key, value)) = text.split_once('=') else {
                return Err(invalid("a line of git's description is not key=value"));
            };
            let value = value.to_owned();
            match key {
                "protocol" => description.protocol = value,
                "host" => description.host = value,
                "username" => description.username = Some(value),
                "password" => description.password = Some(value),
                _ => {}
            }
        }
        if input.limit() == 0 {
            return Err(CliError::new(ErrorCode::TooLarge, "git's description on stdin is over 64 KiB"));
        }
        Ok(description)
    }

    /// Whether nothing else can read what git sends: over TLS, or on this machine.
    fn is_confidential(&self) -> bool {
        let is_local = |host: Authority| matches!(host.host(), "localhost" | "127.0.0.1" | "[::1]");
        self.protocol == "https" || self.protocol == "http" && self.host.parse().is_ok_and(is_local)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<Description> {
        Description::read(text.as_bytes()).ok()
    }

    #[test]
    fn description_ends_at_an_empty_line_and_its_other_keys_are_ignored() {
        let text = "capability[]=authtype\nprotocol=https\nhost=a.example:8443\npath=x/y=z.git\r\n\
                    wwwauth[]=Basic realm=x\nusername=me\npassword=a=b\n\nhost=other\n";
        let expected = Description {
            protocol: "https".into(),
            host: "a.example:8443".into(),
            username: Some("me".into()),
            password: Some("a=b".into()),
        };
        assert_eq!(read(text), Some(expected));
        assert_eq!(read(""), Some(Description::default()));
        assert_eq!(read("protocol=https\nhost").map(|one| one.host), None);
        assert_eq!(read(&format!("path={}\n", "x".repeat(70_000))), None);
        assert_eq!(read(&"path=x\n".repeat(20_000)), None);
    }

    #[test]
    fn host_is_compared_with_its_port() {
        let provider = |name: &str, defined_in: &str, hosts: &[&str]| {
            let provider = json!({"name": name, "defined_in": defined_in, "git_hosts": hosts});
            serde_json::from_value::<Provider>(provider).unwrap()
        };
        let all = [
            provider("openai", "built_in", &[]),
            provider("lab", "configuration", &["git.example", "git.example:8443"]),
            provider("hub", "configuration", &["hub.example", "git.example"]),
            provider("gitlab", "template", &["gitlab.com"]),
        ];
        for (host, expected) in [
            ("git.example", &["lab", "hub"][..]),
            ("Git.Example:443", &["lab", "hub"]),
            ("git.example:8443", &["lab"]),
            ("git.example:8444", &[]),
            ("hub.example", &["hub"]),
            ("hub.example.evil.example", &[]),
            ("gitlab.com", &[]),
            ("", &[]),
        ] {
            assert_eq!(providers_of(&all, host), expected, "{host}");
        }
    }

    #[test]
    fn profile_is_the_named_the_only_or_the_default_one() {
        let profiles = |rows: &[(&str, Option<&str>, bool)]| {
            let row = |(name, provider, default): &(&str, Option<&str>, bool)| json!({"name": name, "default": default, "state": "ready", "generation": 1, "provider": provider});
            let rows: Vec<_> = rows.iter().map(row).collect();
            serde_json::from_value::<Profiles>(json!({"default": null, "profiles": rows})).unwrap()
        };
        let chosen = |profiles: &Profiles, named: Option<&str>| {
            let named = named.map(|name| name.parse().unwrap());
            match choose(profiles, &["lab"], named.as_ref()) {
                Ok(name) => name.to_string(),
                Err(problem) => problem.detail,
            }
        };
        let none = profiles(&[("default", None, true), ("other", Some("hub"), false)]);
        assert_eq!(chosen(&none, None), "no profile of provider \"lab\" is signed in");
        assert!(chosen(&none, Some("other")).starts_with("profile \"other\" is not of the provider"));
        let one = profiles(&[("default", None, true), ("lab", Some("lab"), false)]);
        assert_eq!(chosen(&one, None), "lab");
        assert!(chosen(&one, Some("default")).starts_with("profile \"default\" is not of"));
        let rows = [("lab", Some("lab"), false), ("work", Some("lab"), false)];
        let two = profiles(&rows);
        assert_eq!(chosen(&two, None), "several profiles have a token for this host: lab, work");
        assert_eq!(chosen(&two, Some("work")), "work");
        let two = profiles(&[rows[0], ("work", Some("lab"), true)]);
        assert_eq!(chosen(&two, None), "work");
    }
}

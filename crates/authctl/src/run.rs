//! One function per verb: ask the daemon, show the answer. The longer verbs have a file each.

mod ask;
mod check;
mod codex;
mod doctor;
mod login;
mod service;
mod status;
mod store;

use std::{
    ffi::OsString, io, os::unix::process::CommandExt, path::Path, pin::Pin, process::Command, time::Duration,
};

use authd_api::{
    Answer, Client, ClientError, ErrorCode, Headers, Paths, Problem, Profile, ProfileName, ProfilePatch,
    RefreshBody, route,
};
use bytes::Bytes;
use clap::CommandFactory;
use http::{HeaderMap, Method};
use serde_json::json;

use crate::{
    cli::{Cli, Common, CredentialArgs, LogoutArgs, One, Verb},
    failure::Failure,
    hardening,
    out::Out,
    private, show, time,
};

/// How long an answer may take. The daemon has deadlines of its own and says why it was late; this one is
/// only against a daemon that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What every verb works with.
struct Ctl {
    client: Client,
    paths: Paths,
    /// Whether the socket was named on the command line.
    own_socket: bool,
    /// The profile that `--profile` or the environment names.
    profile: Option<ProfileName>,
    out: Out,
}

/// Does what the command line says. What programs run for a credential needs no runtime, which would take
/// longer to begin and to end than the rest of it.
pub(crate) fn run(cli: Cli, out: Out) -> Result<(), Failure> {
    let own_socket = cli.common.socket.is_some();
    let ctl = || Ctl::new(cli.common, out);
    match cli.verb {
        Verb::Headers(args) => headers(&ctl()?, args),
        Verb::Token(args) => token(&ctl()?, args),
        Verb::Url(one) => url(&ctl()?, one),
        Verb::Exec { command } => exec(&ctl()?, &command),
        Verb::Login(args) => wait(Box::pin(login::login(&ctl()?, args))),
        Verb::Status(args) => wait(Box::pin(status::status(&ctl()?, args))),
        Verb::Profiles => wait(Box::pin(profiles(&ctl()?))),
        Verb::Use { profile } => wait(Box::pin(use_profile(&ctl()?, &profile))),
        Verb::Rename { profile, new_name } => wait(Box::pin(rename(&ctl()?, &profile, new_name))),
        Verb::Refresh(one) => wait(Box::pin(refresh(&ctl()?, one))),
        Verb::Logout(args) => wait(Box::pin(logout(&ctl()?, args))),
        Verb::Ask(args) => wait(Box::pin(ask::ask(&ctl()?, args))),
        Verb::Import { source, path } => wait(Box::pin(codex::import(&ctl()?, source, path))),
        Verb::Export { target, path } => wait(Box::pin(codex::export(&ctl()?, target, path))),
        Verb::Codex { deed } => wait(Box::pin(codex::codex(&ctl()?, deed))),
        Verb::Doctor => wait(Box::pin(doctor::doctor(&ctl()?))),
        Verb::Store { deed } => wait(Box::pin(store::store(&ctl()?, deed))),
        Verb::Service { deed } => wait(Box::pin(service::service(own_socket, deed, out))),
        Verb::Check(one) => wait(Box::pin(check::check(&ctl()?, one))),
        Verb::Completions { shell } => completions(shell, out),
        Verb::Man { directory } => manual(directory.as_deref(), out),
    }
}

/// Runs what waits for more than one thing. It has one peer: a pool of threads would only cost its start.
fn wait(work: Pin<Box<dyn Future<Output = Result<(), Failure>> + '_>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn headers(ctl: &Ctl, args: CredentialArgs) -> Result<(), Failure> {
    let headers = ctl.credential(args)?;
    if ctl.out.wants_json() {
        return ctl.out.json(&headers);
    }
    let lines: String = headers.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    ctl.out.answer(&lines)
}

fn token(ctl: &Ctl, args: CredentialArgs) -> Result<(), Failure> {
    let headers = ctl.credential(args)?;
    let token = bearer(&headers)?;
    if ctl.out.wants_json() {
        let Headers { profile, expires_at, generation, grant_id, .. } = &headers;
        return ctl.out.json(&json!({"profile": profile, "token": token, "expires_at": expires_at,
            "generation": generation, "grant_id": grant_id}));
    }
    ctl.out.answer(&format!("{token}\n"))
}

fn url(ctl: &Ctl, one: One) -> Result<(), Failure> {
    let Headers { profile, base_url, responses_url, .. } =
        ctl.credential(CredentialArgs { one, min_ttl: None })?;
    if ctl.out.wants_json() {
        return ctl
            .out
            .json(&json!({"profile": profile, "base_url": base_url, "responses_url": responses_url}));
    }
    ctl.out.answer(&format!("{base_url}\n"))
}

async fn profiles(ctl: &Ctl) -> Result<(), Failure> {
    let profiles = within(ctl.client.profiles()).await?;
    if ctl.out.wants_json() {
        return ctl.out.json(&profiles);
    }
    if ctl.out.is_quiet() {
        return ctl.out.answer(
            &profiles.profiles.iter().map(|profile| format!("{}\n", profile.name)).collect::<String>(),
        );
    }
    ctl.out.answer(&show::profiles(&profiles.profiles, time::now(), ctl.out.paint()))
}

async fn use_profile(ctl: &Ctl, name: &ProfileName) -> Result<(), Failure> {
    let patch = ProfilePatch { default: Some(true), name: None };
    let profile = within(ctl.client.patch_profile(Some(name), &patch)).await?;
    ctl.changed(&profile, &format!("\"{name}\" is the default profile now"))
}

async fn rename(ctl: &Ctl, name: &ProfileName, new_name: ProfileName) -> Result<(), Failure> {
    let patch = ProfilePatch { default: None, name: Some(new_name) };
    let profile = within(ctl.client.patch_profile(Some(name), &patch)).await?;
    ctl.changed(&profile, &format!("\"{name}\" is called \"{}\" now", profile.name))
}

async fn refresh(ctl: &Ctl, one: One) -> Result<(), Failure> {
    let profile = within(ctl.client.refresh(ctl.named(one).as_ref(), &RefreshBody::default())).await?;
    let until =
        profile.expires_at.map(|at| format!("; its token expires {}", time::relative(at, time::now())));
    ctl.changed(&profile, &format!("\"{}\" is refreshed{}", profile.name, until.unwrap_or_default()))
}

/// With `--all` one profile's trouble does not keep the others signed in; the first trouble is told last.
async fn logout(ctl: &Ctl, args: LogoutArgs) -> Result<(), Failure> {
    let names: Vec<ProfileName> = if args.all {
        within(ctl.client.profiles()).await?.profiles.into_iter().map(|profile| profile.name).collect()
    } else {
        vec![within(ctl.client.profile(ctl.named(args.one).as_ref())).await?.name]
    };
    if args.revoke {
        ctl.out.say("Revoking: the provider may end this person's sessions on other machines, too.");
    }
    let mut signed_out = Vec::new();
    let mut failed = None;
    for name in names {
        match within(ctl.client.delete_profile(Some(&name), args.revoke)).await {
            Ok(()) => {
                let how = if args.revoke { "signed out and revoked" } else { "signed out" };
                ctl.out.say(&format!("\"{name}\" is {how}"));
                signed_out.push(name);
            }
            Err(failure) => {
                if let (Some(_), Some(problem)) = (&failed, failure.problem()) {
                    ctl.out.complain(problem);
                }
                failed = failed.or(Some(failure));
            }
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None if ctl.out.wants_json() => ctl.out.json(&json!({"signed_out": signed_out})),
        None => Ok(()),
    }
}

/// Becomes the command. The token leaves in the environment of that command, as the person asked.
fn exec(ctl: &Ctl, command: &[OsString]) -> Result<(), Failure> {
    let headers = ctl.credential(CredentialArgs { one: One { name: None }, min_ttl: None })?;
    let Some((program, args)) = command.split_first() else {
        return Err(Failure::new(ErrorCode::BadRequest, "there is no command to run"));
    };
    let mut command = Command::new(program);
    command.args(args);
    command.env("OPENAI_API_KEY", bearer(&headers)?).env("OPENAI_BASE_URL", &headers.base_url);
    command.env("AUTHD_SOCKET", &ctl.paths.socket);
    match headers.value("chatgpt-account-id") {
        Some(account) => command.env("CHATGPT_ACCOUNT_ID", account),
        None => command.env_remove("CHATGPT_ACCOUNT_ID"),
    };
    let error = hardening::with_inherited_limit(|| command.exec());
    let problem =
        Problem::new(ErrorCode::BadRequest, format!("{} cannot be run: {error}", program.to_string_lossy()));
    // As shells say: 127, there is no such command; 126, there is, but it cannot be run.
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Err(Failure::Exit(code, Box::new(problem)))
}

fn completions(shell: clap_complete::Shell, out: Out) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "authctl", &mut script);
    out.bytes(&script)
}

fn manual(directory: Option<&Path>, out: Out) -> Result<(), Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return out.bytes(&page);
    };
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let written = std::fs::create_dir_all(directory).and_then(|()| pages(&command, directory));
    written.map_err(|error| {
        Failure::new(ErrorCode::BadRequest, format!("{} cannot be written: {error}", directory.display()))
    })?;
    out.say(&format!("the manual pages are in {}", directory.display()));
    Ok(())
}

/// As `clap_mangen::generate_to` does, which follows any symbolic link.
fn pages(command: &clap::Command, directory: &Path) -> io::Result<()> {
    command.get_subcommands().try_for_each(|command| pages(command, directory))?;
    let page = clap_mangen::Man::new(command.clone());
    page.render(&mut private::create_public(&directory.join(page.get_filename()))?)
}

impl Ctl {
    fn new(common: Common, out: Out) -> Result<Self, Failure> {
        let own_socket = common.socket.is_some();
        let paths = Paths::from_env()?.with_socket(common.socket)?;
        let profile = match common.profile {
            Some(name) => Some(name),
            None => profile_from_env()?,
        };
        out.explain(&format!("socket: {}", paths.socket.display()));
        Ok(Self { client: Client::new(&paths.socket), paths, own_socket, profile, out })
    }

    /// The profile that a verb is about: the name given to the verb itself goes first.
    fn named(&self, one: One) -> Option<ProfileName> {
        one.name.or_else(|| self.profile.clone())
    }

    /// One answer of the relay, read whole, whatever its status.
    async fn get(&self, profile: &ProfileName, below: &str) -> Result<Answer, Failure> {
        let path = route::below_profile(Some(profile), below);
        let answer = async {
            self.client.stream(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?.whole().await
        };
        within(answer).await
    }

    fn credential(&self, args: CredentialArgs) -> Result<Headers, Failure> {
        Ok(self.client.headers_blocking(self.named(args.one).as_ref(), args.min_ttl, PATIENCE)?)
    }

    /// A change is told to people in words, and to programs as the profile it left.
    fn changed(&self, profile: &Profile, words: &str) -> Result<(), Failure> {
        self.out.say(words);
        if self.out.wants_json() { self.out.json(profile) } else { Ok(()) }
    }
}

/// The answer, unless it takes longer than any daemon that lives.
async fn within<T>(answer: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Problem::new(ErrorCode::Timeout, "authd does not answer")
            .hint("is it stuck? see its log")
            .into()),
    }
}

fn bearer(headers: &Headers) -> Result<&str, Failure> {
    headers
        .token()
        .ok_or_else(|| Failure::new(ErrorCode::Internal, "authd's headers have no bearer token in them"))
}

/// An empty variable counts as unset, as everywhere in authd.
fn profile_from_env() -> Result<Option<ProfileName>, Failure> {
    let Some(name) = std::env::var_os("AUTHCTL_PROFILE").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    name.to_string_lossy()
        .parse()
        .map(Some)
        .map_err(|error| Failure::new(ErrorCode::BadRequest, format!("AUTHCTL_PROFILE is {error}")))
}

fn unknown_profile(name: &ProfileName) -> Problem {
    Problem::new(ErrorCode::ProfileUnknown, format!("there is no profile \"{name}\""))
        .hint(format!("run: authctl login {name}"))
        .about(name)
}

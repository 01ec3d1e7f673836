//! `authctl login`: starts a login, shows its page to the user, and waits for the end: by the
//! callback, a pasted address or a device code.

mod own_credential;

use std::{
    io::{self, BufRead, IsTerminal},
    time::{Duration, Instant},
};

use authd_api::{CallbackBody, ClientError, ErrorCode, Flow, Login, LoginBody, LoginState, Problem, route};
use http::Method;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};
use tokio::{io::AsyncReadExt, net::UnixStream, sync::mpsc};

use crate::context::{Context, with_timeout};
use crate::{
    browser::{self, Action, Environment},
    cli::LoginArgs,
    error::{CliError, CliResult},
    output::Output,
    qr_code, render,
    sanitize::line,
    time,
};

/// The duration of one long poll, in seconds.
const POLL: u64 = 20;

/// How long a daemon that stopped may take to start again. The login survives the restart.
const RESTART_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two attempts to reach a daemon that stopped.
const PAUSE: Duration = Duration::from_millis(250);

const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

const SPINNER_INTERVAL: Duration = Duration::from_millis(120);

/// The lines that a terminal shows beside the QR code of a device login.
const LINES_BESIDE_QR_CODE: usize = 12;

/// The longest line read from stdin, in bytes: more than any redirect URL.
const MAX_LINE: usize = 64 << 10;

pub(super) async fn login(ctx: &Context, args: LoginArgs) -> CliResult {
    if args.with_api_key || args.with_token {
        return own_credential::login(ctx, args).await;
    }
    if let Some(id) = &args.cancel {
        return cancel_pending(ctx, id).await;
    }
    let login = match &args.resume {
        Some(id) => with_timeout(ctx.client.login(id, None)).await?,
        None => start(ctx, &args).await?,
    };
    if args.no_wait {
        return print_pending(ctx, &login);
    }
    // Before the first output: a user who sees the address may press Ctrl-C at once.
    let mut cancel = CancelSignal::new().map_err(|error| CliError::system(&error))?;
    if !login.state.is_final() {
        show_page(ctx, &args, &login);
    }
    let id = login.id.clone();
    let input = match (args.paste, io::stdin().is_terminal()) {
        (true, _) => PastedInput::Required,
        (false, true) => PastedInput::Optional,
        (false, false) => PastedInput::None,
    };
    tokio::select! {
        biased;
        () = cancel.received() => {
            cancel_login(ctx, &id, cancel).await;
            Err(CliError::Cancelled)
        }
        ended = wait_for_end(ctx, login, input) => {
            if let Some(login) = ended? {
                return finish(ctx, &login).await;
            }
            cancel_login(ctx, &id, cancel).await;
            let detail = "stdin ended before the address of the last page arrived";
            let hint = "run it at a terminal, or sign in with: authctl login --device";
            Err(Problem::new(ErrorCode::BadRequest, detail).hint(hint).into())
        }
    }
}

/// Starts the login, and the daemon if it does not run.
async fn start(ctx: &Context, args: &LoginArgs) -> CliResult<Login> {
    let body = LoginBody {
        profile: ctx.login_profile(args),
        flow: if args.device { Flow::Device } else { Flow::Browser },
        mode: args.mode.into(),
        workspace: args.workspace.clone(),
        provider: args.provider.clone(),
        scopes: args.scope.clone(),
        replace: args.replace,
        paste: args.paste,
    };
    ctx.send_or_start(|| ctx.client.start_login(&body)).await
}

/// Prints what `--no-wait` promises: the URL, the device code if any, and the login id.
fn print_pending(ctx: &Context, login: &Login) -> CliResult {
    if ctx.out.json {
        return ctx.out.print_json(login);
    }
    let url = login.authorize_url.as_ref().or(login.verification_url.as_ref());
    let values = [url, login.user_code.as_ref(), Some(&login.id)].into_iter().flatten();
    ctx.out.print(&values.map(|value| format!("{}\n", line(value))).collect::<String>())?;
    ctx.out.info(&format!("sign in there, then run: authctl login --resume {}", line(&login.id)));
    Ok(())
}

/// Opens the page, or shows where it is.
fn show_page(ctx: &Context, args: &LoginArgs, login: &Login) {
    let out = ctx.out;
    if let Some(provider) = &login.provider {
        // An MCP server names the authorization server: the user must see it before the browser
        // opens.
        let place = login.issuer.as_deref().map(|issuer| format!(" at {}", line(issuer))).unwrap_or_default();
        out.always(&format!("Provider \"{}\": you sign in{place}.", line(provider)));
    }
    if let (Some(url), Some(code)) = (&login.verification_url, &login.user_code) {
        let (url, code) = (line(url), out.stderr_style.bold(&line(code)));
        out.always(&format!("On any device, open:\n\n  {url}\n\nand enter the code:  {code}\n"));
        show_qr_code(out, login);
        out.info("Do not share this code: the account of the user that enters it is signed in here.");
        return;
    }
    let Some(authorize_url) = &login.authorize_url else { return };
    let url = line(authorize_url);
    if args.paste {
        out.always(&format!("Open this page in a browser, on any machine:\n\n  {url}\n"));
        out.always("The last page may not load. Paste its address here, and press Enter:");
        return;
    }
    let environment = Environment::detect(io::stderr().is_terminal());
    match browser::action(environment, args.no_browser, login.redirect_uri.as_deref()) {
        // `open_url` is valid once, so the process list shows no reusable address. Older daemons
        // have none.
        Action::Open if browser::open(login.open_url.as_ref().unwrap_or(authorize_url)) => out.info(
            &format!("A browser was opened to sign in. If you do not see it, open this page:\n\n  {url}\n"),
        ),
        Action::Open | Action::Show => out.always(&format!("Open this page to sign in:\n\n  {url}\n")),
        Action::ShowWithTunnel(port) => {
            out.always(&format!("This is an SSH session. Open this page on your own machine:\n\n  {url}\n"));
            out.always(&format!(
                "Run this there first, for the way back:  ssh -L {port}:localhost:{port} THIS-HOST"
            ));
        }
    }
    if io::stdin().is_terminal() {
        out.info("Or paste the address of the last page here, and press Enter.");
    }
}

/// Shows the address of a device login for a phone, if it fits the terminal together with the text
/// above it.
fn show_qr_code(out: Output, login: &Login) {
    let (complete, plain) = (login.verification_url_complete.as_ref(), login.verification_url.as_ref());
    let Some((url, (columns, lines))) = complete.or(plain).zip(out.canvas()) else { return };
    if let Some(code) = qr_code::draw(url, columns, lines.saturating_sub(LINES_BESIDE_QR_CODE)) {
        let what = if complete.is_some() { "check the code there" } else { "enter the code there" };
        out.info(&format!("Or scan this with a phone, and {what}:\n\n{code}"));
    }
}

/// Ctrl-C or SIGTERM. Without tokio's signal driver, which would slow down the start of every
/// command.
struct CancelSignal(UnixStream);

impl CancelSignal {
    fn new() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        let sender = sender.into_std()?;
        pipe::register(SIGINT, sender.try_clone()?)?;
        pipe::register(SIGTERM, sender)?;
        Ok(Self(receiver))
    }

    async fn received(&mut self) {
        // Cannot fail: the sender lives as long as the process.
        let _ = self.0.read_u8().await;
    }
}

/// Whether an address can be pasted on stdin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PastedInput {
    /// It is the only way to finish the login.
    Required,
    /// The browser may return by itself.
    Optional,
    None,
}

/// Waits for the end of the login, takes pasted addresses, and shows the countdown. `None` if the
/// address must be pasted and stdin has ended.
async fn wait_for_end(ctx: &Context, mut login: Login, input: PastedInput) -> CliResult<Option<Login>> {
    let countdown = Countdown(ctx.out);
    let mut spinner = ctx.out.spinner().chars().cycle();
    let reads_stdin = input != PastedInput::None && login.flow == Flow::Browser;
    let mut lines = if reads_stdin { stdin_lines() } else { mpsc::channel(1).1 };
    let mut has_ended = !reads_stdin;
    let mut ticks = tokio::time::interval(SPINNER_INTERVAL);
    let mut unreachable_since: Option<Instant> = None;
    while !login.state.is_final() {
        // The poll continues through ticks and pasted lines.
        let id = login.id.clone();
        let poll = tokio::time::timeout(
            Duration::from_secs(POLL) + RESTART_TIMEOUT,
            ctx.client.login(&id, Some(POLL)),
        );
        tokio::pin!(poll);
        let updated = loop {
            tokio::select! {
                response = &mut poll => match response.unwrap_or_else(|_| Err(not_answered(ctx))) {
                    Ok(login) => {
                        unreachable_since = None;
                        break Some(login);
                    }
                    Err(error) => {
                        pause_before_retry(ctx, error, &mut unreachable_since).await?;
                        break None;
                    }
                },
                line = lines.recv(), if !has_ended => match line {
                    Some(line) => if let Some(login) = send_pasted(ctx, &login, &line).await? {
                        break Some(login);
                    },
                    None if input == PastedInput::Required => return Ok(None),
                    None => has_ended = true,
                },
                _ = ticks.tick() => {
                    let left = time::countdown(login.expires_at, time::now());
                    let spinner = spinner.next().unwrap_or_default();
                    countdown.0.transient(&format!("{spinner} waiting for the sign-in, {left} left"));
                }
            }
        };
        login = updated.unwrap_or(login);
    }
    Ok(Some(login))
}

/// `authctl logins`.
pub(super) async fn list(ctx: &Context) -> CliResult {
    let logins = with_timeout(ctx.client.logins()).await?;
    ctx.out.result(&logins, || match logins.logins.as_slice() {
        [] => "no login is pending\n".to_owned(),
        all => all.iter().map(|login| describe(login) + "\n").collect(),
    })
}

/// One pending login, in one line.
fn describe(login: &Login) -> String {
    let flow = match login.flow {
        Flow::Browser => "browser",
        Flow::Device => "device code",
    };
    let left = time::countdown(login.expires_at, time::now());
    format!("{}  {}  {flow}  {left} left", line(&login.id), login.profile)
}

/// `authctl login --cancel`.
async fn cancel_pending(ctx: &Context, id: &str) -> CliResult {
    with_timeout(ctx.client.cancel_login(id)).await?;
    let login = with_timeout(ctx.client.login(id, None)).await?;
    if login.state == LoginState::Cancelled {
        return ctx.out.done("the login is cancelled", &login);
    }
    let problem = Problem::new(ErrorCode::Conflict, "the login is not pending any more");
    Err(problem.hint("see the profiles: authctl status").into())
}

fn not_answered(ctx: &Context) -> ClientError {
    ClientError::Timeout { socket: ctx.client.socket().to_path_buf() }
}

/// Pauses if the daemon stopped a short time ago: the service manager restarts it, and the login is
/// still pending. Other errors are returned.
async fn pause_before_retry(ctx: &Context, error: ClientError, since: &mut Option<Instant>) -> CliResult {
    let is_stopped = match &error {
        ClientError::NoDaemon { .. } | ClientError::Timeout { .. } | ClientError::Broken { .. } => true,
        ClientError::Connect { .. } | ClientError::OtherUser { .. } | ClientError::Forbidden { .. } => false,
        ClientError::Problem(problem) => problem.code == ErrorCode::ShuttingDown,
    };
    if is_stopped && since.is_none() {
        ctx.out.info("authd stopped; waiting for it to start again");
    }
    if !is_stopped || since.get_or_insert_with(Instant::now).elapsed() > RESTART_TIMEOUT {
        return Err(error.into());
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// Sends a pasted address to the daemon. A wrong one is reported, and the user may paste another.
async fn send_pasted(ctx: &Context, login: &Login, line: &str) -> CliResult<Option<Login>> {
    let url = line.trim();
    if url.is_empty() {
        return Ok(None);
    }
    let path = format!("{}/callback", route::login(&login.id));
    let body = CallbackBody { url: url.to_owned() };
    match with_timeout(ctx.client.request(Method::POST, &path, Some(&body))).await {
        Ok(login) => Ok(Some(login)),
        Err(CliError::Problem(problem))
            if [ErrorCode::BadRequest, ErrorCode::Conflict].contains(&problem.code) =>
        {
            ctx.out.error(&problem);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Cancels the login at the daemon, for a short time or until a second signal.
async fn cancel_login(ctx: &Context, id: &str, mut cancel: CancelSignal) {
    let request = async {
        ctx.client.cancel_login(id).await?;
        ctx.client.login(id, None).await
    };
    let result = tokio::select! {
        result = tokio::time::timeout(CANCEL_TIMEOUT, request) => result,
        () = cancel.received() => return,
    };
    ctx.out.info(match result.map(|response| response.map(|login| login.state)) {
        Ok(Ok(LoginState::Cancelled)) => "the login is cancelled",
        Ok(Ok(_)) => "it is too late to cancel the login; see the result with: authctl status",
        Ok(Err(_)) | Err(_) => "authd did not answer; an unfinished login expires by itself",
    });
}

/// Reports the result of a login.
async fn finish(ctx: &Context, login: &Login) -> CliResult {
    let problem = match (login.state, &login.result, &login.error) {
        (_, Some(profile), _) => {
            let message = render::signed_in(profile, &login.profile, ctx.out.stderr_style);
            ctx.out.done(&message, login)?;
            if let Ok(daemon) = with_timeout(ctx.client.status()).await
                && let Some(message) = render::saved_in(&daemon.store)
            {
                ctx.out.info(&message);
            }
            return Ok(());
        }
        (_, None, Some(problem)) => return Err(problem.clone().into()),
        (LoginState::Expired, None, None) => {
            Problem::new(ErrorCode::LoginExpired, "the login was not finished in time")
        }
        (_, None, None) => Problem::new(ErrorCode::LoginDenied, "the login was cancelled"),
    };
    Err(problem.hint(format!("run: authctl login {}", login.profile)).into())
}

/// Reads lines from stdin on a thread, which the end of the program does not wait for: a read from
/// a terminal cannot be cancelled.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut stdin, MAX_LINE as u64).read_until(b'\n', &mut line);
            let is_end = !matches!(read, Ok(1..));
            if is_end || sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Clears the countdown at the end of the wait.
struct Countdown(Output);

impl Drop for Countdown {
    fn drop(&mut self) {
        self.0.transient("");
    }
}

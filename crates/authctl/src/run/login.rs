//! `authctl login`: starts a sign-in, gets the person to its page, and waits for the end of it: by the
//! callback, a pasted address or a device code, whichever comes first.

use std::{
    io::{self, BufRead, IsTerminal},
    iter::Cycle,
    str::Chars,
    time::{Duration, Instant},
};

use authd_api::{
    CallbackBody, ClientError, ErrorCode, Flow, Login, LoginBody, LoginState, Problem, ProfileName, route,
};
use http::Method;
use jiff::Timestamp;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};
use tokio::{io::AsyncReadExt, net::UnixStream, sync::mpsc};

use super::{Ctl, within};
use crate::{
    browser::{self, Surroundings, Way},
    cli::LoginArgs,
    failure::Failure,
    out::Out,
    printable::value,
    show, start, time,
};

/// How long one long poll waits, in seconds: short enough that a vanished daemon is noticed.
const POLL: u64 = 20;

/// How long a daemon that went away during a login may take to come back. The login survives it.
const ABSENCE: Duration = Duration::from_secs(20);

/// The pause between two looks at a daemon that went away.
const PAUSE: Duration = Duration::from_millis(250);

/// How long the daemon may take to hear that a login is called off.
const LAST_WORD: Duration = Duration::from_secs(2);

/// How often the countdown moves.
const TICK: Duration = Duration::from_millis(120);

/// What turns in front of it.
const SPINNER: &str = "⠁⠂⠄⡀⢀⠠⠐⠈";

/// The longest line taken from stdin, in bytes: no redirect URL is longer.
const MAX_LINE: usize = 64 << 10;

/// Signs somebody in.
pub(super) async fn login(ctl: &Ctl, args: LoginArgs) -> Result<(), Failure> {
    let login = match &args.resume {
        Some(id) => within(ctl.client.login(id.as_str(), None)).await?,
        None => begin(ctl, &args).await?,
    };
    if args.no_wait {
        return hand_over(ctl, &login);
    }
    // Before anything is shown: whoever has seen the page's address may call it off.
    let mut calling_off = CallingOff::new()?;
    if !login.state.is_final() {
        guide(ctl, &args, &login);
    }
    let id = login.id.clone();
    let ended = tokio::select! {
        ended = wait(ctl, login, args.paste || io::stdin().is_terminal()) => Some(ended?),
        () = calling_off.wished() => None,
    };
    match ended {
        Some(login) => finish(ctl, &login),
        None => Err(call_off(ctl, &id, calling_off).await),
    }
}

/// Starts a login, and the daemon before it if none runs.
async fn begin(ctl: &Ctl, args: &LoginArgs) -> Result<Login, Failure> {
    let body = LoginBody {
        profile: ctl.named(args.one.clone()),
        flow: if args.device { Flow::Device } else { Flow::Browser },
        mode: args.mode.into(),
        workspace: args.workspace.clone(),
        replace: args.replace,
        paste: args.paste,
    };
    match within(ctl.client.start_login(&body)).await {
        Err(failure) if failure.is_no_daemon() => {
            start::daemon(&ctl.paths, ctl.own_socket, ctl.out).await?;
            within(ctl.client.start_login(&body)).await
        }
        started => started,
    }
}

/// Start now, authorize elsewhere, confirm later: what that takes, and nothing else.
fn hand_over(ctl: &Ctl, login: &Login) -> Result<(), Failure> {
    if ctl.out.wants_json() {
        return ctl.out.json(login);
    }
    let url = login.authorize_url.as_ref().or(login.verification_url.as_ref());
    let lines = [url, login.user_code.as_ref(), Some(&login.id)].into_iter().flatten();
    ctl.out.answer(&lines.map(|line| format!("{}\n", value(line))).collect::<String>())?;
    ctl.out.say(&format!("sign in there, then run: authctl login --resume {}", value(&login.id)));
    Ok(())
}

/// Gets the person to the page.
fn guide(ctl: &Ctl, args: &LoginArgs, login: &Login) {
    let out = ctl.out;
    if let (Some(url), Some(code)) = (&login.verification_url, &login.user_code) {
        let (url, code) = (value(url), value(code));
        out.insist(&format!(
            "On any device, go to:\n\n  {url}\n\nand enter the code:  {}\n",
            out.words().bold(&code)
        ));
        out.say("Never give this code to anybody else: it signs in whoever asked for it.");
        return;
    }
    let Some(authorize_url) = &login.authorize_url else { return };
    let url = value(authorize_url);
    if args.paste {
        out.insist(&format!("Open this page in a browser, on any machine:\n\n  {url}\n"));
        out.insist("It ends on an address that may not load. Paste that address here, and press Enter:");
        return;
    }
    let watched = io::stderr().is_terminal();
    let way = browser::way(Surroundings::from_env(watched), args.no_browser, login.redirect_uri.as_deref());
    match way {
        // The address of one use, so that the process list shows none that signs a person in. An older
        // daemon tells none.
        Way::Open if browser::open(login.open_url.as_ref().unwrap_or(authorize_url)) => {
            out.say(&format!(
                "A browser was opened to sign in. If none came up, open this page:\n\n  {url}\n"
            ));
        }
        Way::Open | Way::Show => out.insist(&format!("Open this page to sign in:\n\n  {url}\n")),
        Way::ShowWithTunnel(port) => {
            out.insist(&format!("You came over SSH, so open this page on your own machine:\n\n  {url}\n"));
            out.insist(&format!(
                "To bring the browser back here, first run there:  ssh -L {port}:localhost:{port} THIS-HOST"
            ));
        }
    }
    if io::stdin().is_terminal() {
        out.say("Or paste the address that the browser ended on, and press Enter.");
    }
}

/// The person's wish to call it off: Ctrl-C, or the signal that ends a program. It is not tokio that hears
/// them, for it would prepare to with every verb.
struct CallingOff(UnixStream);

impl CallingOff {
    /// From now on, the wish is heard.
    fn new() -> Result<Self, Failure> {
        let (heard, told) = UnixStream::pair()?;
        let told = told.into_std()?;
        pipe::register(SIGINT, told.try_clone()?)?;
        pipe::register(SIGTERM, told)?;
        Ok(Self(heard))
    }

    async fn wished(&mut self) {
        // It cannot fail or end: the other side is kept as long as this program runs.
        let _ = self.0.read_u8().await;
    }
}

/// Waits for the end, while pasted addresses are taken and the countdown runs.
async fn wait(ctl: &Ctl, mut login: Login, takes_lines: bool) -> Result<Login, Failure> {
    let mut countdown = Countdown::new(ctl, &login);
    let mut lines =
        if takes_lines && login.flow == Flow::Browser { stdin_lines() } else { mpsc::channel(1).1 };
    let mut ticks = tokio::time::interval(TICK);
    let mut missed: Option<Instant> = None;
    while !login.state.is_final() {
        // Made anew only when it has answered: a tick does not start it over.
        let id = login.id.clone();
        let poll = ctl.client.login(&id, Some(POLL));
        tokio::pin!(poll);
        let now = loop {
            tokio::select! {
                answer = &mut poll => match answer {
                    Ok(now) => {
                        missed = None;
                        break Some(now);
                    }
                    Err(error) => {
                        back_again(ctl, error, &mut missed).await?;
                        break None;
                    }
                },
                Some(line) = lines.recv() => {
                    if let Some(now) = paste(ctl, &login, &line).await? {
                        break Some(now);
                    }
                }
                _ = ticks.tick() => countdown.tick(time::now()),
            }
        };
        login = now.unwrap_or(login);
    }
    Ok(login)
}

/// A daemon that went away may come back: a service manager restarts it, and the login is still pending.
async fn back_again(ctl: &Ctl, error: ClientError, missed: &mut Option<Instant>) -> Result<(), Failure> {
    let gone = match &error {
        ClientError::NoDaemon { .. } | ClientError::Broken { .. } => true,
        ClientError::OtherUser { .. } => false,
        ClientError::Problem(problem) => problem.code == ErrorCode::ShuttingDown,
    };
    let since = *missed.get_or_insert_with(|| {
        if gone {
            ctl.out.say("authd went away; waiting for it to come back");
        }
        Instant::now()
    });
    if !gone || since.elapsed() > ABSENCE {
        return Err(error.into());
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// Brings a pasted address to the daemon. An address that does not fit is told, and another may follow.
async fn paste(ctl: &Ctl, login: &Login, line: &str) -> Result<Option<Login>, Failure> {
    let url = line.trim();
    if url.is_empty() {
        return Ok(None);
    }
    let path = format!("{}/callback", route::login(&login.id));
    let body = CallbackBody { url: url.to_owned() };
    match within(ctl.client.ask(Method::POST, &path, Some(&body))).await {
        Ok(login) => Ok(Some(login)),
        Err(Failure::Problem(problem)) if problem.code == ErrorCode::BadRequest => {
            ctl.out.complain(&problem);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Tells the daemon, if it listens; a person who wishes it once more does not wait for that either.
async fn call_off(ctl: &Ctl, id: &str, mut calling_off: CallingOff) -> Failure {
    let telling = async {
        ctl.client.cancel_login(id).await?;
        ctl.client.login(id, None).await
    };
    let told = tokio::select! {
        told = tokio::time::timeout(LAST_WORD, telling) => told,
        () = calling_off.wished() => return Failure::CalledOff,
    };
    ctl.out.say(match told.map(|told| told.map(|login| login.state)) {
        Ok(Ok(LoginState::Cancelled)) => "the sign-in is called off",
        Ok(Ok(_)) => "it is too late to call the sign-in off; what came of it: authctl status",
        Ok(Err(_)) | Err(_) => "authd did not hear that; a sign-in that nobody finishes ends by itself",
    });
    Failure::CalledOff
}

/// Who is signed in now, or why nobody is.
fn finish(ctl: &Ctl, login: &Login) -> Result<(), Failure> {
    let again = |name: &ProfileName| format!("run: authctl login {name}");
    match (login.state, &login.result, &login.error) {
        (_, Some(profile), _) => {
            ctl.out.say(&show::signed_in(profile, &login.profile, ctl.out.words()));
            if ctl.out.wants_json() { ctl.out.json(login) } else { Ok(()) }
        }
        (_, None, Some(problem)) => Err(problem.clone().into()),
        (LoginState::Expired, None, None) => {
            let problem = Problem::new(ErrorCode::LoginExpired, "nobody finished this sign-in in time");
            Err(problem.hint(again(&login.profile)).into())
        }
        (_, None, None) => {
            let problem = Problem::new(ErrorCode::LoginDenied, "this sign-in was called off");
            Err(problem.hint(again(&login.profile)).into())
        }
    }
}

/// Lines from stdin. They are read on a thread of their own that the program's end does not wait for: a
/// read of a terminal cannot be called off.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut stdin, MAX_LINE as u64).read_until(b'\n', &mut line);
            let over = !matches!(read, Ok(1..));
            if over || sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// A spinner with the time that is left, on a terminal; elsewhere nothing.
struct Countdown {
    out: Out,
    until: Timestamp,
    turns: Cycle<Chars<'static>>,
}

impl Countdown {
    fn new(ctl: &Ctl, login: &Login) -> Self {
        Self { out: ctl.out, until: login.expires_at, turns: SPINNER.chars().cycle() }
    }

    fn tick(&mut self, now: Timestamp) {
        let turn = self.turns.next().unwrap_or_default();
        let left = time::countdown(self.until, now);
        self.out.pass(&format!("{turn} waiting for you to sign in, {left} left"));
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        self.out.pass("");
    }
}

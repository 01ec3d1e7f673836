//! `authctl login --with-token` and `--with-api-key`: a profile with a credential of the user,
//! which stdin supplies so that no process list shows it.

use std::io::{self, IsTerminal, Read};

use authd_api::{ApiKeyBody, ErrorCode, Problem, ProfileName, StoredCredential, TokenBody};

use crate::{
    cli::LoginArgs,
    context::Context,
    error::{CliError, CliResult},
    render,
    screen::Screen,
};

/// The longest credential, in bytes. A token may be a JWT with many claims.
const MAX_LENGTH: u64 = 16 << 10;

pub(super) async fn login(ctx: &Context, args: LoginArgs) -> CliResult {
    let name = ctx.login_profile(&args);
    let (provider, replace) = (args.provider, args.replace);
    // A profile of another provider has the name of the provider, as after any other login.
    let of_provider = || provider.as_ref()?.parse().ok().filter(|_| provider.as_deref() != Some("openai"));
    let name = name.or_else(of_provider).unwrap_or_else(ProfileName::first);
    let stored = if args.with_api_key {
        let body = ApiKeyBody { api_key: read("API key", "--with-api-key")?, check: true, replace };
        ctx.send_or_start(|| ctx.client.put_api_key(&name, &body)).await?
    } else {
        let body = TokenBody { token: read("token", "--with-token")?, provider: provider.clone(), replace };
        ctx.send_or_start(|| ctx.client.put_token(&name, &body)).await?
    };
    let StoredCredential { profile, note } = &stored;
    let message = render::own_credential(profile, note.as_deref(), &Screen::stderr(ctx.out));
    ctx.out.done(&message, &stored)
}

/// Reads a credential from stdin. A terminal would show it.
fn read(what: &str, option: &str) -> CliResult<String> {
    let hint = || format!("run: authctl login {option} < FILE");
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Problem::new(ErrorCode::BadRequest, format!("there is no {what} on stdin"))
            .hint(hint())
            .into());
    }
    let mut text = String::new();
    stdin.lock().take(MAX_LENGTH + 1).read_to_string(&mut text).map_err(|error| {
        CliError::new(ErrorCode::BadRequest, format!("cannot read the {what} from stdin: {error}"))
    })?;
    match text.trim() {
        "" => Err(Problem::new(ErrorCode::BadRequest, format!("stdin has no {what}")).hint(hint()).into()),
        _ if text.len() as u64 > MAX_LENGTH => {
            Err(CliError::new(ErrorCode::TooLarge, format!("the {what} on stdin is over 16 KiB")))
        }
        text => Ok(text.to_owned()),
    }
}

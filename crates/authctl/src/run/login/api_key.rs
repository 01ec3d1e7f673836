//! `authctl login --with-api-key`: a profile with an API key of the user, which stdin supplies so
//! that no process list shows it.

use std::io::{self, IsTerminal, Read};

use authd_api::{ApiKeyBody, ErrorCode, Problem, ProfileName};

use crate::{
    cli::ProfileArg,
    context::Context,
    error::{CliError, CliResult},
};

/// The longest key, in bytes.
const MAX_KEY: u64 = 4 << 10;

pub(super) async fn login(ctx: &Context, profile: ProfileArg) -> CliResult {
    let name = ctx.profile_name(profile).unwrap_or_else(ProfileName::first);
    let body = ApiKeyBody { api_key: read_key()? };
    let profile = ctx.send_or_start(|| ctx.client.put_api_key(&name, &body)).await?;
    let option = if profile.default { String::new() } else { format!("-p {name} ") };
    let message = format!("profile \"{name}\" has your API key; try: authctl ask {option}\"What is 2+2?\"");
    ctx.out.done(&message, &profile)
}

/// Reads the key from stdin. A terminal would show it.
fn read_key() -> CliResult<String> {
    const HINT: &str = "run: authctl login --with-api-key < FILE";
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Problem::new(ErrorCode::BadRequest, "there is no API key on stdin").hint(HINT).into());
    }
    let mut key = String::new();
    stdin.lock().take(MAX_KEY + 1).read_to_string(&mut key).map_err(|error| {
        CliError::new(ErrorCode::BadRequest, format!("cannot read the API key from stdin: {error}"))
    })?;
    match key.trim() {
        "" => Err(Problem::new(ErrorCode::BadRequest, "stdin has no API key").hint(HINT).into()),
        _ if key.len() as u64 > MAX_KEY => {
            Err(CliError::new(ErrorCode::TooLarge, "the API key on stdin is over 4 KiB"))
        }
        key => Ok(key.to_owned()),
    }
}

//! `authctl exec` and `authctl env`: the credential as environment variables that OpenAI's SDKs
//! read.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::Path,
};

use authd_api::{ErrorCode, Headers};
use serde_json::{Map, Value};

use crate::{
    child::{self, OF_OTHER_ACCOUNT, Variable},
    cli::{ProfileArg, ShellArg},
    context::{Context, require_openai},
    env,
    error::{CliError, CliResult},
    hardening,
};

/// The variables for these headers. A variable without a value is removed: one of another profile
/// would not fit the credential.
fn variables(headers: &Headers) -> CliResult<Vec<Variable>> {
    require_openai(headers)?;
    let others = headers.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
    let others: Vec<String> = others.map(|(name, value)| format!("{name}: {value}")).collect();
    let variables = [
        ("OPENAI_API_KEY", Some(bearer_token(headers)?.to_owned())),
        ("OPENAI_BASE_URL", Some(headers.base_url.clone())),
        // One header a line: the SDKs for Python and Node send them with each request.
        ("OPENAI_CUSTOM_HEADERS", Some(others.join("\n")).filter(|lines| !lines.is_empty())),
        ("CHATGPT_ACCOUNT_ID", headers.value("chatgpt-account-id").map(str::to_owned)),
    ];
    Ok(variables.into_iter().chain(OF_OTHER_ACCOUNT.map(|name| (name, None))).collect())
}

pub(super) fn bearer_token(headers: &Headers) -> CliResult<&str> {
    let error = || CliError::new(ErrorCode::Internal, "the headers of authd contain no bearer token");
    headers.token().ok_or_else(error)
}

/// Replaces this process by the command, which has the variables in its environment.
pub(super) fn exec(ctx: &Context, command: &[OsString]) -> CliResult {
    let headers = ctx.headers(ProfileArg::default())?;
    let mut command = child::command(command)?;
    command.env("AUTHD_SOCKET", &ctx.paths.socket);
    child::set_variables(&mut command, variables(&headers)?);
    let error = hardening::with_inherited_limit(|| command.exec());
    Err(child::not_started(&command.get_program().to_string_lossy(), &error))
}

/// Prints the variables as commands of a shell or, with `--json`, as an object.
pub(super) fn print(ctx: &Context, profile: ProfileArg, shell: Option<ShellArg>) -> CliResult {
    let headers = ctx.headers(profile)?;
    let socket = ctx.paths.socket.to_string_lossy().into_owned();
    let variables = [&variables(&headers)?[..], &[("AUTHD_SOCKET", Some(socket))]].concat();
    if ctx.out.json {
        let object = variables.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
        return ctx.out.print_json(&object.collect::<Map<_, _>>());
    }
    let shell = shell.unwrap_or_else(|| shell_of(env::path("SHELL").as_deref()));
    ctx.out.print(&script(&variables, shell))
}

/// The syntax of the user's shell.
fn shell_of(program: Option<&Path>) -> ShellArg {
    match program.and_then(Path::file_name) {
        Some(name) if name == OsStr::new("fish") => ShellArg::Fish,
        _ => ShellArg::Sh,
    }
}

fn script(variables: &[Variable], shell: ShellArg) -> String {
    let line = |(name, value): &Variable| match (shell, value) {
        (ShellArg::Sh, Some(value)) => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
        (ShellArg::Sh, None) => format!("unset {name}\n"),
        (ShellArg::Fish, Some(value)) => {
            format!("set -gx {name} '{}'\n", value.replace('\\', r"\\").replace('\'', r"\'"))
        }
        (ShellArg::Fish, None) => format!("set -e {name}\n"),
    };
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell() {
        let variables = [("A", Some("it's\na \\ $HOME `x`".to_owned())), ("B", None)];
        assert_eq!(script(&variables, ShellArg::Sh), "export A='it'\\''s\na \\ $HOME `x`'\nunset B\n");
        assert_eq!(script(&variables, ShellArg::Fish), "set -gx A 'it\\'s\na \\\\ $HOME `x`'\nset -e B\n");
    }

    #[test]
    fn syntax_follows_the_shell_of_the_user() {
        assert_eq!(shell_of(Some(Path::new("/usr/bin/fish"))), ShellArg::Fish);
        assert_eq!(shell_of(Some(Path::new("/bin/bash"))), ShellArg::Sh);
        assert_eq!(shell_of(None), ShellArg::Sh);
    }
}

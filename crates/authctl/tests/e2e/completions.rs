//! The completion scripts in real shells. Without a shell its test does nothing, except in CI.

use std::{ffi::OsString, fs, path::Path};

use authd_sandbox::test_daemon::TestDaemon;
use tokio::process::Command;

use crate::{AUTHCTL, run, start_daemon};

/// Runs code of a shell that has read its script as `$script`, and returns the words it prints.
/// `None` without the shell.
async fn words(daemon: &TestDaemon, shell: &str, code: &str) -> Option<Vec<String>> {
    let script = daemon.dir().join(shell);
    let generated = run(daemon, &["completions", shell]).await.ok().stdout;
    fs::write(&script, generated).unwrap();
    let own = Path::new(AUTHCTL).parent().unwrap().to_owned();
    let machine = std::env::var_os("PATH").unwrap_or_default();
    let path: OsString =
        std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&machine))).unwrap();
    let mut command = Command::new(shell);
    if shell == "fish" {
        command.arg("--no-config");
    }
    command.args(["-c", code]);
    command.env_clear().envs(daemon.env().iter().cloned()).env("PATH", path).env("script", script);
    match command.output().await {
        Ok(output) => {
            let (stdout, stderr) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{shell}: {stdout}{stderr}");
            Some(stdout.split_whitespace().map(str::to_owned).collect())
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{shell}: {error}");
            None
        }
    }
}

async fn two_profiles() -> (authd_sandbox::Sandbox, TestDaemon) {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    (sandbox, daemon)
}

#[tokio::test]
async fn bash_completes_profiles_and_commands() {
    let (_sandbox, daemon) = two_profiles().await;
    // The completion of the last word.
    let complete = |line: &str| {
        let prelude = "source \"$script\"; COMP_WORDS=(";
        format!(
            "{prelude}{line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _authctl authctl \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        )
    };
    for (line, expected) in [
        ("authctl token -p ''", &["default", "work"][..]),
        ("authctl status --profile w", &["work"]),
        ("authctl url de", &["default"]),
        ("authctl use w", &["work"]),
    ] {
        let Some(found) = words(&daemon, "bash", &complete(line)).await else { return };
        assert_eq!(found, expected, "{line}");
    }
    let Some(found) = words(&daemon, "bash", &complete("authctl exec -- authct")).await else { return };
    assert!(found.contains(&"authctl".to_owned()), "{found:?}");
}

#[tokio::test]
async fn fish_completes_profiles_and_commands() {
    let (_sandbox, daemon) = two_profiles().await;
    for (line, expected) in [
        ("authctl token -p ", &["default", "work"][..]),
        ("authctl url de", &["default"]),
        ("authctl use w", &["work"]),
        ("authctl exec -p work -- printen", &["printenv"]),
    ] {
        let code = format!("source $script; complete -C '{line}' | string split -f 1 \\t; true");
        let Some(found) = words(&daemon, "fish", &code).await else { return };
        assert_eq!(found, expected, "{line}");
    }
}

#[tokio::test]
async fn zsh_completes_profiles_and_commands() {
    let (_sandbox, daemon) = two_profiles().await;
    // A shell in a pseudoterminal, whose list of matches is the output after the Tab.
    for (line, expected) in [
        ("authctl token -p ", &["default", "work"][..]),
        ("authctl url de", &["default"]),
        ("authctl exec -- printen", &["printenv"]),
    ] {
        let code = ZSH.replace("LINE", line);
        let Some(found) = words(&daemon, "zsh", &code).await else { return };
        assert_eq!(found, expected, "{line}");
    }
}

/// Prints the matches of the completion of a line. A `compadd` of its own records them, as a
/// completion widget calls it.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PROMPT=; autoload -U compinit; compinit -u -d "$HOME/zcompdump"; source "$script"
compadd() { local -a found; builtin compadd -O found "$@"; print -rl -- "<"${^found}">" >> "$HOME/found"; builtin compadd "$@" }
zle -C matches complete-word matches; matches() { _main_complete }; bindkey "^X" matches
finish() { print end > "$HOME/end"; exit }; zle -N finish; bindkey "^Y" finish'
zpty -w -n shell $'LINE\x18\x19'
while [[ ! -e $HOME/end ]] && zpty -r shell out; do :; done
sed -n 's/^<\(.*\)>$/\1/p' "$HOME/found" 2>/dev/null | sort -u
rm -f "$HOME/end" "$HOME/found"
"#;

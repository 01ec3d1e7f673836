//! The client identity.

use authd_oauth::{ClientIdentity, Machine};

#[test]
fn user_agent_is_the_recorded_one() {
    let machine = Machine {
        system: "Debian".to_owned(),
        release: "12.0.0".to_owned(),
        architecture: "x86_64".to_owned(),
        terminal: "xterm\n".to_owned(),
    };
    let identity = ClientIdentity::codex("codex_cli_rs", "0.34.0", &machine);
    assert_eq!(identity.user_agent, "codex_cli_rs/0.34.0 (Debian 12.0.0; x86_64) xterm_");
}

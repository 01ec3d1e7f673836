//! Parses `/proc/PID/stat` (`proc_pid_stat(5)`).

/// What the daemon needs of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    /// The command name. The process chooses it, and it may contain any byte but NUL.
    pub(super) command: &'a [u8],
    /// The time of its start after the boot, in clock ticks.
    pub(super) start_ticks: u64,
}

/// How many fields are between the command name (2) and the start time (22).
const FIELDS_BETWEEN: usize = 19;

/// `None` if it has another form. Only the command name can contain a parenthesis, so the last one
/// closes it.
pub(super) fn parse(stat: &[u8]) -> Option<Stat<'_>> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let command = stat.get(open + 1..close)?;
    let mut fields = stat[close + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let start_ticks = std::str::from_utf8(fields.nth(FIELDS_BETWEEN)?).ok()?.parse().ok()?;
    Some(Stat { command, start_ticks })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fields after the name, of a real process that started 1,747,384 ticks after the boot.
    const REST: &str = " S 1 812 812 0 -1 4194560 1193 41322 3 8 2 1 38 40 20 0 1 0 1747384 8011776 \
        1385 18446744073709551615 1 1 0 0 0 0 65536 3686404 1266761467 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_command_name_contains_anything() {
        for name in ["bash", "tmux: server", "(sd-pam)", "a) R 1 1", ")(", "", "line\nfeed", "\\033[2J\u{1b}"]
        {
            let stat = format!("812 ({name}){REST}");
            let expected = Stat { command: name.as_bytes(), start_ticks: 1_747_384 };
            assert_eq!(parse(stat.as_bytes()), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_forms_are_nothing() {
        for stat in [
            "",
            "812",
            "812 (bash",
            "812 )bash(",
            "812 (bash) S 1 2 3",
            "1 (a) a b c d e f g h i j k l m n o p q r s -1",
        ] {
            assert_eq!(parse(stat.as_bytes()), None, "{stat}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_found(name in proptest::collection::vec(1_u8..=255, 0..16), ticks: u64) {
            let mut stat = b"1 (".to_vec();
            stat.extend(&name);
            stat.extend(format!(") R{} {ticks} 0", " 0".repeat(18)).bytes());
            prop_assert_eq!(parse(&stat), Some(Stat { command: &name, start_ticks: ticks }));
        }

        #[test]
        fn any_bytes_are_read(stat in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(&stat).is_none_or(|parsed| parsed.command.len() < stat.len()));
        }
    }
}

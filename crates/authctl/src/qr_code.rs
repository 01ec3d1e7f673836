//! A QR code (ISO/IEC 18004) as text, for the page of a device login.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code, which readers need.
const QUIET_ZONE: i32 = 4;

/// Black on white, whatever the colours of the terminal are.
pub(crate) const COLOURS: &str = "\x1b[30;107m";

const RESET: &str = "\x1b[0m";

/// The code of a text in lines of half blocks, two modules a character. `None` if it does not fit
/// into the columns and lines.
pub(crate) fn draw(text: &str, columns: usize, lines: usize) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let end = code.size() + QUIET_ZONE;
    let side = usize::try_from(end + QUIET_ZONE).ok()?;
    if side > columns || side.div_ceil(2) > lines {
        return None;
    }
    // A module outside of the code is light.
    let row = |y: i32| {
        let half_blocks =
            (-QUIET_ZONE..end).map(|x| match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            });
        format!("{COLOURS}{}{RESET}\n", half_blocks.collect::<String>())
    };
    Some((-QUIET_ZONE..end).step_by(2).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://as.example/device?user_code=WDJB-MJHT";

    /// The text of each line, without the colours.
    fn rows(drawn: &str) -> Vec<Vec<char>> {
        let strip = |line: &str| line.strip_prefix(COLOURS).unwrap().strip_suffix(RESET).unwrap().to_owned();
        drawn.lines().map(|line| strip(line).chars().collect()).collect()
    }

    #[test]
    fn code_has_its_finder_patterns_inside_a_quiet_zone() {
        let rows = rows(&draw(URL, 80, 24).unwrap());
        let width = rows[0].len();
        assert!(rows.iter().all(|row| row.len() == width) && width == 37 && rows.len() == 19);
        for (number, row) in rows.iter().enumerate() {
            let is_quiet = |c: &char| *c == ' ';
            assert!(row[..4].iter().all(is_quiet) && row[width - 4..].iter().all(is_quiet));
            assert!((2..rows.len() - 2).contains(&number) || row.iter().all(is_quiet));
        }
        let finder: Vec<String> = rows[2..6].iter().map(|row| row[4..11].iter().collect()).collect();
        assert_eq!(finder, ["█▀▀▀▀▀█", "█ ███ █", "█ ▀▀▀ █", "▀▀▀▀▀▀▀"]);
    }

    #[test]
    fn code_that_does_not_fit_is_not_drawn() {
        assert!(draw(URL, 37, 19).is_some());
        assert!(draw(URL, 36, 19).is_none() && draw(URL, 37, 18).is_none());
        assert!(draw(&"x".repeat(5000), 1000, 1000).is_none());
    }
}

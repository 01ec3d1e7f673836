//! Output of a terminal as an SVG. Parts that differ from run to run are replaced.

use std::{fmt::Write as _, num::NonZeroU16};

use vt100::{Color, Parser};

/// Width of a character and height of a line, in pixels, at a font size of 14.
const CELL: (f32, f32) = (8.43, 19.0);
/// Space around the text, in pixels.
const PADDING: f32 = 16.0;
/// The size of the terminal. Its lines are not wrapped; the picture cuts them.
const SIZE: (NonZeroU16, NonZeroU16) = (NonZeroU16::new(60).unwrap(), NonZeroU16::new(8000).unwrap());

/// Characters of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    text: String,
    is_bold: bool,
    color: Option<u8>,
}

/// The lines that a terminal shows after this output.
pub(super) fn screen(output: &[u8]) -> Vec<Vec<Span>> {
    let mut parser = Parser::new(SIZE.0, SIZE.1, 0);
    parser.process(output);
    let screen = parser.screen();
    let line = |row| {
        let mut spans: Vec<Span> = Vec::new();
        for cell in (0..SIZE.1.get()).filter_map(|column| screen.cell(row, column)) {
            let color = match cell.fgcolor() {
                Color::Idx(color) => Some(color),
                _ => None,
            };
            let text = if cell.has_contents() { cell.contents() } else { " " };
            match spans.last_mut() {
                Some(span) if (span.is_bold, span.color) == (cell.bold(), color) => span.text.push_str(text),
                _ => spans.push(Span { text: text.to_owned(), is_bold: cell.bold(), color }),
            }
        }
        for span in &mut spans {
            span.text = constant(&span.text);
        }
        if let Some(last) = spans.last_mut() {
            last.text.truncate(last.text.trim_end().len());
        }
        spans.retain(|span| !span.text.is_empty());
        spans
    };
    let mut lines: Vec<_> = (0..SIZE.0.get()).map(line).collect();
    lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    lines
}

/// The text with fixed ports and times.
fn constant(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some((head, tail)) = text.split_once("127.0.0.1:") {
        text = format!("{head}127.0.0.1:8455{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    // A time is relative, and the clock's in parentheses.
    if let Some((head, tail)) = text.rsplit_once("in ")
        && tail.starts_with(|c: char| c.is_ascii_digit())
        && tail.trim_end().ends_with(')')
    {
        text = format!("{head}in 9 d 23 h (7 Dec 09:00)");
    }
    text
}

/// The lines as an SVG with this many columns. Longer lines are cut.
pub(super) fn render(lines: &[Vec<Span>], columns: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a picture has few lines and columns")]
    let (width, height) = (
        (columns as f32).mul_add(CELL.0, 2.0 * PADDING),
        (lines.len() as f32).mul_add(CELL.1, 2.0 * PADDING),
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>A terminal session with authctl</title>\n<style>\n\
         text {{ font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre; }}\n\
         .b {{ font-weight: bold; fill: #ffffff; }}\n.c1 {{ fill: #ff7b85; }}\n.c2 {{ fill: #8fd694; }}\n.c3 {{ fill: #f0c674; }}\n\
         </style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1d2330\"/>\n"
    );
    let mut y = PADDING + CELL.1 * 0.75;
    for line in lines {
        let mut x = 0;
        let mut cut = String::new();
        for span in line {
            let room = columns.saturating_sub(x);
            let length = span.text.chars().count();
            let mut text: String = span.text.chars().take(room).collect();
            if length > room && room > 0 {
                text.pop();
                text.push('…');
            }
            if !text.trim().is_empty() {
                let class = match (span.color, span.is_bold) {
                    (Some(color), _) => format!(" class=\"c{color}\""),
                    (None, true) => " class=\"b\"".to_owned(),
                    (None, false) => String::new(),
                };
                #[expect(clippy::cast_precision_loss, reason = "a line has few columns")]
                let left = (x as f32).mul_add(CELL.0, PADDING);
                let _ = write!(cut, "<tspan x=\"{left:.1}\"{class}>{}</tspan>", escaped(&text));
            }
            x += length;
        }
        if !cut.is_empty() {
            let _ = writeln!(svg, "<text y=\"{y:.1}\">{cut}</text>");
        }
        y += CELL.1;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwritten_lines_and_colours_are_shown_as_a_terminal_does() {
        let lines = screen(b"waiting\r\x1b[K\x1b[32mok\x1b[0m done  \r\n\r\nlast");
        let green = Span { text: "ok".to_owned(), is_bold: false, color: Some(2) };
        let plain = |text: &str| Span { text: text.to_owned(), ..Span::default() };
        assert_eq!(lines, [vec![green, plain(" done")], vec![], vec![plain("last")]]);
    }

    #[test]
    fn volatile_parts_are_constant() {
        assert_eq!(constant("at http://127.0.0.1:9/a"), "at http://127.0.0.1:8455/a");
        assert_eq!(constant("ready  in 10 d (17 Dec 21:28) "), "ready  in 9 d 23 h (7 Dec 09:00)");
        assert_eq!(constant("Signed in as a (b)"), "Signed in as a (b)");
    }

    #[test]
    fn long_lines_are_cut() {
        let svg = render(&screen(b"a<b&cdef"), 6);
        assert!(svg.contains(">a&lt;b&amp;c…</tspan>"), "{svg}");
    }
}

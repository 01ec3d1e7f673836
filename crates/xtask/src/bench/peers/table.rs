//! The figures of several programs side by side, as a Markdown table.

use serde_json::{Value, json};

use crate::bench::metric::Samples;

/// Which figure is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
}

/// What a program did.
#[derive(Clone)]
pub(super) enum Figure {
    Measured(Samples),
    /// The program cannot do this; what happened instead.
    Instead(String),
}

/// One line of a table: the same work by several programs.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    /// The figure of each program, in the order of the table. The first program is authd.
    pub(super) figures: Vec<Figure>,
}

impl Line {
    /// The median of the rounds' ratios of a program to authd.
    fn ratio(&self, index: usize) -> Option<f64> {
        match (self.figures.first()?, self.figures.get(index)?) {
            // A ratio to nothing says nothing.
            (Figure::Measured(authd), Figure::Measured(other)) if index > 0 && authd.median() > 0.0 => {
                Some(other.ratio_to(authd))
            }
            _ => None,
        }
    }

    /// The programs with the best median.
    fn best(&self, programs: &[&str]) -> String {
        let median = |figure: &Figure| match figure {
            Figure::Measured(samples) if self.better == Better::Lower => samples.median(),
            Figure::Measured(samples) => -samples.median(),
            Figure::Instead(_) => f64::INFINITY,
        };
        let medians: Vec<_> = self.figures.iter().map(median).collect();
        let best = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let named = programs.iter().zip(medians).filter(|(_, median)| *median <= best);
        named.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn cell(&self, index: usize) -> String {
        match (&self.figures[index], self.ratio(index)) {
            (Figure::Instead(text), _) => text.clone(),
            (Figure::Measured(samples), None) => samples.display(self.unit),
            (Figure::Measured(samples), Some(ratio)) => {
                format!("{}: {} × authd", samples.display(self.unit), short(ratio))
            }
        }
    }

    pub(super) fn to_json(&self, programs: &[&str]) -> Value {
        let figures = self.figures.iter().map(|figure| match figure {
            Figure::Measured(samples) => json!(samples.rounds()),
            Figure::Instead(text) => json!(text),
        });
        let figures: serde_json::Map<_, _> =
            programs.iter().map(|name| (*name).to_owned()).zip(figures).collect();
        json!({"what": self.name, "unit": self.unit, "best": self.best(programs), "figures": figures})
    }
}

fn short(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

/// A table with a column for each program.
pub(super) fn table(programs: &[&str], lines: &[Line]) -> String {
    let mut text =
        format!("| | {} | best |\n|---{}|---|\n", programs.join(" | "), "|---".repeat(programs.len()));
    for line in lines {
        let cells: Vec<_> = (0..line.figures.len()).map(|index| line.cell(index)).collect();
        text += &format!("| {} | {} | {} |\n", line.name, cells.join(" | "), line.best(programs));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(better: Better) -> Line {
        let samples = |rounds: &[f64]| Figure::Measured(rounds.iter().copied().collect());
        let instead = Figure::Instead("signed out".to_owned());
        let figures = vec![samples(&[10.0, 20.0, 30.0]), samples(&[20.0, 30.0, 30.0]), instead];
        Line { name: "read".to_owned(), unit: "µs", better, figures }
    }

    #[test]
    fn line_has_ratios_to_authd_and_names_the_best_program() {
        let table = table(&["authd", "peer", "other"], &[line(Better::Lower), line(Better::Higher)]);
        let rows: Vec<_> = table.lines().collect();
        assert_eq!(rows[0], "| | authd | peer | other | best |");
        assert_eq!(
            rows[2],
            "| read | 20.0 µs (10.0–30.0) | 30.0 µs (20.0–30.0): 1.50 × authd | signed out | authd |"
        );
        assert!(rows[3].ends_with("| peer |"), "{}", rows[3]);
        let mut equal = line(Better::Lower);
        equal.figures[1] = equal.figures[0].clone();
        assert_eq!(equal.best(&["authd", "peer", "other"]), "authd, peer");
    }
}

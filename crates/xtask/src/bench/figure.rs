//! A figure: what was measured in each round, of ours and of what it is compared with, and what it should
//! have been. Medians throughout: one disturbed round changes nothing.

use std::fmt::Write;

use serde_json::{Value, json};

/// What each round measured.
#[derive(Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Ours divided by the other is at most this.
    RatioAtMost(f64),
    /// Ours divided by the other is at least this.
    RatioAtLeast(f64),
    /// Ours is at most this, in the figure's unit.
    AtMost(f64),
    /// Nothing was asked for; it explains another figure.
    Nothing,
}

/// One line of the table.
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    ours: Rounds,
    /// What it is compared with, and its rounds.
    beside: Option<(&'static str, Rounds)>,
    target: Target,
}

impl Rounds {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn shown(&self, unit: &str) -> String {
        let number = |value: f64| match value.abs() {
            small if small < 10.0 => format!("{value:.2}"),
            small if small < 1_000.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        };
        if self.0.len() < 2 {
            return format!("{} {unit}", number(self.median()));
        }
        format!("{} {unit} ({}–{})", number(self.median()), number(self.least()), number(self.most()))
    }
}

impl From<f64> for Rounds {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl Figure {
    /// A figure that stands alone.
    pub(crate) fn alone(what: impl Into<String>, unit: &'static str, ours: Rounds, most: f64) -> Self {
        Self { what: what.into(), unit, ours, beside: None, target: Target::AtMost(most) }
    }

    /// The same, and it is only told.
    #[must_use]
    pub(crate) fn only_told(self) -> Self {
        Self { target: Target::Nothing, ..self }
    }

    /// A figure beside another, measured in turns with it.
    pub(crate) fn beside(
        what: impl Into<String>,
        unit: &'static str,
        ours: Rounds,
        (name, other): (&'static str, Rounds),
        target: Target,
    ) -> Self {
        Self { what: what.into(), unit, ours, beside: Some((name, other)), target }
    }

    /// The median of the rounds' ratios: what disturbed a round disturbed both.
    fn ratio(&self) -> Option<f64> {
        let (_, other) = self.beside.as_ref()?;
        let ratios = self.ours.0.iter().zip(&other.0).map(|(ours, other)| ours / other);
        Some(Rounds(ratios.collect()).median())
    }

    fn is_met(&self) -> bool {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.target {
            Target::RatioAtMost(most) => ratio <= most,
            Target::RatioAtLeast(least) => ratio >= least,
            Target::AtMost(most) => self.ours.median() <= most,
            Target::Nothing => true,
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::RatioAtMost(most) => format!("≤ {most} ×"),
            Target::RatioAtLeast(least) => format!("≥ {least} ×"),
            Target::AtMost(most) => format!("≤ {most} {}", self.unit),
            Target::Nothing => String::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            Target::Nothing => "",
            _ if self.is_met() => "met",
            _ => "missed",
        }
    }

    /// The figure for programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours.0,
            "beside": self.beside.as_ref().map(|(name, rounds)| json!({"name": name, "rounds": rounds.0})),
            "ratio": self.ratio(),
            "target": self.target(),
            "met": self.is_met(),
        })
    }
}

/// The figures as a table, which people and Markdown both read.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = "| what | ours | beside it | ratio | target | |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let beside = figure.beside.as_ref();
        let beside = beside.map(|(name, rounds)| format!("{name}: {}", rounds.shown(figure.unit)));
        let ratio = figure.ratio().map(|ratio| format!("{ratio:.2}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            figure.what,
            figure.ours.shown(figure.unit),
            beside.unwrap_or_default(),
            ratio.unwrap_or_default(),
            figure.target(),
            figure.verdict(),
        );
    }
    text
}

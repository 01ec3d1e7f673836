//! A metric: the samples of authd, those of a baseline, and the target. Results are medians, so
//! that one disturbed round does not change them.

use std::fmt::Write;

use serde_json::{Value, json};

/// The measured values, one for each round.
#[derive(Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

/// The target of a metric.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Upper bound of authd divided by the baseline.
    RatioAtMost(f64),
    /// Lower bound of authd divided by the baseline.
    RatioAtLeast(f64),
    /// Upper bound of authd, in the unit of the metric.
    AtMost(f64),
    /// No target: the metric explains another one.
    Informative,
}

/// One line of the table.
pub(crate) struct Metric {
    name: String,
    unit: &'static str,
    samples: Samples,
    /// The name and the samples of the baseline.
    baseline: Option<(&'static str, Samples)>,
    target: Target,
}

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn minimum(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn maximum(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    pub(crate) fn rounds(&self) -> &[f64] {
        &self.0
    }

    /// The median of the ratios of all rounds: a disturbance of a round affects both programs.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        Self(self.0.iter().zip(&other.0).map(|(ours, other)| ours / other).collect()).median()
    }

    pub(crate) fn display(&self, unit: &str) -> String {
        let number = |value: f64| match value.abs() {
            small if small < 10.0 => format!("{value:.2}"),
            small if small < 1_000.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        };
        if self.0.len() < 2 {
            return format!("{} {unit}", number(self.median()));
        }
        format!("{} {unit} ({}–{})", number(self.median()), number(self.minimum()), number(self.maximum()))
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(rounds: I) -> Self {
        Self(rounds.into_iter().collect())
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl Metric {
    /// A metric without a baseline.
    pub(crate) fn single(name: impl Into<String>, unit: &'static str, samples: Samples, limit: f64) -> Self {
        Self { name: name.into(), unit, samples, baseline: None, target: Target::AtMost(limit) }
    }

    /// Removes the target.
    #[must_use]
    pub(crate) fn informative(self) -> Self {
        Self { target: Target::Informative, ..self }
    }

    /// A metric with a baseline. Both were measured in turns.
    pub(crate) fn compared(
        name: impl Into<String>,
        unit: &'static str,
        samples: Samples,
        baseline: (&'static str, Samples),
        target: Target,
    ) -> Self {
        Self { name: name.into(), unit, samples, baseline: Some(baseline), target }
    }

    fn ratio(&self) -> Option<f64> {
        let (_, baseline) = self.baseline.as_ref()?;
        Some(self.samples.ratio_to(baseline))
    }

    fn is_met(&self) -> bool {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.target {
            Target::RatioAtMost(limit) => ratio <= limit,
            Target::RatioAtLeast(limit) => ratio >= limit,
            Target::AtMost(limit) => self.samples.median() <= limit,
            Target::Informative => true,
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::RatioAtMost(limit) => format!("≤ {limit} ×"),
            Target::RatioAtLeast(limit) => format!("≥ {limit} ×"),
            Target::AtMost(limit) => format!("≤ {limit} {}", self.unit),
            Target::Informative => String::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            Target::Informative => "",
            _ if self.is_met() => "met",
            _ => "missed",
        }
    }

    /// The metric as JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "what": self.name,
            "unit": self.unit,
            "ours": self.samples.0,
            "beside": self.baseline.as_ref().map(|(name, samples)| json!({"name": name, "rounds": samples.0})),
            "ratio": self.ratio(),
            "target": self.target(),
            "met": self.is_met(),
        })
    }
}

/// The metrics as a Markdown table.
pub(crate) fn table(metrics: &[Metric]) -> String {
    let mut text = "| metric | authd | baseline | ratio | target | |\n|---|---|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let baseline = metric.baseline.as_ref();
        let baseline = baseline.map(|(name, samples)| format!("{name}: {}", samples.display(metric.unit)));
        let ratio = metric.ratio().map(|ratio| format!("{ratio:.2}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            metric.name,
            metric.samples.display(metric.unit),
            baseline.unwrap_or_default(),
            ratio.unwrap_or_default(),
            metric.target(),
            metric.verdict(),
        );
    }
    text
}

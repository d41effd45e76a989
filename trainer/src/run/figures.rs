//! Figures of a run by name, and their sums over an epoch.

use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Named values in the order in which logs, tables and plots show them.
///
/// In JSON they are one object. A whole number is written without a fraction. Members that are no
/// numbers are skipped when figures are read.
///
/// ```
/// use sparsecode_trainer::run::Figures;
///
/// let figures = Figures::from([("psnr", 17.25), ("dead_atoms", 3.0)]);
/// assert_eq!(figures["psnr"], 17.25);
/// assert_eq!(figures.get("energy"), None);
/// let text = serde_json::to_string(&figures).unwrap();
/// assert_eq!(text, r#"{"psnr":17.25,"dead_atoms":3}"#);
/// assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), figures);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<(Cow<'static, str>, f64)>);

impl Figures {
    /// No figures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a figure, or gives an old one another value.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value of a figure.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| *value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The first figure that is not finite.
    pub fn not_finite(&self) -> Option<&str> {
        let found = self.iter().find(|(_, value)| !value.is_finite());
        found.map(|(name, _)| name)
    }
}

impl<N: Into<Cow<'static, str>>, const COUNT: usize> From<[(N, f64); COUNT]> for Figures {
    fn from(figures: [(N, f64); COUNT]) -> Self {
        figures.into_iter().collect()
    }
}

impl<N: Into<Cow<'static, str>>> FromIterator<(N, f64)> for Figures {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(figures: I) -> Self {
        let mut all = Self::new();
        for (name, value) in figures {
            all.set(name, value);
        }
        all
    }
}

impl Index<&str> for Figures {
    type Output = f64;

    /// The value of a figure that is known to be there.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    fn index(&self, name: &str) -> &f64 {
        match self.0.iter().find(|(other, _)| other == name) {
            Some((_, value)) => value,
            None => panic!("no figure '{name}' among {self:?}"),
        }
    }
}

/// Numbers up to this one are whole without a doubt: 2^53.
const WHOLE: f64 = 9_007_199_254_740_992.0;

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            match value.fract() == 0.0 && value.abs() < WHOLE {
                true => map.serialize_entry(name, &(*value as i64))?,
                false => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Figures;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of figures")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Figures, M::Error> {
                let mut figures = Figures::new();
                // JSON's own type: it knows a number however the parser hands numbers on.
                while let Some((name, member)) = map.next_entry::<String, Value>()? {
                    if let Some(value) = member.as_f64() {
                        figures.set(name, value);
                    }
                }
                Ok(figures)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// What a step adds to a figure of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// The figure is the sum of all `sum` over the sum of all `weight`.
    Mean {
        /// What is added above the line.
        sum: f64,
        /// What is added below it.
        weight: f64,
    },
    /// The figure is the smallest of these.
    Smallest(f64),
}

impl Share {
    /// One value, weighted like those of all other steps.
    pub fn of(value: f64) -> Self {
        Self::Mean {
            sum: value,
            weight: 1.0,
        }
    }

    fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Mean { sum, weight }, Self::Mean { sum: s, weight: w }) => {
                *sum += s;
                *weight += w;
            }
            (Self::Smallest(least), Self::Smallest(value)) => *least = least.min(value),
            // A figure keeps its kind.
            (kept, other) => *kept = other,
        }
    }

    fn value(self) -> f64 {
        match self {
            Self::Mean { sum, weight } => sum / if weight == 0.0 { 1.0 } else { weight },
            Self::Smallest(value) => value,
        }
    }
}

/// What one step adds to the figures of its epoch, in their order.
pub type StepFigures = Vec<(&'static str, Share)>;

/// The figures of an epoch so far. A checkpoint holds them, so that a resumed epoch reports the
/// figures of an uninterrupted one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    figures: Vec<(String, Share)>,
    /// Wall time.
    pub(super) seconds: f64,
}

impl EpochSums {
    /// Sums of an epoch that has taken so many seconds.
    pub(crate) fn new(
        figures: impl IntoIterator<Item = (&'static str, Share)>,
        seconds: f64,
    ) -> Self {
        let named = |(name, share): (&str, Share)| (name.to_owned(), share);
        Self {
            figures: figures.into_iter().map(named).collect(),
            seconds,
        }
    }

    pub(super) fn add(&mut self, step: StepFigures) {
        for (name, share) in step {
            match self.figures.iter_mut().find(|(other, _)| other == name) {
                Some((_, sum)) => sum.add(share),
                None => self.figures.push((name.to_owned(), share)),
            }
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let values = self.figures.iter();
        values
            .map(|(name, share)| (name.clone(), share.value()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_weighted_means_and_minima() {
        let mut sums = EpochSums::default();
        let share = |sum, weight| Share::Mean { sum, weight };
        sums.add(vec![("a", share(3.0, 2.0)), ("b", Share::of(5.0))]);
        sums.add(vec![("a", share(6.0, 1.0)), ("c", Share::Smallest(0.5))]);
        sums.add(vec![("c", Share::Smallest(0.25)), ("b", Share::of(7.0))]);
        let figures = sums.figures();
        assert_eq!(
            figures,
            Figures::from([("a", 3.0), ("b", 6.0), ("c", 0.25)])
        );
        let text = serde_json::to_string(&sums).unwrap();
        assert_eq!(serde_json::from_str::<EpochSums>(&text).unwrap(), sums);
    }

    #[test]
    fn members_that_are_no_numbers_are_skipped() {
        let text = r#"{"codes":"encoder","noise":null,"psnr":1.5,"samples":7,"list":[1]}"#;
        let figures: Figures = serde_json::from_str(text).unwrap();
        assert_eq!(figures, Figures::from([("psnr", 1.5), ("samples", 7.0)]));
        assert_eq!(figures.not_finite(), None);
        let odd = Figures::from([("x", 1.0), ("y", f64::NAN)]);
        assert_eq!(odd.not_finite(), Some("y"));
        let mut figures = figures;
        figures.set("psnr", -2.0);
        assert_eq!(
            serde_json::to_string(&figures).unwrap(),
            r#"{"psnr":-2,"samples":7}"#
        );
    }

    #[test]
    #[should_panic(expected = "no figure 'energy'")]
    fn a_figure_that_is_not_there_is_named() {
        let _ = Figures::new()["energy"];
    }
}

//! What a column of numbers looks like: a signal, or a time axis, an index, a constant.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A column by its position, from 0, or by its name in the first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// Position, from 0.
    Index(usize),
    /// Name in the first line.
    Name(String),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl From<&str> for Column {
    /// A number is a position, anything else a name.
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.to_owned()), Self::Index)
    }
}

/// What a column looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    /// Numbers from the smallest to the largest one; missing ones apart.
    Values {
        /// The smallest one.
        low: f64,
        /// The largest one.
        high: f64,
    },
    /// Integers that rise by 1.
    Counter {
        /// The first one.
        first: f64,
    },
    /// Numbers that rise by the same step, as a time axis does.
    Even {
        /// From one to the next.
        step: f64,
    },
    /// Numbers that do not turn round, as an uneven time axis does not.
    Monotonic {
        /// They rise, and do not fall.
        rises: bool,
    },
    /// One number throughout.
    Constant(f64),
    /// Dates and times of day.
    Stamps,
    /// Words.
    Text,
    /// Nothing.
    Empty,
}

impl Look {
    /// Fewer values than this may do anything.
    const FEW: usize = 3;
    /// So many values of a signal turn round.
    const MANY: usize = 20;

    /// Looks at numbers; those that are not finite are missing.
    pub(super) fn of(values: &[f64]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min);
        let high = finite().fold(f64::NEG_INFINITY, f64::max);
        let whole = finite().count() == values.len() && values.len() >= Self::FEW;
        if low > high {
            Self::Empty
        } else if !whole {
            Self::uneven(values, low, high)
        } else if low == high {
            Self::Constant(low)
        } else if values.windows(2).all(|pair| pair[1] - pair[0] == 1.0) {
            Self::Counter { first: values[0] }
        } else {
            let step = (values[values.len() - 1] - values[0]) / (values.len() - 1) as f64;
            // Written with few digits, times are off their grid by some of a step.
            let on_grid = |(index, &value): (usize, &f64)| {
                (value - (values[0] + index as f64 * step)).abs() <= 0.1 * step
            };
            match step > 0.0 && values.iter().enumerate().all(on_grid) {
                true => Self::Even { step },
                false => Self::uneven(values, low, high),
            }
        }
    }

    /// The look of numbers that do not rise by the same step.
    fn uneven(values: &[f64], low: f64, high: f64) -> Self {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let strictly = finite.windows(2).all(|pair| pair[0] != pair[1]);
        match direction(&finite) {
            Some(rises) if strictly && finite.len() >= Self::MANY => Self::Monotonic { rises },
            _ => Self::Values { low, high },
        }
    }

    /// Whether this may be a signal: neither time nor index, not constant, and numbers.
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Values { .. })
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Values { low, high } => write!(f, "{} to {}", short(low), short(high)),
            Self::Counter { first } => write!(
                f,
                "counts {}, {}, {}, …: looks like an index",
                short(first),
                short(first + 1.0),
                short(first + 2.0)
            ),
            Self::Even { step } => {
                write!(f, "rises evenly by {}: looks like time", short(step))
            }
            Self::Monotonic { rises: true } => f.write_str("only rises: looks like time"),
            Self::Monotonic { rises: false } => {
                f.write_str("only falls: looks like time or a counter")
            }
            Self::Constant(value) => write!(f, "is {} throughout", short(value)),
            Self::Stamps => f.write_str("time stamps"),
            Self::Text => f.write_str("text"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

/// A number in at most five digits.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let whole = if size < 1.0 {
        0
    } else {
        size.log10().floor() as usize + 1
    };
    let places = match size {
        s if s != 0.0 && s < 1.0 => (4.0 - s.log10().floor() - 1.0) as usize,
        _ => 5usize.saturating_sub(whole),
    };
    let text = format!("{value:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// Whether numbers only rise or only fall; those that are not finite are missing. `None`: they
/// turn round, or all are the same.
pub(super) fn direction(values: &[f64]) -> Option<bool> {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let rises = finite.windows(2).all(|pair| pair[0] <= pair[1]);
    let falls = finite.windows(2).all(|pair| pair[0] >= pair[1]);
    (finite.len() >= Look::FEW && rises != falls).then_some(rises)
}

const TIMES: [&str; 8] = [
    "t", "time", "zeit", "temps", "tiempo", "tempo", "tijd", "elapsed",
];

/// Whether a column is named time.
pub(super) fn is_time(name: &str) -> bool {
    let lower = name.trim().to_lowercase();
    let base = lower.split(['(', '[', '{', '/', '_', ' ', ',', ':']).next();
    seconds_per_unit(name, None).is_some()
        || base.is_some_and(|base| TIMES.contains(&base) || base == "timestamp")
}

/// Seconds in a unit of time, by a column's name and the unit that stands under it. `None`: not
/// known to be time.
///
/// `exact` says that the unit is named, and not only that the column is called time.
pub(super) fn seconds_per_unit(name: &str, unit: Option<&str>) -> Option<(f64, bool)> {
    let unit_of = |text: &str| {
        Some(match text.trim().to_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" | "sekunden" => 1.0,
            "ms" | "msec" | "millisecond" | "milliseconds" => 1e-3,
            "us" | "µs" | "μs" | "usec" | "microsecond" | "microseconds" => 1e-6,
            "ns" | "nsec" | "nanosecond" | "nanoseconds" => 1e-9,
            _ => return None,
        })
    };
    let bare = |text: &str| {
        let signs = ['(', ')', '[', ']', '{', '}', '<', '>', ' '];
        text.trim_matches(signs).to_string()
    };
    if let Some(exact) = unit_of(name) {
        return Some((exact, true));
    }
    let lower = name.trim().to_lowercase();
    let split = lower.find(['(', '[', '{', '/', '_', ' ', ',', ':']);
    let (base, own) = match split {
        Some(at) => {
            let sign = lower[at..].chars().next().map_or(1, char::len_utf8);
            // An opening bracket may follow the sign: "time / (ms)".
            (lower[..at].trim(), Some(bare(&lower[at + sign..])))
        }
        None => (lower.as_str(), None),
    };
    if !TIMES.contains(&base) {
        return None;
    }
    match unit.map(bare).or(own).filter(|unit| !unit.is_empty()) {
        Some(unit) => unit_of(&unit).map(|seconds| (seconds, true)),
        None => Some((1.0, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_told_apart() {
        let look = |values: &[f64]| Look::of(values).to_string();
        assert_eq!(look(&[0.5, -3.25, 3.0, 1.0]), "-3.25 to 3");
        assert_eq!(
            look(&[5.0, 6.0, 7.0]),
            "counts 5, 6, 7, …: looks like an index"
        );
        // Time at 12 kHz in microseconds, rounded.
        let times: Vec<f64> = (0..1000)
            .map(|t| (f64::from(t) / 12e3 * 1e6).round() / 1e6)
            .collect();
        assert!(
            matches!(Look::of(&times), Look::Even { .. }),
            "{}",
            look(&times)
        );
        let mut gap = times.clone();
        gap.iter_mut().skip(500).for_each(|t| *t += 0.001);
        assert_eq!(look(&gap), "only rises: looks like time");
        gap.reverse();
        assert!(!Look::of(&gap).is_signal());
        gap[500] = gap[502];
        assert!(Look::of(&gap).is_signal());
        assert_eq!(look(&[2.0, 2.0, 2.0]), "is 2 throughout");
        assert_eq!(look(&[f64::NAN, f64::NAN]), "empty");
        assert_eq!(look(&[0.0, 1.0, f64::NAN]), "0 to 1");
        assert!(!Look::of(&[0.0, 1.0, 2.0]).is_signal());
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (-3.2, "-3.2"),
            (8.333_333e-5, "8.333e-5"),
            (0.001234567, "0.001235"),
            (12_000.0, "12000"),
            (123_456.7, "123457"),
            (100.0, "100"),
            (1e9, "1.000e9"),
            (1.0 / 3.0, "0.3333"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn units_of_time_are_read_from_names_and_unit_lines() {
        for (name, unit, expected) in [
            ("time", None, Some((1.0, false))),
            ("t", None, Some((1.0, false))),
            ("Time (ms)", None, Some((1e-3, true))),
            ("time_us", None, Some((1e-6, true))),
            ("Zeit [s]", None, Some((1.0, true))),
            ("seconds", None, Some((1.0, true))),
            ("t/s", None, Some((1.0, true))),
            ("time", Some("(ms)"), Some((1e-3, true))),
            ("time", Some("min"), None),
            ("time of day", None, None),
            ("accel", None, None),
            ("torque", None, None),
        ] {
            assert_eq!(seconds_per_unit(name, unit), expected, "{name}");
        }
    }
}

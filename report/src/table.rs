//! Figures for people: aligned tables as plain text or Markdown, and numbers with their units.

use std::fmt;
use std::time::Duration;

/// A table that lines up its columns. A column whose cells are all numbers (with or without a unit)
/// is right-aligned.
///
/// ```
/// use sparsecode_report::table::{Table, decibels, percent};
///
/// let table = Table::new(["patches", "PSNR", "zeros"])
///     .row(["noisy".into(), decibels(14.148), String::new()])
///     .row(["denoised".into(), decibels(21.9), percent(0.873)]);
/// assert_eq!(
///     table.to_string(),
///     "patches       PSNR   zeros\n\
///      --------  --------  ------\n\
///      noisy     14.15 dB\n\
///      denoised  21.90 dB  87.3 %\n"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows yet.
    pub fn new<T: Into<String>>(headers: impl IntoIterator<Item = T>) -> Self {
        Self {
            headers: headers.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row and hands the table on.
    ///
    /// # Panics
    /// If the row has more or fewer cells than there are headers; an empty string is an empty cell.
    #[must_use]
    pub fn row<T: Into<String>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row.
    ///
    /// # Panics
    /// As [`Table::row`].
    pub fn push<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(
            cells.len(),
            self.headers.len(),
            "a row needs a cell for each header"
        );
        self.rows.push(cells);
    }

    /// The same table in Markdown, readable as source too.
    ///
    /// ```
    /// use sparsecode_report::table::Table;
    ///
    /// let table = Table::new(["file", "size"]).row(["a|b", "12 B"]);
    /// assert_eq!(table.markdown(), "| file | size |\n|------|-----:|\n| a\\|b | 12 B |\n");
    /// ```
    pub fn markdown(&self) -> String {
        let escaped = Self {
            headers: self.headers.iter().map(|cell| escape(cell)).collect(),
            rows: self
                .rows
                .iter()
                .map(|row| row.iter().map(|cell| escape(cell)).collect())
                .collect(),
        };
        let columns = escaped.columns();
        let mut text = markdown_line(&escaped.headers, &columns);
        for column in &columns {
            let end = if column.right { ':' } else { '-' };
            text += &format!("|{}{end}", "-".repeat(column.width + 1));
        }
        text += "|\n";
        for row in &escaped.rows {
            text += &markdown_line(row, &columns);
        }
        text
    }

    fn columns(&self) -> Vec<Column> {
        self.headers
            .iter()
            .enumerate()
            .map(|(index, header)| {
                let cells = || self.rows.iter().map(|row| row[index].as_str());
                Column {
                    width: cells().map(width).max().unwrap_or(0).max(width(header)),
                    right: cells().any(is_number)
                        && cells().all(|cell| is_number(cell) || is_blank(cell)),
                }
            })
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let mut line = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().zip(&columns).map(|(c, k)| k.pad(c)).collect();
            writeln!(formatter, "{}", cells.join("  ").trim_end())
        };
        line(&self.headers)?;
        let rules: Vec<_> = columns.iter().map(|c| "-".repeat(c.width)).collect();
        line(&rules)?;
        self.rows.iter().try_for_each(|row| line(row))
    }
}

struct Column {
    width: usize,
    right: bool,
}

impl Column {
    fn pad(&self, cell: &str) -> String {
        let space = " ".repeat(self.width - width(cell));
        if self.right {
            space + cell
        } else {
            cell.to_owned() + &space
        }
    }
}

fn markdown_line(cells: &[String], columns: &[Column]) -> String {
    let mut line = String::new();
    for (cell, column) in cells.iter().zip(columns) {
        line += &format!("| {} ", column.pad(cell));
    }
    line + "|\n"
}

fn escape(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

/// Columns on a terminal, as one a character: no wide scripts are written here.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn is_blank(cell: &str) -> bool {
    matches!(cell, "" | "-" | "–" | "—" | "n/a")
}

/// A number, perhaps with a sign before and a unit after it.
fn is_number(cell: &str) -> bool {
    let number = cell.trim_start_matches(['+', '-', '−', '±', '<', '>', '~', '≈', '≤', '≥', ' ']);
    let digits = number.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
    let unit = match number.strip_prefix('∞') {
        Some(unit) => unit,
        None if number.starts_with(|c: char| c.is_ascii_digit()) => digits,
        None => return matches!(number, "NaN" | "inf"),
    };
    let exponent = unit
        .strip_prefix('e')
        .is_some_and(|power| power.parse::<i32>().is_ok());
    let unit = unit.trim_start();
    exponent || (width(unit) <= 6 && !unit.contains(|c: char| c.is_ascii_digit() || c == ' '))
}

/// A number of any size with three decimals, or, where these would take more than ten columns, as a
/// power of ten.
///
/// ```
/// use sparsecode_report::table::figure;
///
/// assert_eq!(figure(59.3012), "59.301");
/// assert_eq!(figure(9.86e11), "9.860e11");
/// ```
pub fn figure(value: f64) -> String {
    let plain = format!("{value:.3}");
    if plain.len() <= 10 {
        plain
    } else {
        format!("{value:.3e}")
    }
}

/// A whole number in groups of three digits: `1,234,567`.
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes, exactly: `108,024 B`. Kilobytes are left to the reader, who may mean 1000 or
/// 1024.
pub fn bytes(value: u64) -> String {
    format!("{} B", thousands(value))
}

/// A fraction in percent with one decimal: 0.873 is `87.3 %`; `n/a` for NaN.
pub fn percent(fraction: f64) -> String {
    number(fraction * 100.0, 1, "%")
}

/// A level in decibels with two decimals: `21.90 dB`; `∞ dB` for a perfect reconstruction, `n/a`
/// for NaN.
pub fn decibels(value: f64) -> String {
    number(value, 2, "dB")
}

fn number(value: f64, decimals: usize, unit: &str) -> String {
    if value.is_nan() {
        return "n/a".into();
    }
    if value.is_infinite() {
        return format!("{}∞ {unit}", if value < 0.0 { "-" } else { "" });
    }
    let text = format!("{value:.decimals$}");
    // What rounds to nothing has no sign.
    let text = match text.strip_prefix('-') {
        Some(rest) if !rest.contains(|c: char| ('1'..='9').contains(&c)) => rest,
        _ => &text,
    };
    format!("{text} {unit}")
}

/// A duration in the unit that suits it, to three figures: `12.3 µs`, `4.56 ms`, `7.89 s`, `2 min
/// 05 s`, `3 h 07 min`.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs_f64();
    // Limits are where the three figures would round up into the next unit.
    for (factor, unit) in [(1e9, "ns"), (1e6, "µs"), (1e3, "ms"), (1.0, "s")] {
        let scaled = seconds * factor;
        let limit = if unit == "s" { 59.95 } else { 999.5 };
        if scaled < limit {
            let decimals = match scaled {
                _ if unit == "ns" => 0,
                s if s < 9.995 => 2,
                s if s < 99.95 => 1,
                _ => 0,
            };
            return format!("{scaled:.decimals$} {unit}");
        }
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = (seconds / 60.0).round() as u64;
    format!("{} h {:02} min", thousands(minutes / 60), minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_right_aligned() {
        let text = Table::new(["model", "λ", "PSNR", "flash", "dims"])
            .row(["mnist/vdl", "0.02", "9.50 dB", "108,024 B", "28x28"])
            .row(["do", "0.005", "n/a", "", "64"])
            .to_string();
        let expected = [
            "model          λ     PSNR      flash  dims",
            "---------  -----  -------  ---------  -----",
            "mnist/vdl   0.02  9.50 dB  108,024 B  28x28",
            "do         0.005      n/a             64",
            "",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn markdown_has_one_bar_more_than_columns_in_every_line() {
        let text = Table::new(["a", "value"])
            .row(["x\ny", "-1.5"])
            .row(["z", "1e-3"])
            .markdown();
        let expected = [
            "| a   | value |",
            "|-----|------:|",
            "| x y |  -1.5 |",
            "| z   |  1e-3 |",
            "",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(["a", "bc"]).to_string(), "a  bc\n-  --\n");
    }

    #[test]
    #[should_panic(expected = "a cell for each header")]
    fn a_short_row_is_refused() {
        let _ = Table::new(["a", "b"]).row(["1"]);
    }

    #[test]
    fn what_counts_as_a_number() {
        for cell in [
            "1", "-1.5", "+0.2 dB", "< 1 ms", "1,024 B", "87.3 %", "2e-5", "∞ dB", "NaN",
        ] {
            assert!(is_number(cell), "{cell}");
        }
        for cell in [
            "",
            "28x28",
            "i8",
            "64 x 64",
            "2 min 05 s",
            "mnist/vdl",
            "-",
            "e5",
        ] {
            assert!(!is_number(cell), "{cell}");
        }
    }

    #[test]
    fn units() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(bytes(1_234_567), "1,234,567 B");
        assert_eq!(percent(0.8734), "87.3 %");
        assert_eq!(percent(f64::NAN), "n/a");
        assert_eq!(decibels(21.896), "21.90 dB");
        assert_eq!(decibels(-0.001), "0.00 dB");
        assert_eq!(decibels(-0.01), "-0.01 dB");
        assert_eq!(decibels(f64::INFINITY), "∞ dB");
    }

    #[test]
    fn durations_keep_three_figures_across_units() {
        let cases = [
            (0.0, "0 ns"),
            (640e-9, "640 ns"),
            (999.6e-9, "1.00 µs"),
            (12.34e-6, "12.3 µs"),
            (0.004_56, "4.56 ms"),
            (0.099_96, "100 ms"),
            (7.891, "7.89 s"),
            (59.96, "1 min 00 s"),
            (125.2, "2 min 05 s"),
            (3599.8, "1 h 00 min"),
            (11_220.0, "3 h 07 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
    }
}

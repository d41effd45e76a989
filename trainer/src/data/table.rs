//! Text tables: columns of numbers in a `.csv`, as instruments, spreadsheets and data frames write
//! them.

use std::ops::Range;
use std::path::Path;

use super::channel::{Channel, Hints};
use super::dialect::{
    Cell, Decimal, Delimiter, Dialect, Record, Scan, Unclear, cell, dialect, drop_last_delimiters,
    head_length, number, scan, usual_count,
};
use super::error::DataError;
use super::look::{Column, Look, seconds_per_unit};

/// A table's text, and what is needed to write it again with other numbers.
#[derive(Clone, Debug)]
pub(super) struct Table {
    text: String,
    encoding: Encoding,
    dialect: Dialect,
    /// The first record with numbers.
    first: usize,
    rows: usize,
}

/// What a table holds.
pub(super) struct Content {
    pub(super) channels: Vec<Channel>,
    pub(super) sample_rate: Option<f32>,
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    Utf8,
    Utf8Mark,
    /// A byte a character: what is not UTF-8, as a µ or ° in older files.
    Latin1,
    Utf16 {
        big_endian: bool,
    },
}

impl Encoding {
    fn decode(bytes: Vec<u8>) -> Result<(Self, String), &'static str> {
        let utf16 = |bytes: &[u8], big_endian: bool| {
            let word = |pair: &[u8]| match big_endian {
                true => u16::from_be_bytes([pair[0], pair[1]]),
                false => u16::from_le_bytes([pair[0], pair[1]]),
            };
            let words = bytes.chunks_exact(2).map(word);
            let text: Result<String, _> = char::decode_utf16(words).collect();
            match text {
                Ok(text) if bytes.len().is_multiple_of(2) => Ok((Self::Utf16 { big_endian }, text)),
                _ => Err("it is broken UTF-16 text"),
            }
        };
        match bytes.as_slice() {
            [0xff, 0xfe, rest @ ..] => utf16(rest, false),
            [0xfe, 0xff, rest @ ..] => utf16(rest, true),
            [0xef, 0xbb, 0xbf, rest @ ..] => match std::str::from_utf8(rest) {
                Ok(text) => Ok((Self::Utf8Mark, text.to_string())),
                Err(_) => Err("it is broken UTF-8 text"),
            },
            // Without the mark at its beginning it could be anything.
            [_, 0, _, 0, ..] | [0, _, 0, _, ..] => {
                Err("it is UTF-16 text without its mark, or no text at all")
            }
            bytes if bytes.contains(&0) => Err("it is no text: it holds zero bytes"),
            _ => Ok(match String::from_utf8(bytes) {
                Ok(text) => (Self::Utf8, text),
                Err(error) => {
                    let bytes = error.into_bytes();
                    (Self::Latin1, bytes.into_iter().map(char::from).collect())
                }
            }),
        }
    }

    fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf8Mark => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            // Only what was read so, and numbers, are in it.
            Self::Latin1 => text.chars().map(|c| c as u8).collect(),
            Self::Utf16 { big_endian } => std::iter::once(0xfeff)
                .chain(text.encode_utf16())
                .flat_map(|word| match big_endian {
                    true => word.to_be_bytes(),
                    false => word.to_le_bytes(),
                })
                .collect(),
        }
    }
}

/// Why a table is refused.
type Refused = Box<dyn FnOnce(&Path) -> DataError>;

fn malformed(reason: impl Into<String>, remedy: impl Into<String>) -> Refused {
    let (reason, remedy) = (reason.into(), remedy.into());
    Box::new(move |path| DataError::malformed(path, reason, remedy))
}

impl Table {
    pub(super) fn read(path: &Path, hints: &Hints) -> Result<(Self, Content), DataError> {
        let bytes = std::fs::read(path).map_err(DataError::read(path))?;
        Self::parse(bytes, hints).map_err(|refused| refused(path))
    }

    fn parse(bytes: Vec<u8>, hints: &Hints) -> Result<(Self, Content), Refused> {
        let (encoding, text) =
            Encoding::decode(bytes).map_err(|reason| malformed(reason, "save it as UTF-8 text"))?;
        let columns = match hints.column {
            Some(Column::Index(index)) => index + 1,
            _ => 1,
        };
        let dialect = dialect(&text, hints.decimal, columns).map_err(|unclear| match unclear {
            Unclear::NoNumbers => malformed(
                format!(
                    "no line of it holds numbers in columns{}",
                    example(&text, hints.decimal)
                ),
                "give a table of numbers, separated by commas, semicolons, tabs or spaces",
            ),
            Unclear::Comma(line, content) => Box::new(move |path: &Path| {
                DataError::config(
                    "decimal",
                    format!(
                        "line {line} of {}, {content:?}, may be one number with a decimal comma or two numbers",
                        path.display()
                    ),
                    "say which: --set data.decimal=comma for one number, --set data.decimal=point for two",
                )
            }),
        })?;
        let mut found = scan(&text, dialect.delimiter);
        drop_last_delimiters(&mut found);
        let reader = Reader {
            text: &text,
            found: &found,
            dialect,
            hints,
        };
        let (first, content) = reader.content()?;
        let rows = found.records.len() - first;
        let table = Self {
            text,
            encoding,
            dialect,
            first,
            rows,
        };
        Ok((table, content))
    }

    /// Rows of numbers.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether commas separate the columns and nothing else shows that there are several.
    pub(super) fn may_have_decimal_commas(&self) -> bool {
        self.first == 0
            && self.dialect.delimiter == Delimiter::Symbol(b',')
            && self.dialect.decimal == Decimal::Point
    }

    /// The bytes of the same table with other numbers in some columns.
    pub(super) fn with(&self, replaced: &[(usize, Vec<f32>)]) -> Vec<u8> {
        let found = scan(&self.text, self.dialect.delimiter);
        let mut columns: Vec<&(usize, Vec<f32>)> = replaced.iter().collect();
        columns.sort_by_key(|(column, _)| *column);
        let (mut text, mut copied) = (String::with_capacity(self.text.len()), 0);
        for (row, record) in found.records[self.first..].iter().enumerate() {
            for (column, values) in &columns {
                let place: Range<usize> = found.fields[record.fields.start + column].clone();
                text += &self.text[copied..place.start];
                let number = values[row].to_string();
                let quoted = self.text[..place.start].ends_with('"');
                text += &match self.dialect.decimal {
                    Decimal::Point => number,
                    Decimal::Comma
                        if self.dialect.delimiter == Delimiter::Symbol(b',') && !quoted =>
                    {
                        format!("\"{}\"", number.replace('.', ","))
                    }
                    Decimal::Comma => number.replace('.', ","),
                };
                copied = place.end;
            }
        }
        text += &self.text[copied..];
        self.encoding.encode(&text)
    }
}

struct Reader<'a> {
    text: &'a str,
    found: &'a Scan,
    dialect: Dialect,
    hints: &'a Hints,
}

impl Reader<'_> {
    fn fields(&self, record: &Record) -> impl Iterator<Item = &str> {
        let fields = self.found.fields[record.fields.clone()].iter();
        fields.map(|field| &self.text[field.clone()])
    }

    fn cell(&self, text: &str) -> Cell {
        cell(text, self.dialect.decimal)
    }

    /// The first record with numbers, and the columns.
    fn content(&self) -> Result<(usize, Content), Refused> {
        let mut notes = Vec::new();
        if self.dialect.decimal == Decimal::Comma && self.hints.decimal.is_none() {
            notes.push("its decimal sign is the comma".to_string());
        }
        let records = &self.found.records;
        let start = match self.hints.header {
            Some(false) => 0,
            _ => head_length(self.text, self.found, self.dialect.decimal),
        };
        let count = usual_count(records[start..].iter())
            .ok_or_else(|| malformed("there is no line with numbers", "give a table of numbers"))?;
        let numeric = self.numeric_columns(&records[start..], count);
        let holds_numbers = |record: &Record| {
            let fits = |(field, numeric): (&str, &bool)| {
                !numeric || matches!(self.cell(field), Cell::Number | Cell::Missing)
            };
            record.fields.len() == count
                && self.fields(record).zip(&numeric).all(fits)
                && self
                    .fields(record)
                    .any(|field| self.cell(field) != Cell::Missing)
        };
        let mut first = match self.hints.header {
            Some(false) => 0,
            _ => {
                let data = records[start..].iter().position(holds_numbers);
                start + data.unwrap_or(0)
            }
        };
        first += self.numbered_header(first, &numeric, &mut notes)?;
        let head = &records[..first];
        let (names, units) = self.names(head, count);
        let used = [&names, &units]
            .iter()
            .filter(|row| row.is_some())
            .count()
            .min(head.len());
        if head.len() > used {
            notes.push(match head.len() - used {
                1 => "1 line above its columns was passed over".to_string(),
                passed => format!("{passed} lines above its columns were passed over"),
            });
        }
        let rows = &records[first..];
        self.check_shape(rows, count)?;
        let columns: Vec<(Channel, Vec<f64>)> = (0..count)
            .map(|column| self.column(rows, column, numeric[column], names.as_deref()))
            .map(|(channel, exact)| (channel.looked_at_by_name(&exact), exact))
            .collect();
        let sample_rate = self.sample_rate(&columns, units.as_deref());
        let channels = columns.into_iter().map(|(channel, _)| channel).collect();
        Ok((
            first,
            Content {
                channels,
                sample_rate,
                notes,
            },
        ))
    }

    /// Which columns hold numbers for the most part.
    fn numeric_columns(&self, records: &[Record], count: usize) -> Vec<bool> {
        let mut tally = vec![(0usize, 0usize); count];
        for record in records.iter().filter(|r| r.fields.len() == count) {
            for (field, (numbers, others)) in self.fields(record).zip(&mut tally) {
                match self.cell(field) {
                    Cell::Number => *numbers += 1,
                    Cell::Missing => {}
                    Cell::Stamp | Cell::Text => *others += 1,
                }
            }
        }
        tally
            .into_iter()
            .map(|(numbers, others)| numbers > 0 && numbers >= others)
            .collect()
    }

    /// 1 if the first record of numbers is a header after all: the names `0`, `1`, … that a data
    /// frame gives its columns. Other numbers that are no data by their looks are asked for.
    fn numbered_header(
        &self,
        first: usize,
        numeric: &[bool],
        notes: &mut Vec<String>,
    ) -> Result<usize, Refused> {
        let records = &self.found.records[first..];
        match (self.hints.header, first) {
            (Some(true), 0) => return Ok(1.min(records.len())),
            (None, 0) if records.len() > 3 => {}
            _ => return Ok(0),
        }
        let names: Vec<&str> = self.fields(&records[0]).collect();
        // The index of a data frame has no name.
        let shift = usize::from(names.len() > 1 && names[0].is_empty());
        let numbered = |(index, name): (usize, &&str)| **name == index.to_string();
        if names.len() != numeric.len() {
            return Ok(0);
        }
        if !names[shift..].iter().enumerate().all(numbered) {
            return match self.may_be_names(records, &names[shift..], shift) {
                true => Err(names_or_numbers(records[0].line, &names)),
                false => Ok(0),
            };
        }
        let column = |index: usize| {
            records[1..]
                .iter()
                .filter_map(move |record| self.fields(record).nth(index))
                .filter(|field| self.cell(field) != Cell::Missing)
        };
        if shift == 1 && column(0).count() + 1 == records.len() {
            return Ok(1);
        }
        let sign = match self.dialect.decimal {
            Decimal::Point => '.',
            Decimal::Comma => ',',
        };
        let mut bare = true;
        for index in (shift..names.len()).filter(|&index| numeric[index]) {
            let fractional = |field: &str| field.contains([sign, 'e', 'E']);
            if column(index).any(|field| !fractional(field)) {
                continue;
            }
            bare = false;
            let places = |field: &str| field.split(sign).nth(1).map(str::len);
            let mut all = column(index).map(places);
            let usual = all.next().flatten();
            let fixed = usual.is_some() && all.all(|places| places == usual);
            let whole = column(index).any(|field| field.ends_with(&format!("{sign}0")));
            // Whoever writes 0 as 0.0, or with a fixed number of places, does not write 0.
            if fixed || whole {
                return Ok(1);
            }
        }
        let counts = column(0).enumerate().all(|(row, field)| {
            number::<f64>(field, self.dialect.decimal) == Some(row as f64 + 1.0)
        });
        if bare && names.len() > 2 && !counts {
            return Ok(1);
        }
        if names.len() > 1 && !counts && self.may_be_names(records, &names, 0) {
            return Err(names_or_numbers(records[0].line, &names));
        }
        if !counts {
            notes.push(format!(
                "its first line, {}, was read as numbers; if it holds names, add --set data.header=true",
                names.join(" ")
            ));
        }
        Ok(0)
    }

    /// Whether the numbers in the first line may be names: they number the columns, or are written
    /// otherwise than all numbers below.
    fn may_be_names(&self, records: &[Record], names: &[&str], shift: usize) -> bool {
        const MANY: usize = 20;
        let decimal = self.dialect.decimal;
        if names.is_empty() || !names.iter().all(|name| self.cell(name) == Cell::Number) {
            return false;
        }
        let all = |index: usize| {
            let fields = records
                .iter()
                .filter_map(move |r| self.fields(r).nth(index));
            fields.filter(|field| self.cell(field) == Cell::Number)
        };
        // A counter or a time axis goes through the first line.
        let axis = |index: usize| {
            let values: Vec<f64> = all(index).filter_map(|f| number(f, decimal)).collect();
            matches!(Look::of(&values), Look::Counter { .. } | Look::Even { .. })
        };
        if (shift..shift + names.len()).any(axis) {
            return false;
        }
        let counts_from = |from: usize| {
            let numbers = names.iter().enumerate();
            names.len() > 1
                && numbers
                    .into_iter()
                    .all(|(i, name)| **name == *(i + from).to_string())
        };
        if counts_from(0) || counts_from(1) {
            return true;
        }
        let sign = match decimal {
            Decimal::Point => '.',
            Decimal::Comma => ',',
        };
        // Places after the decimal sign, and whether there is an exponent.
        let form = |field: &str| {
            let exponent = field.find(['e', 'E']);
            let number = &field[..exponent.unwrap_or(field.len())];
            let places = number.split_once(sign).map(|(_, places)| places.len());
            (places, exponent.is_some())
        };
        let integers = names.iter().all(|name| form(name) == (None, false));
        let distinct = names
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            == names.len();
        let unlike = |index: usize| {
            let below = || all(index).skip(1).map(form);
            let fractional = below().all(|form| form != (None, false));
            let many = below().count() >= MANY;
            let usual = below().next();
            let fixed = many && below().all(|form| Some(form) == usual);
            let own = form(names[index - shift]);
            (integers && distinct && fractional) || (fixed && Some(own) != usual)
        };
        let mut columns = shift..shift + names.len();
        match integers {
            true => columns.any(unlike),
            false => columns.all(unlike),
        }
    }

    /// The names of the columns and their units, from the lines above the numbers.
    #[allow(clippy::type_complexity)] // Two lines of text.
    fn names(&self, head: &[Record], count: usize) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let row = |record: &Record| -> Option<Vec<String>> {
            let mut fields: Vec<String> = self
                .fields(record)
                .map(|field| field.replace("\"\"", "\"").replace(['\n', '\r'], " "))
                .collect();
            if fields.len() + 1 == count && count > 2 {
                // Some programs leave out the name of the column with the row's name.
                fields.insert(0, String::new());
            }
            (fields.len() == count).then_some(fields)
        };
        let mut rows: Vec<Vec<String>> = head.iter().filter_map(row).collect();
        let last = rows.pop();
        match last {
            Some(units) if !rows.is_empty() && units.iter().all(|unit| is_unit(unit)) => {
                (rows.pop(), Some(units))
            }
            Some(names) => (Some(names), None),
            None => (self.commented_names(count), None),
        }
    }

    /// The names of the columns in the last comment above the numbers, as `numpy.savetxt` writes
    /// them.
    fn commented_names(&self, count: usize) -> Option<Vec<String>> {
        let comment = &self.text[self.found.comment.clone()?];
        let found = scan(comment, self.dialect.delimiter);
        let record = found.records.first()?;
        let names: Vec<String> = found.fields[record.fields.clone()]
            .iter()
            .map(|field| comment[field.clone()].to_string())
            .collect();
        let words = names.iter().all(|name| self.cell(name) == Cell::Text);
        // A comment of several words is no name of an only column.
        let single = count > 1 || !comment.contains(' ');
        (names.len() == count && words && single).then_some(names)
    }

    /// Refuses lines with too many or too few fields, and blank lines among the numbers.
    fn check_shape(&self, rows: &[Record], count: usize) -> Result<(), Refused> {
        let fields = |count: usize| match count {
            1 => "1 field".to_string(),
            count => format!("{count} fields"),
        };
        if let Some((index, row)) = rows
            .iter()
            .enumerate()
            .find(|(_, row)| row.fields.len() != count)
        {
            let remedy = match self.dialect.delimiter {
                Delimiter::Symbol(b',') if self.dialect.decimal == Decimal::Point => {
                    "repair that line; if numbers have decimal commas, separate them by semicolons"
                }
                _ => "repair that line",
            };
            return Err(malformed(
                format!(
                    "line {}, sample {index}, has {} separated by {}; most lines have {count}",
                    row.line,
                    fields(row.fields.len()),
                    self.dialect.delimiter.name()
                ),
                remedy,
            ));
        }
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let inside = |line: &&usize| (first.line..last.line).contains(*line);
        let blanks: Vec<usize> = self.found.blanks.iter().filter(inside).copied().collect();
        // Some programs end every line twice.
        if blanks.is_empty() || blanks.len() == rows.len() - 1 {
            return Ok(());
        }
        let sample = rows.iter().filter(|row| row.line < blanks[0]).count();
        Err(malformed(
            format!(
                "line {}, after sample {}, is blank: a number is missing, or another recording begins",
                blanks[0],
                sample.saturating_sub(1)
            ),
            "fill the gap, or remove the blank line if nothing is missing",
        ))
    }

    /// A column, and its numbers exactly.
    fn column(
        &self,
        rows: &[Record],
        column: usize,
        numeric: bool,
        names: Option<&[String]>,
    ) -> (Channel, Vec<f64>) {
        let cells = || rows.iter().filter_map(|row| self.fields(row).nth(column));
        let name = names.map(|names| names[column].clone());
        let decimal = self.dialect.decimal;
        if !numeric {
            let any = |kind: Cell| cells().any(|field| self.cell(field) == kind);
            let look = match (any(Cell::Text), any(Cell::Stamp)) {
                (true, _) => Look::Text,
                (false, true) => Look::Stamps,
                (false, false) => Look::Empty,
            };
            let first = cells()
                .zip(rows)
                .find(|(field, _)| self.cell(field) == Cell::Text);
            let channel = Channel {
                name,
                values: Vec::new(),
                look,
                gap: first.map(|(field, row)| {
                    format!("line {}: {field:?}{}", row.line, advice(field, decimal))
                }),
            };
            return (channel, Vec::new());
        }
        let exact: Vec<f64> = cells()
            .map(|field| number(field, decimal).unwrap_or(f64::NAN))
            .collect();
        let values = cells()
            .map(|field| number(field, decimal).unwrap_or(f32::NAN))
            .collect();
        let gap = cells()
            .position(|field| number::<f32>(field, decimal).is_none_or(f32::is_nan))
            .map(|sample| {
                let line = rows[sample].line;
                let field = cells().nth(sample).unwrap_or_default();
                let reason = match self.cell(field) {
                    _ if field.is_empty() => "is missing".to_string(),
                    Cell::Missing | Cell::Number => format!("is missing ({field:?})"),
                    _ => format!("is not a number: {field:?}{}", advice(field, decimal)),
                };
                format!("line {line}, sample {sample} {reason}")
            });
        let channel = Channel {
            name,
            values,
            look: Look::of(&exact),
            gap,
        };
        (channel, exact)
    }

    /// Samples per second by the only column that is named time and rises evenly.
    fn sample_rate(
        &self,
        columns: &[(Channel, Vec<f64>)],
        units: Option<&[String]>,
    ) -> Option<f32> {
        let rates = columns.iter().enumerate().filter_map(|(index, column)| {
            let (channel, exact) = column;
            let unit = units.map(|units| units[index].as_str());
            let (seconds, named) = seconds_per_unit(channel.name.as_deref()?, unit)?;
            let step = match channel.look {
                Look::Even { step } => step,
                Look::Counter { .. } => 1.0,
                _ => return None,
            };
            // Whole numbers count something that is not named.
            if !named && exact.iter().all(|value| value.fract() == 0.0) {
                return None;
            }
            let rate = 1.0 / (step * seconds);
            // Rounded times are off by a little.
            let round = rate.round();
            let close = (rate - round).abs() <= 1e-4 * rate && round > 0.0;
            Some(if close { round } else { rate } as f32)
        });
        let rates: Vec<f32> = rates.collect();
        match rates[..] {
            [rate] => Some(rate),
            _ => None,
        }
    }
}

fn names_or_numbers(line: usize, fields: &[&str]) -> Refused {
    let content = fields.join(" ");
    Box::new(move |path: &Path| {
        DataError::config(
            "header",
            format!(
                "line {line} of {}, {content:?}, may be the names of the columns or their first numbers",
                path.display()
            ),
            "say which: --set data.header=true for names, --set data.header=false for numbers",
        )
    })
}

/// A line of a text that holds no numbers, not that of the names, and what may be the matter with
/// it.
fn example(text: &str, decimal: Option<Decimal>) -> String {
    const MOST: usize = 40;
    let found = scan(text, Delimiter::None);
    let Some(record) = found.records.get(1).or(found.records.first()) else {
        return String::new();
    };
    let content = &text[found.fields[record.fields.start].clone()];
    let shown: String = content.chars().take(MOST).collect();
    let advice = advice(content, decimal.unwrap_or(Decimal::Point));
    format!("; line {} is {shown:?}{advice}", record.line)
}

/// What may be the matter with a field.
fn advice(field: &str, decimal: Decimal) -> &'static str {
    let other = match decimal {
        Decimal::Point => Decimal::Comma,
        Decimal::Comma => Decimal::Point,
    };
    let plain = field.replace([',', '.', ' ', '\''], "");
    match number::<f64>(field, other) {
        Some(_) if decimal == Decimal::Point => {
            " (if its comma is a decimal sign, add --set data.decimal=comma)"
        }
        Some(_) => " (if its point is a decimal sign, add --set data.decimal=point)",
        None if number::<f64>(&plain, Decimal::Point).is_some() => {
            " (write numbers without separators of thousands)"
        }
        None => "",
    }
}

/// Whether a text under a column's name may be its unit.
fn is_unit(text: &str) -> bool {
    const UNITS: [&str; 42] = [
        "", "s", "sec", "ms", "us", "µs", "μs", "ns", "min", "h", "v", "mv", "uv", "µv", "a", "ma",
        "g", "mg", "m", "mm", "um", "µm", "cm", "hz", "khz", "pa", "kpa", "mpa", "bar", "n", "kn",
        "nm", "c", "k", "rpm", "deg", "rad", "w", "kw", "db", "lsb", "counts",
    ];
    let bracketed = [('(', ')'), ('[', ']'), ('<', '>')]
        .iter()
        .any(|&(open, close)| text.starts_with(open) && text.ends_with(close));
    bracketed
        || UNITS.contains(&text.to_lowercase().as_str())
        || text.contains(['/', '°', '^', '²', '%', '*', '·']) && text.chars().count() <= 12
}

//! How a text table is written: what separates its fields, and its decimal sign.
//!
//! Both are found from all lines of a file. A file whose lines can be read in two ways is not
//! guessed.

use std::ops::Range;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sign between the whole and the fractional part of a number in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decimal {
    /// As in 1.5.
    Point,
    /// As in 1,5.
    Comma,
}

/// What stands between two fields of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    Symbol(u8),
    /// Any run of spaces and tabs.
    Spaces,
    /// Nothing: a line is one field.
    None,
}

impl Delimiter {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Symbol(b';') => "semicolons",
            Self::Symbol(b'\t') => "tabs",
            Self::Symbol(b',') => "commas",
            Self::Symbol(_) => "bars",
            Self::Spaces => "spaces",
            Self::None => "nothing",
        }
    }
}

/// Delimiter and decimal sign of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: Delimiter,
    pub(super) decimal: Decimal,
}

/// A line, or several where a quoted field goes on.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// From 1.
    pub(super) line: usize,
    /// Its fields in [`Scan::fields`].
    pub(super) fields: Range<usize>,
}

/// The fields of a text: where each lies, without quotes and the space around it.
pub(super) struct Scan {
    pub(super) fields: Vec<Range<usize>>,
    pub(super) records: Vec<Record>,
    /// Numbers of the lines that are blank.
    pub(super) blanks: Vec<usize>,
    /// The last comment before the first record, without its sign.
    pub(super) comment: Option<Range<usize>>,
}

/// The fields of `text`. Lines that begin with `#` or `%`, and Excel's `sep=;`, are passed over.
pub(super) fn scan(text: &str, delimiter: Delimiter) -> Scan {
    let bytes = text.as_bytes();
    let line_end = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
    let mut found = Scan {
        fields: Vec::new(),
        records: Vec::new(),
        blanks: Vec::new(),
        comment: None,
    };
    let end_of_line = |from: usize| {
        let rest = bytes[from..].iter();
        from + rest.take_while(|&&byte| byte != line_end).count()
    };
    let (mut place, mut line) = (0, 1);
    while place < bytes.len() {
        let end = end_of_line(place);
        let content = trimmed(text, place..end);
        let first = bytes[content.clone()].first();
        if content.is_empty() {
            found.blanks.push(line);
        } else if matches!(first, Some(b'#' | b'%')) {
            if found.records.is_empty() {
                found.comment = Some(trimmed(text, content.start + 1..content.end));
            }
        } else if line == 1 && excel_separator(&text[content.clone()]).is_some() {
        } else {
            let begin = found.fields.len();
            // A quoted field may go on over the end of the line.
            let mut end = end;
            let mut at = place;
            let mut lines = 1;
            loop {
                let (field, next) = field(text, at, end, delimiter, line_end);
                if next > end {
                    lines += bytes[end..next].iter().filter(|&&b| b == line_end).count();
                    end = end_of_line(next);
                }
                let last = next >= end;
                if !(delimiter == Delimiter::Spaces && field.is_empty()) {
                    found.fields.push(field);
                }
                if last {
                    // A delimiter at the very end opens one more, empty field.
                    if next == end && ends_with_symbol(bytes, next, at, delimiter) {
                        found.fields.push(end..end);
                    }
                    break;
                }
                at = next;
            }
            found.records.push(Record {
                line,
                fields: begin..found.fields.len(),
            });
            place = end + 1;
            line += lines;
            continue;
        }
        place = end + 1;
        line += 1;
    }
    found
}

/// Whether the field that began at `at` ended at `next` with a delimiter symbol.
fn ends_with_symbol(bytes: &[u8], next: usize, at: usize, delimiter: Delimiter) -> bool {
    match delimiter {
        Delimiter::Symbol(symbol) => next > at && bytes[next - 1] == symbol,
        _ => false,
    }
}

/// The field that begins at `at` of a line that ends at `end`: its content, and where the next one
/// begins.
fn field(
    text: &str,
    at: usize,
    end: usize,
    delimiter: Delimiter,
    line_end: u8,
) -> (Range<usize>, usize) {
    let bytes = text.as_bytes();
    let space = |byte: u8| (byte == b' ' || byte == b'\t') && delimiter != Delimiter::Symbol(byte);
    let mut start = at;
    while start < end && space(bytes[start]) {
        start += 1;
    }
    let stops = |byte: u8| match delimiter {
        Delimiter::Symbol(symbol) => byte == symbol,
        Delimiter::Spaces => byte == b' ' || byte == b'\t',
        Delimiter::None => false,
    };
    if start < end && bytes[start] == b'"' {
        // To the closing quote; a doubled one is part of the content.
        let mut close = start + 1;
        while close < bytes.len() {
            if bytes[close] != b'"' {
                close += 1;
            } else if bytes.get(close + 1) == Some(&b'"') {
                close += 2;
            } else {
                break;
            }
        }
        let mut after = close + 1;
        while after < bytes.len() && (space(bytes[after]) || bytes[after] == b'\r') {
            after += 1;
        }
        let ended = after >= bytes.len() || bytes[after] == line_end || stops(bytes[after]);
        if close < bytes.len() && (ended || after > close + 1 && delimiter == Delimiter::Spaces) {
            let stopped = after < bytes.len() && bytes[after] != line_end && stops(bytes[after]);
            return (
                start + 1..close,
                after.min(bytes.len()) + usize::from(stopped),
            );
        }
    }
    let mut stop = start;
    while stop < end && !stops(bytes[stop]) {
        stop += 1;
    }
    (trimmed(text, start..stop), (stop + 1).min(end))
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// The separator that Excel's first line `sep=;` names.
fn excel_separator(line: &str) -> Option<u8> {
    let rest = line.strip_prefix("sep=")?.as_bytes();
    match rest {
        [symbol @ (b';' | b',' | b'\t' | b'|')] => Some(*symbol),
        [] => Some(b'\t'),
        _ => None,
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Number,
    Missing,
    /// A date or a time of day.
    Stamp,
    Text,
}

pub(super) fn cell(text: &str, decimal: Decimal) -> Cell {
    if is_missing(text) {
        Cell::Missing
    } else if number::<f64>(text, decimal).is_some() {
        Cell::Number
    } else if is_stamp(text) {
        Cell::Stamp
    } else {
        Cell::Text
    }
}

/// A number in text.
pub(super) fn number<T: FromStr>(text: &str, decimal: Decimal) -> Option<T> {
    let plain = match text.strip_prefix('\u{2212}') {
        Some(rest) => return number(&format!("-{rest}"), decimal),
        None => text,
    };
    match decimal {
        Decimal::Point => plain.parse().ok(),
        Decimal::Comma if plain.contains('.') => None,
        Decimal::Comma if plain.contains(',') => plain.replacen(',', ".", 1).parse().ok(),
        Decimal::Comma => plain.parse().ok(),
    }
}

/// What programs write in place of a number that they do not have.
fn is_missing(text: &str) -> bool {
    const WORDS: [&str; 16] = [
        "nan", "-nan", "na", "n/a", "#n/a", "null", "none", "nil", "-", "--", "?", "missing",
        "#value!", "#div/0!", "1.#qnan", "-1.#ind",
    ];
    text.is_empty() || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a text is a date (`2024-01-31`, `31.01.2024`, `1/31/2024`), a time of day (`10:00:00.5`)
/// or both.
pub(super) fn is_stamp(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_digit() || "-/:.,+TZ APMapm".contains(c);
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(allowed) {
        return false;
    }
    let clock = |part: &str| {
        let pieces: Vec<&str> = part.split(':').collect();
        let digits = |piece: &str| {
            let digits = piece.chars().take_while(char::is_ascii_digit).count();
            (1..=2).contains(&digits)
        };
        pieces.len() >= 2 && pieces.iter().take(3).all(|piece| digits(piece))
    };
    let date = |part: &str| {
        ['-', '/', '.'].iter().any(|&sign| {
            let lengths: Vec<usize> = part.split(sign).map(str::len).collect();
            let digits = part.chars().all(|c| c.is_ascii_digit() || c == sign);
            digits && matches!(lengths[..], [4, 1..=2, 1..=2] | [1..=2, 1..=2, 2 | 4])
        })
    };
    let (first, rest) = match text.split_once(['T', ' ']) {
        Some((first, rest)) => (first, Some(rest.trim())),
        None => (text, None),
    };
    match rest {
        None => date(first) || clock(first),
        Some(rest) => (date(first) && clock(rest)) || (clock(first) && !clock(rest)),
    }
}

/// Why a dialect is not known.
#[derive(Debug, PartialEq)]
pub(super) enum Unclear {
    /// A comma may separate two numbers or be a decimal sign: a line and its content.
    Comma(usize, String),
    /// There is nothing that could be numbers.
    NoNumbers,
}

/// Finds the dialect of a text. `decimal` is what the user says; `columns` is how many columns
/// there are at least.
pub(super) fn dialect(
    text: &str,
    decimal: Option<Decimal>,
    columns: usize,
) -> Result<Dialect, Unclear> {
    let excel = text
        .lines()
        .next()
        .and_then(|line| excel_separator(line.trim()));
    let mut best: Vec<(f64, Dialect)> = Vec::new();
    for delimiter in [
        Delimiter::Symbol(b';'),
        Delimiter::Symbol(b'\t'),
        Delimiter::Symbol(b','),
        Delimiter::Symbol(b'|'),
        Delimiter::None,
        Delimiter::Spaces,
    ] {
        let present = match delimiter {
            Delimiter::Symbol(symbol) => text.as_bytes().contains(&symbol),
            Delimiter::Spaces => text.contains([' ', '\t']),
            Delimiter::None => columns <= 1,
        };
        if !present || excel.is_some_and(|symbol| delimiter != Delimiter::Symbol(symbol)) {
            continue;
        }
        let mut found = scan(text, delimiter);
        let ended = drop_last_delimiters(&mut found);
        for sign in [Decimal::Point, Decimal::Comma] {
            let told_otherwise = decimal.is_some_and(|told| told != sign);
            let commas_are_taken =
                delimiter == Delimiter::Symbol(b',') && !has_quoted_commas(text, &found);
            // Without a comma both signs read the same.
            let same = decimal.is_none() && !text.contains(',');
            if told_otherwise || sign == Decimal::Comma && (commas_are_taken || same) {
                continue;
            }
            if let Some(badness) = badness(text, &found, delimiter, sign, ended) {
                best.push((
                    badness,
                    Dialect {
                        delimiter,
                        decimal: sign,
                    },
                ));
            }
        }
    }
    let least = best.iter().map(|(badness, _)| *badness);
    let least = least.fold(f64::INFINITY, f64::min);
    if least >= 1.0 {
        return Err(Unclear::NoNumbers);
    }
    let best: Vec<Dialect> = best
        .into_iter()
        .filter(|(badness, _)| *badness <= least + 1e-9)
        .map(|(_, dialect)| dialect)
        .collect();
    let separates = |d: &&Dialect| d.delimiter == Delimiter::Symbol(b',');
    let single = |d: &&Dialect| d.delimiter == Delimiter::None && d.decimal == Decimal::Comma;
    if let Some(two) = best.iter().find(separates)
        && best.iter().any(|dialect| single(&dialect))
    {
        return comma(text, *two);
    }
    let best = best[0];
    if best.delimiter == Delimiter::Symbol(b',')
        && best.decimal == Decimal::Comma
        && decimal.is_none()
        && let Some((line, content)) = perhaps_thousands(text, &scan(text, best.delimiter))
    {
        return Err(Unclear::Comma(line, content));
    }
    Ok(best)
}

/// Leaves out the last field of each line where it is empty in all lines but the header, which has
/// one field less: a delimiter ends the lines and separates nothing. Says whether it is so.
pub(super) fn drop_last_delimiters(found: &mut Scan) -> bool {
    let Some(count) = usual_count(found.records.iter()) else {
        return false;
    };
    let length = |record: &Record| record.fields.len();
    let header = found
        .records
        .iter()
        .find(|record| length(record) + 1 >= count);
    if count < 2 || header.is_none_or(|header| length(header) + 1 != count) {
        return false;
    }
    let fields = &found.fields;
    let ends_empty = |record: &Record| fields[record.fields.end - 1].is_empty();
    let mut rows = found
        .records
        .iter()
        .filter(|record| length(record) == count);
    if !rows.all(ends_empty) {
        return false;
    }
    for record in &mut found.records {
        if record.fields.len() == count {
            record.fields.end -= 1;
        }
    }
    true
}

/// Whether some field has a comma in it: a number in quotes, as `"1,5"`.
fn has_quoted_commas(text: &str, found: &Scan) -> bool {
    let mut fields = found.fields.iter().map(|field| &text[field.clone()]);
    fields.any(|field| field.contains(',') && number::<f64>(field, Decimal::Comma).is_some())
}

/// The line and content of a number as `1,234`, where no other number shows that its comma does not
/// separate thousands.
fn perhaps_thousands(text: &str, found: &Scan) -> Option<(usize, String)> {
    let mut first = None;
    for record in &found.records {
        for field in &found.fields[record.fields.clone()] {
            let content = &text[field.clone()];
            let Some((whole, rest)) = content.split_once(',') else {
                continue;
            };
            if number::<f64>(content, Decimal::Comma).is_none() {
                continue;
            }
            let whole = whole.trim_start_matches(['-', '+', '\u{2212}']);
            if rest.len() != 3 || whole.starts_with('0') || !(1..=3).contains(&whole.len()) {
                return None;
            }
            first.get_or_insert_with(|| (record.line, content.to_string()));
        }
    }
    first
}

/// Asks whether `1,5` is two numbers or one. A `-0` and zeros in front decide nothing: programs
/// write integers so, too. Lines that end in a comma hold one number.
fn comma(text: &str, two: Dialect) -> Result<Dialect, Unclear> {
    let found = scan(text, two.delimiter);
    let empty = |record: &Record| found.fields[record.fields.end - 1].is_empty();
    let mut several = found.records.iter().filter(|r| r.fields.len() > 1);
    if several.all(empty) {
        return Ok(two);
    }
    let with_comma = found.records.iter().find(|record| record.fields.len() == 2);
    let (line, content) = with_comma.map_or((1, String::new()), |record| {
        let range =
            found.fields[record.fields.start].start..found.fields[record.fields.end - 1].end;
        (record.line, text[range].to_string())
    });
    Err(Unclear::Comma(line, content))
}

/// How badly a text fits a dialect: 0 is a table of numbers and time stamps. `None`: not a table
/// with such a delimiter.
///
/// `ended`: a delimiter ends the lines and separates nothing.
fn badness(
    text: &str,
    found: &Scan,
    delimiter: Delimiter,
    decimal: Decimal,
    ended: bool,
) -> Option<f64> {
    let cells = |record: &Record| {
        let fields = found.fields[record.fields.clone()].iter();
        fields.map(|field| cell(&text[field.clone()], decimal))
    };
    let head = head_length(text, found, decimal);
    let (head, body) = found.records.split_at(head);
    let count = usual_count(body.iter())?;
    if count < 2 && delimiter != Delimiter::None && !ended {
        return None;
    }
    let (mut bad, mut all) = (0, 0);
    for record in body {
        let fields = record.fields.len();
        all += fields.max(count);
        bad += match fields == count {
            true => cells(record).filter(|&cell| cell == Cell::Text).count(),
            false => fields.max(count),
        };
    }
    let named = match delimiter {
        // A name with a separator in it is several names.
        Delimiter::None => head.last().is_none_or(|record| {
            let field = found.fields[record.fields.start].clone();
            let quoted = field.start > 0 && text.as_bytes()[field.start - 1] == b'"';
            quoted || !text[field].contains([',', ';', '\t'])
        }),
        _ => {
            head.is_empty()
                || head.iter().any(|record| {
                    record.fields.len() == count || record.fields.len() + 1 == count && count > 2
                })
        }
    };
    let penalty = if named { 0.0 } else { 0.5 };
    Some(bad as f64 / all.max(1) as f64 + penalty)
}

/// How many records come before the first one with a number or a time stamp.
pub(super) fn head_length(text: &str, found: &Scan, decimal: Decimal) -> usize {
    let holds_data = |record: &Record| {
        let mut fields = found.fields[record.fields.clone()].iter();
        fields.any(|field| {
            matches!(
                cell(&text[field.clone()], decimal),
                Cell::Number | Cell::Stamp
            )
        })
    };
    let first = found.records.iter().position(holds_data);
    first.unwrap_or(found.records.len())
}

/// The number of fields that most records have.
pub(super) fn usual_count<'a>(records: impl Iterator<Item = &'a Record>) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::new();
    for record in records {
        *counts.entry(record.fields.len()).or_insert(0usize) += 1;
    }
    let most = counts.into_iter().max_by_key(|&(_, times)| times);
    most.map(|(count, _)| count)
}

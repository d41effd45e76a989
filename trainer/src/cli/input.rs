//! Flags of commands that put a person's file through a model file, and what is said about the
//! file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use sparsecode_formats::InputFacts;

use super::common::usage;
use crate::data::Hints;
use crate::data::{Column, DataError, Decimal};
use crate::deploy::given::{ArrayKind, Given, GivenError, Said};
use crate::deploy::units::{Asked, Fit, InputUnit, Known, Stored, Unit};
use crate::deploy::{HostError, HostModel};

/// What the numbers of the input are.
#[derive(Args)]
pub(super) struct UnitFlags {
    /// The input's numbers for the two ends of the model's range, such as 0,255 for 8-bit pixels
    /// and a model of [0, 1]
    ///
    /// The ends are 0 and 1 if the model's raw values are fractions of full scale (peak 1, none
    /// outside [0, 1]). They are 0 and 255 (with 16 bits 65535) if the raw values are levels of
    /// unsigned integers. Otherwise they are the smallest and the largest raw value in training,
    /// which inspect prints. Pictures count by their levels: 0 to 255, with 16 bits 0 to 65535. The
    /// output is in the input's unit. Without this flag numbers are in the model's unit, and black
    /// and white of a picture are those of the model's samples.
    #[arg(
        long,
        value_name = "LOW,HIGH",
        value_parser = range,
        allow_hyphen_values = true,
        help_heading = "Units"
    )]
    input_range: Option<[f32; 2]>,
    /// Take the numbers of the input as raw units, or as levels of the device's integers
    ///
    /// Without this flag, integers of an array (.npy) are levels for a model in integers, unless
    /// they have the number type and the range of its training data.
    #[arg(long, value_enum, help_heading = "Units")]
    input_unit: Option<UnitChoice>,
    /// Warn instead of refusing if range or sample rate of the input differ from the model's
    #[arg(long, help_heading = "Units")]
    pub(super) allow_mismatch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnitChoice {
    /// The unit of the data that the model was trained on.
    Raw,
    /// Integers as the device's converter gives them.
    Levels,
}

/// How a file is read.
#[derive(Args)]
pub(super) struct FileFlags {
    /// Columns of a table, channels of a .wav or an array: a name, a number from 0, several with
    /// commas, or all
    ///
    /// Each column is taken alone. A file with one column needs no flag. If there are several and
    /// none is named, the error lists them. `all` leaves out columns that look like a time or a
    /// counter.
    #[arg(long, help_heading = "Reading")]
    column: Option<String>,
    /// What an array (.npy) with several axes holds [default: samples, if N×d or N×h×w fit the
    /// model]
    #[arg(long = "as", value_enum, help_heading = "Reading")]
    kind: Option<KindChoice>,
    /// Decimal sign of a table [default: found from its lines]
    #[arg(long, value_enum, help_heading = "Reading")]
    decimal: Option<DecimalChoice>,
    /// Whether the first line of a table holds names [default: found from its lines]
    #[arg(long, value_name = "true|false", help_heading = "Reading")]
    header: Option<bool>,
    /// Samples or pixels from one window to the next [default: a quarter of the window]
    #[arg(long, help_heading = "Reading")]
    hop: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindChoice {
    /// H×W, or H×W×channels, each channel alone.
    Picture,
    /// N×d or N×h×w, one sample after the other.
    Samples,
    /// N, or N×channels.
    Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DecimalChoice {
    /// 1.5
    Point,
    /// 1,5
    Comma,
}

fn range(text: &str) -> Result<[f32; 2], String> {
    let ends = text.split_once(',').and_then(|(low, high)| {
        let ends = [low.trim().parse().ok()?, high.trim().parse().ok()?];
        (ends.iter().all(|x: &f32| x.is_finite()) && ends[0] < ends[1]).then_some(ends)
    });
    ends.ok_or_else(|| "give two numbers with a comma, the smaller one first: 0,255".to_owned())
}

impl FileFlags {
    /// How a signal is read.
    pub(super) fn hints(&self) -> Hints {
        Hints {
            column: self.column.as_deref().map(Column::from),
            decimal: self.decimal.map(|decimal| match decimal {
                DecimalChoice::Point => Decimal::Point,
                DecimalChoice::Comma => Decimal::Comma,
            }),
            header: self.header,
        }
    }

    /// A flag that was given and that means nothing for a run.
    pub(super) fn given_for_files(&self) -> Option<&'static str> {
        let kind = self.kind.map(|_| "--as");
        kind.or(self.hop.map(|_| "--hop"))
    }

    /// Reads a file for a model.
    pub(super) fn read(&self, path: &Path, host: &HostModel<'_>) -> anyhow::Result<Given> {
        if self.hop == Some(0) {
            return Err(usage("--hop: at least 1"));
        }
        let said = Said {
            column: self.column.clone(),
            kind: self.kind.map(|kind| match kind {
                KindChoice::Picture => ArrayKind::Picture,
                KindChoice::Samples => ArrayKind::Samples,
                KindChoice::Signal => ArrayKind::Signal,
            }),
            hints: Hints {
                column: None,
                ..self.hints()
            },
            hop: self.hop.or(host.stream().map(|stream| stream.hop)),
        };
        let given = Given::read(path, host.spec(), &said).map_err(told)?;
        eprintln!("read {}", given.summary);
        for note in &given.notes {
            eprintln!("note: {}: {}", path.display(), in_flags(note));
        }
        given
            .layout
            .check(host.spec())
            .with_context(|| path.display().to_string())?;
        Ok(given)
    }
}

/// What is open is a matter of the command line.
pub(super) fn told(error: GivenError) -> anyhow::Error {
    match error {
        GivenError::Unclear { .. } => usage(error.to_string()),
        GivenError::Data(DataError::Malformed {
            path,
            reason,
            remedy,
        }) => in_own_flags(DataError::Malformed {
            path,
            reason,
            remedy: remedy.replace("data.source = \"npy\"", "--as samples"),
        }),
        GivenError::Data(error) => in_own_flags(error),
        GivenError::Storage(error) => error.into(),
    }
}

/// Keys of the `[data]` table that are flags of commands on a file.
const KEYS: [&str; 3] = ["column", "decimal", "header"];

/// An error on reading a signal, in the words of a command that has [`FileFlags`].
pub(super) fn in_own_flags(error: DataError) -> anyhow::Error {
    match error {
        DataError::Config {
            field,
            reason,
            remedy,
        } if KEYS.contains(&field) => usage(format!(
            "--{field}: {}; {}",
            in_flags(&reason),
            in_flags(&remedy)
        )),
        DataError::Malformed {
            path,
            reason,
            remedy,
        } => DataError::Malformed {
            path,
            reason: in_flags(&reason),
            remedy: in_flags(&remedy),
        }
        .into(),
        error => error.into(),
    }
}

/// Advice on keys of the `[data]` table, as advice on flags.
pub(super) fn in_flags(text: &str) -> String {
    let mut text = text.to_owned();
    // A flag takes no quotes in its value.
    if let Some((start, rest)) = text.split_once(", or the name in quotes: --set data.column='")
        && let Some((_, end)) = rest.split_once('\'')
    {
        text = format!("{start}{end}");
    }
    for key in KEYS {
        text = text
            .replace(&format!("--set data.{key}="), &format!("--{key} "))
            .replace(
                &format!("leave data.{key} out"),
                &format!("leave --{key} out"),
            );
    }
    text
}

/// What a model file states of its input.
pub(super) fn known(host: &HostModel<'_>, bytes: &[u8], file: &Path) -> anyhow::Result<Known> {
    let facts = InputFacts::read(bytes)
        .map_err(|error| HostError::Read(file.display().to_string(), error))?;
    Ok(Known::of(host, facts))
}

impl UnitFlags {
    /// A flag that was given and that means nothing for a run.
    pub(super) fn given_for_files(&self) -> Option<&'static str> {
        let range = self.input_range.map(|_| "--input-range");
        range.or(self.input_unit.map(|_| "--input-unit"))
    }

    /// Brings the parts of a file to the model's raw unit; returns which unit they had. Says what
    /// is not plain, and refuses what does not fit.
    pub(super) fn to_raw(&self, known: &Known, given: &mut Given) -> anyhow::Result<Unit> {
        let path = given.path.clone();
        if let Some(problem) = known.rate_mismatch(given.sample_rate) {
            self.refuse(&path, &problem, "resample it, or give --allow-mismatch")?;
        }
        let all: Vec<f32> = given
            .parts
            .iter()
            .flat_map(|part| part.values.iter().copied())
            .collect();
        let unit = self.unit(known, given.stored, &all, &path)?;
        for part in &mut given.parts {
            unit.to_raw(&mut part.values);
            let name = part.name.as_ref().map_or_else(
                || path.display().to_string(),
                |name| format!("{}, {name}", path.display()),
            );
            self.check(known, given.stored, &part.values, &name)?;
        }
        Ok(unit)
    }

    /// The unit of numbers; says it if it is not the plain one.
    pub(super) fn unit(
        &self,
        known: &Known,
        stored: Stored,
        values: &[f32],
        path: &Path,
    ) -> anyhow::Result<Unit> {
        let asked = Asked {
            range: self.input_range,
            unit: self.input_unit.map(|unit| match unit {
                UnitChoice::Raw => InputUnit::Raw,
                UnitChoice::Levels => InputUnit::Levels,
            }),
        };
        let (unit, note) = known
            .unit(stored, values, &asked)
            .map_err(|unclear| usage(unclear.to_string()))
            .with_context(|| path.display().to_string())?;
        if let Some(note) = note {
            eprintln!("note: {}: {note}", path.display());
        }
        Ok(unit)
    }

    /// Refuses raw values that are in another unit than the model's, by all appearance.
    pub(super) fn check(
        &self,
        known: &Known,
        stored: Stored,
        raw: &[f32],
        name: &str,
    ) -> anyhow::Result<()> {
        match known.fit(raw) {
            Fit::Fits => {}
            Fit::Unusual(how) => eprintln!("warning: {name}: {how}"),
            // Whoever says what the numbers are has decided.
            Fit::Mismatch(how)
                if self
                    .input_range
                    .or(self.input_unit.map(|_| [0.0; 2]))
                    .is_some() =>
            {
                eprintln!("warning: {name}: {how}");
            }
            Fit::Mismatch(how) => self.refuse(name, &how, &known.remedy(stored))?,
        }
        Ok(())
    }

    /// Refuses what does not fit, or warns of it if somebody says that it may.
    pub(super) fn refuse(
        &self,
        name: impl AsRef<Path>,
        problem: &str,
        remedy: &str,
    ) -> anyhow::Result<()> {
        let name = name.as_ref().display();
        if self.allow_mismatch {
            eprintln!("warning: {name}: {problem}");
            return Ok(());
        }
        anyhow::bail!("{name}: {problem}; {remedy}")
    }
}

/// Refuses an output that is one of the inputs, by whatever name or link, before any work is done;
/// `told` is whether `--overwrite` was given.
pub(super) fn check_output(output: &Path, inputs: &[&Path], told: bool) -> anyhow::Result<()> {
    for input in inputs {
        if !told && is_same(output, input) {
            return Err(usage(format!(
                "--output {}: is the input {}; name another file, or give --overwrite",
                output.display(),
                input.display()
            )));
        }
    }
    Ok(())
}

/// [`check_output`] for what no flag lets be overwritten; `flag` names the output.
pub(super) fn check_not(output: &Path, flag: &str, what: &str, file: &Path) -> anyhow::Result<()> {
    if is_same(output, file) {
        return Err(usage(format!(
            "{flag} {}: is the {what} {}; name another file",
            output.display(),
            file.display()
        )));
    }
    Ok(())
}

/// Whether two paths are one file.
fn is_same(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    match (canonical(a), canonical(b)) {
        (Some(one), Some(other)) => one == other || is_linked(&one, &other),
        // What is not there is no input.
        _ => false,
    }
}

/// Whether two paths are hard links of one file.
#[cfg(unix)]
fn is_linked(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    place(a).is_some() && place(a) == place(b)
}

#[cfg(not(unix))]
fn is_linked(_: &Path, _: &Path) -> bool {
    false
}

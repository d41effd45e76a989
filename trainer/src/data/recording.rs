//! Recordings: signal files with all their channels, read right or refused, and written back as
//! they were.

use std::path::{Path, PathBuf};

use sparsecode_formats::NumberType;

use super::channel::{Channel, Hints};
use super::error::DataError;
use super::look::{Column, Look, direction, is_time};
use super::npy::{Stored, write_npy_f32};
use super::sound::{Sound, float_wav};
use super::table::Table;
use crate::storage::write_atomic;

/// Endings of text tables that are found in a folder. A `.txt` is read, too, where it is named.
const TABLES: [&str; 2] = ["csv", "tsv"];

/// Endings of the files that a folder of recordings is searched for.
pub const EXTENSIONS: [&str; 4] = ["npy", "csv", "tsv", "wav"];

/// A signal file with all its channels.
///
/// ```
/// use sparsecode_trainer::data::{Hints, Recording};
/// use sparsecode_trainer::data::Column;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("bearing.csv");
/// std::fs::write(&path, "time,accel\n0.0,-0.5\n0.5,0.25\n1.0,0.75\n1.5,0.5\n")?;
/// // Two columns and none named: an error that lists them.
/// let recording = Recording::read(&path, &Hints::default())?;
/// assert!(recording.choose(None).unwrap_err().to_string().contains("accel"));
/// let accel = recording.choose(Some(&Column::from("accel")))?;
/// assert_eq!((recording.channels[accel].values[1], recording.sample_rate), (0.25, Some(2.0)));
/// // The same file with another acceleration.
/// let clean = folder.path().join("clean.csv");
/// recording.write(&clean, &[(accel, vec![-0.25, 0.0, 0.5, 0.5])])?;
/// assert_eq!(std::fs::read_to_string(&clean)?, "time,accel\n0.0,-0.25\n0.5,0\n1.0,0.5\n1.5,0.5\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    /// Where it was read.
    pub path: PathBuf,
    /// All columns of a table, channels of sound, columns of an array; in the order of the file, at
    /// least one.
    pub channels: Vec<Channel>,
    /// Samples per second, where the file says: a `.wav`'s header, or a column of a table that is
    /// named time and rises evenly.
    pub sample_rate: Option<f32>,
    /// The number type in the file.
    pub number_type: NumberType,
    /// Remarks on how the file was read, a sentence each.
    pub notes: Vec<String>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Table(Table),
    Sound(Sound),
    Array(Stored),
}

/// What became of values that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The number type in the file.
    pub number_type: NumberType,
    /// Values beyond the range of that type, which were cut to its largest or smallest one.
    pub clipped: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Table,
    Sound,
    Array,
}

fn kind(path: &Path) -> Option<Kind> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "npy" => Some(Kind::Array),
        "wav" => Some(Kind::Sound),
        "txt" => Some(Kind::Table),
        other if TABLES.contains(&other) => Some(Kind::Table),
        _ => None,
    }
}

impl Recording {
    /// Reads a `.csv`, `.tsv` or `.txt` (separated by commas, semicolons, tabs, bars or spaces;
    /// decimal points or commas; UTF-8 or UTF-16), a `.wav` (integers of 8 to 32 bits, floats of 32
    /// or 64) or a `.npy` (N or N×channels, any real number type).
    ///
    /// # Errors
    /// The file cannot be read or is malformed; it can be read in two ways (the message names the
    /// key that decides); an array looks transposed.
    pub fn read(path: &Path, hints: &Hints) -> Result<Self, DataError> {
        match kind(path) {
            Some(Kind::Table) => Self::read_table(path, hints),
            Some(Kind::Sound) => Self::read_sound(path),
            Some(Kind::Array) => Self::read_array(path),
            None => Err(DataError::malformed(
                path,
                "its name does not say that it is a signal",
                "give a .npy, .csv, .tsv, .txt or .wav file",
            )),
        }
    }

    fn read_table(path: &Path, hints: &Hints) -> Result<Self, DataError> {
        let (table, content) = Table::read(path, hints)?;
        Ok(Self {
            path: path.to_path_buf(),
            channels: content.channels,
            sample_rate: content.sample_rate,
            number_type: NumberType::Text,
            notes: content.notes,
            source: Source::Table(table),
        })
    }

    fn read_sound(path: &Path) -> Result<Self, DataError> {
        let (sound, notes) = Sound::read(path)?;
        let channels = (0..sound.channels()).map(|channel| Channel::of(sound.channel(channel)));
        Ok(Self {
            path: path.to_path_buf(),
            channels: channels.collect(),
            sample_rate: Some(sound.sample_rate()),
            number_type: sound.number_type(),
            notes,
            source: Source::Sound(sound),
        })
    }

    fn read_array(path: &Path) -> Result<Self, DataError> {
        let (stored, array) = Stored::read(path)?;
        let shape = array.shape;
        let channels = match shape[..] {
            [_] => 1,
            [1, count] if count > 1 => {
                return Err(DataError::malformed(
                    path,
                    format!(
                        "shape 1×{count} is one sample of {count} channels as it stands, and looks transposed"
                    ),
                    "save array.ravel()",
                ));
            }
            [samples, channels] if samples < channels => {
                return Err(DataError::malformed(
                    path,
                    format!(
                        "shape {samples}×{channels} is {samples} samples of {channels} channels as it stands, and looks transposed"
                    ),
                    format!(
                        "save array.T (samples×channels) and choose a channel by --set data.column=0 to {}; for rows that are samples use \
                         data.source = \"npy\"",
                        samples.saturating_sub(1)
                    ),
                ));
            }
            [_, channels] if channels > 0 => channels,
            _ => {
                return Err(DataError::malformed(
                    path,
                    format!("shape {shape:?} is neither N nor N×channels"),
                    "flatten it; for N windows or images use data.source = \"npy\"",
                ));
            }
        };
        let number_type = array.number_type;
        let values = array.values.into_f32();
        let channel = |channel| {
            let values = values.iter().skip(channel).step_by(channels);
            Channel::of(values.copied().collect())
        };
        Ok(Self {
            path: path.to_path_buf(),
            channels: (0..channels).map(channel).collect(),
            sample_rate: None,
            number_type,
            notes: Vec::new(),
            source: Source::Array(stored),
        })
    }

    /// Samples of each channel.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Table(table) => table.rows(),
            _ => self.channels[0].values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all channels are of one kind and may be treated alike: sound and arrays, not tables.
    pub fn is_uniform(&self) -> bool {
        !matches!(self.source, Source::Table(_))
    }

    /// The position of the channel that is meant: the one that `column` names, or the only one. All
    /// its values are finite.
    ///
    /// # Errors
    /// There is no such channel; none is named, and there are several (the message lists them and
    /// says what they look like), or the only one is an index or a time axis; a value of the
    /// channel is missing or not finite (the message says where).
    pub fn choose(&self, column: Option<&Column>) -> Result<usize, DataError> {
        let chosen = match column {
            Some(column) => self.named(column)?,
            None => self.only()?,
        };
        self.check(chosen)?;
        Ok(chosen)
    }

    /// Checks that each value of a channel is there and finite.
    ///
    /// # Errors
    /// Says which value is not.
    pub fn check(&self, channel: usize) -> Result<(), DataError> {
        let Channel {
            values, look, gap, ..
        } = &self.channels[channel];
        let wrong =
            |reason: String, remedy: &str| Err(DataError::malformed(&self.path, reason, remedy));
        if matches!(look, Look::Text | Look::Stamps) {
            let example = gap.as_ref().map(|gap| format!(" ({gap})"));
            return Err(DataError::config(
                "column",
                format!(
                    "column {} of {} is {look}, not numbers{}",
                    self.title(channel),
                    self.path.display(),
                    example.unwrap_or_default()
                ),
                match self.channels.len() {
                    1 => "give a column of numbers".to_string(),
                    _ => format!("name another; {}", self.list()),
                },
            ));
        }
        if let Some(gap) = gap {
            return wrong(gap.clone(), "fill the gap or cut it out");
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => wrong(
                format!("sample {index} is {}", values[index]),
                "fill the gap or cut it out",
            ),
            None => Ok(()),
        }
    }

    /// How a channel is called in messages: its name, or its position.
    pub fn title(&self, channel: usize) -> String {
        match &self.channels[channel].name {
            Some(name) if !name.is_empty() => name.clone(),
            _ => channel.to_string(),
        }
    }

    /// A channel and those that it is one of, in words: `column accel (of time, accel)`.
    pub(crate) fn named_channel(&self, channel: usize) -> String {
        let count = self.channels.len();
        if count == 1 && self.channels[0].name.as_ref().is_none_or(String::is_empty) {
            return format!("one {}", self.word());
        }
        let title = self.title(channel);
        let all: Vec<String> = (0..count).map(|channel| self.title(channel)).collect();
        match count {
            1 => format!("{} {title}", self.word()),
            2..=8 => format!("{} {title} (of {})", self.word(), all.join(", ")),
            _ => format!("{} {title} (of {count})", self.word()),
        }
    }

    fn word(&self) -> &'static str {
        match self.source {
            Source::Table(_) => "column",
            _ => "channel",
        }
    }

    fn named(&self, column: &Column) -> Result<usize, DataError> {
        let count = self.channels.len();
        let named = |name: &str| {
            let same = |channel: &Channel| channel.name.as_deref() == Some(name);
            let first = self.channels.iter().position(same)?;
            Some((first, self.channels[first + 1..].iter().any(same)))
        };
        let found = match column {
            Column::Index(index) => {
                // Data frames number their columns, so a number may be a name.
                let by_name = named(&index.to_string());
                let by_place = (*index < count).then_some((*index, false));
                if let (Some((name, _)), Some((place, _))) = (by_name, by_place)
                    && name != place
                {
                    return Err(DataError::config(
                        "column",
                        format!(
                            "{index} is the position of one column of {} and the name of another",
                            self.path.display()
                        ),
                        format!(
                            "give the position {name}, or the name in quotes: --set data.column='\"{index}\"'; {}",
                            self.list()
                        ),
                    ));
                }
                by_place.or(by_name)
            }
            Column::Name(name) => named(name),
        };
        match found {
            Some((channel, false)) => Ok(channel),
            Some((_, true)) => Err(DataError::config(
                "column",
                format!(
                    "{} has several columns of the name {column}",
                    self.path.display()
                ),
                format!("give a number instead of the name; {}", self.list()),
            )),
            None => Err(DataError::config(
                "column",
                format!("{} has no {} {column}", self.path.display(), self.word()),
                match count {
                    1 => {
                        "it has one: leave data.column out, or give --set data.column=0".to_string()
                    }
                    _ => self.list(),
                },
            )),
        }
    }

    fn only(&self) -> Result<usize, DataError> {
        let filled = |channel: &&Channel| channel.look != Look::Empty;
        let count = self.channels.iter().filter(filled).count();
        if count > 1 {
            let meant = self.channels.iter().position(|c| c.look.is_signal());
            let meant = meant.unwrap_or(0);
            // A name that needs no quotes and cannot be taken for a position.
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let name = Some(self.title(meant))
                .filter(|name| name.starts_with(char::is_alphabetic) && name.chars().all(is_word));
            let example = name.unwrap_or(meant.to_string());
            return Err(DataError::config(
                "column",
                format!(
                    "{} has {count} {}s and none is named",
                    self.path.display(),
                    self.word()
                ),
                format!(
                    "name one, as --set data.column={example}; {}{}",
                    self.list(),
                    self.doubt()
                ),
            ));
        }
        let only = self.channels.iter().position(|c| c.look != Look::Empty);
        let only = only.unwrap_or(0);
        let look = self.channels[only].look;
        let axis = matches!(
            look,
            Look::Counter { .. } | Look::Even { .. } | Look::Monotonic { .. } | Look::Stamps
        );
        if axis && !self.is_uniform() {
            return Err(DataError::config(
                "column",
                format!(
                    "the only column of {} {}, and is no signal",
                    self.path.display(),
                    match look {
                        Look::Stamps => "holds time stamps".to_string(),
                        look => look.to_string(),
                    }
                ),
                format!(
                    "give a file with the signal, or name the column if it is meant: --set data.column={only}"
                ),
            ));
        }
        Ok(only)
    }

    /// What else the columns of a table may be.
    fn doubt(&self) -> &'static str {
        match &self.source {
            Source::Table(table) if table.may_have_decimal_commas() => {
                "; if its commas are decimal signs, add --set data.decimal=comma"
            }
            _ => "",
        }
    }

    /// All channels with what they look like.
    fn list(&self) -> String {
        const MOST: usize = 40;
        let mut parts: Vec<String> = self
            .channels
            .iter()
            .take(MOST)
            .enumerate()
            .map(|(index, channel)| {
                let gap = if channel.gap.is_some() && !channel.values.is_empty() {
                    ", with a gap"
                } else {
                    ""
                };
                match &channel.name {
                    Some(name) if !name.is_empty() => {
                        format!("{index} {name:?} ({}{gap})", channel.look)
                    }
                    _ => format!("{index} ({}{gap})", channel.look),
                }
            })
            .collect();
        if self.channels.len() > MOST {
            parts.push(format!("and {} more", self.channels.len() - MOST));
        }
        format!("{}s: {}", self.word(), parts.join(", "))
    }

    /// Writes the recording with other values in some channels: pairs of a channel and its values.
    ///
    /// A file of the same kind as the one that was read keeps everything else: the other channels,
    /// header, separators, quotes, decimal sign and line ends of a table, number type and chunks of
    /// a `.wav`, number type, byte order and shape of a `.npy`. Integers are rounded and cut to
    /// their range. A file of another kind holds the replaced channels alone, as 32-bit floats or
    /// text. The file is written under a temporary name and renamed.
    ///
    /// # Errors
    /// The file cannot be written; its name does not say that it is a signal; a `.wav` needs a
    /// sample rate that the recording does not have.
    ///
    /// # Panics
    /// If there is no such channel, or a channel gets more or fewer values than it has.
    pub fn write(&self, path: &Path, replaced: &[(usize, Vec<f32>)]) -> Result<Written, DataError> {
        for (channel, values) in replaced {
            assert!(*channel < self.channels.len(), "no channel {channel}");
            assert_eq!(values.len(), self.len(), "values of channel {channel}");
        }
        let (bytes, clipped) = match (&self.source, kind(path)) {
            (Source::Table(table), Some(Kind::Table)) => (table.with(replaced), 0),
            (Source::Sound(sound), Some(Kind::Sound)) => sound.with(replaced),
            (Source::Array(stored), Some(Kind::Array)) => {
                let channels = self.channels.len();
                stored.with(replaced.iter().flat_map(|(channel, values)| {
                    let positions = (*channel..).step_by(channels);
                    positions.zip(values.iter().copied())
                }))
            }
            (_, Some(kind)) => return self.convert(path, kind, replaced),
            (_, None) => {
                return Err(DataError::malformed(
                    path,
                    "its name does not say that it is a signal",
                    "give a name that ends in .npy, .csv, .tsv, .txt or .wav",
                ));
            }
        };
        write_atomic(path, &bytes)?;
        Ok(Written {
            number_type: self.number_type,
            clipped,
        })
    }

    fn convert(
        &self,
        path: &Path,
        kind: Kind,
        replaced: &[(usize, Vec<f32>)],
    ) -> Result<Written, DataError> {
        let frames = self.len();
        let interleaved =
            || (0..frames).flat_map(|frame| replaced.iter().map(move |(_, values)| values[frame]));
        let number_type = match kind {
            Kind::Array => {
                let values: Vec<f32> = interleaved().collect();
                let shape = match replaced.len() {
                    1 => vec![frames],
                    channels => vec![frames, channels],
                };
                write_npy_f32(path, &shape, &values)?;
                NumberType::F32
            }
            Kind::Sound => {
                let rate = self.sample_rate.ok_or_else(|| {
                    DataError::config(
                        "sample_rate",
                        format!(
                            "{} does not say its samples per second, which a .wav needs",
                            self.path.display()
                        ),
                        "write .npy or .csv, or say the rate",
                    )
                })?;
                let channels: Vec<Vec<f32>> =
                    replaced.iter().map(|(_, values)| values.clone()).collect();
                write_atomic(path, &float_wav(&channels, rate.round() as u32))?;
                NumberType::F32
            }
            Kind::Table => {
                let mut text = String::new();
                if replaced.len() > 1 {
                    let names: Vec<String> = replaced
                        .iter()
                        .map(|(channel, _)| format!("{} {channel}", self.word()))
                        .collect();
                    text += &(names.join(",") + "\n");
                }
                for frame in 0..frames {
                    let values: Vec<String> = replaced
                        .iter()
                        .map(|(_, values)| values[frame].to_string())
                        .collect();
                    text += &(values.join(",") + "\n");
                }
                write_atomic(path, text.as_bytes())?;
                NumberType::Text
            }
        };
        Ok(Written {
            number_type,
            clipped: 0,
        })
    }
}

impl Channel {
    fn of(values: Vec<f32>) -> Self {
        let exact: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        Self {
            name: None,
            look: Look::of(&exact),
            values,
            gap: None,
        }
    }

    /// Takes a column for time that is named so and does not turn round.
    pub(super) fn looked_at_by_name(mut self, exact: &[f64]) -> Self {
        if let (Look::Values { .. }, Some(name)) = (self.look, &self.name)
            && is_time(name)
            && let Some(rises) = direction(exact)
        {
            self.look = Look::Monotonic { rises };
        }
        self
    }
}

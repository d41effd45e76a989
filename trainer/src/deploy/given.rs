//! A person's file as a model takes it: a signal, a picture or an array of samples, channel by
//! channel, and written back as it was.

use std::path::{Path, PathBuf};

use sparsecode_formats::{Contrast, ModelSpec, NumberType};

use crate::data::npy::{Array, Stored as StoredArray};
use crate::data::picture::{self, Pixels};
use crate::data::{Column, DataError, has_extension, short};
use crate::data::{Hints, Recording};
use crate::deploy::denoise::Layout;
use crate::deploy::units::{Stored, range_of};
use crate::storage::{StorageError, write_atomic};

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// What the file holds.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It can be meant in several ways, or not as asked; says the words that would do.
    #[error("{}: {problem}", path.display())]
    Unclear {
        /// The file.
        path: PathBuf,
        /// What is open.
        problem: String,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What an array of two or three axes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayKind {
    /// A picture: H×W, or H×W×channels.
    Picture,
    /// Samples of the model's size: N×d or N×h×w.
    Samples,
    /// A signal: N, or N×channels.
    Signal,
}

/// What a person says about a file that the file does not say itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Which columns or channels: a name, a position, several with commas between them, or `all`.
    pub column: Option<String>,
    /// What an array is.
    pub kind: Option<ArrayKind>,
    /// About a table.
    pub hints: Hints,
    /// Distance between neighbouring windows; a quarter of the window by default.
    pub hop: Option<usize>,
}

/// One channel of a recording, one colour of a picture, or all samples of an array.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name, where there are several.
    pub name: Option<String>,
    /// As the file has them: see [`Stored`].
    pub values: Vec<f32>,
}

/// A file, read.
pub struct Given {
    /// The file.
    pub path: PathBuf,
    /// What is taken of it, at least one part.
    pub parts: Vec<Part>,
    /// What kind of numbers it has.
    pub stored: Stored,
    /// How the values of a part belong together.
    pub layout: Layout,
    /// Samples per second, where the file says.
    pub sample_rate: Option<f32>,
    /// What was read, in a line.
    pub summary: String,
    /// Remarks on how the file was read, a sentence each.
    pub notes: Vec<String>,
    source: Source,
}

enum Source {
    /// With the positions of the parts.
    Recording(Box<Recording>, Vec<usize>),
    Picture(Pixels),
    /// With the channels that lie interleaved.
    Array(StoredArray, usize),
}

/// Windows lie a quarter of their width apart.
pub fn default_hop(spec: &ModelSpec<'_>) -> usize {
    usize::from(spec.input_shape.width).div_ceil(4)
}

/// Whether a file's name says that it is a picture.
fn is_picture(path: &Path) -> bool {
    has_extension(path, &picture::EXTENSIONS)
}

impl Given {
    /// Reads a picture, a recording (`.csv`, `.wav`, …) or an array for a model.
    ///
    /// An array N×d or N×h×w of the model's d numbers holds samples; another one of two axes is a
    /// signal N×channels for a model of windows, and has to be called a picture for a model of
    /// patches.
    ///
    /// # Errors
    ///
    /// The file cannot be read, holds values that are not finite, or can be read in several ways.
    pub fn read(path: &Path, spec: &ModelSpec<'_>, said: &Said) -> Result<Self, GivenError> {
        let unclear = |problem: String| GivenError::Unclear {
            path: path.to_path_buf(),
            problem,
        };
        let is_array = has_extension(path, &["npy"]);
        if said.kind.is_some() && !is_array {
            return Err(unclear(
                "--as: only an array (.npy) can be read in several ways; leave it out".to_owned(),
            ));
        }
        if is_picture(path) {
            if said.column.is_some() {
                return Err(unclear(
                    "--column: a picture has none; each of its colours is taken alone".to_owned(),
                ));
            }
            return Ok(Self::of_picture(path, Pixels::read(path)?, spec, said));
        }
        if !is_array {
            return Self::of_recording(path, spec, said);
        }
        let (stored, array) = StoredArray::read(path)?;
        let kind = match said.kind {
            Some(kind) => kind,
            None => kind_of(&array, spec).map_err(unclear)?,
        };
        if kind == ArrayKind::Signal {
            return Self::of_recording(path, spec, said);
        }
        if said.column.is_some() {
            return Err(unclear(
                "--column: only a signal has columns; say --as signal if the array is one"
                    .to_owned(),
            ));
        }
        match kind {
            ArrayKind::Picture => Self::of_planes(path, stored, array, spec, said),
            _ => Self::of_samples(path, stored, array, spec, said),
        }
    }

    fn of_picture(path: &Path, pixels: Pixels, spec: &ModelSpec<'_>, said: &Said) -> Self {
        let names: &[&str] = match pixels.channels.len() {
            1 => &["grey"],
            _ => &["red", "green", "blue"],
        };
        let parts: Vec<Part> = pixels
            .channels
            .iter()
            .zip(names)
            .map(|(values, name)| Part {
                name: (names.len() > 1).then(|| (*name).to_owned()),
                values: values.clone(),
            })
            .collect();
        let (bits, levels) = match pixels.number_type {
            NumberType::U16 => (16, 65535.0),
            _ => (8, 255.0),
        };
        let colours = match parts.len() {
            1 => "grey",
            _ => "red, green and blue, each alone",
        };
        let alpha = match pixels.alpha {
            Some(_) => ", opacity kept",
            None => "",
        };
        Self {
            path: path.to_path_buf(),
            stored: Stored::Picture { levels },
            layout: Layout::Image {
                width: pixels.width,
                hop: said.hop.unwrap_or(default_hop(spec)),
            },
            sample_rate: None,
            summary: format!(
                "{}: {}x{} pixels of {bits} bits, {colours}{alpha}",
                path.display(),
                pixels.width,
                pixels.height
            ),
            notes: Vec::new(),
            parts,
            source: Source::Picture(pixels),
        }
    }

    fn of_recording(path: &Path, spec: &ModelSpec<'_>, said: &Said) -> Result<Self, GivenError> {
        let recording = Recording::read(path, &said.hints)?;
        let chosen = chosen(&recording, said.column.as_deref())?;
        let several = recording.channels.len() > 1;
        let parts: Vec<Part> = chosen
            .iter()
            .map(|&channel| Part {
                name: several.then(|| recording.title(channel)),
                values: recording.channels[channel].values.clone(),
            })
            .collect();
        let number_type = recording.number_type;
        let stored = match has_extension(path, &["wav"]) {
            true => Stored::sound(number_type),
            false => Stored::Numbers { number_type },
        };
        let mut notes = recording.notes.clone();
        for &channel in &chosen {
            let look = recording.channels[channel].look;
            if !look.is_signal() {
                notes.push(format!("{} {look}", recording.named_channel(channel)));
            }
        }
        let words: Vec<String> = chosen
            .iter()
            .map(|&channel| recording.named_channel(channel))
            .collect();
        let alone = if words.len() > 1 { ", each alone" } else { "" };
        let rate = recording
            .sample_rate
            .map_or("sample rate not known".to_owned(), |rate| {
                format!("{} per second", short(rate.into()))
            });
        Ok(Self {
            path: path.to_path_buf(),
            stored,
            layout: Layout::Signal {
                hop: said.hop.unwrap_or(default_hop(spec)),
            },
            sample_rate: recording.sample_rate,
            summary: format!(
                "{}: {}{alone}, {} samples, {}, {rate}, {}",
                path.display(),
                words.join(", "),
                recording.len(),
                named(number_type),
                extent(&parts)
            ),
            notes,
            parts,
            source: Source::Recording(Box::new(recording), chosen),
        })
    }

    fn of_planes(
        path: &Path,
        stored: StoredArray,
        array: Array,
        spec: &ModelSpec<'_>,
        said: &Said,
    ) -> Result<Self, GivenError> {
        let number_type = array.number_type;
        let (width, height, count) = match array.shape[..] {
            [height, width] => (width, height, 1),
            [height, width, channels @ 1..=4] => (width, height, channels),
            _ => {
                return Err(DataError::malformed(
                    path,
                    format!("shape {:?} is no picture", array.shape),
                    "give an array H×W, or H×W×channels with up to 4 channels",
                )
                .into());
            }
        };
        let values = finite(path, array, 0)?;
        let parts: Vec<Part> = (0..count)
            .map(|channel| Part {
                name: (count > 1).then(|| channel.to_string()),
                values: values
                    .iter()
                    .skip(channel)
                    .step_by(count)
                    .copied()
                    .collect(),
            })
            .collect();
        let channels = match count {
            1 => String::new(),
            _ => format!(", {count} channels, each alone"),
        };
        Ok(Self {
            path: path.to_path_buf(),
            stored: Stored::Numbers { number_type },
            layout: Layout::Image {
                width,
                hop: said.hop.unwrap_or(default_hop(spec)),
            },
            sample_rate: None,
            summary: format!(
                "{}: a picture of {width}x{height}{channels}, {number_type}, {}",
                path.display(),
                extent(&parts)
            ),
            notes: Vec::new(),
            parts,
            source: Source::Array(stored, count),
        })
    }

    fn of_samples(
        path: &Path,
        stored: StoredArray,
        array: Array,
        spec: &ModelSpec<'_>,
        said: &Said,
    ) -> Result<Self, GivenError> {
        let dim = spec.input_dim();
        if matches!(spec.preprocessing.contrast, Contrast::Local { .. }) {
            return Err(GivenError::Unclear {
                path: path.to_path_buf(),
                problem: "this model normalises local contrast, which needs a patch's surroundings; give a whole image, \
                          as an array with --as picture"
                    .to_owned(),
            });
        }
        if !fits_samples(&array.shape, dim) {
            return Err(not_samples(path, &array.shape, dim).into());
        }
        let patch_height = usize::from(spec.input_shape.height);
        let mut notes = Vec::new();
        if let [height, width] = array.shape[..]
            && !spec.input_shape.is_window()
            && height >= patch_height
            && said.kind.is_none()
        {
            notes.push(format!(
                "its {height} rows are taken as samples of {}; give --as picture if the array is a picture of {width}x{height}",
                spec.input_shape
            ));
        }
        let number_type = array.number_type;
        let values = finite(path, array, dim)?;
        let parts = vec![Part { name: None, values }];
        Ok(Self {
            path: path.to_path_buf(),
            stored: Stored::Numbers { number_type },
            layout: Layout::Samples,
            sample_rate: None,
            summary: format!(
                "{}: {} samples of {}, {number_type}, {}",
                path.display(),
                parts[0].values.len() / dim,
                spec.input_shape,
                extent(&parts)
            ),
            notes,
            parts,
            source: Source::Array(stored, 1),
        })
    }

    /// Writes the file with other values in its parts, in the order of `parts` and as the file has
    /// them. The same kind of file keeps its number type and everything that was not replaced.
    /// Returns how many values were cut to the range of the number type.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or is of a kind that does not hold what was read.
    ///
    /// # Panics
    ///
    /// If there are more or fewer values than were read.
    pub fn write(&self, path: &Path, values: Vec<Vec<f32>>) -> Result<usize, GivenError> {
        assert_eq!(values.len(), self.parts.len(), "parts");
        match &self.source {
            Source::Recording(recording, chosen) => {
                let replaced: Vec<_> = chosen.iter().copied().zip(values).collect();
                Ok(recording.write(path, &replaced)?.clipped)
            }
            Source::Picture(pixels) => Ok(pixels.write(path, &values)?),
            Source::Array(stored, channels) => {
                let interleaved = values.iter().enumerate().flat_map(|(channel, values)| {
                    let positions = (channel..).step_by(*channels);
                    positions.zip(values.iter().copied())
                });
                let (bytes, clipped) = stored.with(interleaved);
                write_atomic(path, &bytes)?;
                Ok(clipped)
            }
        }
    }

    /// Whether a file of this name holds what was read.
    ///
    /// # Errors
    ///
    /// Its format has no place for 16 bits, colours or opacity that were read.
    pub fn check(&self, path: &Path) -> Result<(), GivenError> {
        if let Source::Picture(pixels) = &self.source {
            pixels.format(path, pixels.channels.len())?;
        }
        Ok(())
    }

    /// Endings of the files that it can be written as.
    pub fn endings(&self) -> &'static [&'static str] {
        match &self.source {
            Source::Recording(..) => &["csv", "tsv", "txt", "wav", "npy"],
            Source::Picture(_) => &["png", "tif", "tiff", "pgm", "bmp"],
            Source::Array(..) => &["npy"],
        }
    }
}

/// Smallest and largest value, in words.
fn extent(parts: &[Part]) -> String {
    let ranges = parts.iter().map(|part| range_of(&part.values));
    let [low, high] = ranges.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], [l, h]| {
        [low.min(l), high.max(h)]
    });
    format!("{} to {}", short(low.into()), short(high.into()))
}

fn named(number_type: NumberType) -> String {
    match number_type {
        NumberType::Text => "decimal text".to_owned(),
        number_type => number_type.to_string(),
    }
}

/// The channels that are meant: the named ones, all that may be signals, or the only one.
fn chosen(recording: &Recording, column: Option<&str>) -> Result<Vec<usize>, DataError> {
    let is_name = |text: &str| {
        let mut names = recording
            .channels
            .iter()
            .map(|channel| channel.name.as_deref());
        names.any(|name| name == Some(text))
    };
    let chosen = match column {
        Some("all") if !is_name("all") => {
            let all = 0..recording.channels.len();
            let signals: Vec<usize> = all
                .filter(|&channel| {
                    recording.is_uniform() || recording.channels[channel].look.is_signal()
                })
                .collect();
            for &channel in &signals {
                recording.check(channel)?;
            }
            if signals.is_empty() {
                return recording.choose(None).map(|channel| vec![channel]);
            }
            signals
        }
        Some(list) if list.contains(',') && !is_name(list) => {
            let mut chosen = Vec::new();
            for column in list.split(',') {
                let channel = recording.choose(Some(&Column::from(column.trim())))?;
                if !chosen.contains(&channel) {
                    chosen.push(channel);
                }
            }
            chosen
        }
        column => vec![recording.choose(column.map(Column::from).as_ref())?],
    };
    Ok(chosen)
}

/// Whether an array holds samples of `dim` numbers.
pub fn fits_samples(shape: &[usize], dim: usize) -> bool {
    shape.len() >= 2 && shape[1..].iter().product::<usize>() == dim
}

fn not_samples(path: &Path, shape: &[usize], dim: usize) -> DataError {
    DataError::malformed(
        path,
        format!("shape {shape:?}, but the model takes rows of {dim} numbers"),
        format!("give an array N×{dim}"),
    )
}

/// What an array is for a model when nobody says; or why that is open.
fn kind_of(array: &Array, spec: &ModelSpec<'_>) -> Result<ArrayKind, String> {
    let (shape, dim) = (&array.shape[..], spec.input_dim());
    let local = matches!(spec.preprocessing.contrast, Contrast::Local { .. });
    let [patch_height, patch_width] =
        [spec.input_shape.height, spec.input_shape.width].map(usize::from);
    match *shape {
        [_] => Ok(ArrayKind::Signal),
        _ if fits_samples(shape, dim) => Ok(ArrayKind::Samples),
        [_, _] if spec.input_shape.is_window() => Ok(ArrayKind::Signal),
        [height, width] | [height, width, 1..=4]
            if height >= patch_height && width >= patch_width && !local | (shape.len() == 2) =>
        {
            Err(format!(
                "shape {shape:?} is not N×{dim}, the samples of this model: give --as picture if the array is a picture of {width}x{height}"
            ))
        }
        _ => Ok(ArrayKind::Samples),
    }
}

/// The values, if all are finite; `dim` numbers are a row.
fn finite(path: &Path, array: Array, dim: usize) -> Result<Vec<f32>, DataError> {
    let width = match (dim, &array.shape[..]) {
        (0, [_, rest @ ..]) => rest.iter().product(),
        (dim, _) => dim,
    };
    let values = array.values.into_f32();
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(DataError::malformed(
            path,
            format!(
                "row {} holds a value that is not finite",
                index / width.max(1)
            ),
            "fill the gap or cut it out",
        )),
        None => Ok(values),
    }
}

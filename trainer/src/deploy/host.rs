mod denoising;

use std::path::Path;

use crate::deploy::contrast::normalise;
use crate::run::RunFolder;

pub use denoising::{Cleaned, HostStream};

use sparsecode_formats::{
    AlignedBytes, Contrast, INTEGER_FORMAT_VERSION, IntegerFile, ModelSpec, ReadError, Units,
    is_run_weights,
};
use sparsecode_runtime::stream::{ContrastError, LocalContrastView, StreamError};
use sparsecode_runtime::{
    CodeBuffer, CodeError, DimensionError, GramView, IntegerCodeBuf, IntegerCodeBuffer as _,
    IntegerRefine, IntegerView, IntegerWorkspaceBuf, Method, ModelView, Refine, SparseCodeBuf,
    Start, WorkspaceBuf,
};

/// Why a model file cannot be run on the host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// It is a folder.
    #[error("{0} is a folder{1}")]
    Folder(String, String),
    /// It holds the weights of a run.
    #[error(
        "{file}: these are weights of a run, not a model file; `sparsecode export {run} --output model.safetensors` makes one"
    )]
    RunWeights {
        /// The file.
        file: String,
        /// Folder of the run.
        run: String,
    },
    /// It is not a model file.
    #[error("{0}: {1}")]
    Read(String, ReadError),
    /// Samples of the wrong size.
    #[error(transparent)]
    Dimension(#[from] DimensionError),
    /// Local contrast normalisation that cannot be computed.
    #[error(transparent)]
    Contrast(#[from] ContrastError),
    /// Windows that cannot be laid over the samples.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Coordinate descent for a decoder that is not linear.
    #[error(
        "coordinate descent takes a linear decoder, and the model's has a hidden layer of {hidden_dim} units: use FISTA"
    )]
    Descent {
        /// Units of the hidden layer.
        hidden_dim: usize,
    },
    /// A model that was not trained to denoise, where one is needed.
    #[error("the model reconstructs; `sparsecode train --task denoise` makes one that denoises")]
    Reconstructs,
    /// A code that is not one.
    #[error("code of row {row}: {error}")]
    Code {
        /// Row of the array, from 0.
        row: usize,
        /// What is wrong.
        error: CodeError,
    },
}

/// Reads a model file to an address where it can be used in place.
///
/// # Errors
///
/// Names the file; says so of a run's folder and of its weights, and how to make a model file of
/// them.
pub fn read_model(path: &Path) -> Result<AlignedBytes, HostError> {
    let name = path.display().to_string();
    if path.is_dir() {
        let what = match RunFolder::new(path).config().exists() {
            true => format!(
                " of a run, not a model file; `sparsecode export {name} --output model.safetensors` makes one"
            ),
            false => "; name a model file".to_owned(),
        };
        return Err(HostError::Folder(name, what));
    }
    let bytes = AlignedBytes::read(path).map_err(|e| HostError::Io(name.clone(), e))?;
    if is_run_weights(&bytes) {
        let run = path.parent().filter(|run| !run.as_os_str().is_empty());
        return Err(HostError::RunWeights {
            file: name,
            run: run.unwrap_or(Path::new(".")).display().to_string(),
        });
    }
    Ok(bytes)
}

/// A model file run on the host by the code that runs it on the device, be it for arithmetic in
/// `f32` or in integers; samples and codes are in real units either way.
pub struct HostModel<'a> {
    spec: ModelSpec<'a>,
    engine: Engine<'a>,
    code: SparseCodeBuf,
}

/// How a [`HostModel`] refines codes: [`HostModel::refinement`] makes the settings that a device
/// takes by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostRefine {
    /// FISTA, or coordinate descent, which takes a linear decoder.
    pub method: Method,
    /// Settings in real units. Coordinate descent takes no step size. Models in integers take λ,
    /// the number of iterations, the tolerance, rounded to a power of 2 (0: until nothing changes),
    /// and whether to start at the code.
    pub settings: Refine,
}

enum Engine<'a> {
    Float {
        view: ModelView<'a>,
        workspace: WorkspaceBuf,
        /// Made by the first descent.
        gram: Option<Box<GramView<'a>>>,
    },
    Integer {
        view: IntegerView<'a>,
        code: IntegerCodeBuf,
        workspace: IntegerWorkspaceBuf,
        units: Units,
        levels: Vec<i16>,
    },
}

/// The nearest level; values out of range become the last, NaN 0.
fn to_levels(values: &[f32], zero: f64, unit: f64, levels: &mut Vec<i16>) {
    let (zero, unit) = (zero as f32, unit as f32);
    levels.clear();
    // The conversion saturates.
    levels.extend(values.iter().map(|x| ((x - zero) / unit).round() as i16));
}

/// Cuts levels of preprocessed samples to those that the products take, as the device's own
/// preprocessing does.
fn cut(file: &IntegerFile<'_>, levels: &mut [i16]) {
    let (least, most) = file.spec.level_range();
    levels
        .iter_mut()
        .for_each(|level| *level = (*level).clamp(least, most));
}

impl<'a> HostModel<'a> {
    /// Checks a file's bytes, its checksum included; `name` is for messages.
    ///
    /// # Errors
    ///
    /// Names the field at fault.
    pub fn new(bytes: &'a AlignedBytes, name: &str) -> Result<Self, HostError> {
        Self::read(bytes).map_err(|error| HostError::Read(name.to_owned(), error))
    }

    fn read(bytes: &'a AlignedBytes) -> Result<Self, ReadError> {
        let (spec, engine) = match ModelView::load(bytes) {
            Ok(view) => {
                view.file().verify_checksum()?;
                let workspace = WorkspaceBuf::for_model(view.spec());
                let spec = *view.spec();
                let engine = Engine::Float {
                    view,
                    workspace,
                    gram: None,
                };
                (spec, engine)
            }
            Err(ReadError::UnsupportedVersion {
                found: INTEGER_FORMAT_VERSION,
            }) => {
                let file = bytes.integer_file()?;
                file.verify_checksum()?;
                let spec = file.spec()?;
                let engine = Engine::Integer {
                    view: IntegerView::from(file),
                    code: IntegerCodeBuf::new(file.spec.code_dim),
                    workspace: IntegerWorkspaceBuf::for_model(&file.spec),
                    units: file.units()?,
                    levels: Vec::with_capacity(spec.input_dim()),
                };
                (spec, engine)
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            code: SparseCodeBuf::new(spec.code_dim),
            spec,
            engine,
        })
    }

    /// What the file's metadata says.
    pub fn spec(&self) -> &ModelSpec<'a> {
        &self.spec
    }

    /// The file, if it is one for integer arithmetic.
    pub fn integer(&self) -> Option<&IntegerFile<'a>> {
        match &self.engine {
            Engine::Float { .. } => None,
            Engine::Integer { view, .. } => Some(view.file()),
        }
    }

    /// The code of the last sample, in its sparse form.
    pub fn code(&self) -> &SparseCodeBuf {
        &self.code
    }

    /// What a device does by default, for `iterations` at most: [`Refine::for_model`] with FISTA,
    /// or, for a model in integers, [`IntegerRefine::for_model`].
    pub fn refinement(&self, iterations: u32) -> HostRefine {
        HostRefine {
            method: match &self.engine {
                Engine::Float { .. } => Method::Fista,
                Engine::Integer { view, .. } => IntegerRefine::for_model(view.file()).method,
            },
            settings: Refine {
                max_iterations: iterations,
                ..Refine::for_model(&self.spec)
            },
        }
    }

    /// Encodes a preprocessed sample, and refines the code if asked to: from the code that the
    /// sample has without refinement, or from where the settings say.
    ///
    /// # Errors
    ///
    /// If the sample's length is not the model's, or coordinate descent is asked for and the
    /// decoder is not linear.
    pub fn encode(
        &mut self,
        input: &[f32],
        refine: Option<&HostRefine>,
    ) -> Result<&SparseCodeBuf, HostError> {
        match &mut self.engine {
            Engine::Float {
                view,
                workspace,
                gram,
            } => {
                let code = &mut self.code;
                if starts_at_code(refine) {
                    view.encode(input, code, workspace)?;
                }
                if let Some(HostRefine { method, settings }) = refine {
                    match method {
                        Method::Fista => {
                            view.refine(input, code, settings, workspace, || false)?;
                        }
                        Method::CoordinateDescent => {
                            let gram = gram_of(view, gram)?;
                            gram.descend(input, code, settings, workspace, || false)?;
                        }
                    }
                }
            }
            Engine::Integer {
                view,
                code,
                workspace,
                units,
                levels,
            } => {
                to_levels(input, units.zero, units.level, levels);
                cut(view.file(), levels);
                if starts_at_code(refine) {
                    view.encode(levels, code, workspace)?;
                }
                if let Some(refine) = refine {
                    let settings = settings(view.file(), refine);
                    view.refine(levels, code, &settings, workspace, || false)?;
                }
                take_code(code, units, &mut self.code);
            }
        }
        Ok(&self.code)
    }

    /// Height and width of the raw sample that a code is made of: the model's input shape, or, with
    /// local contrast normalisation, a crop around it that holds the surroundings which the
    /// normalisation needs.
    pub fn raw_shape(&self) -> (usize, usize) {
        let spec = &self.spec;
        let (height, width) = (
            usize::from(spec.input_shape.height),
            usize::from(spec.input_shape.width),
        );
        let margin = match spec.preprocessing.contrast {
            Contrast::Local { window, .. } => 2 * (usize::from(window) - 1),
            _ => 0,
        };
        (height + margin, width + margin)
    }

    /// Encodes a raw sample of [`HostModel::raw_shape`], preprocessed as the file says.
    ///
    /// # Errors
    ///
    /// If the sample's length is not that shape's.
    pub fn encode_raw(
        &mut self,
        raw: &[f32],
        refine: Option<&HostRefine>,
    ) -> Result<(), HostError> {
        let spec = self.spec;
        let (height, width) = self.raw_shape();
        if raw.len() != height * width {
            return Err(DimensionError {
                field: "sample",
                expected: height * width,
                found: raw.len(),
            }
            .into());
        }
        let mut sample = raw.to_vec();
        if let Contrast::Local { window, .. } = spec.preprocessing.contrast {
            let mut taps = vec![0.0; usize::from(window)];
            let settings = LocalContrastView::new(&spec.preprocessing, &mut taps)?;
            let image = normalise(settings, &sample, width)?;
            // Far enough from the crop's border, the padding there does not count.
            let border = usize::from(window) - 1;
            let rows = image
                .values
                .chunks_exact(width)
                .skip(border)
                .take(height - 2 * border);
            sample = rows
                .flat_map(|row| row[border..width - border].iter().copied())
                .collect();
        } else {
            self.preprocess(&mut sample)?;
        }
        self.encode(&sample, refine)?;
        Ok(())
    }

    /// Brings a raw sample to the units of the model.
    fn preprocess(&self, sample: &mut [f32]) -> Result<(), HostError> {
        match &self.engine {
            Engine::Float { view, .. } => {
                let _ = view.preprocess(sample)?;
            }
            Engine::Integer { view, units, .. } => {
                let mut levels = Vec::new();
                to_levels(sample, 0.0, units.input, &mut levels);
                let _ = view.preprocess(&mut levels)?;
                for (x, level) in sample.iter_mut().zip(levels) {
                    *x = (f64::from(level) * units.level + units.zero) as f32;
                }
            }
        }
        Ok(())
    }

    /// Reconstructs the last code in preprocessed units.
    ///
    /// # Errors
    ///
    /// If the output's length is not the model's.
    pub fn reconstruct(&mut self, output: &mut [f32]) -> Result<(), HostError> {
        match &mut self.engine {
            Engine::Float {
                view, workspace, ..
            } => view.decode(&self.code, output, workspace)?,
            Engine::Integer {
                view,
                code,
                workspace,
                units,
                levels,
            } => {
                levels.clear();
                levels.resize(output.len(), 0);
                view.decode(code, levels, workspace)?;
                for (x, level) in output.iter_mut().zip(levels) {
                    *x = (f64::from(*level) * units.level + units.zero) as f32;
                }
            }
        }
        Ok(())
    }

    /// Reconstructs a dense code (row `row` of an array) in raw units, as far as these are known
    /// without the sample: the data set's own mean and deviation are undone, a patch's own contrast
    /// is not.
    ///
    /// # Errors
    ///
    /// If a length is not the model's, or a value is not finite, or negative without signed codes.
    pub fn decode_dense(
        &mut self,
        row: usize,
        code: &[f32],
        output: &mut [f32],
    ) -> Result<(), HostError> {
        let spec = self.spec;
        if code.len() != spec.code_dim() {
            return Err(DimensionError {
                field: "code",
                expected: spec.code_dim(),
                found: code.len(),
            }
            .into());
        }
        self.code.clear();
        for (index, &value) in code.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            // A code has at most 65535 components.
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            self.code
                .push(index, value)
                .map_err(|error| HostError::Code { row, error })?;
        }
        let checked = self.code.check(spec.codes);
        checked.map_err(|error| HostError::Code { row, error })?;
        if let Engine::Integer { code, units, .. } = &mut self.engine {
            let mut levels = vec![0; spec.code_dim()];
            for (index, value) in self.code.iter() {
                // The conversion saturates; the decoder cuts to the levels of the model.
                levels[usize::from(index)] = (f64::from(value) / units.code).round() as i16;
            }
            code.from_dense(&levels);
        }
        self.reconstruct(output)?;
        if !matches!(spec.preprocessing.contrast, Contrast::Local { .. }) {
            let (mean, deviation) = (spec.preprocessing.mean, spec.preprocessing.deviation);
            output.iter_mut().for_each(|x| *x = *x * deviation + mean);
        }
        Ok(())
    }

    /// Denoises a raw sample in place.
    ///
    /// # Errors
    ///
    /// As those of [`encode`](Self::encode).
    pub fn denoise(
        &mut self,
        sample: &mut [f32],
        refine: Option<&HostRefine>,
    ) -> Result<(), HostError> {
        match &mut self.engine {
            Engine::Float { view, .. } => {
                let view = *view;
                let normalisation = view.preprocess(sample)?;
                self.encode(sample, refine)?;
                self.reconstruct(sample)?;
                view.restore(sample, normalisation)?;
            }
            Engine::Integer {
                view,
                code,
                workspace,
                units,
                levels,
            } => {
                to_levels(sample, 0.0, units.input, levels);
                let settings = refine.map(|refine| settings(view.file(), refine));
                view.denoise(levels, settings.as_ref(), code, workspace, || false)?;
                take_code(code, units, &mut self.code);
                for (x, level) in sample.iter_mut().zip(levels) {
                    *x = (f64::from(*level) * units.input) as f32;
                }
            }
        }
        Ok(())
    }
}

/// Whether the model's own inference comes first.
fn starts_at_code(refine: Option<&HostRefine>) -> bool {
    refine.is_none_or(|refine| refine.settings.start == Start::Code)
}

fn gram_of<'g, 'a>(
    view: &ModelView<'a>,
    gram: &'g mut Option<Box<GramView<'a>>>,
) -> Result<&'g mut GramView<'a>, HostError> {
    let hidden_dim = view.spec().hidden_dim();
    if hidden_dim > 0 {
        return Err(HostError::Descent { hidden_dim });
    }
    let made = match gram.take() {
        Some(made) => made,
        None => Box::new(GramView::new(view)?),
    };
    Ok(gram.insert(made))
}

/// The settings of integer arithmetic that stand for those in real units.
fn settings(file: &IntegerFile<'_>, refine: &HostRefine) -> IntegerRefine {
    let HostRefine { method, settings } = refine;
    let own = IntegerRefine::for_model(file);
    let bits = -settings.tolerance.max(f32::MIN_POSITIVE).log2();
    IntegerRefine {
        method: *method,
        threshold: match file.spec() {
            // What the file states is rounded from more digits.
            Ok(spec) if settings.lambda == spec.lambda => own.threshold,
            // The file's scales were read before.
            _ => file.threshold(settings.lambda).unwrap_or(own.threshold),
        },
        max_iterations: settings.max_iterations,
        tolerance_bits: bits.round().clamp(0.0, 31.0) as u8,
        from_zero: settings.start != Start::Code,
    }
}

fn take_code(levels: &IntegerCodeBuf, units: &Units, code: &mut SparseCodeBuf) {
    let mut dense = vec![0.0; code.capacity()];
    for (index, level) in levels.iter() {
        dense[usize::from(index)] = (f64::from(level) * units.code) as f32;
    }
    code.from_dense(&dense);
}

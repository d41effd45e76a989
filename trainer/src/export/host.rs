use std::path::Path;

use crate::data::local_contrast;

use sparsecode_formats::{AlignedBytes, Contrast, ReadError};
use sparsecode_runtime::{
    CodeBuffer, CodeError, DimensionError, ModelView, Normalisation, Refine, SparseCodeBuf, Start,
    WorkspaceBuf,
};

/// Why a model file cannot be run on the host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// It is not a model file.
    #[error("{0}: {1}")]
    Read(String, ReadError),
    /// Samples of the wrong size.
    #[error(transparent)]
    Dimension(#[from] DimensionError),
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
/// Names the file.
pub fn read_model(path: &Path) -> Result<AlignedBytes, HostError> {
    AlignedBytes::read(path).map_err(|e| HostError::Io(path.display().to_string(), e))
}

/// A model file run on the host by the code that runs it on the device: a view of the file, and the buffers.
pub struct HostModel<'a> {
    view: ModelView<'a>,
    workspace: WorkspaceBuf,
    code: SparseCodeBuf,
}

impl<'a> HostModel<'a> {
    /// Checks a file's bytes, its checksum included; `name` is for messages.
    ///
    /// # Errors
    ///
    /// Names the field at fault.
    pub fn new(bytes: &'a [u8], name: &str) -> Result<Self, HostError> {
        let refused = |e| HostError::Read(name.to_owned(), e);
        let view = ModelView::load(bytes).map_err(refused)?;
        view.file().verify_checksum().map_err(refused)?;
        let spec = view.spec();
        Ok(Self {
            workspace: WorkspaceBuf::for_model(spec),
            code: SparseCodeBuf::new(spec.code_dim),
            view,
        })
    }

    /// The model.
    pub fn view(&self) -> &ModelView<'a> {
        &self.view
    }

    /// The code of the last sample, in its sparse form.
    pub fn code(&self) -> &SparseCodeBuf {
        &self.code
    }

    /// FISTA with the model's own λ and step, for `iterations` at most; from the encoder's code where there is one.
    pub fn refinement(&self, iterations: u32) -> Refine {
        Refine {
            max_iterations: iterations,
            ..Refine::for_model(self.view.spec())
        }
    }

    /// Encodes a preprocessed sample, and refines the code if asked to.
    ///
    /// # Errors
    ///
    /// If the sample's length is not the model's.
    pub fn encode(
        &mut self,
        input: &[f32],
        refine: Option<&Refine>,
    ) -> Result<&SparseCodeBuf, HostError> {
        // Without an encoder, refinement replaces the default inference: there is no code to start from.
        let without_encoder = self.view.file().encoder.is_none();
        match refine {
            Some(refine) if without_encoder && refine.start != Start::Code => {
                self.view
                    .refine(input, &mut self.code, refine, &mut self.workspace, || false)?;
            }
            _ => {
                self.view
                    .encode(input, &mut self.code, &mut self.workspace)?;
                if let Some(refine) = refine {
                    self.view
                        .refine(input, &mut self.code, refine, &mut self.workspace, || false)?;
                }
            }
        }
        Ok(&self.code)
    }

    /// Height and width of the raw sample that a code is made of: the model's input shape, or, with local contrast normalisation, a
    /// crop around it that holds the surroundings which the normalisation needs.
    pub fn raw_shape(&self) -> (usize, usize) {
        let spec = self.view.spec();
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
    pub fn encode_raw(&mut self, raw: &[f32], refine: Option<&Refine>) -> Result<(), HostError> {
        let spec = *self.view.spec();
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
        if let Contrast::Local {
            window,
            sigma,
            floor,
        } = spec.preprocessing.contrast
        {
            let (mean, deviation) = (spec.preprocessing.mean, spec.preprocessing.deviation);
            sample.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
            let contrast =
                local_contrast(&sample, width, height, usize::from(window), sigma, floor);
            // Far enough from the crop's border, the padding there does not count.
            let border = usize::from(window) - 1;
            let rows = contrast
                .normalised
                .chunks_exact(width)
                .skip(border)
                .take(height - 2 * border);
            sample = rows
                .flat_map(|row| row[border..width - border].iter().copied())
                .collect();
        } else {
            let _ = self.view.preprocess(&mut sample)?;
        }
        self.encode(&sample, refine)?;
        Ok(())
    }

    /// Reconstructs the last code in preprocessed units.
    ///
    /// # Errors
    ///
    /// If the output's length is not the model's.
    pub fn reconstruct(&mut self, output: &mut [f32]) -> Result<(), HostError> {
        Ok(self.view.decode(&self.code, output, &mut self.workspace)?)
    }

    /// Reconstructs a dense code (row `row` of an array) in raw units, as far as these are known without the sample: the
    /// data set's own mean and deviation are undone, a patch's own contrast is not.
    ///
    /// # Errors
    ///
    /// If a length is not the model's, or a value is negative or not finite.
    pub fn decode_dense(
        &mut self,
        row: usize,
        code: &[f32],
        output: &mut [f32],
    ) -> Result<(), HostError> {
        let spec = *self.view.spec();
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
        self.reconstruct(output)?;
        let normalisation = match spec.preprocessing.contrast {
            Contrast::Local { .. } => Normalisation::External,
            _ => Normalisation::Patch {
                mean: 0.0,
                deviation: 1.0,
            },
        };
        Ok(self.view.restore(output, normalisation)?)
    }

    /// Denoises a raw sample in place.
    ///
    /// # Errors
    ///
    /// If the sample's length is not the model's.
    pub fn denoise(
        &mut self,
        sample: &mut [f32],
        refine: Option<&Refine>,
    ) -> Result<(), HostError> {
        self.view
            .denoise(sample, refine, &mut self.code, &mut self.workspace, || {
                false
            })?;
        Ok(())
    }
}

//! Writing model files.

// Host code: indices come from the shapes that `check` and the types hold to.
#![allow(clippy::indexing_slicing)]

mod checks;
mod error;
mod variational;

use core::fmt::Write as _;
use std::borrow::ToOwned;
use std::format;
use std::io::{self, Write as _};
use std::path::Path;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use crate::align::AlignedBytes;
use crate::checksum::crc32;
use crate::format::{FORMAT_VERSION, MAX_HEADER_LEN};
use crate::input::InputFacts;
use crate::matrix::ScaleAxis;
use crate::owned::{OwnedDecoder, OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec};
use crate::quant::{OwnedMatrix, QuantReport, atom_norm, check, lipschitz_bound, quantize};
use crate::read::{Decoder, ModelFile};
use crate::spec::{ModelSpec, Provenance, WeightType};
use crate::tensors::NOT_FOR_FLOATS;

use checks::{check_gram, check_variational, posterior_entries, widths};
pub(crate) use checks::{selection, stream_entries};
pub use error::WriteError;

/// A matrix and what its quantisation cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorReport {
    /// The tensor's name.
    pub tensor: &'static str,
    /// Rows and columns, as stored.
    pub shape: [usize; 2],
    /// The error; zero for [`WeightType::F32`].
    pub quantization: QuantReport,
}

/// A written model, and what is worth knowing about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// η of the decoder as stored: [`ModelSpec::step_size`].
    pub step_size: f32,
    /// Every matrix, in the order of the documentation's table.
    pub matrices: Vec<TensorReport>,
}

/// Quantises `model` to `weights` and lays it out as a model file. The same input gives the same
/// bytes.
///
/// The step size in the metadata is 1 over [`lipschitz_bound`] of the decoder as quantised, rounded
/// down.
///
/// # Errors
///
/// [`WriteError`]: nothing that [`ModelFile::read`] would refuse is written.
pub fn write(model: &OwnedModel, weights: WeightType) -> Result<Vec<u8>, WriteError> {
    write_with_report(model, weights).map(|written| written.bytes)
}

/// As [`write()`], with the step size and what quantisation cost each matrix.
///
/// # Errors
///
/// As [`write()`].
pub fn write_with_report(model: &OwnedModel, weights: WeightType) -> Result<Written, WriteError> {
    let mut tensors = Tensors {
        weights,
        matrices: Vec::new(),
        vectors: Vec::new(),
    };
    if weights == WeightType::I4 {
        return Err(NOT_FOR_FLOATS.into());
    }
    let spec = check_layout(model)?;
    let (inputs, codes, hiddens) = (spec.input_dim(), spec.code_dim(), spec.hidden_dim());
    if let Some(encoder) = &model.encoder {
        tensors.encoder(encoder, inputs, codes)?;
    }
    if let Some(encoder) = &model.variational {
        tensors.variational(encoder, inputs, codes)?;
    }
    if let Some(gram) = &model.gram {
        tensors.vector("encoder.steps", &gram.steps, gram.steps.len())?;
        tensors.vector("decoder.gain", &gram.gain, codes)?;
        let weights = spec.input_shape.overlap_weights();
        tensors.vector("window.weights", &gram.window_weights, weights)?;
        tensors.plain_matrix("encoder.thresholds", &gram.thresholds, codes)?;
    }
    let column = ScaleAxis::Column;
    let (lipschitz, atom_norm) = match &model.decoder {
        OwnedDecoder::Linear { dictionary } => {
            let dictionary =
                tensors.matrix("decoder.dictionary", dictionary, [codes, inputs], column)?;
            stored_constants(&Decoder::Linear {
                dictionary: dictionary.as_ref(),
            })
        }
        OwnedDecoder::OneHidden {
            hidden,
            hidden_bias,
            output,
        } => {
            tensors.vector("decoder.hidden_bias", hidden_bias, hiddens)?;
            let hidden = tensors
                .matrix("decoder.hidden", hidden, [codes, hiddens], column)?
                .clone();
            let output = tensors.matrix("decoder.output", output, [hiddens, inputs], column)?;
            stored_constants(&Decoder::OneHidden {
                hidden: hidden.as_ref(),
                hidden_bias,
                output: output.as_ref(),
            })
        }
    };
    let step_size = largest_step(lipschitz).ok_or(WriteError::StepSize)?;
    let spec = ModelSpec {
        step_size,
        atom_norm: atom_norm as f32,
        weights,
        ..spec
    };
    spec.check()?;
    let mut own = stream_entries(model.gram.as_ref());
    if let Some(gram) = &model.gram {
        own.push(("guard", gram.guard.to_string()));
        own.push(("noise_level", gram.noise_level.to_string()));
    }
    own.extend(selection(model.variational.as_ref()));
    own.extend(posterior_entries(model.variational.as_ref()));
    let bytes = tensors.layout(&spec, &model.spec.input, &own)?;
    check_read_back(&bytes, &spec, &model.spec.input)?;
    Ok(Written {
        bytes,
        step_size,
        matrices: tensors.reports(),
    })
}

/// What depends on the decoder as stored: the Lipschitz bound and the atoms' norm.
fn stored_constants(decoder: &Decoder<'_>) -> (f64, f64) {
    (lipschitz_bound(decoder), atom_norm(decoder))
}

/// The specification without the fields that follow from writing, checked against which weights
/// there are.
pub(crate) fn check_layout(model: &OwnedModel) -> Result<ModelSpec<'_>, WriteError> {
    let OwnedSpec {
        variant,
        input_shape,
        code_dim,
        hidden_dim,
        lista_iterations,
        codes,
        lambda,
        ..
    } = model.spec;
    let OwnedProvenance {
        data,
        seed,
        epoch,
        commit,
        config_hash,
    } = &model.spec.provenance;
    let spec = ModelSpec {
        variant,
        input_shape,
        code_dim,
        hidden_dim,
        lista_iterations,
        gram_iterations: model
            .gram
            .as_ref()
            .map(|gram| u8::try_from(gram.steps.len()).unwrap_or(0)),
        encoder_widths: widths(model.variational.as_ref())?,
        codes,
        lambda,
        step_size: 1.0,
        atom_norm: 1.0,
        weights: WeightType::F32,
        preprocessing: model.spec.preprocessing,
        peak: model.spec.peak,
        provenance: Provenance {
            data,
            seed: *seed,
            epoch: *epoch,
            commit,
            config_hash,
        },
    };
    spec.check()?;
    model.spec.input.check()?;
    let layout = |field, expected| Err(WriteError::Layout { field, expected });
    if let Some(gram) = &model.gram {
        check_gram(gram, &spec)?;
    }
    check_variational(model, &spec)?;
    match (
        model.lista(),
        spec.lista_iterations.is_some(),
        &model.decoder,
        spec.is_linear(),
    ) {
        (None, true, ..) => layout("lista_iterations", "none"),
        (Some(_), false, ..) => layout("lista_iterations", "a number"),
        (_, _, OwnedDecoder::Linear { .. }, false) => layout("hidden_dim", "0"),
        (_, _, OwnedDecoder::OneHidden { .. }, true) => layout("hidden_dim", "at least 1"),
        _ => Ok(spec),
    }
}

/// Reads what was written. Shortest texts are equal exactly if the numbers have the same bits,
/// which `==` would not tell.
fn check_read_back(
    bytes: &[u8],
    spec: &ModelSpec<'_>,
    input: &InputFacts,
) -> Result<(), WriteError> {
    let bytes = AlignedBytes::from_slice(bytes);
    let found = ModelFile::read(&bytes)
        .and_then(|file| Ok(metadata(&file.spec, &file.input()?, 0)))
        .map_err(|_| WriteError::ReadBack)?;
    if found == metadata(spec, input, 0) {
        Ok(())
    } else {
        Err(WriteError::ReadBack)
    }
}

/// The largest normal `f32` that is not above 1/L.
pub(crate) fn largest_step(lipschitz: f64) -> Option<f32> {
    let step = (1.0 / lipschitz) as f32;
    let step = if f64::from(step) * lipschitz > 1.0 {
        step.next_down()
    } else {
        step
    };
    step.is_normal().then_some(step)
}

/// The tensors of a file in the making.
struct Tensors<'m> {
    weights: WeightType,
    matrices: Vec<(TensorReport, OwnedMatrix)>,
    /// Vectors, and matrices of so many columns.
    vectors: Vec<(&'static str, &'m [f32], Option<usize>)>,
}

impl<'m> Tensors<'m> {
    fn matrix(
        &mut self,
        tensor: &'static str,
        values: &[f32],
        shape: [usize; 2],
        axis: ScaleAxis,
    ) -> Result<&OwnedMatrix, WriteError> {
        let [rows, cols] = shape;
        let (matrix, quantization) = quantize(values, rows, cols, axis, self.weights)
            .map_err(|error| WriteError::Tensor { tensor, error })?;
        self.matrices.push((
            TensorReport {
                tensor,
                shape,
                quantization,
            },
            matrix,
        ));
        Ok(&self.matrices[self.matrices.len() - 1].1)
    }

    /// U, b and S.
    fn encoder(
        &mut self,
        encoder: &'m OwnedEncoder,
        inputs: usize,
        codes: usize,
    ) -> Result<(), WriteError> {
        let OwnedEncoder {
            input,
            bias,
            recurrent,
        } = encoder;
        self.matrix("encoder.input", input, [codes, inputs], ScaleAxis::Row)?;
        self.vector("encoder.bias", bias, codes)?;
        let shape = [codes, codes];
        self.matrix("encoder.recurrent", recurrent, shape, ScaleAxis::Column)?;
        Ok(())
    }

    fn vector(
        &mut self,
        tensor: &'static str,
        values: &'m [f32],
        length: usize,
    ) -> Result<(), WriteError> {
        check(values, length).map_err(|error| WriteError::Tensor { tensor, error })?;
        self.vectors.push((tensor, values, None));
        Ok(())
    }

    /// Rows of `cols` numbers that are `f32` whatever the weights are.
    fn plain_matrix(
        &mut self,
        tensor: &'static str,
        values: &'m [f32],
        cols: usize,
    ) -> Result<(), WriteError> {
        check(values, values.len()).map_err(|error| WriteError::Tensor { tensor, error })?;
        self.vectors.push((tensor, values, Some(cols)));
        Ok(())
    }

    fn reports(&self) -> Vec<TensorReport> {
        self.matrices.iter().map(|(report, _)| *report).collect()
    }

    /// The file.
    fn layout(
        &self,
        spec: &ModelSpec<'_>,
        input: &InputFacts,
        own: &[(&'static str, String)],
    ) -> Result<Vec<u8>, WriteError> {
        fn vector(name: String, values: &[f32], cols: Option<usize>) -> Stored<'_> {
            let count = values.len();
            Stored {
                name,
                dtype: "F32",
                width: 4,
                shape: match cols {
                    Some(cols) => format!("[{},{cols}]", count / cols.max(1)),
                    None => format!("[{count}]"),
                },
                bytes: bytemuck::cast_slice(values),
            }
        }
        let mut tensors: Vec<Stored<'_>> = self
            .vectors
            .iter()
            .map(|(name, values, cols)| vector((*name).to_owned(), values, *cols))
            .collect();
        for (report, matrix) in &self.matrices {
            let TensorReport {
                tensor,
                shape: [rows, cols],
                ..
            } = report;
            tensors.push(Stored {
                name: (*tensor).to_owned(),
                dtype: self.weights.dtype(),
                width: self.weights.bytes(),
                shape: format!("[{rows},{cols}]"),
                bytes: matrix.bytes(),
            });
            if self.weights != WeightType::F32 {
                let scale = matrix.as_ref().scale();
                tensors.push(vector(format!("{tensor}.scale"), scale, None));
            }
        }
        lay_out(tensors, |checksum| {
            let mut entries = metadata(spec, input, checksum);
            entries.extend_from_slice(own);
            entries.sort();
            entries
        })
    }
}

/// A tensor as it will stand in the file.
pub(crate) struct Stored<'m> {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    /// Bytes of a number.
    pub(crate) width: usize,
    pub(crate) shape: String,
    pub(crate) bytes: &'m [u8],
}

/// The file: the tensors of the widest numbers first, so that each is aligned without padding;
/// among them by name. `metadata` is handed the checksum of the tensors.
pub(crate) fn lay_out(
    mut tensors: Vec<Stored<'_>>,
    metadata: impl FnOnce(u32) -> Vec<(&'static str, String)>,
) -> Result<Vec<u8>, WriteError> {
    tensors.sort_by(|a, b| b.width.cmp(&a.width).then_with(|| a.name.cmp(&b.name)));
    let data: Vec<u8> = tensors
        .iter()
        .flat_map(|tensor| tensor.bytes.iter().copied())
        .collect();

    let mut header = String::from("{\"__metadata__\":{");
    for (index, (key, value)) in metadata(crc32(&data)).iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(header, "{comma}\"{key}\":\"{value}\"");
    }
    header.push('}');
    let mut begin = 0;
    for Stored {
        name,
        dtype,
        shape,
        bytes,
        ..
    } in &tensors
    {
        let end = begin + bytes.len();
        let _ = write!(
            header,
            ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}"
        );
        begin = end;
    }
    header.push('}');
    // Spaces, so that the data starts on a boundary of 64 bytes.
    let length = (8 + header.len()).next_multiple_of(64) - 8;
    if length > MAX_HEADER_LEN {
        return Err(WriteError::HeaderLength { length });
    }
    header.extend(core::iter::repeat_n(' ', length - header.len()));
    let mut file = Vec::with_capacity(8 + length + data.len());
    file.extend_from_slice(&(length as u64).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    Ok(file)
}

/// Keys and values, sorted. Numbers are written with the fewest digits that read back as the same
/// number.
pub(crate) fn metadata(
    spec: &ModelSpec<'_>,
    input: &InputFacts,
    checksum: u32,
) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("atom_norm", spec.atom_norm.to_string()),
        ("checksum", format!("{checksum:08x}")),
        ("code_dim", spec.code_dim.to_string()),
        ("codes", spec.codes.to_string()),
        ("commit", spec.provenance.commit.to_owned()),
        ("config_hash", spec.provenance.config_hash.to_owned()),
        ("contrast", spec.preprocessing.contrast.to_string()),
        ("data", spec.provenance.data.to_owned()),
        ("deviation", spec.preprocessing.deviation.to_string()),
        ("epoch", spec.provenance.epoch.to_string()),
        ("format", "sparsecode".to_owned()),
        ("hidden_dim", spec.hidden_dim.to_string()),
        ("input_shape", spec.input_shape.to_string()),
        ("lambda", spec.lambda.to_string()),
        (
            "lista_iterations",
            spec.lista_iterations
                .map_or("none".to_owned(), |count| count.to_string()),
        ),
        ("mean", spec.preprocessing.mean.to_string()),
        ("peak", spec.peak.to_string()),
        ("seed", spec.provenance.seed.to_string()),
        ("step_size", spec.step_size.to_string()),
        ("variant", spec.variant.to_string()),
        ("version", FORMAT_VERSION.to_string()),
        ("weights", spec.weights.to_string()),
    ];
    if let Some(iterations) = spec.gram_iterations {
        entries.push(("gram_iterations", iterations.to_string()));
    }
    if let Some(widths) = spec.encoder_widths {
        entries.push(("encoder_widths", widths.to_string()));
    }
    if let Some([least, most]) = input.range {
        entries.push(("raw_min", least.to_string()));
        entries.push(("raw_max", most.to_string()));
    }
    if let Some(rate) = input.sample_rate {
        entries.push(("sample_rate", rate.to_string()));
    }
    if let Some(number_type) = input.number_type {
        entries.push(("number_type", number_type.to_string()));
    }
    entries.sort();
    entries
}

/// Writes a file so that no reader ever sees half of it: to a temporary name beside it, then
/// renamed.
///
/// # Errors
///
/// What the operating system says; the temporary file is removed.
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} names no file", path.display()),
        )
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = std::fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::example_decoder;
    use crate::preprocessing::{Contrast, Preprocessing};
    use crate::spec::InputShape;

    #[test]
    fn reading_back_compares_bits() {
        let model = example_decoder(InputShape::window(1), Preprocessing::IDENTITY, vec![1.0]);
        let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
        let spec = ModelFile::read(&bytes).unwrap().spec;
        let none = InputFacts::default();
        assert_eq!(check_read_back(&bytes, &spec, &none), Ok(()));

        let preprocessing = |mean, contrast| Preprocessing {
            mean,
            contrast,
            ..spec.preprocessing
        };
        for preprocessing in [
            preprocessing(-0.0, Contrast::None),
            preprocessing(f32::from_bits(1), Contrast::None),
            preprocessing(0.0, Contrast::RemoveMean),
        ] {
            let other = ModelSpec {
                preprocessing,
                ..spec
            };
            assert_eq!(
                check_read_back(&bytes, &other, &none),
                Err(WriteError::ReadBack)
            );
        }
        let other = InputFacts {
            sample_rate: Some(500.0),
            ..none
        };
        assert_eq!(
            check_read_back(&bytes, &spec, &other),
            Err(WriteError::ReadBack)
        );
        assert_eq!(
            check_read_back(&bytes[..bytes.len() - 1], &spec, &none),
            Err(WriteError::ReadBack)
        );
    }
}

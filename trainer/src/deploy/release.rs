use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use safetensors::SafeTensors;

use super::torch::problem;
use super::{ExportError, io_problem};
use crate::run::{Tensors, tensor_of};
use crate::variational::{EncoderKind, Head, VariationalConfig};

/// The dictionary's name: that of the array in the files that training saves.
const DICTIONARY: &str = "phi";
/// What the names of the trunk's layers begin with. A ReLU stands at each odd place.
const TRUNK: &str = "enc.enc.";

/// A head's name in the state dictionary.
const fn released(head: Head) -> &'static str {
    match head {
        Head::Shift => "shift",
        Head::Scale => "scale",
        Head::Spike => "spike",
        Head::Shape => "lambda_prior_alpha",
        Head::Rate => "lambda_prior_beta",
    }
}

/// Reads weights trained by the variational paper's PyTorch code, saved as `.safetensors` in f32:
/// the encoder's state dictionary under its own names, and the dictionary as `phi`.
///
/// The encoder's names are `enc.enc.0`, `enc.enc.2` and so on for the layers of the trunk, `shift`
/// and `scale`, `spike` for gates, `lambda_prior_alpha` and `lambda_prior_beta` for learned
/// thresholds, each with `.weight` (outputs × inputs) and `.bias`. `phi` is \[d, l\], an atom a
/// column: the release saves an array \[epochs, d, l\], of which this is the last entry.
///
/// Sizes come from the tensors: `config.model` is set to them. Which heads there must be follows
/// from `config.posterior.threshold`. Returns the model's tensors and the input dimension.
///
/// # Errors
///
/// Names the tensor that is missing, unexpected or of the wrong shape, and what helps.
pub fn import_variational(
    path: &Path,
    config: &mut VariationalConfig,
) -> Result<(Tensors, usize), ExportError> {
    let kind = config.family.model.encoder;
    if matches!(kind, EncoderKind::Lista | EncoderKind::Conv) {
        return Err(problem(
            path,
            "encoders of dense layers are read, and model.encoder is another; take a preset such \
             as variational/laplacian-fixed/paper, and leave model.encoder out",
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| io_problem(path, &e))?;
    let mut state = StateDictionary::read(path, &bytes)?;
    let (dictionary, [input_dim, code_dim]) = state.matrix(DICTIONARY)?;
    let mut tensors = Tensors::from([("decoder.dictionary".to_owned(), dictionary)]);
    let mut widths = Vec::new();
    if kind == EncoderKind::Mlp {
        let mut width = input_dim;
        loop {
            let index = widths.len();
            let layer = format!("{TRUNK}{}", 2 * index);
            if index > 0 && !state.has(&layer) {
                break;
            }
            let (_, [outputs, _]) = state.look(&format!("{layer}.weight"))?;
            let own = format!("encoder.trunk.{index}");
            state.layer(&layer, [outputs, width], &own, &mut tensors)?;
            widths.push(outputs);
            width = outputs;
        }
        for head in config.family.heads() {
            let own = format!("encoder.{}", head.name());
            state.layer(released(*head), [code_dim, width], &own, &mut tensors)?;
        }
    }
    state.finish()?;
    let model = &mut config.family.model;
    model.code_dim = code_dim;
    if kind == EncoderKind::Mlp {
        model.widths = widths;
    }
    // Sizes that no configuration can hold.
    *config = config.with_overrides(None, &[])?;
    Ok((tensors, input_dim))
}

/// The tensors of a file that nobody took yet.
struct StateDictionary<'a> {
    path: &'a Path,
    tensors: BTreeMap<String, Tensor>,
}

impl<'a> StateDictionary<'a> {
    fn read(path: &'a Path, bytes: &[u8]) -> Result<Self, ExportError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| problem(path, &format!("not a safetensors file: {e}")))?;
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let tensor = tensor_of(&view)
                .map_err(|what| problem(path, &format!("tensor '{name}': {what}")))?;
            Ok((name, tensor))
        });
        Ok(Self {
            path,
            tensors: tensors.collect::<Result<_, ExportError>>()?,
        })
    }

    fn refuse(&self, what: &str) -> ExportError {
        problem(self.path, what)
    }

    fn has(&self, layer: &str) -> bool {
        ["weight", "bias"]
            .iter()
            .any(|part| self.tensors.contains_key(&format!("{layer}.{part}")))
    }

    /// A matrix and its shape.
    fn look(&self, name: &str) -> Result<(&Tensor, [usize; 2]), ExportError> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            self.refuse(&format!(
                "tensor '{name}' is missing; {}",
                remedy_for_missing(name)
            ))
        })?;
        match tensor.dims() {
            &[rows, columns] => Ok((tensor, [rows, columns])),
            dims => Err(self.refuse(&format!(
                "tensor '{name}' has shape {dims:?}, expected a matrix; {}",
                remedy_for_missing(name)
            ))),
        }
    }

    fn matrix(&mut self, name: &str) -> Result<(Tensor, [usize; 2]), ExportError> {
        let (tensor, shape) = self.look(name)?;
        let tensor = tensor.clone();
        self.tensors.remove(name);
        Ok((tensor, shape))
    }

    /// Takes weights and biases of a layer under their own names.
    fn layer(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        own: &str,
        taken: &mut Tensors,
    ) -> Result<(), ExportError> {
        for (part, expected) in [("weight", &[outputs, inputs][..]), ("bias", &[outputs])] {
            let name = format!("{name}.{part}");
            let Some(tensor) = self.tensors.remove(&name) else {
                return Err(self.refuse(&format!(
                    "tensor '{name}' is missing; {}",
                    remedy_for_missing(&name)
                )));
            };
            if tensor.dims() != expected {
                return Err(self.refuse(&format!(
                    "tensor '{name}' has shape {:?}, expected {expected:?} by {DICTIONARY} and \
                     the layers before; save state dictionary and {DICTIONARY} of one run",
                    tensor.dims()
                )));
            }
            taken.insert(format!("{own}.{part}"), tensor);
        }
        Ok(())
    }

    /// Refuses what nobody took.
    fn finish(self) -> Result<(), ExportError> {
        match self.tensors.first_key_value() {
            None => Ok(()),
            Some((name, _)) => Err(self.refuse(&format!(
                "unexpected tensor '{name}'; {}",
                remedy_for_surplus(name)
            ))),
        }
    }
}

fn remedy_for_missing(name: &str) -> &'static str {
    match name {
        DICTIONARY => {
            "the release saves its dictionaries as phi in train_savefile.npz: save the last one as \
             f32 with the state dictionary"
        }
        name if name.starts_with("spike") => {
            "the preset has gates: choose another, such as variational/laplacian-fixed/paper"
        }
        name if name.starts_with("lambda_prior") => {
            "the preset learns thresholds: choose another, such as \
             variational/laplacian-fixed/paper"
        }
        _ => {
            "expected are enc.enc.0, enc.enc.2 and so on, shift, scale and the preset's other \
             heads, each with .weight and .bias: the encoder's state dictionary"
        }
    }
}

fn remedy_for_surplus(name: &str) -> &'static str {
    match name {
        name if name.starts_with("spike") => {
            "the preset has no gates: choose variational/spike-and-slab/paper"
        }
        name if name.starts_with("lambda_prior") => {
            "the preset learns no thresholds: choose one that does, such as \
             variational/laplacian-learned/paper"
        }
        name if name.starts_with("pseudo_inputs") || name.starts_with("clf.") => {
            "priors that were learned are not imported: take it out of the file"
        }
        name if name.starts_with(TRUNK) => {
            "of encoders only dense layers with a ReLU behind each are imported, not convolutions"
        }
        _ => "take it out of the file, or choose the preset that it belongs to",
    }
}

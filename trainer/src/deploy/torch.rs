use std::path::Path;

use candle_core::Tensor;
use safetensors::SafeTensors;

use super::{ExportError, io_problem};
use crate::lista::Config;
use crate::lista::model::{Autoencoder, Decoder, Encoder};
use crate::run::tensor_of;

/// Reads weights trained by the papers' PyTorch code, saved as `.safetensors` under its state-dict
/// names: `encoder.W.weight` \[l, d\], `encoder.W.bias`, `encoder.S.weight` \[l, l\], and
/// `decoder.decoder.weight` \[d, l\] or `decoder.layer1.weight` \[m, l\], `decoder.layer1.bias`,
/// `decoder.layer2.weight` \[d, m\].
///
/// Sizes come from the tensors: `config.model` is set to them, and whether there is an encoder must
/// be the variant's. Returns the model and its input dimension.
///
/// # Errors
///
/// Names the tensor that is missing, unexpected or of the wrong shape.
pub fn import_torch(path: &Path, config: &mut Config) -> Result<(Autoencoder, usize), ExportError> {
    let bytes = std::fs::read(path).map_err(|e| io_problem(path, &e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| problem(path, &format!("not a safetensors file: {e}")))?;
    let names: Vec<&str> = file.names();
    let known = [
        "encoder.W.weight",
        "encoder.W.bias",
        "encoder.S.weight",
        "decoder.decoder.weight",
        "decoder.layer1.weight",
        "decoder.layer1.bias",
        "decoder.layer2.weight",
    ];
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(problem(
            path,
            &format!(
                "unexpected tensor '{unknown}'; expected {}",
                known.join(", ")
            ),
        ));
    }
    if names.contains(&"decoder.decoder.weight")
        && let Some(other) = names.iter().find(|name| name.starts_with("decoder.layer"))
    {
        return Err(problem(
            path,
            &format!("tensors 'decoder.decoder.weight' and '{other}' belong to different decoders"),
        ));
    }
    let get = |name: &str| -> Result<Tensor, ExportError> {
        let view = file
            .tensor(name)
            .map_err(|_| problem(path, &format!("tensor '{name}' is missing")))?;
        tensor_of(&view).map_err(|what| problem(path, &format!("tensor '{name}': {what}")))
    };
    let matrix = |name: &str| -> Result<(Tensor, usize, usize), ExportError> {
        let tensor = get(name)?;
        let (rows, columns) = tensor
            .dims2()
            .map_err(|_| problem(path, &format!("tensor '{name}' is not a matrix")))?;
        Ok((tensor, rows, columns))
    };
    let check = |name: &str, tensor: &Tensor, expected: &[usize]| {
        if tensor.dims() == expected {
            Ok(())
        } else {
            Err(problem(
                path,
                &format!(
                    "tensor '{name}' has shape {:?}, expected {expected:?}",
                    tensor.dims()
                ),
            ))
        }
    };

    let (decoder, input_dim, code_dim) = if names.contains(&"decoder.decoder.weight") {
        let (dictionary, input_dim, code_dim) = matrix("decoder.decoder.weight")?;
        (Decoder::Linear { dictionary }, input_dim, code_dim)
    } else {
        let (hidden, hidden_dim, code_dim) = matrix("decoder.layer1.weight")?;
        let (output, input_dim, output_hidden) = matrix("decoder.layer2.weight")?;
        check("decoder.layer2.weight", &output, &[input_dim, hidden_dim])?;
        debug_assert_eq!(output_hidden, hidden_dim);
        let hidden_bias = get("decoder.layer1.bias")?;
        check("decoder.layer1.bias", &hidden_bias, &[hidden_dim])?;
        (
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            },
            input_dim,
            code_dim,
        )
    };
    config.family.model.code_dim = code_dim;
    config.family.model.hidden_dim = decoder.hidden_dim();

    let encoder_in_file = names.iter().any(|name| name.starts_with("encoder."));
    let encoder = match (config.has_encoder(), encoder_in_file) {
        (true, true) => {
            let encoder = Encoder {
                input: get("encoder.W.weight")?,
                bias: get("encoder.W.bias")?,
                recurrent: get("encoder.S.weight")?,
                iterations: config.family.model.lista_iterations,
            };
            check("encoder.W.weight", &encoder.input, &[code_dim, input_dim])?;
            check("encoder.W.bias", &encoder.bias, &[code_dim])?;
            check(
                "encoder.S.weight",
                &encoder.recurrent,
                &[code_dim, code_dim],
            )?;
            Some(encoder)
        }
        (false, false) => None,
        (true, false) => {
            return Err(problem(
                path,
                "tensor 'encoder.W.weight' is missing; a DO preset has no encoder",
            ));
        }
        (false, true) => {
            return Err(problem(
                path,
                "tensor 'encoder.W.weight' is there, but the preset's variant has no encoder",
            ));
        }
    };
    // Sizes of 0, or more than a configuration can hold.
    *config = config.with_overrides(None, &[])?;
    Ok((Autoencoder { encoder, decoder }, input_dim))
}

pub(super) fn problem(path: &Path, problem: &str) -> ExportError {
    ExportError::Torch {
        file: path.display().to_string(),
        problem: problem.to_owned(),
    }
}

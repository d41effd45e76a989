//! The variational models of the firmware: 64 samples, 64 atoms, 8-bit weights and 16-bit
//! activations, made up. `bench device` counts their instructions.

use sparsecode_formats::IntegerFile;

use crate::sound;

/// Files of the firmware's folder `model`, and the tables of `budgets.toml`.
pub const MODELS: [&str; 2] = ["variational-dense", "variational-lista"];

/// Which of [`MODELS`] a file is like.
pub(crate) fn kind(file: &IntegerFile<'_>) -> Option<&'static str> {
    let [dense, lista] = MODELS;
    let is_dense = file.spec.encoder_widths.is_some();
    file.variational
        .map(|_| if is_dense { dense } else { lista })
}

/// What a table calls a model.
pub(crate) fn name(file: &IntegerFile<'_>) -> anyhow::Result<String> {
    let spec = file.spec().map_err(sound)?;
    Ok(match (spec.encoder_widths, spec.lista_iterations) {
        (Some(widths), _) => format!("{}, trunk of {widths}", spec.name()),
        (None, Some(count)) if file.variational.is_some() => {
            format!("{}, LISTA of {count} iterations", spec.name())
        }
        _ => spec.name().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use sparsecode_formats::{
        ActivationRanges, AlignedBytes, InputShape, OwnedModel, example_variational, write_file,
        write_integer,
    };
    use sparsecode_runtime::{
        IntegerCodeBuf, IntegerCodeBuffer as _, IntegerView, IntegerWorkspaceBuf,
    };

    use super::*;
    use crate::firmware::folder;

    fn model(widths: &[u16]) -> OwnedModel {
        let mut model = example_variational(64, 64, widths, true);
        model.spec.input_shape = InputShape {
            height: 8,
            width: 8,
        };
        // Pixels from 0 to 1, and noise.
        model.spec.preprocessing.deviation = 0.4;
        model.spec.provenance.data = "none".into();
        let mean = (0..64).map(|pixel| 0.5 + 0.01 * (pixel % 8) as f32);
        let encoder = model.variational.as_mut().unwrap();
        encoder.input_mean = Some(mean.collect());
        model
    }

    /// `SPARSECODE_WRITE` writes them instead.
    #[test]
    fn the_files_are_what_the_writer_makes_of_them() {
        let ranges = ActivationRanges {
            input_scale: 1.0 / 8192.0,
            input_min: -8192,
            input_max: 16384,
            code_max: 8.0,
        };
        for (name, widths) in MODELS.into_iter().zip([&[128][..], &[]]) {
            let path = folder().join(format!("model/{name}.safetensors"));
            let bytes = write_integer(&model(widths), &ranges).unwrap().bytes;
            if std::env::var_os("SPARSECODE_WRITE").is_some() {
                write_file(&path, &bytes).unwrap();
            }
            assert!(std::fs::read(&path).unwrap() == bytes, "{}", path.display());
            let aligned = AlignedBytes::from_slice(&bytes);
            let file = IntegerFile::read(&aligned).unwrap();
            assert_eq!(kind(&file), Some(name));
            // What is counted selects some components, of both signs, and not all.
            let view = IntegerView::from(file);
            let mut code = IntegerCodeBuf::new(64);
            let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
            let mut patch: Vec<i16> = (0..64).map(|i: i32| (i * 4099 % 8192) as i16).collect();
            let _ = view.preprocess(&mut patch).unwrap();
            view.encode(&patch, &mut code, &mut workspace).unwrap();
            assert!(
                (3..40).contains(&code.active()),
                "{name}: {}",
                code.active()
            );
            assert!(code.iter().any(|(_, z)| z < 0) && code.iter().any(|(_, z)| z > 0));
        }
    }

    #[test]
    fn models_of_other_kinds_have_no_such_table() {
        let bytes = AlignedBytes::read(folder().join("model/integer.safetensors")).unwrap();
        let file = IntegerFile::read(&bytes).unwrap();
        assert_eq!((kind(&file), name(&file).unwrap().as_str()), (None, "vdl"));
    }
}

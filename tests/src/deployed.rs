//! A model file seen from both sides: as the trainer's tensors, and as the runtime's view.

use candle_core::{DType, Device, Result, Tensor};
use sparsecode_formats::{ModelFile, OwnedDecoder, OwnedModel};
use sparsecode_runtime::{
    CodeBuffer, ModelView, Refine, Refinement, SparseCodeBuf, Start, WorkspaceBuf,
};
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::inference::{
    Energy, Inference, InferenceConfig, StepRule, Stopping,
};
use sparsecode_trainer::lista::model::{Autoencoder, Decoder, Encoder};

/// The model of a file in the trainer's orientation, scales applied.
///
/// # Errors
///
/// Fails if the file's tensors do not have its shapes.
pub fn autoencoder(file: &ModelFile<'_>) -> Result<Autoencoder> {
    let owned = OwnedModel::from_file(file).map_err(candle_core::Error::wrap)?;
    let (d, l, m) = (
        file.spec.input_dim(),
        file.spec.code_dim(),
        file.spec.hidden_dim(),
    );
    let matrix = |values: Vec<f32>, rows: usize, columns: usize| {
        Tensor::from_vec(values, (rows, columns), &Device::Cpu)
    };
    let transposed =
        |values: Vec<f32>, rows, columns| matrix(values, rows, columns)?.t()?.contiguous();
    let encoder = match owned.encoder {
        Some(encoder) => Some(Encoder {
            input: matrix(encoder.input, l, d)?,
            bias: Tensor::from_vec(encoder.bias, l, &Device::Cpu)?,
            recurrent: transposed(encoder.recurrent, l, l)?,
            iterations: usize::from(file.spec.lista_iterations.unwrap_or(0)),
        }),
        None => None,
    };
    let decoder = match owned.decoder {
        OwnedDecoder::Linear { dictionary } => Decoder::Linear {
            dictionary: transposed(dictionary, l, d)?,
        },
        OwnedDecoder::OneHidden {
            hidden,
            hidden_bias,
            output,
        } => Decoder::OneHidden {
            hidden: transposed(hidden, l, m)?,
            hidden_bias: Tensor::from_vec(hidden_bias, m, &Device::Cpu)?,
            output: transposed(output, m, d)?,
        },
    };
    Ok(Autoencoder { encoder, decoder })
}

/// The trainer's form of a refinement: plain FISTA, each sample frozen where it converges.
pub fn inference_config(refine: &Refine) -> InferenceConfig {
    InferenceConfig {
        lambda: f64::from(refine.lambda),
        step_size: f64::from(refine.step_size),
        step_rule: StepRule::Fixed,
        max_iterations: refine.max_iterations as usize,
        tolerance: f64::from(refine.tolerance),
        stopping: Stopping::Freeze,
        encoder_weight: 0.0,
        variance_weight: 0.0,
        variance_threshold: 0.0,
        initial_code: match refine.start {
            Start::Constant(value) => f64::from(value),
            _ => 0.0,
        },
    }
}

/// What the trainer makes of a refinement by this engine: `inputs` are `count × input_dim`, the
/// codes `count × code_dim`.
///
/// # Errors
///
/// Fails if shapes disagree.
pub fn trainer_refine(
    engine: &(dyn Backend + 'static),
    model: &Autoencoder,
    inputs: &Tensor,
    refine: &Refine,
) -> Result<Inference> {
    let config = inference_config(refine);
    let start = match (refine.start, &model.encoder) {
        (Start::Code, Some(encoder)) => encoder.forward(inputs)?,
        _ => {
            let l = match &model.decoder {
                Decoder::Linear { dictionary } => dictionary.dim(1)?,
                Decoder::OneHidden { hidden, .. } => hidden.dim(1)?,
            };
            let shape = (inputs.dim(0)?, l);
            Tensor::full(config.initial_code as f32, shape, inputs.device())?
                .to_dtype(DType::F32)?
        }
    };
    engine.infer(&Energy::new(&model.decoder, inputs, None, &config), &start)
}

/// The runtime's view of a file with its buffers.
pub struct Runner<'a> {
    /// The model.
    pub view: ModelView<'a>,
    workspace: WorkspaceBuf,
    code: SparseCodeBuf,
}

impl<'a> Runner<'a> {
    /// Loads a file.
    ///
    /// # Panics
    ///
    /// If it is not a model file.
    pub fn new(bytes: &'a [u8]) -> Self {
        let view = ModelView::load(bytes).expect("a model file");
        Self {
            workspace: WorkspaceBuf::for_model(view.spec()),
            code: SparseCodeBuf::new(view.spec().code_dim),
            view,
        }
    }

    fn dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.view.spec().code_dim()];
        self.code.to_dense(&mut dense);
        dense
    }

    /// The code of a preprocessed sample.
    ///
    /// # Panics
    ///
    /// If the sample has the wrong length.
    pub fn encode(&mut self, input: &[f32]) -> Vec<f32> {
        self.view
            .encode(input, &mut self.code, &mut self.workspace)
            .expect("a sample of the model's length");
        self.dense()
    }

    /// The refined code of a preprocessed sample.
    ///
    /// # Panics
    ///
    /// If the sample has the wrong length.
    pub fn refine(&mut self, input: &[f32], refine: &Refine) -> (Vec<f32>, Refinement) {
        if refine.start == Start::Code {
            self.encode(input);
        }
        let refinement = self
            .view
            .refine(input, &mut self.code, refine, &mut self.workspace, || false)
            .expect("a sample of the model's length");
        (self.dense(), refinement)
    }

    /// The reconstruction of a code, preprocessed.
    ///
    /// # Panics
    ///
    /// If the code has the wrong length.
    pub fn decode(&mut self, code: &[f32]) -> Vec<f32> {
        self.code.from_dense(code);
        let mut output = vec![0.0; self.view.spec().input_dim()];
        self.view
            .decode(&self.code, &mut output, &mut self.workspace)
            .expect("the output has the model's length");
        output
    }
}

//! The outputs of the papers' own code (`golden/` of the shared data).

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::inference::{
    Energy, Engine, Inference, InferenceConfig, PlainFista,
};
use sparsecode_trainer::lista::model::{Autoencoder, Decoder, Encoder};

use crate::shared;

/// A golden file: what the papers' code computed.
pub struct Golden {
    /// Shape and values of every f32 tensor.
    pub tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    /// Step counts, one a sample.
    pub steps: HashMap<String, Vec<i32>>,
    /// Settings and figures.
    pub metadata: HashMap<String, serde_json::Value>,
    /// Preprocessed images, `count × 784`.
    pub inputs: Tensor,
}

impl Golden {
    /// Reads a file of the shared data; `None`, with a line that says so, when it is not there.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn load(name: &str) -> Option<Self> {
        let bytes = std::fs::read(shared("golden")?.join(name)).expect("a golden file can be read");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a golden file is safetensors");
        let metadata = header.metadata().clone().unwrap_or_default();
        let metadata = metadata
            .into_iter()
            .map(|(key, text)| {
                (
                    key,
                    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)),
                )
            })
            .collect();
        let file = SafeTensors::deserialize(&bytes).expect("a golden file is whole");
        let mut tensors = HashMap::new();
        let mut steps = HashMap::new();
        let mut inputs = None;
        for (name, view) in file.tensors() {
            let data = view.data();
            match view.dtype() {
                safetensors::Dtype::F32 => {
                    let values = data
                        .chunks_exact(4)
                        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                        .collect();
                    tensors.insert(name, (view.shape().to_vec(), values));
                }
                safetensors::Dtype::I32 => {
                    let values = data
                        .chunks_exact(4)
                        .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
                        .collect();
                    steps.insert(name, values);
                }
                _ => {
                    let pixels: Vec<f32> = data
                        .iter()
                        .map(|&p| (f32::from(p) / 255.0 - 0.1307) / 0.3081)
                        .collect();
                    inputs = Some(Tensor::from_vec(pixels, view.shape(), &Device::Cpu).unwrap());
                }
            }
        }
        Some(Self {
            tensors,
            steps,
            metadata,
            inputs: inputs.expect("golden files hold images_u8"),
        })
    }

    /// The values of a tensor.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn values(&self, name: &str) -> &[f32] {
        &self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("{name} is in the golden file"))
            .1
    }

    /// A tensor.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn tensor(&self, name: &str) -> Tensor {
        let (shape, values) = self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("{name} is in the golden file"));
        Tensor::from_slice(values, shape.as_slice(), &Device::Cpu).unwrap()
    }

    /// The model whose tensors have this prefix.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn model(&self, prefix: &str) -> Autoencoder {
        let get = |name: &str| self.tensor(&format!("{prefix}.{name}"));
        let encoder = Encoder {
            input: get("enc.U"),
            bias: get("enc.b"),
            recurrent: get("enc.S"),
            iterations: 3,
        };
        let decoder = if self.tensors.contains_key(&format!("{prefix}.dec.W")) {
            Decoder::Linear {
                dictionary: get("dec.W"),
            }
        } else {
            Decoder::OneHidden {
                hidden: get("dec.W1"),
                hidden_bias: get("dec.b1"),
                output: get("dec.W2"),
            }
        };
        Autoencoder {
            encoder: Some(encoder),
            decoder,
        }
    }

    /// The preset, with the settings of a model laid over it.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn config(&self, prefix: &str, preset: &str) -> Config {
        let settings = &self.metadata[&format!("{prefix}.settings")];
        let number = |key: &str| {
            settings[key]
                .as_f64()
                .unwrap_or_else(|| panic!("{key} is a number"))
        };
        let mut config = Config::preset(preset).unwrap();
        config.family.inference.lambda = number("lam");
        config.family.inference.encoder_weight = number("gamma");
        // The rest of the row must be the preset's own: the preset is under test too.
        assert_eq!(config.family.inference.variance_weight, number("beta"));
        assert_eq!(config.family.inference.variance_threshold, number("hinge"));
        assert_eq!(config.family.inference.step_size, number("lrt_Z"));
        assert_eq!(
            config.family.optimizer.decoder_learning_rate,
            number("lrt_D")
        );
        assert_eq!(
            config.family.optimizer.encoder_learning_rate,
            number("lrt_E")
        );
        assert_eq!(
            config.family.optimizer.hidden_bias_weight_decay,
            number("wd_b1")
        );
        config
    }

    /// FISTA on all images; the energy of what it found.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn infer(
        &self,
        model: &Autoencoder,
        start: Start,
        config: &InferenceConfig,
    ) -> (Inference, f64) {
        let codes = model
            .encoder
            .as_ref()
            .unwrap()
            .forward(&self.inputs)
            .unwrap();
        let start = match start {
            Start::Encoder => codes.clone(),
            Start::Zero => codes.zeros_like().unwrap(),
        };
        let energy = Energy::new(&model.decoder, &self.inputs, Some(&codes), config);
        let inference = PlainFista.infer(&energy, &start).unwrap();
        let value = energy.value(&inference.codes).unwrap().total();
        (inference, value)
    }

    /// Fraction of samples whose step count is the golden one.
    ///
    /// # Panics
    ///
    /// If the file is not what its README says.
    pub fn same_steps(&self, name: &str, inference: &Inference) -> f64 {
        let golden = &self.steps[name];
        let same = golden
            .iter()
            .zip(&inference.steps)
            .filter(|(a, b)| **a as u32 == **b)
            .count();
        same as f64 / golden.len() as f64
    }
}

/// Where FISTA starts.
#[derive(Clone, Copy)]
pub enum Start {
    /// At the encoder's codes.
    Encoder,
    /// At zero.
    Zero,
}

/// The numbers of a tensor, row by row.
///
/// # Panics
///
/// If it is not f32.
pub fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

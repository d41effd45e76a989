//! From a run of the variational family to the model file.

use candle_core::{Device, Tensor};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, CodeSign, IntegerWritten, OwnedDecoder,
    OwnedEncoder, OwnedLayer, OwnedModel, OwnedPosterior, OwnedProvenance, OwnedSpec,
    OwnedThreshold, OwnedVariational, OwnedVariationalBody, PosteriorBase, Preprocessing, Variant,
    WeightType, Written, write_integer_as, write_with_report,
};
use sparsecode_runtime::CodeBuffer as _;
use statrs::function::erf::erfc_inv;

use super::measure::psnr_raw;
use super::{Calibration, ExportError, HostModel, calibrate, transposed, values};
use crate::data::{DataFacts, Dataset, PerPixel, Restore, Samples};
use crate::lista::evaluate::psnr;
use crate::run::{
    CheckpointError, Figures, Learner as _, RunFolder, Tensors, Weights, tensor, without_place,
};
use crate::variational::{
    Base, Calibrated, CodeStatistics, ConvLearner, Encoder, EncoderKind, GradientStatistics, Head,
    Layer, Rule, Sparsity, VariationalConfig, VariationalLearner,
};

/// FISTA with this weight of the codes' magnitudes, on atoms of norm 1 and samples of deviation 1,
/// refines codes: on the synthetic set of the released code's curves it halves their error.
const REFINEMENT: f64 = 0.6;

/// Samples that ranges are found from.
const RANGES: usize = 500;
/// The range of a layer's outputs beside the largest one of these samples.
const HEADROOM: f32 = 1.25;

/// A finished or running run of the variational family, opened for use.
pub struct VariationalRun {
    /// The resolved configuration.
    pub config: VariationalConfig,
    /// The data's facts.
    pub facts: DataFacts,
    /// The epoch that the model was kept after.
    pub epoch: u32,
    /// The commit of the program that trained it.
    pub commit: String,
    tensors: Tensors,
}

/// What was calibrated for a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deterministic {
    /// The rule that the file has.
    pub rule: Calibrated,
    /// Mean square error of the rule on the training samples that it was calibrated on.
    pub error: f64,
    /// The share of the components that it keeps.
    pub active: f64,
    /// The same of the other rule, where there is one.
    pub other: Option<(Rule, f64)>,
}

impl VariationalRun {
    /// Opens the best model of a run.
    ///
    /// # Errors
    ///
    /// Names the file and field that is missing or wrong, or the keys of `config.toml` that were
    /// edited after training.
    pub fn open(folder: &RunFolder) -> Result<Self, ExportError> {
        let config = VariationalConfig::read(&folder.config())?;
        let weights = Weights::read(&folder.best())?;
        if let Some(differences) = weights.differences(&config)?
            && !differences.keys.is_empty()
        {
            return Err(ExportError::Edited {
                folder: folder.path().display().to_string(),
                differences,
            });
        }
        Ok(Self {
            config,
            facts: weights.data().clone(),
            epoch: weights.epoch(),
            commit: weights.commit().to_owned(),
            tensors: weights.tensors().clone(),
        })
    }

    /// The model at its last step, with deterministic codes calibrated on `train`.
    ///
    /// # Errors
    ///
    /// Names the tensor that does not fit the configuration.
    pub fn learner(&self, train: &Samples) -> Result<VariationalLearner, ExportError> {
        let (config, facts) = (&self.config, &self.facts);
        let learner =
            VariationalLearner::trained(config, facts, &self.tensors, train, &Device::Cpu);
        Ok(learner.map_err(|error| CheckpointError::of_state("weights", &error))?)
    }

    /// The family's figures on a set of samples.
    ///
    /// # Errors
    ///
    /// As [`learner`](Self::learner).
    pub fn measure(
        &self,
        train: &Samples,
        set: &Samples,
        noise: Option<f64>,
    ) -> Result<Figures, ExportError> {
        if let Some(mut networks) = self.networks()? {
            networks.calibrate(train)?;
            return Ok(networks.measure(set, noise)?);
        }
        Ok(self.learner(train)?.measure(set, noise)?)
    }

    /// PSNR in raw units, in dB, and the share of components that are 0: of the run's deterministic
    /// code, and of the file that holds it, run as a device runs it.
    ///
    /// # Errors
    ///
    /// As [`learner`](Self::learner), and if the bytes hold no model of such samples.
    pub fn beside_file(
        &self,
        (train, set): (&Samples, &Dataset),
        rule: &Calibrated,
        bytes: &[u8],
    ) -> Result<[(f64, f64); 2], ExportError> {
        let learner = self.learner(train)?;
        let Some(encoder) = learner.encoder() else {
            return Err(ExportError::Samples("have no encoder to be coded by"));
        };
        let samples = Samples::new(set.clone())?;
        let heads = encoder.forward(&samples.inputs)?.heads;
        let (posterior, dictionary) = (self.config.family.posterior(), learner.dictionary());
        let (units, peak) = (dictionary.code_dim(), f64::from(self.facts.peak));
        let aligned = AlignedBytes::from_slice(bytes);
        let mut host = HostModel::new(&aligned, "the exported file")?;
        let mut sums = [(0.0, 0.0); 2];
        let mut add = |place: usize, psnr: f64, active: usize| {
            sums[place].0 += psnr;
            sums[place].1 += 1.0 - active as f64 / units as f64;
        };
        for (index, heads) in heads.chunks_exact(units).enumerate() {
            let sample = set.sample(index);
            let code = rule.code(&posterior, heads);
            let answer: Vec<f32> = dictionary.answer(&code).iter().map(|a| *a as f32).collect();
            add(
                0,
                psnr(&answer, sample, &set.restore, index, peak),
                code.len(),
            );
            let mut clean = sample.to_vec();
            set.restore.restore(index, &mut clean);
            let mut output = clean.clone();
            host.denoise(&mut output, None)?;
            add(1, psnr_raw(&output, &clean, peak), host.code().active());
        }
        let count = set.len().max(1) as f64;
        Ok(sums.map(|(psnr, zeros)| (psnr / count, zeros / count)))
    }

    /// Statistics of the codes of a set, and of gradients over so many passes if there are any.
    ///
    /// # Errors
    ///
    /// As [`learner`](Self::learner).
    pub fn statistics(
        &self,
        train: &Samples,
        set: &Samples,
        passes: usize,
    ) -> Result<(CodeStatistics, Option<GradientStatistics>), ExportError> {
        let learner = self.learner(train)?;
        let gradients = match passes {
            0 => None,
            _ => learner.gradient_statistics(set, passes)?,
        };
        Ok((learner.code_statistics(set)?, gradients))
    }

    /// The convolutional networks of a run that has such.
    fn networks(&self) -> Result<Option<ConvLearner>, ExportError> {
        if self.config.family.model.encoder != EncoderKind::Conv {
            return Ok(None);
        }
        let mut networks = ConvLearner::new(&self.config, &self.facts, &Device::Cpu)?;
        let taken = networks.set_model(&self.tensors);
        taken.map_err(|error| CheckpointError::of_state("weights", &error))?;
        Ok(Some(networks))
    }

    /// Refuses runs that no model file can hold.
    ///
    /// # Errors
    ///
    /// [`ExportError::Convolutions`] says what can be exported instead.
    pub fn check_export(&self) -> Result<(), ExportError> {
        match self.config.family.model.encoder {
            EncoderKind::Conv => Err(ExportError::Convolutions(self.config.model_name())),
            _ => Ok(()),
        }
    }

    /// The atoms, one after the other, each of `input_dim` numbers in preprocessed units. Of
    /// convolutional networks what each unit adds to the picture of no code at all, where it alone
    /// is 1.
    ///
    /// # Errors
    ///
    /// Names the tensor that does not fit the configuration.
    pub fn atoms(&self) -> Result<Vec<f32>, ExportError> {
        if let Some(networks) = self.networks()? {
            return Ok(values(&networks.units()?)?);
        }
        let shape = [self.input_dim()?, self.config.family.model.code_dim];
        Ok(transposed(self.tensor("decoder.dictionary", &shape)?)?)
    }

    /// The rows of the encoder's first matrix, each of `input_dim` numbers; `None` without an
    /// encoder, and of convolutions, whose kernels are smaller.
    ///
    /// # Errors
    ///
    /// Names the tensor that does not fit the configuration.
    pub fn encoder_rows(&self) -> Result<Option<Vec<f32>>, ExportError> {
        let model = &self.config.family.model;
        let (name, rows) = match (model.encoder, model.widths.first()) {
            (EncoderKind::Mlp, Some(width)) => ("encoder.trunk.0.weight", *width),
            (EncoderKind::Mlp, None) => ("encoder.shift.weight", model.code_dim),
            (EncoderKind::Lista, _) => ("encoder.input", model.code_dim),
            (EncoderKind::None | EncoderKind::Conv, _) => return Ok(None),
        };
        let matrix = self.tensor(name, &[rows, self.input_dim()?])?;
        Ok(Some(values(matrix)?))
    }

    /// Numbers in a sample.
    fn input_dim(&self) -> Result<usize, ExportError> {
        Ok(self.facts.parse()?.0.input_dim())
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor, ExportError> {
        let found = tensor(&self.tensors, name, shape);
        Ok(found.map_err(|error| CheckpointError::of_state("weights", &error))?)
    }

    /// Writes the model file's bytes, with the deterministic code calibrated on `train`; the same
    /// run and samples give the same bytes.
    ///
    /// # Errors
    ///
    /// [`ExportError::Write`] names the tensor or field that a model file cannot hold;
    /// [`ExportError::Samples`] says that the run has no encoder.
    pub fn export(
        &self,
        train: &Samples,
        weights: WeightType,
    ) -> Result<(Written, Deterministic), ExportError> {
        let (model, rule) = self.owned(train)?;
        Ok((write_with_report(&model, weights)?, rule))
    }

    /// The same with what samples are drawn from, for `Model::encode_best_of` of the runtime: the
    /// scale head, and of a learned threshold the heads of its shape and rate.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export); [`ExportError::Posterior`] for a posterior whose samples the
    /// runtime does not draw.
    pub fn export_with_posterior(
        &self,
        train: &Samples,
        weights: WeightType,
    ) -> Result<(Written, Deterministic), ExportError> {
        let (base, threshold) = self.drawn()?;
        let (mut model, rule) = self.owned(train)?;
        let learner = self.learner(train)?;
        if let (Some(variational), Some(encoder)) = (&mut model.variational, learner.encoder()) {
            let head = |wanted| layer_of(head_of(encoder, wanted));
            variational.posterior = Some(OwnedPosterior {
                base,
                threshold: match threshold {
                    Threshold::Fixed(level) => OwnedThreshold::Fixed(level),
                    Threshold::Learned => OwnedThreshold::Learned {
                        shape: head(Head::Shape)?,
                        rate: head(Head::Rate)?,
                    },
                    Threshold::None => OwnedThreshold::None,
                },
                scale: match variational.scale {
                    Some(_) => None,
                    None => Some(head(Head::Scale)?),
                },
            });
        }
        Ok((write_with_report(&model, weights)?, rule))
    }

    /// Base and threshold of a posterior whose samples the runtime draws.
    fn drawn(&self) -> Result<(PosteriorBase, Threshold), ExportError> {
        let posterior = self.config.family.posterior();
        let base = match posterior.base {
            Base::Gaussian => PosteriorBase::Gaussian,
            Base::Laplacian => PosteriorBase::Laplacian,
        };
        let threshold = match (posterior.sparsity, posterior.base) {
            (Sparsity::Dense, _) => Threshold::None,
            // Noise exceeds a threshold of 0 always.
            (Sparsity::Fixed { threshold: 0.0 }, _) => Threshold::None,
            (Sparsity::Fixed { threshold }, _) => Threshold::Fixed(threshold.abs() as f32),
            (Sparsity::Learned { .. }, Base::Laplacian) => Threshold::Learned,
            (Sparsity::Learned { .. }, Base::Gaussian) => {
                return Err(ExportError::Posterior(
                    "has learned thresholds with Gaussian noise, whose draws take a Gamma \
                     distribution for each component: train with posterior.base=laplacian or \
                     posterior.threshold=fixed",
                ));
            }
            (Sparsity::Gate { .. }, _) => {
                return Err(ExportError::Posterior(
                    "has gates, which no model file holds: train a preset with a threshold, such \
                     as variational/laplacian-fixed",
                ));
            }
        };
        Ok((base, threshold))
    }

    /// Writes the bytes of a model file for integer arithmetic, whose ranges are found from samples
    /// of `train`.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export); [`ExportError::Samples`] for samples that no ranges can be
    /// found from.
    pub fn export_integer(
        &self,
        train: &Samples,
        method: Calibration,
        input_scale: Option<f32>,
        (weights, activations): (WeightType, Activations),
    ) -> Result<(IntegerWritten, ActivationRanges, Deterministic), ExportError> {
        let (mut model, rule) = self.owned(train)?;
        let count = train.inputs.dim(0)?.min(RANGES);
        let inputs = train.inputs.narrow(0, 0, count)?;
        if let Some(variational) = &mut model.variational
            && let OwnedVariationalBody::Dense { trunk_max, .. } = &mut variational.body
            && let Some(Encoder::Mlp(encoder)) = self.learner(train)?.encoder()
        {
            let largest = encoder.largest(&inputs)?.into_iter();
            *trunk_max = largest.map(|most| HEADROOM * most.max(1e-6)).collect();
        }
        let samples = self.in_file_units(&model, &inputs, train)?;
        let ranges = calibrate(&model, &samples, method, input_scale, activations)?;
        let written = write_integer_as(&model, &ranges, weights, activations)?;
        Ok((written, ranges, rule))
    }

    /// Samples as the file preprocesses them, with one deviation for all places.
    fn in_file_units(
        &self,
        model: &OwnedModel,
        inputs: &Tensor,
        train: &Samples,
    ) -> Result<Dataset, ExportError> {
        let dim = inputs.dim(1)?;
        let mut samples = values(inputs)?;
        let restore = match &self.facts.per_pixel {
            None => train.restore.clone(),
            Some(PerPixel { mean, deviation }) => {
                let whole = model.spec.preprocessing.deviation;
                for sample in samples.chunks_exact_mut(dim) {
                    let places = sample.iter_mut().zip(deviation);
                    places.for_each(|(value, own)| *value *= own / whole);
                }
                Restore::PerPosition {
                    scale: vec![whole; dim],
                    offset: mean.clone(),
                }
            }
        };
        Ok(Dataset {
            samples,
            dim,
            restore,
            labels: None,
        })
    }

    /// The model in the file's orientation.
    fn owned(&self, train: &Samples) -> Result<(OwnedModel, Deterministic), ExportError> {
        self.check_export()?;
        let learner = self.learner(train)?;
        let Some(encoder) = learner.encoder() else {
            return Err(ExportError::Samples(
                "of this run have codes by FISTA, and there is no encoder to export; export a run \
                 of another variational preset",
            ));
        };
        let family = &self.config.family;
        let rules = learner.rules()?;
        if rules.iter().all(|(rule, _)| rule.gain <= 0.0) {
            return Err(ExportError::Samples(
                "are not explained by the run's codes, by any rule: train longer",
            ));
        }
        // Of two rules the better one that a file can hold.
        let chosen = rules
            .iter()
            .filter(|(rule, _)| rule.gain > 0.0)
            .find_map(|(rule, answer)| Some((rule, answer, self.selection(&rule.rule)?)));
        let Some((rule, answer, (selecting, limit))) = chosen else {
            return Err(ExportError::Samples(
                "are explained only by a rule that no file holds: train longer",
            ));
        };
        let deterministic = Deterministic {
            rule: *rule,
            error: answer.error,
            active: answer.active,
            other: rules
                .iter()
                .find(|(other, _)| other.rule != rule.rule)
                .map(|(other, answer)| (other.rule, answer.error)),
        };
        let (shape, mut preprocessing) = self.facts.parse()?;
        let dictionary = transposed(&self.tensors["decoder.dictionary"])?;
        let own = Own::of(self.facts.per_pixel.as_ref(), &mut preprocessing);
        let code_dim = family.model.code_dim;
        let scale = match selecting {
            Some(head) => Some(layer_of(head_of(encoder, head))?),
            None => None,
        };
        let body = match encoder {
            Encoder::Mlp(encoder) => {
                let trunk = encoder.trunk.iter().enumerate().map(|(index, layer)| {
                    let mut layer = layer_of(Some(layer))?;
                    if index == 0 {
                        own.fold(&mut layer.weights);
                    }
                    Ok(layer)
                });
                OwnedVariationalBody::Dense {
                    trunk: trunk.collect::<Result<_, ExportError>>()?,
                    trunk_max: Vec::new(),
                    shift: layer_of(head_of_mlp(encoder, Head::Shift))?,
                }
            }
            Encoder::Lista(encoder) => {
                let mut input = values(encoder.input.weight.as_tensor())?;
                own.fold(&mut input);
                let shrinkage = values(encoder.shrinkage.as_tensor())?;
                OwnedVariationalBody::Lista {
                    encoder: OwnedEncoder {
                        input,
                        bias: values(encoder.input.bias.as_tensor())?,
                        recurrent: transposed(encoder.recurrent.as_tensor())?,
                    },
                    shrinkage: shrinkage.into_iter().map(f32::abs).collect(),
                }
            }
        };
        // The configuration has checked that sizes fit.
        let narrow = |x: usize| u16::try_from(x).unwrap_or(u16::MAX);
        let lista_iterations = match encoder {
            Encoder::Mlp(_) => None,
            Encoder::Lista(encoder) => u8::try_from(encoder.iterations).ok(),
        };
        let atoms = learner.dictionary().atoms();
        let norm = (atoms.iter().map(|a| a * a).sum::<f64>() / code_dim as f64).sqrt();
        let spec = OwnedSpec {
            variant: Variant::Variational,
            input_shape: shape,
            code_dim: narrow(code_dim),
            hidden_dim: 0,
            lista_iterations,
            codes: CodeSign::Signed,
            lambda: (2.0 * REFINEMENT * norm / shape.input_dim() as f64) as f32,
            preprocessing,
            peak: self.facts.peak,
            input: self.facts.input()?,
            provenance: OwnedProvenance {
                data: self.facts.description.clone(),
                seed: self.config.seed,
                epoch: self.epoch,
                commit: self.commit.clone(),
                config_hash: without_place(&self.config).hash(),
            },
        };
        let model = OwnedModel {
            spec,
            encoder: None,
            gram: None,
            variational: Some(OwnedVariational {
                body,
                scale,
                thresholds: vec![limit; code_dim],
                gain: rule.gain as f32,
                input_mean: own.mean.clone(),
                posterior: None,
            }),
            decoder: OwnedDecoder::Linear {
                dictionary: own.unfold(dictionary),
            },
        };
        Ok((model, deterministic))
    }

    /// The head that a rule compares, and with what; `None` where no single head says how likely a
    /// unit is active.
    fn selection(&self, rule: &Rule) -> Option<(Option<Head>, f32)> {
        let posterior = self.config.family.posterior();
        match (*rule, posterior.sparsity, posterior.base) {
            (Rule::Shift(limit), ..) => Some((None, limit.max(0.0) as f32)),
            (rule, ..) if !rule.is_held(&posterior) => None,
            // p above t is the same as a head above something.
            (Rule::Activity(limit), Sparsity::Fixed { threshold }, Base::Laplacian) => {
                let scale = (threshold / -limit.clamp(1e-12, 1.0 - 1e-12).ln()).ln();
                Some((Some(Head::Scale), scale as f32))
            }
            (Rule::Activity(limit), Sparsity::Fixed { threshold }, Base::Gaussian) => {
                let far = std::f64::consts::SQRT_2 * erfc_inv(limit.clamp(1e-12, 1.0 - 1e-12));
                Some((Some(Head::Scale), (2.0 * (threshold / far).ln()) as f32))
            }
            (Rule::Activity(_), ..) => None,
        }
    }
}

/// The threshold of a posterior whose samples the runtime draws.
enum Threshold {
    None,
    Fixed(f32),
    Learned,
}

/// A normalisation of each place in a sample, folded into matrices.
struct Own {
    /// Of each place, in raw units.
    mean: Option<Vec<f32>>,
    /// Of each place, beside the one that preprocessing divides by.
    deviation: Vec<f32>,
}

impl Own {
    /// Leaves one deviation to the preprocessing.
    fn of(per_pixel: Option<&PerPixel>, preprocessing: &mut Preprocessing) -> Self {
        let Some(PerPixel { mean, deviation }) = per_pixel else {
            return Self {
                mean: None,
                deviation: Vec::new(),
            };
        };
        let whole = deviation.iter().sum::<f32>() / deviation.len() as f32;
        preprocessing.deviation = whole;
        Self {
            mean: Some(mean.clone()),
            deviation: deviation.iter().map(|own| own / whole).collect(),
        }
    }

    /// Columns of a first layer divided by their deviations.
    fn fold(&self, weights: &mut [f32]) {
        if self.deviation.is_empty() {
            return;
        }
        for row in weights.chunks_exact_mut(self.deviation.len()) {
            row.iter_mut()
                .zip(&self.deviation)
                .for_each(|(w, own)| *w /= own);
        }
    }

    /// Places of atoms times their deviations.
    fn unfold(&self, mut atoms: Vec<f32>) -> Vec<f32> {
        if !self.deviation.is_empty() {
            for atom in atoms.chunks_exact_mut(self.deviation.len()) {
                atom.iter_mut()
                    .zip(&self.deviation)
                    .for_each(|(a, own)| *a *= own);
            }
        }
        atoms
    }
}

fn head_of(encoder: &Encoder, wanted: Head) -> Option<&Layer> {
    let heads = match encoder {
        Encoder::Mlp(encoder) => &encoder.heads,
        Encoder::Lista(encoder) => &encoder.heads,
    };
    heads
        .iter()
        .find(|(head, _)| *head == wanted)
        .map(|(_, layer)| layer)
}

fn head_of_mlp(encoder: &crate::variational::MlpEncoder, wanted: Head) -> Option<&Layer> {
    let mut heads = encoder.heads.iter();
    heads
        .find(|(head, _)| *head == wanted)
        .map(|(_, layer)| layer)
}

fn layer_of(layer: Option<&Layer>) -> Result<OwnedLayer, ExportError> {
    let Some(layer) = layer else {
        return Err(ExportError::Samples("need a head that the encoder has not"));
    };
    let of = |tensor: &Tensor| values(tensor);
    Ok(OwnedLayer {
        weights: of(layer.weight.as_tensor())?,
        bias: of(layer.bias.as_tensor())?,
    })
}

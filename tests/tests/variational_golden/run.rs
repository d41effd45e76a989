//! A method, run on what the file holds.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use sparsecode_tests::release::{Release, Setting, Sizes, Tolerance, settings, tolerances};
use sparsecode_trainer::variational::{
    Base, Dictionary, Draw, Encoded, Estimator, GateOdds, Given, Head, Heads, Layer, MlpEncoder,
    Objective, Outcome, Posterior, Relaxation, Select, ShiftGradient, Sparsity, Unit, Warmth,
};

/// Of both single passes and sequences. The names are the README's.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) base: Base,
    pub(crate) sparsity: Kind,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Dense,
    Fixed,
    Learned,
    Gate,
}

pub(crate) const METHODS: [Method; 7] = [
    method("gaussian", Base::Gaussian, Kind::Dense),
    method("laplacian", Base::Laplacian, Kind::Dense),
    method("gaussian_thresh", Base::Gaussian, Kind::Fixed),
    method("gaussian_learnthresh", Base::Gaussian, Kind::Learned),
    method("laplacian_thresh", Base::Laplacian, Kind::Fixed),
    method("laplacian_learnthresh", Base::Laplacian, Kind::Learned),
    method("concreteslab", Base::Gaussian, Kind::Gate),
];

const fn method(name: &'static str, base: Base, sparsity: Kind) -> Method {
    Method {
        name,
        base,
        sparsity,
    }
}

/// The file's names of the heads.
pub(crate) const fn head_name(head: Head) -> &'static str {
    match head {
        Head::Shape => "alpha",
        Head::Rate => "beta",
        other => other.name(),
    }
}

/// A method with the file that it is checked against.
pub(crate) struct Run<'a> {
    pub(crate) release: &'a Release,
    pub(crate) sizes: Sizes,
    pub(crate) method: &'static Method,
}

/// Where ∂g/∂α of the thresholds' draws comes from.
#[derive(Clone, Copy)]
pub(crate) enum Slopes<'a> {
    /// The trainer.
    Exact,
    /// The file, of each input, sample and unit.
    Each(&'a [f64]),
    /// The file, of each input and unit: of the sample that counts.
    Selected(&'a [f64]),
}

/// The stored noise of one step of a method.
pub(crate) struct Noise<'a> {
    sizes: Sizes,
    noise: Vec<f64>,
    /// Empty where there is no gate.
    gate: Vec<f64>,
    /// The thresholds' draws, where they are learned.
    gamma: Option<&'a [f64]>,
    slopes: Slopes<'a>,
}

/// One forward and backward pass.
pub(crate) struct Pass {
    pub(crate) encoded: Encoded,
    pub(crate) outcome: Outcome,
    pub(crate) code_gradients: Vec<f64>,
    pub(crate) head_gradients: Vec<Heads<f64>>,
    pub(crate) gradients: GradStore,
}

impl Noise<'_> {
    fn draw(&self, input: usize, sample: usize, unit: usize) -> Draw {
        let units = self.sizes.units;
        let place = (input * self.sizes.samples + sample) * units + unit;
        Draw {
            noise: self.noise[place],
            gate: self.gate.get(place).copied().unwrap_or_default(),
            gamma: self.gamma.map_or(0.0, |gamma| gamma[place]),
            gamma_by_shape: match self.slopes {
                Slopes::Exact => None,
                Slopes::Each(slopes) => Some(slopes[place]),
                Slopes::Selected(slopes) => Some(slopes[input * units + unit]),
            },
        }
    }
}

impl<'a> Run<'a> {
    pub(crate) fn all(release: &'a Release) -> impl Iterator<Item = Self> {
        let sizes = release.sizes();
        METHODS.iter().map(move |method| Self {
            release,
            sizes,
            method,
        })
    }

    pub(crate) fn of(&self, what: &str) -> String {
        format!("{}.{what}", self.method.name)
    }

    pub(crate) fn is_learned(&self) -> bool {
        self.method.sparsity == Kind::Learned
    }

    pub(crate) fn posterior(&self) -> Posterior {
        let number = |key: &str| self.release.number("settings", key);
        let threshold = number(match self.method.base {
            Base::Gaussian => "/threshold_gaussian",
            Base::Laplacian => "/threshold_laplacian",
        });
        Posterior {
            base: self.method.base,
            sparsity: match self.method.sparsity {
                Kind::Dense => Sparsity::Dense,
                Kind::Fixed => Sparsity::Fixed { threshold },
                Kind::Learned => Sparsity::Learned {
                    mean: threshold,
                    weight: number("/gamma_kl_weight"),
                },
                Kind::Gate => Sparsity::Gate {
                    open: number("/spike_prior"),
                    relaxation: Relaxation::Straight,
                    odds: GateOdds::Log,
                },
            },
            spread: number("/spread_prior"),
            estimator: match self.release.fact("settings", "/estimator").as_str() {
                Some("straight") => Estimator::Straight,
                Some("subgradient") => Estimator::Subgradient,
                other => panic!("estimator {other:?}"),
            },
            shift_gradient: ShiftGradient::Double,
        }
    }

    pub(crate) fn objective(&self) -> Objective {
        Objective {
            posterior: self.posterior(),
            samples: self.sizes.samples,
            select: match self.release.fact("settings", "/sample_method").as_str() {
                Some("max") => Select::Best,
                Some("avg") => Select::Average,
                Some("iwae") => Select::Iwae,
                other => panic!("sample_method {other:?}"),
            },
            kl_weight: self.release.number("settings", "/kl_weight"),
        }
    }

    fn layer(&self, name: &str) -> Layer {
        let var = |part: &str| {
            let name = format!("w.{name}.{part}");
            let values = self.release.values(&name).iter().map(|value| *value as f32);
            let shape = self.release.shape(&name);
            let tensor = Tensor::from_vec(values.collect(), shape, &Device::Cpu);
            Var::from_tensor(&tensor.unwrap()).unwrap()
        };
        Layer {
            weight: var("weight"),
            bias: var("bias"),
        }
    }

    /// As many layers as the file has; each as wide as its weights are.
    pub(crate) fn encoder(&self) -> MlpEncoder {
        let trunk = self.release.names().filter_map(|name| {
            let name = name.strip_prefix("w.enc.")?;
            name.split('.').next()?.parse().ok()
        });
        let layers: usize = trunk.max().expect("no tensors w.enc.");
        let trunk = (1..=layers).map(|index| self.layer(&format!("enc.{index}")));
        let heads: &[Head] = match self.method.sparsity {
            Kind::Dense | Kind::Fixed => &[Head::Shift, Head::Scale],
            Kind::Learned => &[Head::Shift, Head::Scale, Head::Shape, Head::Rate],
            Kind::Gate => &[Head::Shift, Head::Scale, Head::Spike],
        };
        let heads = heads
            .iter()
            .map(|head| (*head, self.layer(head_name(*head))));
        MlpEncoder {
            trunk: trunk.collect(),
            heads: heads.collect(),
        }
    }

    /// The dictionary at the start; the file holds pixels × atoms.
    pub(crate) fn dictionary(&self) -> Dictionary {
        let pixels = self.sizes.pixels;
        Dictionary::new(transposed(self.release.values("A"), pixels), pixels)
    }

    /// Inputs of a step.
    pub(crate) fn inputs(&self, step: usize) -> Vec<f32> {
        let count = self.sizes.inputs * self.sizes.pixels;
        let values = self.release.values("x")[step * count..][..count].iter();
        values.map(|value| *value as f32).collect()
    }

    pub(crate) fn noise(
        &self,
        step: usize,
        gamma: Option<&'a [f64]>,
        slopes: Slopes<'a>,
    ) -> Noise<'a> {
        let count = self.sizes.inputs * self.sizes.samples * self.sizes.units;
        let part = |name: &str| self.release.values(name)[step * count..][..count].to_vec();
        Noise {
            sizes: self.sizes,
            noise: match self.method.base {
                Base::Gaussian => part("noise.eps"),
                Base::Laplacian => part("noise.u").into_iter().map(|u| u - 0.5).collect(),
            },
            gate: match self.method.sparsity {
                Kind::Gate => part("noise.eta"),
                _ => Vec::new(),
            },
            gamma,
            slopes,
        }
    }

    /// The stored noise of a single pass, and ∂g/∂α of a learned threshold's draws as the file has
    /// them.
    pub(crate) fn single_noise(&self) -> Noise<'a> {
        if !self.is_learned() {
            return self.noise(0, None, Slopes::Exact);
        }
        let slopes = Slopes::Each(self.stored("dg_dalpha"));
        self.noise(0, Some(self.stored("noise.g")), slopes)
    }

    /// A tensor with a number for each input, sample and unit.
    pub(crate) fn stored(&self, what: &str) -> &'a [f64] {
        let Sizes {
            inputs,
            samples,
            units,
            ..
        } = self.sizes;
        let shape = [inputs, samples, units];
        self.release.shaped(&self.of(what), &shape)
    }

    /// κ and T of a single pass.
    pub(crate) fn single_warmth(&self) -> Warmth {
        Warmth {
            noise: self.release.number("settings", "/single/kappa"),
            temperature: self.release.number("settings", "/single/temperature"),
        }
    }

    /// A number of a single step or of the sequence.
    pub(crate) fn setting(&self, setting: &Setting) -> f64 {
        self.release.setting("settings", setting)
    }

    /// How far PyTorch's ∂g/∂α is from the exact one, relative to that.
    pub(crate) fn torch_error(&self) -> f64 {
        let place = format!("/{}/torch_dg_dalpha_relative_error/max", self.method.name);
        let stated = self.release.record("checks").pointer(&place);
        let stated = stated.and_then(serde_json::Value::as_f64);
        stated.unwrap_or_else(|| self.setting(&settings::TORCH)) + tolerances::ROUNDING
    }

    pub(crate) fn pass(
        &self,
        objective: &Objective,
        encoder: &MlpEncoder,
        dictionary: &Dictionary,
        (step, warmth): (usize, Warmth),
        noise: &Noise<'_>,
    ) -> Pass {
        let (inputs, count) = (self.inputs(step), self.sizes.inputs);
        let x = Tensor::from_slice(&inputs, (count, self.sizes.pixels), &Device::Cpu).unwrap();
        let encoded = encoder.forward(&x).unwrap();
        assert_eq!(
            encoded.heads.len(),
            count * self.sizes.units,
            "units of the heads"
        );
        let sampler = Given {
            posterior: objective.posterior,
            heads: &encoded.heads,
            code_dim: self.sizes.units,
            warmth,
            draw: |input, sample, unit| noise.draw(input, sample, unit),
        };
        let outcome = objective.evaluate(&inputs, &encoded.heads, dictionary, &sampler);
        let code_gradients = objective.code_gradients(&outcome, dictionary, count);
        let head_gradients =
            objective.head_gradients(&outcome, &code_gradients, &encoded.heads, warmth);
        let gradients = encoded.backward(&head_gradients).unwrap();
        Pass {
            encoded,
            outcome,
            code_gradients,
            head_gradients,
            gradients,
        }
    }

    /// Every sample of every input, unit by unit.
    pub(crate) fn samples(
        &self,
        posterior: &Posterior,
        heads: &[Heads<f64>],
        noise: &Noise<'_>,
        warmth: Warmth,
    ) -> Vec<Unit> {
        let (samples, units) = (self.sizes.samples, self.sizes.units);
        let places = 0..self.sizes.inputs * samples * units;
        let unit = |place: usize| {
            let (row, unit) = (place / units, place % units);
            let (input, sample) = (row / samples, row % samples);
            let draw = noise.draw(input, sample, unit);
            posterior.sample(&heads[input * units + unit], &draw, warmth)
        };
        places.map(unit).collect()
    }

    pub(crate) fn check_head_gradients(&self, pass: &Pass, of: &dyn Fn(&str) -> String) {
        for (head, _) in &pass.encoded.outputs {
            let gradients: Vec<f64> = pass.head_gradients.iter().map(|by| head.of(by)).collect();
            let name = of(&format!("grad.head.{}", head_name(*head)));
            self.release.close(&name, &gradients, &tolerances::HEADS);
        }
    }

    /// Compares a parameter, or what belongs to one; returns it whole.
    pub(crate) fn check_parameter(
        &self,
        name: &str,
        tensor: &Tensor,
        tolerance: &Tolerance,
    ) -> Vec<f64> {
        let whole = flat(tensor);
        let found = self.release.thinned(name, &whole, tensor.dims());
        self.release.close(name, &found, tolerance);
        whole
    }

    pub(crate) fn check_dictionary(
        &self,
        name: &str,
        dictionary: &Dictionary,
        tolerance: &Tolerance,
    ) {
        let atoms = transposed(dictionary.atoms(), self.sizes.units);
        self.release.close(name, &atoms, tolerance);
    }
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f64> {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f64::from).collect()
}

/// `rows × columns` to `columns × rows`, of as many rows.
pub(crate) fn transposed(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows;
    let column = |c: usize| (0..rows).map(move |r| values[r * columns + c]);
    (0..columns).flat_map(column).collect()
}

/// The file's names of an encoder's parameters, in their order.
pub(crate) fn names(encoder: &MlpEncoder) -> Vec<String> {
    let trunk = (1..=encoder.trunk.len()).map(|i| format!("enc.{i}"));
    let heads = encoder.heads.iter();
    let layers = trunk.chain(heads.map(|(head, _)| head_name(*head).to_owned()));
    let names: Vec<String> = layers
        .flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")])
        .collect();
    assert_eq!(names.len(), encoder.parameters().len(), "parameters");
    names
}

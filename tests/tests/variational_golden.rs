//! The second paper's released code, tensor by tensor, and what `variational.safetensors` says
//! beside each: sizes, settings and tolerances come from the file.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use sparsecode_trainer::variational::metrics::{self, Rows};
use sparsecode_trainer::variational::{
    Base, BatchFista, Dictionary, Draw, Encoded, Estimator, GateOdds, Given, Head, Heads, Layer,
    MlpEncoder, Nesterov, Objective, OneCycle, Outcome, Posterior, Relaxation, Select,
    ShiftGradient, Sparsity, Warmth, implicit_shape_gradient, lipschitz,
};

/// The file, with what is read of it again and again.
struct Golden {
    bytes: Vec<u8>,
    metadata: BTreeMap<String, Value>,
}

/// Of both single passes and sequences.
struct Method {
    name: &'static str,
    base: Base,
    sparsity: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Dense,
    Fixed,
    Learned,
    Gate,
}

const METHODS: [Method; 7] = [
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
const fn head_name(head: Head) -> &'static str {
    match head {
        Head::Shape => "alpha",
        Head::Rate => "beta",
        other => other.name(),
    }
}

impl Golden {
    fn read() -> Option<Self> {
        let path = sparsecode_tests::shared("golden/variational.safetensors")?;
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap().into_iter();
        let parsed = metadata.map(|(name, text)| {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            (name, value)
        });
        Some(Self {
            metadata: parsed.collect(),
            bytes,
        })
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        let tensors = self.tensors();
        let found = tensors.tensor(name);
        found.unwrap_or_else(|_| panic!("{name}")).shape().to_vec()
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let tensors = self.tensors();
        let found = tensors.tensor(name).unwrap_or_else(|_| panic!("{name}"));
        let bytes = found.data();
        match found.dtype() {
            Dtype::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|x| f32::from_le_bytes(*x).into())
                .collect(),
            Dtype::F64 => {
                let numbers = bytes.as_chunks().0.iter();
                numbers.map(|x| f64::from_le_bytes(*x)).collect()
            }
            Dtype::I32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|x| i32::from_le_bytes(*x).into())
                .collect(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.values(name).into_iter().map(|x| x as f32).collect()
    }

    /// A number of a tensor's or record's metadata.
    fn number(&self, name: &str, key: &str) -> f64 {
        let value = self.metadata[name][key].as_f64();
        value.unwrap_or_else(|| panic!("{name}: {key}"))
    }

    fn setting(&self, key: &str) -> f64 {
        self.number("settings", key)
    }

    fn size(&self, key: &str) -> usize {
        self.setting(key) as usize
    }

    /// Within `tolerance` of the largest magnitude that the file states. Where the file holds every
    /// fourth row and column, so do the values that are compared.
    fn near(&self, name: &str, found: &[f64], tolerance: f64) {
        let largest = self.metadata[name]["absmax"].as_f64().unwrap_or(1.0);
        self.close(name, found, tolerance * largest);
    }

    /// Within `tolerance`, absolutely.
    fn close(&self, name: &str, found: &[f64], tolerance: f64) {
        let expected = self.values(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let apart = (found - expected).abs();
            // Also false for NaN.
            assert!(
                apart <= tolerance,
                "{name}, {place}: {found} for {expected}, allowed {tolerance:e}"
            );
        }
    }

    /// A parameter as the file holds it: whole, or every fourth row and column.
    fn parameter(&self, name: &str, tensor: &Tensor) -> Vec<f64> {
        let whole: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let shape = self.shape(name);
        let columns = *tensor.dims().last().unwrap();
        let thinned = whole.iter().enumerate().filter(|(index, _)| {
            shape.len() < 2
                || shape == tensor.dims()
                || (index / columns).is_multiple_of(4) && (index % columns).is_multiple_of(4)
        });
        thinned.map(|(_, value)| f64::from(*value)).collect()
    }

    fn posterior(&self, method: &Method) -> Posterior {
        let threshold = self.setting(match method.base {
            Base::Gaussian => "threshold_gaussian",
            Base::Laplacian => "threshold_laplacian",
        });
        Posterior {
            base: method.base,
            sparsity: match method.sparsity {
                Kind::Dense => Sparsity::Dense,
                Kind::Fixed => Sparsity::Fixed { threshold },
                Kind::Learned => Sparsity::Learned {
                    mean: threshold,
                    weight: self.setting("gamma_kl_weight"),
                },
                Kind::Gate => Sparsity::Gate {
                    open: self.setting("spike_prior"),
                    relaxation: Relaxation::Straight,
                    odds: GateOdds::Log,
                },
            },
            spread: self.setting("spread_prior"),
            estimator: Estimator::Straight,
            shift_gradient: ShiftGradient::Double,
        }
    }

    fn objective(&self, method: &Method) -> Objective {
        Objective {
            posterior: self.posterior(method),
            samples: self.size("J"),
            select: Select::Best,
            kl_weight: self.setting("kl_weight"),
        }
    }

    fn layer(&self, name: &str) -> Layer {
        let var = |part: &str| {
            let name = format!("w.{name}.{part}");
            let tensor = Tensor::from_vec(self.floats(&name), self.shape(&name), &Device::Cpu);
            Var::from_tensor(&tensor.unwrap()).unwrap()
        };
        Layer {
            weight: var("weight"),
            bias: var("bias"),
        }
    }

    fn encoder(&self, method: &Method) -> MlpEncoder {
        let layers = self.metadata["settings"]["widths"]
            .as_array()
            .unwrap()
            .len()
            - 1;
        let heads: &[Head] = match method.sparsity {
            Kind::Dense | Kind::Fixed => &[Head::Shift, Head::Scale],
            Kind::Learned => &[Head::Shift, Head::Scale, Head::Shape, Head::Rate],
            Kind::Gate => &[Head::Shift, Head::Scale, Head::Spike],
        };
        MlpEncoder {
            trunk: (1..=layers)
                .map(|i| self.layer(&format!("enc.{i}")))
                .collect(),
            heads: heads
                .iter()
                .map(|head| (*head, self.layer(head_name(*head))))
                .collect(),
        }
    }

    /// The dictionary at the start; the file holds pixels × atoms.
    fn dictionary(&self) -> Dictionary {
        let shape = self.shape("A");
        let atoms = transposed(&self.values("A"), shape[0]);
        Dictionary::new(atoms, shape[0])
    }

    /// Inputs of a step.
    fn inputs(&self, step: usize) -> Vec<f32> {
        let count = self.size("B") * self.size("P");
        self.floats("x")[step * count..][..count].to_vec()
    }

    /// The stored noise of a step of a method, as `draw(input, sample, unit)`. `gamma` names the
    /// thresholds' draws, `slopes` ∂g/∂α of them.
    fn draws(
        &self,
        base: Base,
        step: usize,
        gamma: Option<&[f64]>,
        slopes: Option<&(dyn Fn(usize, usize, usize) -> f64 + Sync)>,
    ) -> impl Fn(usize, usize, usize) -> Draw + Sync {
        let (samples, units) = (self.size("J"), self.size("D"));
        let count = self.size("B") * samples * units;
        let part = |name: &str| self.values(name)[step * count..][..count].to_vec();
        let (noise, gate) = match base {
            Base::Gaussian => (part("noise.eps"), part("noise.eta")),
            Base::Laplacian => {
                let shifted = part("noise.u").into_iter().map(|u| u - 0.5);
                (shifted.collect(), part("noise.eta"))
            }
        };
        move |input, sample, unit| {
            let place = (input * samples + sample) * units + unit;
            Draw {
                noise: noise[place],
                gate: gate[place],
                gamma: gamma.map_or(0.0, |gamma| gamma[place]),
                gamma_by_shape: slopes.map(|slopes| slopes(input, sample, unit)),
            }
        }
    }
}

/// `rows × columns` to `columns × rows`, of as many rows.
fn transposed(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows;
    let column = |c: usize| (0..rows).map(move |r| values[r * columns + c]);
    (0..columns).flat_map(column).collect()
}

/// One forward and backward pass.
struct Pass {
    encoded: Encoded,
    outcome: Outcome,
    code_gradients: Vec<f64>,
    head_gradients: Vec<Heads<f64>>,
    gradients: GradStore,
}

fn pass(
    objective: &Objective,
    encoder: &MlpEncoder,
    dictionary: &Dictionary,
    inputs: &[f32],
    warmth: Warmth,
    draw: &(impl Fn(usize, usize, usize) -> Draw + Sync),
) -> Pass {
    let pixels = encoder.trunk[0].weight.dims()[1];
    let count = inputs.len() / pixels;
    let x = Tensor::from_slice(inputs, (count, pixels), &Device::Cpu).unwrap();
    let encoded = encoder.forward(&x).unwrap();
    let sampler = Given {
        posterior: objective.posterior,
        heads: &encoded.heads,
        code_dim: dictionary.code_dim(),
        warmth,
        draw,
    };
    let outcome = objective.evaluate(inputs, &encoded.heads, dictionary, &sampler);
    let code_gradients = objective.code_gradients(&outcome, dictionary, count);
    let head_gradients =
        objective.head_gradients(&outcome, &code_gradients, &encoded.heads, warmth);
    let surrogate = encoded.with_gradients(&head_gradients).unwrap();
    let gradients = surrogate.backward().unwrap();
    Pass {
        encoded,
        outcome,
        code_gradients,
        head_gradients,
        gradients,
    }
}

/// The file's names of an encoder's parameters, in their order.
fn names(encoder: &MlpEncoder) -> Vec<String> {
    let trunk = (1..=encoder.trunk.len()).map(|i| format!("enc.{i}"));
    let heads = encoder
        .heads
        .iter()
        .map(|(head, _)| head_name(*head).to_owned());
    let layers = trunk.chain(heads);
    layers
        .flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")])
        .collect()
}

fn single_warmth(golden: &Golden) -> Warmth {
    let single = &golden.metadata["settings"]["single"];
    Warmth {
        noise: single["kappa"].as_f64().unwrap(),
        temperature: single["temperature"].as_f64().unwrap(),
    }
}

#[test]
fn one_pass_of_every_method() {
    let Some(golden) = Golden::read() else { return };
    for method in &METHODS {
        let of = |what: &str| format!("{}.{what}", method.name);
        let (objective, encoder) = (golden.objective(method), golden.encoder(method));
        let mut dictionary = golden.dictionary();
        let (inputs, warmth) = (golden.inputs(0), single_warmth(&golden));
        let learned = method.sparsity == Kind::Learned;
        let (samples, units) = (golden.size("J"), golden.size("D"));
        let gamma = learned.then(|| golden.values(&of("noise.g")));
        let by_shape = learned.then(|| golden.values(&of("dg_dalpha")));
        let slope = |input: usize, sample: usize, unit: usize| {
            let place = (input * samples + sample) * units + unit;
            by_shape.as_ref().map_or(0.0, |slopes| slopes[place])
        };
        let slopes: Option<&(dyn Fn(usize, usize, usize) -> f64 + Sync)> = match learned {
            true => Some(&slope),
            false => None,
        };
        let draw = golden.draws(method.base, 0, gamma.as_deref(), slopes);
        let pass = pass(&objective, &encoder, &dictionary, &inputs, warmth, &draw);

        let feature: Vec<f32> = pass
            .encoded
            .feature
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let feature: Vec<f64> = feature.into_iter().map(f64::from).collect();
        golden.near("feat", &feature, 5e-6);
        for (head, output) in &pass.encoded.outputs {
            let output: Vec<f32> = output.flatten_all().unwrap().to_vec1().unwrap();
            let output: Vec<f64> = output.into_iter().map(f64::from).collect();
            golden.near(&format!("head.{}", head_name(*head)), &output, 5e-6);
        }
        let heads = &pass.encoded.heads;
        let posterior = &objective.posterior;
        let each = |of: &dyn Fn(&Heads<f64>) -> f64| heads.iter().map(of).collect::<Vec<f64>>();
        golden.near(&of("kl"), &each(&|h| posterior.divergence(h).0), 5e-6);
        if learned {
            let thresholds = each(&|h| posterior.threshold_divergence(h).0);
            golden.near(&of("kl_gamma"), &thresholds, 5e-6);
        }
        let codes: Vec<_> = (0..heads.len() / units)
            .flat_map(|input| {
                (0..samples)
                    .flat_map(move |sample| (0..units).map(move |unit| (input, sample, unit)))
            })
            .map(|(input, sample, unit)| {
                let draw = draw(input, sample, unit);
                posterior.sample(&heads[input * units + unit], &draw, warmth)
            })
            .collect();
        let values: Vec<f64> = codes.iter().map(|unit| unit.value).collect();
        golden.near(&of("z"), &values, 5e-6);
        for (found, expected) in values.iter().zip(golden.values(&of("z"))) {
            assert_eq!(
                *found == 0.0,
                expected == 0.0,
                "{}: active sets",
                method.name
            );
        }
        if learned {
            let thresholds: Vec<f64> = codes.iter().map(|unit| unit.threshold).collect();
            golden.near(&of("lambda"), &thresholds, 5e-6);
            let exact: Vec<f64> = (0..values.len())
                .map(|place| {
                    let heads = &heads[place / units / samples * units + place % units];
                    let shape = Posterior::threshold_shape(heads);
                    implicit_shape_gradient(shape, gamma.as_ref().unwrap()[place])
                })
                .collect();
            golden.near(&of("dg_dalpha_exact"), &exact, 5e-6);
            let slopes = (0..values.len()).map(|place| {
                let heads = &heads[place / units / samples * units + place % units];
                let moved = by_shape.as_ref().unwrap()[place];
                Posterior::threshold_slopes(heads, thresholds[place], moved)
            });
            let (shapes, rates): (Vec<f64>, Vec<f64>) = slopes.map(|[a, b]| (a, b)).unzip();
            golden.near(&of("dlambda_dalpha"), &shapes, 5e-6);
            golden.near(&of("dlambda_dbeta"), &rates, 5e-6);
            let counted = pass
                .outcome
                .counted
                .iter()
                .flat_map(|counted| &counted.code);
            let gradients = counted.zip(&pass.code_gradients);
            let gradients: Vec<f64> = gradients
                .map(|(unit, upstream)| posterior.threshold_gradient(unit, *upstream))
                .collect();
            golden.near(&of("grad.lambda"), &gradients, 5e-6);
        }
        golden.near(&of("recon"), &pass.outcome.errors, 5e-6);
        golden.near(&of("loss_j"), &pass.outcome.losses, 5e-6);
        golden.near(&of("loss"), &[pass.outcome.loss], 5e-6);
        let selected: Vec<f64> = pass
            .outcome
            .counted
            .iter()
            .map(|c| c.sample as f64)
            .collect();
        assert_eq!(selected, golden.values(&of("select")), "{}", method.name);
        golden.near(&of("grad.z"), &pass.code_gradients, 5e-6);
        for (head, _) in &pass.encoded.outputs {
            let gradients: Vec<f64> = pass.head_gradients.iter().map(|by| head.of(by)).collect();
            let name = of(&format!("grad.head.{}", head_name(*head)));
            golden.near(&name, &gradients, 5e-6);
        }
        let parameters = encoder.parameters();
        let named = names(&encoder);
        for ((_, parameter), name) in parameters.iter().zip(&named) {
            let name = of(&format!("grad.{name}"));
            let gradient = pass.gradients.get(parameter).unwrap();
            golden.near(&name, &golden.parameter(&name, gradient), 1e-5);
        }

        let mut optimizer = Nesterov::default();
        optimizer.step(&parameters, &pass.gradients, 0.01).unwrap();
        dictionary.step(&pass.outcome, golden.size("B"), 0.5, 1e-4);
        for ((_, parameter), name) in parameters.iter().zip(&named) {
            let name = of(&format!("after1.{name}"));
            golden.close(&name, &golden.parameter(&name, parameter), 5e-7);
        }
        let atoms = transposed(dictionary.atoms(), units);
        golden.close(&of("after1.A"), &atoms, 1e-6);
    }
}

/// With the exact derivative of the thresholds' draws, too, as near as PyTorch's approximation is.
#[test]
fn exact_slopes_of_thresholds() {
    let Some(golden) = Golden::read() else { return };
    for method in METHODS.iter().filter(|m| m.sparsity == Kind::Learned) {
        let gamma = golden.values(&format!("{}.noise.g", method.name));
        let draw = golden.draws(method.base, 0, Some(&gamma), None);
        let (objective, encoder) = (golden.objective(method), golden.encoder(method));
        let (inputs, warmth) = (golden.inputs(0), single_warmth(&golden));
        let dictionary = golden.dictionary();
        let pass = pass(&objective, &encoder, &dictionary, &inputs, warmth, &draw);
        let gradients: Vec<f64> = pass.head_gradients.iter().map(|by| by.shape).collect();
        golden.near(
            &format!("{}.grad.head.alpha", method.name),
            &gradients,
            1e-3,
        );
    }
    let [alpha, g, exact] =
        ["alpha", "g", "exact"].map(|name| golden.values(&format!("gamma_table.{name}")));
    for ((alpha, g), exact) in alpha.iter().zip(&g).zip(exact) {
        let found = implicit_shape_gradient(*alpha, *g);
        assert!(
            (found / exact - 1.0).abs() < 1e-7,
            "{alpha} {g}: {found} {exact}"
        );
    }
}

#[test]
fn five_steps_end_where_the_release_ends() {
    let Some(golden) = Golden::read() else { return };
    let steps = golden.metadata["settings"]["sequence"]["steps"]
        .as_u64()
        .unwrap() as usize;
    for method in &METHODS {
        let of = |what: &str| format!("{}.seq.{what}", method.name);
        let (objective, encoder) = (golden.objective(method), golden.encoder(method));
        let (parameters, named) = (encoder.parameters(), names(&encoder));
        let mut dictionary = golden.dictionary();
        let mut optimizer = Nesterov::default();
        let (samples, units, count) = (golden.size("J"), golden.size("D"), golden.size("B"));
        let learned = method.sparsity == Kind::Learned;
        let gamma = learned.then(|| golden.values(&of("noise.g")));
        let by_shape = learned.then(|| golden.values(&of("dg_dalpha_selected")));
        let [losses, rates, kappas, temperatures, etas, active, norms] =
            ["loss", "lr", "kappa", "temp", "eta", "active", "dict_norm"]
                .map(|name| golden.values(&of(name)));
        let selected = golden.values(&of("select"));
        let cycle = OneCycle {
            peak: rates[0],
            steps: 40,
            warm_up: 0.05,
        };
        for step in 0..steps {
            let warmth = Warmth {
                noise: kappas[step],
                temperature: temperatures[step],
            };
            let length = count * samples * units;
            let part = gamma
                .as_ref()
                .map(|gamma| &gamma[step * length..][..length]);
            let slope = |input: usize, _: usize, unit: usize| {
                let place = (step * count + input) * units + unit;
                by_shape.as_ref().map_or(0.0, |slopes| slopes[place])
            };
            let slopes: Option<&(dyn Fn(usize, usize, usize) -> f64 + Sync)> = match learned {
                true => Some(&slope),
                false => None,
            };
            let draw = golden.draws(method.base, step, part, slopes);
            let inputs = golden.inputs(step);
            let pass = pass(&objective, &encoder, &dictionary, &inputs, warmth, &draw);
            let outcome = &pass.outcome;
            assert!(
                (outcome.loss - losses[step]).abs() < 1e-5,
                "{} step {step}: {} {}",
                method.name,
                outcome.loss,
                losses[step]
            );
            let found: Vec<f64> = outcome.counted.iter().map(|c| c.sample as f64).collect();
            assert_eq!(
                found,
                selected[step * count..][..count],
                "{} {step}",
                method.name
            );
            let codes = outcome.counted.iter().flat_map(|c| &c.code);
            let nonzero = codes.filter(|unit| unit.value != 0.0).count();
            let share = nonzero as f64 / (count * units) as f64;
            assert!(
                (share - active[step]).abs() < 1e-6,
                "{} {step}: {share}",
                method.name
            );
            if step > 0 {
                assert!((cycle.rate(step as u64) / rates[step] - 1.0).abs() < 1e-12);
            }
            optimizer
                .step(&parameters, &pass.gradients, rates[step])
                .unwrap();
            dictionary.step(outcome, count, etas[step], 1e-4);
            let norm = dictionary.atoms().iter().map(|a| a * a).sum::<f64>().sqrt();
            let mean = dictionary
                .atoms()
                .chunks_exact(golden.size("P"))
                .map(|atom| atom.iter().map(|a| a * a).sum::<f64>().sqrt())
                .sum::<f64>()
                / units as f64;
            let apart = (norm - norms[step]).abs().min((mean - norms[step]).abs());
            assert!(
                apart < 1e-4,
                "{} {step}: {norm} {mean} {}",
                method.name,
                norms[step]
            );
        }
        assert!((cycle.rate(steps as u64) / golden.values(&of("lr_next"))[0] - 1.0).abs() < 1e-12);
        for ((own, parameter), name) in parameters.iter().zip(&named) {
            let file = of(&format!("final.{name}"));
            golden.close(&file, &golden.parameter(&file, parameter), 1e-6);
            let file = of(&format!("momentum.{name}"));
            if golden.has(&file) {
                let velocity = optimizer.velocity(own).unwrap();
                golden.near(&file, &golden.parameter(&file, velocity), 5e-5);
            }
        }
        golden.close(&of("A"), &transposed(dictionary.atoms(), units), 1e-5);
    }
}

#[test]
fn other_estimators_and_selections() {
    let Some(golden) = Golden::read() else { return };
    let gate = Sparsity::Gate {
        open: golden.setting("spike_prior"),
        relaxation: Relaxation::Soft,
        odds: GateOdds::Log,
    };
    for (name, method, select, estimator, soft) in [
        (
            "laplacian_thresh_avg",
            4,
            Select::Average,
            Estimator::Straight,
            false,
        ),
        (
            "laplacian_thresh_iwae",
            4,
            Select::Iwae,
            Estimator::Straight,
            false,
        ),
        (
            "gaussian_thresh_sub",
            2,
            Select::Best,
            Estimator::Subgradient,
            false,
        ),
        (
            "concreteslab_gumbel",
            6,
            Select::Best,
            Estimator::Straight,
            true,
        ),
    ] {
        let of = |what: &str| format!("extra.{name}.{what}");
        let method = &METHODS[method];
        let mut objective = golden.objective(method);
        objective.select = select;
        objective.posterior.estimator = estimator;
        if soft {
            objective.posterior.sparsity = gate;
        }
        let encoder = golden.encoder(method);
        let mut dictionary = golden.dictionary();
        let (inputs, warmth) = (golden.inputs(0), single_warmth(&golden));
        let draw = golden.draws(method.base, 0, None, None);
        let pass = pass(&objective, &encoder, &dictionary, &inputs, warmth, &draw);
        golden.near(&of("loss"), &[pass.outcome.loss], 5e-6);
        let mut weights = vec![0.0; golden.size("B") * golden.size("J")];
        for counted in &pass.outcome.counted {
            weights[counted.input * golden.size("J") + counted.sample] = counted.weight;
        }
        golden.near(&of("weight"), &weights, 5e-6);
        for (head, _) in &pass.encoded.outputs {
            let gradients: Vec<f64> = pass.head_gradients.iter().map(|by| head.of(by)).collect();
            let file = of(&format!("grad.head.{}", head_name(*head)));
            golden.near(&file, &gradients, 5e-6);
        }
        dictionary.step(&pass.outcome, golden.size("B"), 0.5, 1e-4);
        let atoms = transposed(dictionary.atoms(), golden.size("D"));
        golden.close(&of("after1.A"), &atoms, 1e-6);
    }
}

#[test]
fn fista_finds_the_codes() {
    let Some(golden) = Golden::read() else { return };
    let x = golden.values("fista.x");
    let pixels = *golden.shape("fista.x").last().unwrap();
    let runs: Vec<String> = golden
        .metadata
        .keys()
        .filter(|name| name.starts_with("fista.") && name.ends_with(".codes"))
        .cloned()
        .collect();
    assert!(runs.len() > 4, "{runs:?}");
    for name in runs {
        let facts = &golden.metadata[&name];
        let number = |key: &str| {
            facts[key]
                .as_f64()
                .unwrap_or_else(|| panic!("{name}: {key}"))
        };
        let of = facts["dictionary"].as_str().unwrap();
        let matrix = if golden.has(of) { of } else { "A" };
        let mut atoms = transposed(&golden.values(matrix), pixels);
        if !golden.has(of) {
            for atom in atoms.chunks_exact_mut(pixels) {
                let norm = atom.iter().map(|a| a * a).sum::<f64>().sqrt();
                atom.iter_mut().for_each(|a| *a /= norm);
            }
        }
        assert!(
            (lipschitz(&atoms, pixels) / number("L") - 1.0).abs() < 1e-9,
            "{name}"
        );
        let fista = BatchFista {
            sparsity: number("tau"),
            tolerance: number("tol"),
            most: number("max_iter") as usize,
        };
        let found = fista.infer(&x, &atoms, pixels);
        assert_eq!(found.iterations as f64, number("iterations"), "{name}");
        golden.close(&name, &found.codes, 1e-10);
    }
}

#[test]
fn schedules_and_metrics() {
    let Some(golden) = Golden::read() else { return };
    for name in ["lr.n240000", "lr.n8000"] {
        let facts = &golden.metadata[name];
        let cycle = OneCycle {
            peak: facts["peak"].as_f64().unwrap(),
            steps: name.split_once(".n").unwrap().1.parse().unwrap(),
            warm_up: facts["warmup_proportion"].as_f64().unwrap(),
        };
        let calls = facts["calls"].as_array().unwrap().iter();
        let rates: Vec<f64> = calls
            .map(|call| cycle.rate(call.as_u64().unwrap()))
            .collect();
        for (found, expected) in rates.iter().zip(golden.values(name)) {
            assert!(
                (found / expected - 1.0).abs() < 1e-12,
                "{name}: {found} {expected}"
            );
        }
    }
    for name in ["metrics.mi6", "metrics.mi16"] {
        let codes = format!("{name}.codes");
        let values = golden.values(&codes);
        let rows = Rows {
            values: &values,
            width: *golden.shape(&codes).last().unwrap(),
        };
        let found = metrics::information(rows, 20);
        golden.close(&format!("{name}.entropy"), &found.entropies, 1e-12);
        let number = |key: &str| golden.number(&codes, key);
        assert!((found.joint - number("joint_entropy_bits")).abs() < 1e-9);
        let expected = number("multi_information_bits");
        assert!(
            (found.multi_information() - expected).abs() < 1e-9,
            "{name}"
        );
    }
    for (name, key) in [
        ("metrics.collapse.kl", "posterior_collapse_percent"),
        ("metrics.collapse.codes", "coefficient_collapse_percent"),
    ] {
        let values = golden.values(name);
        let width = *golden.shape(name).last().unwrap();
        let found = metrics::collapsed(
            Rows {
                values: &values,
                width,
            },
            0.01,
        );
        assert!(
            (100.0 * found - golden.number(name, key)).abs() < 1e-9,
            "{name}: {found}"
        );
    }
    let [found, truth] = ["metrics.support.est", "metrics.support.true"].map(|n| golden.values(n));
    let width = *golden.shape("metrics.support.est").last().unwrap();
    let rows = |values| Rows { values, width };
    let accuracy = metrics::support_accuracy(rows(&found), rows(&truth));
    let expected = golden.number("metrics.support.est", "support_accuracy");
    assert!((accuracy - expected).abs() < 1e-12, "{accuracy}");
    let values = golden.values("metrics.snr.grads");
    let width = *golden.shape("metrics.snr.grads").last().unwrap();
    let found = metrics::signal_to_noise(Rows {
        values: &values,
        width,
    });
    for (found, expected) in found.iter().zip(golden.values("metrics.snr.value")) {
        assert!(
            (found - expected).abs() <= 1e-4 * expected,
            "{found} {expected}"
        );
    }
    let [inputs, codes] = ["metrics.recovered.x", "metrics.recovered.codes"].map(|name| {
        let width = *golden.shape(name).last().unwrap();
        (golden.values(name), width)
    });
    let rows = |(values, width): &(Vec<f64>, usize)| -> Vec<f64> {
        assert!(values.len().is_multiple_of(*width));
        values.clone()
    };
    let (x, z) = (rows(&inputs), rows(&codes));
    let [inputs, codes] =
        [(&x, inputs.1), (&z, codes.1)].map(|(values, width)| Rows { values, width });
    let found = metrics::recovered_dictionary(inputs, codes);
    golden.near("metrics.recovered.dict", &found, 1e-9);
}

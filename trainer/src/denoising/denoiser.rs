//! The network and the overlap-add as one thing that learns.

use candle_core::{DType, Result, Tensor};
use sparsecode_formats::ScaleAxis;

use super::gram::{GramNetwork, GramTrace};
use super::overlap::Overlap;
use crate::run::{StateError, Tensors, tensor};
use crate::tensor::Named;
use crate::tensor::elementwise::column_sums;
use crate::tensor::quantized::{QuantizeAware, rounded};

/// A network whose windows are weighted and added up.
///
/// With the windows y_k of a stretch and v = exp(u), the output at a sample is `Σ v f(y_k) / Σ v`
/// over the windows that hold the sample. A patch of a picture keeps its mean: `f(y)` is then the
/// network's answer to `y` less its mean, and the mean again.
#[derive(Clone, Debug)]
pub struct Denoiser {
    /// What cleans a window.
    pub network: GramNetwork,
    /// u, the logarithms of the weights: see [`Overlap::weights`].
    pub log_weights: Tensor,
    /// Whether windows keep their means.
    pub keeps_means: bool,
}

/// Windows through the network.
struct Windows {
    /// What the network was given.
    input: Tensor,
    trace: GramTrace,
    /// What came of them, with their means, `windows × dim`.
    output: Tensor,
}

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Mean square error of the output, in units of the noise's variance, as stretches count.
    pub error: f64,
    /// Mean sum of a window's code, divided by the window's samples.
    pub code_l1: f64,
    /// Mean number of active components in a window.
    pub active: f64,
    /// Gradients of `error + l1 · code_l1` by parameter.
    pub gradients: Vec<Named<Tensor>>,
}

/// Stretches without their noise.
#[derive(Clone, Debug)]
pub struct Cleaned {
    /// The stretches, `stretches × length`.
    pub output: Tensor,
    /// Mean number of active components in a window.
    pub active: f64,
}

/// Windows that were added up.
struct Added {
    /// The stretches, `stretches × length`.
    output: Tensor,
    /// v, `1 × dim`.
    weights: Tensor,
    /// The sum of the weights at each sample, `1 × length`.
    weight: Tensor,
}

impl Denoiser {
    /// The parameters by name.
    pub fn parameters(&self) -> Vec<Named<&Tensor>> {
        let mut parameters = self.network.parameters().to_vec();
        parameters.push(("window.log_weights", &self.log_weights));
        parameters
    }

    /// The parameters by name, to be changed.
    pub fn parameters_mut(&mut self) -> Vec<Named<&mut Tensor>> {
        let mut parameters: Vec<_> = self.network.parameters_mut().into();
        parameters.push(("window.log_weights", &mut self.log_weights));
        parameters
    }

    /// Takes the parameters of a network like this one.
    ///
    /// # Errors
    ///
    /// Names the tensor that is missing or of another shape.
    pub fn set(&mut self, tensors: &Tensors) -> std::result::Result<(), StateError> {
        let mut next = self.clone();
        for (name, parameter) in next.parameters_mut() {
            let found = tensor(tensors, name, parameter.dims())?;
            *parameter = found.to_device(parameter.device())?;
        }
        *self = next;
        Ok(())
    }

    /// The same network with its dictionary rounded to the levels of an export. In `f32`.
    ///
    /// # Errors
    ///
    /// If a weight is not finite.
    pub fn quantized(&self, weights: QuantizeAware) -> Result<Self> {
        let mut denoiser = self.clone();
        let dictionary = &mut denoiser.network.dictionary;
        // An atom is a column.
        *dictionary = rounded(dictionary, ScaleAxis::Column, weights.weights())?;
        Ok(denoiser)
    }

    /// The clean stretches, for noisy ones whose noise has deviation 1 (`stretches × length`).
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn measure(&self, overlap: &Overlap, noisy: &Tensor) -> Result<Cleaned> {
        let windows = self.windows(overlap, noisy)?;
        Ok(Cleaned {
            output: self.added(overlap, &windows.output)?.output,
            active: active(windows.trace.code())?,
        })
    }

    fn windows(&self, overlap: &Overlap, noisy: &Tensor) -> Result<Windows> {
        let given = overlap.windows(noisy)?;
        if !self.keeps_means {
            let trace = self.network.forward(&given)?;
            let output = trace.output.clone();
            return Ok(Windows {
                input: given,
                trace,
                output,
            });
        }
        let means = given.mean_keepdim(1)?;
        let input = given.broadcast_sub(&means)?;
        let trace = self.network.forward(&input)?;
        let output = trace.output.broadcast_add(&means)?;
        Ok(Windows {
            input,
            trace,
            output,
        })
    }

    /// Weighs clean windows and adds them up.
    fn added(&self, overlap: &Overlap, windows: &Tensor) -> Result<Added> {
        let weights = overlap.weights(&self.log_weights)?;
        let sums = overlap.add(&windows.broadcast_mul(&weights)?)?;
        let weight = overlap.weight(&weights)?;
        Ok(Added {
            output: sums.broadcast_div(&weight)?,
            weights,
            weight,
        })
    }

    /// How far the output for `noisy` is from `clean`, both in units of the noise's deviation
    /// (`stretches × length`), and what changes that. `importance` is what the error of each
    /// stretch counts, `stretches × 1`, or of each sample of them, `stretches × length`; `l1`
    /// weighs the codes' sum.
    ///
    /// With E the gradient for the output x̂ = N/D: a window gains `v ∘ E/D`, v gains `f(y) ∘ E/D`
    /// and, through D, `−E x̂/D`, each at its places.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn loss(
        &self,
        overlap: &Overlap,
        noisy: &Tensor,
        clean: &Tensor,
        importance: &Tensor,
        l1: f64,
    ) -> Result<Loss> {
        let Windows {
            input,
            trace,
            output: cleaned,
        } = self.windows(overlap, noisy)?;
        let Added {
            output,
            weights,
            weight,
        } = self.added(overlap, &cleaned)?;
        let error = (&output - clean)?;
        let samples = error.elem_count() as f64;
        let (rows, window) = input.dims2()?;

        let counted = error.broadcast_mul(importance)?;
        let gradient = (&counted * (2.0 / samples))?.broadcast_div(&weight)?;
        let per_window = overlap.windows(&gradient)?;
        let output_gradient = per_window.broadcast_mul(&weights)?;
        let code = trace.code();
        let code_gradient =
            (code.gt(0.0)?.to_dtype(code.dtype())? * (l1 / (rows * window) as f64))?;
        let mut gradients =
            self.network
                .gradients(&input, &trace, &output_gradient, &code_gradient)?;
        let by_numerator = column_sums(&(&per_window * &cleaned)?)?;
        let by_weight = column_sums(&(gradient * &output)?)?;
        let by_weight = column_sums(&overlap.windows(&by_weight)?)?;
        let by_weights = ((by_numerator - by_weight)? * weights)?;
        let by_log_weights = overlap.log_weights_gradient(&by_weights)?;
        gradients.push(("window.log_weights", by_log_weights));

        Ok(Loss {
            error: number((error * counted)?.mean_all()?)?,
            code_l1: number(code.sum_all()?)? / (rows * window) as f64,
            active: active(code)?,
            gradients,
        })
    }
}

fn number(tensor: Tensor) -> Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}

/// Mean number of active components of codes, `windows × code_dim`.
fn active(codes: &Tensor) -> Result<f64> {
    let count = number(codes.gt(0.0)?.to_dtype(codes.dtype())?.sum_all()?)?;
    Ok(count / codes.dim(0)? as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::rng::{Stream, generator};

    fn normal(shape: (usize, usize), scale: f64, purpose: u16) -> Tensor {
        let mut rng = generator(7, Stream::Noise { purpose });
        let draws: Vec<f64> = (0..shape.0 * shape.1)
            .map(|_| StandardNormal.sample(&mut rng))
            .map(|x: f64| x * scale)
            .collect();
        Tensor::from_vec(draws, shape, &Device::Cpu).unwrap()
    }

    fn importance() -> Tensor {
        Tensor::new(&[[0.5f64], [1.0], [2.0]], &Device::Cpu).unwrap()
    }

    fn small() -> (Denoiser, Overlap, Tensor, Tensor) {
        with(Overlap::new(6, 2, 4, &Device::Cpu).unwrap(), false)
    }

    fn of_patches() -> (Denoiser, Overlap, Tensor, Tensor) {
        with(Overlap::of_patches(3, 2, 2, &Device::Cpu).unwrap(), true)
    }

    fn with(overlap: Overlap, keeps_means: bool) -> (Denoiser, Overlap, Tensor, Tensor) {
        let dictionary = normal((overlap.dim(), 9), 0.5, 1);
        let mut network = GramNetwork::unrolled(&dictionary, 0.05, 3).unwrap();
        network.steps = Tensor::new(&[0.3f64, 0.2, 0.15], &Device::Cpu).unwrap();
        network.thresholds = (normal((3, 9), 0.05, 2) + 0.05).unwrap();
        network.gain = (normal((1, 9), 0.1, 3).squeeze(0).unwrap() + 1.0).unwrap();
        let log_weights = normal((1, overlap.weight_count()), 0.3, 4);
        let log_weights = log_weights.squeeze(0).unwrap();
        let noisy = normal((3, overlap.length()), 1.0, 5);
        let clean = normal((3, overlap.length()), 0.7, 6);
        let denoiser = Denoiser {
            network,
            log_weights,
            keeps_means,
        };
        (denoiser, overlap, noisy, clean)
    }

    #[test]
    fn gradients_are_those_of_differences() {
        check_gradients(small());
        check_gradients(of_patches());
    }

    /// Each gradient in f64 against central differences, of every parameter, element by element.
    fn check_gradients((denoiser, overlap, noisy, clean): (Denoiser, Overlap, Tensor, Tensor)) {
        let l1 = 0.02;
        let loss = denoiser
            .loss(&overlap, &noisy, &clean, &importance(), l1)
            .unwrap();
        assert!(loss.active > 1.0 && loss.active < 8.0, "{}", loss.active);
        let value = |denoiser: &Denoiser| {
            let loss = denoiser
                .loss(&overlap, &noisy, &clean, &importance(), l1)
                .unwrap();
            loss.error + l1 * loss.code_l1
        };
        let step = 1e-6;
        for (name, gradient) in &loss.gradients {
            let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            let largest = gradient.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            assert!(largest > 1e-4, "{name}: {largest}");
            for (index, found) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut denoiser = denoiser.clone();
                    for (other, parameter) in denoiser.parameters_mut() {
                        if other == *name {
                            let mut values: Vec<f64> =
                                parameter.flatten_all().unwrap().to_vec1().unwrap();
                            values[index] += by;
                            *parameter =
                                Tensor::from_vec(values, parameter.dims(), &Device::Cpu).unwrap();
                        }
                    }
                    value(&denoiser)
                };
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                let apart = (found - expected).abs();
                assert!(
                    apart < 1e-6 * largest.max(1.0),
                    "{name} {index}: {found} {expected}"
                );
            }
        }
    }

    /// A brighter tile comes out as much brighter, and is else the same.
    #[test]
    fn means_of_patches_are_kept() {
        let (denoiser, overlap, noisy, _) = of_patches();
        let clean = |noisy: &Tensor| denoiser.measure(&overlap, noisy).unwrap().output;
        let apart = (clean(&(&noisy + 3.0).unwrap()) - clean(&noisy)).unwrap();
        let apart = (apart - 3.0).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f64>().unwrap() < 1e-12);
    }

    /// Without overlap and weights the output is the network's.
    #[test]
    fn windows_that_do_not_overlap_come_out_as_they_are() {
        let (denoiser, _, noisy, _) = small();
        let overlap = Overlap::new(6, 6, 2, &Device::Cpu).unwrap();
        let output = denoiser.measure(&overlap, &noisy).unwrap().output;
        let windows = noisy.reshape((6, 6)).unwrap();
        let expected = denoiser.network.forward(&windows).unwrap().output;
        let apart = (output.reshape((6, 6)).unwrap() - expected).unwrap();
        let apart = apart.abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f64>().unwrap() < 1e-12);
    }

    /// Enough iterations of ISTA's own steps end at a code whose conditions for the minimum of
    /// `½‖y − W z‖² + θ Σ z` over z ≥ 0 hold.
    #[test]
    fn the_unrolled_network_is_ista() {
        let dictionary = normal((6, 9), 0.5, 1);
        let (threshold, windows) = (0.2, normal((4, 6), 1.0, 8));
        let network = GramNetwork::unrolled(&dictionary, threshold, 20_000).unwrap();
        let trace = network.forward(&windows).unwrap();
        let residual = (&windows - &trace.output).unwrap();
        let slack = (residual.matmul(&dictionary).unwrap() - threshold).unwrap();
        let codes: Vec<f64> = trace.code().flatten_all().unwrap().to_vec1().unwrap();
        let slack: Vec<f64> = slack.flatten_all().unwrap().to_vec1().unwrap();
        assert!(codes.iter().filter(|z| **z > 0.0).count() > 4);
        for (code, slack) in codes.iter().zip(slack) {
            assert!(slack < 1e-8, "{slack}");
            assert!(*code == 0.0 || slack.abs() < 1e-8, "{code} {slack}");
        }
    }
}
